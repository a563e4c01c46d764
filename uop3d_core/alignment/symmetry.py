"""Rotations that bring the objects of a category onto themselves, found in the captures alone.

In: the prepared surfaces and their Alignment. Out: Symmetry with the evidence for it. Frame: obj.

A turn belongs to the category where captures turned by it resemble *other* captures as much as they do unturned, in
shape and in looks (see `comparison`), and where their shape stays much nearer to their own than to that of others.

Which turn of a capture is the right one is not taken from the alignment, which may have flipped some, and which prefers
by chance what is alike on two of them, such as their prints. It is fitted to a part of the pairs and judged on the
others: only what holds for the category can be seen there. An unsymmetric thing must not pass as symmetric: where that
cannot be told, the answer is no.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from uop3d_core.alignment.comparison import (
    SHAPE_FLOOR,
    TOLD,
    Comparison,
    compare,
    evenly,
    obj_T_unit,
    own_shape,
)
from uop3d_core.alignment.prepared import PreparedSurface
from uop3d_core.config import SymmetrySettings
from uop3d_core.geometry import Array, closest_rotation
from uop3d_core.types import Alignment, Symmetry

FOLDS: dict[int, tuple[int, ...]] = {2: (), 3: (), 5: (), 4: (2,), 6: (2, 3), 8: (4,), 0: (2, 3, 5)}
"""Folds in the order of testing, each with those that it implies; 0 is any angle."""
ANY_ANGLE = 12
"""Turns that stand for all where any angle is tested, which what has folds of 2, 3 and 5 must bear besides."""
FEWEST = 3
LEAST_OVERLAP = 0.5
NEAR_AXIS_DEG = 15.0
SPLITS, SWEEPS = 6, 10


@dataclass(frozen=True, eq=False)
class Evidence:
    """What speaks for a symmetry and against it; excesses are those of held-out pairs at the worst turn, with errors.

    Attributes:
        symmetry: the one that was tried.
        own: by how much captures differ from themselves, turned, as share of what they differ from others.
        shape: by how much turned pairs fit worse, as share of how badly others do, and its standard error; None where
            captures differ too much from themselves.
        looks: by how much looks change, where 0 is not at all and 1 that any resemblance is lost; and its standard
            error. None where shape had decided already, or looks say nothing.
        overlap: share of vertices that can be compared at the turn where these are the fewest, over that where they
            are the most; None with looks.
        holds: whether it is a symmetry.
    """

    symmetry: Symmetry
    own: float
    shape: tuple[float, float] | None
    looks: tuple[float, float] | None
    overlap: float | None
    holds: bool


@dataclass(frozen=True, eq=False)
class SymmetryReport:
    """The symmetry that was found, and all that were tried."""

    symmetry: Symmetry
    tried: tuple[Evidence, ...]


def detect_symmetry(
    surfaces: Mapping[str, PreparedSurface], alignment: Alignment, settings: SymmetrySettings
) -> SymmetryReport:
    """The largest group of rotations about one axis that the accepted captures bear; none with fewer than 3 of them.

    Tried are the axes of obj and the principal axes of the captures' shape. A body of revolution comes before folds,
    more folds before fewer, and z before other axes.
    """
    names = [name for name, entry in alignment.captures.items() if entry.accepted and name in surfaces]
    if len(names) < FEWEST:
        return SymmetryReport(Symmetry.none(), ())
    some = [surfaces[name] for name in evenly(names, settings.captures)]
    ordinary = float(compare(some, alignment, np.eye(3)[None]).shape.mean()) + SHAPE_FLOOR
    tried: list[Evidence] = []
    for axis in _axes(some, alignment):
        tried += _try_axis(axis, some, alignment, ordinary, settings)
        if tried[-1].holds and tried[-1].symmetry.fold == 0:
            break
    found = [evidence.symmetry for evidence in tried if evidence.holds]
    best = min(found, key=lambda s: -s.fold if s.fold else -np.inf, default=Symmetry.none())
    return SymmetryReport(best, tuple(tried))


def follow_axis(
    symmetry: Symmetry, surfaces: Mapping[str, PreparedSurface], alignment: Alignment, settings: SymmetrySettings
) -> Symmetry:
    """The same symmetry with its axis where it lies in another, better alignment in nearly the same frame."""
    names = [name for name, entry in alignment.captures.items() if entry.accepted and name in surfaces]
    if symmetry.fold == 1 or len(names) < 2:
        return symmetry
    some = [surfaces[name] for name in evenly(names, settings.captures)]
    compared = compare(some, alignment, _turns(symmetry.axis, symmetry.fold))
    return Symmetry(_mean_axis(compared, symmetry.axis), symmetry.fold)


def _axes(surfaces: Sequence[PreparedSurface], alignment: Alignment) -> list[Array]:
    """z, x and y of obj, and those principal axes of the shape that lie elsewhere."""
    points = [obj_T_unit(s, alignment).apply(s.vertices.double().numpy()) for s in surfaces]
    centred = np.concatenate([p - p.mean(0) for p in points])
    chosen: list[Array] = []
    for axis in (*np.eye(3)[[2, 0, 1]], *np.linalg.eigh(centred.T @ centred)[1].T):
        if all(abs(axis @ other) < np.cos(np.deg2rad(NEAR_AXIS_DEG)) for other in chosen):
            chosen.append(axis)
    return chosen


def _try_axis(
    axis: Array,
    surfaces: Sequence[PreparedSurface],
    alignment: Alignment,
    ordinary: float,
    settings: SymmetrySettings,
) -> Iterator[Evidence]:
    """Evidence on all folds about an axis, but those that imply one which was found not to hold.

    `ordinary` is how much captures differ from others in shape. What differs from itself needs no others.
    """
    holds: dict[int, bool] = {}
    for fold, implied in FOLDS.items():
        holds[fold] = all(holds[other] for other in implied)
        if holds[fold]:
            turns = _turns(axis, fold)
            differ = own_shape(surfaces, alignment, turns)
            own = float((differ - differ[:, :1]).mean(0).max()) / ordinary
            evidence = Evidence(Symmetry(axis, fold), own, None, None, None, False)
            if own <= settings.own_change:
                compared = compare(surfaces, alignment, turns)
                evidence = _weigh(Symmetry(_mean_axis(compared, axis), fold), own, compared, len(surfaces), settings)
            holds[fold] = evidence.holds
            yield evidence


def _turns(axis: Array, fold: int) -> Array:
    """The turns (H, 3, 3) of a group, from none on."""
    angles = np.arange(fold or ANY_ANGLE) * 2 * np.pi / (fold or ANY_ANGLE)
    return Rotation.from_rotvec(angles[:, None] * axis).as_matrix()


def _mean_axis(compared: Comparison, axis: Array) -> Array:
    """The axis (3,) of the polished turns, which need not be exactly the one that was tried."""
    R = compared.obj_R_obj
    mean = closest_rotation((R[:, 1:] @ np.swapaxes(R[:, :1], -1, -2)).sum(0))
    vectors = Rotation.from_matrix(mean).as_rotvec()
    total = (vectors * np.sign(vectors @ axis)[:, None]).sum(0)
    return total / np.linalg.norm(total)


def _weigh(symmetry: Symmetry, own: float, compared: Comparison, captures: int, settings: SymmetrySettings) -> Evidence:
    """Evidence from pairs, where captures are near enough to themselves."""
    excess, fitted = _held_out(compared.shape, compared, captures)
    shape = _worst(excess / (fitted.mean() + SHAPE_FLOOR), captures)
    if sum(shape) > settings.shape_excess:
        return Evidence(symmetry, own, shape, None, None, False)
    looks, overlap = _weigh_looks(compared, captures)
    same = looks is None or looks[0] - looks[1] <= settings.looks_change
    return Evidence(symmetry, own, shape, looks, overlap, same and (overlap is None or overlap >= LEAST_OVERLAP))


def _weigh_looks(compared: Comparison, captures: int) -> tuple[tuple[float, float] | None, float | None]:
    """Change of looks with its standard error, and the overlap; None where looks say nothing."""
    told = np.isfinite(compared.looks.min(1))
    if told.sum() < len(told) / 2:
        return None, 0.0
    table = np.where(told[:, None], compared.looks, np.mean(compared.looks[told]))
    excess, fitted = _held_out(table, compared, captures)
    contrast = compared.any_two[told].mean() - fitted[told].mean()
    overlap = compared.overlap.mean(0)
    if contrast < TOLD:
        return None, None
    return _worst(excess[told] / contrast, captures), float(overlap.min() / overlap.max())


def _worst(excess: Array, captures: int) -> tuple[float, float]:
    """The largest mean over pairs of (E, H - 1) excesses, and its standard error: as many count as there are captures.

    Pairs that share a capture are not independent.
    """
    mean = excess.mean(0)
    worst = int(mean.argmax())
    return float(mean[worst]), float(excess[:, worst].std() / np.sqrt(captures))


def _held_out(table: Array, compared: Comparison, captures: int) -> tuple[Array, Array]:
    """How the turns that some pairs ask for suit the other pairs.

    Args:
        table: (E, H) cost of every turn of every pair.
        compared: whose pairs these are.
        captures: how many there are.

    Returns:
        excess (E, H - 1) of all other turns over the cost of the one that a fit without the pair predicts; and this
        cost (E,).
    """
    i, j, (E, H) = compared.i, compared.j, table.shape
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
