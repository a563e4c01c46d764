"""How sure every node of a solved graph is, without labels.

In: the graph (Edges) and its rotations. Out: Evidence, the probability that a rotation is right, and warnings.
"Right" is within 30 degrees of the truth, up to one rotation that all nodes share.

Only every edge's first mode is heard: what the solution has chosen among several fits too well to witness for it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from uop3d_core.alignment.ambiguity import FAR, Flip, confirmed, find_flip
from uop3d_core.alignment.synchronization import Edges, Synchronizer, Tolerances
from uop3d_core.geometry import Array
from uop3d_core.types import Symmetry

SMALLEST_CLUSTER = 0.2
"""Groups of a smaller share of the nodes do not make a whole category doubtful."""
LARGEST_MARGIN = 0.5
DOUBTFUL_MARGIN = 0.15
ALTERNATIVES = 100


@dataclass(frozen=True)
class Calibration:
    """Logistic regression of being right on three quantities, each between about 0 and 1 (or -1 and 1).

    Fitted with `benchmarks/synchronization.py --fit` on the labelled half of the released CO3D estimates: each of the
    two variants and both together, with five, three and two references, and again with every sixth sequence's
    estimates replaced by random rotations (which count half). Validated by leaving out one category at a time.

    Attributes:
        relative: weight of the node's agreement minus its neighbours'.
        flip: weight of the margin of the graph's best flip.
        margin: weight of the margin of the node's best other place.
        bias: the constant.
    """

    relative: float = 5.57
    flip: float = 3.14
    margin: float = 6.12
    bias: float = -1.33


@dataclass(frozen=True, eq=False)
class Evidence:
    """Quantities that do not depend on the size of the graph.

    Attributes:
        agreement: (N,) how well the edges of a node agree with the solution, 0 to 1.
        relative: (N,) that minus the mean over the node's neighbours.
        margin: (N,) how much worse the best other place of a node is, at most LARGEST_MARGIN.
        flip: the best other order of a large group of nodes, or None.
    """

    agreement: Array
    relative: Array
    margin: Array
    flip: Flip | None

    @property
    def flip_margin(self) -> float:
        """Margin of the flip, 1 where there is none."""
        return 1.0 if self.flip is None else self.flip.margin

    @property
    def features(self) -> Array:
        """(N, 4) what `Calibration` weighs, in its order."""
        one = np.ones(len(self.agreement))
        return np.stack([self.relative, self.flip_margin * one, self.margin, one], axis=1)


def evidence(count: int, edges: Edges, R: Array, tolerances: Tolerances, symmetry: Symmetry | None = None) -> Evidence:
    """Evidence for all nodes of a graph with rotations R (N, 3, 3)."""
    problem = Synchronizer(count, first_modes(edges), tolerances, symmetry)
    weight, squares = edges.weight, edges.weight**2
    total, total_squares = problem.total(weight), problem.total(squares)
    residual = problem.residuals(R)[0]
    votes = weight * np.exp(-((residual / tolerances.coarse) ** 2))
    safe = np.maximum(total, 1e-12)
    agreement = confirmed(problem.total(votes) / safe, total, total_squares)
    neighbours = problem.to_nodes @ (weight * agreement[edges.of]) + problem.of_nodes @ (weight * agreement[edges.to])
    margin = confirmed(_margins(problem, R), total, total_squares)
    flip = find_flip(problem, R, max(2, int(SMALLEST_CLUSTER * count)))
    return Evidence(agreement, agreement - neighbours / safe, np.minimum(margin, LARGEST_MARGIN), flip)


def first_modes(edges: Edges) -> Edges:
    """The edges with their cheapest mode only, at no cost."""
    pick = np.arange(len(edges.to)), edges.cost.argmin(1)
    scale, R, t = (part[pick][:, None] for part in (edges.scale, edges.R, edges.t))
    return Edges(edges.to, edges.of, scale, R, t, np.zeros((len(edges.to), 1)), edges.weight)


def probability(found: Evidence, calibration: Calibration | None = None) -> Array:
    """(N,) calibrated probability that a node is right."""
    c = calibration or Calibration()
    return 1 / (1 + np.exp(-(found.features @ [c.relative, c.flip, c.margin, c.bias])))


def _margins(problem: Synchronizer, R: Array) -> Array:
    """(N,) mean truncated disagreement of the best place more than FAR away, minus that of the present one."""
    margin = np.ones(problem.count)
    for node in range(problem.count):
        mine = problem.incident[node]
        predicted = (R[problem.to[mine]][:, None] @ problem.R[mine])[:, 0]
        others = predicted[problem.apart(predicted, R[node]) > FAR]
        if len(others) == 0:
            continue
        others = others[np.unique(np.linspace(0, len(others) - 1, ALTERNATIVES).astype(int))]
        places = np.concatenate([R[node][None], others])
        angle = problem.apart(places[:, None], predicted[None])
        cost = np.minimum(angle / problem.tolerances.truncate, 1) @ problem.weight[mine] / problem.weight[mine].sum()
        margin[node] = cost[1:].min() - cost[0]
    return margin


def describe(found: Evidence, accepted: int, count: int, noun: str = "captures") -> tuple[str, ...]:
    """What a person should look at, one sentence each."""
    notes = []
    flip = found.flip
    if flip is not None and flip.margin < DOUBTFUL_MARGIN:
        vector = Rotation.from_matrix(flip.turn).as_rotvec()
        angle = float(np.linalg.norm(vector))
        x, y, z = vector / angle
        m = int(flip.group.sum())
        notes.append(
            f"two clusters of {noun} {np.rad2deg(angle):.0f} degrees apart about ({x:.2f}, {y:.2f}, {z:.2f}): "
            f"{count - m} and {m} of them; the alignments hardly tell which way they belong together "
            f"(margin {flip.margin:.2f})"
        )
    mean = float(np.mean(found.agreement)) if count else 0.0
    if count > 2 and mean < 0.4:
        notes.append(f"no consensus: the alignments agree with the common frame at {mean:.2f} on average")
    if 2 * accepted < count:
        notes.append(f"only {accepted} of {count} {noun} are accepted")
    return tuple(notes)
