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
from uop3d_core.bags.distances import aligned_depth, points_in
from uop3d_core.bags.gathering import Gathered, gather
from uop3d_core.bags.images import is_depth, rgb_of
from uop3d_core.bags.losses import Losses
from uop3d_core.bags.ordering import Picture, in_order
from uop3d_core.bags.reading import POINTS, TF, TF_STATIC, Bag, Sources, choose_sources
from uop3d_core.bags.tally import ReplayReport, Tally
from uop3d_core.bags.transforms import Transforms
from uop3d_core.bags.writing import BagWriter, writing
from uop3d_core.config import InferenceSettings, ReplaySettings
from uop3d_core.geometry import Array, inverse_rigid
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
from uop3d_core.types import Camera, Frame

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
        target_frame: name of the frame that poses are given in, by TF; None: that of the image.
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
    target_frame: str | None = None
    unit_m: float = math.nan
    images: bool = False
    settings: ReplaySettings = field(default_factory=ReplaySettings)


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
        self._tally = Tally(list(stream.templates), self._losses)
        self._build = Messages(message_class, stream.templates)
        self._markers = MarkerDrawer(self._build, octets)
        self._index = 0

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
        seconds = self._tally.seconds
        seconds["reading"] = max(0.0, time.perf_counter() - begun - sum(seconds.values()))
        self._losses.add("messages with boxes whose image is not there", count=gathered.boxes.left)
        if options.images:
            self._copy()
        if not self._tally.images:
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
            self._needs_transforms,
            progress,
        )
        if options.boxes is not None:
            gathered.boxes.add_file(options.boxes, options.labels)
        frames = gathered.transforms.frames
        for name in (options.fixed_frame, options.target_frame):
            if name is not None and name not in frames:
                known = ", ".join(frames)
                raise ValueError(f"{self._bag.path}: TF knows no frame {name}, only {known or 'none'}")
        return gathered

    @property
    def _needs_transforms(self) -> bool:
        options = self._options
        return options.fixed_frame is not None or options.target_frame is not None or self._points

    @property
    def _points(self) -> bool:
        """Whether a point cloud stands for the depth image."""
        return self._sources.depth is not None and self._bag.topics[self._sources.depth].type == POINTS

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
        frame_id = frame_id or NO_FRAME
        place = self._place(picture.stamp_ns, frame_id, gathered.transforms)
        if place is None:
            return
        evidence = self._evidence(picture, frame, frame_id, gathered.transforms)
        cam_T_fixed = self._cam_T_fixed(picture.stamp_ns, frame_id, gathered.transforms)
        result = self._stream.process(picture.stamp_ns, frame, detections, evidence, cam_T_fixed)
        self._tally.add(place, detections, result)
        with self._watch("writing"):
            self._write(place, raw.log_ns, result)
        self._tally.took(result.seconds | self._watch.taken())

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

    def _place(self, stamp: int, frame_id: str, transforms: Transforms) -> Place | None:
        """The header of what is written; None where TF does not tell the target frame at that time."""
        target = self._options.target_frame
        if target is None or target == frame_id:
            return Place(stamp, frame_id)
        cam_T_target = transforms.lookup(frame_id, target, stamp)
        if cam_T_target is None:
            self._losses.add(f"images were left out at whose time TF does not tell {frame_id} in {target}")
            return None
        return Place(stamp, target, inverse_rigid(cam_T_target))

    def _cam_T_fixed(self, stamp: int, frame_id: str, transforms: Transforms) -> Array | None:
        fixed = self._options.fixed_frame
        found = None if fixed is None else transforms.lookup(frame_id, fixed, stamp)
        if fixed is not None and found is None:
            self._losses.add(f"images at whose time TF does not tell {frame_id} in {fixed}")
        return found

    def _evidence(self, picture: Picture, frame: Frame, frame_id: str, transforms: Transforms) -> MetricEvidence | None:
        """What tells the scale of this image's objects."""
        topic = self._sources.depth
        if topic is None:
            return None
        if picture.depth is None:
            self._losses.add(f"images without depth of {topic} at their time")
            return None
        try:
            with self._watch("decoding"):
                if self._points:
                    return MetricEvidence(points=points_in(frame_id, picture.depth, transforms))
                return MetricEvidence(aligned_depth(picture.depth, frame.camera))
        except ValueError as error:
            self._losses.add(f"depth of {topic} that cannot be used", str(error))
            return None

    def _write(self, place: Place, log_ns: int, result: StreamResult) -> None:
        placed = place_tracks(place, result.tracks, self._options.unit_m)
        write = self._writer.write
        write(OBJECTS, log_ns, self._build.objects(place, result.tracks))
        write(ESTIMATES, log_ns, self._build.estimates(place, result.estimates))
        write(DETECTIONS, log_ns, self._build.detections(place, placed))
        write(POSES, log_ns, self._build.poses(place, placed))
        write(MARKERS, log_ns, self._markers.draw(place, placed))
        if placed:
            self._tally.placed += 1
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
        recorded = self._bag.topics[self._sources.image].count
        return self._tally.report(self._sources, recorded, self._writer.counts, self._problems)
