"""A graph whose edges say, in one or several ways, how two nodes lie to each other, and how far rotations disagree.

In: Edges (several modes each), optionally a symmetry. Out: disagreement with rotations of the nodes.
Frames: every node has its own, `common` is the one they are all brought into.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix
from scipy.spatial.transform import Rotation

from uop3d_core.config import JointSettings
from uop3d_core.geometry import Array, rotation_error
from uop3d_core.types import Symmetry


@dataclass(frozen=True, eq=False)
class Tolerances:
    """When rotations agree, in radians.

    Attributes:
        truncate: larger disagreements all count the same.
        coarse: Cauchy scale of the first averaging rounds.
        fine: Cauchy scale of the last ones.
    """

    truncate: float
    coarse: float
    fine: float

    @classmethod
    def of(cls, settings: JointSettings) -> Tolerances:
        """Those of the settings."""
        angles = settings.truncate_deg, settings.robust_angle_deg, settings.fine_angle_deg
        return cls(*(math.radians(angle) for angle in angles))


@dataclass(frozen=True, eq=False)
class Edges:
    """What is known of pairs of nodes: E edges with M modes each.

    Attributes:
        to, of: (E,) nodes.
        scale: (E, M) of the similarities to_T_of.
        R: (E, M, 3, 3).
        t: (E, M, 3) in units of `to`.
        cost: (E, M) what choosing a mode costs, in truncated disagreements; infinite where there is none.
        weight: (E,) how much an edge counts.
    """

    to: Array
    of: Array
    scale: Array
    R: Array
    t: Array
    cost: Array
    weight: Array

    def take(self, index: Array) -> Edges:
        """Some of the edges."""
        parts = (self.to, self.of, self.scale, self.R, self.t, self.cost, self.weight)
        return Edges(*(part[index] for part in parts))


@dataclass(frozen=True, eq=False)
class Nodes:
    """common_T_node of N nodes: scale (N,), R (N, 3, 3), t (N, 3)."""

    scale: Array
    R: Array
    t: Array

    @classmethod
    def identity(cls, count: int) -> Nodes:
        """All nodes in the common frame."""
        return cls(np.ones(count), np.tile(np.eye(3), (count, 1, 1)), np.zeros((count, 3)))


@dataclass(frozen=True, eq=False)
class Directions:
    """A direction that nodes are supposed to share in the common frame, as up.

    Attributes:
        nodes: (K,) which nodes it is known of.
        vectors: (K, 3) unit vectors in the nodes' frames.
        strength: how much a node's direction counts against all its edges together when both are equally precise.
    """

    nodes: Array
    vectors: Array
    strength: float = 1.0


def common_direction(vectors: Array) -> tuple[Array, Array, float]:
    """Robust mean (3,) of (K, 3) unit vectors, every one's angle (K,) to it, and their spread (all radians)."""
    centre = vectors[(np.arccos(np.clip(vectors @ vectors.T, -1, 1))).sum(1).argmin()]
    for _ in range(20):
        angle = np.arccos(np.clip(vectors @ centre, -1, 1))
        spread = max(float(np.median(angle)), np.deg2rad(1.0))
        mean = (vectors / (1 + (angle / spread) ** 2)[:, None]).sum(0)
        centre = mean / np.linalg.norm(mean)
    return centre, angle, spread


def turns_of(symmetry: Symmetry | None) -> Array:
    """(G, 3, 3) rotations of a discrete symmetry; the identity alone where there is none or any angle goes."""
    if symmetry is None or symmetry.fold < 2:
        return np.eye(3)[None]
    angles = 2 * np.pi / symmetry.fold * np.arange(symmetry.fold)
    return Rotation.from_rotvec(angles[:, None] * symmetry.axis).as_matrix()


class Problem:
    """A graph in a form in which rotations of its nodes are quick to judge."""

    def __init__(self, count: int, edges: Edges, tolerances: Tolerances, symmetry: Symmetry | None = None) -> None:
        self.count, self.edges, self.tolerances = count, edges, tolerances
        self.turns = turns_of(symmetry)
        self.axis = symmetry.axis if symmetry is not None and symmetry.fold == 0 else None
        self.to, self.of = np.concatenate([edges.to, edges.of]), np.concatenate([edges.of, edges.to])
        self.R = np.concatenate([edges.R, np.swapaxes(edges.R, -1, -2)])
        self.cost, self.weight = np.concatenate([edges.cost] * 2), np.concatenate([edges.weight] * 2)
        order = np.argsort(self.of, kind="stable")
        self.incident = np.split(order, np.cumsum(np.bincount(self.of, minlength=count))[:-1])
        self.degree = np.bincount(self.of, self.weight, count)
        one, rows = np.ones(len(edges.to)), np.arange(len(edges.to))
        self.to_nodes = csr_matrix((one, (edges.to, rows)), shape=(count, len(rows)))
        self.of_nodes = csr_matrix((one, (edges.of, rows)), shape=(count, len(rows)))

    def apart(self, A: Array, B: Array) -> Array:
        """Angle between (..., 3, 3) rotations common_R_node, modulo the symmetry."""
        if self.axis is not None:
            a, b = (np.swapaxes(R, -1, -2) @ self.axis for R in (A, B))
            return np.arctan2(np.linalg.norm(np.cross(a, b), axis=-1), (a * b).sum(-1))
        return np.min([rotation_error(turn @ A, B) for turn in self.turns], axis=0)

    def residuals(self, R: Array) -> tuple[Array, Array]:
        """Disagreement (E,) of every edge with its best mode, and that mode (E,)."""
        predicted = R[self.edges.to][:, None] @ self.edges.R
        angle = self.apart(predicted, R[self.edges.of][:, None])
        mode = np.argmin(angle / self.tolerances.truncate + self.edges.cost, axis=1)
        return np.take_along_axis(angle, mode[:, None], 1)[:, 0], mode

    def objective(self, R: Array) -> float:
        """Mean truncated disagreement with mode costs."""
        residual, mode = self.residuals(R)
        cost = residual / self.tolerances.truncate + np.take_along_axis(self.edges.cost, mode[:, None], 1)[:, 0]
        cost = np.minimum(cost, 1)
        return float(cost @ self.edges.weight / max(self.edges.weight.sum(), 1e-12))

    def total(self, weight: Array) -> Array:
        """(N,) sum of a weight (E,) over the edges of every node."""
        return self.to_nodes @ weight + self.of_nodes @ weight
