"""Cameras that circle an object as a hand-held phone does.

In: a random generator. Out: cameras and their positions relative to an object of diameter 1 at the origin, z up.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d

from uop3d_core.geometry import Array, rigid
from uop3d_core.types import Camera

ELEVATIONS = (6.0, 65.0)
"""Lowest and highest elevation in degrees."""
NEAREST = 1.5
"""Smallest mean distance, in diameters of the object."""


def random_camera(rng: np.random.Generator, pixels: int) -> Camera:
    """A square image of a phone: focal length 0.9-1.6 widths, principal point near the centre."""
    focal = pixels * rng.uniform(0.9, 1.6)
    centre = (pixels - 1) / 2 + pixels * rng.normal(0, 0.01, 2)
    return Camera(np.array([[focal, 0, centre[0]], [0, focal, centre[1]], [0, 0, 1]]), pixels, pixels)


def random_orbit(rng: np.random.Generator, camera: Camera, views: int) -> Array:
    """Positions cam_T_obj (views, 4, 4) in the order of a video: rings with hand-shake, image upright."""
    azimuth, elevation = _rings(rng, views)
    distance = max(NEAREST, camera.K[0, 0] / camera.width / rng.uniform(0.55, 0.85)) * (1 + 0.04 * _shake(rng, views))
    eye = distance[:, None] * np.stack(
        [np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)], axis=1
    )
    target = 0.03 * np.stack([_shake(rng, views) for _ in range(3)], axis=1)
    return look_at(eye, target, np.radians(2.5) * _shake(rng, views))


def _rings(rng: np.random.Generator, views: int) -> tuple[Array, Array]:
    """Azimuth and elevation (views,) in radians."""
    if views >= 8:
        counts = [views - views // 2, views // 2]
        heights = [rng.uniform(10, 22), rng.uniform(38, 58)]
        if rng.random() < 0.5:
            heights.reverse()
    else:
        counts, heights = [views], [rng.uniform(22, 48)]
    sense, start = rng.choice([-1, 1]), rng.uniform(0, 2 * np.pi)
    turns = [np.arange(count) / count * rng.uniform(0.95, 1.05) for count in counts]
    steps = np.concatenate(turns) * 2 * np.pi + np.repeat(rng.uniform(0, 0.3, len(counts)), counts)
    azimuth = start + sense * steps + np.radians(2.5) * _shake(rng, views)
    elevation = np.repeat(heights, counts) + 3.0 * _shake(rng, views)
    return azimuth, np.radians(np.clip(elevation, *ELEVATIONS))


def _shake(rng: np.random.Generator, views: int) -> Array:
    """A wandering value (views,) of unit size, at most 2.5."""
    slow = gaussian_filter1d(rng.standard_normal(views), 2.0, mode="wrap") * 2.5
    return np.clip(0.9 * slow + 0.4 * rng.standard_normal(views), -2.5, 2.5)


def look_at(eye: Array, target: Array, roll: Array) -> Array:
    """cam_T_obj (N, 4, 4) of cameras at (N, 3) points that look at (N, 3) targets; z is up, `roll` (N,) in radians."""
    forward = target - eye
    forward /= np.linalg.norm(forward, axis=1, keepdims=True)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    down = np.cross(forward, right)
    c, s = np.cos(roll)[:, None], np.sin(roll)[:, None]
    R = np.stack([c * right + s * down, c * down - s * right, forward], axis=1)
    return rigid(R, -(R @ eye[:, :, None])[:, :, 0])
