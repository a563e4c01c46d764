"""One image through the stream: what the worker thread of the node does, from messages to messages.

In: a Match of messages and the camera_info. Out: messages on the outputs. Frames: those of the headers.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from uop3d_core.messages.building import Messages
from uop3d_core.messages.markers import MarkerDrawer
from uop3d_core.messages.placing import Place, place_tracks
from uop3d_core.messages.reading import camera_of, detections_of, stamp_ns, yolo_detections_of
from uop3d_core.pose.metric import MetricEvidence
from uop3d_core.pose.scale import SupportPlane
from uop3d_core.pose.stream import PoseStream, StreamResult
from uop3d_core.stopwatch import Stopwatch
from uop3d_core.types import Camera, Detection, Frame
from uop3d_ros.buffer import Match
from uop3d_ros.convert import message_class, octets
from uop3d_ros.frames import Frames
from uop3d_ros.health import Health
from uop3d_ros.outputs import Outputs
from uop3d_ros.parameters import NodeSettings
from uop3d_ros.pixels import Pixels, points

GRACE_S = 1.0
"""Nobody complains of a missing camera_info so soon after the node was activated."""
FARTHEST = 2.0
"""A box may be so many times as wide and high as the image."""
STALE_NS = 1_000_000_000
"""An image that is so much older than the last one was not overtaken: time went back."""


class NotUsable(Exception):
    """An image that nothing can be done with; the problem is noted already."""


@dataclass(frozen=True, eq=False)
class Job:
    """An image with what belongs to it.

    Attributes:
        match: messages.
        info: the camera_info that holds for it, or None.
        arrived: time.monotonic() when it was complete.
    """

    match: Match
    info: Any
    arrived: float


@dataclass(frozen=True, eq=False)
class Scene:
    """A job as the stream takes it."""

    frame: Frame
    detections: list[Detection]
    evidence: MetricEvidence | None
    place: Place
    cam_T_fixed: np.ndarray | None


class Processor:
    """Holds the stream; everything but `settings` belongs to the worker thread."""

    def __init__(
        self, settings: NodeSettings, stream: PoseStream, outputs: Outputs, health: Health, pixels: Pixels
    ) -> None:
        """Put together what a configured node has.

        Args:
            settings: parameters; may be replaced at any time.
            stream: the models.
            outputs: publishers.
            health: is told of problems and times.
            pixels: reads images.
        """
        self.settings = settings
        self.frames: Frames | None = None
        self._outputs, self._health, self._pixels = outputs, health, pixels
        self._last_ns: int | None = None
        self._camera: tuple[Any, Camera] | None = None
        self.take(stream)

    def take(self, stream: PoseStream) -> None:
        """Go on with other models."""
        self.stream, self.unscaled, self.tracked = stream, 0, 0
        self._messages = Messages(message_class, stream.templates)
        self._drawer = MarkerDrawer(self._messages, octets)

    def reset(self) -> None:
        """Forget all objects and the time."""
        self.stream.reset()
        self._drawer.forget()
        self._last_ns = None

    def work(self, job: Job) -> None:
        """Process one image and publish what is found."""
        watch, started = Stopwatch(), time.monotonic()
        try:
            scene = self._scene(job, watch)
            self._advance(job.match.stamp_ns)
            with watch("estimation"):
                result = self.stream.process(
                    job.match.stamp_ns, scene.frame, scene.detections, scene.evidence, scene.cam_T_fixed
                )
            for warning in result.warnings:
                self._health.problem("scale", warning)
            with watch("publishing"):
                self._publish(scene.place, result)
        except NotUsable:
            return
        except Exception as error:  # every kind of network has errors of its own
            self._health.problem("estimation", f"image could not be processed: {type(error).__name__}: {error}")
            return
        stages = {"queue": started - job.arrived, **watch.taken(), **result.seconds}
        self._health.took(
            {**stages, "total": time.monotonic() - job.arrived, "detections' lag": job.match.lag_ns / 1e9}
        )
        self._health.rates["results"].tick()

    def estimate(self, job: Job, boxes: Any) -> Any:
        """ObjectPoseArray of one image alone, with other boxes if there are any.

        Raises:
            ValueError: the image cannot be used; says why.
        """
        job = replace(job, match=replace(job.match, detections=boxes)) if boxes.detections else job
        try:
            scene = self._scene(job, Stopwatch(), yolo=self._yolo and not boxes.detections)
        except NotUsable as error:
            raise ValueError(str(error)) from error
        result = self.stream.estimate(job.match.stamp_ns, scene.frame, scene.detections, scene.evidence)
        return self._messages.estimates(scene.place, result.estimates)

    @property
    def _yolo(self) -> bool:
        return self.settings.detections == "yolo_msgs"

    def _advance(self, stamp: int) -> None:
        """Refuse images that a newer one overtook."""
        if stamp == self._last_ns:
            raise self._unusable(
                "estimation",
                "an image with the stamp of the last one is not processed again: stamps that stand still, or two "
                "detectors for one camera",
            )
        if self._last_ns is not None and self._last_ns - STALE_NS < stamp < self._last_ns:
            self._health.counts["overtaken"] += 1
            raise NotUsable("a newer image was processed already")
        self._last_ns = stamp

    def _unusable(self, kind: str, text: str) -> NotUsable:
        self._health.problem(kind, text)
        return NotUsable(text)

    def _scene(self, job: Job, watch: Stopwatch, yolo: bool | None = None) -> Scene:
        """Everything that the stream needs.

        Raises:
            NotUsable: image, camera or a transform that must be there cannot be had.
        """
        match, settings = job.match, self.settings
        camera = self._camera_of(job.info)
        with watch("decoding"):
            image = self._image(match.image, camera)
        detections = self._detections(match.detections, camera, self._yolo if yolo is None else yolo)
        frame_id = settings.camera_frame or match.image.header.frame_id
        with watch("transforms"):
            place = self._place(match.stamp_ns, frame_id)
            cam_T_fixed = self._transform("fixed_frame", frame_id, settings.fixed_frame, match.stamp_ns)
            evidence = self._evidence(match, camera, frame_id)
        return Scene(Frame(str(match.stamp_ns), camera, image), detections, evidence, place, cam_T_fixed)

    def _camera_of(self, info: Any) -> Camera:
        if info is None and not self._health.silent("camera_info", GRACE_S):
            raise NotUsable("no camera_info yet")
        if info is None:
            raise self._unusable("camera_info", "images come, but no camera_info: remap it, or start its publisher")
        if self._camera is not None and _same_camera(self._camera[0], info):
            return self._camera[1]
        try:
            camera = camera_of(info, self.settings.rectified)
        except ValueError as error:
            raise self._unusable("camera_info", str(error)) from error
        self._camera = info, camera
        return camera

    def _image(self, message: Any, camera: Camera) -> np.ndarray:
        try:
            image = self._pixels.rgb(message)
        except ValueError as error:
            raise self._unusable("images", str(error)) from error
        if image.shape[:2] != (camera.height, camera.width):
            raise self._unusable(
                "camera_info",
                f"images have {image.shape[1]} x {image.shape[0]} pixels, but camera_info says {camera.width} x "
                f"{camera.height}: they must belong together, also after resizing",
            )
        return image

    def _detections(self, message: Any, camera: Camera, yolo: bool) -> list[Detection]:
        """Usable detections, best first where there are too many."""
        if message is None:
            return [Detection(np.array([-0.5, -0.5, camera.width - 0.5, camera.height - 0.5]))]
        read = yolo_detections_of if yolo else detections_of
        found, complaints = read(message, self.settings.label_table)
        for complaint in complaints:
            self._health.problem("detections", complaint)
        found = [detection for detection in found if detection.score >= self.settings.min_detection_score]
        if len(found) > self.settings.max_detections:
            self._health.problem("detections", f"{len(found)} detections in an image: 'max_detections' limits them")
            found = sorted(found, key=lambda detection: -detection.score)[: self.settings.max_detections]
        return [detection for detection in found if self._visible(detection, camera)]

    def _visible(self, detection: Detection, camera: Camera) -> bool:
        size = np.array([camera.width, camera.height])
        low, high = detection.bbox_xyxy[:2], detection.bbox_xyxy[2:]
        inside = bool((high > 0).all() and (low < size - 1).all() and (high - low < FARTHEST * size).all())
        if not inside:
            box = np.round(detection.bbox_xyxy, 1).tolist()
            self._health.problem("detections", f"box {box} is not one of an object in {size[0]} x {size[1]} pixels")
        return inside

    def _place(self, stamp: int, frame_id: str) -> Place:
        target, prefix = self.settings.target_frame, self.settings.frame_prefix
        if not target or target == frame_id:
            return Place(stamp, frame_id, prefix=prefix)
        frame_T_cam = self._transform("target_frame", target, frame_id, stamp)
        if frame_T_cam is None:
            raise NotUsable(f"no transform from {frame_id} to {target}")
        return Place(stamp, target, frame_T_cam, prefix)

    def _transform(self, kind: str, target: str, source: str, stamp: int) -> np.ndarray | None:
        """target_T_source at a time; None, with a problem noted, where it cannot be had or is not asked for."""
        if not target or not source:
            return None
        if target == source:
            return np.eye(4)
        try:
            if self.frames is None:
                raise LookupError("TF is not listened to")
            return self.frames.lookup(target, source, stamp, self.settings.tf_timeout_s)
        except LookupError as error:
            self._health.problem("transforms", f"{kind}: {error}")
            return None

    def _evidence(self, match: Match, camera: Camera, frame_id: str) -> MetricEvidence | None:
        """What tells the scale, except the sizes, which the stream knows."""
        depth = cloud = plane = None
        cam_T_plane = self._transform("plane_frame", frame_id, self.settings.plane_frame, match.stamp_ns)
        if cam_T_plane is not None:
            plane = SupportPlane.of_frame(cam_T_plane)
        try:
            if match.depth is not None and self.settings.depth == "image":
                depth = self._depth(match, camera)
            elif match.depth is not None:
                cloud = self._cloud(match, frame_id)
        except ValueError as error:
            self._health.problem("depth", str(error))
        if depth is None and cloud is None and plane is None:
            return None
        return MetricEvidence(depth=depth, points=cloud, plane=plane)

    def _depth(self, match: Match, camera: Camera) -> np.ndarray:
        depth = self._pixels.depth(match.depth)
        if isinstance(getattr(match.image, "height", None), int) and depth.shape != (
            match.image.height,
            match.image.width,
        ):
            raise ValueError(
                f"the depth image has {depth.shape[1]} x {depth.shape[0]} pixels, the image {match.image.width} x "
                f"{match.image.height}: align it (the driver's align_depth, or depth_image_proc register)"
            )
        return depth

    def _cloud(self, match: Match, frame_id: str) -> np.ndarray | None:
        cloud, source = points(match.depth), match.depth.header.frame_id
        cam_T_cloud = self._transform("points", frame_id, source, stamp_ns(match.depth.header.stamp))
        return None if cam_T_cloud is None else cloud @ cam_T_cloud[:3, :3].T + cam_T_cloud[:3, 3]

    def _publish(self, place: Place, result: StreamResult) -> None:
        """TF first: that is what waits."""
        settings, messages, outputs = self.settings, self._messages, self._outputs
        sure = [track for track in result.tracks if track.estimate.score >= settings.publish_min_score]
        placed = place_tracks(place, sure, settings.unit_m)
        self.tracked = len(result.tracks)
        self.unscaled = sum(not np.isfinite(track.estimate.scale) for track in result.tracks)
        if not place.frame_id:
            self._health.problem("images", "images have no frame_id, so there is no TF: set 'camera_frame'")
        elif settings.publish_tf and placed:
            outputs.send("tf", lambda: messages.transforms(place, placed))
        outputs.send("objects", lambda: messages.objects(place, result.tracks))
        outputs.send("detections", lambda: messages.detections(place, placed))
        outputs.send("poses", lambda: messages.poses(place, placed))
        outputs.send("estimates", lambda: messages.estimates(place, result.estimates))
        outputs.send("markers", lambda: self._drawer.draw(place, placed))


def _same_camera(a: Any, b: Any) -> bool:
    """Whether two messages describe the same camera, whatever their stamps."""
    names = ("height", "width", "distortion_model", "d", "k", "p", "binning_x", "binning_y", "roi")
    return a is b or all(np.array_equal(getattr(a, name), getattr(b, name)) for name in names)
