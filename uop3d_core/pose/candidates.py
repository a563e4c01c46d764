"""Pose hypotheses from per-pixel beliefs: PnP-RANSAC on the best correspondences, and a coarse grid over SO(3).

Out: cam_T_obj (H, 4, 4), translations in object units. PnP is exact where pixels know where they are; the grid sees
the whole and so finds poses that many vague pixels agree on, as for a mug whose handle is hidden.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import poselib

from uop3d_core.config import PoseSettings
from uop3d_core.geometry import Array, rigid
from uop3d_core.pose.scoring import PixelBeliefs
from uop3d_core.types import Camera

MIN_CORRESPONDENCES = 6


@dataclass(frozen=True, eq=False)
class Correspondences:
    """Image pixels (N, 2), object points (N, 3), confidences (N,)."""

    pixels: Array
    points: Array
    confidence: Array


def correspondences(beliefs: PixelBeliefs, vertices: Array, near: Array, settings: PoseSettings) -> Correspondences:
    """Most likely object point of every foreground pixel, by a soft-argmax around the best vertex.

    Args:
        beliefs: of one crop.
        vertices: (V, 3) template, obj.
        near: (V, V) bool, which vertices lie within the neighbourhood of each other.
        settings: see PoseSettings.
    """
    rows = np.flatnonzero(beliefs.foreground > settings.foreground)
    rows = rows[np.argsort(-beliefs.foreground[rows], kind="stable")[: settings.max_correspondences]]
    return local_means(beliefs, rows, beliefs.probabilities[rows, :-1].argmax(1), vertices, near)


def local_means(beliefs: PixelBeliefs, rows: Array, centres: Array, vertices: Array, near: Array) -> Correspondences:
    """Mean object point of some pixels over the neighbourhood of a given vertex each.

    Args:
        beliefs: of one crop.
        rows: (n,) which pixels.
        centres: (n,) their vertices.
        vertices: (V, 3) template, obj.
        near: (V, V) bool neighbourhoods.
    """
    local = beliefs.probabilities[rows, :-1] * near[centres]
    mass = local.sum(1)
    return Correspondences(beliefs.pixels[rows], local @ vertices / np.maximum(mass, 1e-12)[:, None], mass)


def pnp(found: Correspondences, camera: Camera, threshold: float, iterations: int) -> Array:
    """PnP-RANSAC with robust refinement (PoseLib): (1, 4, 4), or (0, 4, 4) where it fails.

    Args:
        found: correspondences.
        camera: of the full image.
        threshold: inlier threshold in pixels.
        iterations: most RANSAC iterations.
    """
    if len(found.points) < MIN_CORRESPONDENCES:
        return np.zeros((0, 4, 4))
    ransac = {"max_error": threshold, "max_iterations": iterations, "min_iterations": 100, "seed": 0}
    pose, info = poselib.estimate_absolute_pose(
        *_skewless(found, camera), _described(camera), ransac, _robust(threshold)
    )
    return _accepted(pose, info["num_inliers"] >= MIN_CORRESPONDENCES)


def polish(found: Correspondences, camera: Camera, cam_T_obj: Array, threshold: float) -> Array:
    """Robust least-squares refinement of one pose (4, 4): (1, 4, 4), or (0, 4, 4) where it fails."""
    if len(found.points) < MIN_CORRESPONDENCES:
        return np.zeros((0, 4, 4))
    start = poselib.CameraPose()
    start.R, start.t = cam_T_obj[:3, :3], cam_T_obj[:3, 3]
    pixels, points = _skewless(found, camera)
    pose, _ = poselib.refine_absolute_pose(pixels, points, start, _described(camera), _robust(threshold))
    return _accepted(pose, True)


def _robust(threshold: float) -> dict[str, object]:
    return {"loss_type": "CAUCHY", "loss_scale": threshold / 2, "max_iterations": 50}


def _skewless(found: Correspondences, camera: Camera) -> tuple[Array, Array]:
    pixels = found.pixels.astype(np.float64)
    pixels[:, 0] -= camera.K[0, 1] / camera.K[1, 1] * (pixels[:, 1] - camera.K[1, 2])
    return pixels, found.points.astype(np.float64)


def _described(camera: Camera) -> dict[str, object]:
    K = camera.K
    params = [K[0, 0], K[1, 1], K[0, 2], K[1, 2]]
    return {"model": "PINHOLE", "width": camera.width, "height": camera.height, "params": params}


def _accepted(pose: poselib.CameraPose, good: bool) -> Array:
    """The pose if it is finite and in front of the camera."""
    T = rigid(pose.R, pose.t)[None]
    return T if good and np.isfinite(T).all() and T[0, 2, 3] > 0 else T[:0]


def rotation_grid(count: int) -> Array:
    """(count, 3, 3) rotations spread evenly over SO(3): super-Fibonacci spirals (Alexa, CVPR 2022)."""
    phi, psi = np.sqrt(2.0), 1.533751168755204288118041
    s = np.arange(count) + 0.5
    r, R = np.sqrt(s / count), np.sqrt(1 - s / count)
    alpha, beta = 2 * np.pi * s / phi, 2 * np.pi * s / psi
    x, y, z, w = r * np.sin(alpha), r * np.cos(alpha), R * np.sin(beta), R * np.cos(beta)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return np.stack(rows, axis=-1).reshape(count, 3, 3)


def grid_poses(rotations: Array, vertices: Array, camera: Camera, box: Array) -> Array:
    """Poses (H, 4, 4) with given rotations (relative to the viewing ray) whose outline fills the box.

    Depth and shift follow from the box by weak perspective: the extent of the turned template against that of the box.

    Args:
        rotations: (H, 3, 3).
        vertices: (V, 3) template, obj.
        camera: of the full image.
        box: (4,) xyxy in pixels.
    """
    K = camera.K
    centre = np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2, 1.0])
    ray = np.linalg.inv(K) @ centre
    R = _turn_to(ray / np.linalg.norm(ray)) @ rotations
    turned = vertices @ np.swapaxes(R, 1, 2)
    low, high = turned.min(1), turned.max(1)
    extent = (high - low)[:, :2]
    spans = extent * np.array([K[0, 0], K[1, 1]]) / np.array([box[2] - box[0], box[3] - box[1]])
    depth = np.sqrt(spans.prod(1)) + extent.mean(1) / 4
    t = depth[:, None] * ray - (low + high) / 2
    t[:, 2] = depth
    return rigid(R, t)


def _turn_to(ray: Array) -> Array:
    """Smallest rotation (3, 3) that carries the optical axis onto a unit ray."""
    axis = np.cross([0.0, 0.0, 1.0], ray)
    skew = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    turn: Array = np.eye(3) + skew + skew @ skew / (1 + ray[2])
    return turn
