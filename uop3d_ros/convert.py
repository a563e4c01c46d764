"""Conversions between the numbers of `uop3d_core` and ROS messages, without a node.

In / out: (4, 4) float64 rigid transforms and `geometry_msgs` messages.
Frame: the camera's optical frame (x right, y down, z forward), which the header of the message names.
Quaternions exist in this file only, in the order x, y, z, w of ROS (`quat_xyzw`).
"""

from __future__ import annotations

import numpy as np
from geometry_msgs.msg import Point, Pose, Quaternion
from numpy.typing import ArrayLike, NDArray
from transforms3d.quaternions import mat2quat, quat2mat

_ROTATION_TOLERANCE = 1e-4  # largest error of an element of R @ R.T
_QUATERNION_TOLERANCE = 1e-3  # largest error of the norm of a quaternion


def rotation_to_quat_xyzw(R: ArrayLike) -> NDArray[np.float64]:
    """Return the unit quaternion (4,), x y z w with w >= 0, of a rotation matrix (3, 3).

    Raises:
        ValueError: if `R` is not a rotation matrix.
    """
    R = np.asarray(R, dtype=np.float64)
    if R.shape != (3, 3):
        raise ValueError(f"a rotation matrix has shape (3, 3), not {R.shape}")
    if not (np.abs(R @ R.T - np.eye(3)).max() <= _ROTATION_TOLERANCE and np.linalg.det(R) > 0):
        raise ValueError(f"not a rotation matrix (orthonormal, determinant +1): {R.tolist()}")
    return np.roll(mat2quat(R), -1)  # transforms3d: w x y z


def quat_xyzw_to_rotation(quat_xyzw: ArrayLike) -> NDArray[np.float64]:
    """Return the rotation matrix (3, 3) of a unit quaternion (4,), x y z w.

    Raises:
        ValueError: if the quaternion is not of unit length, as the all-zero one of an unfilled message.
    """
    quat = np.asarray(quat_xyzw, dtype=np.float64)
    if quat.shape != (4,):
        raise ValueError(f"a quaternion has shape (4,), not {quat.shape}")
    if not abs(np.linalg.norm(quat) - 1.0) <= _QUATERNION_TOLERANCE:
        raise ValueError(f"quaternion {quat.tolist()} (x y z w) is not of unit length: was the message filled in?")
    return quat2mat(np.roll(quat, 1))  # transforms3d: w x y z


def transform_to_pose(cam_T_obj: ArrayLike) -> Pose:
    """Return the pose message of a rigid transform.

    Args:
        cam_T_obj: (4, 4) maps object to camera coordinates; translation in metres, that is with the scale applied.

    Raises:
        ValueError: if `cam_T_obj` is not a finite rigid transform.
    """
    T = np.asarray(cam_T_obj, dtype=np.float64)
    if T.shape != (4, 4) or not np.isfinite(T).all() or not np.allclose(T[3], (0.0, 0.0, 0.0, 1.0)):
        raise ValueError(f"cam_T_obj is not a finite (4, 4) transform with last row 0 0 0 1: {T.tolist()}")
    x, y, z, w = rotation_to_quat_xyzw(T[:3, :3]).tolist()
    px, py, pz = T[:3, 3].tolist()
    return Pose(position=Point(x=px, y=py, z=pz), orientation=Quaternion(x=x, y=y, z=z, w=w))


def pose_to_transform(pose: Pose) -> NDArray[np.float64]:
    """Return cam_T_obj, the rigid transform (4, 4) of a pose message; translation in the unit of the message.

    Raises:
        ValueError: if the position is not finite or the orientation is not a unit quaternion.
    """
    position, q = pose.position, pose.orientation
    cam_T_obj = np.eye(4)
    cam_T_obj[:3, 3] = (position.x, position.y, position.z)
    if not np.isfinite(cam_T_obj).all():
        raise ValueError(f"the position of the pose is not finite: {cam_T_obj[:3, 3].tolist()}")
    cam_T_obj[:3, :3] = quat_xyzw_to_rotation((q.x, q.y, q.z, q.w))
    return cam_T_obj
