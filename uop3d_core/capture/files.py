"""Checks of what capture files name: other files, numbers, images, points.

In: values read from somebody's JSON, text or binary file. Out: the same, checked, or a ValueError that names the place.
A file name is followed only where it stays inside its folder, links included.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from PIL import Image, UnidentifiedImageError

from uop3d_core.geometry import Array, closest_rotation, rigid

ROTATION_TOLERANCE = 1e-3
LARGEST_JSON = 64 * 2**20
"""Bytes of a JSON file that describes one capture; 10 000 frames take about 8 MB."""


class MissingImageError(FileNotFoundError):
    """An image that a source names is not there."""


def show(value: Any) -> str:
    """A value for a message, shortened."""
    text = "nothing" if value is None else json.dumps(value, default=str)
    return text if len(text) <= 80 else text[:77] + "..."


def is_number(value: Any) -> TypeGuard[float]:
    """Whether a value of JSON is a finite number of usual size."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e100


def numbers(values: Any, count: int, what: str) -> Array:
    """A list of `count` finite numbers as float64.

    Raises:
        ValueError: it is something else.
    """
    if not (isinstance(values, list) and len(values) == count and all(is_number(value) for value in values)):
        raise ValueError(f"{what} must be {count} finite numbers, got {show(values)}")
    return np.array(values, dtype=np.float64)


def rotation_of(matrix: Array, what: str) -> Array:
    """The rotation (3, 3) that a matrix is but for rounding.

    Raises:
        ValueError: it scales, shears or mirrors.
    """
    deviation = float(np.abs(matrix @ matrix.T - np.eye(3)).max())
    if not deviation <= ROTATION_TOLERANCE or np.linalg.det(matrix) < 0:
        raise ValueError(
            f"{what} is not a rotation with a translation (R R^T is off by {deviation:.2g}, determinant "
            f"{np.linalg.det(matrix):.3g}): remove scale and mirroring from the camera-to-world matrix"
        )
    return closest_rotation(matrix)


def rotation_of_quaternion(wxyz: Array, what: str) -> Array:
    """Rotation (3, 3) of a quaternion, scalar first; that of another length than 1 is normalised.

    Raises:
        ValueError: it has no direction.
    """
    length = float(np.linalg.norm(wxyz))
    if not np.isfinite(length) or length < 1e-6:
        raise ValueError(f"{what} must be a quaternion of length 1, got {wxyz.tolist()}")
    w, x, y, z = wxyz / length
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def rigid_of(rows: Array, what: str) -> Array:
    """Rigid transform (4, 4) of the three or four rows of a matrix, see `rotation_of`."""
    return rigid(rotation_of(rows[:3, :3], what), rows[:3, 3])


def read_json_file(path: Path, missing: str) -> Any:
    """Content of a JSON file.

    Args:
        path: the file.
        missing: what to say where there is none.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is not JSON, or larger than any such file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; {missing}")
    if path.stat().st_size > LARGEST_JSON:
        raise ValueError(f"{path}: has more than {LARGEST_JSON // 2**20} MB, which no description of a capture has")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not valid JSON ({error}); write the file again") from error


def file_inside(folder: Path, name: Any, what: str) -> Path:
    """The existing file `name` of a resolved folder.

    Raises:
        ValueError: the name is no relative path that stays inside.
        FileNotFoundError: there is no such file.
    """
    if not isinstance(name, str) or not name or "\0" in name:
        raise ValueError(f"{what} must be the path of a file relative to {folder}, got {show(name)}")
    path = (folder / name).resolve()
    if Path(name).is_absolute() or not path.is_relative_to(folder):
        raise ValueError(f"{what} {show(name)} leads out of {folder}: copy the file there and give a relative path")
    if not path.is_file():
        raise FileNotFoundError(f"{what}: there is no file {path}; copy it there or remove the frame")
    return path


def image_inside(folder: Path, name: Any, what: str) -> Path:
    """The existing image `name` of a resolved folder; as `file_inside`.

    Raises:
        ValueError: the name is no relative path that stays inside.
        MissingImageError: there is no such file.
    """
    try:
        return file_inside(folder, name, what)
    except FileNotFoundError as error:
        raise MissingImageError(str(error)) from None


def image_size(path: Path, what: str) -> tuple[int, int]:
    """(width, height) from the header of an image file.

    Raises:
        ValueError: not an image.
    """
    try:
        with Image.open(path) as image:
            return image.size
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{what} {path} is not a readable image ({error}); replace the file") from error


def check_size(image: Path, size: tuple[float, float], what: str) -> None:
    """Refuse an image that is not of the size that its camera is said to have.

    Raises:
        ValueError: it is not.
    """
    found = image_size(image, f"{what}: the image")
    if found != tuple(size):
        raise ValueError(
            f"{what}: the image is {found[0]} x {found[1]} pixels, but its camera says {size[0]:g} x {size[1]:g}: "
            "the images are not those that the cameras were made of"
        )


def check_unique(names: Sequence[str], path: Path) -> None:
    """Refuse names that are there twice.

    Raises:
        ValueError: some are.
    """
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise ValueError(f"{path}: duplicate frame names {', '.join(twice[:5])}: image files need different names")


def frame_names(files: Sequence[str]) -> list[str]:
    """Names for the frames of image files: without folder and ending where that tells them apart, else with folders."""
    stems = [Path(file).stem for file in files]
    if len(set(stems)) == len(stems):
        return stems
    return ["_".join(Path(file).with_suffix("").parts) for file in files]


def read_points(path: Path, advice: str) -> Array | None:
    """Points (N, 3) of a PLY file, or None where it holds none.

    Raises:
        ValueError: it is no such file, or holds NaN; the message ends with the advice.
    """
    import trimesh

    try:
        loaded: Any = trimesh.load(path, file_type="ply")
        points = np.asarray(loaded.vertices, dtype=np.float64)
    except Exception as error:  # the reader raises whatever a broken file leads to
        raise ValueError(f"{path}: not a readable PLY file ({error}); replace it or {advice}") from error
    if not np.isfinite(points).all():
        raise ValueError(f"{path}: contains NaN or infinite points; remove them or {advice}")
    return points if len(points) else None


def write_points(path: Path, points: Array) -> None:
    """Write points (N, 3) as a PLY file."""
    import trimesh

    trimesh.PointCloud(points).export(path)
