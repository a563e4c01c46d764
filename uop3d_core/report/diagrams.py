"""Diagrams without a plotting library: reliability of probabilities, and curves over a range.

In: bins or curves as numbers. Out: (H, W, 3) uint8 pictures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from uop3d_core.geometry import Array
from uop3d_core.report.tiles import FAINT, INK, PAPER, WRONG

SIDE, MARGIN = 420, 50
COLOURS = ((200, 40, 40), (40, 90, 180), (40, 140, 70), (190, 120, 20), (120, 60, 150), (90, 90, 95))
Point = tuple[float, float]


@dataclass(frozen=True)
class Axes:
    """A square diagram.

    Attributes:
        x, y: what the axes show.
        x_ticks: positions in [0, 1] with their texts; quarters by default.
        title: above the diagram, instead of what y shows.
        diagonal: whether the line of equality is drawn.
    """

    x: str
    y: str
    x_ticks: Mapping[float, str] | None = None
    title: str = ""
    diagonal: bool = False


def draw_reliability(bins: Sequence[tuple[float, float, int]], side: int = SIDE, margin: int = MARGIN) -> Array:
    """Share of right ones over the probability, each bin (probability, share, number); larger discs are more images."""
    image, draw = _paper(Axes("probability", "share within 30 degrees", diagonal=True), side, margin)
    largest = max(number for _, _, number in bins)
    for mean, share, number in bins:
        x, y = _at(mean, share, side, margin)
        r = 3 + 11 * (number / largest) ** 0.5
        draw.ellipse([x - r, y - r, x + r, y + r], fill=WRONG)
        draw.text((x + r + 3, y - 6), str(number), fill=INK)
    return np.asarray(image)


def draw_curves(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]], axes: Axes, side: int = SIDE, margin: int = MARGIN
) -> Array:
    """Named curves (x, y) of numbers in [0, 1], with a legend beside; points that are not finite are left out.

    Raises:
        ValueError: x and y of a curve differ in length.
    """
    image, draw = _paper(axes, side, margin)
    for index, (name, (xs, ys)) in enumerate(curves.items()):
        if len(xs) != len(ys):
            raise ValueError(f"curve {name!r} has {len(xs)} x and {len(ys)} y")
        colour = COLOURS[index % len(COLOURS)]
        points = [_at(x, y, side, margin) for x, y in zip(xs, ys, strict=True) if np.isfinite([x, y]).all()]
        if len(points) > 1:
            draw.line(points, fill=colour, width=2)
        for x, y in points:
            draw.ellipse([x - 3, y - 3, x + 3, y + 3], fill=colour)
    return np.concatenate([np.asarray(image), _legend(list(curves), image.height, margin)], axis=1)


def _legend(names: Sequence[str], height: int, margin: int) -> Array:
    """(height, W, 3) names of curves beside a diagram."""
    font = ImageFont.load_default(12)
    width = round(max((font.getlength(name) for name in names), default=0)) + 40
    image = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(image)
    for index, name in enumerate(names):
        y = margin + 18 * index
        draw.rectangle([0, y + 5, 18, y + 9], fill=COLOURS[index % len(COLOURS)])
        draw.text((24, y), name, fill=INK, font=font)
    return np.asarray(image)


def beside(pictures: Sequence[Array]) -> Array:
    """Pictures of one height in a row."""
    return np.concatenate(list(pictures), axis=1)


def _at(x: float, y: float, side: int, margin: int) -> Point:
    return margin + x * side, margin + (1 - y) * side


def _paper(axes: Axes, side: int, margin: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("RGB", (side + 2 * margin, side + 2 * margin), PAPER)
    draw = ImageDraw.Draw(image)
    low, high = _at(0, 0, side, margin), _at(1, 1, side, margin)
    draw.rectangle([low[0], high[1], high[0], low[1]], outline=FAINT)
    if axes.diagonal:
        draw.line([low, high], fill=FAINT)
    quarters = {tick: f"{tick:g}" for tick in (0, 0.25, 0.5, 0.75, 1)}
    for tick, text in (quarters if axes.x_ticks is None else axes.x_ticks).items():
        draw.text((_at(tick, 0, side, margin)[0], low[1] + 8), text, fill=INK, anchor="ma")
    for tick, text in quarters.items():
        draw.text((margin - 8, _at(0, tick, side, margin)[1]), text, fill=INK, anchor="rm")
    draw.text((margin + side / 2, margin + side + 26), axes.x, fill=INK, anchor="ma")
    draw.text((margin, margin - 20), axes.title or axes.y, fill=INK)
    return image, draw
