"""What the report of a run is made of, before it becomes a page.

In: what a run directory holds, read and checked by whoever fills these in. Out: plain values; meshes are in obj.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from uop3d_core.geometry import Array
from uop3d_core.runs import AlignmentRecord
from uop3d_core.types import Mesh, Template

Curve = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class PairTurn:
    """How far two captures, looked at alone, are from where all captures together put them.

    Attributes:
        best_deg: angle of the pair's best alignment, modulo the category's symmetry.
        nearest_deg: the same of whichever of its alignments is nearest.
        modes: how many there are.
        score: of the best, at most 0.
    """

    best_deg: float
    nearest_deg: float
    modes: int
    score: float


@dataclass(frozen=True, eq=False)
class CaptureSheet:
    """Photographs of a capture.

    Attributes:
        picture: (H, W, 3) uint8, some frames in a row.
        frames: how many there are.
        around_deg: the part of a full turn about z of obj that they were taken from.
    """

    picture: Array
    frames: int
    around_deg: float


@dataclass(frozen=True)
class ModelFacts:
    """What the model of a run says of itself.

    Attributes:
        about: the JSON object of the model file.
        megabytes: size of the file.
        belongs: whether it was trained on the alignment as it is now.
    """

    about: Mapping[str, Any]
    megabytes: float
    belongs: bool


@dataclass(frozen=True, eq=False)
class Content:
    """Everything that the page shows.

    Attributes:
        record: the alignment.
        template: in obj.
        meshes: coarse meshes of captures, in obj, as many as are shown.
        sheets: photographs, likewise.
        pairs: by names of captures.
        model: or None where there is none that can be read.
        curves: name to (epoch, loss).
        settings: stage to key to value.
        defaults: the same as they are by default.
        facts: versions, files and times; label and text.
        pose: the content of a file of ``uop3d evaluate pose``, or None.
        stills: title to PNG file, for where there is no 3-D view.
        notes: what is left out, and why.
    """

    record: AlignmentRecord
    template: Template
    meshes: Mapping[str, Mesh] = field(default_factory=dict)
    sheets: Mapping[str, CaptureSheet] = field(default_factory=dict)
    pairs: Mapping[tuple[str, str], PairTurn] = field(default_factory=dict)
    model: ModelFacts | None = None
    curves: Mapping[str, Curve] = field(default_factory=dict)
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    defaults: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    facts: Sequence[tuple[str, str]] = ()
    pose: Mapping[str, Any] | None = None
    stills: Mapping[str, bytes] = field(default_factory=dict)
    notes: Sequence[str] = ()
