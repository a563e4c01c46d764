"""Geometry of rotations, similarities and cameras in plain numpy.

Frames are named by the caller (``a_T_b`` maps b to a); pixels have integer centres; angles are radians.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

Array = NDArray[Any]


def closest_rotation(matrices: Array) -> Array:
    """Rotations nearest in the Frobenius norm to (..., 3, 3) matrices (the special orthogonal Procrustes problem)."""
    U, _, Vt = np.linalg.svd(matrices)
    signs = np.ones(matrices.shape[:-1])
    signs[..., 2] = np.linalg.det(U @ Vt)
    return (U * signs[..., None, :]) @ Vt


def rotation_angle(R: Array) -> Array:
    """Angle in [0, pi] of (..., 3, 3) rotations; accurate near 0 and pi."""
    axis = np.stack([R[..., 2, 1] - R[..., 1, 2], R[..., 0, 2] - R[..., 2, 0], R[..., 1, 0] - R[..., 0, 1]], axis=-1)
    trace = R[..., 0, 0] + R[..., 1, 1] + R[..., 2, 2]
    return np.arctan2(np.linalg.norm(axis, axis=-1), trace - 1)


def rotation_error(R_a: Array, R_b: Array) -> Array:
    """Geodesic distance in radians between (..., 3, 3) rotations, broadcast."""
    return rotation_angle(np.swapaxes(R_a, -1, -2) @ R_b)


def umeyama(source: Array, target: Array, weights: Array | None = None) -> tuple[Array, Array, Array]:
    """Least-squares similarities with target ~ scale * R @ source + t, batched, without reflection.

    Umeyama, "Least-squares estimation of transformation parameters between two point patterns", PAMI 1991, eq. 40-42.

    Args:
        source: (..., N, 3) points.
        target: (..., N, 3) points.
        weights: (..., N) non-negative, or None for equal ones.

    Returns:
        scale (...), R (..., 3, 3), t (..., 3). Degenerate input (all source points equal) gives scale 0 or NaN.
    """
    if weights is None:
        weights = np.ones(source.shape[:-1])
    w = (weights / weights.sum(-1, keepdims=True))[..., None]
    source_mean = (w * source).sum(-2, keepdims=True)
    target_mean = (w * target).sum(-2, keepdims=True)
    x, y = source - source_mean, target - target_mean
    covariance = np.swapaxes(w * y, -1, -2) @ x
    U, D, Vt = np.linalg.svd(covariance)
    signs = np.ones_like(D)
    signs[..., 2] = np.sign(np.linalg.det(U) * np.linalg.det(Vt))
    R = (U * signs[..., None, :]) @ Vt
    variance = (w * x**2).sum((-1, -2))
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = (D * signs).sum(-1) / variance
    t = target_mean[..., 0, :] - scale[..., None] * (R @ source_mean[..., 0, :, None])[..., 0]
    return scale, R, t


def inverse_rigid(a_T_b: Array) -> Array:
    """Inverse of (..., 4, 4) rigid transforms: b_T_a."""
    b_T_a = np.zeros_like(a_T_b)
    R_inv = np.swapaxes(a_T_b[..., :3, :3], -1, -2)
    b_T_a[..., :3, :3] = R_inv
    b_T_a[..., :3, 3] = -(R_inv @ a_T_b[..., :3, 3, None])[..., 0]
    b_T_a[..., 3, 3] = 1
    return b_T_a


def rigid(R: Array, t: Array) -> Array:
    """(..., 4, 4) rigid transforms from (..., 3, 3) rotations and (..., 3) translations."""
    T = np.zeros((*R.shape[:-2], 4, 4))
    T[..., :3, :3], T[..., :3, 3], T[..., 3, 3] = R, t, 1
    return T


def rigid_through_similarity(cam_T_world: Array, scale: float, R: Array, t: Array) -> Array:
    """cam_T_obj as a rigid motion, for obj = scale * R @ world + t.

    A camera sees the same image when the scene is scaled about its centre, so the scale is divided out and depth is
    then in object units.
    """
    cam_R_obj = cam_T_world[:3, :3] @ R.T
    cam_t_obj = scale * cam_T_world[:3, 3] - cam_R_obj @ t
    return rigid(cam_R_obj, cam_t_obj)


def project(K: Array, points_cam: Array) -> Array:
    """Project (..., 3) points in cam to (..., 2) pixels; points with z <= 0 give NaN."""
    z = np.where(points_cam[..., 2] > 0, points_cam[..., 2], np.nan)
    uvw = points_cam @ K.T
    return uvw[..., :2] / z[..., None]


def pixel_rays(K: Array, pixels: Array) -> Array:
    """Directions (..., 3) in cam with z = 1 through (..., 2) pixels."""
    homogeneous = np.concatenate([pixels, np.ones((*pixels.shape[:-1], 1))], axis=-1)
    return homogeneous @ np.linalg.inv(K).T


def change_between(cam_T_obj: Array, other_T_obj: Array) -> Array:
    """(..., 6) small changes (dt, w) that carry poses (..., 4, 4) into others: [exp(w) R, t + dt]."""
    turns = other_T_obj[..., :3, :3] @ np.swapaxes(cam_T_obj[..., :3, :3], -1, -2)
    rotation_vectors = Rotation.from_matrix(turns.reshape(-1, 3, 3)).as_rotvec().reshape(*turns.shape[:-2], 3)
    return np.concatenate([other_T_obj[..., :3, 3] - cam_T_obj[..., :3, 3], rotation_vectors], axis=-1)


def transform(a_T_b: Array, points_b: Array) -> Array:
    """Map (..., 3) points by one (4, 4) rigid transform."""
    return points_b @ a_T_b[:3, :3].T + a_T_b[:3, 3]


def rotation_to(direction: Array) -> Array:
    """Smallest rotation (3, 3) that carries the z axis onto a unit direction (3,) that is not its opposite."""
    axis = np.cross([0.0, 0.0, 1.0], direction)
    skew = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    turn: Array = np.eye(3) + skew + skew @ skew / (1 + direction[2])
    return turn


def random_rotations(count: int, rng: np.random.Generator) -> Array:
    """(count, 3, 3) rotations uniform on SO(3)."""
    q = rng.standard_normal((count, 4))
    w, x, y, z = (q / np.linalg.norm(q, axis=1, keepdims=True)).T
    return np.stack(
        [
            1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
            2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
            2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
        ],
        axis=-1,
    ).reshape(count, 3, 3)  # fmt: skip


def farthest_points(points: Array, count: int) -> Array:
    """Indices (min(count, N),) of (N, 3) points far apart from each other: each the farthest from all before it.

    The first is the farthest from their mean (Gonzalez, "Clustering to minimize the maximum intercluster
    distance", 1985).
    """
    away = np.linalg.norm(points - points.mean(0), axis=1)
    chosen = [int(away.argmax())]
    nearest = np.full(len(points), np.inf)
    while len(chosen) < min(count, len(points)):
        nearest = np.minimum(nearest, np.linalg.norm(points - points[chosen[-1]], axis=1))
        chosen.append(int(nearest.argmax()))
    return np.array(chosen)


def rays_intersection(origins: Array, directions: Array) -> Array:
    """Point (3,) nearest in the least-squares sense to (N, 3) lines; directions are unit vectors."""
    P = np.eye(3) - directions[:, :, None] * directions[:, None, :]
    return np.linalg.lstsq(P.sum(0), (P @ origins[:, :, None]).sum(0)[:, 0], rcond=None)[0]
