"""How sure every node of a solved graph is, without labels.

In: the graph (Edges) and its rotations. Out: Evidence, the probability that a rotation is right, and warnings.
"Right" is within 30 degrees of the truth, up to one rotation that all nodes share.

Only every edge's first mode is heard: what the solution has chosen among several fits too well to witness for it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from uop3d_core.alignment.ambiguity import Flip, confirmed, find_flip
from uop3d_core.alignment.synchronization import Edges, Synchronizer, Tolerances
from uop3d_core.geometry import Array
from uop3d_core.types import Symmetry

SMALLEST_CLUSTER = 0.2
"""Groups of a smaller share of the nodes do not make a whole category doubtful."""
DOUBTFUL_MARGIN = 0.15


@dataclass(frozen=True)
class Calibration:
    """Logistic regression of being right on two quantities: how a node does in its graph, and how sure the graph is.

    Fitted with `benchmarks/synchronization.py --fit` on the labelled half of the released CO3D estimates: each of the
    two variants and both together, with five, three and two references, and again with every sixth sequence's
    estimates replaced by random rotations (which count half). Validated by leaving out one category at a time.

    Attributes:
        relative: weight of the node's agreement minus its neighbours'.
        flip: weight of the margin of the graph's best flip.
        bias: the constant.
    """

    relative: float = 6.44
    flip: float = 5.13
    bias: float = 0.44


@dataclass(frozen=True, eq=False)
class Evidence:
    """Quantities that do not depend on the size of the graph.

    Attributes:
        agreement: (N,) how well the edges of a node agree with the solution, 0 to 1.
        relative: (N,) that minus the mean over the node's neighbours.
        flip: the best other order of a large group of nodes, or None.
    """

    agreement: Array
    relative: Array
    flip: Flip | None

    @property
    def flip_margin(self) -> float:
        """Margin of the flip, 1 where there is none."""
        return 1.0 if self.flip is None else self.flip.margin

    @property
    def features(self) -> Array:
        """(N, 3) what `Calibration` weighs, in its order."""
        one = np.ones(len(self.agreement))
        return np.stack([self.relative, self.flip_margin * one, one], axis=1)


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
    flip = find_flip(problem, R, max(2, int(SMALLEST_CLUSTER * count)))
    return Evidence(agreement, agreement - neighbours / safe, flip)


def first_modes(edges: Edges) -> Edges:
    """The edges with their cheapest mode only, at no cost."""
    pick = np.arange(len(edges.to)), edges.cost.argmin(1)
    scale, R, t = (part[pick][:, None] for part in (edges.scale, edges.R, edges.t))
    return Edges(edges.to, edges.of, scale, R, t, np.zeros((len(edges.to), 1)), edges.weight)


def probability(found: Evidence, calibration: Calibration | None = None) -> Array:
    """(N,) calibrated probability that a node is right."""
    c = calibration or Calibration()
    return 1 / (1 + np.exp(-(found.features @ [c.relative, c.flip, c.bias])))


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
