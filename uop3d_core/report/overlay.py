"""Poses drawn into images: the template shaded and outlined, its axes, the box and the score.

In: image, Camera and PoseEstimates (cam_T_obj). Out: a picture (H', W', 3) uint8, small images enlarged.
The x axis (front) is red, y (left) green, z (up) blue.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from uop3d_core.cameras import pixels_of
from uop3d_core.geometry import Array, transform
from uop3d_core.report.shading import ShadedMesh, blend, outline
from uop3d_core.types import Camera, PoseEstimate, Template

FILL, FILL_ALPHA = (255, 205, 90), 0.55
EDGE = (255, 245, 200)
DARK = (25, 25, 30)
BOX, NO_POSE = (240, 240, 240), (255, 90, 90)
AXES = ((232, 48, 48), (40, 190, 60), (60, 110, 255))
AXIS_LENGTH = 0.5
MIN_SIDE = 512
"""Smaller images are enlarged to about this, so that lines and letters have room."""


class Overlay:
    """Draws estimates of one category.

    Examples:
        >>> from uop3d_core import Camera, Detection, Frame, Overlay, PoseEstimator, read_rgb
        >>> estimator = PoseEstimator.load("runs/mug/model.safetensors")
        >>> camera = Camera(K=[[115, 0, 47.5], [0, 115, 47.5], [0, 0, 1]], width=96, height=96)
        >>> frame = Frame("photo", camera, read_rgb("photo.jpg"))
        >>> estimates = estimator(frame, [Detection([20, 15, 75, 80])])
        >>> picture = Overlay(estimator.model.template).draw(frame.image, camera, estimates)
        >>> picture.shape  # small images are enlarged
        (480, 480, 3)
    """

    def __init__(self, template: Template) -> None:
        """Prepare the template."""
        self._shape = ShadedMesh(template.mesh)

    def draw(self, image: Array, camera: Camera, estimates: Sequence[PoseEstimate]) -> Array:
        """Draw estimates into an image; the far ones first."""
        factor = max(1, round(MIN_SIDE / max(camera.width, camera.height)))
        camera, canvas = enlarged(camera, factor), enlarge(image, factor)
        for estimate in sorted(estimates, key=lambda e: -e.cam_T_obj[2, 3]):
            canvas = self._draw_one(canvas, camera, estimate, factor)
        return canvas

    def draw_pose(self, canvas: Array, camera: Camera, cam_T_obj: Array, bold: float = 1.0) -> Array:
        """Lay the template and its axes over a picture of the camera; lines are `bold` times as wide as usual."""
        unit = bold * max(camera.width, camera.height) / MIN_SIDE
        canvas = draw_shape(canvas, self._shape, camera, cam_T_obj, 1.6 * unit)
        return draw_axes(canvas, camera, cam_T_obj, 2.6 * unit)

    def _draw_one(self, canvas: Array, camera: Camera, estimate: PoseEstimate, factor: int) -> Array:
        unit = max(camera.width, camera.height) / MIN_SIDE
        box = (np.asarray(estimate.detection.bbox_xyxy) + 0.5) * factor - 0.5
        if estimate.found:
            canvas = self.draw_pose(canvas, camera, estimate.cam_T_obj)
            text = f"{estimate.detection.label} {estimate.score:.2f}".strip()
        else:
            text = f"{estimate.detection.label}: no pose".strip(": ")
        draw_box(canvas, box, BOX if estimate.found else NO_POSE, unit)
        return write_label(canvas, text, (float(box[0]), float(box[1])), 15 * unit)


def enlarge(image: Array, factor: int) -> Array:
    """The image `factor` times as large."""
    if factor == 1:
        return image.copy()
    return cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)


def enlarged(camera: Camera, factor: int) -> Camera:
    """The camera of an enlarged image; pixel centres stay at integers."""
    half = (factor - 1) / 2
    K = np.array([[factor, 0, half], [0, factor, half], [0, 0, 1.0]]) @ camera.K
    return replace(camera, K=K, width=camera.width * factor, height=camera.height * factor)


def draw_shape(
    canvas: Array, shape: ShadedMesh, camera: Camera, cam_T_obj: Array, line: float, fill: float = FILL_ALPHA
) -> Array:
    """Lay a shaded mesh, transparent but for the part `fill`, and its outline over the canvas."""
    brightness, coverage = shape.draw(camera, cam_T_obj)
    canvas = blend(canvas, np.asarray(FILL) * brightness[..., None], fill * coverage) if fill else canvas
    canvas = blend(canvas, DARK, 0.75 * outline(coverage, 2.2 * line))
    return blend(canvas, EDGE, outline(coverage, line))


def draw_axes(canvas: Array, camera: Camera, cam_T_obj: Array, line: float) -> Array:
    """Draw the axes of obj as arrows with a dark border, the one that points away first."""
    tips_cam = transform(cam_T_obj, np.vstack([np.zeros(3), AXIS_LENGTH * np.eye(3)]))
    if tips_cam[:, 2].min() <= 1e-3:
        return canvas
    pixels = pixels_of(camera, tips_cam)
    canvas = canvas.copy()
    for axis in np.argsort(-tips_cam[1:, 2]):
        for colour, width in ((DARK, line + max(1.5, 0.6 * line)), (AXES[axis], line)):
            _arrow(canvas, pixels[0], pixels[axis + 1], colour, width, line)
    cv2.circle(canvas, _fixed(pixels[0]), _fixed_length(1.3 * line), DARK, -1, cv2.LINE_AA, SHIFT)
    cv2.circle(canvas, _fixed(pixels[0]), _fixed_length(0.8 * line), (255, 255, 255), -1, cv2.LINE_AA, SHIFT)
    return canvas


def draw_arrow(
    canvas: Array, start: Array, tip: Array, colour: tuple[int, ...], line: float, border: float = 0.0
) -> None:
    """Draw an arrow of `line` pixels' width in place, with a dark border around it where one is wanted."""
    if border:
        _arrow(canvas, start, tip, DARK, line + 2 * border, line)
    _arrow(canvas, start, tip, colour, line, line)


SHIFT = 4
"""Fractional bits of coordinates given to OpenCV."""


def _fixed(pixel: Array) -> tuple[int, int]:
    x, y = np.clip(np.rint(pixel * 2**SHIFT), -(2**20), 2**20).astype(int)
    return int(x), int(y)


def _fixed_length(length: float) -> int:
    return max(1, round(length * 2**SHIFT))


def _arrow(canvas: Array, start: Array, tip: Array, colour: tuple[int, ...], width: float, line: float) -> None:
    """A line of `width` pixels with a head sized by `line`; the head grows with the width as a border would."""
    along = tip - start
    length = float(np.linalg.norm(along))
    border = (width - line) / 2
    if length < 1e-6:
        return
    along /= length
    across = np.array([-along[1], along[0]])
    head = min(4.5 * line, 0.6 * length)
    base = tip - head * along
    corners = [tip + 2.2 * border * along, base - border * along + (0.5 * head + 1.6 * border) * across]
    corners.append(base - border * along - (0.5 * head + 1.6 * border) * across)
    side = width / 2 * across
    for polygon in ([start - side, start + side, base + side, base - side], corners):
        points = np.array([_fixed(corner) for corner in polygon], dtype=np.int32)
        cv2.fillPoly(canvas, [points], colour, cv2.LINE_AA, SHIFT)


def draw_box(canvas: Array, box: Array, colour: tuple[int, ...], unit: float) -> None:
    """Draw the edges of an xyxy box, in place."""
    corners = _fixed(box[:2]), _fixed(box[2:])
    for tone, width in ((DARK, 3 * unit), (colour, 1.2 * unit)):
        cv2.rectangle(canvas, *corners, tone, max(1, round(width)), cv2.LINE_AA, SHIFT)


def write_label(canvas: Array, text: str, corner: tuple[float, float], size: float) -> Array:
    """Write text on a dark plate that stands on the box's upper left corner, or inside where there is no room."""
    if not text:
        return canvas
    picture = Image.fromarray(canvas)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(max(8.0, size))
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    pad = 0.3 * size
    width, height = right - left + 2 * pad, bottom - top + 2 * pad
    x = min(max(corner[0], 0), max(0, canvas.shape[1] - width))
    y = corner[1] - height if corner[1] >= height else max(corner[1], 0)
    y = min(y, canvas.shape[0] - height)
    draw.rectangle((x, y, x + width, y + height), fill=DARK)
    draw.text((x + pad - left, y + pad - top), text, font=font, fill=(255, 255, 255))
    return np.array(picture)
