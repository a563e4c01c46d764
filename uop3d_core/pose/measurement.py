"""What one estimate tells a filter: poses that it leaves open, with a covariance.

In: PoseEstimate. Out: Measurement, or None where it tells nothing. Frame: cam; translations in object units.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from uop3d_core.config import TrackSettings
from uop3d_core.geometry import Array
from uop3d_core.types import PoseEstimate, Symmetry

VARIANCES = (1e-8, 1e4)


@dataclass(frozen=True, eq=False)
class Measurement:
    """A measured pose.

    Attributes:
        options: (K, 4, 4) cam_T_obj that come into question, the estimate's own first.
        covariance: (6, 6) of errors (dt, w) as in PoseEstimate, positive definite.
        scale: metres per object unit; NaN where unknown.
        scale_std: standard deviation of the scale, relative to it; NaN where the scale is unknown.
        score: in [min_score, 1].
    """

    options: Array
    covariance: Array
    scale: float
    scale_std: float
    score: float


def measure(estimate: PoseEstimate, settings: TrackSettings) -> Measurement | None:
    """Read an estimate; None where no pose was found or its score is too low or NaN.

    The covariance is divided by the score, so that what is unsure weighs less.
    """
    if not estimate.found or not estimate.score >= settings.min_score:
        return None
    score = min(float(estimate.score), 1.0)
    if estimate.covariance is None:
        covariance = default_covariance(estimate.cam_T_obj[:3, 3], settings)
    else:
        covariance = settings.covariance_factor * estimate.covariance
    known = np.isfinite(estimate.scale) and estimate.scale > 0
    said = np.isfinite(estimate.scale_std) and estimate.scale_std > 0
    scale_std = float(estimate.scale_std) if said else settings.scale_std
    return Measurement(
        _options(estimate, settings.hypothesis_share),
        _positive(covariance / score),
        float(estimate.scale) if known else float("nan"),
        scale_std if known else float("nan"),
        score,
    )


def default_covariance(cam_t_obj: Array, settings: TrackSettings) -> Array:
    """Covariance (6, 6) of a pose at `cam_t_obj` (3,) that brings none: less sure along the ray than across it."""
    distance = float(np.linalg.norm(cam_t_obj))
    ray = cam_t_obj / distance if distance > 0 else np.array([0.0, 0.0, 1.0])
    across = settings.lateral_std**2
    along = max((settings.depth_std * distance) ** 2, across)
    covariance = np.eye(6) * np.deg2rad(settings.rotation_std_deg) ** 2
    covariance[:3, :3] = across * np.eye(3) + (along - across) * np.outer(ray, ray)
    return covariance


def _options(estimate: PoseEstimate, share: float) -> Array:
    """The pose and the other hypotheses whose probabilities are not far below the highest."""
    best = max((h.probability for h in estimate.hypotheses), default=0.0)
    others = [h.cam_T_obj for h in estimate.hypotheses[1:] if h.probability >= share * best]
    return np.stack([estimate.cam_T_obj, *others])


def _positive(covariance: Array) -> Array:
    """The nearest symmetric matrix with sensible eigenvalues."""
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    return (vectors * values.clip(*VARIANCES)) @ vectors.T


def nearest_equivalents(cam_T_obj: Array, cam_R_reference: Array, symmetry: Symmetry) -> Array:
    """Turn (K, 4, 4) poses about the axis of symmetry, each to the equivalent nearest to a rotation (3, 3)."""
    result = cam_T_obj.copy()
    result[:, :3, :3] = symmetry.nearest(cam_T_obj[:, :3, :3], cam_R_reference)
    return result
