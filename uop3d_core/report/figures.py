"""Figures for papers: pictures side by side at print resolution, captions below them, a legend at the foot.

In: images with their cameras, poses, places on the template. Out: (H, W, 3) uint8, written with its resolution.
Lengths in print are points (1/72 inch); x (front) is red, y (left) green, z (up) blue.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from uop3d_core.atomic import replaced
from uop3d_core.config import PictureSettings
from uop3d_core.geometry import Array
from uop3d_core.report.overlay import (
    AXES,
    BOX,
    DARK,
    EDGE,
    NO_POSE,
    draw_arrow,
    draw_axes,
    draw_box,
    draw_shape,
    write_label,
)
from uop3d_core.report.shading import ShadedMesh
from uop3d_core.types import Camera, PoseEstimate

PAPER, INK, REJECTED = (255, 255, 255), (35, 35, 40), (190, 30, 30)
FONT, SMALL = 7.0, 6.0
GAP = 4.0
ENDINGS = (".png", ".jpg", ".jpeg", ".pdf", ".tif", ".tiff")
AXIS_NAMES = ("x front", "y left", "z up")


@dataclass(frozen=True, eq=False)
class Panel:
    """One picture of a figure.

    Attributes:
        picture: (H, W, 3) uint8.
        caption: below it.
        warn: whether the caption is a warning.
    """

    picture: Array
    caption: str = ""
    warn: bool = False


@dataclass(frozen=True, eq=False)
class Key:
    """An entry of a legend.

    Attributes:
        text: what it means.
        colour: of its sign.
        sign: "arrow", "line", "box" or "" for none.
        picture: (H, W, 3) uint8 instead of a sign.
    """

    text: str
    colour: tuple[int, ...] = INK
    sign: str = ""
    picture: Array | None = None


AXIS_KEYS = tuple(Key(name, colour, "arrow") for name, colour in zip(AXIS_NAMES, AXES, strict=True))


def print_width(settings: PictureSettings) -> int:
    """Pixels across the figure."""
    return round(settings.width_mm / 25.4 * settings.dpi)


def panel_width(settings: PictureSettings, panels: int) -> int:
    """Pixels across one of so many pictures."""
    columns = max(1, min(settings.columns, panels))
    return (print_width(settings) - (columns - 1) * _gap(settings)) // columns


def _gap(settings: PictureSettings) -> int:
    return round(GAP * point(settings))


def point(settings: PictureSettings) -> float:
    """Pixels of a point in print."""
    return settings.dpi / 72


def windowed(image: Array, camera: Camera, box: Array | None, width: int) -> tuple[Array, Camera]:
    """An image as a picture `width` pixels wide with its camera.

    Given a box (4,) xyxy, the square around it is shown, moved so that it lies in the image; all of the image where it
    is larger than that.
    """
    side = 0 if box is None else max(2, math.ceil(float(max(box[2:] - box[:2]))))
    if box is not None and side <= min(camera.width, camera.height):
        size = np.array([camera.width, camera.height])
        left, top = np.clip(np.rint((box[:2] + box[2:] + 1 - side) / 2).astype(int), 0, size - side).tolist()
        image = image[top : top + side, left : left + side]
        K = camera.K - np.array([[0, 0, left], [0, 0, top], [0, 0, 0]])
        camera = replace(camera, K=K, width=side, height=side)
    height = max(1, round(width * camera.height / camera.width))
    fx, fy = width / camera.width, height / camera.height
    how = cv2.INTER_CUBIC if fx > 1 else cv2.INTER_AREA
    K = np.array([[fx, 0, (fx - 1) / 2], [0, fy, (fy - 1) / 2], [0, 0, 1.0]]) @ camera.K
    return cv2.resize(image, (width, height), interpolation=how), replace(camera, K=K, width=width, height=height)


def draw_poses(
    canvas: Array,
    camera: Camera,
    shape: ShadedMesh,
    estimates: Sequence[PoseEstimate],
    boxes: Sequence[Array],
    unit: float,
    fill: float,
) -> Array:
    """The template's contour and axes at estimated poses, the far ones first; boxes where no pose was found.

    Args:
        canvas: picture.
        camera: of the picture.
        shape: the template.
        estimates: in the camera.
        boxes: (4,) of theirs, in the picture.
        unit: pixels of a point in print.
        fill: how much the template's surface covers, 0 to 1.
    """
    for estimate, box in sorted(zip(estimates, boxes, strict=True), key=lambda pair: -pair[0].cam_T_obj[2, 3]):
        if estimate.found:
            canvas = draw_shape(canvas, shape, camera, estimate.cam_T_obj, 0.9 * unit, fill)
            canvas = draw_axes(canvas, camera, estimate.cam_T_obj, 1.3 * unit)
            text = f"{estimate.score:.2f}" if np.isfinite(estimate.score) else ""
        else:
            text = "no pose"
        if text:
            draw_box(canvas, box, BOX if estimate.found else NO_POSE, 0.5 * unit)
            canvas = write_label(canvas, text, (float(box[0]), float(box[1])), SMALL * unit)
    return canvas


def pose_keys(scored: bool, fill: float) -> list[Key]:
    """The legend of `draw_poses`."""
    keys = [*AXIS_KEYS, Key("template at the pose" if fill else "contour of the template", EDGE, "line")]
    return [*keys, Key("box that was given; probability of the pose", BOX, "box")] if scored else keys


def compose(panels: Sequence[Panel], keys: Sequence[Key], settings: PictureSettings) -> Array:
    """The figure: panels row by row, the legend below.

    Raises:
        ValueError: there are no panels.
    """
    if not panels:
        raise ValueError("a figure needs at least one picture")
    width, gap = print_width(settings), _gap(settings)
    columns = max(1, min(settings.columns, len(panels)))
    across = panel_width(settings, len(panels))
    rows = []
    for start in range(0, len(panels), columns):
        part = [_captioned(panel, across, settings) for panel in panels[start : start + columns]]
        row = np.full((max(tile.shape[0] for tile in part), width, 3), PAPER, np.uint8)
        for index, tile in enumerate(part):
            x = index * (across + gap)
            row[: tile.shape[0], x : x + across] = tile
        rows += [row, np.full((gap, width, 3), PAPER, np.uint8)]
    return np.concatenate([*rows, legend(keys, width, settings)])


def _captioned(panel: Panel, width: int, settings: PictureSettings) -> Array:
    if panel.picture.shape[1] != width:
        raise ValueError(f"a picture of this figure must be {width} pixels wide, got {panel.picture.shape[1]}")
    if not panel.caption:
        return panel.picture
    unit = point(settings)
    foot = Image.new("RGB", (width, round(1.7 * FONT * unit)), PAPER)
    font = ImageFont.load_default(FONT * unit)
    text = _fitted(panel.caption, width, font)
    at = (width / 2, foot.height / 2)
    ImageDraw.Draw(foot).text(at, text, font=font, fill=REJECTED if panel.warn else INK, anchor="mm")
    return np.concatenate([panel.picture, np.array(foot)])


def _fitted(text: str, width: float, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """The text, cut off where it is wider."""
    shown = text
    while shown and font.getlength(shown + ("…" if shown != text else "")) > width:
        shown = shown[:-1]
    return shown if shown == text else shown + "…"


def legend(keys: Sequence[Key], width: int, settings: PictureSettings) -> Array:
    """Entries in a row, and in further rows where they do not fit; (H, width, 3)."""
    entries = [_entry(key, width, settings) for key in keys]
    space = round(2.5 * GAP * point(settings))
    rows: list[list[Array]] = []
    used = 0
    for entry in entries:
        if not rows or used + entry.shape[1] > width:
            rows.append([])
            used = 0
        rows[-1].append(entry)
        used += entry.shape[1] + space
    parts = []
    for row in rows:
        sheet = np.full((max(entry.shape[0] for entry in row), width, 3), PAPER, np.uint8)
        x = 0
        for entry in row:
            top = (sheet.shape[0] - entry.shape[0]) // 2
            sheet[top : top + entry.shape[0], x : x + entry.shape[1]] = entry
            x += entry.shape[1] + space
        parts.append(sheet)
    return np.concatenate(parts) if parts else np.zeros((0, width, 3), np.uint8)


def _entry(key: Key, most: int, settings: PictureSettings) -> Array:
    unit = point(settings)
    font = ImageFont.load_default(FONT * unit)
    sign = 16 * unit if key.picture is None else key.picture.shape[1]
    if key.picture is None and not key.sign:
        sign = -3 * unit
    text = _fitted(key.text, most - sign - 4 * unit, font)
    height = max(1.9 * FONT * unit, 0 if key.picture is None else key.picture.shape[0])
    size = (min(most, math.ceil(sign + 3 * unit + font.getlength(text))), math.ceil(height))
    image = Image.new("RGB", size, PAPER)
    ImageDraw.Draw(image).text((sign + 3 * unit, height / 2), text, font=font, fill=INK, anchor="lm")
    entry = np.array(image)
    y = height / 2
    if key.picture is not None:
        top = (entry.shape[0] - key.picture.shape[0]) // 2
        entry[top : top + key.picture.shape[0], : key.picture.shape[1]] = key.picture
    elif key.sign == "arrow":
        draw_arrow(entry, np.array([unit, y]), np.array([15 * unit, y]), key.colour, 1.3 * unit)
    elif key.sign == "line":
        start, end = (round(unit), round(y)), (round(15 * unit), round(y))
        cv2.line(entry, start, end, DARK, max(1, round(2.6 * unit)), cv2.LINE_AA)
        cv2.line(entry, start, end, key.colour, max(1, round(1.4 * unit)), cv2.LINE_AA)
    elif key.sign == "box":
        draw_box(entry, np.array([2 * unit, y - 4 * unit, 14 * unit, y + 4 * unit]), key.colour, 0.5 * unit)
    return entry


def write_figure(path: Path, figure: Array, settings: PictureSettings) -> None:
    """Write a figure at once with its resolution; the kind of file by its ending.

    Raises:
        ValueError: another ending than ENDINGS.
    """
    check_ending(path, ENDINGS)
    with replaced(path) as draft:
        Image.fromarray(figure).save(draft, dpi=(settings.dpi, settings.dpi), quality=94, resolution=settings.dpi)


def check_ending(path: Path, endings: Sequence[str]) -> None:
    """Raise ValueError where a picture cannot be written under this name."""
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: give a file, e.g. {path / f'picture{endings[0]}'}")
    if path.suffix.lower() not in endings:
        raise ValueError(f"{path}: the name must end with {', '.join(endings[:-1])} or {endings[-1]}")
