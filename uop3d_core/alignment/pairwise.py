"""Similarity transforms between two captures from the looks and the shape of their surfaces.

In: two Surfaces (each in its world frame). Out: PairAlignment, the best distinct a_T_b.

Inside, every surface is centred and scaled to unit diameter ("unit frame"), so that scales are near one and distances
are shares of the diameter. The score is the one of Sommer et al., CVPR 2024: a cycle-weighted mix of the two-way
surface distance and the distance between appearance matches. Surface distances are looked up in signed distance
fields, which makes a hypothesis cost a few thousand lookups and gives Gauss-Newton refinement its gradients.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from uop3d_core.config import PairSettings
from uop3d_core.geometry import umeyama
from uop3d_core.types import PairAlignment, Sim3, Surface
from uop3d_core.volume import signed_distance

SAMPLE = 4
ROBUST_DISTANCE = 0.03
FIELD_MARGIN = 0.25
FIRST_STEPS = 5


@dataclass(frozen=True, eq=False)
class PreparedSurface:
    """A surface made ready for many pairs.

    Attributes:
        name: the capture's name.
        unit_T_world: to the unit frame.
        vertices: (V, 3) unit frame.
        areas: (V,) share of the surface that a vertex stands for, mean 1.
        features: (V, K, C) float32; rows that are not valid are zero.
        valid: (V, K) bool.
        field: (1, 4, X, Y, Z) signed distance and its gradient.
        field_low, field_high: (3,) corners of the field's lattice.
    """

    name: str
    unit_T_world: Sim3
    vertices: Tensor
    areas: Tensor
    features: Tensor
    valid: Tensor
    field: Tensor
    field_low: Tensor
    field_high: Tensor

    def _sample(self, points: Tensor, channels: int) -> tuple[Tensor, Tensor]:
        """The field's first channels (channels, ...) at (..., 3) points moved into its box, and by how much."""
        span = self.field_high - self.field_low
        clamped = torch.minimum(torch.maximum(points, self.field_low), self.field_high)
        grid = ((clamped - self.field_low) / span * 2 - 1).flip(-1)
        flat = F.grid_sample(self.field[:, :channels], grid.reshape(1, -1, 1, 1, 3), align_corners=True)
        return flat.reshape(channels, *points.shape[:-1]), points - clamped

    def distance(self, points: Tensor) -> Tensor:
        """Signed distance (...) at (..., 3) points; outside the lattice it grows linearly."""
        values, beyond = self._sample(points, 1)
        return values[0] + beyond.norm(dim=-1)

    def lookup(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Signed distance (...) and its gradient (..., 3) at (..., 3) points."""
        values, beyond = self._sample(points, 4)
        value, gradient = values[0], values[1:].movedim(0, -1)
        distance = beyond.norm(dim=-1)
        outside = distance > 0
        if outside.any():
            value = value + distance
            gradient = torch.where(outside[..., None], beyond / distance.clamp(min=1e-9)[..., None], gradient)
        return value, gradient


def prepare(surface: Surface, settings: PairSettings) -> PreparedSurface:
    """Centre, scale, and build the distance field of a surface."""
    mesh = surface.mesh
    centre = (mesh.vertices.min(0) + mesh.vertices.max(0)) / 2
    scale = 1 / mesh.diameter
    unit_T_world = Sim3(scale, np.eye(3), -scale * centre)
    unit = mesh.transformed(unit_T_world)
    grid = signed_distance(unit, settings.field_resolution, FIELD_MARGIN)
    gradient = [np.gradient(grid.values, grid.lattice.spacing, axis=axis) for axis in range(3)]
    field = np.stack([grid.values, *gradient]).astype(np.float32)
    corners = unit.vertices[unit.faces]
    face_areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    areas = np.bincount(unit.faces.ravel(), np.repeat(face_areas, 3), len(unit.vertices))
    low = grid.lattice.origin
    high = low + grid.lattice.spacing * (np.array(grid.lattice.shape) - 1)
    features = torch.tensor(surface.features).float() * torch.tensor(surface.valid)[..., None]
    return PreparedSurface(
        surface.name,
        unit_T_world,
        torch.tensor(unit.vertices).float(),
        torch.from_numpy(areas / areas.mean()).float(),
        features,
        torch.tensor(surface.valid),
        torch.from_numpy(field)[None],
        torch.from_numpy(low).float(),
        torch.from_numpy(high).float(),
    )


def feature_distance(a: PreparedSurface, b: PreparedSurface) -> Tensor:
    """(V_a, V_b) distance of the looks of vertices: every view's distance to its best partner, averaged both ways.

    Equals `min_avg` of the published code; infinite where a vertex was never seen.
    """
    V, K, _ = a.features.shape
    M, L, _ = b.features.shape
    rows, columns = _penalised(a, first=True), _penalised(b, first=False).transpose(0, 1).reshape(L * M, -1).T
    forward, best_for_b = torch.zeros(V, M), torch.full((V, L * M), -8.0)
    for k in range(K):
        similarity = rows[:, k] @ columns
        nearest = similarity.view(V, L, M).amax(1)
        forward += torch.where(a.valid[:, k : k + 1], _chord(nearest), 0.0)
        torch.maximum(best_for_b, similarity, out=best_for_b)
    backward = (_chord(best_for_b.view(V, L, M)) * b.valid.T).sum(1)
    views_a, views_b = a.valid.sum(1), b.valid.sum(1)
    distance = (forward + backward) / (views_a[:, None] + views_b[None]).clamp(min=1)
    unseen = (views_a == 0)[:, None] | (views_b == 0)[None]
    return distance.masked_fill(unseen, float("inf"))


def _penalised(surface: PreparedSurface, first: bool) -> Tensor:
    """Features with two more channels, so that products with rows that are not valid become very small."""
    penalty = torch.where(surface.valid, 0.0, -4.0)[..., None]
    one = torch.ones_like(penalty)
    return torch.cat([surface.features, penalty, one] if first else [surface.features, one, penalty], dim=-1)


def _chord(similarity: Tensor) -> Tensor:
    return (2 - 2 * similarity.clamp(-1, 1)).clamp(min=0).sqrt()


@dataclass(frozen=True, eq=False)
class Matches:
    """Appearance matches of both directions, as one list of N = V_a + V_b rows, in the unit frames.

    Attributes:
        a, b: (N, 3) matched points.
        weights: (N,) cycle weight, mean 1 over all rows; 0 where a vertex was never seen.
    """

    a: Tensor
    b: Tensor
    weights: Tensor


def match(a: PreparedSurface, b: PreparedSurface, distance: Tensor, temperature: float) -> Matches:
    """Nearest neighbours in looks both ways, weighted by how near the way there and back ends."""
    to_b, to_a = distance.argmin(1), distance.argmin(0)
    cycle_a = (a.vertices - a.vertices[to_a[to_b]]).norm(dim=1)
    cycle_b = (b.vertices - b.vertices[to_b[to_a]]).norm(dim=1)
    seen = torch.cat([distance.isfinite().any(1), distance.isfinite().any(0)])
    weights = torch.exp(-torch.cat([cycle_a, cycle_b]) / temperature) * seen
    return Matches(
        torch.cat([a.vertices, a.vertices[to_a]]),
        torch.cat([b.vertices[to_b], b.vertices]),
        weights / weights.mean().clamp(min=1e-9),
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

    def where(self, condition: Tensor, other: Similarities) -> Similarities:
        """Row by row: self where the condition holds, else other."""
        c = condition
        return Similarities(
            torch.where(c, self.s, other.s),
            torch.where(c[:, None, None], self.R, other.R),
            torch.where(c[:, None], self.t, other.t),
        )


def sample_hypotheses(matches: Matches, settings: PairSettings, rng: np.random.Generator) -> Similarities:
    """Similarities through random quadruples of matches, drawn by weight; implausible scales are dropped.

    Raises:
        ValueError: there are no matches, or no quadruple gives a plausible similarity.
    """
    weights = matches.weights.numpy().astype(np.float64)
    if not weights.any():
        raise ValueError("no appearance matches: one of them was not seen in any image")
    index = rng.choice(len(weights), size=(2 * settings.hypotheses, SAMPLE), p=weights / weights.sum())
    source, target = matches.a.numpy()[index], matches.b.numpy()[index]
    spread = np.sqrt(((source - source.mean(1, keepdims=True)) ** 2).sum(-1).mean(-1))
    s, R, t = umeyama(source, target)
    good = np.isfinite(s) & (s > 1 / settings.scale_range) & (s < settings.scale_range) & (spread > 0.1)
    if not good.any():
        raise ValueError("no plausible similarity between the appearance matches")
    keep = np.flatnonzero(good)[: settings.hypotheses]
    return Similarities(*(torch.from_numpy(x[keep]).float() for x in (s, R, t)))


def score(
    a: PreparedSurface, b: PreparedSurface, matches: Matches, T: Similarities, appearance_share: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Score, geometric and appearance distance, each (H,), distances as shares of the diameter (score: minus)."""
    V = len(a.vertices)
    root = T.s.sqrt()[:, None]
    forward = b.distance(T.apply(a.vertices)).abs() / root
    backward = a.distance(T.apply_inverse(b.vertices)).abs() * root
    apart = torch.cat([T.apply(matches.a[:V]) - matches.b[:V], T.apply(matches.a[V:]) - matches.b[V:]], dim=1)
    geometry = (torch.cat([forward, backward], 1) * torch.cat([a.areas, b.areas])).mean(1)
    appearance = (apart.norm(dim=2) / root * matches.weights).mean(1)
    return -((1 - appearance_share) * geometry + appearance_share * appearance), geometry, appearance


def distinct(T: Similarities, scores: Tensor, count: int, angle_deg: float) -> Tensor:
    """Indices of the best `count` hypotheses whose rotations differ by more than an angle, best first."""
    order = scores.argsort(descending=True)[: 40 * count]
    R = T.R[order]
    trace = torch.einsum("hij,gij->hg", R, R)
    same = trace > 1 + 2 * float(np.cos(np.deg2rad(angle_deg)))
    chosen: list[int] = []
    free = torch.ones(len(order), dtype=torch.bool)
    for i in range(len(order)):
        if free[i] and len(chosen) < count:
            chosen.append(i)
            free &= ~same[i]
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
    best, best_score = T, score(a, b, matches, T, settings.appearance_share)[0]
    for _ in range(settings.iterations if steps is None else steps):
        T = _step(a, b, matches, T, settings)
        now = score(a, b, matches, T, settings.appearance_share)[0]
        better = now > best_score
        best, best_score = T.where(better, best), torch.where(better, now, best_score)
    return best


def _step(
    a: PreparedSurface, b: PreparedSurface, matches: Matches, T: Similarities, settings: PairSettings
) -> Similarities:
    """One step: x_b changes by w x x_b + u x_b + v for small rotation w, log-scale u and translation v.

    Residuals: signed distance of a's vertices in b's field, of b's vertices in a's field (times the scale, so all
    are lengths in b), and the vectors between appearance matches; weights 1 / (|r| + robust distance).
    """
    x = T.apply(a.vertices)
    r_f, n_f = b.lookup(x)
    inverse = T.apply_inverse(b.vertices)
    r_b, n_a = a.lookup(inverse)
    r_b = r_b * T.s[:, None]
    n_b = -(n_a @ T.R.mT)
    y = b.vertices.expand_as(inverse)
    residual = torch.cat([r_f, r_b], 1)
    normal, where = torch.cat([n_f, n_b], 1), torch.cat([x, y], 1)
    areas = torch.cat([a.areas, b.areas])
    w_geo = (1 - settings.appearance_share) * areas / (residual.abs() + ROBUST_DISTANCE)
    J = torch.cat([torch.linalg.cross(where, normal), (where * normal).sum(-1, keepdim=True), normal], dim=-1)
    JW = (J * w_geo[..., None]).mT
    H, g = JW @ J, (JW @ residual[..., None])[..., 0]
    p = T.apply(matches.a)
    apart = p - matches.b
    w_app = settings.appearance_share * matches.weights / (apart.norm(dim=2) + ROBUST_DISTANCE)
    Hp, gp = _point_terms(p, apart, w_app)
    damping = 1e-3 * torch.eye(7) * len(areas)
    delta = torch.linalg.solve(H + Hp + damping, -(g + gp))
    return _update(T, delta)


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


def _update(T: Similarities, delta: Tensor) -> Similarities:
    """Apply (H, 7) small changes on the left: rotation (limited to 0.3 rad), log-scale, translation."""
    w, u, v = delta[:, :3], delta[:, 3].clamp(-0.1, 0.1), delta[:, 4:]
    angle = w.norm(dim=1, keepdim=True)
    w = w * (0.3 / angle.clamp(min=0.3))
    dR = torch.linalg.matrix_exp(_skew(w))
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
    scores = score(a, b, matches, T, settings.appearance_share)[0]
    T = T.take(distinct(T, scores, settings.candidates, settings.mode_angle_deg))
    T = refine(a, b, matches, T, settings, min(FIRST_STEPS, settings.iterations))
    best = score(a, b, matches, T, settings.appearance_share)[0].argsort(descending=True)[: 2 * settings.modes]
    T = refine(a, b, matches, T.take(best), settings, max(0, settings.iterations - FIRST_STEPS))
    scores, geometry, appearance = score(a, b, matches, T, settings.appearance_share)
    keep = distinct(T, scores, settings.modes, settings.mode_angle_deg)
    modes = tuple(_world_transform(a, b, T, int(i)) for i in keep)
    return PairAlignment(a.name, b.name, modes, *(x[keep].double().numpy() for x in (scores, geometry, appearance)))


def _world_transform(a: PreparedSurface, b: PreparedSurface, T: Similarities, index: int) -> Sim3:
    """worldA_T_worldB of one similarity b <- a between unit frames."""
    matrix = np.eye(4)
    matrix[:3, :3] = (T.s[index] * T.R[index]).double().numpy()
    matrix[:3, 3] = T.t[index].double().numpy()
    return a.unit_T_world.inverse() @ Sim3.from_matrix(matrix).inverse() @ b.unit_T_world
