"""Annotation files of PASCAL3D+ and ObjectNet3D: one MATLAB file per image with a struct `record`.

In: a .mat file. Out: a Record with everything in it that evaluation needs, in the units and pixels of uop3d.
Boxes and principal points are MATLAB's, where the first pixel's centre is at (1, 1); that ends here. Angles are degrees
in the file. Fields may be absent, empty, or hold one struct instead of several.
Structure: https://cvgl.stanford.edu/projects/pascal3d.html, https://github.com/yuxng/ObjectNet3D_toolbox
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from uop3d_core.evaluation.mat_counts import check_counts
from uop3d_core.geometry import Array

LEVEL_5 = (b"\x00\x01IM", b"\x01\x00MI")
"""Version and byte order in the header of files of version 5 to 7."""
FLAGS = ("occluded", "truncated", "difficult")


@dataclass(frozen=True)
class Viewpoint:
    """From where an object is seen.

    Attributes:
        azimuth, elevation, theta: radians; theta is the camera's roll.
        distance: of the camera from the object's origin, in units of the CAD model; 0 where it was not annotated.
        focal: focal length in units of `viewport`, 0 where it was not annotated.
        principal: (x, y) in pixels with integer centres, where the object's origin appears.
        viewport: pixels per unit of the focal length.
        fine: whether the angles come from keypoints and not from a coarse choice.
    """

    azimuth: float
    elevation: float
    theta: float
    distance: float
    focal: float
    principal: tuple[float, float]
    viewport: float
    fine: bool


@dataclass(frozen=True, eq=False)
class AnnotatedObject:
    """One object of an image.

    Attributes:
        category: the dataset's name for it.
        box: (4,) xyxy along the outer edges of pixels; NaN where there is none.
        viewpoint: or None where it was not annotated.
        cad: number of the CAD model, from 1; 0 where there is none.
        anchors: whether keypoints were annotated.
        flags: which of `FLAGS` hold.
    """

    category: str
    box: Array
    viewpoint: Viewpoint | None
    cad: int
    anchors: bool
    flags: frozenset[str]

    @property
    def has_box(self) -> bool:
        """Whether the box is one."""
        left, top, right, bottom = self.box
        return bool(right > left + 1 and bottom > top + 1)


@dataclass(frozen=True, eq=False)
class Record:
    """Annotation of one image: the objects in the order of the file."""

    objects: tuple[AnnotatedObject, ...]


class UnreadableRecord(ValueError):
    """An annotation that is damaged or none."""


def read_record(path: Path) -> Record:
    """Read the annotation of one image.

    Raises:
        FileNotFoundError: no such file.
        UnreadableRecord: it is no such file; the message says what is missing.
    """
    from scipy.io import loadmat

    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such annotation file")
    try:
        raw = path.read_bytes()
        if raw[124:128] in LEVEL_5:
            check_counts(raw)
        content = loadmat(io.BytesIO(raw), struct_as_record=False, squeeze_me=True, variable_names=["record"])
    except NotImplementedError as error:  # version 7.3 is another format
        raise UnreadableRecord(f"{path}: is a MATLAB 7.3 file; save it again with save(..., '-v7')") from error
    except Exception as error:  # the reader raises whatever a broken file leads to
        raise UnreadableRecord(f"{path}: not a readable .mat file ({error}); unpack the dataset again") from error
    record = content.get("record")
    if not hasattr(record, "_fieldnames") or not hasattr(record, "objects"):
        raise UnreadableRecord(
            f"{path}: has no struct `record` with `objects`: this is no annotation of these datasets"
        )
    structs = [item for item in np.atleast_1d(record.objects) if hasattr(item, "_fieldnames")]
    return Record(tuple(_object(item, f"{path}: object {index}") for index, item in enumerate(structs)))


def _object(item: Any, where: str) -> AnnotatedObject:
    category = getattr(item, "class", "")
    if not isinstance(category, str) or not category:
        raise UnreadableRecord(f"{where} has no class")
    viewpoint = getattr(item, "viewpoint", None)
    return AnnotatedObject(
        category,
        _box(getattr(item, "bbox", ())),
        _viewpoint(viewpoint, where) if hasattr(viewpoint, "_fieldnames") else None,
        int(_number(item, "cad_index", where) or 0),
        hasattr(getattr(item, "anchors", None), "_fieldnames"),
        frozenset(flag for flag in FLAGS if _number(item, flag, where)),
    )


def _box(value: Any) -> Array:
    """Box (4,) with the pixels' outer edges; NaN where there is none, as objects that nobody tests on may lack it."""
    try:
        left, top, right, bottom = _numbers(np.asarray(value, dtype=object).ravel(), 4, "bbox")
    except ValueError:
        return np.full(4, np.nan)
    return np.array([left - 1.5, top - 1.5, right - 0.5, bottom - 0.5])


def _viewpoint(item: Any, where: str) -> Viewpoint | None:
    """The fine angles where they were annotated, else the coarse ones; None where there are neither."""
    where = f"{where}: viewpoint"
    fine = _number(item, "azimuth", where), _number(item, "elevation", where)
    coarse = _number(item, "azimuth_coarse", where), _number(item, "elevation_coarse", where)
    azimuth, elevation = coarse if None in fine else fine
    if azimuth is None or elevation is None:
        return None
    values = {key: _number(item, key, where) for key in ("theta", "distance", "focal", "px", "py", "viewport")}
    return Viewpoint(
        float(np.deg2rad(azimuth)),
        float(np.deg2rad(elevation)),
        float(np.deg2rad(values["theta"] or 0.0)),
        values["distance"] or 0.0,
        values["focal"] or 0.0,
        ((values["px"] or 0.0) - 1, (values["py"] or 0.0) - 1),
        values["viewport"] or 0.0,
        None not in fine,
    )


def _number(item: Any, field: str, where: str) -> float | None:
    """A field that holds one number, or None where it is absent or empty."""
    value = np.asarray(getattr(item, field, ()), dtype=object).ravel()
    return None if value.size == 0 else float(_numbers(value, 1, f"{where}: {field}")[0])


def _numbers(values: Sequence[Any] | Array, count: int, what: str) -> Array:
    try:
        found = np.array([float(value) for value in values])
    except (TypeError, ValueError) as error:
        raise UnreadableRecord(f"{what} must be {count} number(s): {error}") from error
    if len(found) != count or not np.isfinite(found).all():
        raise UnreadableRecord(f"{what} must be {count} finite number(s), got {found.tolist()}")
    return found
