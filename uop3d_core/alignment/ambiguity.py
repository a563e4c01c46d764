"""The other solution: a group of nodes that might just as well be turned as a whole.

In: a Problem and its rotations. Out: Flip, the rotation and the group whose turning costs least.

Votes and averages move one node at a time; where a category looks alike from two sides, two groups of captures agree
within themselves and hardly with each other, and only turning one of them as a whole tells how sure their order is.
Finding the group is a cut of the graph whose edges weigh what turning one end would cost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.linalg import ArpackNoConvergence, eigsh

from uop3d_core.alignment.problem import Problem
from uop3d_core.geometry import Array, closest_rotation

FAR = np.deg2rad(30.0)
"""Rotations that differ by more are different answers."""
SAME = np.deg2rad(20.0)
SAMPLE = 400
DENSE = 300
NOTHING_LEFT = 0.02
"""Edges confirm each other if more than this share of them does not fit anyway."""


@dataclass(frozen=True, eq=False)
class Flip:
    """What else could be true.

    Attributes:
        turn: (3, 3) rotation in the common frame.
        group: (N,) bool, the nodes that it turns, at most half of them.
        margin: by how much the edges that lead into the group prefer it as it is, in mean truncated disagreements:
            1 if all confirm it, 0 if either is as good, negative if the turned group fits better. One of the edges
            does not count, see `confirmed`.
    """

    turn: Array
    group: Array
    margin: float


def confirmed(mean: Any, number: Any, free: Any = 1) -> Any:
    """What a mean over edges is worth, where 1 is the best: some always fit and confirm nothing.

    Args:
        mean: (...) means over edges.
        number: (...) of these edges.
        free: (...) how many of them can be made to fit: one for one node or group, N - 1 for N nodes.

    Returns:
        (...) the mean of the others, 0 where there are none.
    """
    left = number - free
    return np.where(left > NOTHING_LEFT * number, (number * mean - free) / np.maximum(left, 1e-12), 0.0)


def effective(weight: Array, squares: Array) -> Array:
    """Number of edges of equal weight that tell as much, from sums (...) of weights and of their squares."""
    return weight**2 / np.maximum(squares, 1e-12)


def find_flip(problem: Problem, R: Array, smallest: int = 2) -> Flip | None:
    """The flip of lowest margin, or None where no wrong edge suggests any.

    Args:
        problem: the graph.
        R: (N, 3, 3) its rotations.
        smallest: groups of fewer nodes do not count.
    """
    groups = (_best_group(problem, R, turn, smallest) for turn in _likely_turns(problem, R))
    found = [flip for flip in groups if flip is not None]
    return min(found, key=lambda flip: flip.margin, default=None)


def turned(R: Array, flip: Flip) -> Array:
    """The rotations (N, 3, 3) after a flip."""
    return np.where(flip.group[:, None, None], flip.turn @ R, R)


def _likely_turns(problem: Problem, R: Array, count: int = 2) -> list[Array]:
    """Rotations by which many edges are off, most frequent first."""
    edges = problem.edges
    delta = R[edges.to][:, None] @ edges.R @ np.swapaxes(R[edges.of], -1, -2)[:, None]
    likely = edges.weight[:, None] * np.exp(-edges.cost)
    residual = np.minimum(problem.residuals(R)[0] / problem.tolerances.truncate, 1)
    likely = likely * (0.1 + residual[:, None]) * (problem.apart(delta, np.eye(3)) > FAR)
    pick = np.argsort(-likely.ravel(), kind="stable")[:SAMPLE]
    pick = pick[likely.ravel()[pick] > 0]
    if len(pick) == 0:
        return []
    sample, weight = delta.reshape(-1, 3, 3)[pick], np.tile(likely.ravel()[pick], 2)
    sample = np.concatenate([sample, np.swapaxes(sample, 1, 2)])
    near = (sample.reshape(-1, 9) @ sample.reshape(-1, 9).T) > 1 + 2 * np.cos(SAME)
    found = []
    for _ in range(count):
        votes = near @ weight
        best = int(votes.argmax())
        if votes[best] <= 0:
            break
        mean = (weight[near[best], None, None] * sample[near[best]]).sum(0)
        found.append(closest_rotation(mean))
        inverse = near[(best + len(pick)) % len(sample)]
        weight = np.where(near[best] | inverse, 0, weight)
    return found


def _costs(problem: Problem, R_to: Array, R_of: Array) -> Array:
    """Truncated disagreement with mode cost of every edge (E,) at given rotations of its ends."""
    edges = problem.edges
    angle = problem.apart(R_to[:, None] @ edges.R, R_of[:, None])
    return (np.minimum(angle / problem.tolerances.truncate, 1) + edges.cost).min(1)


def _best_group(problem: Problem, R: Array, turn: Array, smallest: int) -> Flip | None:
    """The group whose turning costs least per edge that leads into it: a sweep over the softest cuts."""
    edges, N = problem.edges, problem.count
    R_to, R_of = R[edges.to], R[edges.of]
    here = _costs(problem, R_to, R_of)
    one, other = _costs(problem, turn @ R_to, R_of) - here, _costs(problem, R_to, turn @ R_of) - here
    best: Flip | None = None
    for order in _soft_orders(problem, edges.weight * (one + other) / 2):
        rank = np.argsort(order)
        low, high = np.minimum(rank[edges.to], rank[edges.of]), np.maximum(rank[edges.to], rank[edges.of])
        weight, squares = (_crossing(low, high, edges.weight**power, N) for power in (1, 2))
        for first in (True, False):  # turn those before the cut, or those after it
            change = edges.weight * np.where((rank[edges.to] < rank[edges.of]) == first, one, other)
            mean = _crossing(low, high, change, N) / np.maximum(weight, 1e-9)
            sizes = np.arange(1, N) if first else N - np.arange(1, N)
            fits = (sizes >= smallest) & (2 * sizes <= N)
            margin = np.where(fits, confirmed(mean, effective(weight, squares)), np.inf)
            cut = int(margin.argmin())
            if np.isfinite(margin[cut]) and (best is None or margin[cut] < best.margin):
                best = Flip(turn, (rank <= cut) == first, float(margin[cut]))
    return best


def _soft_orders(problem: Problem, stiffness: Array) -> list[Array]:
    """Orders (N,) of the nodes in which some cut is likely to be soft, by the last eigenvectors of the graph (E,)."""
    edges, N = problem.edges, problem.count
    scaling = 1 / np.sqrt(np.maximum(problem.total(np.abs(stiffness)), 1e-9))
    values = stiffness * scaling[edges.to] * scaling[edges.of]
    graph = coo_matrix((values, (edges.to, edges.of)), shape=(N, N))
    if N <= DENSE:
        vectors = np.linalg.eigh((graph + graph.T).toarray())[1][:, -2:]
    else:
        start = np.random.default_rng(0).normal(size=N)
        try:
            vectors = eigsh(graph + graph.T, k=2, which="LA", v0=start, tol=1e-3)[1]
        except ArpackNoConvergence as error:
            vectors = error.eigenvectors
    return [np.argsort(vector * scaling, kind="stable") for vector in vectors.T]


def _crossing(low: Array, high: Array, values: Array, count: int) -> Array:
    """Sum of values over the edges that cross each of the cuts after rank 0, 1, ..., count - 2."""
    steps = np.bincount(low, values, count) - np.bincount(high, values, count)
    return np.cumsum(steps)[:-1]
