"""What stated probabilities and covariances are worth: calibration, ranking, and how often ellipsoids hold the truth.

In: probabilities with what came true; covariances with the errors they speak of. Out: figures, and bins for diagrams.
Errors of poses are (dt, w) as in `PoseEstimate.covariance`: object units and radians, in the axes of cam.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import chi2

from uop3d_core.geometry import Array

BINS = 10
INSIDE = 0.9
LEVELS = tuple(round(0.05 * step, 2) for step in range(1, 20))
PARTS = {"rotation": slice(3, 6), "translation": slice(0, 3), "all": slice(0, 6)}
"""Which of the six numbers an ellipsoid is of."""


def auroc(score: Array, right: Array) -> float:
    """Probability that a right one scores higher than a wrong one; scores (N,), right (N,) bool with both kinds."""
    above = score[right][:, None] - score[~right][None]
    return float(((above > 0) + 0.5 * (above == 0)).mean())


def reliability(p: Array, right: Array) -> list[tuple[float, float, int]]:
    """Mean probability, share of right ones and how many there are, in bins of equal width that hold any."""
    bins = np.clip((p * BINS).astype(int), 0, BINS - 1)
    return [
        (float(p[bins == b].mean()), float(right[bins == b].mean()), int((bins == b).sum())) for b in np.unique(bins)
    ]


def calibration_error(p: Array, right: Array) -> float:
    """Expected calibration error: mean distance of the probabilities of a bin from its share of right ones."""
    return sum(abs(mean - share) * number for mean, share, number in reliability(p, right)) / len(p)


def brier(p: Array, right: Array) -> float:
    """Mean squared distance of probabilities (N,) from what came true (N,) bool."""
    return float(((p - right) ** 2).mean())


@dataclass(frozen=True, eq=False)
class Spread:
    """How far the truth lies from an estimate in the estimate's own measure.

    Attributes:
        rotation, translation, all: squared Mahalanobis distances of 3, 3 and 6 numbers, whose mean is their number
            where the covariance is right; infinite where the covariance is not positive definite.
    """

    rotation: float
    translation: float
    all: float

    @classmethod
    def of(cls, error: Array, covariance: Array) -> Spread:
        """Of an error (6,) and its covariance (6, 6), translation first."""
        return cls(**{name: _squared(error[part], covariance[part, part]) for name, part in PARTS.items()})


def score_figures(p: Array, right: Array) -> dict[str, Any]:
    """Of probabilities (N,) and what came true (N,) bool.

    Returns:
        {"images", "right", "mean", "ece", "brier", "auroc"}; shares are in [0, 1], auroc is None where all or none
        came true.
    """
    both = 0 < right.sum() < len(right)
    return {
        "images": len(p),
        "right": round(float(right.mean()), 4),
        "mean": round(float(p.mean()), 4),
        "ece": round(calibration_error(p, right), 4),
        "brier": round(brier(p, right), 4),
        "auroc": round(auroc(p, right), 4) if both else None,
    }


def coverage(spreads: Sequence[Spread], part: str, levels: Sequence[float] = LEVELS) -> list[float]:
    """Shares of true poses inside the ellipsoids that should hold the shares `levels` of them."""
    squared = np.array([getattr(spread, part) for spread in spreads])
    return [float((squared <= chi2.ppf(level, _numbers(part))).mean()) for level in levels]


def spread_figures(spreads: Sequence[Spread]) -> dict[str, Any] | None:
    """How often the truth is inside, and how far away it is on average; None where there is no estimate.

    Returns:
        {"images", "inside90": per part, "nees": per part}: shares inside the 90 % ellipsoids in per cent, and the mean
        squared distance over the number of its numbers, which is 1 where covariances are right (None: infinite).
    """
    if not spreads:
        return None
    nees = {name: np.mean([getattr(spread, name) for spread in spreads]) / _numbers(name) for name in PARTS}
    return {
        "images": len(spreads),
        "inside90": {name: round(100 * coverage(spreads, name, [INSIDE])[0], 2) for name in PARTS},
        "nees": {name: round(float(value), 3) if np.isfinite(value) else None for name, value in nees.items()},
    }


def _numbers(part: str) -> int:
    return PARTS[part].stop - PARTS[part].start


def _squared(error: Array, covariance: Array) -> float:
    try:
        root = np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        return float("inf")
    return float((np.linalg.solve(root, error) ** 2).sum())
