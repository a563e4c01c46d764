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
    turned = points @ np.swapaxes(crop_T_obj[:, :3, :3], 1, 2)
    x = turned + crop_T_obj[:, None, :3, 3]
    z = np.maximum(x[..., 2], NEAREST)
    u = x[..., :2] / z[..., None]
    residual = rays[:, :2] - u
    robust = weights * (x[..., 2] > NEAREST) / (1 + (residual**2).sum(-1) / scale**2)
    zero, inverse = np.zeros_like(z), 1 / z
    J = np.empty((*z.shape, 2, 6))
    J[..., 0, :3] = np.stack([inverse, zero, -u[..., 0] * inverse], -1)
    J[..., 1, :3] = np.stack([zero, inverse, -u[..., 1] * inverse], -1)
    J[..., 3:] = -np.cross(J[..., :3], turned[..., None, :])
    weighted = J * robust[..., None, None]
    H, N = z.shape
    matrices = np.swapaxes(weighted.reshape(H, 2 * N, 6), 1, 2) @ J.reshape(H, 2 * N, 6)
    right = (weighted.reshape(H, 2 * N, 6) * residual.reshape(H, 2 * N, 1)).sum(1)
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
