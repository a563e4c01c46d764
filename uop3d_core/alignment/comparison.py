"""How much captures resemble each other when one of each pair is turned, or mirrored, in obj.

In: prepared surfaces, their Alignment, orthogonal matrices in obj. Out: distances in shape and in looks, all pairs.

Every turn of every pair is polished by a few steps first, so that neither errors of the alignment nor an axis beside
the origin count against it. Shape is compared by the root mean square distance of the surfaces, which a small part like
a handle spoils, and looks by the features of vertices that then lie on each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TypeVar

import numpy as np
import torch

from uop3d_core.alignment.pairwise import Matches, Similarities, feature_distance, refine
from uop3d_core.alignment.prepared import PreparedSurface
from uop3d_core.config import PairSettings
from uop3d_core.geometry import Array
from uop3d_core.types import Alignment, Sim3

STEPS = 4
LARGEST_MOVE_DEG = 12.0
"""Polishing may turn a pair this far: more would slide from one turn to the next."""
REACH = 0.12
"""Vertices farther apart than this, in diameters, do not lie on each other."""
SHAPE_FLOOR = 0.003
"""What meshes of the very same thing differ by, in diameters."""
SPARSE, DENSE = 100, 300
"""Vertices of the first and the second capture of a pair whose looks are compared."""
TOLD = 0.05
"""Looks say nothing where those of vertices at the same place are nearer than those of any two by less than this.

What little then differs between turns comes from light and viewpoints, not from the thing."""

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Comparison:
    """E pairs of captures at H turns.

    Attributes:
        i, j: (E,) numbers of the captures; i is the one that is turned.
        obj_R_obj: (E, H, 3, 3) the polished turns.
        shape: (E, H) root mean square distance of the surfaces, in diameters.
        looks: (E, H) mean distance of the looks of vertices that lie on each other; NaN where there are none.
        overlap: (E, H) share of the vertices that lie on one of the other capture.
        any_two: (E,) mean distance of the looks of any two vertices.
    """

    i: Array
    j: Array
    obj_R_obj: Array
    shape: Array
    looks: Array
    overlap: Array
    any_two: Array


def compare(surfaces: Sequence[PreparedSurface], alignment: Alignment, turns: Array) -> Comparison:
    """All pairs of the surfaces at (H, 3, 3) orthogonal turns."""
    pairs = list(combinations(range(len(surfaces)), 2))
    rows = [_compare_pair(surfaces[i], surfaces[j], alignment, turns) for i, j in pairs]
    i, j = np.array(pairs).T
    obj_R_obj, shape, looks, overlap, any_two = (np.stack(column) for column in zip(*rows, strict=True))
    return Comparison(i, j, obj_R_obj, shape, looks, overlap, any_two)


def own_shape(surfaces: Sequence[PreparedSurface], alignment: Alignment, turns: Array) -> Array:
    """Root mean square distance (N, H) of every surface from itself at (H, 3, 3) turns, in diameters."""
    return np.stack([_compare_pair(surface, surface, alignment, turns)[1] for surface in surfaces])


def evenly(items: Sequence[T], count: int) -> list[T]:
    """At most `count` of the items, evenly chosen."""
    return [items[i] for i in np.unique(np.linspace(0, len(items) - 1, count).round().astype(int))] if items else []


def obj_T_unit(surface: PreparedSurface, alignment: Alignment) -> Sim3:
    """From the unit frame of a prepared surface."""
    return alignment.captures[surface.name].obj_T_world @ surface.unit_T_world.inverse()


def _compare_pair(a: PreparedSurface, b: PreparedSurface, alignment: Alignment, turns: Array) -> tuple[Array, ...]:
    obj_T_a, b_T_obj = obj_T_unit(a, alignment), obj_T_unit(b, alignment).inverse()
    scale = np.full(len(turns), b_T_obj.scale * obj_T_a.scale)
    t = b_T_obj.apply(turns @ obj_T_a.t)
    given = Similarities(*(torch.from_numpy(x).float() for x in (scale, b_T_obj.R @ turns @ obj_T_a.R, t)))
    b_T_a = _polish(a, b, given)
    obj_R_obj = b_T_obj.R.T @ b_T_a.R.double().numpy() @ obj_T_a.R.T
    return obj_R_obj, _shape_distance(a, b, b_T_a), *_look_distance(a, b, b_T_a)


def _polish(a: PreparedSurface, b: PreparedSurface, given: Similarities) -> Similarities:
    """A few steps to a better fit of the shapes, none of which leads far away."""
    N = len(a.vertices) + len(b.vertices)
    no_matches = Matches(torch.zeros(N, 3), torch.zeros(N, 3), torch.zeros(N))
    T = given
    for _ in range(STEPS):
        step = refine(a, b, no_matches, T, PairSettings(appearance_share=0.0), 1)
        trace = torch.einsum("hij,hij->h", step.R, given.R)
        T = step.where(trace > 1 + 2 * np.cos(np.deg2rad(LARGEST_MOVE_DEG)), T)
    return T


def _shape_distance(a: PreparedSurface, b: PreparedSurface, b_T_a: Similarities) -> Array:
    root = b_T_a.s.sqrt()[:, None]
    forward = (b.distance(b_T_a.apply(a.vertices)) / root) ** 2 * a.areas
    backward = (a.distance(b_T_a.apply_inverse(b.vertices)) * root) ** 2 * b.areas
    return ((forward.mean(1) + backward.mean(1)) / 2).sqrt().double().numpy()


def _look_distance(a: PreparedSurface, b: PreparedSurface, b_T_a: Similarities) -> tuple[Array, Array, Array]:
    """Looks (H,), overlap (H,) and the distance of any two ()."""
    a, b, H = _seen(a, SPARSE), _seen(b, DENSE), len(b_T_a.s)
    if len(a.vertices) == 0 or len(b.vertices) == 0:
        return np.full(H, np.nan), np.zeros(H), np.array(np.nan)
    distance = feature_distance(a, b)
    apart, partner = torch.cdist(b_T_a.apply(a.vertices), b.vertices.expand(H, -1, -1)).min(2)
    met = apart < REACH
    looks = (distance[torch.arange(len(a.vertices)), partner] * met).sum(1) / met.sum(1)
    return looks.double().numpy(), met.double().mean(1).numpy(), distance.double().mean().numpy()


def _seen(surface: PreparedSurface, count: int) -> PreparedSurface:
    """At most `count` of the vertices that were seen."""
    return surface.take(torch.nonzero(surface.views.sum(1) > 0)[:count, 0])
