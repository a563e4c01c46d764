"""Curves as SVG, which is sharp at any size and takes the colours of the page it stands in.

In: curves as numbers. Out: an SVG element as text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

WIDTH, HEIGHT = 640, 300
LEFT, RIGHT, TOP, BOTTOM = 70, 12, 12, 56
TICKS = 5
STYLES = ("", "8 5", "2 4")
"""Dashes, so that curves differ by more than their colour."""


def line_chart(
    curves: Mapping[str, Sequence[tuple[float, float]]], x: str, y: str, alt: str, y_range: tuple[float, float]
) -> str:
    """Curves of (x, y) over one pair of axes, with a legend; points that are not finite are left out.

    Args:
        curves: by name; up to as many as there are STYLES look different.
        x: what the horizontal axis shows.
        y: what the vertical axis shows.
        alt: the same in words, for those who do not see it.
        y_range: the least that the vertical axis shows.

    Raises:
        ValueError: no curve has a finite point.
    """
    finite = {name: [point for point in curve if np.isfinite(point).all()] for name, curve in curves.items()}
    points = np.array([point for curve in finite.values() for point in curve], dtype=np.float64)
    if not len(points):
        raise ValueError(f"nothing to draw of {y} over {x}")
    low = np.array([points[:, 0].min(), min(y_range[0], points[:, 1].min())])
    high = np.array([points[:, 0].max(), max(y_range[1], points[:, 1].max())])
    span = np.where(high > low, high - low, 1.0)

    def at(point: Sequence[float]) -> tuple[float, float]:
        right, up = (np.asarray(point) - low) / span
        return LEFT + right * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    parts = [_axes(low, low + span, x, y)]
    for index, (name, curve) in enumerate(finite.items()):
        places = [at(point) for point in curve]
        line = " ".join(f"{px:.1f},{py:.1f}" for px, py in places)
        style = f'class="curve c{index % len(STYLES)}" stroke-dasharray="{STYLES[index % len(STYLES)]}"'
        parts.append(f'<polyline {style} points="{line}"/>')
        if len(places) < 40:
            parts += [
                f'<circle class="dot c{index % len(STYLES)}" cx="{a:.1f}" cy="{b:.1f}" r="3"/>' for a, b in places
            ]
        if len(finite) > 1:
            top = TOP + 22 + 26 * index
            parts.append(f'<line {style} x1="{WIDTH - 190}" x2="{WIDTH - 150}" y1="{top - 5}" y2="{top - 5}"/>')
            parts.append(f'<text x="{WIDTH - 142}" y="{top}">{escape(name)}</text>')
    body = "".join(parts)
    return f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(alt)}">{body}</svg>'


def _axes(low: np.ndarray, high: np.ndarray, x: str, y: str) -> str:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = [f'<rect class="frame" x="{LEFT}" y="{TOP}" width="{right - LEFT}" height="{bottom - TOP}"/>']
    for value in ticks(low[0], high[0]):
        across = LEFT + (value - low[0]) / (high[0] - low[0]) * (right - LEFT)
        anchor = "end" if across > right - 12 else "middle"
        parts.append(f'<text x="{across:.1f}" y="{bottom + 22}" text-anchor="{anchor}">{value:g}</text>')
    for value in ticks(low[1], high[1]):
        down = bottom - (value - low[1]) / (high[1] - low[1]) * (bottom - TOP)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{down:.1f}" y2="{down:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{down + 5:.1f}" text-anchor="end">{value:g}</text>')
    parts.append(f'<text x="{(LEFT + right) / 2}" y="{HEIGHT - 6}" text-anchor="middle">{escape(x)}</text>')
    middle = (TOP + bottom) / 2
    turned = f'transform="rotate(-90 20 {middle})" text-anchor="middle"'
    parts.append(f'<text x="20" y="{middle}" {turned}>{escape(y)}</text>')
    return "".join(parts)


def ticks(low: float, high: float) -> list[float]:
    """Round numbers between two others, TICKS or a few less or more."""
    rough = (high - low) / TICKS
    power = 10.0 ** np.floor(np.log10(rough))
    step = next(step * power for step in (1, 2, 5, 10) if step * power >= rough * (1 - 1e-9))
    first, last = np.ceil(low / step - 1e-9), np.floor(high / step + 1e-9)
    return [round(float(index * step), 12) for index in np.arange(first, last + 1)]
