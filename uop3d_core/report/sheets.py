"""Sheets of pictures: overlays side by side, all captures in the common frame, the template.

In: pictures, or an Alignment with the captures' meshes (world frame) and the Template (obj). Out: (H, W, 3) uint8.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from uop3d_core.atomic import replaced
from uop3d_core.geometry import Array
from uop3d_core.report.overlay import draw_axes
from uop3d_core.report.shading import ShadedMesh, outline
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
    tile_camera,
    with_compass,
    write,
)
from uop3d_core.types import Alignment, CaptureAlignment, Mesh, Template

LABEL, HEADER = 190, 36
NOTE_CHARACTERS, NOTE_LINES = 31, 7
MAX_ROWS = 12
"""More captures than this go into a further block of columns."""


VIEWS = {
    "front": look([0, 1, 0], [0, 0, -1]),
    "left side": look([-1, 0, 0], [0, 0, -1]),
    "top": look([-1, 0, 0], [0, 1, 0]),
}
CORNER = look([-1, 2, 0], [0.4, 0.2, -1])
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
    lines = [outline(shape.draw(tile_camera(), view)[1], 1.2) for view in VIEWS.values()]
    names = sorted(alignment.captures, key=lambda name: (not alignment.captures[name].accepted, name))
    rows = []
    for name in names:
        entry = alignment.captures[name]
        mesh = ShadedMesh(meshes[name].transformed(entry.obj_T_world))
        tiles = [with_compass(draw_tile(mesh, v, line), v) for v, line in zip(VIEWS.values(), lines, strict=True)]
        rows.append(join([_label(name, entry, name == alignment.reference), *tiles]))
    blocks = []
    for start in range(0, len(rows), _rows_per_block(len(rows))):
        part = rows[start : start + _rows_per_block(len(rows))]
        blocks.append(np.concatenate([_header(), *part]))
    return _with_warnings(_join_blocks(blocks), alignment.warnings)


def draw_template(alignment: Alignment, meshes: Mapping[str, Mesh], template: Template) -> Array:
    """The template from four sides with the axes of obj; the first three as in `draw_alignment`."""
    shape = ShadedMesh(template.mesh)
    titles, tiles = [*VIEWS, "front left, from above"], []
    for view in (*VIEWS.values(), CORNER):
        tile = draw_tile(shape, view, None, 2 * TILE)
        tiles.append(draw_axes(tile, tile_camera(2 * TILE), view, 4.0))
    sheet = join(tiles)
    header = np.full((HEADER, sheet.shape[1], 3), PAPER, np.uint8)
    for index, title in enumerate(titles):
        header = write(header, title, (index * (2 * TILE + GAP) + TILE, HEADER // 2), 17, INK, "mm")
    return np.concatenate([header, sheet])


def _rows_per_block(rows: int) -> int:
    return math.ceil(rows / math.ceil(rows / MAX_ROWS))


def _join_blocks(blocks: Sequence[Array]) -> Array:
    height = max(block.shape[0] for block in blocks)
    padded = [np.pad(b, ((0, height - b.shape[0]), (0, 0), (0, 0)), constant_values=PAPER[0]) for b in blocks]
    return np.concatenate(padded, axis=1)


def _header() -> Array:
    width = LABEL + GAP + len(VIEWS) * (TILE + GAP)
    header = np.full((HEADER, width, 3), PAPER, np.uint8)
    for index, title in enumerate(VIEWS):
        x = LABEL + GAP + index * (TILE + GAP) + TILE // 2
        header = write(header, title, (x, HEADER // 2), 17, INK, "mm")
    return write(header, "red line: template", (12, HEADER // 2), 14, WRONG, "lm")


def _label(name: str, entry: CaptureAlignment, is_reference: bool) -> Array:
    label = np.full((TILE, LABEL, 3), PAPER, np.uint8)
    colour = INK if entry.accepted else WRONG
    label = write(label, name if len(name) <= 18 else name[:17] + "…", (12, 24), 17, colour, "lm")
    notes = [f"agreement {entry.score:.2f}"]
    notes += [] if entry.probability is None else [f"within 30°: {entry.probability:.0%}"]
    notes += ["reference"] if is_reference else []
    for index, note in enumerate(notes):
        label = write(label, note, (12, 50 + 19 * index), 14, FAINT, "lm")
    if not entry.accepted:
        reason = textwrap.wrap(f"rejected: {entry.reason}" if entry.reason else "rejected", NOTE_CHARACTERS)
        shown = [*reason[: NOTE_LINES - 1], reason[NOTE_LINES - 1] + " …"] if len(reason) > NOTE_LINES else reason
        for index, note in enumerate(shown):
            label = write(label, note, (12, 52 + 19 * len(notes) + 14 * index), 11, WRONG, "lm")
    return label


def _with_warnings(sheet: Array, warnings: Sequence[str]) -> Array:
    """The sheet with the warnings below it."""
    lines = [line for text in warnings for line in textwrap.wrap(f"! {text}", max(40, sheet.shape[1] // 8))]
    if not lines:
        return sheet
    foot = np.full((20 * len(lines) + 2 * GAP, sheet.shape[1], 3), PAPER, np.uint8)
    for index, line in enumerate(lines):
        foot = write(foot, line, (12, GAP + 10 + 20 * index), 14, WRONG, "lm")
    return np.concatenate([sheet, foot])
