"""Sheets of pictures: overlays side by side, all captures in the common frame, the template.

In: pictures, or an Alignment with the captures' meshes (world frame) and the Template (obj). Out: (H, W, 3) uint8.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from uop3d_core.atomic import replaced
from uop3d_core.geometry import Array, rigid
from uop3d_core.report.overlay import draw_axes
from uop3d_core.report.shading import ShadedMesh, blend, outline
from uop3d_core.types import Alignment, Camera, Mesh, Template

PAPER, INK, FAINT, WRONG = (250, 250, 248), (40, 40, 45), (150, 150, 155), (200, 40, 40)
CLAY = (206, 196, 180)
TILE, LABEL, HEADER, GAP = 200, 190, 36, 6
EXTENT = 1.1
"""Object units across a tile."""
DISTANCE = 8.0
MAX_ROWS = 12
"""More captures than this go into a further block of columns."""


def _look(right: Sequence[float], down: Sequence[float]) -> Array:
    """cam_T_obj of a camera whose image x and y axes are these directions of obj, at DISTANCE from the origin."""
    x = np.array(right, dtype=np.float64) / np.linalg.norm(right)
    y = np.array(down, dtype=np.float64) / np.linalg.norm(down)
    return rigid(np.stack([x, y, np.cross(x, y)]), np.array([0, 0, DISTANCE]))


VIEWS = {
    "front": _look([0, 1, 0], [0, 0, -1]),
    "left side": _look([-1, 0, 0], [0, 0, -1]),
    "top": _look([-1, 0, 0], [0, 1, 0]),
}
CORNER = _look([-1, 2, 0], [0.4, 0.2, -1])
"""From the front left, above."""


def write_image(path: Path, image: Array) -> None:
    """Write a picture at once; PNG or JPEG by the file's ending."""
    with replaced(path) as draft:
        Image.fromarray(image).save(draft, quality=92)


def contact_sheet(images: Sequence[Array], columns: int, gap: int = GAP) -> Array:
    """Pictures in rows of `columns`; each is fitted into a tile as large as the largest of them.

    Raises:
        ValueError: there are no pictures.
    """
    if not images:
        raise ValueError("a contact sheet needs at least one picture")
    height, width = (max(image.shape[i] for image in images) for i in (0, 1))
    columns = max(1, min(columns, len(images)))
    rows = math.ceil(len(images) / columns)
    sheet = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap, 3), PAPER, np.uint8)
    for index, image in enumerate(images):
        scale = min(height / image.shape[0], width / image.shape[1])
        if scale > 1.01:
            image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        y = gap + index // columns * (height + gap) + (height - image.shape[0]) // 2
        x = gap + index % columns * (width + gap) + (width - image.shape[1]) // 2
        sheet[y : y + image.shape[0], x : x + image.shape[1]] = image
    return sheet


def draw_alignment(alignment: Alignment, meshes: Mapping[str, Mesh], template: Template) -> Array:
    """Every capture from the same sides in the common frame, with the template's outline: one row per capture."""
    shape = ShadedMesh(template.mesh)
    lines = [outline(shape.draw(_tile_camera(), view)[1], 1.2) for view in VIEWS.values()]
    names = sorted(alignment.captures, key=lambda name: (not alignment.captures[name].accepted, name))
    rows = []
    for name in names:
        entry = alignment.captures[name]
        mesh = ShadedMesh(meshes[name].transformed(entry.obj_T_world))
        tiles = [_tile(mesh, view, line) for view, line in zip(VIEWS.values(), lines, strict=True)]
        notes = [f"agreement {entry.score:.2f}"]
        notes += ["reference"] if name == alignment.reference else []
        notes += [] if entry.accepted else ["rejected"]
        rows.append(_join([_label(name, notes, INK if entry.accepted else WRONG), *tiles]))
    blocks = []
    for start in range(0, len(rows), _rows_per_block(len(rows))):
        part = rows[start : start + _rows_per_block(len(rows))]
        blocks.append(np.concatenate([_header(), *part]))
    return _join_blocks(blocks)


def draw_template(alignment: Alignment, meshes: Mapping[str, Mesh], template: Template) -> Array:
    """The template from four sides with the axes of obj; the first three as in `draw_alignment`."""
    shape = ShadedMesh(template.mesh)
    titles, tiles = [*VIEWS, "front left, from above"], []
    for view in (*VIEWS.values(), CORNER):
        tile = _tile(shape, view, None, 2 * TILE)
        tiles.append(draw_axes(tile, _tile_camera(2 * TILE), view, 4.0))
    sheet = _join(tiles)
    header = np.full((HEADER, sheet.shape[1], 3), PAPER, np.uint8)
    for index, title in enumerate(titles):
        header = _write(header, title, (index * (2 * TILE + GAP) + TILE, HEADER // 2), 17, INK, "mm")
    return np.concatenate([header, sheet])


def _rows_per_block(rows: int) -> int:
    return math.ceil(rows / math.ceil(rows / MAX_ROWS))


def _tile_camera(side: int = TILE) -> Camera:
    focal = side * DISTANCE / EXTENT
    centre = (side - 1) / 2
    return Camera(np.array([[focal, 0, centre], [0, focal, centre], [0, 0, 1]]), side, side)


def _tile(mesh: ShadedMesh, view: Array, line: Array | None, side: int = TILE) -> Array:
    brightness, coverage = mesh.draw(_tile_camera(side), view)
    tile = np.full((side, side, 3), 255, np.uint8)
    tile = blend(tile, np.asarray(CLAY) * (0.25 + 0.85 * brightness[..., None]), coverage)
    return tile if line is None else blend(tile, (225, 60, 40), 0.8 * line)


def _join(tiles: Sequence[Array]) -> Array:
    """Tiles of one height side by side, with gaps, and a gap below."""
    gap = np.full((tiles[0].shape[0], GAP, 3), PAPER, np.uint8)
    parts = [part for tile in tiles for part in (tile, gap)]
    row = np.concatenate(parts, axis=1)
    return np.concatenate([row, np.full((GAP, row.shape[1], 3), PAPER, np.uint8)])


def _join_blocks(blocks: Sequence[Array]) -> Array:
    height = max(block.shape[0] for block in blocks)
    padded = [np.pad(b, ((0, height - b.shape[0]), (0, 0), (0, 0)), constant_values=PAPER[0]) for b in blocks]
    return np.concatenate(padded, axis=1)


def _header() -> Array:
    width = LABEL + GAP + len(VIEWS) * (TILE + GAP)
    header = np.full((HEADER, width, 3), PAPER, np.uint8)
    for index, title in enumerate(VIEWS):
        x = LABEL + GAP + index * (TILE + GAP) + TILE // 2
        header = _write(header, title, (x, HEADER // 2), 17, INK, "mm")
    return _write(header, "red line: template", (12, HEADER // 2), 14, WRONG, "lm")


def _label(name: str, notes: Sequence[str], colour: tuple[int, ...]) -> Array:
    label = np.full((TILE, LABEL, 3), PAPER, np.uint8)
    label = _write(label, name if len(name) <= 18 else name[:17] + "…", (12, TILE // 2 - 22), 17, colour, "lm")
    for index, note in enumerate(notes):
        tone = WRONG if note == "rejected" else FAINT
        label = _write(label, note, (12, TILE // 2 + 4 + 20 * index), 14, tone, "lm")
    return label


def _write(
    image: Array, text: str, position: tuple[int, int], size: int, colour: tuple[int, ...], anchor: str
) -> Array:
    picture = Image.fromarray(image)
    ImageDraw.Draw(picture).text(position, text, font=ImageFont.load_default(size), fill=colour, anchor=anchor)
    return np.array(picture)
