"""CO3D version 2: annotations, masks and point clouds of videos of many objects, and back.

In: the dataset's folder, one category of it, or one sequence. Out: a Recording per sequence.
Frames: annotations hold PyTorch3D cameras, row vectors ``x_cam = x_world R + T`` with x left, y up, z forward, and
focal length and principal point in normalised device coordinates; both end here. The world is that of the sequence,
unchanged.
Lost: depth, time stamps, set lists.
Formats: https://github.com/facebookresearch/co3d (data_types.py), https://pytorch3d.org/docs/cameras
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from uop3d_core.atomic import replaced_when_complete
from uop3d_core.capture.files import (
    check_size,
    check_unique,
    file_inside,
    image_inside,
    numbers,
    read_points,
    rotation_of,
    show,
    write_points,
)
from uop3d_core.capture.recordings import (
    ImportOptions,
    Recording,
    Shot,
    check_names,
    place_image,
    place_mask,
    those_there,
)
from uop3d_core.geometry import Array, rigid
from uop3d_core.types import Camera

FRAMES, SEQUENCES = "frame_annotations.jgz", "sequence_annotations.jgz"
OPENCV_FROM_PYTORCH3D = np.diag([-1.0, -1.0, 1.0])
ISOTROPIC, BOUNDS = "ndc_isotropic", "ndc_norm_image_bounds"
LARGEST = 2**32
"""Bytes that an annotation file may unpack to; the largest category of CO3D has less than a tenth."""


@dataclass(frozen=True)
class Place:
    """Where annotations were found.

    Attributes:
        root: of the dataset, which paths in annotations start from.
        category: name of the category's folder.
        sequence: the one that was asked for by its folder, or "" for all.
    """

    root: Path
    category: str
    sequence: str = ""

    @property
    def folder(self) -> Path:
        """Of the category."""
        return self.root / self.category


def find_co3d(source: Path) -> list[Place]:
    """Categories in a dataset's folder, or the one that the folder, or the folder above a sequence, is."""
    source = Path(source).resolve()
    if (source / FRAMES).is_file():
        return [Place(source.parent, source.name)]
    if (source.parent / FRAMES).is_file():
        return [Place(source.parent.parent, source.parent.name, source.name)]
    if not source.is_dir():
        return []
    return [Place(source, path.name) for path in sorted(source.iterdir()) if (path / FRAMES).is_file()]


def read_co3d(place: Place, only: Sequence[str] = (), skip_missing: bool = False) -> Iterator[Recording]:
    """Read the sequences of one category, in the order of their names.

    Args:
        place: of the annotations.
        only: names of the sequences wanted; empty for all.
        skip_missing: whether to go on without images that are not there.

    Raises:
        FileNotFoundError: an annotation file, or a file that it names, is missing.
        ValueError: an annotation is malformed; the message names file and frame.
    """
    path = place.folder / FRAMES
    by_sequence: dict[str, list[tuple[int, dict[str, Any]]]] = {}
    for index, entry in enumerate(_annotations(path)):
        if not isinstance(entry, dict) or not isinstance(entry.get("sequence_name"), str):
            raise ValueError(f"{path}: annotation {index} has no sequence_name, got {show(entry)}")
        by_sequence.setdefault(entry["sequence_name"], []).append((index, entry))
    wanted = list(only) or ([place.sequence] if place.sequence else [])
    missing = [name for name in wanted if name not in by_sequence]
    if missing:
        some = ", ".join(sorted(by_sequence)[:5])
        raise ValueError(f"{path}: there is no sequence {', '.join(missing)}; there are {some} ...")
    about = _sequence_annotations(place)
    for name in sorted(wanted or by_sequence):
        yield _sequence(place, name, by_sequence[name], about.get(name, {}), skip_missing)


def camera_of(viewpoint: Mapping[str, Any], size: tuple[int, int], where: str) -> Camera:
    """A camera with pixel centres at integers, for an image of (width, height).

    Normalised coordinates: x left and y up from the image's middle; the unit is half of the shorter side
    (``ndc_isotropic``, version 2) or half of the side in each direction (``ndc_norm_image_bounds``, version 1).

    Raises:
        ValueError: something is missing or no number.
    """
    focal = numbers(viewpoint.get("focal_length"), 2, f"{where}: focal_length")
    principal = numbers(viewpoint.get("principal_point"), 2, f"{where}: principal_point")
    format = viewpoint.get("intrinsics_format", BOUNDS)
    if format not in (ISOTROPIC, BOUNDS):
        raise ValueError(f"{where}: intrinsics_format {show(format)} is neither {ISOTROPIC} nor {BOUNDS}")
    unit = np.full(2, min(size)) / 2 if format == ISOTROPIC else np.array(size) / 2
    fx, fy = focal * unit
    cx, cy = np.array(size) / 2 - principal * unit - 0.5
    try:
        return Camera(np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]), *size)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def cam_T_world_of(viewpoint: Mapping[str, Any], where: str) -> Array:
    """Rigid transform (4, 4) of an OpenCV camera.

    Raises:
        ValueError: R is no rotation, or something is no number.
    """
    rows = viewpoint.get("R")
    if not isinstance(rows, list) or len(rows) != 3:
        raise ValueError(f"{where}: R must be 3 rows of 3 numbers, got {show(rows)}")
    R = np.stack([numbers(row, 3, f"{where}: R") for row in rows])
    T = numbers(viewpoint.get("T"), 3, f"{where}: T")
    return rigid(OPENCV_FROM_PYTORCH3D @ rotation_of(R, f"{where}: R").T, OPENCV_FROM_PYTORCH3D @ T)


def viewpoint_of(camera: Camera, cam_T_world: Array, where: str) -> dict[str, Any]:
    """The annotation of a camera; the way back of `camera_of` and `cam_T_world_of`.

    Raises:
        ValueError: the camera has a lens or skew, which CO3D cannot hold.
    """
    if camera.lens != "pinhole" or camera.K[0, 1] != 0:
        raise ValueError(f"{where} has a distorting lens or skew, which CO3D cannot hold: undistort the images first")
    unit, size = min(camera.width, camera.height) / 2, np.array([camera.width, camera.height])
    return {
        "R": (OPENCV_FROM_PYTORCH3D @ cam_T_world[:3, :3]).T.tolist(),
        "T": (OPENCV_FROM_PYTORCH3D @ cam_T_world[:3, 3]).tolist(),
        "focal_length": (camera.K[[0, 1], [0, 1]] / unit).tolist(),
        "principal_point": ((size / 2 - 0.5 - camera.K[:2, 2]) / unit).tolist(),
        "intrinsics_format": ISOTROPIC,
    }


def write_co3d(recording: Recording, folder: Path) -> None:
    """Write a dataset of one category with one sequence; all or nothing.

    The category is that which the recording came from, or "object"; quality scores are kept, or -1 where unknown.

    Raises:
        FileExistsError: `folder` exists and is not an empty folder.
        ValueError: a camera cannot be held, or a name cannot be a file name.
    """
    check_names([recording.name, *(shot.name for shot in recording.shots)], recording.name)
    about = recording.source
    category = about.get("category") if isinstance(about.get("category"), str) else "object"
    check_names([str(category)], recording.name)
    base = f"{category}/{recording.name}"
    with replaced_when_complete(Path(folder).absolute()) as draft:
        frames = [
            _frame_annotation(shot, index, recording.name, draft, base) for index, shot in enumerate(recording.shots)
        ]
        entry = {
            "sequence_name": recording.name,
            "category": category,
            "viewpoint_quality_score": about.get("viewpoint_quality_score", -1.0),
        }
        if recording.points is not None:
            write_points(draft / base / "pointcloud.ply", recording.points)
            score = about.get("point_cloud_quality_score", -1.0)
            entry["point_cloud"] = {
                "path": f"{base}/pointcloud.ply",
                "quality_score": score,
                "n_points": len(recording.points),
            }
        for name, content in ((FRAMES, frames), (SEQUENCES, [entry])):
            packed = gzip.compress(json.dumps(content, allow_nan=False).encode(), mtime=0)
            (draft / str(category) / name).write_bytes(packed)


class Co3dFormat:
    """Importer and exporter of CO3D's folders."""

    description = f"co3d: CO3D version 2 (whole, a category, a sequence), with {FRAMES}"
    many = True

    def recognises(self, source: Path) -> bool:
        """Whether there are annotations."""
        return bool(find_co3d(source))

    def recordings(self, source: Path, options: ImportOptions) -> Iterator[Recording]:
        """The sequences of one category."""
        places = find_co3d(source)
        if len(places) > 1:
            names = ", ".join(place.category for place in places)
            raise ValueError(f"{source}: holds several categories: import one of {names}, by its folder")
        return read_co3d(places[0], options.only, options.skip_missing)

    def write(self, recording: Recording, folder: Path) -> None:
        """Write it to a new folder."""
        write_co3d(recording, folder)


def _annotations(path: Path) -> list[Any]:
    """The list in a gzipped JSON file."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; CO3D has it in the folder of every category")
    try:
        with gzip.open(path, "rb") as file:
            text = file.read(LARGEST + 1)
        content = json.loads(text) if len(text) <= LARGEST else None
    except (OSError, EOFError, zlib.error, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not gzipped JSON ({error}); unpack CO3D again") from error
    if not isinstance(content, list):
        raise ValueError(f"{path}: must hold a list of annotations of at most {LARGEST // 2**20} MB")
    return content


def _sequence_annotations(place: Place) -> dict[str, dict[str, Any]]:
    path = place.folder / SEQUENCES
    entries = _annotations(path) if path.is_file() else []
    return {str(entry.get("sequence_name")): entry for entry in entries if isinstance(entry, dict)}


def _sequence(
    place: Place,
    name: str,
    entries: Sequence[tuple[int, dict[str, Any]]],
    about: Mapping[str, Any],
    skip_missing: bool,
) -> Recording:
    path = place.folder / FRAMES
    posed = [(index, entry) for index, entry in entries if entry.get("viewpoint") is not None]
    if len(posed) < 2:
        raise ValueError(f"{path}: sequence {name} has {len(posed)} frame(s) with a camera, at least 2 are needed")
    readers = [partial(_shot, place.root, entry, f"{path}: annotation {index} of {name}") for index, entry in posed]
    shots, notes = those_there(readers, skip_missing)
    check_unique([shot.name for shot in shots], path)
    check_names([name], name)
    cloud = about.get("point_cloud")
    cloud = cloud if isinstance(cloud, dict) else {}
    points = None
    if cloud.get("path") is not None:
        what = f"{place.folder / SEQUENCES}: point cloud of {name}"
        points = read_points(file_inside(place.root, cloud["path"], what), f"remove it from {SEQUENCES}")
    scores = {
        "viewpoint_quality_score": about.get("viewpoint_quality_score"),
        "point_cloud_quality_score": cloud.get("quality_score"),
    }
    source = {"format": "co3d", "category": place.category, **{k: v for k, v in scores.items() if v is not None}}
    left_out = len(entries) - len(posed)
    if left_out:
        notes = (*notes, f"{left_out} frames of {name} have no camera and are left out")
    return Recording(name, shots, points, source=source, notes=notes)


def _shot(root: Path, entry: dict[str, Any], where: str) -> Shot:
    image, viewpoint = _part(entry, "image", where), _part(entry, "viewpoint", where)
    path = image_inside(root, image.get("path"), f"{where}: image")
    height, width = (int(value) for value in numbers(image.get("size"), 2, f"{where}: size of the image"))
    check_size(path, (width, height), where)
    mask = None if entry.get("mask") is None else _part(entry, "mask", where).get("path")
    return Shot(
        path.stem,
        path,
        camera_of(viewpoint, (width, height), where),
        cam_T_world_of(viewpoint, where),
        None if mask is None else file_inside(root, mask, f"{where}: mask"),
    )


def _part(entry: dict[str, Any], key: str, where: str) -> dict[str, Any]:
    value = entry.get(key)
    if not isinstance(value, dict):
        raise ValueError(f"{where}: {key} must be an object, got {show(value)}")
    return value


def _frame_annotation(shot: Shot, index: int, sequence: str, draft: Path, base: str) -> dict[str, Any]:
    """Place the files of a shot and return its annotation."""
    image = place_image(shot, draft / base / "images")
    entry: dict[str, Any] = {
        "sequence_name": sequence,
        "frame_number": index,
        "frame_timestamp": 0.0,
        "image": {"path": f"{base}/images/{image.name}", "size": [shot.camera.height, shot.camera.width]},
        "viewpoint": viewpoint_of(shot.camera, shot.cam_T_world, f"camera of frame {shot.name}"),
    }
    if shot.mask is not None:
        place_mask(shot, draft / base / "masks" / f"{shot.name}.png")
        entry["mask"] = {"path": f"{base}/masks/{shot.name}.png"}
    return entry
