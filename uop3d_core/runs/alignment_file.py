"""The content of alignment.json: where every capture lies in obj, and what that was made from.

In / out: AlignmentRecord, JSON. Frames: `world` of every capture, `obj` of the category.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from uop3d_core.runs.fingerprints import FORMAT, fingerprint
from uop3d_core.types import Alignment, CaptureAlignment, Sim3, Symmetry

BY_HAND = "by hand"


@dataclass(frozen=True, eq=False)
class AlignmentRecord:
    """The content of alignment.json.

    Attributes:
        alignment: where every capture lies.
        failed: captures that could not be used at all, with the reason.
        mark: fingerprint of settings and backbone.
        template_sha256: digest of the template.ply that was made with it.
        symmetry: of the category, in obj.
        inputs: fingerprints of the captures that were looked at, the failed ones included.
        founders: captures that were there when obj was fixed; the feature basis is theirs.
        axes_by_hand: whether a person chose front or up.
    """

    alignment: Alignment
    failed: dict[str, str]
    mark: str = ""
    template_sha256: str = ""
    symmetry: Symmetry = field(default_factory=Symmetry.none)
    inputs: dict[str, str] = field(default_factory=dict)
    founders: tuple[str, ...] = ()
    axes_by_hand: bool = False

    @property
    def digest(self) -> str:
        """Fingerprint of what it says, changes made by hand included."""
        captures = {
            name: [entry.obj_T_world.matrix.tolist(), entry.accepted] for name, entry in self.alignment.captures.items()
        }
        turns = {} if self.symmetry.fold == 1 else {"symmetry": [self.symmetry.axis.tolist(), self.symmetry.fold]}
        return fingerprint(captures=captures, template=self.template_sha256, **turns)


def alignment_content(record: AlignmentRecord) -> dict[str, Any]:
    """The JSON object of a record."""
    captures = {
        name: {
            "obj_T_world": entry.obj_T_world.matrix.tolist(),
            "score": entry.score,
            "accepted": entry.accepted,
            "reason": entry.reason,
            "probability": entry.probability,
        }
        for name, entry in record.alignment.captures.items()
    }
    return {
        "version": FORMAT,
        "category": record.alignment.category,
        "reference": record.alignment.reference,
        "captures": captures,
        "failed": record.failed,
        "warnings": list(record.alignment.warnings),
        "symmetry": record.symmetry.to_json(),
        "axes": BY_HAND if record.axes_by_hand else "found",
        "fingerprint": record.mark,
        "template_sha256": record.template_sha256,
        "inputs": record.inputs,
        "founders": list(record.founders),
    }


def parse_alignment(content: Mapping[str, Any], where: Path) -> AlignmentRecord:
    """Check the content of an alignment.json.

    Raises:
        ValueError: something is missing or malformed; the message names it.
    """
    entries = content.get("captures")
    if not isinstance(entries, dict) or not entries:
        raise ValueError(f'{where}: "captures" must be an object with at least one capture')
    captures = {name: _parse_capture(entry, f"{where}: capture {name}") for name, entry in entries.items()}
    reference = content.get("reference") or max(captures, key=lambda name: captures[name].score)
    if reference not in captures:
        raise ValueError(f"{where}: the reference {reference!r} is none of the captures {', '.join(captures)}")
    failed, inputs = (_parse_texts(content.get(key, {}), f'{where}: "{key}"') for key in ("failed", "inputs"))
    warnings, founders = content.get("warnings", []), content.get("founders", [])
    if not isinstance(warnings, list) or not isinstance(founders, list):
        raise ValueError(f'{where}: "warnings" and "founders" must be lists')
    if not inputs.keys() >= set(founders):
        raise ValueError(f'{where}: every one of "founders" must have its fingerprint in "inputs"')
    alignment = Alignment(str(content.get("category", "")), str(reference), captures, tuple(map(str, warnings)))
    mark, sha256 = (str(content.get(key, "")) for key in ("fingerprint", "template_sha256"))
    turns = content.get("symmetry")
    symmetry = Symmetry.none() if turns is None else Symmetry.from_json(turns, f'{where}: "symmetry"')
    by_hand = content.get("axes") == BY_HAND
    return AlignmentRecord(alignment, failed, mark, sha256, symmetry, inputs, tuple(founders), by_hand)


def _parse_texts(value: Any, where: str) -> dict[str, str]:
    if not isinstance(value, dict):
        raise ValueError(f"{where} must be an object of texts by capture")
    return {str(name): str(text) for name, text in value.items()}


def _parse_capture(entry: Any, where: str) -> CaptureAlignment:
    if not isinstance(entry, dict) or not {"obj_T_world", "score", "accepted"} <= entry.keys():
        raise ValueError(f"{where} must have obj_T_world, score and accepted")
    if not isinstance(entry["accepted"], bool) or isinstance(entry["score"], bool):
        raise ValueError(f"{where}: accepted must be true or false, and score a number")
    reason, probability = str(entry.get("reason", "")), entry.get("probability")
    try:
        obj_T_world = Sim3.from_matrix(np.array(entry["obj_T_world"], dtype=np.float64))
        probability = None if probability is None else float(probability)
        return CaptureAlignment(obj_T_world, float(entry["score"]), entry["accepted"], reason, probability)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: {error}") from error
