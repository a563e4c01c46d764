"""What sheets of pictures are put together from: views of meshes, text, the axes of obj.

In: meshes and numbers in obj. Out: (H, W, 3) uint8.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from uop3d_core.geometry import Array, rigid
from uop3d_core.report.overlay import AXES, draw_arrow
from uop3d_core.report.shading import ShadedMesh, blend
from uop3d_core.types import Camera

PAPER, INK, FAINT, WRONG = (250, 250, 248), (40, 40, 45), (150, 150, 155), (200, 40, 40)
CLAY = (206, 196, 180)
TILE, GAP = 200, 6
COMPASS = 26
"""Length of the little axes in the corner of a tile."""
EXTENT = 1.1
"""Object units across a tile."""
DISTANCE = 8.0


def look(right: Sequence[float] | Array, down: Sequence[float] | Array) -> Array:
    """cam_T_obj of a camera whose image x and y axes are these directions of obj, at DISTANCE from the origin."""
    x = np.array(right, dtype=np.float64) / np.linalg.norm(right)
    y = np.array(down, dtype=np.float64) / np.linalg.norm(down)
    return rigid(np.stack([x, y, np.cross(x, y)]), np.array([0, 0, DISTANCE]))


def tile_camera(side: int = TILE) -> Camera:
    """Of a square tile that shows EXTENT at the origin of obj, from far away."""
    focal = side * DISTANCE / EXTENT
    centre = (side - 1) / 2
    return Camera(np.array([[focal, 0, centre], [0, focal, centre], [0, 0, 1]]), side, side)


def draw_tile(mesh: ShadedMesh, view: Array, line: Array | None, side: int = TILE) -> Array:
    """A mesh on white as seen by cam_T_obj `view`, with an outline (side, side) of something else, if any."""
    brightness, coverage = mesh.draw(tile_camera(side), view)
    tile = np.full((side, side, 3), 255, np.uint8)
    tile = blend(tile, np.asarray(CLAY) * (0.25 + 0.85 * brightness[..., None]), coverage)
    return tile if line is None else blend(tile, (225, 60, 40), 0.8 * line)


def join(tiles: Sequence[Array]) -> Array:
    """Tiles of one height side by side, with gaps, and a gap below."""
    gap = np.full((tiles[0].shape[0], GAP, 3), PAPER, np.uint8)
    parts = [part for tile in tiles for part in (tile, gap)]
    row = np.concatenate(parts, axis=1)
    return np.concatenate([row, np.full((GAP, row.shape[1], 3), PAPER, np.uint8)])


def with_compass(tile: Array, view: Array) -> Array:
    """The axes of obj as they lie in the picture, in its lower left corner; one that points at the eye is a dot."""
    tile, side = tile.copy(), tile.shape[0]
    centre = np.array([COMPASS + 16.0, side - COMPASS - 16.0])
    for axis in np.argsort(-view[2, :3]):
        step = COMPASS * view[:2, axis]
        draw_arrow(tile, centre, centre + step, AXES[axis], 2.0)
        if np.linalg.norm(step) > 0.5 * COMPASS:
            x, y = centre + 1.35 * step
            tile = write(tile, "xyz"[axis], (round(x), round(y)), 12, AXES[axis], "mm")
    return tile


def write(image: Array, text: str, position: tuple[int, int], size: int, colour: tuple[int, ...], anchor: str) -> Array:
    """The image with text at (x, y); `anchor` as in PIL, e.g. "lm" for the left middle."""
    picture = Image.fromarray(image)
    ImageDraw.Draw(picture).text(position, text, font=ImageFont.load_default(size), fill=colour, anchor=anchor)
    return np.array(picture)
