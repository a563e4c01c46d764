"""What an active pose_node does with what it hears: images wait for their detections, and complete ones are handed on.

In: messages of the inputs. Out: Jobs for the worker; problems noted.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rclpy.node import Node

from uop3d_core.messages.reading import stamp_ns
from uop3d_ros.buffer import Counts, Limits, Match, Matcher
from uop3d_ros.health import Health
from uop3d_ros.inputs import Inputs
from uop3d_ros.parameters import NodeSettings
from uop3d_ros.processing import Job

NS = 1_000_000_000
WATCH_S = 5.0
"""What does not come for so long is missed."""


class Listening:
    """From activation to deactivation.

    Attributes:
        info: the newest camera_info, or None.
    """

    def __init__(
        self,
        node: Node,
        settings: NodeSettings,
        health: Health,
        submit: Callable[[Job], None],
        begin_anew: Callable[[str], None],
    ) -> None:
        """Subscribe.

        Args:
            node: subscribes.
            settings: parameters.
            health: is told of rates and problems.
            submit: takes images with what belongs to them.
            begin_anew: is told, with the reason, that time went back.

        Raises:
            ImportError: a package of messages that the parameters ask for is not there.
        """
        limits = Limits(
            keep_ns=int(settings.buffer_s * NS),
            keep=settings.buffer_images,
            slop_ns=int(settings.slop_s * NS),
            depth_slop_ns=int(settings.depth_slop_s * NS),
        )
        self.info: Any = None
        self._health, self._submit_job, self._begin_anew = health, submit, begin_anew
        self._matcher = Matcher(limits, settings.detections != "whole_image", settings.depth != "none")
        self._latest: Job | None = None
        take = {
            "images": self._image, "camera_info": self._camera_info,
            "detections": self._detections, "depth": self._depth,
        }  # fmt: skip
        self._inputs = Inputs(node, settings, health, take)

    def close(self) -> None:
        """Unsubscribe."""
        self._inputs.close()

    def forget(self) -> None:
        """Let go of the images that wait."""
        self._matcher.clear()

    @property
    def inputs(self) -> list[str]:
        """Names of the inputs that are needed."""
        return list(self._inputs.topics)

    @property
    def counts(self) -> Counts:
        """What found its image, and what did not."""
        return self._matcher.counts

    def silence(self, name: str) -> str:
        """Why nothing comes on an input."""
        return self._inputs.silence(name)

    def watch(self) -> None:
        """Say what is missing: silence has many causes, and all look alike."""
        for name in self.inputs:
            if self._health.silent(name, WATCH_S):
                self._health.problem(f"silence on {name}", self.silence(name))
        if self.counts.unmatched and not self.counts.matched:
            self._health.problem(
                "synchronisation",
                f"{self.counts.unmatched} detections, and no image with the stamp of one: the detector has to copy the "
                "image's stamp; 'slop_s' allows for a difference, 'buffer_s' for a slow detector",
            )

    def newest(self, with_detections: bool) -> Job | None:
        """The newest image, or the newest one that detections came for; None where there is none."""
        if with_detections:
            return self._latest
        image = self._matcher.newest_image
        return None if image is None else self._job(Match(*image))

    def _image(self, message: Any) -> None:
        matches, back = self._matcher.image(stamp_ns(message.header.stamp), message)
        if back:
            self._begin_anew("the stamps of the images went back")
        self._submit(matches)

    def _camera_info(self, message: Any) -> None:
        self.info = message

    def _detections(self, message: Any) -> None:
        self._submit(self._matcher.detections(stamp_ns(message.header.stamp), message))

    def _depth(self, message: Any) -> None:
        self._submit(self._matcher.depth(stamp_ns(message.header.stamp), message))

    def _submit(self, matches: list[Match]) -> None:
        for match in matches:
            self._latest = self._job(match)
            self._submit_job(self._latest)

    def _job(self, match: Match) -> Job:
        return Job(match, self.info, time.monotonic())
