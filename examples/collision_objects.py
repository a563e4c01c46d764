#!/usr/bin/env python3
"""Keeps the objects that pose_node sees as boxes in MoveIt's planning scene, and removes those that are gone.

python3 examples/collision_objects.py      (pose_node, move_group and the robot's TF are running; needs moveit_msgs)
"""

from contextlib import suppress

import rclpy
from moveit_msgs.msg import CollisionObject, PlanningScene
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from shape_msgs.msg import SolidPrimitive
from vision_msgs.msg import Detection3D, Detection3DArray


class CollisionObjects(Node):
    """Detection3DArray in, differences of the planning scene out."""

    def __init__(self) -> None:
        """Listen to the detections, which are confirmed objects in metres."""
        super().__init__("collision_objects")
        self._shown: set[str] = set()
        self._scene = self.create_publisher(PlanningScene, "planning_scene", 10)
        self.create_subscription(Detection3DArray, "pose_node/detections", self._take, 10)

    def _take(self, message: Detection3DArray) -> None:
        here = {detection.id for detection in message.detections}
        scene = PlanningScene(is_diff=True)
        scene.world.collision_objects = [box(detection) for detection in message.detections]
        for name in self._shown - here:
            gone = CollisionObject(header=message.header, id=name, operation=CollisionObject.REMOVE)
            scene.world.collision_objects.append(gone)
        self._shown = here
        self._scene.publish(scene)


def box(detection: Detection3D) -> CollisionObject:
    """The oriented box of one object."""
    size = detection.bbox.size
    shape = SolidPrimitive(type=SolidPrimitive.BOX, dimensions=[size.x, size.y, size.z])
    added = CollisionObject(header=detection.header, id=detection.id, operation=CollisionObject.ADD)
    added.pose = detection.bbox.center
    added.primitives = [shape]
    return added


if __name__ == "__main__":
    rclpy.init()
    with suppress(KeyboardInterrupt, ExternalShutdownException):
        rclpy.spin(CollisionObjects())
