"""Cameras with lenses: pixels to rays and points to pixels.

In and out: (..., 3) directions or points in cam (x right, y down, z forward), (..., 2) pixels with integer centres. The
lens models are OpenCV's, as ROS's CameraInfo has them: none, "brown" (plumb_bob, rational_polynomial), "fisheye"
(equidistant).
"""

from __future__ import annotations

import cv2
import numpy as np

from uop3d_core.geometry import Array, pixel_rays, project
from uop3d_core.types import Camera

ITERATIONS = 100
FARTHEST = 20.0
"""Largest tangent of an angle to the optical axis that is looked for: 87 degrees."""
WORST = 0.1
"""Pixels by which an inverse may miss."""


def rays_through(camera: Camera, pixels: Array) -> Array:
    """Directions (..., 3) in cam with z = 1 through (..., 2) pixels.

    A brown lens is inverted by fixed-point iteration, which converges where pictures are usable; NaN elsewhere.
    """
    if camera.lens == "pinhole":
        return pixel_rays(camera.K, pixels)
    target = pixel_rays(camera.K, pixels.reshape(-1, 2))[:, :2]
    if camera.lens == "fisheye":
        flat = cv2.fisheye.undistortPoints(target[:, None], np.eye(3), camera.distortion).reshape(-1, 2)
    else:
        flat = target.copy()
        for _ in range(ITERATIONS):
            flat = np.clip(flat + target - _distorted(camera, flat), -FARTHEST, FARTHEST)
    error = np.abs(_distorted(camera, flat) - target).max(1) * camera.K[0, 0]
    flat[~(error < WORST)] = np.nan
    return np.concatenate([flat, np.ones((len(flat), 1))], axis=1).reshape(*pixels.shape[:-1], 3)


def pixels_of(camera: Camera, points: Array) -> Array:
    """Pixels (..., 2) of (..., 3) points in cam; NaN for those not in front of the camera."""
    if camera.lens == "pinhole":
        return project(camera.K, points)
    flat = points.reshape(-1, 3)
    seen = flat[:, 2] > 1e-9
    pixels = np.full((len(flat), 2), np.nan)
    distorted = _distorted(camera, flat[seen, :2] / flat[seen, 2:])
    pixels[seen] = distorted @ camera.K[:2, :2].T + camera.K[:2, 2]
    return pixels.reshape(*points.shape[:-1], 2)


def _distorted(camera: Camera, flat: Array) -> Array:
    """Normalised image coordinates (N, 2) as the lens bends them."""
    if len(flat) == 0:
        return flat
    points = np.concatenate([flat, np.ones((len(flat), 1))], axis=1)[:, None]
    project_points = cv2.fisheye.projectPoints if camera.lens == "fisheye" else cv2.projectPoints
    return project_points(points, np.zeros(3), np.zeros(3), np.eye(3), camera.distortion)[0].reshape(-1, 2)
