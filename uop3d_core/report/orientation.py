"""The picture to choose the axes of obj from: what every choice would mean, captioned with the option to give.

In: the Template in obj as it is now, directions and rotations by the value of their option, photographs. Out: pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from uop3d_core.geometry import Array
from uop3d_core.report.shading import ShadedMesh
from uop3d_core.report.tiles import (
    FAINT,
    GAP,
    INK,
    PAPER,
    TILE,
    WRONG,
    draw_tile,
    join,
    look,
    with_compass,
    write,
)
from uop3d_core.types import Mesh, Sim3, Template

FALL = 0.25
"""How steeply cameras beside the thing look down, as rise over run."""
CAPTION, TEXT = 30, 40
PLAN = 2 * TILE + CAPTION


def side_view(direction: Array) -> Array:
    """cam_T_obj of a camera that stands in a horizontal direction (3,) of the thing and looks a little down on it."""
    x, y, _ = direction
    right = np.array([-y, x, 0])
    forward = np.array([-x, -y, -FALL])
    return look(right, np.cross(forward, right))


UPRIGHT = side_view(np.array([0.75, 0.66, 0]))
"""From the front left, a little above."""


def draw_orientation(
    template: Template, fronts: Mapping[str, Array], ups: Mapping[str, Array], photos: Mapping[str, Array]
) -> Array:
    """The sheet.

    Args:
        template: as it is now.
        fronts: (3,) horizontal directions of obj by the value of --front; the first one is the present front.
        ups: (3, 3) new_R_obj by the value of --up; the first one is the identity.
        photos: square pictures of one capture from these sides, by the value of --front; may be empty.
    """
    shape = ShadedMesh(template.mesh)
    tiles = [_front_tile(shape, name, direction, index == 0) for index, (name, direction) in enumerate(fronts.items())]
    if photos:
        blank = np.full((TILE, TILE, 3), PAPER, np.uint8)
        fitted = [
            cv2.resize(photos[n], (TILE, TILE), interpolation=cv2.INTER_AREA) if n in photos else blank for n in fronts
        ]
        tiles = [np.concatenate([tile, photo]) for tile, photo in zip(tiles, fitted, strict=True)]
    half = (len(tiles) + 1) // 2
    beside = np.concatenate([join(tiles[:half]), join(tiles[half:])])
    return _stacked(
        [
            _text("1  Which picture shows the FRONT of the thing? The option above it makes it the front:"),
            _side_by_side(_plan(shape, fronts), beside),
            _text("2  Which picture shows it UPRIGHT? If not the first one, give this option first and draw anew:"),
            join([_up_tile(template.mesh, name, R, index == 0) for index, (name, R) in enumerate(ups.items())]),
            _text('3  uop3d orient RUN --front ...    (or any angle, in degrees from "+x" towards "+y")'),
        ]
    )


def _front_tile(shape: ShadedMesh, name: str, direction: Array, present: bool) -> Array:
    view = side_view(direction)
    return np.concatenate([_caption(f"--front {name}", present), with_compass(draw_tile(shape, view, None), view)])


def _up_tile(mesh: Mesh, name: str, new_R_obj: Array, present: bool) -> Array:
    turned = ShadedMesh(mesh.transformed(Sim3(1.0, new_R_obj, np.zeros(3))))
    return np.concatenate([_caption(f"--up {name}", present), draw_tile(turned, UPRIGHT, None)])


def _plan(shape: ShadedMesh, fronts: Mapping[str, Array]) -> Array:
    """The thing from above, +x to the right, with the fronts written around it."""
    view = look([1, 0, 0], [0, -1, 0])
    plan, centre = draw_tile(shape, view, None, PLAN), (PLAN - 1) / 2
    for index, (name, direction) in enumerate(fronts.items()):
        x, y = centre + 0.43 * PLAN * direction[:2] * [1, -1]
        plan = write(plan, name, (round(x), round(y)), 19, WRONG if index == 0 else INK, "mm")
    return write(plan, "from above", (12, 16), 14, FAINT, "lm")


def _caption(text: str, present: bool) -> Array:
    caption = np.full((CAPTION, TILE, 3), PAPER, np.uint8)
    caption = write(caption, text, (4, CAPTION // 2), 17, WRONG if present else INK, "lm")
    return write(caption, "as it is now", (TILE - 4, CAPTION // 2), 13, FAINT, "rm") if present else caption


def _text(text: str) -> Array:
    return write(np.full((TEXT, 4 * TILE + PLAN, 3), PAPER, np.uint8), text, (8, TEXT // 2 + 4), 19, INK, "lm")


def _side_by_side(left: Array, right: Array) -> Array:
    high = max(left.shape[0], right.shape[0])
    padded = [_padded(part, high, part.shape[1] + GAP * (part is left)) for part in (left, right)]
    return np.concatenate(padded, axis=1)


def _stacked(parts: Sequence[Array]) -> Array:
    width = max(part.shape[1] for part in parts)
    return np.concatenate([_padded(part, part.shape[0], width) for part in parts])


def _padded(image: Array, height: int, width: int) -> Array:
    padded = np.full((height, width, 3), PAPER, np.uint8)
    padded[: image.shape[0], : image.shape[1]] = image
    return padded
