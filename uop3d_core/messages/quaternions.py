"""Quaternions, which exist in this file only, in the order x, y, z, w of ROS (`quat_xyzw`); inside, rotations are 3x3.

In / out: (3, 3) rotation matrices and (4,) quaternions.
"""

from __future__ import annotations

from types import ModuleType

import numpy as np
from numpy.typing import ArrayLike

from uop3d_core.geometry import Array

ROTATION_TOLERANCE = 1e-4  # largest error of an element of R @ R.T
QUATERNION_TOLERANCE = 1e-3  # largest error of the norm of a quaternion


def rotation_to_quat_xyzw(R: ArrayLike) -> Array:
    """Return the unit quaternion (4,), x y z w with w >= 0, of a rotation matrix (3, 3).

    Raises:
        ValueError: `R` is not a rotation matrix.
        ImportError: transforms3d is not installed.
    """
    R = np.asarray(R, dtype=np.float64)
    if R.shape != (3, 3):
        raise ValueError(f"a rotation matrix has shape (3, 3), not {R.shape}")
    if not (np.abs(R @ R.T - np.eye(3)).max() <= ROTATION_TOLERANCE and np.linalg.det(R) > 0):
        raise ValueError(f"not a rotation matrix (orthonormal, determinant +1): {R.tolist()}")
    quat_xyzw: Array = np.roll(_transforms3d().mat2quat(R), -1)  # transforms3d: w x y z
    return quat_xyzw


def quat_xyzw_to_rotation(quat_xyzw: ArrayLike) -> Array:
    """Return the rotation matrix (3, 3) of a unit quaternion (4,), x y z w.

    Raises:
        ValueError: the quaternion is not of unit length, as the all-zero one of an unfilled message.
        ImportError: transforms3d is not installed.
    """
    quat = np.asarray(quat_xyzw, dtype=np.float64)
    if quat.shape != (4,):
        raise ValueError(f"a quaternion has shape (4,), not {quat.shape}")
    if not abs(np.linalg.norm(quat) - 1.0) <= QUATERNION_TOLERANCE:
        raise ValueError(f"quaternion {quat.tolist()} (x y z w) is not of unit length: was the message filled in?")
    R: Array = _transforms3d().quat2mat(np.roll(quat, 1))  # transforms3d: w x y z
    return R


def _transforms3d() -> ModuleType:
    try:
        from transforms3d import quaternions
    except ImportError as error:
        raise ImportError("ROS messages need transforms3d: pip install 'uop3d[bags]'") from error
    return quaternions
