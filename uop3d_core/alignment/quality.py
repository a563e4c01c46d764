"""How sure every node of a solved graph is, without labels.

In: the graph (Edges) and its rotations. Out: Evidence, the probability that a rotation is right, and warnings.
"Right" is within 30 degrees of the truth, up to one rotation that all nodes share.

Only every edge's first mode is heard: what the solution has chosen among several fits too well to witness for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from uop3d_core.alignment.ambiguity import NOTHING_LEFT, Flip, confirmed, effective, find_flip
from uop3d_core.alignment.problem import Edges, Problem, Tolerances
from uop3d_core.geometry import Array
from uop3d_core.types import Symmetry

SMALLEST_CLUSTER = 0.2
"""Groups of a smaller share of the nodes do not make a whole category doubtful."""
DOUBTFUL_MARGIN = 0.15
NO_CONSENSUS = 0.4
CHANCE = 0.08
"""Less agreement than this is found among random rotations too."""
MOST_NAMES = 8
LITTLE = 0.2
"""Agreement that is added on both sides of a comparison, so that hardly any beside hardly any says nothing."""


@dataclass(frozen=True)
class Calibration:
    """Logistic regression of being right on two quantities: how a node does in its graph, and how sure the graph is.

    Fitted with `benchmarks/synchronization.py --fit` on the labelled half of the released CO3D estimates: each of the
    two variants and both together, with five, three and two references, and again with every sixth sequence's
    estimates replaced by random rotations (which count half). Validated by leaving out one category at a time.

    Attributes:
        share: weight of the node's agreement beside its neighbours', see `Evidence.share`.
        flip: weight of the margin of the graph's best flip.
        bias: the constant.
    """

    share: float = 4.81
    flip: float = 4.99
    bias: float = 2.49


@dataclass(frozen=True, eq=False)
class Evidence:
    """Quantities that do not depend on the size of the graph.

    Attributes:
        agreement: (N,) how well the edges of a node agree with the solution, 0 to 1.
        relative: (N,) that minus the mean over the node's neighbours.
        flip: the best other order of a large group of nodes, or None.
        consensus: how well all edges agree with the solution, 0 to 1.
        testable: whether edges confirm each other at all; they do not in a tree.
    """

    agreement: Array
    relative: Array
    flip: Flip | None
    consensus: float
    testable: bool

    @property
    def flip_margin(self) -> float:
        """Margin of the flip, 1 where there is none, 0 where nothing speaks against one."""
        return float(self.testable) if self.flip is None else self.flip.margin

    @property
    def share(self) -> Array:
        """(N,) log(a / hypot(a, b)) of a node's agreement a and its neighbours' mean b, each with LITTLE added.

        It falls like log(a / b) where a node agrees less than its neighbours and levels off at 0 where it agrees more,
        for that is no proof: where an object looks alike from two sides, all edges of a turned node may agree.
        """
        own, others = (np.maximum(x, 0) + LITTLE for x in (self.agreement, self.agreement - self.relative))
        return np.log(own / np.hypot(own, others))

    @property
    def features(self) -> Array:
        """(N, 3) what `Calibration` weighs, in its order."""
        one = np.ones(len(self.agreement))
        return np.stack([self.share, self.flip_margin * one, one], axis=1)


def evidence(count: int, edges: Edges, R: Array, tolerances: Tolerances, symmetry: Symmetry | None = None) -> Evidence:
    """Evidence for all nodes of a graph with rotations R (N, 3, 3)."""
    problem = Problem(count, first_modes(edges), tolerances, symmetry)
    weight, total = edges.weight, problem.total(edges.weight)
    votes = weight * np.exp(-((problem.residuals(R)[0] / tolerances.coarse) ** 2))
    number = effective(total, problem.total(weight**2))
    agreement = confirmed(problem.total(votes) / np.maximum(total, 1e-12), number)
    every = float(effective(weight.sum(), (weight**2).sum()))
    consensus = float(confirmed(votes.sum() / max(weight.sum(), 1e-12), every, count - 1))
    testable = every - (count - 1) > NOTHING_LEFT * every
    if not testable:
        return Evidence(np.zeros(count), np.zeros(count), None, 0.0, False)
    neighbours = problem.to_nodes @ (weight * agreement[edges.of]) + problem.of_nodes @ (weight * agreement[edges.to])
    flip = find_flip(problem, R, max(2, int(SMALLEST_CLUSTER * count)))
    return Evidence(agreement, agreement - neighbours / np.maximum(total, 1e-12), flip, consensus, testable)


def first_modes(edges: Edges) -> Edges:
    """The edges with their cheapest mode only, at no cost."""
    pick = np.arange(len(edges.to)), edges.cost.argmin(1)
    scale, R, t = (part[pick][:, None] for part in (edges.scale, edges.R, edges.t))
    return Edges(edges.to, edges.of, scale, R, t, np.zeros((len(edges.to), 1)), edges.weight)


def probability(found: Evidence, calibration: Calibration | None = None) -> Array:
    """(N,) calibrated probability that a node is right.

    Where hardly any edge agrees, as among random rotations, it goes to zero with the consensus.
    """
    c = calibration or Calibration()
    p: Array = 1 / (1 + np.exp(-(found.features @ [c.share, c.flip, c.bias])))
    return p * min(1.0, max(found.consensus, 0.0) / CHANCE) if found.testable else p


def describe(
    found: Evidence, names: Sequence[str], noun: str = "captures", obj_R_common: Array | None = None
) -> tuple[str, ...]:
    """What a person should look at, one sentence each.

    Args:
        found: for the nodes of a graph.
        names: of the nodes.
        noun: what they are.
        obj_R_common: (3, 3) to the frame that the axis of a flip is told in; without it only the angle is.
    """
    notes, count = [], len(names)
    flip = found.flip
    if flip is not None and flip.margin < DOUBTFUL_MARGIN:
        vector = Rotation.from_matrix(flip.turn).as_rotvec()
        angle = float(np.linalg.norm(vector))
        x, y, z = (np.eye(3) if obj_R_common is None else obj_R_common) @ vector / angle
        axis = "" if obj_R_common is None else f" about ({x:.2f}, {y:.2f}, {z:.2f}) of obj"
        group = [name for name, turned in zip(names, flip.group, strict=True) if turned]
        listed = ", ".join(group[:MOST_NAMES]) + (", ..." if len(group) > MOST_NAMES else "")
        notes.append(
            f"two clusters of {noun} {np.rad2deg(angle):.0f} degrees apart{axis} ({count - len(group)} and "
            f"{len(group)} {noun}): turning {listed} as a whole would fit nearly as well (margin {flip.margin:.2f})"
        )
    if not found.testable:
        notes.append(f"nothing confirms the alignments: there are hardly more of them than {noun}")
    elif found.consensus < NO_CONSENSUS:
        notes.append(f"no consensus: the alignments agree with the common frame at {found.consensus:.2f} on average")
    return tuple(notes)


def few(accepted: int, count: int, noun: str = "captures") -> tuple[str, ...]:
    """A warning where less than half are accepted."""
    return (f"only {accepted} of {count} {noun} are accepted",) if 2 * accepted < count else ()
