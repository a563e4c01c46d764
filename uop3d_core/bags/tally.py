"""What a replay counts while it goes on, and what it tells at the end.

In: results of the stream, image by image. Out: a ReplayReport.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from uop3d_core.bags.losses import Losses
from uop3d_core.bags.reading import Sources
from uop3d_core.messages.placing import Place
from uop3d_core.pose.stream import StreamResult
from uop3d_core.types import Detection, Track, TrackState


@dataclass
class Seen:
    """One object over the whole replay.

    Attributes:
        category: of it.
        first_ns, last_ns: stamps of the first and the last image in which it was tracked.
        images: in how many it was tracked.
        boxes: in how many of these it had a box.
        confirmed: in how many it was confirmed.
        score: of the last image.
        scale: metres per object unit at the end; NaN unknown.
    """

    category: str
    first_ns: int
    last_ns: int = 0
    images: int = 0
    boxes: int = 0
    confirmed: int = 0
    score: float = 0.0
    scale: float = math.nan

    def again(self, stamp_ns: int, track: Track) -> None:
        """Count one more image."""
        self.last_ns, self.images = stamp_ns, self.images + 1
        self.boxes += track.detection is not None
        self.confirmed += track.state is TrackState.CONFIRMED
        self.score, self.scale = track.estimate.score, track.estimate.scale


@dataclass(frozen=True)
class ReplayReport:
    """What happened.

    Attributes:
        sources: the topics that were read.
        images: images that went through the pipeline, of `recorded` ones.
        recorded: images in the recording.
        boxes: detections in them.
        found: how many of these gave a pose.
        metric: how many of these have a scale in metres.
        placed: images with at least one object in markers and TF.
        first_ns: stamp of the first image.
        span_s: from the first image to the last.
        objects: by name.
        written: messages by topic of the new recording.
        seconds: of every step over all images.
        problems: what could not be read or used, one sentence each.
    """

    sources: Sources
    images: int
    recorded: int
    boxes: int
    found: int
    metric: int
    placed: int
    first_ns: int
    span_s: float
    objects: dict[str, Seen]
    written: dict[str, int]
    seconds: dict[str, float]
    problems: tuple[str, ...]


@dataclass
class Tally:
    """The counts of one replay; attributes as those of ReplayReport."""

    categories: Sequence[str]
    losses: Losses
    images: int = 0
    boxes: int = 0
    found: int = 0
    metric: int = 0
    placed: int = 0
    objects: dict[str, Seen] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    _span: tuple[int, int] | None = None

    def add(self, place: Place, detections: Sequence[Detection], result: StreamResult) -> None:
        """Count one image."""
        stamp = place.stamp_ns
        self.images += 1
        self.boxes += len(detections)
        self.found += sum(estimate.found for estimate in result.estimates)
        self.metric += sum(math.isfinite(estimate.scale) for estimate in result.estimates if estimate.found)
        first, last = self._span or (stamp, stamp)
        self._span = min(first, stamp), max(last, stamp)
        for label in (detection.label for detection in detections):
            if label not in ("", *self.categories):
                reason = f"map it with --label {label}={self.categories[0]}"
                known = ", ".join(self.categories)
                self.losses.add(f"boxes with the label {label!r}, but the models are of {known}", reason)
        for warning in result.warnings:
            self.losses.add("warnings about the scale in metres", warning)
        for track in result.tracks:
            name = place.name(track.category, track.id)
            self.objects.setdefault(name, Seen(track.category, stamp)).again(stamp, track)

    def took(self, seconds: Mapping[str, float]) -> None:
        """Add the times of the steps of one image."""
        for step, value in seconds.items():
            self.seconds[step] = self.seconds.get(step, 0.0) + value

    def report(
        self, sources: Sources, recorded: int, written: Mapping[str, int], problems: Sequence[str]
    ) -> ReplayReport:
        """All counts, with what others know."""
        first, last = self._span or (0, 0)
        return ReplayReport(
            sources=sources,
            images=self.images,
            recorded=recorded,
            boxes=self.boxes,
            found=self.found,
            metric=self.metric,
            placed=self.placed,
            first_ns=first,
            span_s=(last - first) / 1e9,
            objects=self.objects,
            written=dict(written),
            seconds=dict(self.seconds),
            problems=tuple(problems),
        )
