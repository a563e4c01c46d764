"""ROS 2 recordings as captures: images, camera_info, and where the camera was by TF or odometry.

In: an .mcap or .db3 file, or the folder of a recording. Out: a Recording of image files in a folder that vanishes when
the next one is asked for.
Frames: world is the frame at the root of the camera's TF tree (map, odom, ...), in metres and with z up (REP 105); cam
is the frame of the images, an optical frame (REP 103), which has OpenCV's axes. Pixels of camera_info have integer
centres.
Lost: everything but images, cameras and the camera's motion; images whose pose is not known.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from uop3d_core.bags.folder import BAG_ENDINGS
from uop3d_core.bags.gathering import Cameras
from uop3d_core.bags.images import rgb_of
from uop3d_core.bags.losses import Losses
from uop3d_core.bags.reading import (
    COMPRESSED,
    IMAGE,
    TF,
    TF_STATIC,
    TRANSFORMS,
    Bag,
    Sources,
    choose_sources,
    listing,
)
from uop3d_core.bags.transforms import Transforms
from uop3d_core.capture.recordings import ImportOptions, Recording, Shot
from uop3d_core.geometry import Array
from uop3d_core.messages.reading import camera_of, pose_transform_of, stamp_ns, transform_of
from uop3d_core.types import Camera

ODOMETRY = "nav_msgs/msg/Odometry"
MOST = 300
"""Images that are taken where no number is asked for."""
QUALITY = 95
LEVEL_FRAMES = ("map", "odom", "world", "earth_fixed")
"""Roots whose z is up by REP 105 or by name."""
LITTLE = 1e-3
"""Metres and radians; a camera that moves less stands still."""
KINDS = {"JPEG": ".jpg", "PNG": ".png"}


@dataclass(frozen=True, eq=False)
class _Posed:
    """An image of the recording whose camera is known: its place among the images, camera, cam_T_world."""

    index: int
    camera: Camera
    cam_T_world: Array


def read_bag(source: Path, folder: Path, options: ImportOptions) -> Recording:
    """Read a recording and write the images that are taken to a folder.

    Args:
        source: the recording.
        folder: for image files.
        options: `topic` names the images where there are several; `frames` says how many are taken.

    Raises:
        FileNotFoundError: there is no such recording.
        ImportError: rosbags is not installed.
        ValueError: it is unreadable, its images or camera are not clear, or nothing tells how the camera moved.
    """
    losses = Losses()
    with Bag(source) as bag:
        if options.topic is None:
            _refuse_several(bag)
        sources = choose_sources(bag, options.topic, need_detections=False)
        assert sources.info is not None, "it was asked for"
        rectified = "rect" in sources.image.removesuffix("/compressed").rsplit("/", 1)[-1]
        cameras, transforms = _gather(bag, sources, rectified, losses)
        posed, world = _posed(bag, sources.image, cameras, transforms, losses)
        count = min(len(posed), options.frames or MOST)
        chosen = {posed[i].index: posed[i] for i in np.unique(np.linspace(0, len(posed) - 1, count).astype(int))}
        shots = tuple(_written(bag, sources.image, chosen, folder, losses))
        notes = [*bag.problems, *losses.sentences]
    if len(shots) < 2:
        raise ValueError(f"{source}: {len(shots)} image(s) can be used: {'; '.join(notes) or 'too few were recorded'}")
    notes.insert(0, f"{len(shots)} of {len(posed)} images of {sources.image} are taken; world is {world}")
    up = np.array([0.0, 0.0, 1.0]) if world in LEVEL_FRAMES else None
    name = source.stem if source.suffix in BAG_ENDINGS else source.name
    return Recording(name, shots, up=up, source={"format": "bag", "world": world}, notes=tuple(notes))


class BagFormat:
    """Importer of ROS 2 recordings."""

    description = "bag: a ROS 2 recording (.mcap, .db3, or its folder) with images, camera_info and TF or odometry"
    many = False

    def recognises(self, source: Path) -> bool:
        """Whether this is a file or folder of rosbag2."""
        if source.is_dir():
            return any(path.suffix in BAG_ENDINGS for path in source.iterdir())
        return source.suffix in BAG_ENDINGS

    def recordings(self, source: Path, options: ImportOptions) -> Iterator[Recording]:
        """The one recording in it."""
        with tempfile.TemporaryDirectory(prefix="uop3d-bag-") as folder:
            yield read_bag(source, Path(folder), options)


def _refuse_several(bag: Bag) -> None:
    """Where it is not clear which images are meant, name the option that says it."""
    names = sorted(topic.name for topic in bag.topics.values() if topic.type in (IMAGE, COMPRESSED) and topic.count)
    pictures = [name for name in names if "depth" not in name.lower()] or names
    cameras = {name.removesuffix("/compressed") for name in pictures}
    if len(cameras) > 1:
        raise ValueError(f"{bag.path}: several topics with images, choose one with --topic: {', '.join(pictures)}")


def _gather(bag: Bag, sources: Sources, rectified: bool, losses: Losses) -> tuple[Cameras, Transforms]:
    """Cameras by time, and transforms of TF; odometry tells of frames that TF does not."""
    moving = {name for name in (TF, TF_STATIC) if name in bag.topics and bag.topics[name].type == TRANSFORMS}
    odometry = {topic.name for topic in bag.topics.values() if topic.type == ODOMETRY and topic.count}
    if not moving | odometry:
        raise ValueError(
            f"{bag.path} has neither {TF} nor odometry, so nothing tells how the camera moved; `uop3d capture` finds "
            f"cameras of images alone; {listing(bag.topics)}"
        )
    transforms, cameras, later = Transforms(), list[tuple[int, Camera]](), list[Any]()
    for message in bag.messages({str(sources.info)} | moving | odometry):
        content = message.content
        if message.raw.topic in odometry:
            later.append(content)
        elif message.raw.topic in moving:
            for each in content.transforms:
                _add(transforms, each, each.transform, transform_of, message.raw.topic == TF_STATIC, losses)
        else:
            cameras += _camera(message.raw.log_ns, content, rectified, losses)
    known = {_name(each.child_frame_id) for each in later if transforms.has_parent(_name(each.child_frame_id))}
    for each in later:
        if _name(each.child_frame_id) not in known:
            _add(transforms, each, each.pose.pose, pose_transform_of, False, losses)
    if not cameras:
        raise ValueError(f"{bag.path}: no message of {sources.info} tells a camera: {'; '.join(losses.sentences)}")
    return Cameras(cameras), transforms


def _camera(log_ns: int, info: Any, rectified: bool, losses: Losses) -> list[tuple[int, Camera]]:
    try:
        return [(log_ns, camera_of(info, rectified))]
    except ValueError as error:
        losses.add("cameras that cannot be used", str(error))
        return []


def _add(transforms: Transforms, stamped: Any, values: Any, read: Any, fixed: bool, losses: Losses) -> None:
    parent, child = _name(stamped.header.frame_id), _name(stamped.child_frame_id)
    try:
        transforms.add(parent, child, stamp_ns(stamped.header.stamp), read(values), fixed)
    except ValueError as error:
        losses.add("transforms that cannot be used", f"{child}: {error}")


def _name(frame: str) -> str:
    return frame.lstrip("/")


def _posed(bag: Bag, topic: str, cameras: Cameras, transforms: Transforms, losses: Losses) -> tuple[list[_Posed], str]:
    """Images with a camera pose, and the name of the world's frame."""
    posed, world = [], ""
    for index, message in enumerate(bag.messages({topic})):
        header = message.content.header
        frame = _name(header.frame_id)
        root = transforms.root_of(frame)
        cam_T_world = transforms.lookup(frame, root, stamp_ns(header.stamp)) if root != frame else None
        if cam_T_world is None or root != (world or root):
            losses.add("images whose camera pose is not known", f"nothing tells where {frame or 'their frame'} was")
            continue
        world = root
        posed.append(_Posed(index, cameras.at(message.raw.log_ns), cam_T_world))
    if len(posed) < 2:
        reasons = "; ".join(losses.sentences)
        raise ValueError(f"{bag.path}: {len(posed)} image(s) of {topic} have a camera pose, 2 are needed: {reasons}")
    moved = np.abs(np.stack([one.cam_T_world for one in posed]) - posed[0].cam_T_world).max()
    if moved < LITTLE:
        raise ValueError(f"{bag.path}: the camera stands still in {world}, but a capture needs one that goes around")
    return posed, world


def _written(bag: Bag, topic: str, chosen: dict[int, _Posed], folder: Path, losses: Losses) -> Iterator[Shot]:
    """Write the chosen images: compressed ones as they were sent, others as JPEG."""
    for index, message in enumerate(bag.messages({topic})):
        one = chosen.get(index)
        if one is None:
            continue
        try:
            path = _save(message.content, folder / f"{index:06d}", (one.camera.width, one.camera.height))
        except ValueError as error:
            losses.add(f"images of {topic} that cannot be used", str(error))
            continue
        yield Shot(path.stem, path, one.camera, one.cam_T_world)


def _save(message: Any, base: Path, size: tuple[int, int]) -> Path:
    """Write one image.

    Raises:
        ValueError: it cannot be decoded, or does not have the size that its camera says.
    """
    pixels = rgb_of(message)
    if (pixels.shape[1], pixels.shape[0]) != size:
        raise ValueError(f"an image of {pixels.shape[1]} x {pixels.shape[0]} pixels, but camera_info says {size}")
    ending = _kind(message)
    path = base.with_suffix(ending or ".jpg")
    if ending:
        path.write_bytes(bytes(message.data))
    else:
        Image.fromarray(pixels).save(path, quality=QUALITY)
    return path


def _kind(message: Any) -> str:
    """Ending of the file that a compressed image is, or "" where it has to be encoded."""
    if not hasattr(message, "format"):
        return ""
    try:
        with Image.open(io.BytesIO(bytes(message.data))) as image:
            return KINDS.get(image.format or "", "")
    except (UnidentifiedImageError, OSError):
        return ""
