"""Raw data of the iPhone app Polycam: ``keyframes/`` with images and a JSON file for every camera.

In: the unpacked folder, with corrected cameras and images or those of ARKit. Out: a Recording.
Frames: ``t_00 .. t_23`` are the rows of world_T_camera of ARKit, in metres; its camera has OpenGL's axes (x right,
y up, z backwards), its world y up. Intrinsics are in pixels from the image's corner.
Lost: depth, confidence, meshes.
Format: https://github.com/PolyCam/polyform
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from uop3d_core.capture.files import check_size, image_inside, numbers, read_json_file, rigid_of, show
from uop3d_core.capture.recordings import ImportOptions, Recording, Shot, those_there
from uop3d_core.geometry import Array, inverse_rigid
from uop3d_core.types import Camera

LAYOUTS = (("corrected_cameras", "corrected_images"), ("corrected_cameras", "images"), ("cameras", "images"))
"""Folders in ``keyframes`` of cameras and images, best first: corrected cameras are those after global optimisation."""
OPENGL_T_OPENCV = np.diag([1.0, -1.0, -1.0, 1.0])
UP = np.array([0.0, 1.0, 0.0])


def read_polycam(source: Path, skip_missing: bool = False) -> Recording:
    """Read raw data, with `skip_missing` also where images are missing.

    Raises:
        FileNotFoundError: there are no keyframes, or an image is missing.
        ValueError: a camera file is malformed, or does not fit its image.
    """
    source = Path(source).resolve()
    layout = _layout(source)
    if layout is None:
        raise FileNotFoundError(f"{source}: no raw data of Polycam here: keyframes with cameras and images are needed")
    cameras, images = (source / "keyframes" / name for name in layout)
    files = sorted(cameras.glob("*.json"))
    if len(files) < 2:
        raise ValueError(f"{cameras}: has {len(files)} camera file(s), at least 2 are needed")
    shots, missing = those_there([partial(_shot, file, images) for file in files], skip_missing)
    note = "the cameras are ARKit's own, not corrected by Polycam, and may be off by centimetres"
    notes = (*missing, note) if layout[0] == "cameras" else missing
    return Recording(source.name, shots, up=UP, source={"format": "polycam"}, notes=notes)


def cam_T_world_of(values: dict[str, Any], where: str) -> Array:
    """Rigid transform (4, 4) of an OpenCV camera.

    Raises:
        ValueError: a number is missing, or they make no rotation.
    """
    keys = [f"t_{row}{column}" for row in range(3) for column in range(4)]
    rows = numbers([values.get(key) for key in keys], 12, f"{where}: {keys[0]} .. {keys[-1]}").reshape(3, 4)
    return inverse_rigid(rigid_of(rows, where) @ OPENGL_T_OPENCV)


class PolycamFormat:
    """Importer of raw data."""

    description = "polycam: raw data of Polycam, a folder with keyframes/"
    many = False

    def recognises(self, source: Path) -> bool:
        """Whether this is such a folder."""
        return _layout(source) is not None

    def recordings(self, source: Path, options: ImportOptions) -> Iterator[Recording]:
        """The one recording in it."""
        yield read_polycam(source, options.skip_missing)


def _layout(source: Path) -> tuple[str, str] | None:
    base = source / "keyframes"
    return next((two for two in LAYOUTS if all((base / name).is_dir() for name in two)), None)


def _shot(file: Path, images: Path) -> Shot:
    where = str(file)
    values = read_json_file(file, "Polycam writes one for every image")
    if not isinstance(values, dict):
        raise ValueError(f"{where}: must hold an object, got {show(values)}")
    image = image_inside(images, f"{file.stem}.jpg", f"{where}: the image")
    keys = ("fx", "fy", "cx", "cy", "width", "height")
    fx, fy, cx, cy, width, height = numbers([values.get(key) for key in keys], 6, f"{where}: {', '.join(keys)}")
    check_size(image, (width, height), where)
    try:
        camera = Camera(np.array([[fx, 0, cx - 0.5], [0, fy, cy - 0.5], [0, 0, 1]]), int(width), int(height))
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    return Shot(file.stem, image, camera, cam_T_world_of(values, where))
