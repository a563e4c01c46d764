"""The rest of the robot, in the process of the tests: a camera, a detector, and ears for what the node says."""

from __future__ import annotations

import array
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import TransformStamped
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, Image
from tf2_msgs.msg import TFMessage
from vision_msgs.msg import BoundingBox2D, Detection2D, Detection2DArray, ObjectHypothesisWithPose

from uop3d_core.messages.building import Messages
from uop3d_core.messages.reading import stamp_ns
from uop3d_core.types import Camera, Detection
from uop3d_ros.convert import message_class
from uop3d_ros.msg import ObjectPoseArray

ROOT = Path(__file__).resolve().parents[2]
OPTICAL = "camera_optical_frame"
PATIENCE_S = 20.0
TRANSITIONS = {
    "configure": Transition.TRANSITION_CONFIGURE,
    "cleanup": Transition.TRANSITION_CLEANUP,
    "activate": Transition.TRANSITION_ACTIVATE,
    "deactivate": Transition.TRANSITION_DEACTIVATE,
    "shutdown": Transition.TRANSITION_ACTIVE_SHUTDOWN,
}


class NodeProcess:
    """pose_node as a process of its own."""

    def __init__(
        self, log: Path, parameters: dict[str, str], name: str = "pose_node", topics: dict[str, str] | None = None
    ) -> None:
        arguments = [word for key, value in parameters.items() for word in ("-p", f"{key}:={value}")]
        arguments += [word for key, value in (topics or {}).items() for word in ("-r", f"{key}:={value}")]
        self.log, self.name = log, name
        self._file = log.open("ab")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "uop3d_ros.pose_node", "--ros-args", "-r", f"__node:={name}", *arguments],
            stdout=self._file, stderr=subprocess.STDOUT,
        )  # fmt: skip

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def output(self) -> str:
        return self.log.read_text()

    def interrupt(self) -> None:
        self._process.send_signal(signal.SIGINT)

    def end(self, how: int = signal.SIGINT) -> int:
        """Exit status."""
        if self.alive:
            self._process.send_signal(how)
        status = self._process.wait(PATIENCE_S)
        self._file.close()
        return status


class Robot:
    """Publishes what a camera and a detector publish, and collects what comes back."""

    def __init__(
        self, node_name: str = "pose_node", topics: dict[str, str] | None = None, optical: str = OPTICAL
    ) -> None:
        self.optical = optical
        names = {"image": "image", "camera_info": "camera_info", "detections": "detections", **(topics or {})}
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.node = rclpy.create_node(f"robot_{os.getpid()}_{time.monotonic_ns()}", context=self.context)
        self.target = node_name
        self.images = self.node.create_publisher(Image, names["image"], qos_profile_sensor_data)
        self.infos = self.node.create_publisher(CameraInfo, names["camera_info"], qos_profile_sensor_data)
        self.boxes = self.node.create_publisher(Detection2DArray, names["detections"], 10)
        self.transforms: list[tuple[float, Any]] = []
        self.objects: list[Any] = []
        self.diagnostics: dict[str, Any] = {}
        self.heard: dict[str, list[Any]] = {}
        self.node.create_subscription(TFMessage, "/tf", self._tf, 100)
        self.node.create_subscription(ObjectPoseArray, f"{node_name}/objects", self.objects.append, 100)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._diagnostics, 10)
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._executor.spin, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._executor.shutdown()
        self._thread.join()
        self.node.destroy_node()
        rclpy.try_shutdown(context=self.context)

    def listen(self, kind: Any, topic: str) -> list[Any]:
        messages = self.heard.setdefault(topic, [])
        self.node.create_subscription(kind, topic, messages.append, 10)
        return messages

    def _tf(self, message: Any) -> None:
        now = time.time()
        self.transforms += [(now, transform) for transform in message.transforms]

    def _diagnostics(self, message: Any) -> None:
        for status in message.status:
            if status.name.startswith(f"{self.target}: "):
                self.diagnostics[status.name.removeprefix(f"{self.target}: ")] = status

    def forget(self) -> None:
        """What was heard so far does not count."""
        self.transforms.clear()
        self.objects.clear()
        self.diagnostics.clear()
        for messages in self.heard.values():
            messages.clear()

    # What it sends

    def info(self, camera: Camera, at_ns: int, **changes: Any) -> None:
        message = info_message(camera, at_ns, **changes)
        message.header.frame_id = self.optical
        self.infos.publish(message)

    def image(self, pixels: np.ndarray, at_ns: int, **changes: Any) -> None:
        message = image_message(pixels, at_ns, **changes)
        message.header.frame_id = self.optical
        self.images.publish(message)

    def detect(self, detections: Sequence[Detection], at_ns: int) -> None:
        self.boxes.publish(detections_message(detections, at_ns))

    def show(self, pixels: np.ndarray, detections: Sequence[Detection], camera: Camera, at_ns: int) -> None:
        """All three at once."""
        self.info(camera, at_ns)
        self.image(pixels, at_ns)
        self.detect(detections, at_ns)

    # What it asks

    def call(self, kind: Any, name: str, request: Any, timeout_s: float = PATIENCE_S) -> Any:
        client = self.node.create_client(kind, name)
        try:
            assert client.wait_for_service(timeout_s), f"no service {name}"
            done = threading.Event()
            future = client.call_async(request)
            future.add_done_callback(lambda _: done.set())
            assert done.wait(timeout_s), f"{name} did not answer"
            return future.result()
        finally:
            self.node.destroy_client(client)

    def transition(self, label: str, timeout_s: float = PATIENCE_S) -> bool:
        request = ChangeState.Request(transition=Transition(id=TRANSITIONS[label]))
        return self.call(ChangeState, f"{self.target}/change_state", request, timeout_s).success

    @property
    def state(self) -> str:
        return self.call(GetState, f"{self.target}/get_state", GetState.Request()).current_state.label

    def set_parameter(self, name: str, value: Any) -> Any:
        request = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
        [result] = self.call(SetParameters, f"{self.target}/set_parameters", request).results
        return result

    def wait(self, what: Callable[[], Any], timeout_s: float = PATIENCE_S) -> Any:
        """The first true value of a function."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if value := what():
                return value
            time.sleep(0.01)
        raise AssertionError(f"waited {timeout_s:.0f} s in vain; diagnostics: {self.summary()}")

    def summary(self) -> dict[str, str]:
        return {name: status.message for name, status in self.diagnostics.items()}

    def wait_for_node(self, timeout_s: float = PATIENCE_S) -> None:
        """Until the node hears the camera and is heard."""
        heard, images = self.node.count_subscribers, self.images.topic_name
        self.wait(lambda: heard(self.infos.topic_name) and (heard(images) or heard(f"{images}/compressed")), timeout_s)
        self.wait(lambda: self.node.count_publishers(f"{self.target}/objects"))
        time.sleep(0.2)


def image_message(pixels: np.ndarray, at_ns: int, **changes: Any) -> Image:
    height, width = pixels.shape[:2]
    message = Image(height=height, width=width, encoding="rgb8", step=3 * width)
    message.data = array.array("B", pixels.tobytes())
    message.header.frame_id = OPTICAL
    _stamp(message.header, at_ns)
    for name, value in changes.items():
        setattr(message, name, value)
    return message


def info_message(camera: Camera, at_ns: int, **changes: Any) -> CameraInfo:
    message = CameraInfo(width=camera.width, height=camera.height, distortion_model="plumb_bob", d=[0.0] * 5)
    message.header.frame_id = OPTICAL
    _stamp(message.header, at_ns)
    message.k = camera.K.reshape(-1)
    message.p = np.concatenate([camera.K, np.zeros((3, 1))], axis=1).reshape(-1)
    for name, value in changes.items():
        setattr(message, name, value)
    return message


def detections_message(detections: Sequence[Detection], at_ns: int) -> Detection2DArray:
    message = Detection2DArray()
    message.header.frame_id = OPTICAL
    _stamp(message.header, at_ns)
    message.detections = [detection_message(detection) for detection in detections]
    return message


def detection_message(detection: Detection) -> Detection2D:
    left, top, right, bottom = (float(v) for v in detection.bbox_xyxy)
    box = BoundingBox2D(size_x=right - left, size_y=bottom - top)
    box.center.position.x, box.center.position.y = (left + right) / 2, (top + bottom) / 2
    result = ObjectHypothesisWithPose()
    result.hypothesis.class_id, result.hypothesis.score = detection.label, detection.score
    return Detection2D(bbox=box, results=[result])


def _stamp(header: Any, at_ns: int) -> None:
    header.stamp.sec, header.stamp.nanosec = divmod(at_ns, 1_000_000_000)


def stamps(messages: Sequence[Any]) -> list[int]:
    return [stamp_ns(message.header.stamp) for message in messages]


def static_transform(parent: str, child: str, parent_T_child: np.ndarray) -> TransformStamped:
    messages = Messages(message_class, {})
    message = TransformStamped(child_frame_id=child)
    message.header.frame_id = parent
    message.transform.translation = messages.vector(parent_T_child[:3, 3])
    message.transform.rotation = messages.quaternion(parent_T_child[:3, :3])
    return message
