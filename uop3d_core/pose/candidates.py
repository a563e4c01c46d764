"""Pose hypotheses from per-pixel beliefs: PnP-RANSAC on the best correspondences, and stored views from all around.

Out: crop_T_obj (H, 4, 4), translations in object units. PnP is exact where pixels know where they are; the views see
the whole and so find poses that many vague pixels agree on, as for a mug whose handle is hidden.
"""

from __future__ import annotations

import numpy as np
import poselib
from scipy.spatial import cKDTree

from uop3d_core.config import PoseSettings
from uop3d_core.crops import Crop
from uop3d_core.geometry import Array, farthest_points, pixel_rays, rigid, rotation_error, rotation_to, transform
from uop3d_core.pose.beliefs import PixelBeliefs, TemplateShape

MIN_CORRESPONDENCES = 6
VIEW_CELLS = 16
VIEW_REGIONS = 256
VIEW_DISTANCE = 3.0
"""In object units: from where the stored views look."""


def pnp(beliefs: PixelBeliefs, template: TemplateShape, threshold: float, settings: PoseSettings) -> Array:
    """PnP-RANSAC with robust refinement (PoseLib) on the object's pixels: (1, 4, 4), or (0, 4, 4) where it fails.

    Args:
        beliefs: of the pixels that are object.
        template: the category's.
        threshold: inlier threshold in crop pixels.
        settings: see PoseSettings.
    """
    if len(beliefs.pixels) < MIN_CORRESPONDENCES:
        return np.zeros((0, 4, 4))
    points = beliefs.points(template.near, beliefs.vertices[None, :, 0], template.vertices)[0][0]
    return solve_pnp(beliefs.pixels, points, beliefs.crop, threshold, settings)


def keypoint_pnp(beliefs: PixelBeliefs, template: TemplateShape, threshold: float, settings: PoseSettings) -> Array:
    """The same on keypoints; nothing where the network says none."""
    if beliefs.keypoints is None:
        return np.zeros((0, 4, 4))
    return solve_pnp(beliefs.keypoints.pixels, template.keypoints, beliefs.crop, threshold, settings)


def solve_pnp(pixels: Array, points: Array, crop: Crop, threshold: float, settings: PoseSettings) -> Array:
    """PnP-RANSAC for crop pixels (N, 2) and the object points (N, 3) that they show: (1, 4, 4), or (0, 4, 4)."""
    K = crop.K
    camera = {
        "model": "PINHOLE",
        "width": crop.pixels,
        "height": crop.pixels,
        "params": [*K[[0, 1, 0, 1], [0, 1, 2, 2]]],
    }
    ransac = {"max_error": threshold, "max_iterations": settings.iterations, "min_iterations": 100, "seed": 0}
    robust = {"loss_type": "CAUCHY", "loss_scale": threshold / 2, "max_iterations": 50}
    pose, info = poselib.estimate_absolute_pose(pixels, points, camera, ransac, robust)
    T = rigid(pose.R, pose.t)[None]
    good = info["num_inliers"] >= MIN_CORRESPONDENCES and np.isfinite(T).all() and T[0, 2, 3] > 0
    return T if good else T[:0]


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


class StoredViews:
    """What the template shows in the cells of its own outline's box, for rotations all around.

    The template is divided into regions, each of the vertices nearest to one of some that are far apart: to see which
    views are likely, these tell as much as single vertices, and there are fewer of them.

    Attributes:
        rotations: (H, 3, 3).
    """

    def __init__(self, template: TemplateShape, count: int) -> None:
        """Look at the template from `count` rotations."""
        self.rotations = rotation_grid(count)
        self._vertices = template.vertices
        middles = farthest_points(self._vertices, VIEW_REGIONS)
        self._near = template.guide[np.ix_(middles, middles)].astype(np.float32)  # as numbers, for products
        self._region = np.append(cKDTree(self._vertices[middles]).query(self._vertices)[1], len(middles))
        centre = (np.arange(VIEW_CELLS) + 0.5) / VIEW_CELLS
        ys, xs = np.meshgrid(centre, centre, indexing="ij")
        self._cells = np.stack([xs.ravel(), ys.ravel()], -1)
        away, shown = np.array([0.0, 0.0, VIEW_DISTANCE]), []
        for R in self.rotations:
            points = transform(rigid(R, away), self._vertices)
            flat = points[:, :2] / points[:, 2:]
            low, high = flat.min(0), flat.max(0)
            rays = np.concatenate([low + self._cells * (high - low), np.ones((len(self._cells), 1))], axis=1)
            shown.append(self._region[template.shown(rays, rigid(R, away)[None])[0]])
        regions = np.stack(shown)
        self._occupied = (regions < len(middles)).astype(np.float32)
        self._entry = np.arange(len(self._cells)) * (len(middles) + 1) + regions

    def best(self, beliefs: PixelBeliefs, box: Array, count: int, apart: float) -> Array:
        """The most agreeing distinct poses (at most count, 4, 4) whose outline fills a box.

        Args:
            beliefs: of the crop.
            box: (4,) xyxy in crop pixels.
            count: how many.
            apart: in radians, how far apart their rotations are.
        """
        pixels = box[:2] + self._cells * (box[2:] - box[:2])
        row = beliefs.row_at(pixels)
        seen, there = row >= 0, beliefs.take(np.maximum(row, 0))
        P, C = len(pixels), len(self._near)
        cell = np.arange(P)[:, None] * C + self._region[there.vertices]
        likely = np.bincount(cell.ravel(), there.probabilities.ravel(), P * C).reshape(P, C).astype(np.float32)
        occupied = there.foreground > 0.5
        support = np.column_stack([likely @ self._near, (1 - there.foreground) * occupied]) * seen[:, None]
        concerned = self._occupied @ (seen & ~occupied).astype(np.float32) + (seen & occupied).sum()
        scores = support.ravel().take(self._entry).sum(1) / np.maximum(concerned, 1)
        first = np.argsort(-scores, kind="stable")[: 20 * count]
        chosen = first[distinct(self.rotations[first], scores[first], count, apart)]
        return fill_box(self.rotations[chosen], self._vertices, beliefs.crop, box)


def distinct(rotations: Array, scores: Array, count: int, apart: float) -> Array:
    """Indices of the best `count` of (H, 3, 3) rotations that are farther than `apart` radians apart, best first."""
    kept: list[int] = []
    for index in np.argsort(-scores, kind="stable"):
        if len(kept) == count:
            break
        if not kept or rotation_error(rotations[kept], rotations[index]).min() > apart:
            kept.append(int(index))
    return np.array(kept, dtype=int)


def fill_box(rotations: Array, vertices: Array, crop: Crop, box: Array) -> Array:
    """Poses (H, 4, 4) with given rotations (relative to the viewing ray) whose outline fills the box; see below."""
    ray = pixel_rays(crop.K, box.reshape(2, 2)).mean(0)
    return filling_box(rotation_to(ray / np.linalg.norm(ray)) @ rotations, vertices, crop, box)


def filling_box(crop_R_obj: Array, vertices: Array, crop: Crop, box: Array) -> Array:
    """Poses (H, 4, 4) with given rotations in the crop's camera whose outline fills the box.

    Depth and shift follow from the box by weak perspective: the extent of the turned template against that of the box.

    Args:
        crop_R_obj: (H, 3, 3).
        vertices: (V, 3) template, obj.
        crop: the virtual camera.
        box: (4,) xyxy in crop pixels.
    """
    corners = pixel_rays(crop.K, box.reshape(2, 2))
    ray = corners.mean(0)
    turned = vertices @ np.swapaxes(crop_R_obj, 1, 2)
    low, high = turned.min(1), turned.max(1)
    extent = (high - low)[:, :2]
    depth = np.sqrt((extent / (corners[1] - corners[0])[:2]).prod(1)) + extent.mean(1) / 4
    t = depth[:, None] * ray - (low + high) / 2
    t[:, 2] = depth
    return rigid(crop_R_obj, t)


def box_in_crop(crop: Crop, box: Array) -> Array:
    """Box (4,) xyxy in crop pixels around what an xyxy box of the image shows."""
    corners = crop.to_crop(box[[0, 1, 2, 1, 2, 3, 0, 3]].reshape(4, 2))
    return np.concatenate([corners.min(0), corners.max(0)])
