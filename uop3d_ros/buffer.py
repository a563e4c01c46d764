"""Brings together what belongs to one image, by stamp: detections come late, depth comes when it wants to. No ROS.

In: messages of any kind with their stamps in nanoseconds. Out: Matches. Belongs to one thread.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, eq=False)
class Match:
    """What belongs to one image.

    Attributes:
        stamp_ns: of the image.
        image: message.
        detections: message, or None where the image is to be taken as it is.
        depth: message, or None where there is none.
        lag_ns: how much newer the newest image is by now: how late the detections are.
    """

    stamp_ns: int
    image: Any
    detections: Any = None
    depth: Any = None
    lag_ns: int = 0


@dataclass
class Counts:
    """What went by since the node was activated.

    Attributes:
        images, detections, depth: messages.
        matched: images with all that belongs to them.
        unmatched: detections without an image.
        without_depth: matched images whose depth did not come.
        restarts: times that the stamps went back.
    """

    images: int = 0
    detections: int = 0
    depth: int = 0
    matched: int = 0
    unmatched: int = 0
    without_depth: int = 0
    restarts: int = 0


@dataclass(frozen=True)
class Limits:
    """How patient and how strict matching is.

    Attributes:
        keep_ns: how long images are kept for detections to come.
        keep: most images that are kept.
        slop_ns: largest difference between the stamps of an image and of its detections.
        depth_slop_ns: the same of its depth.
        depth_wait_ns: how much newer the newest image may be before depth is given up.
        back_ns: a stamp that is so much older than the newest one means that time went back.
    """

    keep_ns: int = 1_000_000_000
    keep: int = 60
    slop_ns: int = 10_000_000
    depth_slop_ns: int = 20_000_000
    depth_wait_ns: int = 100_000_000
    back_ns: int = 500_000_000


class Series:
    """Messages in the order of their stamps, the newest ones only."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.stamps: list[int] = []
        self._messages: dict[int, Any] = {}

    def add(self, stamp_ns: int, message: Any) -> None:
        """Keep one; a second one with the same stamp replaces the first."""
        if stamp_ns not in self._messages:
            insort(self.stamps, stamp_ns)
        self._messages[stamp_ns] = message

    def trim(self, oldest_ns: int, count: int) -> None:
        """Let go of those before `oldest_ns`, and of all but the newest `count`."""
        first = max(bisect_left(self.stamps, oldest_ns), len(self.stamps) - count)
        for stamp in self.stamps[: max(0, first)]:
            del self._messages[stamp]
        del self.stamps[: max(0, first)]

    def remove(self, stamp_ns: int) -> None:
        """Let go of one."""
        del self._messages[stamp_ns]
        self.stamps.remove(stamp_ns)

    def near(self, stamp_ns: int, slop_ns: int) -> int | None:
        """Stamp of the nearest message within `slop_ns`."""
        at = bisect_left(self.stamps, stamp_ns)
        nearest = min(self.stamps[max(0, at - 1) : at + 1], key=lambda stamp: abs(stamp - stamp_ns), default=None)
        return nearest if nearest is not None and abs(nearest - stamp_ns) <= slop_ns else None

    def __getitem__(self, stamp_ns: int) -> Any:
        return self._messages[stamp_ns]

    @property
    def newest(self) -> int | None:
        """Stamp of the newest message."""
        return self.stamps[-1] if self.stamps else None


class Matcher:
    """Collects images, detections and depth until they make a Match."""

    def __init__(self, limits: Limits, detections: bool = True, depth: bool = False) -> None:
        """Begin empty.

        Args:
            limits: see Limits.
            detections: whether images wait for detections.
            depth: whether they wait for depth.
        """
        self.limits, self.counts = limits, Counts()
        self._wants_detections, self._wants_depth = detections, depth
        self.clear()

    def clear(self) -> None:
        """Forget all messages; counts stay."""
        self._images, self._depth, self._waiting = Series(), Series(), Series()

    def image(self, stamp_ns: int, message: Any) -> tuple[list[Match], bool]:
        """Take an image. Returns: what is complete now, and whether time went back (all else is then forgotten)."""
        newest = self._images.newest
        back = newest is not None and stamp_ns < newest - self.limits.back_ns
        if back:
            self.clear()
            self.counts.restarts += 1
        self.counts.images += 1
        self._images.add(stamp_ns, message)
        if not self._wants_detections:
            self._waiting.add(stamp_ns, None)
        self._images.trim(self._newest - self.limits.keep_ns, self.limits.keep)
        return self._complete(), back

    def detections(self, stamp_ns: int, message: Any) -> list[Match]:
        """Take detections, which may come before or long after their image."""
        self.counts.detections += 1
        self._waiting.add(stamp_ns, message)
        self._waiting.trim(-(2**63), self.limits.keep)
        return self._complete()

    def depth(self, stamp_ns: int, message: Any) -> list[Match]:
        """Take depth, as an image or as points."""
        self.counts.depth += 1
        self._depth.add(stamp_ns, message)
        self._depth.trim((self._depth.newest or 0) - self.limits.keep_ns, self.limits.keep)
        return self._complete()

    @property
    def newest_image(self) -> tuple[int, Any] | None:
        """Stamp and message of the newest image."""
        stamp = self._images.newest
        return None if stamp is None else (stamp, self._images[stamp])

    @property
    def _newest(self) -> int:
        return self._images.newest or 0

    def _complete(self) -> list[Match]:
        """Matches in the order of time; what cannot become one any more is let go of."""
        matches, limits = [], self.limits
        for stamp in list(self._waiting.stamps):
            image = self._images.near(stamp, limits.slop_ns if self._wants_detections else 0)
            if image is None:
                if self._newest > stamp + limits.slop_ns:  # images came past it: its own is not among them
                    self._waiting.remove(stamp)
                    self.counts.unmatched += 1
                continue
            depth = self._depth.near(image, limits.depth_slop_ns) if self._wants_depth else None
            if depth is None and self._wants_depth and not self._depth_is_late(image):
                continue
            matches.append(self._match(stamp, image, depth))
        return matches

    def _depth_is_late(self, stamp_ns: int) -> bool:
        """Whether the depth of an image will not come any more."""
        newest = self._depth.newest
        passed = newest is not None and newest > stamp_ns + self.limits.depth_slop_ns
        return passed or self._newest > stamp_ns + self.limits.depth_wait_ns

    def _match(self, stamp: int, image: int, depth: int | None) -> Match:
        detections = self._waiting[stamp]
        self._waiting.remove(stamp)
        self.counts.matched += 1
        self.counts.without_depth += self._wants_depth and depth is None
        message = None if depth is None else self._depth[depth]
        return Match(image, self._images[image], detections, message, self._newest - image)
