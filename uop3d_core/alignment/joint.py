"""One consistent frame for all captures from the pairwise alignments.

In: PairAlignments with several modes each, and every capture's unit frame (centred, unit diameter). Out: Alignment.
Frames: ``unit`` of each capture, ``common`` = the frame of the start capture, which is the output's obj up to `orient`.

Rotations are voted on, then averaged robustly over the pair graph; every edge lends the mode that fits best. Each
capture serves once as the start; the start whose solution leaves the least truncated disagreement wins. No capture is
chosen by hand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from uop3d_core.config import JointSettings
from uop3d_core.geometry import Array, closest_rotation, rotation_error
from uop3d_core.types import Alignment, CaptureAlignment, PairAlignment, Sim3

VOTING_SWEEPS = 3


@dataclass(frozen=True, eq=False)
class _Edges:
    """All modes of all pairs, both directions: capture `to` predicts capture `of` (E edges, padded to M modes).

    to, of: (E,). scale (E, M), R (E, M, 3, 3), t (E, M, 3): unit_to_T_unit_of. cost: (E, M), infinite where padded.
    """

    to: Array
    of: Array
    scale: Array
    R: Array
    t: Array
    cost: Array


@dataclass(frozen=True, eq=False)
class _State:
    """common_T_unit of all N captures: scale (N,), R (N, 3, 3), t (N, 3); objective, lower is better."""

    scale: Array
    R: Array
    t: Array
    objective: float


def joint_alignment(
    category: str,
    pairs: Sequence[PairAlignment],
    unit_T_world: Mapping[str, Sim3],
    settings: JointSettings,
) -> Alignment:
    """Bring all captures into one frame and reject those that the others do not confirm.

    Raises:
        ValueError: a pair names an unknown capture, or the pairs do not connect all captures.
    """
    names = list(unit_T_world)
    kept, reasons, agreement = names, dict.fromkeys(names, ""), np.ones(len(names))
    while True:
        state, agreement = _solve(kept, pairs, unit_T_world, settings)
        worst = int(agreement.argmin())
        if agreement[worst] >= settings.min_agreement or len(kept) <= 2:
            break
        reasons[kept[worst]] = (
            f"agrees with the other captures at {agreement[worst]:.2f} only (at least {settings.min_agreement:.2f} "
            "is asked for): another kind of object, a failed reconstruction, or too few views"
        )
        kept, stranded = _connected([name for name in kept if name != kept[worst]], pairs)
        reasons |= dict.fromkeys(stranded, "its only alignments are to captures that were rejected")
    captures = {}
    for i, name in enumerate(kept):
        common_T_unit = Sim3(state.scale[i], state.R[i], state.t[i])
        captures[name] = CaptureAlignment(common_T_unit @ unit_T_world[name], float(agreement[i]), True)
    for name in names:
        if reasons[name]:
            captures[name] = _place_rejected(name, kept, state, pairs, unit_T_world, settings, reasons[name])
    reference = kept[int(agreement.argmax())]
    return Alignment(category, reference, {name: captures[name] for name in names})


def _connected(names: Sequence[str], pairs: Sequence[PairAlignment]) -> tuple[list[str], list[str]]:
    """The largest set of captures that pairs connect, and the other captures."""
    index = {name: i for i, name in enumerate(names)}
    inner = [(index[pair.a], index[pair.b]) for pair in pairs if pair.a in index and pair.b in index]
    rows, columns = np.array(inner, dtype=np.int64).reshape(-1, 2).T
    graph = coo_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(names), len(names)))
    component = connected_components(graph, directed=False)[1]
    largest = np.bincount(component).argmax()
    inside = [name for name, c in zip(names, component, strict=True) if c == largest]
    return inside, [name for name in names if name not in inside]


def reorient(alignment: Alignment, new_T_obj: Sim3) -> Alignment:
    """The same alignment with obj replaced by another frame."""
    captures = {
        name: replace(entry, obj_T_world=new_T_obj @ entry.obj_T_world) for name, entry in alignment.captures.items()
    }
    return Alignment(alignment.category, alignment.reference, captures)


def _solve(
    names: Sequence[str], pairs: Sequence[PairAlignment], unit_T_world: Mapping[str, Sim3], settings: JointSettings
) -> tuple[_State, Array]:
    """Best state over all starts, and every capture's agreement (N,) in [0, 1] with the others."""
    if len(names) == 1:
        return _State(np.ones(1), np.eye(3)[None], np.zeros((1, 3)), 0.0), np.ones(1)
    edges = _edges(names, pairs, unit_T_world, settings)
    starts = [_from_start(start, len(names), edges, settings) for start in range(len(names))]
    state = min(starts, key=lambda s: s.objective)
    residual = _residuals(edges, state)[0]
    votes = np.exp(-((residual / np.deg2rad(settings.robust_angle_deg)) ** 2))
    return state, np.bincount(edges.of, votes, len(names)) / np.maximum(np.bincount(edges.of, minlength=len(names)), 1)


def _edges(
    names: Sequence[str], pairs: Sequence[PairAlignment], unit_T_world: Mapping[str, Sim3], settings: JointSettings
) -> _Edges:
    index = {name: i for i, name in enumerate(names)}
    rows = []
    for pair in pairs:
        for name in (pair.a, pair.b):
            if name not in unit_T_world:
                raise ValueError(f"pair ({pair.a}, {pair.b}) names capture {name!r}, which is not to be aligned")
        if pair.a not in index or pair.b not in index:
            continue
        a_T_b = [unit_T_world[pair.a] @ T @ unit_T_world[pair.b].inverse() for T in pair.a_T_b]
        cost = settings.mode_penalty * (pair.scores[0] - pair.scores)
        rows.append((index[pair.a], index[pair.b], a_T_b, cost))
        rows.append((index[pair.b], index[pair.a], [T.inverse() for T in a_T_b], cost))
    modes = max((len(row[2]) for row in rows), default=1)
    E = len(rows)
    scale, R, t = np.ones((E, modes)), np.tile(np.eye(3), (E, modes, 1, 1)), np.zeros((E, modes, 3))
    cost = np.full((E, modes), np.inf)
    for e, (_, _, transforms, costs) in enumerate(rows):
        for m, T in enumerate(transforms):
            scale[e, m], R[e, m], t[e, m], cost[e, m] = T.scale, T.R, T.t, costs[m]
    to, of = (np.array([row[k] for row in rows], dtype=np.int64) for k in (0, 1))
    return _Edges(to, of, scale, R, t, cost)


def _from_start(start: int, count: int, edges: _Edges, settings: JointSettings) -> _State:
    """Spread out from one capture along the edges, let the neighbours vote, then average until nothing changes."""
    scale, R, t = np.ones(count), np.tile(np.eye(3), (count, 1, 1)), np.zeros((count, 3))
    known = np.arange(count) == start
    while not known.all():
        fresh = np.flatnonzero(known[edges.to] & ~known[edges.of])
        if len(fresh) == 0:
            raise ValueError("the pair graph is not connected: some captures have no alignment to the others")
        for e in fresh:
            to, of = edges.to[e], edges.of[e]
            if not known[of]:
                scale[of], R[of] = scale[to] * edges.scale[e, 0], R[to] @ edges.R[e, 0]
                t[of] = scale[to] * R[to] @ edges.t[e, 0] + t[to]
                known[of] = True
    state = _State(scale, R, t, np.inf)
    for _ in range(VOTING_SWEEPS):
        _vote(state, edges, start, settings)
    for _ in range(settings.rounds):
        state = _average(state, edges, start, settings)
    residual, mode = _residuals(edges, state)
    cost = np.minimum(residual / np.deg2rad(settings.truncate_deg), 1)
    penalty = np.take_along_axis(edges.cost, mode[:, None], 1)[:, 0]
    return replace(state, objective=float((cost + penalty).mean()))


def _vote(state: _State, edges: _Edges, fixed: int, settings: JointSettings) -> None:
    """Move every capture but the fixed one, in turn, to the prediction that most others support; changes `state`.

    A robust mean cannot do that: it stays near where a wrong edge or mode has put the capture.
    """
    for of in range(len(state.scale)):
        mine = np.flatnonzero(edges.of == of)
        if of == fixed or len(mine) == 0:
            continue
        R = (state.R[edges.to[mine]][:, None] @ edges.R[mine]).reshape(-1, 9)
        angle = np.arccos(np.clip((R @ R.T - 1) / 2, -1, 1)).reshape(-1, *edges.cost[mine].shape)
        disagreement = np.minimum(angle / np.deg2rad(settings.truncate_deg), 1) + edges.cost[mine]
        e, m = np.unravel_index(int(disagreement.min(-1).sum(-1).argmin()), edges.cost[mine].shape)
        edge, to = mine[e], edges.to[mine[e]]
        state.R[of] = state.R[to] @ edges.R[edge, m]
        state.scale[of] = state.scale[to] * edges.scale[edge, m]
        state.t[of] = state.scale[to] * state.R[to] @ edges.t[edge, m] + state.t[to]


def _residuals(edges: _Edges, state: _State) -> tuple[Array, Array]:
    """Rotation disagreement (E,) in radians of every edge with its best mode, and that mode (E,)."""
    predicted = state.R[edges.to][:, None] @ edges.R
    angle = rotation_error(predicted, state.R[edges.of][:, None])
    mode = np.argmin(angle + edges.cost, axis=1)
    return np.take_along_axis(angle, mode[:, None], 1)[:, 0], mode


def _average(state: _State, edges: _Edges, fixed: int, settings: JointSettings) -> _State:
    """Every capture but the fixed one becomes the robust mean of what its neighbours predict."""
    residual, mode = _residuals(edges, state)
    weight = 1 / (1 + (residual / np.deg2rad(settings.robust_angle_deg)) ** 2) ** 2
    rows = np.arange(len(mode))
    scale_e, R_e, t_e = edges.scale[rows, mode], edges.R[rows, mode], edges.t[rows, mode]
    N = len(state.scale)
    total = np.bincount(edges.of, weight, N)
    R_sum, t_sum = np.zeros((N, 3, 3)), np.zeros((N, 3))
    np.add.at(R_sum, edges.of, weight[:, None, None] * (state.R[edges.to] @ R_e))
    moved = state.scale[edges.to, None] * (state.R[edges.to] @ t_e[:, :, None])[..., 0] + state.t[edges.to]
    np.add.at(t_sum, edges.of, weight[:, None] * moved)
    log_scale = np.bincount(edges.of, weight * np.log(state.scale[edges.to] * scale_e), N) / total
    R, t, scale = closest_rotation(R_sum), t_sum / total[:, None], np.exp(log_scale)
    R[fixed], t[fixed], scale[fixed] = state.R[fixed], state.t[fixed], state.scale[fixed]
    return _State(scale, R, t, np.inf)


def _place_rejected(
    name: str,
    kept: Sequence[str],
    state: _State,
    pairs: Sequence[PairAlignment],
    unit_T_world: Mapping[str, Sim3],
    settings: JointSettings,
    reason: str,
) -> CaptureAlignment:
    """Where a rejected capture would lie: the prediction of its accepted neighbours that most others support.

    One that has no accepted neighbour stays as it is in its world, only centred and scaled, with score 0.
    """
    edges = _edges([*kept, name], pairs, unit_T_world, settings)
    mine = np.flatnonzero(edges.of == len(kept))
    if len(mine) == 0:
        return CaptureAlignment(unit_T_world[name], 0.0, False, reason)
    R = state.R[edges.to[mine]] @ edges.R[mine, 0]
    apart = rotation_error(R[:, None], R[None])
    best = int(np.minimum(apart, np.deg2rad(settings.truncate_deg)).sum(1).argmin())
    e, to = mine[best], edges.to[mine[best]]
    common_T_to = Sim3(state.scale[to], state.R[to], state.t[to])
    common_T_unit = common_T_to @ Sim3(edges.scale[e, 0], edges.R[e, 0], edges.t[e, 0])
    votes = np.exp(-((apart[best] / np.deg2rad(settings.robust_angle_deg)) ** 2))
    return CaptureAlignment(common_T_unit @ unit_T_world[name], float(votes.mean()), False, reason)
