"""Curves as SVG, which is sharp at any size and takes the colours of the page it stands in.

In: curves as numbers. Out: an SVG element as text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

WIDTH, HEIGHT = 640, 330
LEFT, RIGHT, TOP, BOTTOM = 70, 12, 42, 56
TICKS = 5
STYLES = ("", "8 5", "2 4")
"""Dashes, so that curves differ by more than their colour."""
DIAGONAL = "as promised"
FEW = 40
"""Curves of fewer points show these as dots."""
SMALL, LARGE = 3.0, 9.0
"""Radii of dots."""

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Axes:
    """What a diagram is drawn into.

    Attributes:
        title: above the diagram.
        x, y: what the axes show.
        alt: the same in words, for those who do not see it.
        y_range, x_range: the least that the axes show.
        diagonal: whether the line of equality is drawn.
    """

    title: str
    x: str
    y: str
    alt: str
    y_range: tuple[float, float]
    x_range: tuple[float, float] = (np.inf, -np.inf)
    diagonal: bool = False


def line_chart(curves: Mapping[str, Points], axes: Axes, weights: Sequence[float] = ()) -> str:
    """Curves of (x, y) over one pair of axes, with a legend; points that are not finite are left out.

    Args:
        curves: by name; up to as many as there are STYLES look different.
        axes: what they are drawn into.
        weights: of the points of the first curve, which make its dots larger.

    Raises:
        ValueError: no curve has a finite point.
    """
    finite = {name: [point for point in curve if np.isfinite(point).all()] for name, curve in curves.items()}
    points = np.array([point for curve in finite.values() for point in curve], dtype=np.float64)
    if not len(points):
        raise ValueError(f"nothing to draw of {axes.y} over {axes.x}")
    low = np.array([min(axes.x_range[0], points[:, 0].min()), min(axes.y_range[0], points[:, 1].min())])
    high = np.array([max(axes.x_range[1], points[:, 0].max()), max(axes.y_range[1], points[:, 1].max())])
    span = np.where(high > low, high - low, 1.0)

    def at(point: Sequence[float]) -> tuple[float, float]:
        right, up = (np.asarray(point) - low) / span
        return LEFT + right * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    parts, names = [_axes(low, low + span, axes.x, axes.y)], list(finite)
    if axes.diagonal:
        (x1, y1), (x2, y2) = at((0.0, 0.0)), at((1.0, 1.0))
        parts.append(f'<line class="guide" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>')
        names.append(DIAGONAL)
    for index, curve in enumerate(finite.values()):
        places = [at(point) for point in curve]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline {_style(index)} points="{line}"/>')
        sizes = weights if index == 0 and len(weights) == len(places) else [0.0] * len(places)
        largest = max(sizes, default=0.0) or 1.0
        for (x, y), size in zip(places, sizes, strict=True) if len(places) < FEW else ():
            radius = SMALL + (LARGE - SMALL) * (size / largest) ** 0.5
            parts.append(f'<circle class="dot c{index % len(STYLES)}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}"/>')
    parts += _legend(names) if len(names) > 1 else []
    picture = f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(axes.alt)}">'
    return f"<figure><figcaption>{escape(axes.title)}</figcaption>{picture}{''.join(parts)}</svg></figure>"


def _style(index: int) -> str:
    return f'class="curve c{index % len(STYLES)}" stroke-dasharray="{STYLES[index % len(STYLES)]}"'


def _legend(names: Sequence[str]) -> list[str]:
    """Names in a row above the diagram, each with a piece of its line."""
    parts, slot = [], (WIDTH - LEFT) / len(names)
    most = max(6, int((slot - 40) / 11))
    for index, name in enumerate(names):
        x = LEFT + index * slot
        style = 'class="guide"' if name == DIAGONAL and index == len(names) - 1 else _style(index)
        text = name if len(name) <= most else name[: most - 1] + "…"
        parts.append(f'<line {style} x1="{x:.0f}" x2="{x + 30:.0f}" y1="22" y2="22"/>')
        parts.append(f'<text x="{x + 36:.0f}" y="28">{escape(text)}</text>')
    return parts


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
    return [round(float(index * step), 12) + 0.0 for index in np.arange(first, last + 1)]
