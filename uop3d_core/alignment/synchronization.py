"""One similarity per node of a graph whose edges say, in one or several ways, how two nodes lie to each other.

In: Edges (several modes each), optionally nodes that stay where they are, a symmetry, and directions the nodes should
share. Out: Solution. Frames: every node has its own, `common` is the one they are all brought into.

Rotations come first: nodes join one after the other where most of the known ones want them, then robust least squares
with a shrinking tolerance; several starts, the one that leaves the least truncated disagreement wins. Scales and
translations follow with the weights that the rotations have found. The cost of a sweep grows with the number of edges.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from uop3d_core.alignment.averaging import average, similarities
from uop3d_core.alignment.problem import Directions, Edges, Nodes, Problem, Tolerances
from uop3d_core.alignment.voting import grow, sweep
from uop3d_core.geometry import Array, closest_rotation
from uop3d_core.types import Symmetry

SWEEPS = 2
COARSE_ROUNDS = 8


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
    problem = Problem(count, edges, tolerances, symmetry)
    anchored = fixed if fixed is not None and fixed.any() else None
    free = ~anchored if anchored is not None else np.ones(count, dtype=bool)
    found: list[tuple[float, Array]] = []

    def settle(R: Array) -> None:
        for _ in range(SWEEPS):
            R = sweep(problem, R, free)
        R = average(problem, R, free, tolerances.coarse, COARSE_ROUNDS)
        found.append((problem.objective(R), R))

    if initial is not None:
        settle(initial.R if anchored is None else grow(problem, initial.R, anchored))
    if initial is None or (anchored is None and symmetry is None):
        for start in np.argsort(-problem.degree, kind="stable")[:starts]:
            settle(grow(problem, np.tile(np.eye(3), (count, 1, 1)), np.arange(count) == start))
    R = min(found, key=lambda entry: round(entry[0], 9))[1]
    R = sweep(problem, R, free, directions)
    R = closest_rotation(average(problem, R, free, tolerances.fine, rounds, directions))
    residual, mode = problem.residuals(R)
    nodes = similarities(problem, R, mode, residual, initial or Nodes.identity(count), free)
    return Solution(nodes, mode, residual, problem.objective(R))
