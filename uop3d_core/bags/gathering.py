"""What a replay has to know before the first image: cameras, boxes, and where the camera was.

In: a Bag, its Sources, files. Out: cameras by time, boxes by stamp or place, Transforms.
The whole recording is looked through first, so that boxes that came late are there when their image is.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from uop3d_core.bags.losses import Losses
from uop3d_core.bags.ordering import nearest
from uop3d_core.bags.reading import TF, TF_STATIC, TRANSFORMS, YOLO, Bag, Sources
from uop3d_core.bags.transforms import Transforms
from uop3d_core.geometry import Array
from uop3d_core.messages.reading import (
    Labels,
    camera_of,
    detections_of,
    stamp_ns,
    transform_of,
    yolo_detections_of,
)
from uop3d_core.predictions import read_timed_detections
from uop3d_core.progress import Progress, silent
from uop3d_core.types import Camera, Detection


class Boxes:
    """Detections that wait for their images; each is given once."""

    def __init__(self, slop_ns: int) -> None:
        """Begin with none."""
        self._slop_ns = slop_ns
        self._by_stamp: dict[int, deque[list[Detection]]] = {}
        self._by_index: dict[int, list[Detection]] = {}
        self._stamps: list[int] | None = None

    def add(self, stamp: int, detections: list[Detection]) -> None:
        """Put in detections of an image by its time."""
        self._by_stamp.setdefault(stamp, deque()).append(detections)
        self._stamps = None

    def add_file(self, path: Path, labels: Labels) -> None:
        """Put in the detections of a file. Raises: see `read_timed_detections`."""
        timed = read_timed_detections(path)
        for stamp, detections in timed.by_stamp.items():
            self.add(stamp, [_labelled(each, labels) for each in detections])
        self._by_index = {i: [_labelled(each, labels) for each in found] for i, found in timed.by_index.items()}

    def take(self, stamp: int, index: int) -> list[Detection] | None:
        """Detections of an image by its place, or by its time or nearly; None where no detector spoke of it."""
        if index in self._by_index:
            return self._by_index.pop(index)
        near = nearest(self._sorted(), stamp, self._slop_ns)
        if near is None or not self._by_stamp[near]:
            return None
        return self._by_stamp[near].popleft()

    def away_s(self, stamp: int) -> float | None:
        """How far in time the nearest detections of any image are; None where there are none at all."""
        near = nearest(self._sorted(), stamp, None)
        return None if near is None else abs(near - stamp) / 1e9

    def _sorted(self) -> list[int]:
        if self._stamps is None:
            self._stamps = sorted(self._by_stamp)
        return self._stamps

    @property
    def left(self) -> int:
        """How many images' detections found no image."""
        return sum(map(len, self._by_stamp.values())) + len(self._by_index)


def _labelled(detection: Detection, labels: Labels) -> Detection:
    return Detection(detection.bbox_xyxy, labels(detection.label), detection.score, detection.mask)


class Cameras:
    """Cameras by the time from which they hold; a zoom changes them."""

    def __init__(self, cameras: Iterable[tuple[int, Camera]]) -> None:
        """Take (log_ns, Camera) in the order of time."""
        pairs = list(cameras)
        self._since, self._cameras = [since for since, _ in pairs], [camera for _, camera in pairs]

    def at(self, log_ns: int) -> Camera:
        """The camera of an image that arrived then; the first one also before it was told."""
        return self._cameras[max(bisect_right(self._since, log_ns) - 1, 0)]

    def __len__(self) -> int:
        return len(self._cameras)


@dataclass(frozen=True)
class Gathered:
    """All that is known beforehand."""

    cameras: Cameras
    boxes: Boxes
    transforms: Transforms


def gather(
    bag: Bag,
    sources: Sources,
    losses: Losses,
    slop_ns: int,
    labels: Labels,
    rectified: bool = False,
    camera: Camera | None = None,
    with_transforms: bool = False,
    progress: Progress = silent,
) -> Gathered:
    """Read everything but images.

    Args:
        bag: a recording.
        sources: its topics.
        losses: told of what cannot be used.
        slop_ns: how far stamps of boxes and images may be apart.
        labels: what the detector calls the categories.
        rectified: whether the images are rectified.
        camera: of all images, instead of what the recording says.
        with_transforms: read TF, too.
        progress: told of messages.

    Raises:
        ValueError: the recording has no usable camera, or no TF though it is needed.
    """
    topics = {topic for topic in (sources.info, sources.detections) if topic}
    if with_transforms:
        moving = {name for name in (TF, TF_STATIC) if name in bag.topics and bag.topics[name].type == TRANSFORMS}
        if not moving:
            raise ValueError(f"{bag.path} has no {TF}, so it does not tell where other frames than the camera's are")
        topics |= moving
    boxes, transforms, cameras = Boxes(slop_ns), Transforms(), list[tuple[int, Camera]]()
    before, total = None, sum(bag.topics[topic].count for topic in topics)
    progress("first look", 0, total)
    for done, message in enumerate(bag.messages(topics), 1):
        progress("first look", done, max(done, total))
        topic, content = message.raw.topic, message.content
        if topic == sources.info:
            key = _calibration(content)
            if key != before:
                cameras += _camera(message.raw.log_ns, content, rectified, topic, losses)
                before = key
        elif topic == sources.detections:
            read = yolo_detections_of if bag.topics[topic].type == YOLO else detections_of
            found, complaints = read(content, labels)
            for complaint in complaints:
                losses.add(f"boxes of {topic} that cannot be used", complaint)
            boxes.add(stamp_ns(content.header.stamp), found)
        else:
            _take_transforms(transforms, content, topic == TF_STATIC, losses)
    if camera is not None:
        cameras = [(0, camera)]
    if not cameras:
        reasons = "; ".join([*losses.sentences, *bag.problems]) or "there is none"
        raise ValueError(f"{bag.path}: no message of {sources.info} tells a camera: {reasons}")
    return Gathered(Cameras(cameras), boxes, transforms)


def _calibration(info: object) -> bytes:
    """Everything of a CameraInfo but its header."""
    fields = {name: value for name, value in vars(info).items() if name != "header"}
    return repr({k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in fields.items()}).encode()


def _camera(log_ns: int, info: object, rectified: bool, topic: str, losses: Losses) -> list[tuple[int, Camera]]:
    try:
        return [(log_ns, camera_of(info, rectified))]
    except ValueError as error:
        losses.add(f"cameras of {topic} that cannot be used", str(error))
        return []


def _take_transforms(transforms: Transforms, message: object, fixed: bool, losses: Losses) -> None:
    for each in message.transforms:  # type: ignore[attr-defined]
        try:
            parent_T_child: Array = transform_of(each.transform)
        except ValueError as error:
            losses.add("transforms that cannot be used", f"{each.child_frame_id}: {error}")
            continue
        parent, child = each.header.frame_id.lstrip("/"), each.child_frame_id.lstrip("/")
        transforms.add(parent, child, stamp_ns(each.header.stamp), parent_T_child, fixed)
