"""Which captures agree with which, as a graph: captures on a circle, a line per pair, as SVG.

In: names with whether they were accepted, and pairs. Out: an SVG element.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

import numpy as np

from uop3d_core.report.content import PairTurn
from uop3d_core.report.markup import angle_class

RADIUS, WIDTH, HEIGHT = 130.0, 460.0, 420.0
THIN, THICK = 0.6, 3.0
MOST_CHARACTERS = 16


def pair_graph(accepted: Mapping[str, bool], pairs: Mapping[tuple[str, str], PairTurn], alt: str) -> str:
    """A line is coloured by its turn, and thicker the better the pair's score; rejected captures are crosses."""
    angles = np.linspace(0, 2 * np.pi, len(accepted), endpoint=False)
    place = {name: RADIUS * np.array([np.sin(a), -np.cos(a)]) for name, a in zip(accepted, angles, strict=True)}
    scores = [turn.score for turn in pairs.values()]
    low, high = min(scores, default=0.0), max(scores, default=0.0)
    parts = []
    for (a, b), turn in sorted(pairs.items(), key=lambda item: item[1].best_deg):
        good = (turn.score - low) / (high - low) if high > low else 0.5
        (x1, y1), (x2, y2) = place[a], place[b]
        parts.append(
            f'<line class="edge {angle_class(turn.best_deg)}" stroke-width="{THIN + (THICK - THIN) * good:.1f}" '
            f'x1="{x1:.0f}" y1="{y1:.0f}" x2="{x2:.0f}" y2="{y2:.0f}"/>'
        )
    parts += [_node(name, place[name], ok) for name, ok in accepted.items()]
    box = f"{-WIDTH / 2:g} {-HEIGHT / 2:g} {WIDTH:g} {HEIGHT:g}"
    return f'<svg class="graph" viewBox="{box}" role="img" aria-label="{escape(alt)}">{"".join(parts)}</svg>'


def _node(name: str, place: np.ndarray, accepted: bool) -> str:
    """A disc or a cross with the name outwards of it, turned along its radius so that many have room."""
    (x, y), turn = place, float(np.rad2deg(np.arctan2(place[1], place[0])))
    behind = abs(turn) > 90
    text = name if len(name) <= MOST_CHARACTERS else name[: MOST_CHARACTERS - 1] + "…"
    anchor, shift = ("end", -10) if behind else ("start", 10)
    mark = '<circle class="node" r="5"/>' if accepted else '<path class="node wrong" d="M-5-5L5 5M5-5L-5 5"/>'
    style = "" if accepted else ' class="wrong"'
    words = f'<text{style} transform="rotate({turn + 180 * behind:.0f})" x="{shift}" y="4" text-anchor="{anchor}">'
    return f'<g transform="translate({x:.0f} {y:.0f})">{mark}{words}{escape(text)}</text></g>'
