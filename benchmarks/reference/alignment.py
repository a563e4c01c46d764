"""The published pairwise alignment, as a baseline: appearance matches, 4-point hypotheses, the best by one score.

In: two surfaces with several view features per vertex, each in its own world frame. Out: one similarity a_T_b with its
score. A plain re-implementation with the published constants; what uop3d does instead is in uop3d_core.alignment.

L. Sommer, A. Jesslen, E. Ilg, A. Kortylewski, "Unsupervised Learning of Category-Level 3D Pose from Object-Centric
Videos", CVPR 2024. Differences: both meshes are centred and brought to diameter 1 before anything is
computed (the score does not change; a refinement step then means the same in every gauge), and hypotheses without
extent are dropped.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from reference.descent import descend
from scipy.spatial.distance import pdist
from torch import Tensor

from uop3d_core.geometry import Array, rigid, umeyama
from uop3d_core.types import PairAlignment, Sim3, Surface

SAMPLE_POINTS = 4
MIN_SCALE = 1e-6
CHUNK = 2**24  # distances in memory at a time


@dataclass(frozen=True)
class ReferenceSettings:
    """Constants of the published alignment.

    Attributes:
        hypotheses: number of 4-point samples.
        alpha: share of appearance in the score; geometry has 1 - alpha.
        temperature: of the cycle weights, in diameters.
        refinement_steps: Adam steps on the best hypothesis (0 or, in a published variant, 20); the last one is kept.
        learning_rate: of these steps, in radians and diameters.
    """

    hypotheses: int = 1000
    alpha: float = 0.2
    temperature: float = 0.9
    refinement_steps: int = 0
    learning_rate: float = 2e-2


@dataclass(frozen=True, eq=False)
class Problem:
    """What scoring a transform between two meshes takes; points are centred and have diameter 1.

    Attributes:
        a: (N, 3) vertices of the first mesh.
        b: (M, 3) vertices of the second mesh.
        b_of_a: (N,) index of the vertex of b that looks most like each vertex of a.
        a_of_b: (M,) likewise the other way round.
        weights: (N + M,) of the vertices of a, then b; mean 1.
        alpha: share of appearance in the score.
    """

    a: Tensor
    b: Tensor
    b_of_a: Tensor
    a_of_b: Tensor
    weights: Tensor
    alpha: float

    def terms(self, b_T_a: Tensor) -> tuple[Tensor, Tensor]:
        """Weighted mean distances under H transforms (H, 4, 4), in diameters of b.

        Returns:
            geometry (H,): to the nearest vertex of the other mesh; appearance (H,): to the one that looks alike.
        """
        b_T_a = b_T_a.to(self.a.dtype)
        moved = self.a @ b_T_a[:, :3, :3].mT + b_T_a[:, None, :3, 3]
        squared = squared_distances(moved, self.b)
        geometry = torch.cat([squared.amin(2), squared.amin(1)], dim=1).clamp_min(1e-12).sqrt()
        pairs = torch.cat([moved - self.b[self.b_of_a], moved[:, self.a_of_b] - self.b], dim=1)
        appearance = pairs.square().sum(2).clamp_min(1e-12).sqrt()
        return (self.weights * geometry).mean(1), (self.weights * appearance).mean(1)

    def score(self, b_T_a: Tensor) -> Tensor:
        """Scores (H,) of transforms (H, 4, 4): higher is better, at most 0."""
        geometry, appearance = self.terms(b_T_a)
        return -(1 - self.alpha) * geometry - self.alpha * appearance


def align_pair(
    a: Surface, b: Surface, settings: ReferenceSettings, rng: np.random.Generator, distances: Tensor | None = None
) -> PairAlignment:
    """Align two surfaces.

    Args:
        a: the reference.
        b: the capture to bring into the reference's frame.
        settings: the constants.
        rng: draws the samples.
        distances: `feature_distances(a, b)` where already known.

    Returns:
        The alignment with one mode: a_T_b maps world of b to world of a. Scores are in diameters of b.

    Raises:
        ValueError: no two vertices can be compared, or no sample of matches gives a transform.
    """
    D = feature_distances(a, b) if distances is None else distances
    if not D.isfinite().any():
        raise ValueError(f"pair {a.name}, {b.name}: one of the surfaces has no vertex with features")
    a_unit_T_a, b_unit_T_b = _to_unit(a.mesh.vertices), _to_unit(b.mesh.vertices)
    problem = _problem(a_unit_T_a.apply(a.mesh.vertices), b_unit_T_b.apply(b.mesh.vertices), D, settings)
    hypotheses = _hypotheses(problem, D, settings.hypotheses, rng)
    if len(hypotheses) == 0:
        raise ValueError(f"pair {a.name}, {b.name}: no sample of {SAMPLE_POINTS} matches gives a transform")
    b_unit_T_a_unit = _refined(problem, hypotheses[_best(problem, hypotheses)], settings)
    geometry, appearance = (float(term) for term in problem.terms(b_unit_T_a_unit[None]))
    a_T_b = a_unit_T_a.inverse() @ Sim3.from_matrix(b_unit_T_a_unit.numpy()).inverse() @ b_unit_T_b
    score = -(1 - settings.alpha) * geometry - settings.alpha * appearance
    return PairAlignment(a.name, b.name, (a_T_b,), np.array([score]), np.array([geometry]), np.array([appearance]))


def feature_distances(a: Surface, b: Surface) -> Tensor:
    """How different the vertices of two surfaces look: (N, M) float32, inf where one of them was never seen.

    The mean, over the views of both vertices, of the distance to the nearest view of the other vertex.
    """
    features_a, features_b = torch.tensor(a.features), torch.tensor(b.features).float()
    valid_a, valid_b = torch.tensor(a.valid), torch.tensor(b.valid)
    rows = _per_chunk(valid_a.shape[1] * valid_b.numel())
    chunks = zip(features_a.split(rows), valid_a.split(rows), strict=True)
    return torch.cat([_mean_of_nearest(some.float(), features_b, valid, valid_b) for some, valid in chunks])


def _mean_of_nearest(features_a: Tensor, features_b: Tensor, valid_a: Tensor, valid_b: Tensor) -> Tensor:
    """The distances of (n, K, C) to (M, L, C) features with (n, K) and (M, L) valid ones, as (n, M)."""
    squared = squared_distances(features_a.flatten(0, 1), features_b.flatten(0, 1))
    squared = squared.view(*valid_a.shape, *valid_b.shape)
    squared.masked_fill_(~valid_b, torch.inf).masked_fill_(~valid_a[:, :, None, None], torch.inf)
    to_b = squared.amin(3).clamp_min_(0).sqrt_().masked_fill_(~valid_a[:, :, None], 0).sum(1)
    to_a = squared.amin(1).clamp_min_(0).sqrt_().masked_fill_(~valid_b, 0).sum(2)
    distances = (to_b + to_a) / (valid_a.sum(1)[:, None] + valid_b.sum(1))
    return distances.nan_to_num_(torch.inf, torch.inf)


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """(..., N, M) between (..., N, C) and (..., M, C) points, by one matrix product; rounding can leave it below 0."""
    x_norm, y_norm = x.square().sum(-1, keepdim=True), y.square().sum(-1, keepdim=True)
    left = torch.cat([x, x_norm, torch.ones_like(x_norm)], dim=-1)
    right = torch.cat([-2 * y, torch.ones_like(y_norm), y_norm], dim=-1)
    return left @ right.mT


def _to_unit(vertices: Array) -> Sim3:
    """unit_T_world: centre of the vertices at the origin, largest distance between two of them 1."""
    diameter = float(pdist(vertices).max())
    return Sim3(1 / diameter, np.eye(3), -vertices.mean(0) / diameter)


def _problem(a: Array, b: Array, D: Tensor, settings: ReferenceSettings) -> Problem:
    points_a, points_b = torch.from_numpy(a).float(), torch.from_numpy(b).float()
    b_of_a, a_of_b = D.argmin(1), D.argmin(0)
    cycle_a = (points_a - points_a[a_of_b[b_of_a]]).norm(dim=1)
    cycle_b = (points_b - points_b[b_of_a[a_of_b]]).norm(dim=1)
    cycle_a[~D.isfinite().any(1)] = torch.inf
    cycle_b[~D.isfinite().any(0)] = torch.inf
    weights = torch.softmax(torch.cat([cycle_a, cycle_b]) / -settings.temperature, 0) * (len(a) + len(b))
    return Problem(points_a, points_b, b_of_a, a_of_b, weights, settings.alpha)


def _hypotheses(problem: Problem, D: Tensor, count: int, rng: np.random.Generator) -> Tensor:
    """Similarities (H, 4, 4) float64 of a to b from matches of 4 random vertices of a; H <= count."""
    sample = np.argpartition(rng.random((count, len(problem.a))), SAMPLE_POINTS, axis=1)[:, :SAMPLE_POINTS]
    partner = problem.b_of_a.numpy()[sample]
    unseen = ~D.isfinite().any(1).numpy()[sample]
    partner[unseen] = rng.integers(len(problem.b), size=int(unseen.sum()))
    scale, R, t = umeyama(problem.a.numpy()[sample].astype(float), problem.b.numpy()[partner].astype(float))
    usable = np.isfinite(scale) & (scale > MIN_SCALE)
    T = rigid(scale[usable, None, None] * R[usable], t[usable])
    return torch.from_numpy(T)


def _best(problem: Problem, hypotheses: Tensor) -> int:
    chunks = hypotheses.split(_per_chunk(len(problem.a) * len(problem.b)))
    return int(torch.cat([problem.score(chunk) for chunk in chunks]).argmax())


def _per_chunk(distances: int) -> int:
    """How many rows, of so many distances each, to work on at a time."""
    return max(1, CHUNK // distances)


def _refined(problem: Problem, b_T_a: Tensor, settings: ReferenceSettings) -> Tensor:
    return descend(b_T_a, lambda T: -problem.score(T[None])[0], settings.refinement_steps, settings.learning_rate)
