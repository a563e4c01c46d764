"""One consistent frame for all captures from the pairwise alignments.

In: PairAlignments with several modes each, and every capture's unit frame (centred, unit diameter). Out: Alignment.
Frames: ``unit`` of each capture; obj = the unit frame of the reference, up to `orient`, or the frame of a given
alignment.

The solver is in `synchronization`, and who confirms whom in `consensus`; here are the whole category, and new captures
beside old ones. No capture is chosen by hand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from uop3d_core.alignment.consensus import TINY, CaptureGraph, real, seen_from
from uop3d_core.alignment.quality import describe, few
from uop3d_core.config import JointSettings
from uop3d_core.geometry import Array
from uop3d_core.types import Alignment, PairAlignment, Sim3, Symmetry

NEWCOMER = 0.6
"""Share of the usual agreement that the likely agreement of a new capture has to reach."""


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
    problem = CaptureGraph(pairs, unit_T_world, settings, ups or {}, real(symmetry), initial)
    kept, reasons, state = problem.consensus()
    agreement = problem.support(kept, state.nodes).agreement
    reference = kept[int(agreement.argmax())]
    if initial is None:
        state = seen_from(state, kept.index(reference))
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
    ups: Mapping[str, Array] | None = None,
    symmetry: Symmetry | None = None,
) -> Alignment:
    """Add captures to an alignment without moving those that are in it.

    Args:
        alignment: its accepted captures are what the new ones are placed by.
        pairs: between new and old captures, and between new ones; others do not matter.
        unit_T_world: of the new captures and of the old ones that pairs name.
        settings: as for `joint_alignment`.
        ups: as for `joint_alignment`, of old and new captures.
        symmetry: rotations in obj that change nothing.

    Raises:
        ValueError: a pair names an unknown capture, or no accepted capture is among those given.
    """
    old = [name for name, entry in alignment.captures.items() if entry.accepted and name in unit_T_world]
    new = [name for name in unit_T_world if name not in alignment.captures]
    if not old:
        raise ValueError(f"none of the captures to place {', '.join(new)} by is accepted in the alignment")
    problem = CaptureGraph(pairs, unit_T_world, settings, ups or {}, real(symmetry), alignment)
    usual = float(np.median([alignment.captures[name].score for name in old]))
    reasons, kept = dict[str, str](), [*old, *new]
    while True:
        kept, stranded = problem.connected(kept, old)
        reasons |= dict.fromkeys(stranded, "it has no alignment to an accepted capture")
        state = problem.solve(kept, fixed=old)
        by_old, by_all = (problem.support(kept, state.nodes, strangers) for strangers in (new, ()))
        support = by_old.where(by_old.count > 0, by_all)
        standing = np.minimum(
            support.agreement / max(settings.min_agreement, TINY), support.likely / max(NEWCOMER * usual, TINY)
        )
        low = problem.low(np.where([name in new for name in kept], standing, 1))
        if len(low) == 0:
            break
        reasons |= {kept[i]: problem.reason(support, i) for i in low}
        kept = [name for i, name in enumerate(kept) if i not in low]
    entries = dict(
        zip(kept, problem.entries(kept, state, support.agreement, problem.evidence(kept, state.nodes)), strict=True)
    )
    captures = {name: entries[name] for name in new if name in entries}
    captures |= problem.place_rejected(reasons, kept, state)
    return replace(alignment, captures=alignment.captures | {name: captures[name] for name in new})


def reorient(alignment: Alignment, new_T_obj: Sim3) -> Alignment:
    """The same alignment with obj replaced by another frame."""
    captures = {
        name: replace(entry, obj_T_world=new_T_obj @ entry.obj_T_world) for name, entry in alignment.captures.items()
    }
    return replace(alignment, captures=captures)
