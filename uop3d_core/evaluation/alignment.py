"""How well an alignment agrees with labels: errors of the relative rotation of every pair of captures.

In: Alignment (obj_T_world), Labels (label_T_world). Out: a JSON object; the global rotation between obj and label plays
no part.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from uop3d_core.evaluation.labels import Labels
from uop3d_core.evaluation.metrics import pair_error_deg, pair_up_error_deg, summary
from uop3d_core.types import Alignment


def evaluate_alignment(alignment: Alignment, labels: Labels) -> dict[str, Any]:
    """Compare all pairs of labelled captures.

    Returns:
        {"category", "symmetry", "all", "accepted", "captures", "unlabelled"}. "all" and "accepted" hold
        {"captures", "pairs", "acc30", "acc15", "acc10", "median_deg", "up_acc30", ..., "up_median_deg"}; "accepted" is
        null where fewer than two labelled captures are accepted. "captures" holds per capture
        {"accepted", "score", "mean_error_deg", "up_mean_error_deg"}, means over its pairs with all others.

    Raises:
        ValueError: fewer than two captures are labelled.
    """
    names = [name for name in alignment.captures if name in labels.label_T_world]
    if len(names) < 2:
        raise ValueError(
            f"{len(names)} of the {len(alignment.captures)} captures of this run are labelled, at least 2 are needed: "
            "do the labels belong to these captures?"
        )
    errors = _pair_errors(alignment, labels, names)
    accepted = [name for name in names if alignment.captures[name].accepted]
    captures = {}
    for name in names:
        full, up = np.mean([value for pair, value in errors.items() if name in pair], axis=0)
        entry = alignment.captures[name]
        captures[name] = {
            "accepted": entry.accepted,
            "score": entry.score,
            "mean_error_deg": round(float(full), 3),
            "up_mean_error_deg": round(float(up), 3),
        }
    return {
        "category": alignment.category,
        "symmetry": labels.symmetry,
        "all": _summarise(errors, names),
        "accepted": _summarise(errors, accepted) if len(accepted) >= 2 else None,
        "captures": captures,
        "unlabelled": [name for name in alignment.captures if name not in labels.label_T_world],
    }


def _pair_errors(
    alignment: Alignment, labels: Labels, names: Sequence[str]
) -> dict[tuple[str, str], tuple[float, float]]:
    """Full and up-axis error in degrees of every pair."""
    errors = {}
    for a, b in combinations(names, 2):
        obj = [alignment.captures[name].obj_T_world.R for name in (a, b)]
        label = [labels.label_T_world[name].R for name in (a, b)]
        errors[a, b] = pair_error_deg(*obj, *label), pair_up_error_deg(*obj, *label)
    return errors


def _summarise(errors: dict[tuple[str, str], tuple[float, float]], names: Sequence[str]) -> dict[str, Any]:
    chosen = [errors[pair] for pair in combinations(names, 2)]
    return {
        "captures": len(names),
        "pairs": len(chosen),
        **summary([full for full, _ in chosen], [up for _, up in chosen]),
    }
