"""One similarity per node of a graph whose edges say, in one or several ways, how two nodes lie to each other.

In: Edges (several modes each), optionally nodes that stay where they are, a symmetry, and directions the nodes should
share. Out: Solution. Frames: every node has its own, `common` is the one they are all brought into.

Rotations come first: nodes join one after the other where most of the known ones want them, then robust least squares
with a shrinking tolerance; several starts, the one that leaves the least truncated disagreement wins. Scales and
translations follow with the weights that the rotations have found. The cost of a sweep grows with the number of edges.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix
from scipy.spatial.transform import Rotation

from uop3d_core.config import JointSettings
from uop3d_core.geometry import Array, closest_rotation, rotation_error
from uop3d_core.types import Symmetry

CANDIDATES = 48
"""Places at most that are put to the vote for one node."""
SWEEPS = 2
COARSE_ROUNDS = 8
LARGEST_TURN = 0.5
"""Radians that a rotation may change in one step."""
CG_STEPS = 200
AGREED_DIRECTION = np.deg2rad(15.0)
"""Directions that spread more in the median are no help to choose between places."""
LEANING_SAY = 0.5
SCALE_TOLERANCE = 0.1
"""Cauchy scale of disagreements in log scale."""


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


@dataclass(frozen=True, eq=False)
class Solution:
    """The best of several starts.

    Attributes:
        nodes: common_T_node.
        mode: (E,) chosen mode of every edge.
        residual: (E,) rotation disagreement of that mode, radians.
        objective: mean truncated disagreement with mode cost over the edges, 0 to 1.
    """

    nodes: Nodes
    mode: Array
    residual: Array
    objective: float


def synchronize(
    count: int,
    edges: Edges,
    tolerances: Tolerances,
    *,
    starts: int = 8,
    rounds: int = 20,
    initial: Nodes | None = None,
    fixed: Array | None = None,
    symmetry: Symmetry | None = None,
    directions: Directions | None = None,
) -> Solution:
    """Bring all nodes into one common frame.

    Args:
        count: number of nodes N.
        edges: what is known of pairs of nodes.
        tolerances: when rotations agree.
        starts: how many nodes are tried as the first one, those with most edges.
        rounds: averaging rounds at the fine tolerance at most.
        initial: one more start; the only one where the common frame is prescribed by `fixed` or `symmetry`.
        fixed: (N,) bool, nodes that stay as they are in `initial`; the others' entries there do not matter.
        symmetry: rotations about an axis of the common frame that change nothing; takes `initial`.
        directions: used in a last sweep and the last rounds only, for they tell nothing about the turn around them.

    Returns:
        The solution in the frame of `initial`, or in that of the node it started from.

    Raises:
        ValueError: the edges do not connect all nodes (to fixed ones).
    """
    problem = Synchronizer(count, edges, tolerances, symmetry)
    anchored = fixed if fixed is not None and fixed.any() else None
    free = ~anchored if anchored is not None else np.ones(count, dtype=bool)
    found: list[tuple[float, Array]] = []

    def settle(R: Array) -> None:
        for _ in range(SWEEPS):
            R = problem.sweep(R, free)
        R = problem.average(R, free, tolerances.coarse, COARSE_ROUNDS)
        found.append((problem.objective(R), R))

    if initial is not None:
        settle(initial.R if anchored is None else problem.grow(initial.R, anchored))
    if initial is None or (anchored is None and symmetry is None):
        for start in np.argsort(-problem.degree, kind="stable")[:starts]:
            settle(problem.grow(np.tile(np.eye(3), (count, 1, 1)), np.arange(count) == start))
    R = min(found, key=lambda entry: round(entry[0], 9))[1]
    R = problem.sweep(R, free, directions)
    R = closest_rotation(problem.average(R, free, tolerances.fine, rounds, directions))
    residual, mode = problem.residuals(R)
    nodes = problem.similarities(R, mode, residual, initial or Nodes.identity(count), free)
    return Solution(nodes, mode, residual, problem.objective(R))


def turns_of(symmetry: Symmetry | None) -> Array:
    """(G, 3, 3) rotations of a discrete symmetry; the identity alone where there is none or any angle goes."""
    if symmetry is None or symmetry.fold < 2:
        return np.eye(3)[None]
    angles = 2 * np.pi / symmetry.fold * np.arange(symmetry.fold)
    return Rotation.from_rotvec(angles[:, None] * symmetry.axis).as_matrix()


@dataclass(frozen=True, eq=False)
class _Leaning:
    """How far nodes lean from the direction they share.

    Attributes:
        centre: (3,) that direction in the common frame.
        vectors: (3,) in the node's frame, by node.
        say: what leaning far costs, in shares of disagreeing with all edges: it decides between otherwise even places.
    """

    centre: Array
    vectors: dict[int, Array]
    say: float

    @classmethod
    def of(cls, directions: Directions | None, R: Array) -> _Leaning | None:
        """None where too few nodes have a direction, or these do not agree on one."""
        if directions is None or len(directions.nodes) < 3 or directions.strength == 0:
            return None
        centre, _, spread = common_direction((R[directions.nodes] @ directions.vectors[..., None])[..., 0])
        if spread > AGREED_DIRECTION:
            return None
        vectors = dict(zip(directions.nodes.tolist(), directions.vectors, strict=True))
        return cls(centre, vectors, LEANING_SAY * min(directions.strength, 1.0))

    def tilt(self, node: int, candidates: Array) -> Array:
        """(C,) radians for rotations (C, 3, 3) of a node; 0 where it has no direction."""
        if node not in self.vectors:
            return np.zeros(len(candidates))
        return np.arccos(np.clip(candidates @ self.vectors[node] @ self.centre, -1, 1))


class Synchronizer:
    """The problem in a form that is quick to evaluate; every method maps a state to a better one."""

    def __init__(self, count: int, edges: Edges, tolerances: Tolerances, symmetry: Symmetry | None = None) -> None:
        self.count, self.edges, self.tolerances, self.symmetry = count, edges, tolerances, symmetry
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

    # ---- disagreement -------------------------------------------------------------------------------------------

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

    # ---- voting -------------------------------------------------------------------------------------------------

    def vote(self, node: int, R: Array, known: Array, leaning: _Leaning | None = None) -> tuple[Array, float]:
        """The prediction for a node that most of its known neighbours support, and its mean disagreement."""
        mine = self.incident[node]
        mine = mine[known[self.to[mine]]]
        predicted = R[self.to[mine]][:, None] @ self.R[mine]
        candidates = predicted.reshape(-1, 3, 3)[np.isfinite(self.cost[mine]).ravel()]
        if len(candidates) > CANDIDATES:
            cost = self.cost[mine][np.isfinite(self.cost[mine])]
            order = np.argsort(cost, kind="stable")
            candidates = candidates[order[np.linspace(0, len(order) - 1, CANDIDATES).astype(int)]]
        if known[node]:
            candidates = np.concatenate([R[node][None], candidates])
        if self.axis is not None:
            cosine = (np.swapaxes(candidates, 1, 2) @ self.axis) @ (np.swapaxes(predicted, -1, -2) @ self.axis).reshape(
                -1, 3
            ).T
        else:
            flat = candidates.reshape(-1, 9)
            trace = np.max([flat @ (turn @ predicted).reshape(-1, 9).T for turn in self.turns], axis=0)
            cosine = (trace - 1) / 2
        angle = np.arccos(np.clip(cosine, -1, 1)).reshape(len(candidates), *self.cost[mine].shape)
        cost = np.minimum((angle / self.tolerances.truncate + self.cost[mine]).min(-1), 1)
        disagreement = cost @ self.weight[mine]
        if leaning is not None:
            tilt = leaning.tilt(node, candidates) / self.tolerances.truncate
            disagreement = disagreement + leaning.say * np.minimum(tilt, 1) * self.weight[mine].sum()
        best = int(disagreement.argmin())
        return candidates[best], float(disagreement[best] / self.weight[mine].sum())

    def grow(self, R: Array, known: Array) -> Array:
        """Add the unknown nodes one after the other, the one with most known neighbours first.

        Raises:
            ValueError: some nodes are not connected to the known ones.
        """
        R, known = R.copy(), known.copy()
        ties = np.zeros(self.count)
        for node in np.flatnonzero(known).tolist():
            np.add.at(ties, self.to[self.incident[node]], self.weight[self.incident[node]])
        while not known.all():
            node = int(np.where(known, -1.0, ties).argmax())
            if ties[node] <= 0:
                raise ValueError("the pair graph is not connected: some captures have no alignment to the others")
            R[node] = self.vote(node, R, known)[0]
            known[node] = True
            np.add.at(ties, self.to[self.incident[node]], self.weight[self.incident[node]])
        return R

    def sweep(self, R: Array, free: Array, directions: Directions | None = None) -> Array:
        """Every free node, in turn, moves to where most of its neighbours, and its direction, want it."""
        leaning = _Leaning.of(directions, R)
        if directions is not None and leaning is None:
            return R
        R, known = R.copy(), np.ones(self.count, dtype=bool)
        for node in np.flatnonzero(free).tolist():
            if len(self.incident[node]):
                R[node] = self.vote(node, R, known, leaning)[0]
        return R

    # ---- averaging ----------------------------------------------------------------------------------------------

    def relative(self, R: Array, mode: Array) -> tuple[Array, Array]:
        """Residual vectors (E, 3) of edges in the common frame, and the symmetry's turns (E, 3, 3) that they take."""
        R_e = np.take_along_axis(self.edges.R, mode[:, None, None, None], 1)[:, 0]
        delta = R[self.edges.to] @ R_e @ np.swapaxes(R[self.edges.of], -1, -2)
        if self.axis is not None:
            turn = np.swapaxes(_twist(delta, self.axis), -1, -2)
        elif len(self.turns) > 1:
            turned = self.turns[:, None] @ delta
            turn = self.turns[np.trace(turned, axis1=-2, axis2=-1).argmax(0)]
        else:
            turn = np.broadcast_to(np.eye(3), delta.shape)
        return Rotation.from_matrix(turn @ delta).as_rotvec(), turn

    def step(self, R: Array, free: Array, scale: float, directions: Directions | None) -> tuple[Array, float]:
        """One robust Gauss-Newton step of all free nodes' rotations, and the largest turn in it (radians)."""
        residual, mode = self.residuals(R)
        vector, turn = self.relative(R, mode)
        weight = self.weights(residual, scale)
        if self.axis is not None:
            vector = vector - (vector @ self.axis)[:, None] * self.axis
        omega = self.least_squares(vector, weight, turn, free, self.prior(R, weight, scale, directions))
        angle = np.linalg.norm(omega, axis=1, keepdims=True)
        omega = omega * np.minimum(1, LARGEST_TURN / np.maximum(angle, 1e-12))
        return Rotation.from_rotvec(omega).as_matrix() @ R, float(angle.max())

    def weights(self, residual: Array, scale: float) -> Array:
        """(E,) Cauchy weights; an edge beyond the truncation has no say."""
        return self.edges.weight * (residual < self.tolerances.truncate) / (1 + (residual / scale) ** 2)

    def least_squares(
        self, apart: Array, weight: Array, turn: Array, free: Array, prior: tuple[Array, Array] | None = None
    ) -> Array:
        """(N, C) changes x of the free nodes that make `apart + turn @ x_to - x_of` (E, C) small.

        `prior` adds (N, C, C), (N, C) to the normal equations. Directions that nothing tells of stay unchanged.
        """
        to, of, back = self.edges.to, self.edges.of, np.swapaxes(turn, -1, -2)

        def collect(difference: Array) -> Array:
            weighted = weight[:, None] * difference
            return self.to_nodes @ (back @ weighted[..., None])[..., 0] - self.of_nodes @ weighted

        def normal(x: Array) -> Array:
            result = collect((turn @ x[to][..., None])[..., 0] - x[of])
            return result if prior is None else result + (prior[0] @ x[..., None])[..., 0]

        right, diagonal = -collect(apart), self.total(weight) + 1e-9
        if prior is not None:
            right, diagonal = right - prior[1], diagonal + np.trace(prior[0], axis1=-2, axis2=-1) / 3
        return solve(normal, right, diagonal, free)

    def total(self, weight: Array) -> Array:
        """(N,) sum of a weight (E,) over the edges of every node."""
        return self.to_nodes @ weight + self.of_nodes @ weight

    def prior(self, R: Array, weight: Array, scale: float, directions: Directions | None) -> tuple[Array, Array] | None:
        """Normal equations (N, 3, 3), (N, 3) of the shared direction.

        All edges of a node err together where the node itself is hard to align, so a direction counts against their
        sum; the spread of the directions about their common one says how far.
        """
        if directions is None or len(directions.nodes) < 3 or directions.strength == 0:
            return None
        H, g = np.zeros((self.count, 3, 3)), np.zeros((self.count, 3))
        here = (R[directions.nodes] @ directions.vectors[..., None])[..., 0]
        centre, angle, spread = common_direction(here)
        total = self.total(weight)
        w = directions.strength * total[directions.nodes] * (scale / spread) ** 2 / (1 + (angle / spread) ** 2)
        axis = np.cross(here, centre)
        vector = -axis / np.maximum(np.linalg.norm(axis, axis=1, keepdims=True), 1e-12) * angle[:, None]
        P = np.eye(3) - centre[:, None] * centre
        H[directions.nodes], g[directions.nodes] = w[:, None, None] * P, w[:, None] * (vector @ P)
        return H, g

    def average(self, R: Array, free: Array, scale: float, rounds: int, directions: Directions | None = None) -> Array:
        """Robust mean of all rotations at one Cauchy scale."""
        for _ in range(rounds):
            R, moved = self.step(R, free, scale, directions)
            if moved < 1e-5:
                break
        return R

    # ---- scale and translation ----------------------------------------------------------------------------------

    def similarities(self, R: Array, mode: Array, residual: Array, initial: Nodes, free: Array) -> Nodes:
        """Scales and translations to given rotations, by robust least squares with the rotations' weights."""
        pick = np.arange(len(mode)), mode
        to, of = self.edges.to, self.edges.of
        base = self.weights(residual, self.tolerances.fine)
        one, turn = np.ones((len(mode), 1, 1)), self.relative(R, mode)[1]
        log_scale = np.log(initial.scale)[:, None]
        for robust in range(3):
            apart = log_scale[to] + np.log(self.edges.scale[pick])[:, None] - log_scale[of]
            weight = base / (1 + (apart[:, 0] / SCALE_TOLERANCE) ** 2 * (robust > 0))
            log_scale = log_scale + self.least_squares(apart, weight, one, free)
        scale, t = np.exp(log_scale[:, 0]), initial.t
        offset = scale[to, None] * (R[to] @ self.edges.t[pick][..., None])[..., 0]
        for robust in range(3):
            apart = (turn @ (offset + t[to])[..., None])[..., 0] - t[of]
            length = np.linalg.norm(apart, axis=1)
            spread = max(_weighted_median(length, base), 1e-9)
            weight = base / (1 + (length / spread) ** 2 * (robust > 0))
            t = t + self.least_squares(apart, weight, turn, free)
        return Nodes(scale, R, t)


def _weighted_median(values: Array, weights: Array) -> float:
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, total[-1] / 2)]) if len(values) else 1.0


def common_direction(vectors: Array) -> tuple[Array, Array, float]:
    """Robust mean (3,) of (K, 3) unit vectors, every one's angle (K,) to it, and their spread (all radians)."""
    centre = vectors[(np.arccos(np.clip(vectors @ vectors.T, -1, 1))).sum(1).argmin()]
    for _ in range(20):
        angle = np.arccos(np.clip(vectors @ centre, -1, 1))
        spread = max(float(np.median(angle)), np.deg2rad(1.0))
        mean = (vectors / (1 + (angle / spread) ** 2)[:, None]).sum(0)
        centre = mean / np.linalg.norm(mean)
    return centre, angle, spread


def _twist(R: Array, axis: Array) -> Array:
    """The part (..., 3, 3) of rotations that turns about an axis."""
    quaternion = Rotation.from_matrix(R).as_quat()
    along = quaternion[:, :3] @ axis
    return Rotation.from_rotvec(2 * np.arctan2(along, quaternion[:, 3])[:, None] * axis).as_matrix()


def solve(apply: Callable[[Array], Array], right: Array, diagonal: Array, free: Array) -> Array:
    """Solve a positive semi-definite system for the free nodes' (N, C) unknowns by conjugate gradients.

    Stops after CG_STEPS at the latest: the systems are solved again with other weights anyway.
    """
    mask = free[:, None] / diagonal[:, None]
    x, residual = np.zeros_like(right), right * free[:, None]
    direction = z = residual * mask
    size = enough = float((residual * z).sum())
    for _ in range(CG_STEPS):
        if size <= 1e-14 * enough or size < 1e-28:
            break
        moved = apply(direction) * free[:, None]
        curvature = float((direction * moved).sum())
        if curvature <= 0:
            break
        x = x + size / curvature * direction
        residual = residual - size / curvature * moved
        z = residual * mask
        size, last = float((residual * z).sum()), size
        direction = z + size / last * direction
    return x
