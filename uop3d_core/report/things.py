"""Coloured meshes, arrows and texts in space, laid over an image as a viewer such as RViz would.

In: image, Camera, and things placed in cam. Out: a picture (H', W', 3) uint8, small images enlarged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from uop3d_core.cameras import pixels_of
from uop3d_core.geometry import Array
from uop3d_core.report.overlay import DARK, MIN_SIDE, draw_arrow, enlarge, enlarged, write_label
from uop3d_core.report.shading import ShadedMesh, blend, outline
from uop3d_core.types import Camera, Mesh

TEXT_SIZE = 14.0
"""Pixels of an image of MIN_SIDE: texts keep their size wherever they are, to be read."""


@dataclass(frozen=True, eq=False)
class Solid:
    """A mesh of one colour.

    Attributes:
        mesh: in cam.
        colour: (3,) 0-255.
        alpha: how much it hides what is behind, 0 to 1.
    """

    mesh: Mesh
    colour: Array
    alpha: float


@dataclass(frozen=True, eq=False)
class Arrow:
    """A line from one point to another; (3,) in cam, with its colour (3,) 0-255."""

    start: Array
    tip: Array
    colour: Array


@dataclass(frozen=True, eq=False)
class Text:
    """Words at a point (3,) in cam."""

    place: Array
    words: str


def draw_things(
    image: Array, camera: Camera, solids: Sequence[Solid], arrows: Sequence[Arrow], texts: Sequence[Text]
) -> Array:
    """Draw things into an image, the far ones first, arrows and texts over all solids."""
    factor = max(1, round(MIN_SIDE / max(camera.width, camera.height)))
    camera, canvas = enlarged(camera, factor), enlarge(image, factor)
    unit = max(camera.width, camera.height) / MIN_SIDE
    for solid in sorted(solids, key=lambda each: -float(each.mesh.vertices[:, 2].mean())):
        brightness, coverage = ShadedMesh(solid.mesh).draw(camera, np.eye(4))
        canvas = blend(canvas, solid.colour * brightness[..., None], solid.alpha * coverage)
        canvas = blend(canvas, DARK, 0.75 * outline(coverage, 2.6 * unit))
        canvas = blend(canvas, solid.colour, outline(coverage, 1.3 * unit))
    for arrow in sorted(arrows, key=lambda each: -float(each.tip[2])):
        ends = pixels_of(camera, np.stack([arrow.start, arrow.tip]))
        if np.isfinite(ends).all():
            colour = tuple(int(value) for value in arrow.colour)
            draw_arrow(canvas, ends[0], ends[1], colour, 2.6 * unit, 0.8 * unit)
    for text in texts:
        place = pixels_of(camera, text.place[None])[0]
        if np.isfinite(place).all():
            canvas = write_label(canvas, text.words, (float(place[0]), float(place[1])), TEXT_SIZE * unit)
    return canvas
