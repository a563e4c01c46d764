"""One object in several images with metric camera poses: its pose in the world and the scale, from the baseline.

In: PoseEstimates in object units and world_T_cam in metres, of one moving camera or of several. Out: a FusedPose.
Frames: cam of every view, world of the cameras.

From camera centre c_i the object lies at p = c_i + s R_i t_i, with R_i the rotation of world_T_cam and t_i in object
units. Divided by s this is linear in p / s and 1 / s, and only the right-hand side of p / s - c_i / s = R_i t_i has
errors, so that a short baseline does not pull the scale towards zero as least squares in (p, s) would.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np

from uop3d_core.geometry import Array, closest_rotation, inverse_rigid, rigid, rotation_error
from uop3d_core.pose.scale import TINY, UNUSABLE_STD, Reading, pose_covariance
from uop3d_core.types import PoseEstimate, Symmetry

LARGE_TURN = np.deg2rad(15)
"""Rotations this far from the mean weigh half."""
OUTLIER = 3.0
"""Positions this many standard deviations off weigh half."""
MAX_PAIRS = 300
MIN_SCORE = 0.05
ROUNDS = 10


@dataclass(frozen=True, eq=False)
class View:
    """One estimate and where its camera was.

    Attributes:
        estimate: translation in object units.
        world_T_cam: (4, 4) rigid transform, metres.
    """

    estimate: PoseEstimate
    world_T_cam: Array

    def __post_init__(self) -> None:
        T = np.array(self.world_T_cam, dtype=np.float64)
        if T.shape != (4, 4) or not np.isfinite(T).all() or not np.allclose(T[3], [0, 0, 0, 1]):
            raise ValueError(f"world_T_cam must be a finite rigid (4, 4) transform in metres, got {T.tolist()}")
        if rotation_error(T[:3, :3], closest_rotation(T[:3, :3])) > 1e-3 or abs(np.linalg.det(T[:3, :3]) - 1) > 1e-3:
            raise ValueError("the upper left block of world_T_cam is not a rotation: a scale must be divided out")
        object.__setattr__(self, "world_T_cam", T)


@dataclass(frozen=True, eq=False)
class FusedPose:
    """One object as several views have it.

    Attributes:
        reading: the scale, or why there is none.
        world_T_obj: (4, 4) rigid transform, translation in metres; None where there is no scale.
        covariance: (6, 6) of (dt, w): metres and radians about the axes of world; None where there is no scale.
        agrees: (N,) bool, which views go with it.
    """

    reading: Reading
    world_T_obj: Array | None = None
    covariance: Array | None = None
    agrees: Array = field(default_factory=lambda: np.zeros(0, bool))
    _solution: _Solution | None = None

    def seen_by(self, view: View) -> PoseEstimate:
        """The estimate of a view with the fused pose, scale and covariance; unchanged where there is no scale.

        Of several hypotheses the fused pose alone is left, with the probability of the first.
        """
        if self.world_T_obj is None or self.covariance is None or self._solution is None:
            return view.estimate
        cam_T_world = inverse_rigid(view.world_T_cam)
        turn = cam_T_world[:3, :3]
        J = turn @ np.column_stack([np.eye(3), -view.world_T_cam[:3, 3]])
        cam_T_obj = rigid(turn @ self.world_T_obj[:3, :3], J @ self._solution.mean)
        covariance = np.zeros((6, 6))
        covariance[:3, :3] = J @ self._solution.covariance @ J.T
        covariance[3:, 3:] = turn @ self.covariance[3:, 3:] @ turn.T
        return replace(
            view.estimate,
            cam_T_obj=cam_T_obj,
            covariance=covariance,
            hypotheses=tuple(replace(h, cam_T_obj=cam_T_obj) for h in view.estimate.hypotheses[:1]),
            scale=self.reading.scale,
            scale_std=self.reading.std,
            scale_source="views",
        )


@dataclass(frozen=True, eq=False)
class _Solution:
    """Position and inverse scale: mean (4,) and covariance (4, 4) of (p / s, 1 / s); agrees (N,) bool."""

    mean: Array
    covariance: Array
    agrees: Array


def fuse_views(views: Sequence[View], symmetry: Symmetry) -> FusedPose:
    """World pose and scale of one object from the views that found it.

    Views weigh by their covariance and their score; wrong ones are found out where there are three or more.

    Args:
        views: of the same object; those without a pose (`found` False) have no say.
        symmetry: of the category; a rotation counts as any that the symmetry makes of it.
    """
    usable = np.array([view.estimate.found for view in views], dtype=bool)
    kept = [view for view, ok in zip(views, usable, strict=True) if ok]
    agrees = np.zeros(len(views), dtype=bool)
    if len(kept) < 2:
        return FusedPose(Reading("views", reason=f"{len(kept)} views found the object, two are needed"), agrees=agrees)
    scores = np.array([max(view.estimate.score, MIN_SCORE) for view in kept])
    solution = _position(kept, scores)
    if isinstance(solution, str):
        return FusedPose(Reading("views", reason=solution), agrees=agrees)
    R, turns, alike = _rotation(kept, scores * solution.agrees, symmetry)
    scale = 1 / solution.mean[3]
    agrees[np.flatnonzero(usable)] = solution.agrees & alike
    covariance = np.zeros((6, 6))
    J = scale * np.column_stack([np.eye(3), -scale * solution.mean[:3]])  # of p = (p / s) / (1 / s)
    covariance[:3, :3], covariance[3:, 3:] = J @ solution.covariance @ J.T, turns
    reading = Reading("views", float(scale), float(scale * np.sqrt(solution.covariance[3, 3])))
    return FusedPose(reading, rigid(R, scale * solution.mean[:3]), covariance, agrees, solution)


def _position(views: Sequence[View], scores: Array) -> _Solution | str:
    """Robust (p / s, 1 / s), or the reason why it cannot be told."""
    R = np.stack([view.world_T_cam[:3, :3] for view in views])
    centres = np.stack([view.world_T_cam[:3, 3] for view in views])
    b = np.einsum("nij,nj->ni", R, np.stack([view.estimate.cam_T_obj[:3, 3] for view in views]))
    spread = R @ np.stack([pose_covariance(view.estimate)[:3, :3] for view in views]) @ np.swapaxes(R, 1, 2)
    information = np.linalg.inv(spread + TINY * np.eye(3))
    middle = centres.mean(0)
    A = np.concatenate([np.tile(np.eye(3), (len(views), 1, 1)), -(centres - middle)[:, :, None]], axis=2)
    weights = _consistent(A, b, information) * scores
    for _ in range(ROUNDS):
        x, normal = _solve(A, b, information, weights)
        if x is None:
            return "no baseline: the cameras are all in one place"
        off = _misfit(A, b, information, x)
        weights = scores / (1 + off / OUTLIER**2)
    assert x is not None
    covariance = np.linalg.inv(normal / scores.max())
    freedom = max(1, 3 * len(views) - 4)
    covariance *= max(1.0, float((weights / scores.max() * off).sum()) / freedom)
    std = math.sqrt(covariance[3, 3])
    if not x[3] > std / UNUSABLE_STD:
        return "no baseline: the cameras are too close together, for their distance to the object, to tell the scale"
    back = np.eye(4)
    back[:3, 3] = middle  # the centres were taken from their mean: p / s = x + middle / s
    return _Solution(back @ x, back @ covariance @ back.T, off < 3 * OUTLIER**2)


def _solve(A: Array, b: Array, information: Array, weights: Array) -> tuple[Array | None, Array]:
    """Weighted least squares; None where the unknowns are not determined."""
    W = weights[:, None, None] * information
    normal = np.einsum("nik,nij,njl->kl", A, W, A)
    scaling = np.sqrt(np.maximum(np.diag(normal), 1e-300))
    if np.linalg.cond(normal / np.outer(scaling, scaling)) > 1e12 or normal[3, 3] < 1e-18 * normal[0, 0]:
        return None, normal
    return np.linalg.solve(normal, np.einsum("nik,nij,nj->k", A, W, b)), normal


def _misfit(A: Array, b: Array, information: Array, x: Array) -> Array:
    """(N,) squared distances in standard deviations."""
    e = A @ x - b
    return np.einsum("ni,nij,nj->n", e, information, e)


def _consistent(A: Array, b: Array, information: Array) -> Array:
    """(N,) weights that favour the views which the best pair of views explains."""
    pairs = list(combinations(range(len(A)), 2))
    best, weights = math.inf, np.ones(len(A))
    for index in np.unique(np.linspace(0, len(pairs) - 1, min(len(pairs), MAX_PAIRS)).astype(int)):
        rows = list(pairs[index])
        x, _ = _solve(A[rows], b[rows], information[rows], np.ones(2))
        if x is None or x[3] <= 0:
            continue
        off = _misfit(A, b, information, x)
        cost = float(np.minimum(off, OUTLIER**2).sum())
        if cost < best:
            best, weights = cost, 1 / (1 + off / OUTLIER**2)
    return weights


def _rotation(views: Sequence[View], scores: Array, symmetry: Symmetry) -> tuple[Array, Array, Array]:
    """Mean world_R_obj (3, 3) modulo the symmetry, its covariance (3, 3) about the axes of world, (N,) who agrees.

    The view that most others agree with is the start; then chordal means with Cauchy's weights (Hartley et al.,
    "Rotation averaging", IJCV 2013, section 5.3), each rotation turned by the symmetry as near as it comes.
    """
    each = np.stack([view.world_T_cam[:3, :3] @ view.estimate.cam_T_obj[:3, :3] for view in views])
    axes = np.stack([view.world_T_cam[:3, :3] for view in views])
    spread = axes @ np.stack([pose_covariance(view.estimate)[3:, 3:] for view in views]) @ np.swapaxes(axes, 1, 2)
    size = np.maximum(np.trace(spread, axis1=1, axis2=2), TINY)
    given = scores / size
    costs = [given @ np.minimum(rotation_error(R, symmetry.nearest(each, R)), 2 * LARGE_TURN) for R in each]
    mean = each[int(np.argmin(costs))]
    for _ in range(ROUNDS):
        turned = symmetry.nearest(each, mean)
        off = rotation_error(mean, turned)
        weights = given / (1 + (off / LARGE_TURN) ** 2)
        mean = closest_rotation(np.einsum("n,nij->ij", weights, turned))
    share = weights * size / scores.max()
    information = np.einsum("n,nij->ij", share, np.linalg.inv(spread + TINY * np.eye(3)))
    factor = max(1.0, float((share / size * off**2).sum()) / max(1, len(views) - 1))
    return mean, factor * np.linalg.inv(information), off < 2 * LARGE_TURN
