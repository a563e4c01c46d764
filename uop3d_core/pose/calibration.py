"""What an estimate is worth: probabilities and covariance from raw evidence, with constants fitted on held-out views.

In: Solutions (poses with their agreement, in the crop's camera), and for fitting their true poses. Out: Calibration.
A score of 0.8 means that four in five such poses are right; a 90 % ellipsoid holds nine in ten true poses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from scipy.optimize import minimize, minimize_scalar
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
TEMPERATURES = (0.005, 0.5)
"""The lowest and the highest that is believed."""
INSIDE = 0.9
LARGEST_ANGLE = np.pi / 3
FEWEST = 8
"""Right views that a covariance is fitted to; with fewer the default stays."""
NOTHING_SAID = 0.5
"""Probability that stands for no evidence: its log-odds are 0."""
CONSTANT = 3
"""Where the evidence has its one."""


@dataclass(frozen=True, eq=False)
class Solution:
    """What was found in one crop, before it is weighed.

    Attributes:
        crop_T_obj: (H, 4, 4) distinct poses, the most agreeing first; H >= 1.
        agreement: (H,) in [0, 1].
        clarity: mean probability that the object's pixels give to the neighbourhood of their likeliest vertex.
        covariance: (6, 6) of the first pose as if all pixels erred independently, see `normal_equations`.
        keypoints: clarity of the keypoints that the network says beside its pixels.
    """

    crop_T_obj: Array
    agreement: Array
    clarity: float
    covariance: Array
    keypoints: float = NOTHING_SAID

    @property
    def evidence(self) -> Array:
        """(5,) features of the logistic models, all in steps that mean about as much.

        Log-odds of agreement and of clarity, lead over the second, one, log-odds of the keypoints' clarity.
        """
        second = self.agreement[1] if len(self.agreement) > 1 else 0.0
        lead = 10 * (self.agreement[0] - second)
        return np.array([_logit(self.agreement[0]), _logit(self.clarity), lead, 1.0, 4 * _logit(self.keypoints)])


@dataclass(frozen=True)
class Calibration:
    """Constants of one model.

    Attributes:
        right: weights of the evidence for the rotation being within 30 degrees, given the category.
        known: weights of the first four for the category, against something else in the box. Where keypoints cannot be
            told apart, the object may be out of focus; that does not make it something else.
        temperature: difference in agreement that makes another hypothesis e times less likely.
        factor: on the linearised covariance, because pixels do not err independently.
        turn: standard deviation in radians about each axis that the linearisation misses.
        sideways, away: of the position across and along the line of sight, as shares of the distance.
        views: held-out views that it was fitted on; 0 for constants by default, which promise nothing.
    """

    right: tuple[float, ...] = (1.0, 0.5, 0.3, 0.5, 0.0)
    known: tuple[float, ...] = (1.0, 0.5, 0.0, 1.5)
    temperature: float = 0.05
    factor: float = 30.0
    turn: float = 0.12
    sideways: float = 0.02
    away: float = 0.06
    views: int = 0

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Calibration:
        """From a model's metadata.

        Raises:
            ValueError: a constant is missing, unknown or no finite number.
        """
        try:
            values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in content.items()}
            found = cls(**values)
            numbers = np.concatenate([np.ravel(value) for value in asdict(found).values()]).astype(float)
        except (TypeError, ValueError) as error:
            raise ValueError(f"the model's calibration cannot be read ({error})") from error
        once = len(found.right) == len(found.known)  # keypoints were no evidence
        if len(numbers) != (14 if once else 15) or len(found.known) != 4 or not np.isfinite(numbers).all():
            raise ValueError("the model's calibration has missing or infinite constants")
        return found

    def to_json(self) -> dict[str, Any]:
        """For a model's metadata."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    def probabilities(self, solution: Solution) -> tuple[Array, float]:
        """Of every pose to be the right one (H,), and of the box showing something else."""
        known, right = (float(_chances(solution.evidence, np.array(weights))) for weights in (self.known, self.right))
        first = known * right
        likely = np.exp((solution.agreement - solution.agreement[0]) / self.temperature)
        others = likely[1:] * (known - first) / max(1.0, likely[1:].sum())
        return np.minimum(np.concatenate([[first], np.minimum(others, first)]), SURE), 1 - known

    def for_surer(self, by: Array) -> Calibration:
        """Constants of another network than they were fitted to, which has (5,) more evidence of the same objects.

        It has no more of other things, so what tells these apart stays.
        """
        right = np.array(self.right)
        right[CONSTANT] -= right @ by[: len(right)]
        return replace(self, right=_plain(right))

    def covariance(self, solution: Solution) -> Array:
        """(6, 6) of (dt, w) of the first pose, in the crop's camera."""
        return _covariance(solution, np.array([self.factor, self.turn, self.sideways, self.away]))


def fit_calibration(
    solutions: Sequence[Solution],
    errors: Array,
    angles: Sequence[Array],
    others: Sequence[Solution] = (),
    objects: int | None = None,
    plain: Sequence[bool] | None = None,
) -> Calibration:
    """Constants from held-out views.

    Args:
        solutions: of N held-out views that show the category.
        errors: (N, 6) true (dt, w) of their first poses, in the crop's camera; of symmetric things the smallest.
        angles: of each, (H,) rotation errors of all its poses, in radians.
        others: of crops that show something else.
        objects: how many different things the N views show. A new one is another draw, and few say little about how
            things differ: the covariance is wider by 1 + 1 / objects, as the variance of a prediction is.
        plain: which of the N views show the object so plainly that it could not be something else; None for all.

    Raises:
        ValueError: there are no views.
    """
    if not solutions:
        raise ValueError("no held-out view gave a pose: nothing to calibrate with")
    start = Calibration()
    right = np.array([each[0] < RIGHT for each in angles])
    evidence = np.stack([solution.evidence for solution in solutions])
    known = np.array(start.known)
    if others:
        clear = evidence if plain is None else evidence[np.asarray(plain, bool)]
        everything = np.concatenate([clear, np.stack([solution.evidence for solution in others])])
        known = _logistic(everything, np.arange(len(everything)) < len(clear), known)
    weights = _logistic(evidence, right, np.array(start.right), _chances(evidence, known))
    fitted: dict[str, Any] = {
        "right": _plain(weights),
        "known": _plain(known),
        "temperature": _temperature(solutions, angles, start.temperature),
        "views": len(solutions),
    }
    near = right & np.isfinite(errors).all(1)
    if near.sum() >= FEWEST:
        names = ("factor", "turn", "sideways", "away")
        first = np.array([getattr(start, name) for name in names])
        chosen = [solution for solution, use in zip(solutions, near, strict=True) if use]
        wider = 1 + 1 / objects if objects else 1.0
        found = _spread(chosen, errors[near], first) * np.array([wider, *[np.sqrt(wider)] * 3])
        fitted |= dict(zip(names, map(float, found), strict=True))
    return Calibration(**fitted)


def _temperature(solutions: Sequence[Solution], angles: Sequence[Array], start: float) -> float:
    """Under which the right one of several poses is likeliest, where it is among them."""
    concerned = [
        (solution.agreement, int(np.argmin(angle)))
        for solution, angle in zip(solutions, angles, strict=True)
        if len(angle) > 1 and angle.min() < RIGHT
    ]

    def cost(logarithm: float) -> float:
        surprise = [
            logsumexp(agreement / np.exp(logarithm)) - agreement[best] / np.exp(logarithm)
            for agreement, best in concerned
        ]
        return float(sum(surprise) + PRIOR * (logarithm - np.log(start)) ** 2)

    return float(np.exp(minimize_scalar(cost, bounds=np.log(TEMPERATURES), method="bounded").x))


def _covariance(solution: Solution, constants: Array) -> Array:
    factor, turn, sideways, away = constants
    depth = solution.crop_T_obj[0, 2, 3]
    missed = np.array([sideways * depth, sideways * depth, away * depth, turn, turn, turn]) ** 2
    linear = factor * solution.covariance
    linear = linear * min(1.0, LARGEST_ANGLE**2 / max(float(np.trace(linear[3:, 3:])), 1e-12))
    return linear + np.diag(missed)


def _spread(solutions: Sequence[Solution], errors: Array, start: Array) -> Array:
    """Most likely constants under normal errors, scaled so that the 90 % ellipsoids hold what they should."""

    def cost(logarithms: Array) -> float:
        total = 0.0
        for solution, error in zip(solutions, errors, strict=True):
            covariance = _covariance(solution, np.exp(logarithms))
            total += np.linalg.slogdet(covariance)[1] + error @ np.linalg.solve(covariance, error)
        return total + PRIOR * float(((logarithms - np.log(start)) ** 2).sum())

    best = np.exp(minimize(cost, np.log(start), method="Nelder-Mead", options={"maxiter": 400, "xatol": 0.02}).x)
    distances = [e @ np.linalg.solve(_covariance(s, best), e) for s, e in zip(solutions, errors, strict=True)]
    wider = float(np.quantile(distances, INSIDE)) / float(chi2.ppf(INSIDE, 6))
    return best * np.array([wider, *[np.sqrt(wider)] * 3])


def _logistic(evidence: Array, truth: Array, start: Array, chances: Array | float = 1.0) -> Array:
    """Regularised logistic regression; weights of evidence that speaks for the truth stay at least 0.

    Where the truth needs something else to be given first, `chances` is the probability of that, and multiplies.
    """

    def cost(weights: Array) -> float:
        p = np.clip(chances * _chances(evidence, weights), 1e-9, 1 - 1e-9)
        return -float(np.log(np.where(truth, p, 1 - p)).sum()) + 0.5 * CAUTION * float(((weights - start) ** 2).sum())

    bounds = [(None if index == CONSTANT else 0.0, None) for index in range(len(start))]
    found: Array = minimize(cost, start, method="L-BFGS-B", bounds=bounds).x
    return found


def _plain(weights: Array) -> tuple[float, ...]:
    return tuple(float(weight) for weight in weights)


def _logit(p: float) -> float:
    p = float(np.clip(p, 0.01, 0.99))
    return float(np.log(p / (1 - p)))


def _chances(evidence: Array, weights: Array) -> Array:
    """Probabilities by a logistic model of (..., 5) evidence, of which it weighs the first ones."""
    return np.asarray(expit(evidence[..., : len(weights)] @ weights))
