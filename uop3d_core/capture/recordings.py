"""Recordings: image files with cameras as an importer finds them, their pixels untouched.

In: files anywhere. Out: Captures, whose pixels are undistorted when they are read; copies of the files in a folder.
Frames: cam is OpenCV's (x right, y down, z forward), pixels have integer centres, world is that of the source.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from uop3d_core.capture.files import MissingImageError, image_size
from uop3d_core.geometry import Array
from uop3d_core.images import read_mask, read_rgb
from uop3d_core.types import Camera, Capture, Frame


@dataclass(frozen=True, eq=False)
class Shot:
    """One image file with its camera.

    Attributes:
        name: unique within its recording; the name of a file without ending.
        image: the file.
        camera: intrinsics and lens of the file's pixels.
        cam_T_world: (4, 4) rigid transform.
        mask: file of the object mask, or None.
    """

    name: str
    image: Path
    camera: Camera
    cam_T_world: Array
    mask: Path | None = None


@dataclass(frozen=True, eq=False)
class Recording:
    """What a capture folder is made of, and what an exporter writes.

    Attributes:
        name: of the capture.
        shots: the images.
        points: (N, 3) in world, or None.
        up: (3,) unit vector in world against gravity, or None where that is not known.
        source: what is worth keeping of where it came from; JSON.
        notes: what a person should know of the import, one sentence each.
    """

    name: str
    shots: tuple[Shot, ...]
    points: Array | None = None
    up: Array | None = None
    source: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def unmasked(self) -> int:
        """How many images have no mask."""
        return sum(shot.mask is None for shot in self.shots)


@dataclass(frozen=True)
class ImportOptions:
    """What a user asks an importer for; an importer ignores what its format does not have.

    Attributes:
        images: folder of the images where they are not in their usual place.
        only: names of the captures wanted, where a source holds many; empty for all.
        frames: how many frames will be kept, evenly spaced, or None for all; an importer need not read more.
        topic: of the images, in recordings of robots.
        up: direction against gravity in the world of the source, of any length, where the user knows it.
        skip_missing: whether to go on without images that the source names and that are not there.
    """

    images: Path | None = None
    only: tuple[str, ...] = ()
    frames: int | None = None
    topic: str | None = None
    up: tuple[float, float, float] | None = None
    skip_missing: bool = False


def those_there(readers: Iterable[Callable[[], Shot]], skip_missing: bool) -> tuple[tuple[Shot, ...], tuple[str, ...]]:
    """The shots whose images are there, and a note of those that are not.

    Args:
        readers: of one shot each, which raise `MissingImageError` where there is no image.
        skip_missing: whether to go on without the others.

    Raises:
        FileNotFoundError: an image is missing, and all are wanted or fewer than two are left.
    """
    shots: list[Shot] = []
    missing: list[str] = []
    for read in readers:
        try:
            shots.append(read())
        except MissingImageError as error:
            missing.append(str(error))
    if not missing:
        return tuple(shots), ()
    count = f"{len(missing)} of {len(shots) + len(missing)} images are missing"
    if skip_missing and len(shots) > 1:
        return tuple(shots), (f"{count} and left out; the first: {missing[0]}",)
    raise FileNotFoundError(
        f"{count}; the first: {missing[0]}"
        + ("" if len(shots) < 2 else "; `uop3d capture import --skip-missing` goes on without them")
    )


def capture_of(recording: Recording) -> Capture:
    """The capture that a recording is: pinhole cameras, images and masks undistorted when they are read."""
    frames = [
        Frame(
            name=shot.name,
            camera=replace(shot.camera, lens="pinhole", distortion=np.zeros(0)),
            image_source=partial(read_undistorted, shot.image, shot.camera),
            cam_T_world=shot.cam_T_world,
            mask_source=None if shot.mask is None else partial(read_undistorted_mask, shot.mask, shot.camera),
        )
        for shot in recording.shots
    ]
    return Capture(recording.name, tuple(frames), recording.points, recording.up)


def read_undistorted(path: Path, camera: Camera) -> Array:
    """Pixels (H, W, 3) of a file as the pinhole camera with the same K would see them."""
    return _undistorted(read_rgb(path), camera)


def read_undistorted_mask(path: Path, camera: Camera) -> Array:
    """Mask (H, W) of a file as the pinhole camera with the same K would see it; False outside of what was seen."""
    mask = read_mask(path)
    return mask if camera.lens == "pinhole" else _undistorted(mask.astype(np.uint8) * 255, camera) >= 128


def _undistorted(pixels: Array, camera: Camera) -> Array:
    if camera.lens == "pinhole":
        return pixels
    if camera.lens == "fisheye":
        return cv2.fisheye.undistortImage(pixels, camera.K, camera.distortion, Knew=camera.K)
    return cv2.undistort(pixels, camera.K, camera.distortion)


def evenly_chosen(recording: Recording, count: int | None) -> Recording:
    """At most `count` of the shots, evenly spaced from the first to the last."""
    if count is None or count >= len(recording.shots):
        return recording
    chosen = np.linspace(0, len(recording.shots) - 1, count).astype(int)
    return replace(recording, shots=tuple(recording.shots[index] for index in chosen))


def with_masks(recording: Recording, folder: Path) -> Recording:
    """The recording with the masks of a folder: NAME.png, or the image's file name with ".png" behind it.

    Raises:
        FileNotFoundError: there is no such folder, or no mask of any image in it.
    """
    folder = folder.resolve()
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder of masks")
    shots = tuple(replace(shot, mask=find_mask(folder, shot) or shot.mask) for shot in recording.shots)
    if all(new.mask is old.mask for new, old in zip(shots, recording.shots, strict=True)):
        first = recording.shots[0]
        raise FileNotFoundError(f"{folder}: holds no mask of these images; that of {first.image} is {first.name}.png")
    return replace(recording, shots=shots)


def find_mask(folder: Path, shot: Shot, file: str | None = None) -> Path | None:
    """The mask of an image in a resolved folder of masks; `file` is the image's path where it is not in one folder."""
    names = [f"{shot.name}.png", f"{shot.image.name}.png", f"{shot.image.stem}.png"]
    names += [f"{file}.png", str(Path(file).with_suffix(".png"))] if file else []
    found = ((folder / name).resolve() for name in reversed(names))
    return next((path for path in found if path.is_file() and path.is_relative_to(folder)), None)


def check_names(names: Sequence[str], capture: str) -> None:
    """Refuse frame names that cannot be file names.

    Raises:
        ValueError: there are such, or two are the same.
    """
    for name in names:
        if name in ("", ".", "..") or Path(name).name != name or "\\" in name or "\0" in name:
            raise ValueError(f"capture {capture}: frame name {name!r} cannot be a file name; rename the frame")
    if len(set(names)) < len(names):
        raise ValueError(f"capture {capture} has duplicate frame names; rename the frames")


def check_masks(recording: Recording) -> None:
    """Refuse masks that do not have the size of their images.

    Raises:
        ValueError: one does not, or is not an image.
    """
    for shot in recording.shots:
        if shot.mask is None:
            continue
        width, height = image_size(shot.mask, f"frame {shot.name}: the mask")
        if (width, height) != (shot.camera.width, shot.camera.height):
            raise ValueError(
                f"frame {shot.name}: the mask {shot.mask} is {width} x {height} pixels, but its image is "
                f"{shot.camera.width} x {shot.camera.height}: masks must have the size of their images"
            )


def place_image(shot: Shot, folder: Path, link: bool = False) -> Path:
    """Copy the image of a shot to `folder`/NAME.ending, or link it (hard) where that is asked for and possible."""
    return _place(shot.image, folder / f"{shot.name}{shot.image.suffix.lower()}", link)


def place_mask(shot: Shot, path: Path, link: bool = False) -> Path:
    """Copy the mask of a shot, or write it as PNG where it is another kind of file.

    Raises:
        ValueError: it is not a readable image.
    """
    assert shot.mask is not None, "the caller knows"
    if shot.mask.suffix.lower() == ".png":
        return _place(shot.mask, path, link)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(read_mask(shot.mask).astype(np.uint8) * 255).save(path)
    return path


def _place(source: Path, target: Path, link: bool) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    if link:
        try:
            os.link(source.resolve(), target)
            return target
        except OSError:  # another file system
            pass
    shutil.copyfile(source, target)
    return target
