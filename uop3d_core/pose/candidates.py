"""From per-pixel vertex probabilities to correspondences and pose hypotheses.

In: probabilities over template vertices and clutter on the output grid of a crop. Out: cam_T_obj hypotheses, obj unit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import poselib

from uop3d_core.config import PoseSettings
from uop3d_core.geometry import Array, rigid
from uop3d_core.types import Camera

MIN_CORRESPONDENCES = 6


@dataclass(frozen=True, eq=False)
class PixelBeliefs:
    """What the network says of one crop.

    Attributes:
        pixels: (N, 2) centres of the output grid's pixels, in the full image.
        probabilities: (N, V + 1), rows sum to 1; the last column is clutter.
    """

    pixels: Array
    probabilities: Array

    @property
    def foreground(self) -> Array:
        """(N,) probability of not being clutter."""
        return 1 - self.probabilities[:, -1]


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
    p = beliefs.probabilities[rows, :-1]
    local = p * near[p.argmax(1)] if len(rows) else p
    mass = local.sum(1)
    points = local @ vertices / np.maximum(mass, 1e-12)[:, None]
    return Correspondences(beliefs.pixels[rows], points, mass)


def hypotheses(
    beliefs: PixelBeliefs, vertices: Array, near: Array, camera: Camera, size: float, settings: PoseSettings
) -> Iterator[Array]:
    """cam_T_obj (4, 4) hypotheses from PnP-RANSAC: first of the best points, then of points drawn by probability.

    Drawing lets a second mode (a front that might be a rear) have its say. Deterministic.

    Args:
        beliefs: of one crop.
        vertices: (V, 3) template, obj.
        near: (V, V) bool neighbourhood.
        camera: of the full image.
        size: longer side of the box in pixels.
        settings: see PoseSettings.
    """
    best = correspondences(beliefs, vertices, near, settings)
    if len(best.points) < MIN_CORRESPONDENCES:
        return
    yield from _pnp(best.pixels, best.points, camera, settings.reprojection * size, settings.iterations)
    rng = np.random.default_rng(0)
    rows = np.flatnonzero(beliefs.foreground > settings.foreground)
    cumulative = np.cumsum(beliefs.probabilities[rows, :-1], axis=1)
    for _ in range(settings.hypotheses - 1):
        drawn = (rng.random((len(rows), 1)) * cumulative[:, -1:] < cumulative).argmax(1)
        keep = rng.random(len(rows)) < 0.5
        yield from _pnp(
            beliefs.pixels[rows[keep]], vertices[drawn[keep]], camera, settings.reprojection * size, settings.iterations
        )


def _pnp(pixels: Array, points: Array, camera: Camera, threshold: float, iterations: int) -> Iterator[Array]:
    """PnP-RANSAC with robust refinement (PoseLib); nothing where it fails or the object lies behind the camera."""
    if len(points) < MIN_CORRESPONDENCES:
        return
    K = camera.K
    skewless = pixels.astype(np.float64).copy()
    skewless[:, 0] -= K[0, 1] / K[1, 1] * (pixels[:, 1] - K[1, 2])
    described = {
        "model": "PINHOLE",
        "width": camera.width,
        "height": camera.height,
        "params": [K[0, 0], K[1, 1], K[0, 2], K[1, 2]],
    }
    ransac = {"max_error": threshold, "max_iterations": iterations, "min_iterations": 100, "seed": 0}
    bundle = {"loss_type": "CAUCHY", "loss_scale": threshold / 2, "max_iterations": 50}
    pose, info = poselib.estimate_absolute_pose(skewless, points.astype(np.float64), described, ransac, bundle)
    T = rigid(pose.R, pose.t)
    if info["num_inliers"] >= MIN_CORRESPONDENCES and np.isfinite(T).all() and T[2, 3] > 0:
        yield T
