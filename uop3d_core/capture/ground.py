"""What the support plane looks like without the object, and which pixels therefore do not show it.

In: crops of pictures with cameras, the plane, and roughly where the object is (world frame). Out: per crop, how much
each pixel differs from the plane as the other pictures show it. The plane is seen where the object hides it from other
sides, so the median over the pictures is the plane alone; its shadows lie still and are part of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from uop3d_core.cameras import pixels_of, rays_through
from uop3d_core.geometry import Array, transform
from uop3d_core.types import Camera

CELLS = 144
"""Samples along the side of the piece of plane that is looked at."""
REACH = 3.0
"""Half the side of that piece, in half extents of the object's box."""
LEAST_VIEWS = 7
NOISE = 8.0
"""Grey levels by which pictures of the same thing differ at least."""


@dataclass(frozen=True, eq=False)
class Ground:
    """A square piece of the support plane.

    Attributes:
        origin: (3,) its middle, world frame.
        axes: (2, 3) unit vectors along its sides.
        half: half its side.
        plane: (4,) normal . x + d = 0.
    """

    origin: Array
    axes: Array
    half: float
    plane: Array

    @property
    def points(self) -> Array:
        """(CELLS, CELLS, 3) its samples."""
        steps = np.linspace(-self.half, self.half, CELLS)
        return self.origin + steps[None, :, None] * self.axes[0] + steps[:, None, None] * self.axes[1]

    def cells(self, camera: Camera, cam_T_world: Array, pixels: Array) -> Array:
        """(..., 2) float32 sample coordinates at which rays through (..., 2) pixels meet the plane; -1 where none."""
        R, t = cam_T_world[:3, :3], cam_T_world[:3, 3]
        rays = _rays(camera, pixels) @ R
        eye = -R.T @ t
        with np.errstate(divide="ignore", invalid="ignore"):
            along = -(self.plane[:3] @ eye + self.plane[3]) / (rays @ self.plane[:3])
        met = np.isfinite(along) & (along > 0)
        places = eye + np.where(met, along, 0)[..., None] * np.where(met[..., None], rays, 0) - self.origin
        cells = (places @ self.axes.T / self.half + 1) / 2 * (CELLS - 1)
        return np.where(met[..., None], cells, -1).astype(np.float32)


def _rays(camera: Camera, pixels: Array) -> Array:
    """Directions (..., 3) in cam through (..., 2) pixels; fast, and exact enough for lenses that bend little."""
    if camera.lens != "brown":
        return rays_through(camera, pixels)
    flat = cv2.undistortPoints(pixels.reshape(-1, 1, 2).astype(np.float64), camera.K, camera.distortion)
    return np.concatenate([flat[:, 0], np.ones((len(flat), 1))], axis=1).reshape(*pixels.shape[:-1], 3)


def plain_ground(
    ground: Ground, images: Sequence[Array], pixels: Sequence[Array], hidden: Sequence[Array]
) -> tuple[Array, Array]:
    """Colours (CELLS, CELLS, 3) of the plane without the object, and how much pictures differ on them (CELLS, CELLS).

    Args:
        ground: the piece of plane.
        images: (h, w, 3) uint8 crops.
        pixels: per crop, (CELLS, CELLS, 2) float32 pixels of the ground's points, NaN where not seen.
        hidden: per crop, (h, w) bool where the object may be.

    Returns:
        Float32; NaN where fewer than LEAST_VIEWS pictures show the plane.
    """
    layers = np.full((len(images), CELLS, CELLS, 3), np.nan, np.float32)
    for layer, image, uv, cover in zip(layers, images, pixels, hidden, strict=True):
        x, y = np.nan_to_num(uv[..., 0], nan=-9), np.nan_to_num(uv[..., 1], nan=-9)
        seen = (x >= 0) & (y >= 0) & (x <= image.shape[1] - 1) & (y <= image.shape[0] - 1)
        colours = cv2.remap(image, x, y, cv2.INTER_LINEAR).astype(np.float32)
        seen &= cv2.remap(cover.astype(np.uint8), x, y, cv2.INTER_NEAREST) == 0
        layer[seen] = colours[seen]
    colour = _median(layers)
    return colour, _median(np.abs(layers - colour).max(-1))


def _median(layers: Array) -> Array:
    """The median (...) of those of (V, ...) values that are not NaN; NaN where they are fewer than LEAST_VIEWS."""
    counts = np.isfinite(layers).sum(0)
    ordered = np.sort(layers, axis=0)  # NaN last
    middle = np.take_along_axis(ordered, np.maximum(counts - 1, 0)[None] // 2, axis=0)[0]
    return np.where(counts >= LEAST_VIEWS, middle, np.nan).astype(np.float32)


def unlike_ground(image: Array, cells: Array, colour: Array, spread: Array) -> Array:
    """(h, w) float32: by how many usual deviations a crop differs from the plane; NaN where that is not known.

    The least difference to the plane within one sample counts, so that small errors of cameras do no harm.
    """
    known = np.isfinite(spread)
    filled = np.where(known[..., None], colour, 0).astype(np.float32)
    kernel = np.ones((3, 3), np.uint8)
    low, high = cv2.erode(np.where(known[..., None], filled, 255), kernel), cv2.dilate(filled, kernel)
    low, high = (cv2.remap(side, cells[..., 0], cells[..., 1], cv2.INTER_LINEAR) for side in (low, high))
    scale = cv2.remap(np.where(known, spread, 0).astype(np.float32), cells[..., 0], cells[..., 1], cv2.INTER_LINEAR)
    valid = cv2.remap(known.astype(np.float32), cells[..., 0], cells[..., 1], cv2.INTER_LINEAR) > 0.99
    values = image.astype(np.float32)
    off = np.maximum(np.maximum(low - values, values - high), 0).max(-1)
    result = cv2.blur(off / (1.5 * scale + NOISE), (3, 3))
    return np.where(valid, result, np.nan).astype(np.float32)


def pixels_on(ground: Ground, camera: Camera, cam_T_world: Array, origin: Array, step: float) -> Array:
    """(CELLS, CELLS, 2) float32 pixels of a crop at which it shows the ground's points; NaN behind the camera."""
    uv = pixels_of(camera, transform(cam_T_world, ground.points.reshape(-1, 3)))
    return ((uv - origin) / step).reshape(CELLS, CELLS, 2).astype(np.float32)
