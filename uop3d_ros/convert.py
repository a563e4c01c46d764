"""The rclpy side of `uop3d_core.messages`: its message classes, and poses to and from them, without a node.

In / out: (4, 4) float64 rigid transforms and `geometry_msgs` messages.
Frame: the camera's optical frame (x right, y down, z forward), which the header of the message names.
"""

from __future__ import annotations

import array
import importlib
from functools import cache
from typing import Any

import numpy as np
from geometry_msgs.msg import Pose
from numpy.typing import ArrayLike, NDArray

from uop3d_core.messages.building import Messages
from uop3d_core.messages.quaternions import quat_xyzw_to_rotation, rotation_to_quat_xyzw
from uop3d_core.messages.reading import pose_transform_of

__all__ = [
    "message_class",
    "octets",
    "pose_to_transform",
    "quat_xyzw_to_rotation",
    "rotation_to_quat_xyzw",
    "transform_to_pose",
]


@cache
def message_class(name: str) -> Any:
    """Class of a message by its name, as in "geometry_msgs/msg/Pose".

    Raises:
        ImportError: its package is not there.
    """
    package, kind, cls = name.split("/")
    return getattr(importlib.import_module(f"{package}.{kind}"), cls)


def octets(content: bytes) -> array.array[int]:
    """What a field uint8[] takes without looking at every byte."""
    return array.array("B", content)


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
    return Messages(message_class, {}).pose(T)


def pose_to_transform(pose: Pose) -> NDArray[np.float64]:
    """Return cam_T_obj, the rigid transform (4, 4) of a pose message; translation in the unit of the message.

    Raises:
        ValueError: if the position is not finite or the orientation is not a unit quaternion.
    """
    return pose_transform_of(pose)
