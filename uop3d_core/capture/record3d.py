"""Recordings of the iPhone app Record3D, unpacked: a metadata file beside ``rgb/`` or ``rgbd/``.

In: a folder with ``metadata.json`` and ``rgb/N.jpg`` (export "EXR + RGB"), or ``metadata`` and ``rgbd/N.jpg`` (a .r3d
file, which is a zip archive). Out: a Recording.
Frames: poses are world_T_camera of ARKit, quaternion x y z w and translation in metres; its camera has OpenGL's axes (x
right, y up, z backwards), its world y up. K is written column by column, in pixels from the image's corner.
Lost: depth, confidence, time stamps, sound.
Format: https://github.com/marek-simonik/record3d, https://docs.nerf.studio/quickstart/custom_dataset.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from uop3d_core.capture.files import (
    MissingImageError,
    image_size,
    numbers,
    read_json_file,
    rotation_of_quaternion,
    show,
)
from uop3d_core.capture.recordings import ImportOptions, Recording, Shot, those_there
from uop3d_core.geometry import Array, inverse_rigid, rigid
from uop3d_core.types import Camera

LAYOUTS = (("metadata.json", "rgb"), ("metadata", "rgbd"), ("metadata", "rgb"))
IMAGE_ENDINGS = (".jpg", ".jpeg", ".png")
OPENGL_T_OPENCV = np.diag([1.0, -1.0, -1.0, 1.0])
UP = np.array([0.0, 1.0, 0.0])


def read_record3d(source: Path, skip_missing: bool = False) -> Recording:
    """Read an unpacked recording; pose N is that of image N.jpg.

    Raises:
        FileNotFoundError: there is no metadata, or an image is missing and not to be skipped.
        ValueError: the metadata is malformed, or does not fit the images.
    """
    source = Path(source).resolve()
    layout = _layout(source)
    if layout is None:
        raise FileNotFoundError(f"{source}: no recording of Record3D here: unpack the .r3d or .zip file first")
    path, folder = source / layout[0], source / layout[1]
    meta = read_json_file(path, "a recording of Record3D has it")
    if not isinstance(meta, dict) or not isinstance(meta.get("poses"), list):
        raise ValueError(f'{path}: must hold an object with a list "poses", got {show(meta)}')
    images, count = _images(folder), len(meta["poses"])
    if count < 2:
        raise ValueError(f"{path}: has {count} poses, at least 2 are needed")
    readers = [partial(_shot, meta, path, index, images, folder) for index in range(count)]
    shots, notes = those_there(readers, skip_missing)
    if any(number >= count for number in images):
        notes = (*notes, f"{folder} has more images than poses; the rest is left out")
    return Recording(source.name, shots, up=UP, source={"format": "record3d"}, notes=notes)


def cam_T_world_of(pose: Any, where: str) -> Array:
    """Rigid transform (4, 4) of an OpenCV camera, of a pose [qx, qy, qz, qw, tx, ty, tz].

    Raises:
        ValueError: it is no such list.
    """
    values = numbers(pose, 7, where)
    world_T_opengl = rigid(rotation_of_quaternion(values[[3, 0, 1, 2]], where), values[4:])
    return inverse_rigid(world_T_opengl @ OPENGL_T_OPENCV)


def camera_of(meta: dict[str, Any], index: int, size: tuple[int, int], where: str) -> Camera:
    """Camera of an image of (width, height), which may be a scaled version of what the intrinsics are for.

    Raises:
        ValueError: numbers are missing, or the image has other proportions.
    """
    width, height = numbers([meta.get("w"), meta.get("h")], 2, f"{where}: w and h")
    own = meta.get("perFrameIntrinsicCoeffs")
    if isinstance(own, list) and index < len(own):
        fx, fy, cx, cy = numbers(own[index], 4, f"{where}: perFrameIntrinsicCoeffs")
    else:
        K = numbers(meta.get("K"), 9, f"{where}: K")
        fx, fy, cx, cy = K[[0, 4, 6, 7]]
    if min(width, height) <= 0 or abs(size[0] * height - size[1] * width) > max(width, height):
        raise ValueError(f"{where}: the image is {size[0]} x {size[1]} pixels, the metadata say {width:g} x {height:g}")
    x, y = size[0] / width, size[1] / height
    try:
        return Camera(np.array([[fx * x, 0, cx * x - 0.5], [0, fy * y, cy * y - 0.5], [0, 0, 1]]), *size)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


class Record3dFormat:
    """Importer of unpacked recordings."""

    description = "record3d: an unpacked recording of Record3D, metadata beside rgb/ or rgbd/"
    many = False

    def recognises(self, source: Path) -> bool:
        """Whether this is such a folder."""
        return _layout(source) is not None

    def recordings(self, source: Path, options: ImportOptions) -> Iterator[Recording]:
        """The one recording in it."""
        yield read_record3d(source, options.skip_missing)


def _layout(source: Path) -> tuple[str, str] | None:
    return next((two for two in LAYOUTS if (source / two[0]).is_file() and (source / two[1]).is_dir()), None)


def _images(folder: Path) -> dict[int, Path]:
    """Image files by their numbers."""
    found = [path for path in folder.iterdir() if path.suffix.lower() in IMAGE_ENDINGS and path.stem.isdecimal()]
    inside = [path for path in found if path.resolve().is_relative_to(folder)]
    return {int(path.stem): path for path in inside}


def _shot(meta: dict[str, Any], path: Path, index: int, images: Mapping[int, Path], folder: Path) -> Shot:
    where = f"{path}: pose {index}"
    image = images.get(index)
    if image is None:
        raise MissingImageError(f"{where}: there is no image {index}.jpg in {folder}")
    camera = camera_of(meta, index, image_size(image, where), where)
    return Shot(f"{int(image.stem):06d}", image, camera, cam_T_world_of(meta["poses"][index], where))
