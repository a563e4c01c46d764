"""What the report of a run is made of, before it becomes a page.

In: what a run directory holds, read and checked by whoever fills these in. Out: plain values; meshes are in obj.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from uop3d_core.geometry import Array
from uop3d_core.runs import AlignmentRecord
from uop3d_core.timings import Timings
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
    """How a capture was filmed.

    Attributes:
        picture: (H, W, 3) uint8, some frames in a row.
        directions_deg: (frames, 2) azimuth and elevation of the cameras about the object: 0, 0 before its front, 90, 0
            on its left.
        around_deg: the part of a full turn about z of obj that they were taken from.
    """

    picture: Array
    directions_deg: Array
    around_deg: float

    @property
    def frames(self) -> int:
        """How many there are."""
        return len(self.directions_deg)


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


@dataclass(frozen=True)
class PoseImage:
    """One image of an evaluation.

    Attributes:
        capture, frame: names.
        score: of the estimate, 0 where no pose was found.
        found: whether one was.
        error_deg: as the score is judged, 180 where none was found.
        azimuth_deg, elevation_deg: from where it was seen, as in `CaptureSheet`; None in older files.
    """

    capture: str
    frame: str
    score: float
    found: bool
    error_deg: float
    azimuth_deg: float | None = None
    elevation_deg: float | None = None


@dataclass(frozen=True, eq=False)
class PoseFigures:
    """What ``uop3d evaluate pose`` found.

    Attributes:
        overall: figures over all images, see docs/files.md.
        captures: the same per capture.
        images: one by one.
        reliability: mean score, share that came true, and number of images of bins.
        inside: levels, and by name of the curve the shares of true poses inside the ellipsoids of these levels.
        examples: "best", "median" or "worst", index into `images`, JPEG file.
        belongs: whether it is the model of this run that was evaluated.
    """

    overall: Mapping[str, Any]
    captures: Mapping[str, Mapping[str, Any]]
    images: Sequence[PoseImage]
    reliability: Sequence[tuple[float, float, int]] = ()
    inside: tuple[Sequence[float], Mapping[str, Sequence[float]]] = ((), {})
    examples: Sequence[tuple[str, int, bytes]] = ()
    belongs: bool = True


@dataclass(frozen=True)
class Contrast:
    """A figure of this run and of another one.

    Attributes:
        what: it is.
        here, there: in words.
        better: 1 where this run is better, -1 where the other is, 0 where they are alike or nobody can say.
    """

    what: str
    here: str
    there: str
    better: int = 0


@dataclass(frozen=True, eq=False)
class Comparison:
    """This run beside another one.

    Attributes:
        name: of the other run.
        contrasts: figures of both.
        turns_deg: by capture, how differently the two runs turn it, after the one turn that takes frame to frame.
        remarks: what else differs, a sentence each.
        settings: those that differ.
        curves: loss of both trainings.
        errors_deg: of the same images in both runs, (this, other).
        verdict: what these errors say, in words, or "".
        template: of the other run, in obj of this one, or None where the frames have nothing in common.
    """

    name: str
    contrasts: Sequence[Contrast] = ()
    turns_deg: Mapping[str, float] = field(default_factory=dict)
    remarks: Sequence[str] = ()
    settings: Sequence[Contrast] = ()
    curves: Mapping[str, Curve] = field(default_factory=dict)
    errors_deg: Sequence[tuple[float, float]] = ()
    verdict: str = ""
    template: Mesh | None = None


@dataclass(frozen=True, eq=False)
class Content:
    """Everything that the page shows.

    Attributes:
        name: of the run.
        record: the alignment.
        template: in obj.
        meshes: coarse meshes of captures, in obj, as many as are shown.
        sheets: photographs, likewise.
        pairs: by names of captures.
        model: or None where there is none that can be read.
        curves: figure ("loss", "vertex_accuracy") to name of the training to (epoch, value).
        settings: stage to key to value.
        defaults: the same as they are by default.
        facts: versions, files and times; label and text.
        timings: seconds by stage.
        labelled: what ``uop3d evaluate alignment`` found, or None.
        pose: what ``uop3d evaluate pose`` found, or None.
        stills: title to PNG file, for where there is no 3-D view.
        template_picture: (H, W, 3) uint8, the template from some sides.
        notes: what is left out, and why.
        other: this run beside another one, if that was asked for.
    """

    record: AlignmentRecord
    template: Template
    name: str = "run"
    meshes: Mapping[str, Mesh] = field(default_factory=dict)
    sheets: Mapping[str, CaptureSheet] = field(default_factory=dict)
    pairs: Mapping[tuple[str, str], PairTurn] = field(default_factory=dict)
    model: ModelFacts | None = None
    curves: Mapping[str, Mapping[str, Curve]] = field(default_factory=dict)
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    defaults: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    facts: Sequence[tuple[str, str]] = ()
    timings: Timings = field(default_factory=Timings)
    labelled: Mapping[str, Any] | None = None
    pose: PoseFigures | None = None
    stills: Mapping[str, bytes] = field(default_factory=dict)
    template_picture: Array | None = None
    notes: Sequence[str] = ()
    other: Comparison | None = None

    @property
    def by_trust(self) -> list[str]:
        """Captures, those first that need a look: rejected ones, then those that agree least."""
        captures = self.record.alignment.captures
        return sorted(captures, key=lambda name: (captures[name].accepted, captures[name].score, name))
