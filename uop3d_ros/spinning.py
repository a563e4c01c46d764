"""Running a node until somebody ends it, once and for all.

In: a node, and what to do at the end. Out: exit status.
"""

from __future__ import annotations

import signal
from collections.abc import Callable

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node


def spin(node: Node, close: Callable[[], None]) -> int:
    """Serve a node until it is interrupted; `close` ends its threads."""
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        while rclpy.ok():
            try:
                executor.spin()
            except rclpy._rclpy_pybind11.RCLError as error:
                if rclpy.ok():  # a transition that the state does not allow is no reason to die
                    node.get_logger().error(f"refused: {error}")
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # launch sends it twice: to the group, then to the process
        close()
        node.destroy_node()
        rclpy.try_shutdown()
    return 0
