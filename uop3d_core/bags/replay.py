"""A recording through the same pipeline as the node: poses, detections, TF and markers into a new recording.

In: a PoseStream, a rosbag2 recording, options. Out: an MCAP file, and a report of what was in it and what was left out.
Messages have the header of their image and the time at which that image arrived.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from uop3d_core.bags.definitions import message_class, octets
from uop3d_core.bags.gathering import Gathered, gather
from uop3d_core.bags.images import depth_of, is_depth, rgb_of
from uop3d_core.bags.losses import Losses
from uop3d_core.bags.ordering import Picture, in_order
from uop3d_core.bags.reading import TF, TF_STATIC, Bag, Sources, choose_sources
from uop3d_core.bags.writing import BagWriter, writing
from uop3d_core.config import InferenceSettings, ReplaySettings
from uop3d_core.geometry import Array
from uop3d_core.messages.building import Messages
from uop3d_core.messages.markers import MarkerDrawer
from uop3d_core.messages.placing import Place, place_tracks
from uop3d_core.messages.reading import Labels
from uop3d_core.pose.categories import CategoryEstimator
from uop3d_core.pose.estimator import PoseEstimator
from uop3d_core.pose.metric import MetricEvidence
from uop3d_core.pose.stream import PoseStream, StreamResult
from uop3d_core.progress import Progress, silent
from uop3d_core.stopwatch import Stopwatch
from uop3d_core.types import Camera, Detection, Frame, TrackState

NODE = "/pose_node"
OBJECTS, ESTIMATES = f"{NODE}/objects", f"{NODE}/estimates"
DETECTIONS, POSES, MARKERS = f"{NODE}/detections", f"{NODE}/poses", f"{NODE}/markers"
OUTPUTS = {
    OBJECTS: "uop3d_ros/msg/ObjectPoseArray",
    ESTIMATES: "uop3d_ros/msg/ObjectPoseArray",
    DETECTIONS: "vision_msgs/msg/Detection3DArray",
    POSES: "geometry_msgs/msg/PoseArray",
    MARKERS: "visualization_msgs/msg/MarkerArray",
    TF: "tf2_msgs/msg/TFMessage",
}
"""Types by topic; the names are those of the node."""
NO_FRAME = "camera_optical_frame"
"""Frame of images that name none."""


@dataclass(frozen=True)
class ReplayOptions:
    """What to read and how to take it.

    Attributes:
        image, info, detections, depth: topics; see `choose_sources`.
        boxes: JSON file with detections instead of a topic; see `predictions.read_timed_detections`.
        camera: of all images, instead of camera_info.
        rectified: whether the images are rectified.
        labels: what the detector calls the categories.
        fixed_frame: name of a frame in which the surroundings rest; TF tells how the camera moves in it.
        unit_m: metres that an object unit is taken for where nothing tells the scale; NaN: such objects are in
            OBJECTS only.
        images: copy images, camera_info and TF into the new recording.
        settings: see ReplaySettings.
    """

    image: str | None = None
    info: str | None = None
    detections: str | None = None
    depth: str | None = None
    boxes: Path | None = None
    camera: Camera | None = None
    rectified: bool = False
    labels: Labels = field(default_factory=Labels)
    fixed_frame: str | None = None
    unit_m: float = math.nan
    images: bool = False
    settings: ReplaySettings = field(default_factory=ReplaySettings)


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


def open_stream(
    models: Sequence[Path],
    backbone: str | None = None,
    device: str = "cpu",
    settings: InferenceSettings | None = None,
) -> PoseStream:
    """Load models with their backbones; arguments and Raises: `PoseEstimator.load`."""
    settings, watch = settings or InferenceSettings(), Stopwatch()
    estimators = [PoseEstimator.load(path, backbone, device, settings.pose, watch) for path in models]
    return PoseStream(CategoryEstimator(estimators, watch), settings.track, watch=watch)


def replay(
    stream: PoseStream, path: Path, out: Path, options: ReplayOptions | None = None, progress: Progress = silent
) -> ReplayReport:
    """Run a recording through the pipeline.

    Args:
        stream: estimators and tracker; objects it knows are forgotten.
        path: recording, a folder or a file.
        out: MCAP file to write; it appears when all is done.
        options: what to read.
        progress: told of images.

    Raises:
        ValueError: the recording, a topic or a file is not usable, or no image could be used; the message says why.
        OSError: a file cannot be read or written.
    """
    options = options or ReplayOptions()
    if out.exists() and path.exists() and out.samefile(path):
        raise ValueError(f"{out} is the recording itself: choose another name")
    with Bag(path) as bag, writing(out) as writer:
        sources = choose_sources(
            bag,
            options.image,
            options.info,
            options.detections,
            options.depth,
            need_info=options.camera is None,
            need_detections=options.boxes is None,
        )
        run = _Run(stream, bag, sources, writer, options)
        run.all_images(progress)
        return run.report()


class _Run:
    """One replay; holds what is counted."""

    def __init__(
        self, stream: PoseStream, bag: Bag, sources: Sources, writer: BagWriter, options: ReplayOptions
    ) -> None:
        self._stream, self._bag, self._sources = stream, bag, sources
        self._writer, self._options = writer, options
        self._losses, self._watch = Losses(), Stopwatch()
        self._seconds: dict[str, float] = {}
        self._build = Messages(message_class, stream.templates)
        self._markers = MarkerDrawer(self._build, octets)
        self._objects: dict[str, Seen] = {}
        self._images = self._boxes = self._found = self._metric = self._placed = self._index = 0
        self._span: tuple[int, int] | None = None

    def all_images(self, progress: Progress) -> None:
        """Look through the recording, then take image after image."""
        options, sources, total = self._options, self._sources, self._bag.topics[self._sources.image].count
        for topic, kind in OUTPUTS.items():
            self._writer.announce(topic, kind)
        gathered = self._gather(progress)
        progress("images", 0, total)
        topics = {topic for topic in (sources.image, sources.depth) if topic}
        self._stream.reset()
        begun = time.perf_counter()
        for picture in in_order(self._bag.messages(topics), sources, options.settings, self._losses):
            self._take(picture, gathered)
            self._index += 1
            progress("images", self._index, total)
        progress("images", total, total)
        self._seconds["reading"] = max(0.0, time.perf_counter() - begun - sum(self._seconds.values()))
        self._losses.add("messages with boxes whose image is not there", count=gathered.boxes.left)
        if options.images:
            self._copy()
        if not self._images:
            raise ValueError(f"{self._bag.path}: no image could be used: {'; '.join(self._problems)}")

    def _gather(self, progress: Progress) -> Gathered:
        options = self._options
        gathered = gather(
            self._bag,
            self._sources,
            self._losses,
            round(options.settings.slop_s * 1e9),
            options.labels,
            options.rectified,
            options.camera,
            options.fixed_frame is not None,
            progress,
        )
        if options.boxes is not None:
            gathered.boxes.add_file(options.boxes, options.labels)
        if options.fixed_frame is not None and options.fixed_frame not in gathered.transforms.frames:
            known = ", ".join(gathered.transforms.frames)
            raise ValueError(f"{self._bag.path}: TF knows no frame {options.fixed_frame}, only {known or 'none'}")
        return gathered

    def _take(self, picture: Picture, gathered: Gathered) -> None:
        """One image, unless something of it is missing."""
        if picture.anew:
            self._losses.add("times the stamps went back, as in a recording of a repeated one: all tracks began anew")
            self._stream.reset()
            self._markers.forget()
        detections = gathered.boxes.take(picture.stamp_ns, self._index)
        if detections is None:
            away_s = gathered.boxes.away_s(picture.stamp_ns)
            reason = (
                ""
                if away_s is None
                else f"the nearest boxes are {away_s:.3f} s away (--set replay.slop_s=... allows more)"
            )
            self._losses.add("images for which no detector spoke were left out", reason)
            return
        message, raw = picture.message.content, picture.message.raw
        try:
            with self._watch("decoding"):
                frame = self._frame(message, gathered.cameras.at(raw.log_ns))
        except ValueError as error:
            self._losses.add(f"images of {self._sources.image} that cannot be used", str(error))
            return
        frame_id = message.header.frame_id.lstrip("/")
        if not frame_id:
            self._losses.add(f"images that name no frame; theirs is called {NO_FRAME}")
        place = Place(picture.stamp_ns, frame_id or NO_FRAME)
        evidence, cam_T_fixed = self._evidence(picture, frame), self._cam_T_fixed(place, gathered)
        result = self._stream.process(picture.stamp_ns, frame, detections, evidence, cam_T_fixed)
        self._count(place, detections, result)
        with self._watch("writing"):
            self._write(place, raw.log_ns, result)
        for step, seconds in (result.seconds | self._watch.taken()).items():
            self._seconds[step] = self._seconds.get(step, 0.0) + seconds

    def _frame(self, message: Any, camera: Camera) -> Frame:
        if is_depth(message):
            raise ValueError("these are depth images: choose a topic with pictures by --image")
        pixels = rgb_of(message)
        frame = Frame(str(self._index), camera, pixels)
        if pixels.shape[:2] != (camera.height, camera.width):
            raise ValueError(
                f"it has {pixels.shape[1]} x {pixels.shape[0]} pixels, but its camera says {camera.width} x "
                f"{camera.height}: choose the camera_info of these images with --info"
            )
        return frame

    def _evidence(self, picture: Picture, frame: Frame) -> MetricEvidence | None:
        """What tells the scale of this image's objects."""
        if self._sources.depth is None:
            return None
        if picture.depth is None:
            self._losses.add(f"images without depth of {self._sources.depth} at their time")
            return None
        try:
            with self._watch("decoding"):
                depth = depth_of(picture.depth)
        except ValueError as error:
            self._losses.add(f"depth images of {self._sources.depth} that cannot be used", str(error))
            return None
        if depth.shape != (frame.camera.height, frame.camera.width):
            reason = (
                f"{depth.shape[1]} x {depth.shape[0]} pixels, the images {frame.camera.width} x {frame.camera.height}"
            )
            self._losses.add(f"depth images of {self._sources.depth} that are not aligned with the images", reason)
            return None
        return MetricEvidence(depth)

    def _cam_T_fixed(self, place: Place, gathered: Gathered) -> Array | None:
        fixed = self._options.fixed_frame
        if fixed is None:
            return None
        found = gathered.transforms.lookup(place.frame_id, fixed, place.stamp_ns)
        if found is None:
            self._losses.add(f"images at whose time TF does not tell {place.frame_id} in {fixed}")
        return found

    def _count(self, place: Place, detections: list[Detection], result: StreamResult) -> None:
        self._images += 1
        self._boxes += len(detections)
        self._found += sum(estimate.found for estimate in result.estimates)
        self._metric += sum(math.isfinite(estimate.scale) for estimate in result.estimates if estimate.found)
        first = place.stamp_ns if self._span is None else min(self._span[0], place.stamp_ns)
        self._span = first, max(place.stamp_ns, self._span[1] if self._span else first)
        for detection in detections:
            if detection.label not in ("", *self._stream.templates):
                known = ", ".join(self._stream.templates)
                reason = f"map it with --label {detection.label}={next(iter(self._stream.templates))}"
                self._losses.add(f"boxes with the label {detection.label!r}, but the models are of {known}", reason)
        for warning in result.warnings:
            self._losses.add("warnings about the scale in metres", warning)
        for track in result.tracks:
            name = place.name(track.category, track.id)
            seen = self._objects.setdefault(name, Seen(track.category, place.stamp_ns))
            seen.last_ns, seen.images = place.stamp_ns, seen.images + 1
            seen.boxes += track.detection is not None
            seen.confirmed += track.state is TrackState.CONFIRMED
            seen.score, seen.scale = track.estimate.score, track.estimate.scale

    def _write(self, place: Place, log_ns: int, result: StreamResult) -> None:
        placed = place_tracks(place, result.tracks, self._options.unit_m)
        write = self._writer.write
        write(OBJECTS, log_ns, self._build.objects(place, result.tracks))
        write(ESTIMATES, log_ns, self._build.estimates(place, result.estimates))
        write(DETECTIONS, log_ns, self._build.detections(place, placed))
        write(POSES, log_ns, self._build.poses(place, placed))
        write(MARKERS, log_ns, self._markers.draw(place, placed))
        if placed:
            self._placed += 1
            write(TF, log_ns, self._build.transforms(place, placed))

    def _copy(self) -> None:
        """Images, cameras and TF as they were recorded."""
        for raw in self._bag.raw_messages(self._copied()):
            self._writer.write_raw(raw.topic, self._bag.topics[raw.topic].type, raw.log_ns, raw.data)

    def _copied(self) -> set[str]:
        wanted = (self._sources.image, self._sources.info, TF, TF_STATIC)
        return {topic for topic in wanted if topic and topic in self._bag.topics}

    @property
    def _problems(self) -> list[str]:
        return [*self._bag.problems, *self._losses.sentences]

    def report(self) -> ReplayReport:
        """What happened."""
        span = self._span or (0, 0)
        return ReplayReport(
            self._sources,
            self._images,
            self._bag.topics[self._sources.image].count,
            self._boxes,
            self._found,
            self._metric,
            self._placed,
            span[0],
            (span[1] - span[0]) / 1e9,
            self._objects,
            dict(self._writer.counts),
            dict(self._seconds),
            tuple(self._problems),
        )
