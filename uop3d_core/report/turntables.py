"""Things that turn once about the vertical axis of obj, as moving pictures.

In: meshes in obj, with colours of their vertices or without. Out: frames (H, W, 3) uint8 one after the other; a .gif or
.mp4 file of them (VP9, which browsers play, and which OpenCV's packages can write).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from uop3d_core.atomic import replaced
from uop3d_core.config import TurntableSettings
from uop3d_core.geometry import Array, transform
from uop3d_core.progress import Progress, silent
from uop3d_core.report.figures import check_ending
from uop3d_core.report.orientation import side_view
from uop3d_core.report.overlay import AXES, AXIS_LENGTH, draw_axes
from uop3d_core.report.shading import ShadedMesh, blend
from uop3d_core.report.tiles import CLAY, FAINT, INK, WRONG
from uop3d_core.types import Camera, Mesh

ENDINGS = (".gif", ".mp4")
PAPER = 255
MARGIN = 1.06
SAMPLES = 2
"""Rays along a pixel's side."""
GIF_COLOURS = 255
PALETTE_FRAMES = 6


@dataclass(frozen=True, eq=False)
class Piece:
    """A thing on a turntable.

    Attributes:
        mesh: in obj.
        colours: (V, 3) of its vertices, 0-255; None for clay.
        lit: whether light shades it; colours that mean something or come from photographs are hardly shaded.
        axes: whether the axes of obj are drawn.
        caption: below it.
        warn: whether the caption is a warning.
    """

    mesh: Mesh
    colours: Array | None = None
    lit: bool = True
    axes: bool = False
    caption: str = ""
    warn: bool = False


class Turntable:
    """Pieces side by side that turn together."""

    def __init__(self, pieces: Sequence[Piece], settings: TurntableSettings) -> None:
        """Prepare the meshes; a single piece takes the whole picture.

        Raises:
            ValueError: there are no pieces.
        """
        if not pieces:
            raise ValueError("a turntable needs at least one thing")
        self._pieces = [(piece, ShadedMesh(piece.mesh, SAMPLES)) for piece in pieces]
        self._columns = math.ceil(math.sqrt(len(pieces) * 4 / 3)) if len(pieces) > 1 else 1
        self._tile = max(48, settings.side // self._columns)
        self._text = max(11, round(self._tile / 16))
        self._settings, self._camera = settings, _fitting_camera(pieces, self._tile)

    @property
    def count(self) -> int:
        """Frames of one turn."""
        return max(2, round(self._settings.seconds * self._settings.rate))

    def frames(self, progress: Progress = silent) -> Iterator[Array]:
        """One turn, beginning at the front left."""
        for index in range(self.count):
            progress("frames", index, self.count)
            yield self.frame(np.deg2rad(30) + 2 * np.pi * index / self.count)
        progress("frames", self.count, self.count)

    def frame(self, azimuth: float) -> Array:
        """The picture from a direction, counted from the front of the pieces to their left; sides are even."""
        view = _view(azimuth)
        tiles = [self._drawn(piece, shape, view) for piece, shape in self._pieces]
        tiles += [np.full_like(tiles[0], PAPER)] * (-len(tiles) % self._columns)
        rows = [np.concatenate(tiles[i : i + self._columns], axis=1) for i in range(0, len(tiles), self._columns)]
        sheet = np.concatenate([*rows, self._legend(rows[0].shape[1])])
        return np.pad(sheet, ((0, sheet.shape[0] % 2), (0, sheet.shape[1] % 2), (0, 0)), constant_values=PAPER)

    def _drawn(self, piece: Piece, shape: ShadedMesh, view: Array) -> Array:
        camera = self._camera
        canvas = np.full((camera.height, camera.width, 3), PAPER, np.uint8)
        if piece.colours is None:
            brightness, coverage = shape.draw(camera, view)
            drawn = np.asarray(CLAY) * (0.25 + 0.85 * brightness[..., None])
        else:
            drawn, coverage = shape.paint(camera, view, piece.colours, 0.35 if piece.lit else 0.85)
        canvas = blend(canvas, drawn, coverage)
        if piece.axes:
            canvas = draw_axes(canvas, camera, view, max(1.5, self._tile / 150))
        return canvas if not any(each.caption for each, _ in self._pieces) else self._captioned(canvas, piece)

    def _captioned(self, canvas: Array, piece: Piece) -> Array:
        foot = Image.new("RGB", (self._tile, round(1.8 * self._text)), (PAPER,) * 3)
        font = ImageFont.load_default(self._text)
        at, colour = (self._tile / 2, foot.height / 2), WRONG if piece.warn else INK
        ImageDraw.Draw(foot).text(at, piece.caption, font=font, fill=colour, anchor="mm")
        return np.concatenate([canvas, np.array(foot)])

    def _legend(self, width: int) -> Array:
        """What the axes are; nothing where none are drawn."""
        if not any(piece.axes for piece, _ in self._pieces):
            return np.zeros((0, width, 3), np.uint8)
        size = max(12, round(width / 36))
        foot = Image.new("RGB", (width, 2 * size), (PAPER,) * 3)
        font, draw = ImageFont.load_default(size), ImageDraw.Draw(foot)
        for index, (name, colour) in enumerate(zip(("x front", "y left", "z up"), AXES, strict=True)):
            draw.text((width * (2 * index + 1) / 6, size), name, font=font, fill=colour, anchor="mm")
        draw.line((0, 0, width, 0), fill=FAINT)
        return np.array(foot)


def _view(azimuth: float) -> Array:
    """cam_T_obj."""
    return side_view(np.array([np.cos(azimuth), np.sin(azimuth), 0.0]))


def _fitting_camera(pieces: Sequence[Piece], width: int) -> Camera:
    """A camera that just sees all pieces, and their axes, from all sides; the axis of the turn is in the middle."""
    points = [piece.mesh.vertices for piece in pieces]
    if any(piece.axes for piece in pieces):
        points.append(AXIS_LENGTH * np.eye(3))
    every = np.concatenate(points)
    seen = np.concatenate([transform(_view(azimuth), every) for azimuth in np.arange(0, 2 * np.pi, np.pi / 12)])
    flat = seen[:, :2] / seen[:, 2:]
    right, top, bottom = np.abs(flat[:, 0]).max(), flat[:, 1].min(), flat[:, 1].max()
    focal = width / (2 * MARGIN * right)
    height = math.ceil(MARGIN * focal * (bottom - top))
    K = [[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2 - focal * (top + bottom) / 2], [0, 0, 1]]
    return Camera(np.array(K), width, height)


def write_turntable(path: Path, table: Turntable, settings: TurntableSettings, progress: Progress = silent) -> None:
    """Write one turn at once; a .gif repeats for ever.

    Raises:
        ValueError: another ending than ENDINGS.
        OSError: OpenCV cannot write such a video here.
    """
    check_ending(path, ENDINGS)
    with replaced(path) as draft:
        if path.suffix.lower() == ".gif":
            _write_gif(draft, table, settings, progress)
        else:
            _write_video(draft, table, settings, progress)


def _write_video(path: Path, table: Turntable, settings: TurntableSettings, progress: Progress) -> None:
    frames = table.frames(progress)
    first = next(frames)
    code = cv2.VideoWriter.fourcc(*"vp09")
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, code, settings.rate, first.shape[1::-1])
    if not writer.isOpened():
        raise OSError(f"{path.name}: this OpenCV cannot write VP9 videos: write a .gif instead")
    try:
        for frame in (first, *frames):
            writer.write(frame[..., ::-1])
    finally:
        writer.release()


def _write_gif(path: Path, table: Turntable, settings: TurntableSettings, progress: Progress) -> None:
    """With one palette for all frames, so that colours do not flicker."""
    step = 2 * np.pi / PALETTE_FRAMES
    sample = np.concatenate([table.frame(index * step) for index in range(PALETTE_FRAMES)])
    palette = Image.fromarray(sample).quantize(GIF_COLOURS, Image.Quantize.MEDIANCUT)
    frames = (
        Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)
        for frame in table.frames(progress)
    )
    hundredths = max(2, round(100 / settings.rate))
    next(frames).save(
        path, save_all=True, append_images=frames, duration=10 * hundredths, loop=0, optimize=False, disposal=1
    )
