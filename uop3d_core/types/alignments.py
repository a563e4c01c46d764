"""How captures lie to each other, and in the frame that all of them share.

Frames: `world` of every capture, `obj` of the category.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from uop3d_core.types.checks import Array, finite
from uop3d_core.types.showing import plural
from uop3d_core.types.similarity import Sim3


@dataclass(frozen=True, eq=False)
class PairAlignment:
    """The k best distinct similarity transforms between two captures, best first.

    Attributes:
        a, b: names of the captures.
        a_T_b: k transforms, world of b to world of a.
        scores: (k,) higher is better, at most 0 (minus the weighted mean distance in units of the diameter).
        geometry: (k,) mean symmetric surface distance in units of the diameter.
        appearance: (k,) mean distance between appearance matches in units of the diameter.
    """

    a: str
    b: str
    a_T_b: tuple[Sim3, ...]
    scores: Array
    geometry: Array
    appearance: Array

    def __post_init__(self) -> None:
        k = len(self.a_T_b)
        if k == 0:
            raise ValueError(f"pair {self.a}, {self.b} has no alignment mode")
        for name in ("scores", "geometry", "appearance"):
            object.__setattr__(self, name, finite(getattr(self, name), (k,), f"PairAlignment.{name}"))

    def __repr__(self) -> str:
        return (
            f"<PairAlignment {self.a}, {self.b}: {plural(len(self.scores), 'mode')}, best score {self.scores[0]:.3f}>"
        )


@dataclass(frozen=True, eq=False)
class CaptureAlignment:
    """Where one capture lies in the category's frame.

    Attributes:
        obj_T_world: similarity from the capture's world to obj.
        score: agreement with the other captures in [0, 1], higher is better.
        accepted: whether the capture takes part in template and training.
        reason: why it was rejected, or "".
        probability: calibrated probability that the rotation is within 30 degrees of the truth, up to one rotation
            that all captures share; None where it was not estimated.
    """

    obj_T_world: Sim3
    score: float
    accepted: bool
    reason: str = ""
    probability: float | None = None

    def __repr__(self) -> str:
        likely = "" if self.probability is None else f", probability {self.probability:.2f}"
        why = "accepted" if self.accepted else f"rejected: {self.reason}"
        return f"<CaptureAlignment: agreement {self.score:.2f}{likely}, {why}>"


@dataclass(frozen=True, eq=False)
class Alignment:
    """All captures of a category in one frame.

    Attributes:
        category: name of the category.
        reference: name of the capture that agrees best with all others (the medoid).
        captures: one entry per capture.
        warnings: what a person should look at, one sentence each.
    """

    category: str
    reference: str
    captures: dict[str, CaptureAlignment]
    warnings: tuple[str, ...] = ()

    def __repr__(self) -> str:
        accepted = sum(entry.accepted for entry in self.captures.values())
        told = f", {plural(len(self.warnings), 'warning')}" if self.warnings else ""
        return f"<Alignment {self.category}: {accepted} of {plural(len(self.captures), 'capture')} accepted{told}>"

    def _repr_html_(self) -> str:
        """A table of the captures, as notebooks show it."""
        head = "<tr><th>capture</th><th>agreement</th><th>probability</th><th></th></tr>"
        rows = "".join(self._row(name, entry) for name, entry in self.captures.items())
        told = "".join(f"<li>{escape(warning)}</li>" for warning in self.warnings)
        return f"<div>{escape(repr(self))}</div><table>{head}{rows}</table><ul>{told}</ul>"

    def _row(self, name: str, entry: CaptureAlignment) -> str:
        likely = "" if entry.probability is None else f"{entry.probability:.2f}"
        state = "accepted" if entry.accepted else f"rejected: {entry.reason}"
        cells = (name, f"{entry.score:.2f}", likely, "reference" if name == self.reference else state)
        return f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"
