"""One consistent frame for all captures from the pairwise alignments.

In: PairAlignments with several modes each, and every capture's unit frame (centred, unit diameter). Out: Alignment.
Frames: ``unit`` of each capture; obj = the unit frame of the reference, up to `orient`, or the frame of a given
alignment.

The work is that of `synchronization`; here are the captures' names, the rejection of those that others do not confirm,
and new captures beside old ones. No capture is chosen by hand.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from uop3d_core.alignment.quality import Evidence, describe, evidence, few, probability
from uop3d_core.alignment.synchronization import (
    Directions,
    Edges,
    Nodes,
    Solution,
    Tolerances,
    synchronize,
)
from uop3d_core.config import JointSettings
from uop3d_core.geometry import Array
from uop3d_core.types import Alignment, CaptureAlignment, PairAlignment, Sim3, Symmetry

STRANDED = "its only alignments are to captures that were rejected"


def joint_alignment(
    category: str,
    pairs: Sequence[PairAlignment],
    unit_T_world: Mapping[str, Sim3],
    settings: JointSettings,
    *,
    ups: Mapping[str, Array] | None = None,
    symmetry: Symmetry | None = None,
    initial: Alignment | None = None,
) -> Alignment:
    """Bring all captures into one frame and reject those that the others do not confirm.

    Args:
        category: its name.
        pairs: in any order; each pair of captures at most once.
        unit_T_world: the captures that take part.
        settings: tolerances and limits.
        ups: (3,) unit vectors in the captures' worlds that should point the same way in obj, as far as they are known.
            They adjust tilts, and only as far as the captures agree on them.
        symmetry: rotations in the obj frame of `initial` that change nothing; alignments count modulo these.
        initial: where to start; the result is in its obj frame.

    Raises:
        ValueError: a pair names an unknown capture, the pairs do not connect all captures, or `initial` is missing or
            lacks a capture.
    """
    problem = _Problem(pairs, unit_T_world, settings, ups or {}, _real(symmetry), initial)
    kept, reasons, state = problem.consensus()
    agreement = problem.agreement(kept, state)
    reference = kept[int(agreement.argmax())]
    if initial is None:
        state = _seen_from(state, kept.index(reference))
    found = problem.evidence(kept, state.nodes)
    captures = dict(zip(kept, problem.entries(kept, state, agreement, found), strict=True))
    captures |= problem.place_rejected(reasons, kept, state)
    warnings = (*(describe(found, kept) if len(kept) > 2 else ()), *few(len(kept), len(unit_T_world)))
    return Alignment(category, reference, {name: captures[name] for name in unit_T_world}, warnings)


def place_captures(
    alignment: Alignment,
    pairs: Sequence[PairAlignment],
    unit_T_world: Mapping[str, Sim3],
    settings: JointSettings,
    *,
    symmetry: Symmetry | None = None,
) -> Alignment:
    """Add captures to an alignment without moving those that are in it.

    Args:
        alignment: its accepted captures are what the new ones are placed by.
        pairs: between new and old captures, and between new ones; others do not matter.
        unit_T_world: of the new captures and of the old ones that pairs name.
        settings: as for `joint_alignment`.
        symmetry: rotations in obj that change nothing.

    Raises:
        ValueError: a pair names an unknown capture, or no accepted capture is among those given.
    """
    old = [name for name, entry in alignment.captures.items() if entry.accepted and name in unit_T_world]
    new = [name for name in unit_T_world if name not in alignment.captures]
    if not old:
        raise ValueError(f"none of the captures to place {', '.join(new)} by is accepted in the alignment")
    problem = _Problem(pairs, unit_T_world, settings, {}, _real(symmetry), alignment)
    reasons, kept = dict[str, str](), [*old, *new]
    while True:
        kept, stranded = problem.connected(kept, old)
        reasons |= dict.fromkeys(stranded, "it has no alignment to an accepted capture")
        state = problem.solve(kept, fixed=old)
        agreement = problem.agreement(kept, state)
        fresh = np.array([name not in alignment.captures for name in kept])
        low = problem.rejected(np.where(fresh, agreement, 1))
        if len(low) == 0:
            break
        reasons |= {kept[i]: problem.reason(agreement[i]) for i in low}
        kept = [name for i, name in enumerate(kept) if i not in low]
    entries = dict(zip(kept, problem.entries(kept, state, agreement, problem.evidence(kept, state.nodes)), strict=True))
    captures = {name: entries[name] for name in new if name in entries}
    captures |= problem.place_rejected(reasons, kept, state)
    return replace(alignment, captures=alignment.captures | {name: captures[name] for name in new})


def reorient(alignment: Alignment, new_T_obj: Sim3) -> Alignment:
    """The same alignment with obj replaced by another frame."""
    captures = {
        name: replace(entry, obj_T_world=new_T_obj @ entry.obj_T_world) for name, entry in alignment.captures.items()
    }
    return replace(alignment, captures=captures)


@dataclass(frozen=True, eq=False)
class _Problem:
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
            agreement = self.agreement(kept, state)
            low = self.rejected(agreement)
            if len(low) and len(kept) > 2:
                reasons |= {kept[i]: self.reason(agreement[i]) for i in low}
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
                placed = self.place_rejected(reasons, kept, state)
                good = [name for name, entry in placed.items() if entry.score >= self.settings.min_agreement]
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

    def edges(self, names: Sequence[str], strangers: Iterable[str] = ()) -> Edges:
        """Edges between some captures, numbered in the order given, but none between two strangers."""
        place = {name: i for i, name in enumerate(names)}
        number = np.array([place.get(name, -1) for name in self.unit_T_world])
        apart = np.isin(np.array(list(self.unit_T_world)), list(strangers))
        every = self.every_edge
        to, of = number[every.to], number[every.of]
        keep = (to >= 0) & (of >= 0) & ~(apart[every.to] & apart[every.of])
        return replace(every.take(keep), to=to[keep], of=of[keep])

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

    def agreement(self, names: Sequence[str], state: Solution) -> Array:
        """How well every capture's pairs agree with the solution, (N,) in [0, 1]."""
        edges = self.edges(names)
        votes = np.exp(-((state.residual / self.tolerances.coarse) ** 2))
        both = np.concatenate([edges.to, edges.of])
        count = np.bincount(both, minlength=len(names))
        return np.where(count > 0, np.bincount(both, np.tile(votes, 2), len(names)) / np.maximum(count, 1), 1.0)

    def rejected(self, agreement: Array) -> list[int]:
        """The worst captures of those that agree too little; few at once, for without them others agree better."""
        order = np.argsort(agreement, kind="stable")[: max(1, len(agreement) // 20)]
        return [int(i) for i in order if agreement[i] < self.settings.min_agreement]

    def reason(self, agreement: float) -> str:
        """Why a capture is rejected."""
        return (
            f"agrees with the other captures at {agreement:.2f} only (at least {self.settings.min_agreement:.2f} "
            "is asked for): another kind of object, a failed reconstruction, or too few views"
        )

    def connected(self, names: Sequence[str], to: Sequence[str] = ()) -> tuple[list[str], list[str]]:
        """The largest set of captures that pairs connect (or those connected to some), and the other captures."""
        index = {name: i for i, name in enumerate(names)}
        inner = [(index[pair.a], index[pair.b]) for pair in self.pairs if pair.a in index and pair.b in index]
        inner += [(index[to[0]], index[name]) for name in to]
        rows, columns = np.array(inner, dtype=np.int64).reshape(-1, 2).T
        graph = coo_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(names), len(names)))
        component = connected_components(graph, directed=False)[1]
        wanted = component[index[to[0]]] if to else np.bincount(component).argmax()
        inside = [name for name, c in zip(names, component, strict=True) if c == wanted]
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

    def place_rejected(
        self, reasons: Mapping[str, str], kept: Sequence[str], state: Solution
    ) -> dict[str, CaptureAlignment]:
        """Where rejected captures would lie by their alignments to accepted ones.

        One that has no accepted neighbour stays as it is in its world, only centred and scaled, with score 0.
        """
        accepted = set(kept)
        neighbours = {p.b if p.a in accepted else p.a for p in self.pairs if (p.a in accepted) != (p.b in accepted)}
        placed = [name for name in reasons if name in neighbours]
        names = [*kept, *placed]
        nodes = Nodes.identity(len(names))
        for part, whole in zip(_parts(state.nodes), _parts(nodes), strict=True):
            whole[: len(kept)] = part
        edges = self.edges(names, placed)
        fixed = np.arange(len(names)) < len(kept)
        found = synchronize(
            len(names), edges, self.tolerances, rounds=self.settings.rounds, initial=nodes, fixed=fixed,
            symmetry=self.symmetry,
        )  # fmt: skip
        votes = np.exp(-((found.residual / self.tolerances.coarse) ** 2))
        both = np.concatenate([edges.to, edges.of])
        score = np.bincount(both, np.tile(votes, 2), len(names)) / np.maximum(
            np.bincount(both, minlength=len(names)), 1
        )
        right = probability(self.evidence(names, found.nodes, placed))
        captures = {
            name: CaptureAlignment(self.unit_T_world[name], 0.0, False, why, 0.0) for name, why in reasons.items()
        }
        for i, name in enumerate(placed, len(kept)):
            obj_T_world = _sim3(found.nodes, i) @ self.unit_T_world[name]
            captures[name] = CaptureAlignment(obj_T_world, float(score[i]), False, reasons[name], float(right[i]))
        return captures


def _mode_cost(scores: Array, settings: JointSettings) -> Array:
    """What choosing each of a pair's modes (M,) costs, 0 to 1; 1 is the cost of disagreeing with all of them.

    Log-likelihoods: modes share the probability by their scores. A pair that has several equally good modes knows
    little, and then it matters little which one is chosen, or none.
    """
    likelihood = np.exp((scores - scores.max()) / settings.mode_scale)
    return np.minimum(np.log(likelihood / likelihood.sum()) / np.log(settings.unlisted), 1)


def _real(symmetry: Symmetry | None) -> Symmetry | None:
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


def _seen_from(state: Solution, node: int) -> Solution:
    """The same solution in the frame of one node."""
    origin = Nodes(*(part[node : node + 1] for part in _parts(state.nodes)))
    nodes = Nodes(*_compose(_inverse(_parts(origin)), _parts(state.nodes)))
    return replace(state, nodes=nodes)
