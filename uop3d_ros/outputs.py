"""The publishers of pose_node; messages are made only where somebody listens.

In: functions that make messages. Out: messages on the topics.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile, ReliabilityPolicy

from uop3d_ros.convert import message_class
from uop3d_ros.parameters import OVERRIDABLE

TOPICS = {
    "tf": ("/tf", "tf2_msgs/msg/TFMessage"),
    "objects": ("~/objects", "uop3d_ros/msg/ObjectPoseArray"),
    "detections": ("~/detections", "vision_msgs/msg/Detection3DArray"),
    "poses": ("~/poses", "geometry_msgs/msg/PoseArray"),
    "estimates": ("~/estimates", "uop3d_ros/msg/ObjectPoseArray"),
    "markers": ("~/markers", "visualization_msgs/msg/MarkerArray"),
}
DEPTHS = {"tf": 100}


class Outputs:
    """Lifecycle publishers of a configured node: they publish while it is active."""

    def __init__(self, node: LifecycleNode) -> None:
        """Create them."""
        self._node = node
        self._publishers: dict[str, Any] = {
            name: node.create_lifecycle_publisher(
                message_class(kind),
                topic,
                QoSProfile(depth=DEPTHS.get(name, 10), reliability=ReliabilityPolicy.RELIABLE),
                qos_overriding_options=OVERRIDABLE,
            )
            for name, (topic, kind) in TOPICS.items()
        }

    def send(self, name: str, make: Callable[[], Any]) -> None:
        """Publish a message if somebody listens."""
        publisher = self._publishers[name]
        if publisher.is_activated and self._node.context.ok() and publisher.get_subscription_count() > 0:
            publisher.publish(make())

    def close(self) -> None:
        """Destroy the publishers."""
        for publisher in self._publishers.values():
            self._node.destroy_lifecycle_publisher(publisher)
        self._publishers = {}
