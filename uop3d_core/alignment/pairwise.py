"""Similarity transforms between two captures from the looks and the shape of their surfaces.

In: two Surfaces (each in its world frame). Out: PairAlignment, the best distinct a_T_b.

Inside, every surface is centred and scaled to unit diameter ("unit frame"), so that scales are near one and distances
are shares of the diameter. The score is that of Sommer et al., CVPR 2024, with a cutoff: a cycle-weighted mix of the
two-way surface distance and the distance between appearance matches. Surface distances are looked up in signed distance
fields, which makes a hypothesis cost a few lookups and gives Gauss-Newton refinement its gradients.

What makes it fast: many hypotheses are sifted on few points of the surfaces and few on many; see `prepared`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from uop3d_core.alignment.prepared import SPREAD_OUT, PreparedSurface
from uop3d_core.config import PairSettings
from uop3d_core.geometry import umeyama
from uop3d_core.types import PairAlignment, Sim3

SAMPLE = 4
MIN_SPREAD = 0.1
ROBUST_DISTANCE = 0.03
SIFTED_ON, FIRST_REFINED_ON, REFINED_ON = 48, 112, SPREAD_OUT
"""Points of each surface that hypotheses are judged on, from stage to stage."""
FIRST_STEPS = 3
REFINED = 8
QUARTER_TURNS = 3


def feature_distance(a: PreparedSurface, b: PreparedSurface) -> Tensor:
    """(V_a, V_b) distance of the looks of vertices: every look's distance to its best partner, averaged both ways.

    Equals `min_avg` of the published code where all views are kept; infinite where a vertex was never seen.
    """
    (V, K, _), (M, L, _) = a.features.shape, b.features.shape
    rows, columns = _penalised(a, first=True), _penalised(b, first=False)
    similarity = (rows @ columns.T).view(K, V, L, M)
    forward = _chord(similarity.amax(2)).mul_(a.views.T[..., None]).sum(0)
    backward = _chord(similarity.amax(0)).transpose(0, 1).mul_(b.views.T[:, None]).sum(0)
    views_a, views_b = a.views.sum(1), b.views.sum(1)
    distance = forward.add_(backward).div_((views_a[:, None] + views_b[None]).clamp(min=1))
    return distance.masked_fill_((views_a == 0)[:, None] | (views_b == 0)[None], float("inf"))


def _penalised(surface: PreparedSurface, first: bool) -> Tensor:
    """Looks as (K * V, C + 2) rows; two more channels make products with those that stand for nothing very small."""
    penalty = torch.where(surface.views > 0, 0.0, -4.0)[..., None]
    one = torch.ones_like(penalty)
    rows = torch.cat([surface.features, penalty, one] if first else [surface.features, one, penalty], dim=-1)
    return rows.transpose(0, 1).flatten(0, 1)


def _chord(similarity: Tensor) -> Tensor:
    """Distance between unit vectors by their scalar product, in its place."""
    return similarity.clamp_(min=-1).mul_(-2).add_(2).clamp_(min=0).sqrt_()


@dataclass(frozen=True, eq=False)
class Matches:
    """Appearance matches of both directions, as one list of N = V_a + V_b rows, in the unit frames.

    Attributes:
        a, b: (N, 3) matched points; the first V_a rows belong to a's vertices, the others to b's.
        weights: (N,) cycle weight in [0, 1], 1 for a match that comes back to where it started, 0 where a vertex was
            never seen. The less the looks agree with themselves, the less they say beside the shapes.
    """

    a: Tensor
    b: Tensor
    weights: Tensor

    def take(self, index: Tensor) -> Matches:
        """Some of the rows."""
        return Matches(self.a[index], self.b[index], self.weights[index])


def match(a: PreparedSurface, b: PreparedSurface, distance: Tensor, temperature: float) -> Matches:
    """Nearest neighbours in looks both ways, weighted by how near the way there and back ends."""
    to_b, to_a = distance.argmin(1), distance.argmin(0)
    cycle_a = (a.vertices - a.vertices[to_a[to_b]]).norm(dim=1)
    cycle_b = (b.vertices - b.vertices[to_b[to_a]]).norm(dim=1)
    seen = torch.cat([a.views.any(1) & b.views.any(), b.views.any(1) & a.views.any()])
    weights = torch.exp(-torch.cat([cycle_a, cycle_b]) / temperature) * seen
    return Matches(
        torch.cat([a.vertices, a.vertices[to_a]]),
        torch.cat([b.vertices[to_b], b.vertices]),
        weights,
    )


@dataclass(frozen=True, eq=False)
class Similarities:
    """A batch of H similarities b <- a between unit frames: x_b = s * R @ x_a + t."""

    s: Tensor
    R: Tensor
    t: Tensor

    def apply(self, points: Tensor) -> Tensor:
        """(N, 3) points in a to (H, N, 3) in b."""
        return self.s[:, None, None] * (points @ self.R.mT) + self.t[:, None]

    def apply_inverse(self, points: Tensor) -> Tensor:
        """(N, 3) points in b to (H, N, 3) in a."""
        return ((points - self.t[:, None]) @ self.R) / self.s[:, None, None]

    def take(self, index: Tensor) -> Similarities:
        """A part of the batch."""
        return Similarities(self.s[index], self.R[index], self.t[index])

    def joined(self, other: Similarities) -> Similarities:
        """Both batches, one after the other."""
        return Similarities(*(torch.cat([getattr(self, k), getattr(other, k)]) for k in ("s", "R", "t")))

    def where(self, condition: Tensor, other: Similarities) -> Similarities:
        """Row by row: self where the condition holds, else other."""
        c = condition
        return Similarities(
            torch.where(c, self.s, other.s),
            torch.where(c[:, None, None], self.R, other.R),
            torch.where(c[:, None], self.t, other.t),
        )


def sample_hypotheses(matches: Matches, settings: PairSettings, rng: np.random.Generator) -> Similarities:
    """Similarities through random quadruples of matches, drawn by weight.

    Quadruples that lie close together and implausible scales are left out.

    Raises:
        ValueError: there are no matches, or no quadruple gives a plausible similarity.
    """
    weights = matches.weights.numpy().astype(np.float64)
    if not weights.any():
        raise ValueError("no appearance matches: one of them was not seen in any image")
    index = rng.choice(len(weights), size=(2 * settings.hypotheses, SAMPLE), p=weights / weights.sum())
    source, target = matches.a.numpy()[index], matches.b.numpy()[index]
    spread = np.sqrt(((source - source.mean(1, keepdims=True)) ** 2).sum(-1).mean(-1))
    wide = np.flatnonzero(spread > MIN_SPREAD)[: 3 * settings.hypotheses // 2]
    s, R, t = umeyama(source[wide], target[wide])
    good = np.flatnonzero(np.isfinite(s) & (s > 1 / settings.scale_range) & (s < settings.scale_range))
    if len(good) == 0:
        raise ValueError("no plausible similarity between the appearance matches")
    return Similarities(*(torch.from_numpy(x[good[: settings.hypotheses]]).float() for x in (s, R, t)))


def turned(T: Similarities, vertices: Tensor) -> Similarities:
    """Every similarity (H) followed by turns (G) of 90, 180 and 270 degrees about b's principal axes: H * G of them.

    Where looks do not tell front from back or which way up, matches hardly ever propose the right one.
    """
    centre = vertices.mean(0)
    axes = torch.linalg.eigh((vertices - centre).T @ (vertices - centre))[1]
    angles = torch.arange(1, QUARTER_TURNS + 1) * (torch.pi / 2)
    turns = _rotation((axes.T[:, None] * angles[:, None]).flatten(0, 1))
    R = turns @ T.R[:, None]
    t = (turns @ (T.t - centre)[:, None, :, None])[..., 0] + centre
    return Similarities(T.s.repeat_interleave(len(turns)), R.flatten(0, 1), t.flatten(0, 1))


def score(
    a: PreparedSurface, b: PreparedSurface, matches: Matches, T: Similarities, settings: PairSettings
) -> tuple[Tensor, Tensor, Tensor]:
    """Score, geometric and appearance distance, each (H,), distances as shares of the diameter (score: minus).

    Matches that are farther apart than the cutoff all count the same: a few very wrong ones shall not decide. In the
    score, appearance weighs the less the less the matches agree among themselves.
    """
    forward = b.distance(T.apply(a.vertices))
    backward = a.distance(T.apply_inverse(b.vertices)) * T.s[:, None]
    apart = (T.apply(matches.a) - matches.b).norm(dim=2)
    return _score(torch.cat([forward, backward], 1), apart, torch.cat([a.areas, b.areas]), matches.weights, T, settings)


def _score(
    distances: Tensor, apart: Tensor, areas: Tensor, weights: Tensor, T: Similarities, settings: PairSettings
) -> tuple[Tensor, Tensor, Tensor]:
    """`score` by distances of vertices (H, V_a + V_b) and between matches (H, N), both as lengths in b."""
    root = T.s.sqrt()[:, None]
    geometry = (distances.abs() / root) @ areas / len(areas)
    trust, share = weights.mean(), settings.appearance_share
    apart = (apart / root).clamp(max=settings.appearance_cutoff)
    appearance = apart @ weights / len(weights) / trust.clamp(min=1e-9)
    return -((1 - share) * geometry + share * trust * appearance), geometry, appearance


def distinct(T: Similarities, scores: Tensor, count: int, angle_deg: float) -> Tensor:
    """Indices of the best `count` hypotheses whose rotations differ by more than an angle, best first."""
    order = scores.argsort(descending=True)[: 40 * count]
    R = T.R[order].flatten(1)
    apart = (R @ R.T <= 1 + 2 * float(np.cos(np.deg2rad(angle_deg)))).numpy()
    chosen: list[int] = []
    free = np.ones(len(order), dtype=bool)
    while free.any() and len(chosen) < count:
        chosen.append(int(free.argmax()))
        free &= apart[chosen[-1]]
        free[chosen[-1]] = False
    return order[torch.tensor(chosen)]


def refine(
    a: PreparedSurface,
    b: PreparedSurface,
    matches: Matches,
    T: Similarities,
    settings: PairSettings,
    steps: int | None = None,
) -> Similarities:
    """Robust Gauss-Newton steps (by default `settings.iterations`) on 7 degrees of freedom for a batch.

    Each keeps its best-scoring iterate.
    """
    best, best_score = T, torch.full_like(T.s, -torch.inf)
    for _ in range(settings.iterations if steps is None else steps):
        now, delta = _step(a, b, matches, T, settings)
        better = now > best_score
        best, best_score = T.where(better, best), torch.where(better, now, best_score)
        T = _update(T, delta)
    return T.where(score(a, b, matches, T, settings)[0] > best_score, best)


def _step(
    a: PreparedSurface, b: PreparedSurface, matches: Matches, T: Similarities, settings: PairSettings
) -> tuple[Tensor, Tensor]:
    """Score (H,) of similarities and the change (H, 7) of one step, as `_update` takes it.

    x_b changes by w x x_b + u x_b + v for small rotation w, log-scale u and translation v.

    Residuals: signed distance of a's vertices in b's field, of b's vertices in a's field (times the scale, so all
    are lengths in b), and the vectors between appearance matches; weights 1 / (|r| + robust distance).
    """
    x = T.apply(a.vertices)
    r_f, n_f = b.lookup(x)
    inverse = T.apply_inverse(b.vertices)
    r_b, n_a = a.lookup(inverse)
    residual = torch.cat([r_f, r_b * T.s[:, None]], 1)
    normal = torch.cat([n_f, -(n_a @ T.R.mT)], 1)
    where = torch.cat([x, b.vertices.expand_as(inverse)], 1)
    areas = torch.cat([a.areas, b.areas])
    w_geo = (1 - settings.appearance_share) * areas / (residual.abs() + ROBUST_DISTANCE)
    J = torch.cat([torch.linalg.cross(where, normal), (where * normal).sum(-1, keepdim=True), normal], dim=-1)
    JW = (J * w_geo[..., None]).mT
    H, g = JW @ J, (JW @ residual[..., None])[..., 0]
    p = T.apply(matches.a)
    apart = p - matches.b
    length = apart.norm(dim=2)
    w_app = settings.appearance_share * matches.weights / (length + ROBUST_DISTANCE)
    w_app = w_app * (length < settings.appearance_cutoff * T.s.sqrt()[:, None])
    Hp, gp = _point_terms(p, apart, w_app)
    damping = 1e-3 * torch.eye(7) * len(areas)
    scores = _score(residual, length, areas, matches.weights, T, settings)[0]
    return scores, torch.linalg.solve(H + Hp + damping, -(g + gp))


def _point_terms(p: Tensor, apart: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Normal equations (H, 7, 7), (H, 7) of point-to-point residuals `apart` (H, N, 3) at points p, from moments.

    The rows are J = [-[p]x, p, 1], so J^T W J holds sums of w, w p and w p p^T only.
    """
    wp = weights[..., None] * p
    zeroth, first, second = weights.sum(1), wp.sum(1), wp.mT @ p
    trace = second.diagonal(dim1=1, dim2=2).sum(1)
    eye = torch.eye(3).expand_as(second)
    H = torch.zeros(len(p), 7, 7)
    H[:, :3, :3] = trace[:, None, None] * eye - second
    H[:, :3, 4:] = _skew(first)
    H[:, 4:, :3] = _skew(first).mT
    H[:, 3, 3] = trace
    H[:, 3, 4:] = H[:, 4:, 3] = first
    H[:, 4:, 4:] = zeroth[:, None, None] * eye
    turn = torch.linalg.cross(wp, apart).sum(1)
    return H, torch.cat([turn, (wp * apart).sum((1, 2))[:, None], (weights[..., None] * apart).sum(1)], dim=1)


def _skew(v: Tensor) -> Tensor:
    """(H, 3) to cross product matrices (H, 3, 3)."""
    x, y, z = v.unbind(-1)
    zeros = torch.zeros_like(x)
    return torch.stack([zeros, -z, y, z, zeros, -x, -y, x, zeros], -1).unflatten(-1, (3, 3))


def _rotation(vectors: Tensor) -> Tensor:
    """Rotations (H, 3, 3) by rotation vectors (H, 3), by Rodrigues' formula."""
    angle = vectors.norm(dim=1)[:, None, None].clamp(min=1e-9)
    K = _skew(vectors) / angle
    return torch.eye(3) + angle.sin() * K + (1 - angle.cos()) * (K @ K)


def _update(T: Similarities, delta: Tensor) -> Similarities:
    """Apply (H, 7) small changes on the left: rotation (limited to 0.3 rad), log-scale, translation."""
    w, u, v = delta[:, :3], delta[:, 3].clamp(-0.1, 0.1), delta[:, 4:]
    angle = w.norm(dim=1, keepdim=True)
    dR = _rotation(w * (0.3 / angle.clamp(min=0.3)))
    ds = torch.exp(u)
    return Similarities(ds * T.s, dR @ T.R, ds[:, None] * (dR @ T.t[:, :, None])[..., 0] + v)


def align_pair(
    a: PreparedSurface, b: PreparedSurface, settings: PairSettings, rng: np.random.Generator
) -> PairAlignment:
    """The best distinct alignments of two captures.

    Raises:
        ValueError: no plausible similarity was found.
    """
    matches = match(a, b, feature_distance(a, b), settings.cycle_temperature)
    try:
        T = sample_hypotheses(matches, settings, rng)
    except ValueError as error:
        raise ValueError(f"captures {a.name} and {b.name}: {error}") from error
    problem = thinned(a, b, matches, SIFTED_ON)
    scores = score(*problem, T, settings)[0]
    seeds = turned(T.take(scores.argmax()[None]), b.vertices)
    T, scores = T.joined(seeds), torch.cat([scores, score(*problem, seeds, settings)[0]])
    T = T.take(distinct(T, scores, settings.candidates, settings.mode_angle_deg / 2))
    for points, steps, count in (
        (FIRST_REFINED_ON, FIRST_STEPS, REFINED),
        (REFINED_ON, settings.iterations, settings.modes),
    ):
        problem = thinned(a, b, matches, points)
        T = refine(*problem, T, settings, steps)
        T = T.take(distinct(T, score(*problem, T, settings)[0], max(count, settings.modes), settings.mode_angle_deg))
    scores, geometry, appearance = score(a, b, matches, T, settings)
    keep = scores.argsort(descending=True)[: settings.modes]
    modes = tuple(_world_transform(a, b, T, int(i)) for i in keep)
    return PairAlignment(a.name, b.name, modes, *(x[keep].double().numpy() for x in (scores, geometry, appearance)))


def thinned(
    a: PreparedSurface, b: PreparedSurface, matches: Matches, count: int
) -> tuple[PreparedSurface, PreparedSurface, Matches]:
    """The same pair by at most `count` points of each surface."""
    first, second = torch.arange(min(count, len(a.vertices))), torch.arange(min(count, len(b.vertices)))
    return a.take(first), b.take(second), matches.take(torch.cat([first, len(a.vertices) + second]))


def _world_transform(a: PreparedSurface, b: PreparedSurface, T: Similarities, index: int) -> Sim3:
    """worldA_T_worldB of one similarity b <- a between unit frames."""
    matrix = np.eye(4)
    matrix[:3, :3] = (T.s[index] * T.R[index]).double().numpy()
    matrix[:3, 3] = T.t[index].double().numpy()
    return a.unit_T_world.inverse() @ Sim3.from_matrix(matrix).inverse() @ b.unit_T_world
