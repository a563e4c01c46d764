"""Which captures confirm each other, and where they lie: the captures' side of the joint alignment.

In: PairAlignments, the captures' unit frames, and what else is known of them. Out: the accepted captures with their
common frame, why the others are rejected, and where those would lie.
Frames: ``unit`` of each capture (centred, unit diameter), common.

A capture is rejected where its pairs do not agree with the others, or agree only by alignments that the pairs hold
unlikely and that fit badly: objects of another kind lie alike often enough.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from uop3d_core.alignment.graph import component
from uop3d_core.alignment.problem import Directions, Edges, Nodes, Problem, Tolerances
from uop3d_core.alignment.quality import Evidence, evidence, probability
from uop3d_core.alignment.synchronization import Solution, synchronize
from uop3d_core.config import JointSettings
from uop3d_core.geometry import Array
from uop3d_core.types import Alignment, CaptureAlignment, PairAlignment, Sim3, Symmetry

TINY = 1e-9
MATCHES_SHARE = 0.5
MISFIT_POWER = 1.5
STRANDED = "its only alignments are to captures that were rejected"


@dataclass(frozen=True, eq=False)
class Support:
    """What the pairs of every capture say, all (N,).

    Attributes:
        count: how many they are.
        agreement: how well they agree with the solution, 0 to 1; 1 where there are none.
        likely: the same where a mode counts as far as the pair itself holds it likely.
        distance: how badly they usually fit at best, in diameters: the median of their misfits.
    """

    count: Array
    agreement: Array
    likely: Array
    distance: Array

    def where(self, condition: Array, other: Support) -> Support:
        """Capture by capture: self where the condition holds, else other."""
        ours, theirs = (astuple(support) for support in (self, other))
        return Support(*(np.where(condition, a, b) for a, b in zip(ours, theirs, strict=True)))

    def credit(self, usual: Support) -> Array:
        """Likely agreement, less where the fit is worse than usual."""
        worse = np.maximum(self.distance, TINY) / max(float(np.median(usual.distance)), TINY)
        return self.likely / np.maximum(1, worse) ** MISFIT_POWER


@dataclass(frozen=True, eq=False)
class CaptureGraph:
    """All that is given; every method works on a list of captures and a state of these in the same order."""

    pairs: Sequence[PairAlignment]
    unit_T_world: Mapping[str, Sim3]
    settings: JointSettings
    ups: Mapping[str, Array]
    symmetry: Symmetry | None
    initial: Alignment | None

    def __post_init__(self) -> None:
        for pair in self.pairs:
            for name in (pair.a, pair.b):
                if name not in self.unit_T_world:
                    raise ValueError(f"pair ({pair.a}, {pair.b}) names capture {name!r}, which is not to be aligned")
        if self.symmetry is not None and self.initial is None:
            raise ValueError("a symmetry needs the alignment that its axis belongs to: give `initial` too")

    # ---- solving ------------------------------------------------------------------------------------------------

    def consensus(self) -> tuple[list[str], dict[str, str], Solution]:
        """The captures that confirm each other, why the others do not, and the former's solution."""
        kept, reasons = list(self.unit_T_world), dict[str, str]()
        state, fresh, pardoned = self.solve(kept), True, False
        while True:
            found = self.support(kept, state.nodes)
            low = self.low(self.standing(found, found))
            if len(low) and len(kept) > 2:
                reasons |= {kept[i]: self.reason(found, i) for i in low}
                before = kept
                kept, stranded = self.connected([name for i, name in enumerate(kept) if i not in low])
                reasons |= dict.fromkeys(stranded, STRANDED)
                index = np.array([before.index(name) for name in kept])
                state, fresh = self.solve(kept, start=_take(state.nodes, index)), False
            elif not fresh:
                starts = self.settings.starts if self.initial is None else 0  # others would be in another frame
                state, fresh = self.solve(kept, start=state.nodes, starts=starts), True
            elif not pardoned and reasons:
                pardoned = True
                placed, placement = self.placement(reasons, kept, state)
                standing = self.standing(self.support([*kept, *placed], placement.nodes, placed), found)[len(kept) :]
                good = {name for name, value in zip(placed, standing, strict=True) if value >= 1}
                if good:
                    reasons = {name: why for name, why in reasons.items() if name not in good}
                    kept = [name for name in self.unit_T_world if name not in reasons]
                    state = self.solve(kept)
            else:
                return kept, reasons, state

    def solve(
        self, names: list[str], *, start: Nodes | None = None, starts: int = 0, fixed: Iterable[str] = ()
    ) -> Solution:
        """Common frame of some captures: from a state, from `starts` captures, or from where `initial` has them."""
        fixed = set(fixed)
        if start is None and self.initial is not None:
            start = self.known(names, None if not fixed else fixed)
        s = self.settings
        return synchronize(
            len(names),
            self.edges(names),
            self.tolerances,
            starts=s.starts if start is None else starts,
            rounds=s.rounds,
            initial=start,
            fixed=np.array([name in fixed for name in names]),
            symmetry=self.symmetry,
            directions=self.directions(names),
        )

    @property
    def tolerances(self) -> Tolerances:
        """Of the settings, in radians."""
        return Tolerances.of(self.settings)

    @cached_property
    def every_edge(self) -> Edges:
        """All pairs between unit frames; nodes in the order of `unit_T_world`."""
        index = {name: i for i, name in enumerate(self.unit_T_world)}
        E, M = len(self.pairs), max((len(pair.a_T_b) for pair in self.pairs), default=1)
        scale, R, t = np.ones((E, M)), np.tile(np.eye(3), (E, M, 1, 1)), np.zeros((E, M, 3))
        cost = np.full((E, M), np.inf)
        for e, pair in enumerate(self.pairs):
            k = len(pair.a_T_b)
            scale[e, :k], R[e, :k], t[e, :k] = _stack(pair.a_T_b)
            cost[e, :k] = _mode_cost(pair.scores, self.settings)
        to = np.array([index[pair.a] for pair in self.pairs], dtype=np.int64)
        of = np.array([index[pair.b] for pair in self.pairs], dtype=np.int64)
        world = _stack(self.unit_T_world.values())
        scale, R, t = _compose(_at(world, to), (scale, R, t))
        scale, R, t = _compose((scale, R, t), _inverse(_at(world, of)))
        return Edges(to, of, scale, R, t, cost, np.ones(E))

    @cached_property
    def misfit(self) -> Array:
        """How badly every pair (E,) fits at best."""
        return np.array([_misfit(pair) for pair in self.pairs])

    def selection(self, names: Sequence[str], strangers: Iterable[str] = ()) -> tuple[Array, Array, Array]:
        """Which pairs are between some captures, but not between two strangers; `to` and `of` of these in `names`."""
        place = {name: i for i, name in enumerate(names)}
        number = np.array([place.get(name, -1) for name in self.unit_T_world])
        apart = np.isin(np.array(list(self.unit_T_world)), list(strangers))
        every = self.every_edge
        to, of = number[every.to], number[every.of]
        keep = (to >= 0) & (of >= 0) & ~(apart[every.to] & apart[every.of])
        return keep, to[keep], of[keep]

    def edges(self, names: Sequence[str], strangers: Iterable[str] = ()) -> Edges:
        """The selected pairs as edges."""
        keep, to, of = self.selection(names, strangers)
        return replace(self.every_edge.take(keep), to=to, of=of)

    def known(self, names: Sequence[str], wanted: set[str] | None) -> Nodes:
        """obj_T_unit of captures as the initial alignment has them; the identity for those that are not wanted."""
        assert self.initial is not None
        nodes = []
        for name in names:
            if wanted is not None and name not in wanted:
                nodes.append(Sim3.identity())
            elif name in self.initial.captures:
                nodes.append(self.initial.captures[name].obj_T_world @ self.unit_T_world[name].inverse())
            else:
                raise ValueError(f"the initial alignment has no capture {name!r}")
        return Nodes(*_stack(nodes))

    def directions(self, names: Sequence[str]) -> Directions | None:
        """The captures' ups in their unit frames."""
        known = [(i, name) for i, name in enumerate(names) if name in self.ups]
        if not known or self.settings.up_strength == 0:
            return None
        vectors = np.stack([self.unit_T_world[name].R @ np.asarray(self.ups[name]) for _, name in known])
        vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return Directions(np.array([i for i, _ in known]), vectors, self.settings.up_strength)

    # ---- rejection ----------------------------------------------------------------------------------------------

    def support(self, names: Sequence[str], nodes: Nodes, strangers: Iterable[str] = ()) -> Support:
        """What the selected pairs say of every capture's place."""
        keep, to, of = self.selection(names, strangers)
        edges = replace(self.every_edge.take(keep), to=to, of=of)
        residual, mode = Problem(len(names), edges, self.tolerances, self.symmetry).residuals(nodes.R)
        votes = np.exp(-((residual / self.tolerances.coarse) ** 2))
        chance = 1 - np.minimum(edges.cost[np.arange(len(mode)), mode], 1)
        distance = self.misfit[keep]
        ends = np.concatenate([to, of])
        count = np.bincount(ends, minlength=len(names))
        mine = np.split(np.argsort(ends, kind="stable") % max(len(to), 1), np.cumsum(count)[:-1])

        def each(statistic: Callable[[Array], Any], values: Array, nothing: float) -> Array:
            return np.array([statistic(values[rows]) if len(rows) else nothing for rows in mine])

        agreement, likely = each(np.mean, votes, 1.0), each(np.mean, votes * chance, 1.0)
        return Support(count, agreement, likely, each(np.median, distance, 0.0))

    def standing(self, found: Support, usual: Support) -> Array:
        """How far captures are from being rejected, by how others usually do; below 1 they are."""
        s = self.settings
        relative = found.credit(usual) / (max(s.min_standing, TINY) * max(float(np.median(usual.credit(usual))), TINY))
        return np.minimum(found.agreement / max(s.min_agreement, TINY), relative)

    def low(self, standing: Array) -> list[int]:
        """The worst of those that are to be rejected; few at once, for without them others stand better."""
        order = np.argsort(standing, kind="stable")[: max(1, len(standing) // 20)]
        return [int(i) for i in order if standing[i] < 1]

    def reason(self, found: Support, i: int) -> str:
        """Why a capture is rejected."""
        agreement = found.agreement[i]
        if agreement < self.settings.min_agreement:
            how = f"at {agreement:.2f} only (at least {self.settings.min_agreement:.2f} is asked for)"
        else:
            how = "by unlikely and badly fitting alignments only"
        return (
            f"agrees with the other captures {how}: another kind of object, a failed reconstruction, or too few views"
        )

    def connected(self, names: Sequence[str], to: Sequence[str] = ()) -> tuple[list[str], list[str]]:
        """The largest set of captures that pairs connect (or those connected to some), and the other captures."""
        joined = [(pair.a, pair.b) for pair in self.pairs] + [(to[0], name) for name in to]
        inside = component(names, joined, to[0] if to else None)
        return inside, [name for name in names if name not in set(inside)]

    # ---- results ------------------------------------------------------------------------------------------------

    def evidence(self, names: Sequence[str], nodes: Nodes, strangers: Iterable[str] = ()) -> Evidence:
        """What tells how sure the rotations are."""
        return evidence(len(names), self.edges(names, strangers), nodes.R, self.tolerances, self.symmetry)

    def entries(
        self, names: Sequence[str], state: Solution, agreement: Array, found: Evidence
    ) -> list[CaptureAlignment]:
        """Accepted captures."""
        right = probability(found)
        return [
            CaptureAlignment(
                _sim3(state.nodes, i) @ self.unit_T_world[name],
                float(agreement[i]),
                True,
                probability=float(right[i]) if len(names) > 1 else None,
            )
            for i, name in enumerate(names)
        ]

    def placement(self, names: Iterable[str], kept: Sequence[str], state: Solution) -> tuple[list[str], Solution]:
        """Those of some captures that have alignments to kept ones, and a solution of the kept and these.

        The kept ones stay where they are; alignments between the others do not count.
        """
        accepted = set(kept)
        neighbours = {p.b if p.a in accepted else p.a for p in self.pairs if (p.a in accepted) != (p.b in accepted)}
        placed = [name for name in names if name in neighbours]
        nodes = Nodes.identity(len(kept) + len(placed))
        for part, whole in zip(_parts(state.nodes), _parts(nodes), strict=True):
            whole[: len(kept)] = part
        found = synchronize(
            len(kept) + len(placed),
            self.edges([*kept, *placed], placed),
            self.tolerances,
            rounds=self.settings.rounds,
            initial=nodes,
            fixed=np.arange(len(kept) + len(placed)) < len(kept),
            symmetry=self.symmetry,
        )
        return placed, found

    def place_rejected(
        self, reasons: Mapping[str, str], kept: Sequence[str], state: Solution
    ) -> dict[str, CaptureAlignment]:
        """Where rejected captures would lie by their alignments to accepted ones.

        One that has no accepted neighbour stays as it is in its world, only centred and scaled, with score 0.
        """
        placed, found = self.placement(reasons, kept, state)
        names = [*kept, *placed]
        agreement = self.support(names, found.nodes, placed).agreement
        right = probability(self.evidence(names, found.nodes, placed))
        captures = {
            name: CaptureAlignment(self.unit_T_world[name], 0.0, False, why, 0.0) for name, why in reasons.items()
        }
        for i, name in enumerate(placed, len(kept)):
            obj_T_world = _sim3(found.nodes, i) @ self.unit_T_world[name]
            captures[name] = CaptureAlignment(obj_T_world, float(agreement[i]), False, reasons[name], float(right[i]))
        return captures


def _misfit(pair: PairAlignment) -> float:
    """Mean distance of surfaces and matches of the best mode, in diameters.

    Unlike the score it counts matches that do not even agree among themselves: they tell other kinds of objects.
    """
    return float((1 - MATCHES_SHARE) * pair.geometry[0] + MATCHES_SHARE * pair.appearance[0])


def _mode_cost(scores: Array, settings: JointSettings) -> Array:
    """What choosing each of a pair's modes (M,) costs, 0 to 1; 1 is the cost of disagreeing with all of them.

    Log-likelihoods: modes share the probability by their scores. A pair that has several equally good modes knows
    little, and then it matters little which one is chosen, or none.
    """
    likelihood = np.exp((scores - scores.max()) / settings.mode_scale)
    return np.minimum(np.log(likelihood / likelihood.sum()) / np.log(settings.unlisted), 1)


def real(symmetry: Symmetry | None) -> Symmetry | None:
    """None instead of a symmetry that holds the identity alone."""
    return None if symmetry is None or symmetry.fold == 1 else symmetry


_Transforms = tuple[Array, Array, Array]
"""Scale (...), R (..., 3, 3), t (..., 3) of similarities."""


def _stack(transforms: Iterable[Sim3]) -> _Transforms:
    listed = list(transforms)
    return np.array([T.scale for T in listed]), np.stack([T.R for T in listed]), np.stack([T.t for T in listed])


def _at(transforms: _Transforms, index: Array) -> _Transforms:
    """The similarities of nodes for all modes of edges: (E, 1, ...)."""
    scale, R, t = transforms
    return scale[index][:, None], R[index][:, None], t[index][:, None]


def _compose(a: _Transforms, b: _Transforms) -> _Transforms:
    return a[0] * b[0], a[1] @ b[1], a[0][..., None] * (a[1] @ b[2][..., None])[..., 0] + a[2]


def _inverse(a: _Transforms) -> _Transforms:
    back = np.swapaxes(a[1], -1, -2)
    return 1 / a[0], back, -(back @ a[2][..., None])[..., 0] / a[0][..., None]


def _sim3(nodes: Nodes, i: int) -> Sim3:
    return Sim3(nodes.scale[i], nodes.R[i], nodes.t[i])


def _parts(nodes: Nodes) -> _Transforms:
    return nodes.scale, nodes.R, nodes.t


def _take(nodes: Nodes, index: Array) -> Nodes:
    return Nodes(nodes.scale[index], nodes.R[index], nodes.t[index])


def seen_from(state: Solution, node: int) -> Solution:
    """The same solution in the frame of one node."""
    origin = Nodes(*(part[node : node + 1] for part in _parts(state.nodes)))
    nodes = Nodes(*_compose(_inverse(_parts(origin)), _parts(state.nodes)))
    return replace(state, nodes=nodes)
