"""Rotation errors and their summaries.

In: rotations a_R_b, predicted and true. Out: errors in degrees, and shares of small ones in per cent.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from uop3d_core.geometry import Array, closest_rotation, rotation_error
from uop3d_core.types import Symmetry

THRESHOLDS_DEG = (30, 15, 10)
Z = np.array([0.0, 0.0, 1.0])


def error_deg(predicted: Array, true: Array) -> Array:
    """Angle in degrees between (..., 3, 3) rotations."""
    return np.rad2deg(rotation_error(predicted, true))


def up_error_deg(predicted: Array, true: Array) -> Array:
    """Angle in degrees between the images of the z axis under (..., 3, 3) rotations x_R_label: azimuth is ignored."""
    return vector_angle_deg(predicted @ Z, true @ Z)


def vector_angle_deg(a: Array, b: Array) -> Array:
    """Angle in degrees between (..., 3) vectors."""
    sine = np.linalg.norm(np.cross(a, b), axis=-1)
    return np.rad2deg(np.arctan2(sine, (a * b).sum(-1)))


def pair_error_deg(obj_R_a: Array, obj_R_b: Array, label_R_a: Array, label_R_b: Array) -> float:
    """Error of the rotation from world b to world a; turning obj or label as a whole changes nothing."""
    return float(error_deg(obj_R_a.T @ obj_R_b, label_R_a.T @ label_R_b))


def pair_up_error_deg(obj_R_a: Array, obj_R_b: Array, label_R_a: Array, label_R_b: Array) -> float:
    """Angle between a's true up axis and b's true up axis carried to world a by the prediction."""
    return float(vector_angle_deg(obj_R_a.T @ obj_R_b @ label_R_b.T @ Z, label_R_a.T @ Z))


def symmetric_error_deg(predicted: Array, true: Array, symmetry: Symmetry) -> float:
    """Angle in degrees between (3, 3) rotations x_R_obj where turns of the symmetry, whose axis is in obj, are free."""
    return float(np.rad2deg(rotation_error(true, symmetry.nearest(predicted, true))))


def symmetric_pair_error_deg(
    obj_R_a: Array, obj_R_b: Array, label_R_a: Array, label_R_b: Array, symmetry: Symmetry
) -> float:
    """As `pair_error_deg` where turns of the symmetry in obj are free; in label with the two frames exchanged."""
    b_R_a = label_R_b.T @ label_R_a
    return symmetric_error_deg(obj_R_a.T, b_R_a.T @ obj_R_b.T, symmetry)


def mean_rotation(rotations: Sequence[Array], symmetry: Symmetry | None = None) -> Array:
    """Chordal mean (3, 3): the rotation with the least sum of squared Frobenius distances.

    With a symmetry in the frame that the rotations map from, each of them counts as turned to the one that is nearest
    to all others.
    """
    if symmetry is not None and symmetry.fold != 1:
        apart = [[symmetric_error_deg(R, other, symmetry) for R in rotations] for other in rotations]
        middle = rotations[int(np.sum(apart, axis=1).argmin())]
        rotations = list(symmetry.nearest(np.stack(rotations), middle))
    return closest_rotation(np.sum(rotations, axis=0))


def summary(
    errors_deg: Sequence[float], up_errors_deg: Sequence[float], **others_deg: Sequence[float]
) -> dict[str, float]:
    """Shares of errors below 30, 15 and 10 degrees in per cent, and medians in degrees.

    Figures of the z axis alone begin with "up_", those of other errors with their name and "_".

    Raises:
        ValueError: there are no errors.
    """
    if len(errors_deg) == 0:
        raise ValueError("nothing to summarise: there are no errors")
    result: dict[str, float] = {}
    for name, errors in {"": errors_deg, "up_": up_errors_deg, **{f"{n}_": e for n, e in others_deg.items()}}.items():
        values = np.asarray(errors)
        for limit in THRESHOLDS_DEG:
            result[f"{name}acc{limit}"] = round(float((values < limit).mean() * 100), 2)
        result[f"{name}median_deg"] = round(float(np.median(values)), 3)
    return result
