"""What an estimate is worth: probabilities and covariance from raw evidence, with constants fitted on held-out views.

In: Solutions (poses with their agreement, in the crop's camera), and for fitting their true poses. Out: Calibration.
A score of 0.8 means that four in five such poses are right; a 90 % ellipsoid holds nine in ten true poses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, logsumexp
from scipy.stats import chi2

from uop3d_core.geometry import Array

SURE = 0.995
"""No probability is stated beyond this: a few hundred held-out views cannot tell more."""
PRIOR = 0.05
"""Weight of the default constants, per constant, against that of one view."""
CAUTION = 5.0
"""The same for the weights of evidence: views of one object resemble each other, and say little about the next one."""
RIGHT = np.deg2rad(30.0)
INSIDE = 0.9
LARGEST_ANGLE = np.pi / 3
FEWEST = 8
"""Right views that a covariance is fitted to; with fewer the default stays."""
USUAL_MISFIT, LEAST_MISFIT = 0.05, 1e-3
"""Sides of the crop: a misfit that says nothing either way, and one that none is less than."""
WEIGHTS = 5
SPREAD = ("factor", "power", "turn", "sideways", "away")
"""Constants of the covariance."""
USUAL_SIZE = 1e-3
"""Geometric mean of the standard deviations of a linearised covariance whose size changes nothing."""


@dataclass(frozen=True, eq=False)
class Solution:
    """What was found in one crop, before it is weighed.

    Attributes:
        crop_T_obj: (H, 4, 4) distinct poses, the likeliest first; H >= 1.
        agreement: (H,) in [0, 1].
        clarity: mean probability that the object's pixels give to the neighbourhood of their likeliest vertex.
        covariance: (H, 6, 6) of the poses as if all pixels erred independently, see `normal_equations`.
        misfit: (H,) mean distances of keypoints from where the poses have them, in sides of the crop; USUAL_MISFIT
            where nobody says where keypoints are.
    """

    crop_T_obj: Array
    agreement: Array
    clarity: float
    covariance: Array
    misfit: Array

    @property
    def evidence(self) -> Array:
        """(5,) features of the logistic models.

        Log-odds of agreement and of clarity, lead over the others, how little keypoints and pixels disagree, one.
        """
        first, second = self.agreement[0], self.agreement[1:].max(initial=0.0)
        apart = np.log(USUAL_MISFIT / max(self.misfit[0], LEAST_MISFIT))
        return np.array([_logit(first), _logit(self.clarity), 10 * (first - second), apart, 1.0])

    def in_order(self, order: Array) -> Solution:
        """The same with its poses in another order (H,)."""
        parts = {name: getattr(self, name)[order] for name in ("crop_T_obj", "agreement", "covariance", "misfit")}
        return replace(self, **parts)


@dataclass(frozen=True)
class Calibration:
    """Constants of one model.

    Attributes:
        right: weights of the evidence for the rotation being within 30 degrees, given the category.
        known: weights of the evidence for the category, against something else in the box.
        temperature: difference in agreement that makes another hypothesis e times less likely.
        doubt: logarithm of how much less likely a misfit by USUAL_MISFIT makes a hypothesis.
        factor: on the linearised covariance, because pixels do not err independently.
        power: of its size. Below 1, a pose that the pixels fix ten times as well is less than ten times as good.
        turn: standard deviation in radians about each axis that the linearisation misses.
        sideways, away: of the position across and along the line of sight, as shares of the distance.
        views: held-out views that it was fitted on; 0 for constants by default, which promise nothing.
    """

    right: tuple[float, ...] = (1.0, 0.5, 0.3, 0.0, 0.5)
    known: tuple[float, ...] = (1.0, 0.5, 0.0, 0.0, 1.5)
    temperature: float = 0.05
    doubt: float = 0.0
    factor: float = 30.0
    power: float = 1.0
    turn: float = 0.12
    sideways: float = 0.02
    away: float = 0.06
    views: int = 0

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Calibration:
        """From a model's metadata; models of before the misfit was evidence give it no weight.

        Raises:
            ValueError: a constant is missing, unknown or no finite number.
        """
        try:
            values: dict[str, Any] = {k: _weights(v) if isinstance(v, list) else v for k, v in content.items()}
            found = cls(**values)
            numbers = np.concatenate([np.ravel(value) for value in asdict(found).values()]).astype(float)
        except (TypeError, ValueError) as error:
            raise ValueError(f"the model's calibration cannot be read ({error})") from error
        if len(numbers) != 2 * WEIGHTS + 8 or not np.isfinite(numbers).all():
            raise ValueError("the model's calibration has missing or infinite constants")
        return found

    def to_json(self) -> dict[str, Any]:
        """For a model's metadata."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    def order(self, solution: Solution) -> Array:
        """(H,) indices of the poses, the likeliest first."""
        return np.argsort(-self._standing(solution), kind="stable")

    def probabilities(self, solution: Solution) -> tuple[Array, float]:
        """Of every pose to be the right one (H,), the likeliest first, and of the box showing something else."""
        known = float(_sigmoid(solution.evidence @ self.known))
        first = known * float(_sigmoid(solution.evidence @ self.right))
        standing = self._standing(solution)
        likely = np.exp(standing - standing[0])[1:]
        others = likely * min(first, (known - first) / max(float(likely.sum()), 1e-9))
        return np.minimum(np.concatenate([[first], others]), SURE), 1 - known

    def covariance(self, solution: Solution) -> Array:
        """(6, 6) of (dt, w) of the first pose, in the crop's camera."""
        return _covariances([solution], np.array([getattr(self, name) for name in SPREAD]))[0]

    def _standing(self, solution: Solution) -> Array:
        """(H,) logarithms of how likely the poses are, up to a common constant."""
        return _standing(solution, self.temperature, self.doubt)


def fit_calibration(
    solutions: Sequence[Solution],
    errors: Sequence[Array],
    others: Sequence[Solution] = (),
    objects: int | None = None,
) -> Calibration:
    """Constants from held-out views.

    Args:
        solutions: of N held-out views that show the category.
        errors: of each, (H, 6) true (dt, w) of its poses, in the crop's camera; of symmetric things the smallest.
        others: of crops that show something else.
        objects: how many different things the N views show. A new one is another draw, and few say little about how
            things differ: the covariance is wider by 1 + 1 / objects, as the variance of a prediction is.

    Raises:
        ValueError: there are no views.
    """
    if not solutions:
        raise ValueError("no held-out view gave a pose: nothing to calibrate with")
    start = Calibration()
    angles = [np.linalg.norm(each[:, 3:], axis=1) for each in errors]
    temperature, doubt = _preference(solutions, angles)
    orders = [replace(start, temperature=temperature, doubt=doubt).order(solution) for solution in solutions]
    solutions = [solution.in_order(order) for solution, order in zip(solutions, orders, strict=True)]
    firsts = np.stack([each[order[0]] for each, order in zip(errors, orders, strict=True)])
    right = np.linalg.norm(firsts[:, 3:], axis=1) < RIGHT
    evidence = np.stack([solution.evidence for solution in solutions])
    known = np.array(start.known)
    if others:
        everything = np.concatenate([evidence, np.stack([solution.evidence for solution in others])])
        known = _logistic(everything, np.arange(len(everything)) < len(evidence), known)
    chances = _sigmoid(evidence @ known)
    weights = _logistic(evidence, right, np.array(start.right), chances)
    fitted: dict[str, Any] = {"right": _plain(weights), "known": _plain(known), "views": len(solutions)}
    near = right & np.isfinite(firsts).all(1)
    if near.sum() >= FEWEST:
        chosen = [solution for solution, use in zip(solutions, near, strict=True) if use]
        found = _widened(
            _spread(chosen, firsts[near], np.array([getattr(start, name) for name in SPREAD])),
            1 + 1 / objects if objects else 1.0,
        )
        fitted |= dict(zip(SPREAD, map(float, found), strict=True))
    return Calibration(temperature=temperature, doubt=doubt, **fitted)


def _standing(solution: Solution, temperature: float, doubt: float) -> Array:
    return np.asarray(solution.agreement / temperature - doubt * solution.misfit / USUAL_MISFIT)


def _preference(solutions: Sequence[Solution], angles: Sequence[Array]) -> tuple[float, float]:
    """Temperature and doubt under which the right pose is likeliest among those found, where it is among them."""
    start, lowest, highest = np.log(Calibration().temperature), np.log(0.005), np.log(0.5)
    concerned = [
        (solution, int(np.argmin(angle)))
        for solution, angle in zip(solutions, angles, strict=True)
        if len(angle) > 1 and angle.min() < RIGHT
    ]

    def cost(x: Array) -> float:
        total = PRIOR * (x[0] - start) ** 2 + 0.5 * CAUTION * x[1] ** 2
        for solution, best in concerned:
            standing = _standing(solution, np.exp(x[0]), x[1])
            total += logsumexp(standing) - standing[best]
        return float(total)

    found = minimize(cost, [start, 0.0], method="L-BFGS-B", bounds=[(lowest, highest), (0.0, None)]).x
    return float(np.exp(found[0])), float(found[1])


def _covariances(solutions: Sequence[Solution], constants: Array) -> Array:
    """(N, 6, 6) of the first poses, given the constants that SPREAD names."""
    factor, power, turn, sideways, away = constants
    linear = np.stack([solution.covariance[0] for solution in solutions])
    size = np.exp(np.linalg.slogdet(linear)[1] / 12)  # 0 where a head says no covariance, which stays 0
    linear = factor * linear * (np.maximum(size, 1e-9) / USUAL_SIZE)[:, None, None] ** (2 * (power - 1))
    angle = np.trace(linear[:, 3:, 3:], axis1=1, axis2=2)
    linear = linear * np.minimum(1.0, LARGEST_ANGLE**2 / np.maximum(angle, 1e-12))[:, None, None]
    depth = np.array([solution.crop_T_obj[0, 2, 3] for solution in solutions])[:, None]
    missed = np.concatenate([depth * [sideways, sideways, away], np.full((len(depth), 3), turn)], axis=1)
    return np.asarray(linear + missed[:, None] ** 2 * np.eye(6))


def _squared_distances(errors: Array, covariances: Array) -> Array:
    """(N,) squared Mahalanobis lengths of (N, 6)."""
    return np.asarray((errors * np.linalg.solve(covariances, errors[..., None])[..., 0]).sum(1))


def _spread(solutions: Sequence[Solution], errors: Array, start: Array) -> Array:
    """Most likely constants under normal errors, scaled so that the 90 % ellipsoids hold what they should."""
    doubt = np.where(np.array(SPREAD) == "power", CAUTION, PRIOR)

    def cost(logarithms: Array) -> float:
        covariances = _covariances(solutions, np.exp(logarithms))
        misfit = np.linalg.slogdet(covariances)[1] + _squared_distances(errors, covariances)
        return float(misfit.sum() + (doubt * (logarithms - np.log(start)) ** 2).sum())

    best = np.exp(minimize(cost, np.log(start), method="Nelder-Mead", options={"maxiter": 800, "xatol": 0.02}).x)
    distances = _squared_distances(errors, _covariances(solutions, best))
    return _widened(best, float(np.quantile(distances, INSIDE)) / float(chi2.ppf(INSIDE, 6)))


def _widened(constants: Array, share: float) -> Array:
    """The constants of covariances that are so many times as large."""
    exponents = {"factor": 1.0, "power": 0.0}
    return np.asarray(constants * share ** np.array([exponents.get(name, 0.5) for name in SPREAD]))


def _logistic(evidence: Array, truth: Array, start: Array, chances: Array | float = 1.0) -> Array:
    """Regularised logistic regression; weights of evidence that speaks for the truth stay at least 0.

    Where the truth needs something else to be given first, `chances` is the probability of that, and multiplies.
    """

    def cost(weights: Array) -> float:
        p = np.clip(chances * _sigmoid(evidence @ weights), 1e-9, 1 - 1e-9)
        return -float(np.log(np.where(truth, p, 1 - p)).sum()) + 0.5 * CAUTION * float(((weights - start) ** 2).sum())

    bounds = [(0.0, None)] * (len(start) - 1) + [(None, None)]
    found: Array = minimize(cost, start, method="L-BFGS-B", bounds=bounds).x
    return found


def _weights(values: list[float]) -> tuple[float, ...]:
    """Weights from a model's metadata, that of the misfit 0 where there is none."""
    return (*values[:3], 0.0, *values[3:]) if len(values) == WEIGHTS - 1 else tuple(values)


def _plain(weights: Array) -> tuple[float, ...]:
    return tuple(float(weight) for weight in weights)


def _logit(p: float) -> float:
    p = float(np.clip(p, 0.01, 0.99))
    return float(np.log(p / (1 - p)))


def _sigmoid(x: Array) -> Array:
    return np.asarray(expit(x))
