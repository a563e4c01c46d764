"""Refinement of many poses at once: robust Gauss-Newton on reprojection errors.

In and out: crop_T_obj (H, 4, 4), translations in object units, with the crop's normalised image coordinates.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from uop3d_core.geometry import Array

STEPS = 4
DAMPING = 1e-4
NEAREST = 1e-3
"""Depth below which a point does not count."""


def normal_equations(
    crop_T_obj: Array, points: Array, rays: Array, weights: Array, scale: float
) -> tuple[Array, Array, Array]:
    """Weighted least squares of reprojection errors about given poses.

    Small changes are (dt, w): x_cam becomes exp(w) R x + t + dt. Weights are those of Cauchy's loss, 1 / (1 + (r /
    scale)^2), times the given ones.

    Args:
        crop_T_obj: (H, 4, 4).
        points: (H, N, 3) object points.
        rays: (N, 3) observed directions, z = 1.
        weights: (H, N), 0 for points that are not to be used.
        scale: residual (normalised image coordinates) at which a point weighs half.

    Returns:
        matrices (H, 6, 6), right-hand sides (H, 6), and robust weights (H, N).
    """
    H, N = points.shape[:2]
    turned = crop_T_obj[:, :3, :3] @ np.swapaxes(points, 1, 2)
    depth = turned[:, 2] + crop_T_obj[:, 2, 3:]
    inverse = 1 / np.maximum(depth, NEAREST)
    u = (turned[:, :2] + crop_T_obj[:, :2, 3:]) * inverse[:, None]
    residual = rays[:, :2].T - u
    robust = weights * (depth > NEAREST) / (1 + (residual**2).sum(1) / scale**2)
    x, y, z = np.moveaxis(turned * inverse[:, None], 1, 0)
    root = np.sqrt(robust)
    x, y, z, inverse = x * root, y * root, z * root, inverse * root
    J = np.zeros((H, 6, 2, N))  # times the root of the weight; points last, as everything runs along them
    J[:, 0, 0] = J[:, 1, 1] = inverse
    np.multiply(-u, inverse[:, None], out=J[:, 2])
    np.multiply(-u, y[:, None], out=J[:, 3])
    np.multiply(u, x[:, None], out=J[:, 4])
    J[:, 3, 1] -= z
    J[:, 4, 0] += z
    J[:, 5, 0], J[:, 5, 1] = -y, x
    rows = J.reshape(H, 6, 2 * N)
    matrices = rows @ np.swapaxes(rows, 1, 2)
    right = (rows @ (residual * root[:, None]).reshape(H, 2 * N, 1))[..., 0]
    return matrices, right, robust


def moved(crop_T_obj: Array, change: Array) -> Array:
    """Poses (H, 4, 4) changed by (H, 6) small (dt, w)."""
    result = crop_T_obj.copy()
    result[:, :3, :3] = Rotation.from_rotvec(change[:, 3:]).as_matrix() @ crop_T_obj[:, :3, :3]
    result[:, :3, 3] += change[:, :3]
    return result


def refine(crop_T_obj: Array, points: Array, rays: Array, weights: Array, scale: float, steps: int = STEPS) -> Array:
    """Poses (H, 4, 4) after some robust steps; see `normal_equations`. A pose that loses its footing stays as it is."""
    poses = crop_T_obj
    for _ in range(steps):
        matrices, right, _ = normal_equations(poses, points, rays, weights, scale)
        trace = np.trace(matrices, axis1=1, axis2=2)
        damped = matrices + (DAMPING * trace / 6 + 1e-12)[:, None, None] * np.eye(6)
        change = np.linalg.solve(damped, right[..., None])[..., 0]
        angle = np.linalg.norm(change[:, 3:], axis=1, keepdims=True)
        poses = moved(poses, change * np.minimum(1, 0.5 / np.maximum(angle, 1e-9)))
    sound = np.isfinite(poses).all((1, 2)) & (poses[:, 2, 3] > NEAREST)
    return np.where(sound[:, None, None], poses, crop_T_obj)
