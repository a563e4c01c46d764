"""Rotations of nodes one at a time: each goes where most of its neighbours, and its direction, want it.

In: Problem, rotations (N, 3, 3) common_R_node. Out: better ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from uop3d_core.alignment.problem import Directions, Problem, common_direction
from uop3d_core.geometry import Array

CANDIDATES = 48
"""Places at most that are put to the vote for one node."""
AGREED_DIRECTION = np.deg2rad(15.0)
"""Directions that spread more in the median are no help to choose between places."""
LEANING_SAY = 0.5


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


def vote(problem: Problem, node: int, R: Array, known: Array, leaning: _Leaning | None = None) -> tuple[Array, float]:
    """The prediction for a node that most of its known neighbours support, and its mean disagreement."""
    mine = problem.incident[node]
    mine = mine[known[problem.to[mine]]]
    predicted = R[problem.to[mine]][:, None] @ problem.R[mine]
    candidates = predicted.reshape(-1, 3, 3)[np.isfinite(problem.cost[mine]).ravel()]
    if len(candidates) > CANDIDATES:
        cost = problem.cost[mine][np.isfinite(problem.cost[mine])]
        order = np.argsort(cost, kind="stable")
        candidates = candidates[order[np.linspace(0, len(order) - 1, CANDIDATES).astype(int)]]
    if known[node]:
        candidates = np.concatenate([R[node][None], candidates])
    if problem.axis is not None:
        cosine = (np.swapaxes(candidates, 1, 2) @ problem.axis) @ (
            np.swapaxes(predicted, -1, -2) @ problem.axis
        ).reshape(-1, 3).T
    else:
        flat = candidates.reshape(-1, 9)
        trace = np.max([flat @ (turn @ predicted).reshape(-1, 9).T for turn in problem.turns], axis=0)
        cosine = (trace - 1) / 2
    angle = np.arccos(np.clip(cosine, -1, 1)).reshape(len(candidates), *problem.cost[mine].shape)
    cost = np.minimum((angle / problem.tolerances.truncate + problem.cost[mine]).min(-1), 1)
    disagreement = cost @ problem.weight[mine]
    if leaning is not None:
        tilt = leaning.tilt(node, candidates) / problem.tolerances.truncate
        disagreement = disagreement + leaning.say * np.minimum(tilt, 1) * problem.weight[mine].sum()
    best = int(disagreement.argmin())
    return candidates[best], float(disagreement[best] / problem.weight[mine].sum())


def grow(problem: Problem, R: Array, known: Array) -> Array:
    """Add the unknown nodes one after the other, the one with most known neighbours first.

    Raises:
        ValueError: some nodes are not connected to the known ones.
    """
    R, known = R.copy(), known.copy()
    ties = np.zeros(problem.count)
    for node in np.flatnonzero(known).tolist():
        np.add.at(ties, problem.to[problem.incident[node]], problem.weight[problem.incident[node]])
    while not known.all():
        node = int(np.where(known, -1.0, ties).argmax())
        if ties[node] <= 0:
            raise ValueError("the pair graph is not connected: some captures have no alignment to the others")
        R[node] = vote(problem, node, R, known)[0]
        known[node] = True
        np.add.at(ties, problem.to[problem.incident[node]], problem.weight[problem.incident[node]])
    return R


def sweep(problem: Problem, R: Array, free: Array, directions: Directions | None = None) -> Array:
    """Every free node, in turn, moves to where most of its neighbours, and its direction, want it."""
    leaning = _Leaning.of(directions, R)
    if directions is not None and leaning is None:
        return R
    R, known = R.copy(), np.ones(problem.count, dtype=bool)
    for node in np.flatnonzero(free).tolist():
        if len(problem.incident[node]):
            R[node] = vote(problem, node, R, known, leaning)[0]
    return R
