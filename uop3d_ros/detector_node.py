"""A detector for robots without one: image in, vision_msgs/Detection2DArray with the image's header out.

In: topic image. Out: topic detections, boxes in pixels. The newest image wins. See docs/ros.md; pose_node takes the
detections of any other detector as well.
"""

from __future__ import annotations

import sys
from typing import Any

import rclpy
from rcl_interfaces.msg import FloatingPointRange, ParameterDescriptor
from rclpy.exceptions import ParameterException
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CompressedImage, Image
from vision_msgs.msg import BoundingBox2D, Detection2D, Detection2DArray, ObjectHypothesisWithPose

from uop3d_core.types import Detection
from uop3d_ros.detectors import TORCHVISION, Thresholds, open_detector
from uop3d_ros.health import Health
from uop3d_ros.pixels import Pixels
from uop3d_ros.spinning import spin
from uop3d_ros.worker import Worker

SHARE = FloatingPointRange(from_value=0.0, to_value=1.0)


class DetectorNode(Node):
    """Runs a detector on the newest image."""

    def __init__(self) -> None:
        """Load the detector and listen.

        Raises:
            OSError, ImportError, ValueError: the detector cannot be had; says why.
        """
        super().__init__("detector_node")
        model = self._text("model", TORCHVISION, "an .onnx file, torchvision, or torchvision:ARCHITECTURE")
        device = self._text("device", "cpu", "where it runs: cpu or cuda")
        compressed = self._text("image_transport", "raw", "raw or compressed") == "compressed"
        thresholds = Thresholds(
            self._share("score", 0.4, "detections that score less are left out"),
            self._share("overlap", 0.5, "boxes of a class that overlap more are one"),
        )
        about = ParameterDescriptor(description="names of the classes; empty: as the model says")
        labels = [label for label in self.declare_parameter("labels", [""], about).value if label]
        self._detector = open_detector(model, device, thresholds, labels)
        self._pixels, self._health = Pixels(), Health(self.get_logger().warning)
        self._publisher = self.create_publisher(Detection2DArray, "detections", 10)
        self.worker = Worker(self._work)
        topic = self.resolve_topic_name("image") + ("/compressed" if compressed else "")
        kind = CompressedImage if compressed else Image
        self.create_subscription(kind, topic, self.worker.submit, qos_profile_sensor_data)

    def _text(self, name: str, default: str, description: str) -> str:
        return str(self.declare_parameter(name, default, ParameterDescriptor(description=description)).value)

    def _share(self, name: str, default: float, description: str) -> float:
        about = ParameterDescriptor(description=description, floating_point_range=[SHARE])
        return float(self.declare_parameter(name, default, about).value)

    def _work(self, message: Any) -> None:
        try:
            found = self._detector(self._pixels.rgb(message))
        except (ValueError, RuntimeError) as error:
            self._health.problem("images", str(error))
            return
        boxes = [_as_message(detection) for detection in found]
        if self.context.ok():
            self._publisher.publish(Detection2DArray(header=message.header, detections=boxes))


def _as_message(detection: Detection) -> Detection2D:
    left, top, right, bottom = (float(value) for value in detection.bbox_xyxy)
    box = BoundingBox2D(size_x=right - left, size_y=bottom - top)
    box.center.position.x, box.center.position.y = (left + right) / 2, (top + bottom) / 2
    result = ObjectHypothesisWithPose()
    result.hypothesis.class_id, result.hypothesis.score = detection.label, min(1.0, detection.score)
    return Detection2D(bbox=box, results=[result])


def main(args: list[str] | None = None) -> int:
    """Run the node until it is told to stop."""
    rclpy.init(args=args)
    try:
        node = DetectorNode()
    except (ParameterException, OSError, ImportError, ValueError) as error:
        print(f"detector_node: {error}", file=sys.stderr)
        rclpy.try_shutdown()
        return 1
    return spin(node, node.worker.close)


if __name__ == "__main__":
    sys.exit(main())
