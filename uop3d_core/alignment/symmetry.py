"""Rotations that bring the objects of a category onto themselves, found in the captures alone.

In: the prepared surfaces and their Alignment. Out: Symmetry with the evidence for it. Frame: obj.

A turn belongs to the category where captures turned by it resemble *other* captures as much as they do unturned. Every
turn of every pair is polished by a few steps first, so that neither errors of the alignment nor an axis beside the
origin count against it. Shape is compared by the root mean square distance of the surfaces (which a handle spoils,
though it is a small part), looks by the features of vertices that then lie on each other.

Which turn of a capture is the right one is not taken from the alignment, which may have flipped some, and which prefers
by chance what is alike on two of them, such as their prints. It is fitted to a part of the pairs and judged on the
others: only what holds for the category can be seen there. An unsymmetric thing must not pass as symmetric: where that
cannot be told, the answer is no.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from uop3d_core.alignment.pairwise import Matches, PreparedSurface, Similarities, feature_distance, refine
from uop3d_core.config import PairSettings, SymmetrySettings
from uop3d_core.geometry import Array, closest_rotation, rotation_error
from uop3d_core.types import Alignment, Sim3, Symmetry

FOLDS: dict[int, tuple[int, ...]] = {2: (), 3: (), 5: (), 4: (2,), 6: (2, 3), 8: (4,), 0: (2, 3, 5)}
"""Folds in the order of testing, each with those that it implies; 0 is any angle."""
ANY_ANGLE = 12
"""Turns that stand for all where any angle is tested, which what has folds of 2, 3 and 5 must bear besides."""
STEPS = 4
LARGEST_MOVE_DEG = 12.0
"""Polishing may turn a pair this far: more would slide from one turn to the next."""
SHAPE_FLOOR = 0.003
"""What meshes of the same thing differ by, in diameters."""
TOLD = 0.05
"""Looks say nothing where those of vertices at the same place are nearer than those of any two by less than this.

What little then differs between turns comes from light and viewpoints, not from the thing."""
REACH = 0.12
"""Vertices farther apart than this, in diameters, do not lie on each other."""
LEAST_OVERLAP = 0.5
SPARSE, DENSE = 100, 300
"""Vertices of the first and the second capture of a pair whose looks are compared."""
NEAR_AXIS_DEG = 15.0
SPLITS, SWEEPS = 6, 10


@dataclass(frozen=True, eq=False)
class Evidence:
    """What speaks for a symmetry and against it; excesses are those of held-out pairs at the worst turn, with errors.

    Attributes:
        symmetry: the one that was tried.
        shape: by how much wrongly turned pairs fit worse, as share of how badly others do; and its standard error.
        looks: by how much looks change, where 0 is not at all and 1 that any resemblance is lost; and its standard
            error. None where shape had decided already, or looks say nothing.
        overlap: share of vertices that can be compared at the turn where these are the fewest, over that where they
            are the most; None with looks.
        holds: whether it is a symmetry.
    """

    symmetry: Symmetry
    shape: tuple[float, float]
    looks: tuple[float, float] | None
    overlap: float | None
    holds: bool


@dataclass(frozen=True, eq=False)
class SymmetryReport:
    """The symmetry that was found, and all that were tried."""

    symmetry: Symmetry
    tried: tuple[Evidence, ...]


@dataclass(frozen=True, eq=False)
class _Pair:
    """Capture number i brought onto capture number j, turned by k / H of a full turn in obj before, k = 0 ... H - 1.

    Attributes:
        i, j: numbers of the captures a and b.
        a, b: their surfaces.
        obj_R_a, obj_R_b: (3, 3) from the unit frames.
        b_T_a: H polished similarities between the unit frames.
    """

    i: int
    j: int
    a: PreparedSurface
    b: PreparedSurface
    obj_R_a: Array
    obj_R_b: Array
    b_T_a: Similarities


def detect_symmetry(
    surfaces: Mapping[str, PreparedSurface], alignment: Alignment, settings: SymmetrySettings
) -> SymmetryReport:
    """The largest group of rotations about one axis that the accepted captures bear; none with fewer than 3 of them.

    Tried are the axes of obj and the principal axes of the captures' shape. A body of revolution comes before folds,
    more folds before fewer, and z before other axes.
    """
    names = [name for name, entry in alignment.captures.items() if entry.accepted and name in surfaces]
    if len(names) < 3:
        return SymmetryReport(Symmetry.none(), ())
    chosen = np.unique(np.linspace(0, len(names) - 1, settings.captures).round().astype(int))
    some = [surfaces[names[i]] for i in chosen]
    tried: list[Evidence] = []
    for axis in _axes(some, alignment):
        tried += _try_axis(axis, some, alignment, settings)
        if tried[-1].holds and tried[-1].symmetry.fold == 0:
            break
    found = [evidence.symmetry for evidence in tried if evidence.holds]
    best = min(found, key=lambda s: -s.fold if s.fold else -np.inf, default=Symmetry.none())
    return SymmetryReport(best, tuple(tried))


def _axes(surfaces: Sequence[PreparedSurface], alignment: Alignment) -> list[Array]:
    """z, x and y of obj, and those principal axes of the shape that lie elsewhere."""
    points = [_obj_T_unit(s, alignment).apply(s.vertices.double().numpy()) for s in surfaces]
    centred = np.concatenate([p - p.mean(0) for p in points])
    chosen: list[Array] = []
    for axis in (*np.eye(3)[[2, 0, 1]], *np.linalg.eigh(centred.T @ centred)[1].T):
        if all(abs(axis @ other) < np.cos(np.deg2rad(NEAR_AXIS_DEG)) for other in chosen):
            chosen.append(axis)
    return chosen


def _obj_T_unit(surface: PreparedSurface, alignment: Alignment) -> Sim3:
    return alignment.captures[surface.name].obj_T_world @ surface.unit_T_world.inverse()


def _try_axis(
    axis: Array, surfaces: Sequence[PreparedSurface], alignment: Alignment, settings: SymmetrySettings
) -> Iterator[Evidence]:
    """Evidence on all folds about an axis, but those that imply one which was found not to hold."""
    holds: dict[int, bool] = {}
    for fold, implied in FOLDS.items():
        holds[fold] = all(holds[other] for other in implied)
        if holds[fold]:
            turns = np.arange(fold or ANY_ANGLE) * 2 * np.pi / (fold or ANY_ANGLE)
            R = Rotation.from_rotvec(turns[:, None] * axis).as_matrix()
            pairs = [
                _pair(i, j, surfaces[i], surfaces[j], alignment, R) for i, j in combinations(range(len(surfaces)), 2)
            ]
            evidence = _weigh(Symmetry(_mean_axis(pairs, axis), fold), pairs, len(surfaces), settings)
            holds[fold] = evidence.holds
            yield evidence


def _pair(i: int, j: int, a: PreparedSurface, b: PreparedSurface, alignment: Alignment, turns: Array) -> _Pair:
    obj_T_a, b_T_obj = _obj_T_unit(a, alignment), _obj_T_unit(b, alignment).inverse()
    scale = np.full(len(turns), b_T_obj.scale * obj_T_a.scale)
    t = b_T_obj.apply(turns @ obj_T_a.t)
    given = Similarities(*(torch.from_numpy(x).float() for x in (scale, b_T_obj.R @ turns @ obj_T_a.R, t)))
    return _Pair(i, j, a, b, obj_T_a.R, b_T_obj.R.T, _polish(a, b, given))


def _polish(a: PreparedSurface, b: PreparedSurface, given: Similarities) -> Similarities:
    """A few steps to a better fit of the shapes, none of which leads far away."""
    N = len(a.vertices) + len(b.vertices)
    no_matches = Matches(torch.zeros(N, 3), torch.zeros(N, 3), torch.zeros(N))
    T = given
    for _ in range(STEPS):
        step = refine(a, b, no_matches, T, PairSettings(appearance_share=0.0), 1)
        moved = rotation_error(step.R.double().numpy(), given.R.double().numpy())
        T = step.where(torch.from_numpy(moved < np.deg2rad(LARGEST_MOVE_DEG)), T)
    return T


def _mean_axis(pairs: Sequence[_Pair], axis: Array) -> Array:
    """The axis (3,) of the polished turns, which need not be exactly the one that was tried."""
    R = np.stack([p.obj_R_b @ p.b_T_a.R.double().numpy() @ p.obj_R_a.T for p in pairs])
    mean = closest_rotation((R[:, 1:] @ np.swapaxes(R[:, :1], -1, -2)).sum(0))
    vectors = Rotation.from_matrix(mean).as_rotvec()
    total = (vectors * np.sign(vectors @ axis)[:, None]).sum(0)
    return total / np.linalg.norm(total)


def _weigh(symmetry: Symmetry, pairs: Sequence[_Pair], captures: int, settings: SymmetrySettings) -> Evidence:
    table = np.stack([_shape_distance(pair) for pair in pairs])
    excess, fitted = _held_out(table, pairs, captures)
    shape = _worst(excess / (fitted.mean() + SHAPE_FLOOR), captures)
    if sum(shape) > settings.shape_excess:
        return Evidence(symmetry, shape, None, None, False)
    looks, overlap = _looks(pairs, captures)
    same = looks is None or looks[0] - looks[1] <= settings.looks_change
    return Evidence(symmetry, shape, looks, overlap, same and (overlap is None or overlap >= LEAST_OVERLAP))


def _worst(excess: Array, captures: int) -> tuple[float, float]:
    """The largest mean over pairs of (E, H - 1) excesses, and its standard error: as many count as there are captures.

    Pairs that share a capture are not independent.
    """
    mean = excess.mean(0)
    worst = int(mean.argmax())
    return float(mean[worst]), float(excess[:, worst].std() / np.sqrt(captures))


def _shape_distance(pair: _Pair) -> Array:
    """Root mean square distance (H,) of the surfaces, both ways, in diameters."""
    a, b, T = pair.a, pair.b, pair.b_T_a
    root = T.s.sqrt()[:, None]
    forward = (b.distance(T.apply(a.vertices)) / root) ** 2 * a.areas
    backward = (a.distance(T.apply_inverse(b.vertices)) * root) ** 2 * b.areas
    return ((forward.mean(1) + backward.mean(1)) / 2).sqrt().double().numpy()


def _looks(pairs: Sequence[_Pair], captures: int) -> tuple[tuple[float, float] | None, float | None]:
    """Change of looks with its standard error, and the overlap; None where looks say nothing."""
    compared = [_look_distance(pair) for pair in pairs]
    table, overlap, any_two = (np.stack(part) for part in zip(*compared, strict=True))
    told = np.isfinite(table).all(1)
    if told.sum() < len(pairs) / 2:
        return None, 0.0
    table[~told] = np.nanmean(table[told])
    excess, fitted = _held_out(table, pairs, captures)
    contrast = any_two[told].mean() - fitted[told].mean()
    mean_overlap = overlap.mean(0)
    if not contrast > TOLD:
        return None, None
    return _worst(excess[told] / contrast, captures), float(mean_overlap.min() / mean_overlap.max())


def _look_distance(pair: _Pair) -> tuple[Array, Array, Array]:
    """Mean distance (H,) of the looks of vertices that lie on each other, their share (H,), and that of any two ()."""
    a, b = _thinned(pair.a, SPARSE), _thinned(pair.b, DENSE)
    H = len(pair.b_T_a.s)
    if len(a.vertices) == 0 or len(b.vertices) == 0:
        return np.full(H, np.nan), np.zeros(H), np.array(np.nan)
    distance = feature_distance(a, b)
    apart, partner = torch.cdist(pair.b_T_a.apply(a.vertices), b.vertices.expand(H, -1, -1)).min(2)
    met = apart < REACH
    values = distance[torch.arange(len(a.vertices)), partner]
    mean = (values * met).sum(1) / met.sum(1)
    return mean.double().numpy(), met.double().mean(1).numpy(), distance.double().mean().numpy()


def _thinned(surface: PreparedSurface, count: int) -> PreparedSurface:
    """At most `count` of the vertices that were seen."""
    return surface.take(torch.nonzero(surface.views.sum(1) > 0)[:count, 0])


def _held_out(table: Array, pairs: Sequence[_Pair], captures: int) -> tuple[Array, Array]:
    """How the turns that some pairs ask for suit the other pairs.

    Args:
        table: (E, H) cost of every turn of every pair.
        pairs: the E pairs.
        captures: how many there are.

    Returns:
        excess (E, H - 1) of all other turns over the cost of the one that a fit without the pair predicts; and this
        cost (E,).
    """
    i, j = (np.array([getattr(pair, key) for pair in pairs]) for key in ("i", "j"))
    E, H = table.shape
    order = np.random.default_rng(0).permutation(E)
    turned = np.empty((E, H))
    for split in range(min(SPLITS, E)):
        held = order[split :: min(SPLITS, E)]
        kept = np.setdiff1d(order, held)
        labels = _fit_turns(table[kept], i[kept], j[kept], captures)
        shift = (labels[i[held]] - labels[j[held]])[:, None] + np.arange(H)
        turned[held] = np.take_along_axis(table[held], shift % H, axis=1)
    return turned[:, 1:] - turned[:, :1], turned[:, 0]


def _fit_turns(table: Array, i: Array, j: Array, captures: int) -> Array:
    """The turn (captures,) of every capture at which the pairs (i, j) cost least: best of several descents."""
    H = table.shape[1]
    full = np.zeros((captures, captures, H))
    full[i, j] = table
    full[j, i] = table[:, -np.arange(H) % H]
    best, least = np.zeros(captures, int), np.inf
    for start in range(-1, captures):
        labels = np.zeros(captures, int) if start < 0 else full[:, start].argmin(1)
        for _ in range(SWEEPS):
            for capture in range(captures):
                turned = (np.arange(H)[:, None] - labels) % H
                labels[capture] = full[capture, np.arange(captures), turned].sum(1).argmin()
        cost = table[np.arange(len(i)), (labels[i] - labels[j]) % H].sum()
        if cost < least - 1e-12:
            best, least = labels, cost
    return best
