"""The subscriptions of pose_node while it is active.

In: the parameters, and functions that take messages. Out: calls of these functions, and problems noted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import Image

from uop3d_ros.convert import message_class
from uop3d_ros.health import Health
from uop3d_ros.parameters import OVERRIDABLE, NodeSettings
from uop3d_ros.serialized import image_of

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks

DEPTH_TOPICS = {"image": ("depth", "sensor_msgs/msg/Image"), "points": ("points", "sensor_msgs/msg/PointCloud2")}
DETECTION_TYPES = {"vision_msgs": "vision_msgs/msg/Detection2DArray", "yolo_msgs": "yolo_msgs/msg/DetectionArray"}


def wanted(node: Node, settings: NodeSettings) -> dict[str, tuple[str, str]]:
    """Inputs that these parameters ask for: topic and type by name."""
    compressed = settings.image_transport == "compressed"
    # As image_transport does it: the name is remapped before the transport is added.
    image = node.resolve_topic_name("image") + ("/compressed" if compressed else "")
    inputs = {
        "images": (image, f"sensor_msgs/msg/{'CompressedImage' if compressed else 'Image'}"),
        "camera_info": ("camera_info", "sensor_msgs/msg/CameraInfo"),
    }
    if settings.detections != "whole_image":
        inputs["detections"] = ("detections", DETECTION_TYPES[settings.detections])
    if settings.depth != "none":
        inputs["depth"] = DEPTH_TOPICS[settings.depth]
    return inputs


class Inputs:
    """Subscriptions with the quality of service of sensor data, which parameters override."""

    def __init__(
        self, node: Node, settings: NodeSettings, health: Health, take: dict[str, Callable[[Any], None]]
    ) -> None:
        """Subscribe.

        Raises:
            ImportError: a package of messages that the parameters ask for is not there.
        """
        self._node, self._health = node, health
        self.topics = wanted(node, settings)
        classes = {name: _class_of(kind) for name, (_, kind) in self.topics.items()}
        self._subscriptions = [
            self._subscribe(name, topic, classes[name], take[name]) for name, (topic, _) in self.topics.items()
        ]

    def _subscribe(self, name: str, topic: str, kind: Any, take: Callable[[Any], None]) -> Any:
        rate = self._health.rates[name]

        def arrived(message: Any) -> None:
            rate.tick()
            take(message)

        def arrived_raw(content: bytes) -> None:
            rate.tick()
            try:
                message = image_of(content)
            except ValueError as error:
                self._health.problem(name, str(error))
            else:
                take(message)

        profile = QoSProfile(
            depth=qos_profile_sensor_data.depth,
            reliability=qos_profile_sensor_data.reliability,
            durability=qos_profile_sensor_data.durability,
            history=qos_profile_sensor_data.history,
        )
        resolved = self._node.resolve_topic_name(topic)
        return self._node.create_subscription(
            kind,
            topic,
            arrived_raw if kind is Image else arrived,
            profile,
            event_callbacks=SubscriptionEventCallbacks(
                incompatible_qos=lambda event: self._incompatible(resolved, event)
            ),
            qos_overriding_options=OVERRIDABLE,
            raw=kind is Image,
        )

    def _incompatible(self, topic: str, event: Any) -> None:
        policy = getattr(event.last_policy_kind, "name", event.last_policy_kind)
        self._health.problem(
            "qos",
            f"{topic}: a publisher's quality of service does not fit ({policy}), so its messages do not arrive: "
            f"see 'ros2 topic info -v {topic}' and set qos_overrides.{topic}.subscription.*",
        )

    def silence(self, name: str) -> str:
        """Why nothing comes: for a person who looks for the mistake."""
        topic = self._node.resolve_topic_name(self.topics[name][0])
        publishers = self._node.count_publishers(topic)
        if publishers == 0:
            return f"no {name}: {topic} has no publisher"
        return f"no {name}: {topic} has {publishers} publisher(s), but nothing arrives"

    def close(self) -> None:
        """Unsubscribe."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []


def _class_of(kind: str) -> Any:
    try:
        return message_class(kind)
    except ImportError as error:
        package = kind.partition("/")[0]
        raise ImportError(
            f"the package {package} is not there: source its workspace, or change 'detections'"
        ) from error
