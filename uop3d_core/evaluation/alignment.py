"""How well an alignment agrees with labels: errors of the relative rotation of every pair of captures.

In: Alignment (obj_T_world), Labels (label_T_world). Out: a JSON object; the global rotation between obj and label plays
no part. Where turns of a symmetry are free, figures modulo these stand beside the plain ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from uop3d_core.evaluation.labels import Labels
from uop3d_core.evaluation.metrics import pair_error_deg, pair_up_error_deg, summary, symmetric_pair_error_deg
from uop3d_core.types import Alignment, Symmetry


def evaluate_alignment(alignment: Alignment, labels: Labels, symmetry: Symmetry | None = None) -> dict[str, Any]:
    """Compare all pairs of labelled captures.

    Args:
        alignment: of some captures.
        labels: of some captures.
        symmetry: that was detected, in obj.

    Returns:
        {"category", "symmetry", "detected_symmetry", "all", "accepted", "captures", "unlabelled"}. "all" and "accepted"
        hold {"captures", "pairs", "acc30", "acc15", "acc10", "median_deg", "up_acc30", ..., "up_median_deg"}, with
        "sym_..." modulo the detected symmetry and "label_sym_..." modulo that of the labels, where there is one;
        "accepted" is null where fewer than two labelled captures are accepted. "captures" holds per capture
        {"accepted", "score", "mean_error_deg", "up_mean_error_deg"}, means over its pairs with all others.

    Raises:
        ValueError: fewer than two captures are labelled.
    """
    symmetry = symmetry or Symmetry.none()
    names = [name for name in alignment.captures if name in labels.label_T_world]
    if len(names) < 2:
        raise ValueError(
            f"{len(names)} of the {len(alignment.captures)} captures of this run are labelled, at least 2 are needed: "
            "do the labels belong to these captures?"
        )
    errors = _pair_errors(alignment, labels, names, symmetry)
    accepted = [name for name in names if alignment.captures[name].accepted]
    captures = {}
    for name in names:
        mine = [error for pair, error in errors.items() if name in pair]
        entry = alignment.captures[name]
        captures[name] = {
            "accepted": entry.accepted,
            "score": entry.score,
            "mean_error_deg": round(float(np.mean([error["full"] for error in mine])), 3),
            "up_mean_error_deg": round(float(np.mean([error["up"] for error in mine])), 3),
        }
    return {
        "category": alignment.category,
        "symmetry": labels.symmetry,
        "detected_symmetry": symmetry.to_json(),
        "all": _summarise(errors, names),
        "accepted": _summarise(errors, accepted) if len(accepted) >= 2 else None,
        "captures": captures,
        "unlabelled": [name for name in alignment.captures if name not in labels.label_T_world],
    }


def _pair_errors(
    alignment: Alignment, labels: Labels, names: Sequence[str], symmetry: Symmetry
) -> dict[tuple[str, str], dict[str, float]]:
    """Errors in degrees of every pair: "full", "up", and "sym" and "label_sym" where turns are free."""
    errors = {}
    for a, b in combinations(names, 2):
        obj_a, obj_b = (alignment.captures[name].obj_T_world.R for name in (a, b))
        label_a, label_b = (labels.label_T_world[name].R for name in (a, b))
        full, up = (measure(obj_a, obj_b, label_a, label_b) for measure in (pair_error_deg, pair_up_error_deg))
        errors[a, b] = {"full": full, "up": up}
        if symmetry.fold != 1:
            errors[a, b]["sym"] = symmetric_pair_error_deg(obj_a, obj_b, label_a, label_b, symmetry)
        if labels.symmetry_group.fold != 1:
            group = labels.symmetry_group
            errors[a, b]["label_sym"] = symmetric_pair_error_deg(label_a, label_b, obj_a, obj_b, group)
    return errors


def _summarise(errors: dict[tuple[str, str], dict[str, float]], names: Sequence[str]) -> dict[str, Any]:
    chosen = [errors[pair] for pair in combinations(names, 2)]
    by_kind = {kind: [error[kind] for error in chosen] for kind in chosen[0]}
    full, up = by_kind.pop("full"), by_kind.pop("up")
    return {"captures": len(names), "pairs": len(chosen), **summary(full, up, **by_kind)}
