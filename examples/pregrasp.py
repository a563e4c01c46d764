#!/usr/bin/env python3
"""Prints a pre-grasp pose of an object once it may be grasped: pregrasp.py mug base_link, while pose_node runs."""

import sys

import numpy as np
import rclpy
import tf2_ros
from rclpy.task import Future
from rclpy.time import Time

from uop3d_core.messages.quaternions import rotation_to_quat_xyzw
from uop3d_core.messages.reading import transform_of
from uop3d_ros.msg import ObjectPoseArray

MIN_SCORE, MAX_STD_M, MAX_AGE_S = 0.5, 0.05, 0.5  # what your gripper and your model allow
OBJ_T_GRIPPER = np.array([[1, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, 0.15], [0, 0, 0, 1]])  # 15 cm above, looking down
category, base = sys.argv[1:3]
rclpy.init()
node, buffer, graspable = rclpy.create_node("pregrasp"), tf2_ros.Buffer(), Future()
listener = tf2_ros.TransformListener(buffer, node)


def look(message: ObjectPoseArray) -> None:
    """Take an object that is sure, exact and fresh enough, of known size, and in the tree of frames."""
    for found in (each for each in message.objects if each.category == category and each.scale > 0):
        std_m = np.sqrt(found.pose.covariance.reshape(6, 6).diagonal()[:3].max())  # NaN, if unknown, is not enough
        age_s = (node.get_clock().now() - Time.from_msg(found.last_seen)).nanoseconds / 1e9
        sure = found.state == found.CONFIRMED and found.score > MIN_SCORE and std_m < MAX_STD_M and age_s < MAX_AGE_S
        if sure and buffer.can_transform(base, found.id, Time()):
            graspable.set_result((found, transform_of(buffer.lookup_transform(base, found.id, Time()).transform)))


node.create_subscription(ObjectPoseArray, "pose_node/objects", look, 10)
rclpy.spin_until_future_complete(node, graspable)
found, base_T_obj = graspable.result()
base_T_gripper = base_T_obj @ OBJ_T_GRIPPER
position, quat_xyzw = base_T_gripper[:3, 3].round(3), rotation_to_quat_xyzw(base_T_gripper[:3, :3]).round(3)
print(f"{found.id}, score {found.score:.2f}: gripper in {base} to {position.tolist()} m, turned {quat_xyzw.tolist()}")
