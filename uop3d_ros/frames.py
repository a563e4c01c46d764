"""Transforms between named frames at the time of an image, by tf2.

In: frame names and a stamp in nanoseconds. Out: (4, 4) rigid transforms, metres.
"""

from __future__ import annotations

import time
from typing import Any

import tf2_ros
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.time import Time

from uop3d_core.messages.reading import transform_of

STEP_S = 0.003


class Frames:
    """Listens to TF while the node is active."""

    def __init__(self, node: Node) -> None:
        """Begin to listen."""
        self._buffer = tf2_ros.Buffer()  # given the node it would add a service that nobody removes
        self._listener = tf2_ros.TransformListener(self._buffer, node)

    def close(self) -> None:
        """End listening."""
        self._listener.unregister()

    def clear(self) -> None:
        """Forget all moving transforms: time begins anew."""
        self._buffer.clear()

    def lookup(self, target: str, source: str, stamp_ns: int, timeout_s: float) -> NDArray[Any]:
        """target_T_source (4, 4) at a time; waits in the calling thread, which must not be that of the executor.

        Raises:
            LookupError: there is none, or not in time.
        """
        at, deadline = Time(nanoseconds=stamp_ns), time.monotonic() + timeout_s
        while True:
            try:
                return transform_of(self._buffer.lookup_transform_core(target, source, at).transform)
            except (tf2_ros.TransformException, ValueError) as error:
                if time.monotonic() >= deadline:
                    raise LookupError(f"no transform from {source} to {target} at the image's time: {error}") from error
            time.sleep(STEP_S)
