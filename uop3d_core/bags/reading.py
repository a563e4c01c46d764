"""Recordings as messages: which topics there are, which of them to use, and what they say in order.

In: a path, names of topics or none. Out: Topics, and typed messages. What cannot be read is counted, never passed over.
"""

from __future__ import annotations

import posixpath
import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uop3d_core.bags.definitions import difference, type_store
from uop3d_core.bags.folder import Recording
from uop3d_core.bags.losses import Losses
from uop3d_core.bags.storage import RawMessage, Topic

IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
INFO, DETECTIONS = "sensor_msgs/msg/CameraInfo", "vision_msgs/msg/Detection2DArray"
YOLO, POINTS = "yolo_msgs/msg/DetectionArray", "sensor_msgs/msg/PointCloud2"
TRANSFORMS = "tf2_msgs/msg/TFMessage"
TF, TF_STATIC = "/tf", "/tf_static"


@dataclass(frozen=True)
class Stamped:
    """A message with where it comes from.

    Attributes:
        raw: as recorded.
        content: the message.
    """

    raw: RawMessage
    content: Any


class Bag:
    """A recording that is read for its messages; use it in a with statement."""

    def __init__(self, path: Path) -> None:
        """Open it.

        Raises:
            ValueError, OSError: see `Recording`; or nothing was recorded.
        """
        type_store()
        self.path, self.losses = path, Losses()
        self._recording = Recording(path)
        try:
            self.topics = {topic.name: topic for topic in self._recording.topics()}
            if not any(topic.count for topic in self.topics.values()):
                raise ValueError("; ".join([f"{path} holds no messages that can be read", *self._recording.problems]))
        except BaseException:
            self._recording.close()
            raise

    def __enter__(self) -> Bag:
        return self

    def __exit__(self, *_: object) -> None:
        self._recording.close()

    @property
    def problems(self) -> list[str]:
        """What could not be read so far, one sentence each."""
        return [*self._recording.problems, *self.losses.sentences]

    def messages(self, topics: Collection[str]) -> Iterator[Stamped]:
        """Messages of some topics in the order of the recording; those that cannot be decoded are counted.

        Raises:
            ValueError: messages of a topic are of another form than that known by the name of their type.
        """
        from rosbags.serde import SerdeError

        self._check(topics)
        for raw in self._recording.messages(topics):
            try:
                content = type_store().deserialize_cdr(raw.data, self.topics[raw.topic].type)
            except (SerdeError, struct.error, ValueError, IndexError, OverflowError, MemoryError) as error:
                self.losses.add(f"messages of {raw.topic} that cannot be decoded", str(error))
                continue
            yield Stamped(raw, content)

    def raw_messages(self, topics: Collection[str]) -> Iterator[RawMessage]:
        """Messages of some topics as they were recorded."""
        return self._recording.messages(topics)

    def _check(self, topics: Collection[str]) -> None:
        for name in topics:
            topic = self.topics[name]
            if topic.encoding != "cdr":
                raise ValueError(f"{self.path}: {name} is encoded as {topic.encoding!r}, only cdr is known")
            if topic.type not in type_store().types:
                raise ValueError(f"{self.path}: {name} has messages of {topic.type}, which is not known")
            if differs := difference(topic.type, topic.definition, topic.language):
                raise ValueError(f"{self.path}: {name} has messages of {topic.type}, but {differs}")


def listing(topics: dict[str, Topic]) -> str:
    """All topics for a message: name, type and count."""
    lines = [f"  {t.name}  {t.type}  {t.count}" for t in sorted(topics.values(), key=lambda t: t.name)]
    return "\n".join(["topics of the recording, their types and numbers of messages:", *lines])


@dataclass(frozen=True)
class Sources:
    """Topics that a replay reads.

    Attributes:
        image: pictures.
        info: their camera; None where it is given otherwise.
        detections: boxes; None where they are given otherwise.
        depth: aligned depth or a point cloud, or None.
    """

    image: str
    info: str | None
    detections: str | None
    depth: str | None = None


def choose_sources(
    bag: Bag,
    image: str | None = None,
    info: str | None = None,
    detections: str | None = None,
    depth: str | None = None,
    need_info: bool = True,
    need_detections: bool = True,
) -> Sources:
    """The topics that were named, and where none was, the only ones that fit.

    Args:
        bag: a recording.
        image: name of a topic, or None.
        info: the same.
        detections: the same.
        depth: the same; depth is used only where it is named.
        need_info: False where the camera is known otherwise.
        need_detections: False where the boxes are known otherwise.

    Raises:
        ValueError: a topic does not exist or is of another type, or there is none, or several; the message lists all.
    """
    picture = _named(bag, image, (IMAGE, COMPRESSED)) if image else _only_camera(bag)
    box = None
    if detections or need_detections:
        kinds = (DETECTIONS, YOLO)
        box = _named(bag, detections, kinds) if detections else _only(bag, kinds, "boxes", "--detections")
    camera = None
    if info or need_info:
        camera = _named(bag, info, (INFO,)) if info else _camera_of(bag, picture)
    return Sources(picture, camera, box, _named(bag, depth, (IMAGE, COMPRESSED, POINTS)) if depth else None)


def _named(bag: Bag, name: str, types: Collection[str]) -> str:
    topic = bag.topics.get(name)
    if topic is None or topic.type not in types or not topic.count:
        what = "is not in it" if topic is None else f"has {topic.count} messages of {topic.type}"
        raise ValueError(f"{bag.path}: topic {name} {what}, expected {' or '.join(types)}; {listing(bag.topics)}")
    return name


def _of_type(bag: Bag, *types: str) -> list[str]:
    return sorted(topic.name for topic in bag.topics.values() if topic.type in types and topic.count)


def _only_camera(bag: Bag) -> str:
    """The only topic with pictures; of one camera's, that which is not compressed."""
    names = _of_type(bag, IMAGE, COMPRESSED)
    names = [name for name in names if "depth" not in name.lower()] or names
    raw = [name for name in names if not (name.endswith("/compressed") and name.removesuffix("/compressed") in names)]
    if len(raw) == 1:
        return raw[0]
    what = f"several topics with images, choose one with --image: {', '.join(raw)}" if raw else "no images"
    raise ValueError(f"{bag.path} holds {what}; {listing(bag.topics)}")


def _only(bag: Bag, types: Collection[str], what: str, option: str) -> str:
    names = _of_type(bag, *types)
    if len(names) == 1:
        return names[0]
    found = f"several topics with {what}, choose one with {option}: {', '.join(names)}" if names else f"no {what}"
    other = "" if names else f" ({' or '.join(types)}): give them in a file with {option} FILE"
    raise ValueError(f"{bag.path} holds {found}{other}; {listing(bag.topics)}")


def _camera_of(bag: Bag, image: str) -> str:
    """The camera_info beside the images, or the only one."""
    names = _of_type(bag, INFO)
    base = image.removesuffix("/compressed")
    for beside in (posixpath.join(posixpath.dirname(base), "camera_info"), posixpath.join(base, "camera_info")):
        if beside in names:
            return beside
    if len(names) == 1:
        return names[0]
    if names:
        trouble = f"there are several, none of them beside {image}; choose one with --info: {', '.join(names)}"
    else:
        trouble = "there is none; give the camera with --camera FILE (width, height, K)"
    raise ValueError(f"{bag.path}: the camera of {image} is needed ({INFO}), but {trouble}; {listing(bag.topics)}")
