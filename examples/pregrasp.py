#!/usr/bin/env python3
"""Waits until an object may be grasped, and prints where the gripper should be before it closes in.

python3 examples/pregrasp.py mug base_link      (pose_node and the robot's TF are running)
"""

import sys

import numpy as np
import rclpy
import tf2_ros
from rclpy.duration import Duration
from rclpy.time import Time

from uop3d_core.messages.reading import transform_of
from uop3d_ros.msg import ObjectPose, ObjectPoseArray

MIN_SCORE, MAX_STD_M, MAX_AGE_S = 0.5, 0.05, 0.5  # what your gripper and your model allow
ABOVE = np.array([0.0, 0.0, 0.15])


def graspable(found: ObjectPose, now: Time) -> bool:
    """Sure enough, exact enough, fresh enough, and its size is known."""
    if found.state != ObjectPose.CONFIRMED or np.isnan(found.scale) or not found.covariance_known:
        return False
    std_m = np.sqrt(found.pose.covariance.reshape(6, 6).diagonal()[:3].max())
    age = now - Time.from_msg(found.last_seen)
    return found.score > MIN_SCORE and std_m < MAX_STD_M and age < Duration(seconds=MAX_AGE_S)


def main() -> None:
    """Look until one is there."""
    category, base = sys.argv[1:3]
    rclpy.init()
    node = rclpy.create_node("pregrasp")
    buffer = tf2_ros.Buffer()
    listener = tf2_ros.TransformListener(buffer, node)
    heard: list[ObjectPoseArray] = []
    node.create_subscription(ObjectPoseArray, "pose_node/objects", heard.append, 10)
    while rclpy.ok():
        rclpy.spin_once(node, timeout_sec=0.1)
        now = node.get_clock().now()
        good = [o for m in heard for o in m.objects if o.category == category and graspable(o, now)]
        heard.clear()
        for found in good:
            if buffer.can_transform(base, found.id, Time()):  # its frame is in the tree
                base_T_obj = transform_of(buffer.lookup_transform(base, found.id, Time()).transform)
                place = base_T_obj[:3, 3] + ABOVE  # 15 cm above, where z of the base points up
                front, up = base_T_obj[:3, 0].round(2).tolist(), base_T_obj[:3, 2].round(2).tolist()
                print(f"{found.id}: score {found.score:.2f}, front {front}, up {up}")
                print(f"pre-grasp in {base}: {place.round(3).tolist()} m")
                listener.unregister()
                return


if __name__ == "__main__":
    main()
