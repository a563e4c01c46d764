"""Figures of tracks: exchanged identities, jitter, lag.

In: per image which track was on which true object; sequences of poses cam_T_obj, NaN where there is none.
Out: counts, degrees, shares of the object, seconds. Frame: cam; translations in object units.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial.transform import Rotation

from uop3d_core.geometry import Array, change_between


def match_centres(true: Array, found: Array, limit: float) -> list[tuple[int, int]]:
    """Pairs (index in true, index in found) of (N, 3) and (M, 3) centres at most `limit` apart, with the least sum."""
    if len(true) == 0 or len(found) == 0:
        return []
    apart = np.linalg.norm(true[:, None] - found[None], axis=-1)
    rows, columns = linear_sum_assignment(apart.clip(max=limit * (1 + 1e-9)))
    return [(int(i), int(j)) for i, j in zip(rows, columns, strict=True) if apart[i, j] <= limit]


def id_switches(frames: Sequence[Mapping[Hashable, Hashable]]) -> int:
    """How often the track on a true object is another than the last one that was on it.

    Bernardin, Stiefelhagen, "Evaluating multiple object tracking performance: the CLEAR MOT metrics", 2008: mismatches.

    Args:
        frames: per image the true objects that a track lies on, each with the id of that track.
    """
    last: dict[Hashable, Hashable] = {}
    switches = 0
    for frame in frames:
        switches += sum(last.get(thing, track) != track for thing, track in frame.items())
        last.update(frame)
    return switches


def pose_errors(cam_T_obj: Array, true_cam_T_obj: Array) -> Array:
    """Errors (N, 6) of (N, 4, 4) poses: translation in object units, rotation vector in radians in the axes of cam.

    The pose is the true one after [exp(w) R, t + dt]; NaN where either of both is.
    """
    errors = np.full((len(cam_T_obj), 6), np.nan)
    known = np.isfinite(cam_T_obj).all((1, 2)) & np.isfinite(true_cam_T_obj).all((1, 2))
    errors[known] = change_between(true_cam_T_obj[known], cam_T_obj[known])
    return errors


def jitter(cam_T_obj: Array, true_cam_T_obj: Array | None = None) -> tuple[float, float]:
    """Root mean square change of the error from one image to the next.

    Args:
        cam_T_obj: (N, 4, 4) poses of one object, NaN where there is none.
        true_cam_T_obj: (N, 4, 4), or None where object and camera rest: then the change of the pose itself counts.

    Returns:
        Rotation in degrees per image, translation in object units per image; NaN without two images in a row.
    """
    if true_cam_T_obj is None:
        true_cam_T_obj = np.broadcast_to(np.eye(4), cam_T_obj.shape)
    errors = pose_errors(cam_T_obj, true_cam_T_obj)
    turns = np.full((len(errors), 3, 3), np.nan)
    known = ~np.isnan(errors[:, 0])
    turns[known] = Rotation.from_rotvec(errors[known, 3:]).as_matrix()
    pairs = np.flatnonzero(known[1:] & known[:-1])
    if len(pairs) == 0:
        return float("nan"), float("nan")
    steps = Rotation.from_matrix(turns[pairs + 1] @ turns[pairs].swapaxes(1, 2)).magnitude()
    shifts = np.linalg.norm(errors[pairs + 1, :3] - errors[pairs, :3], axis=1)
    return float(np.rad2deg(np.sqrt((steps**2).mean()))), float(np.sqrt((shifts**2).mean()))


def lag_s(cam_T_obj: Array, true_cam_T_obj: Array, stamps_ns: Array) -> tuple[float, float]:
    """By how many seconds poses trail behind the true ones; negative where they run ahead.

    To first order a delay d gives the error -d v at the true velocity v; this is the least-squares d over all images.

    Args:
        cam_T_obj: (N, 4, 4) poses of one object, NaN where there is none.
        true_cam_T_obj: (N, 4, 4).
        stamps_ns: (N,) increasing times.

    Returns:
        Lag of the translation and of the rotation; NaN where the object does not move so.
    """
    seconds = (np.asarray(stamps_ns) - stamps_ns[0]) / 1e9
    span = (seconds[2:] - seconds[:-2])[:, None]
    velocity = pose_errors(true_cam_T_obj[2:], true_cam_T_obj[:-2]) / span
    errors = pose_errors(cam_T_obj, true_cam_T_obj)[1:-1]
    known = np.isfinite(errors).all(1) & np.isfinite(velocity).all(1)
    return _delay(errors[known, :3], velocity[known, :3]), _delay(errors[known, 3:], velocity[known, 3:])


def _delay(errors: Array, velocity: Array) -> float:
    power = float((velocity**2).sum())
    return float(-(errors * velocity).sum() / power) if power > 1e-12 else float("nan")
