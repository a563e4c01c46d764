"""Graphs with known answers, for the tests of synchronisation."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import Rotation

from uop3d_core.alignment.problem import Edges, Nodes, Tolerances
from uop3d_core.geometry import Array, random_rotations, rotation_error

TOLERANCES = Tolerances(*np.deg2rad([45.0, 15.0, 5.0]).tolist())


@dataclass(frozen=True, eq=False)
class Graph:
    """Edges and the true common_T_node that they come from; good: (E,) bool, the right one is among the modes."""

    truth: Nodes
    edges: Edges
    good: Array

    @property
    def count(self) -> int:
        return len(self.truth.scale)


def all_pairs(count: int) -> list[tuple[int, int]]:
    return [(a, b) for b in range(count) for a in range(b)]


def rings(count: int, degree: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """A sparse connected graph: neighbours on a ring and random others."""
    steps = [(i, (i + d) % count) for i in range(count) for d in range(1, degree // 2 + 1)]
    steps += [(i, int(rng.integers(count))) for i in range(count) for _ in range(degree // 2)]
    return sorted({(min(pair), max(pair)) for pair in steps if pair[0] != pair[1]})


def graph(
    count: int,
    pairs: list[tuple[int, int]],
    rng: np.random.Generator,
    *,
    modes: int = 1,
    noise_deg: float = 0.0,
    wrong: float = 0.0,
    hidden: float = 0.0,
) -> Graph:
    """Edges that tell the truth up to noise.

    A share `wrong` of them holds random rotations only; in a share `hidden` of the others a random mode comes first.
    """
    truth = Nodes(np.exp(rng.normal(0, 0.3, count)), random_rotations(count, rng), rng.normal(size=(count, 3)))
    to, of = np.array(pairs).T
    E, back = len(to), np.swapaxes(truth.R[to], 1, 2)
    R = random_rotations(E * modes, rng).reshape(E, modes, 3, 3)
    good = rng.random(E) >= wrong
    place = np.where(rng.random(E) < hidden, min(1, modes - 1), 0)
    noise = Rotation.from_rotvec(np.deg2rad(noise_deg) * rng.normal(size=(E, 3))).as_matrix()
    R[np.flatnonzero(good), place[good]] = (back @ truth.R[of] @ noise)[good]
    t = (back @ (truth.t[of] - truth.t[to])[..., None])[..., 0] / truth.scale[to, None]
    scale = np.repeat((truth.scale[of] / truth.scale[to])[:, None], modes, axis=1)
    t = np.repeat(t[:, None], modes, axis=1)
    cost = np.tile(0.05 * np.arange(modes), (E, 1))
    return Graph(truth, Edges(to, of, scale, R, t, cost, np.ones(E)), good)


def errors_deg(R: Array, truth: Array) -> Array:
    """(N,) errors after the rotation that makes most of them small."""
    common_R_true = R @ np.swapaxes(truth, 1, 2)
    apart = np.rad2deg(rotation_error(common_R_true[:, None], common_R_true[None]))
    return apart[np.minimum(apart, 45).sum(1).argmin()]


def with_rotations(edges: Edges, R: Array) -> Edges:
    return replace(edges, R=R)
