"""Square crops around boxes, as virtual cameras: exact geometry, whatever the real camera is like.

A crop is what a pinhole camera with square pixels sees that shares the real camera's centre of projection and looks at
the middle of the box. Poses in it differ from those in the real camera by a rotation. The object looks the same
wherever it is in the image, and lens distortion is gone.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from uop3d_core.cameras import pixels_of, rays_through
from uop3d_core.geometry import Array, pixel_rays, project, rotation_to
from uop3d_core.types import Camera

MIN_SIDE = 2.0
"""Smallest side of a box in image pixels; smaller ones are enlarged to it."""


@dataclass(frozen=True, eq=False)
class Crop:
    """A virtual camera with `pixels` x `pixels` pixels.

    Attributes:
        camera: the real one.
        cam_R_crop: (3, 3) rotation.
        focal: focal length in crop pixels.
        pixels: side of the crop; its principal point is in the middle.
    """

    camera: Camera
    cam_R_crop: Array
    focal: float
    pixels: int

    @classmethod
    def around(
        cls,
        camera: Camera,
        box: Array,
        pixels: int,
        margin: float = 1.2,
        *,
        shift: tuple[float, float] = (0.0, 0.0),
        zoom: float = 1.0,
        roll: float = 0.0,
    ) -> Crop:
        """Crop that looks at the centre of a box and is `margin` times as wide as its longer side.

        Args:
            camera: of the image.
            box: (4,) xyxy in pixels; may leave the image.
            pixels: side of the crop in its own pixels.
            margin: side of the crop over the longer side of the box.
            shift: moves the crop, in longer sides of the box.
            zoom: factor on the side of the crop.
            roll: in radians; its x axis turns towards its y axis.

        Raises:
            ValueError: the box lies where the camera sees nothing.
        """
        centre = (box[:2] + box[2:]) / 2
        half = np.maximum(box[2:] - box[:2], MIN_SIDE) / 2
        corners = centre + half * np.array([[0, 0], [-1, 0], [1, 0], [0, -1], [0, 1]])
        rays = rays_through(camera, corners)
        R = rotation_to(rays[0] / np.linalg.norm(rays[0]))
        seen = rays @ R
        if not (np.isfinite(seen).all() and (seen[:, 2] > 0).all()):
            raise ValueError(
                f"the box {np.round(box, 1).tolist()} reaches beyond what the camera can see; check it and the camera"
            )
        flat = seen[:, :2] / seen[:, 2:]
        side = float(np.ptp(flat, axis=0).max())
        if shift != (0.0, 0.0):
            aim = R @ np.array([shift[0] * side, shift[1] * side, 1.0])
            R = rotation_to(aim / np.linalg.norm(aim))
        c, s = np.cos(roll), np.sin(roll)
        turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
        return cls(camera, R @ turn, pixels / (side * margin * zoom), pixels)

    @property
    def K(self) -> Array:
        """(3, 3) intrinsics of the crop."""
        middle = (self.pixels - 1) / 2
        return np.array([[self.focal, 0, middle], [0, self.focal, middle], [0, 0, 1]])

    @property
    def cam_T_crop(self) -> Array:
        """(4, 4) rigid, without translation."""
        T = np.eye(4)
        T[:3, :3] = self.cam_R_crop
        return T

    def to_image(self, crop_pixels: Array) -> Array:
        """Map (..., 2) crop pixels to image pixels; NaN where the camera cannot see that way."""
        return pixels_of(self.camera, pixel_rays(self.K, crop_pixels) @ self.cam_R_crop.T)

    def to_crop(self, image_pixels: Array) -> Array:
        """Map (..., 2) image pixels to crop pixels; NaN behind the crop's camera."""
        return project(self.K, rays_through(self.camera, image_pixels) @ self.cam_R_crop)

    def in_image(self, crop_pixels: Array) -> Array:
        """(...) bool: which crop pixels (..., 2) lie inside the image."""
        with np.errstate(invalid="ignore"):
            pixels = self.to_image(crop_pixels)
            inside = (pixels > -0.5) & (pixels < [self.camera.width - 0.5, self.camera.height - 0.5])
        return np.asarray(inside.all(-1))

    def grid(self, cells: int) -> Array:
        """(cells * cells, 2) crop pixels at the centres of equal cells, row by row."""
        ys, xs = np.mgrid[:cells, :cells]
        return (np.stack([xs.ravel(), ys.ravel()], -1) + 0.5) * (self.pixels / cells) - 0.5

    def sample(self, image: Array) -> Array:
        """Resample an image (H, W, 3) uint8 or mask (H, W) bool without aliasing; outside is black or False."""
        source = image.astype(np.uint8) * 255 if image.dtype == np.bool_ else image
        shrink = min(1.0, self.focal / np.sqrt(self.camera.K[0, 0] * self.camera.K[1, 1]))
        ratio = np.ones(2)
        if shrink < 0.7:
            height, width = source.shape[:2]
            size = max(1, round(width * shrink)), max(1, round(height * shrink))
            source = cv2.resize(source, size, interpolation=cv2.INTER_AREA)
            ratio = np.array([size[0] / width, size[1] / height])
        if self.camera.lens == "pinhole":
            smaller = np.array([[ratio[0], 0, (ratio[0] - 1) / 2], [0, ratio[1], (ratio[1] - 1) / 2], [0, 0, 1]])
            H = smaller @ self.camera.K @ self.cam_R_crop @ np.linalg.inv(self.K)
            flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            crop = cv2.warpPerspective(source, H, (self.pixels, self.pixels), flags=flags)
        else:
            where = np.nan_to_num((self.to_image(self.grid(self.pixels)) + 0.5) * ratio - 0.5, nan=-1e6)
            where = where.reshape(self.pixels, self.pixels, 2).astype(np.float32)
            crop = cv2.remap(source, where, None, cv2.INTER_LINEAR)
        return crop >= 128 if image.dtype == np.bool_ else crop
