"""COLMAP models as COLMAP writes them: cameras, images and points, as text or binary files.

In: a folder with cameras.bin, images.bin (points3D.bin), or the same as .txt. Out: a Model, with COLMAP's own
conventions (pixel edges at integers, camera_from_world with quaternions w x y z); and the way back.
Counts in binary files are checked against the bytes that are left before anything is made of them.
Format: https://colmap.github.io/format.html
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from uop3d_core.geometry import Array

MODELS = {
    "SIMPLE_PINHOLE": (0, 3),
    "PINHOLE": (1, 4),
    "SIMPLE_RADIAL": (2, 4),
    "RADIAL": (3, 5),
    "OPENCV": (4, 8),
    "OPENCV_FISHEYE": (5, 8),
    "FULL_OPENCV": (6, 12),
    "FOV": (7, 5),
    "SIMPLE_RADIAL_FISHEYE": (8, 4),
    "RADIAL_FISHEYE": (9, 5),
    "THIN_PRISM_FISHEYE": (10, 12),
    "RAD_TAN_THIN_PRISM_FISHEYE": (11, 16),
}
"""Number in binary files and number of parameters, by name; those that can be read, not those that can be used."""
FILES = ("cameras", "images")
LONGEST_NAME = 4096


@dataclass(frozen=True)
class ModelCamera:
    """One camera: name of its model, size in pixels, parameters in COLMAP's order."""

    model: str
    width: int
    height: int
    params: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class ModelImage:
    """One registered image: camera_from_world as quaternion (w, x, y, z) and translation, camera's id, file name."""

    wxyz: Array
    translation: Array
    camera: int
    name: str


@dataclass(frozen=True, eq=False)
class Model:
    """A reconstruction.

    Attributes:
        cameras: by id.
        images: in the order of their names.
        points: (N, 3) in world.
    """

    cameras: Mapping[int, ModelCamera]
    images: tuple[ModelImage, ...]
    points: Array


def is_model(folder: Path) -> bool:
    """Whether a folder holds a model."""
    return any(all((folder / f"{name}{ending}").is_file() for name in FILES) for ending in (".bin", ".txt"))


def read_model(folder: Path) -> Model:
    """Read a model; binary files are preferred where there are both.

    Raises:
        FileNotFoundError: there is no model in the folder.
        ValueError: a file is truncated, damaged or malformed; the message names it.
    """
    if all((folder / f"{name}.bin").is_file() for name in FILES):
        cameras = _binary(folder / "cameras.bin", _camera, 48)
        images = _binary(folder / "images.bin", _image, 73)
        points = folder / "points3D.bin"
        found = np.array(_binary(points, _point, 51)).reshape(-1, 3) if points.is_file() else np.zeros((0, 3))
    elif is_model(folder):
        cameras = [_camera_line(words, where) for words, where in _lines(folder / "cameras.txt")]
        images = list(_image_lines(folder / "images.txt"))
        points = folder / "points3D.txt"
        lines = list(_lines(points)) if points.is_file() else []
        found = np.array([_floats(words[1:4], 3, where) for words, where in lines]).reshape(-1, 3)
    else:
        raise FileNotFoundError(f"{folder}: no COLMAP model here: cameras and images, as .bin or .txt, are needed")
    if not np.isfinite(found).all():
        raise ValueError(f"{points}: contains NaN or infinite points")
    known = dict(cameras)
    for image in images:
        if image.camera not in known:
            raise ValueError(f"{folder}: image {image.name} has camera {image.camera}, which the cameras file lacks")
    return Model(known, tuple(sorted(images, key=lambda image: image.name)), found)


def write_model(model: Model, folder: Path, text: bool = False) -> None:
    """Write a model; points get no colour and no track."""
    folder.mkdir(parents=True, exist_ok=True)
    if text:
        _write_text(model, folder)
    else:
        _write_binary(model, folder)


class _Bytes:
    """A binary file that knows how much is left of it."""

    def __init__(self, path: Path) -> None:
        self.path, self.content, self.at = path, path.read_bytes(), 0

    def take(self, form: str) -> tuple[Any, ...]:
        """The next values."""
        size = struct.calcsize(form)
        self.need(size)
        values = struct.unpack_from(form, self.content, self.at)
        self.at += size
        return values

    def skip(self, count: int, size: int) -> None:
        """Leave out `count` records of a size."""
        self.need(count * size)
        self.at += count * size

    def text(self) -> str:
        """Up to the next zero byte."""
        end = self.content.find(b"\0", self.at, self.at + LONGEST_NAME)
        if end < 0:
            raise ValueError(f"{self.path}: an image name does not end: the file is damaged")
        name = self.content[self.at : end].decode("utf-8", errors="replace")
        self.at = end + 1
        return name

    def need(self, size: int) -> None:
        if size > len(self.content) - self.at:
            raise ValueError(
                f"{self.path}: ends after {len(self.content)} bytes, where {size} more than the {self.at} read are "
                "announced: the file is truncated or damaged; copy it again"
            )


def _binary(path: Path, read: Callable[[_Bytes], Any], smallest: int) -> list[Any]:
    """The records of a file; each takes at least `smallest` bytes."""
    file = _Bytes(path)
    [count] = file.take("<Q")
    file.need(count * smallest)
    found = [read(file) for _ in range(count)]
    if file.at != len(file.content):
        raise ValueError(
            f"{path}: {len(file.content) - file.at} bytes are left after the {count} records that it announces: the "
            "file is damaged, or not of COLMAP"
        )
    return found


def _camera(file: _Bytes) -> tuple[int, ModelCamera]:
    number, model, width, height = file.take("<IiQQ")
    names = {code: name for name, (code, _) in MODELS.items()}
    if model not in names:
        raise ValueError(f"{file.path}: camera {number} has model number {model}, which COLMAP does not have")
    params = file.take(f"<{MODELS[names[model]][1]}d")
    return number, ModelCamera(names[model], width, height, params)


def _image(file: _Bytes) -> ModelImage:
    _, *values, camera = file.take("<I7dI")
    name = file.text()
    file.skip(file.take("<Q")[0], 24)
    return ModelImage(np.array(values[:4]), np.array(values[4:]), camera, name)


def _point(file: _Bytes) -> tuple[float, ...]:
    _, x, y, z, _, _, _, _, track = file.take("<Q3d3BdQ")
    file.skip(track, 8)
    return x, y, z


def _text(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a text file ({error})") from error


def _lines(path: Path) -> Iterator[tuple[list[str], str]]:
    """Words and place of every line that says something."""
    for index, line in enumerate(_text(path), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            yield line.split(), f"{path}, line {index}"


def _camera_line(words: Sequence[str], where: str) -> tuple[int, ModelCamera]:
    if len(words) < 5:
        raise ValueError(f"{where}: a camera has an id, a model, width, height and parameters")
    if words[1] not in MODELS:
        raise ValueError(f"{where}: camera model {words[1]!r} is not one of COLMAP's: {', '.join(MODELS)}")
    params = _floats(words[4:], MODELS[words[1]][1], where)
    return _whole(words[0], where), ModelCamera(words[1], _whole(words[2], where), _whole(words[3], where), params)


def _image_lines(path: Path) -> Iterator[ModelImage]:
    """Every other line is an image; the one behind it, which may be empty, lists its points."""
    lines = iter([(index, line) for index, line in enumerate(_text(path), 1) if not line.lstrip().startswith("#")])
    for index, line in lines:
        if not line.strip():
            continue
        where, words = f"{path}, line {index}", line.split(maxsplit=9)
        if len(words) < 10:
            raise ValueError(f"{where}: an image has an id, 4 + 3 numbers, a camera and a name, got {line[:80]!r}")
        values = np.array(_floats(words[1:8], 7, where))
        next(lines, None)
        yield ModelImage(values[:4], values[4:], _whole(words[8], where), words[9].strip())


def _whole(word: str, where: str) -> int:
    if not word.isdecimal():
        raise ValueError(f"{where}: {word!r} must be a whole number")
    return int(word)


def _floats(words: Sequence[str], count: int, where: str) -> tuple[float, ...]:
    if len(words) != count:
        raise ValueError(f"{where}: {count} numbers are needed here, got {len(words)}")
    try:
        return tuple(float(word) for word in words)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _write_binary(model: Model, folder: Path) -> None:
    with (folder / "cameras.bin").open("wb") as file:
        file.write(struct.pack("<Q", len(model.cameras)))
        for number, camera in model.cameras.items():
            file.write(struct.pack("<IiQQ", number, MODELS[camera.model][0], camera.width, camera.height))
            file.write(struct.pack(f"<{len(camera.params)}d", *camera.params))
    with (folder / "images.bin").open("wb") as file:
        file.write(struct.pack("<Q", len(model.images)))
        for number, image in enumerate(model.images, 1):
            file.write(struct.pack("<I7dI", number, *image.wxyz, *image.translation, image.camera))
            file.write(image.name.encode() + b"\0" + struct.pack("<Q", 0))
    with (folder / "points3D.bin").open("wb") as file:
        file.write(struct.pack("<Q", len(model.points)))
        for number, point in enumerate(model.points, 1):
            file.write(struct.pack("<Q3d3BdQ", number, *point, 128, 128, 128, 0.0, 0))


def _write_text(model: Model, folder: Path) -> None:
    def line(*values: Any) -> str:
        return " ".join(repr(float(v)) if isinstance(v, float) else str(v) for v in values) + "\n"

    cameras = [line(n, c.model, c.width, c.height, *c.params) for n, c in model.cameras.items()]
    images = [
        line(n, *image.wxyz.tolist(), *image.translation.tolist(), image.camera, image.name) + "\n"
        for n, image in enumerate(model.images, 1)
    ]
    points = [line(n, *point, 128, 128, 128, 0) for n, point in enumerate(model.points.tolist(), 1)]
    for name, lines in (("cameras", cameras), ("images", images), ("points3D", points)):
        (folder / f"{name}.txt").write_text("".join(lines), encoding="utf-8")
