"""What cameras and detectors send, of all kinds, and what they should not send: the node says so and lives on."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cv_bridge import CvBridge
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from ros.robot import OPTICAL, NodeProcess, Robot, image_message, info_message
from ros.scenery import CAMERA, SIZE_M, Painter, placed
from ros.showing import HZ, film, last_transform, one_name, until
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, CompressedImage

from uop3d_core.geometry import rotation_error
from uop3d_core.messages.reading import stamp_ns
from uop3d_core.pose.estimator import PoseEstimator
from uop3d_core.types import Detection


def test_missing_detections_are_told(robot: Robot, activate: Callable[..., None], painter: Painter) -> None:
    activate()
    pixels, _ = painter.paint(placed())
    for _ in range(6):
        robot.info(CAMERA, time.time_ns())
        robot.image(pixels, time.time_ns())
        time.sleep(0.1)
    robot.wait(lambda: "no detections" in robot.summary().get("inputs", ""))
    assert not robot.objects


def test_detections_with_other_stamps(robot: Robot, activate: Callable[..., None], painter: Painter) -> None:
    activate()
    pixels, boxes = painter.paint(placed())
    for _ in range(10):
        at = time.time_ns()
        robot.info(CAMERA, at)
        robot.image(pixels, at)
        robot.detect(boxes, at + 30_000_000)  # the detector's own clock
        time.sleep(0.1)
    counts = {v.key: v.value for v in robot.wait(lambda: robot.diagnostics.get("inputs")).values}
    assert int(counts["unmatched"]) > 5 and int(counts["matched"]) == 0 and not robot.objects


def test_camera_info_comes_late(robot: Robot, activate: Callable[..., None], painter: Painter) -> None:
    activate()
    scene = painter.paint(placed())
    film(robot, scene, 1.0, info=False)
    robot.wait(lambda: "camera_info" in robot.summary().get("inputs", ""))
    assert not robot.objects
    until(robot, scene, lambda: robot.transforms)


def test_camera_without_calibration(robot: Robot, activate: Callable[..., None], painter: Painter) -> None:
    activate()
    pixels, boxes = painter.paint(placed())
    for _ in range(5):
        at = time.time_ns()
        robot.info(CAMERA, at, k=np.zeros(9))
        robot.image(pixels, at)
        robot.detect(boxes, at)
        time.sleep(0.1)
    robot.wait(lambda: "not calibrated" in robot.summary().get("inputs", ""))
    assert not robot.objects


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"encoding": "wrong"}, "wrong"),
        ({"width": 0, "height": 0, "step": 0}, "0 x 0"),
        ({"data": [1, 2, 3]}, "truncated"),
        ({"width": 320, "step": 960}, "camera_info says 640 x 480"),
    ],
)
def test_bad_images(
    robot: Robot,
    node: NodeProcess,
    activate: Callable[..., None],
    painter: Painter,
    changes: dict[str, Any],
    says: str,
) -> None:
    activate()
    pixels, boxes = painter.paint(placed())
    for _ in range(3):
        at = time.time_ns()
        robot.info(CAMERA, at)
        robot.image(pixels, at, **changes)
        robot.detect(boxes, at)
        time.sleep(0.05)
    robot.wait(lambda: says in robot.summary().get("inputs", ""))
    assert node.alive and not robot.objects
    until(robot, (pixels, boxes), lambda: robot.transforms)


def test_recording_starts_again(robot: Robot, activate: Callable[..., None], painter: Painter) -> None:
    """The stamps go back by a minute: objects are new ones, and TF goes on at the old times."""
    activate()
    scene, begin = painter.paint(placed()), time.time_ns()
    film(robot, scene, 1.5, begin)
    robot.wait(lambda: robot.transforms)
    first = one_name(robot)
    time.sleep(0.5)  # what is under way arrives
    robot.forget()
    again = film(robot, scene, 1.5, begin - 60_000_000_000)
    robot.wait(lambda: robot.transforms)
    assert one_name(robot) != first
    assert {stamp_ns(t.header.stamp) for _, t in robot.transforms} <= set(again)


def test_compressed_images(robot: Robot, activate: Callable[..., None], painter: Painter) -> None:
    publisher = robot.node.create_publisher(CompressedImage, "image/compressed", qos_profile_sensor_data)
    activate(image_transport="compressed")
    pixels, boxes = painter.paint(placed())
    message = CvBridge().cv2_to_compressed_imgmsg(pixels[..., ::-1], "png")
    message.header.frame_id = OPTICAL
    for index in range(150):
        at = time.time_ns()
        robot.info(CAMERA, at)
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(at, 1_000_000_000)
        damaged = CompressedImage(header=message.header, format="png", data=message.data[:1000])
        publisher.publish(damaged if index < 2 else message)
        robot.detect(boxes, at)
        time.sleep(1 / HZ)
        if robot.transforms:
            break
    robot.node.destroy_publisher(publisher)
    found = last_transform(robot, one_name(robot))
    assert np.rad2deg(rotation_error(found[:3, :3], placed()[:3, :3])) < 3


def test_whole_image(robot: Robot, activate: Callable[..., None], painter: Painter, model: Path) -> None:
    activate(detections="whole_image")
    frame, _ = painter.frame(placed(z=1.6))
    pixels = frame.image
    [alone] = PoseEstimator.load(model)(frame, [Detection(np.array([-0.5, -0.5, 639.5, 479.5]))])
    for _ in range(40):
        at = time.time_ns()
        robot.info(CAMERA, at)
        robot.image(pixels, at)
        time.sleep(1 / HZ)
        if robot.transforms:
            break
    found = last_transform(robot, one_name(robot))
    assert np.rad2deg(rotation_error(found[:3, :3], alone.cam_T_obj[:3, :3])) < 0.5


def test_yolo_messages(robot: Robot, activate: Callable[..., None], painter: Painter) -> None:
    yolo = pytest.importorskip("yolo_msgs.msg")
    publisher = robot.node.create_publisher(yolo.DetectionArray, "detections", 10)
    activate(detections="yolo_msgs", labels=["cup=potato"])
    pixels, [seen] = painter.paint(placed())
    left, top, right, bottom = (float(v) for v in seen.bbox_xyxy)
    item = yolo.Detection(class_name="cup", score=0.9)
    item.bbox.center.position.x, item.bbox.center.position.y = (left + right) / 2, (top + bottom) / 2
    item.bbox.size.x, item.bbox.size.y = right - left, bottom - top
    for _ in range(150):
        at = time.time_ns()
        robot.info(CAMERA, at)
        message = image_message(pixels, at)
        robot.images.publish(message)
        publisher.publish(yolo.DetectionArray(header=message.header, detections=[item]))
        time.sleep(1 / HZ)
        if robot.transforms:
            break
    robot.node.destroy_publisher(publisher)
    assert np.rad2deg(rotation_error(last_transform(robot, one_name(robot))[:3, :3], placed()[:3, :3])) < 3


def test_boxes_of_all_kinds(robot: Robot, node: NodeProcess, activate: Callable[..., None], painter: Painter) -> None:
    """Boxes that no detector should send do not keep the good one from its pose."""
    activate()
    pixels, [good] = painter.paint(placed())
    odd = [
        Detection(np.array(box, float), "potato", 0.9)
        for box in ([0, 0, 1, 1], [-9e4, -9e4, 9e4, 9e4], [700, 500, 800, 600], [-50, -50, 20, 20], [0, 0, 639, 1])
    ]
    until(robot, (pixels, [*odd, good]), lambda: robot.transforms)
    assert any("is not one of an object" in text for text in robot.summary().values()) and node.alive


def test_clock_that_jumps_back(painter: Painter, model: Path, tmp_path: Path) -> None:
    """Simulated time, as of a bag that is played in a loop: the node forgets, and goes on."""
    robot = Robot("sim_node")
    clock = robot.node.create_publisher(Clock, "/clock", 10)
    parameters = {
        "models": f'["{model}"]',
        "sizes": f'["potato={SIZE_M}"]',
        "autostart": "true",
        "use_sim_time": "true",
    }
    node = NodeProcess(tmp_path / "log.txt", parameters, "sim_node")
    pixels, boxes = painter.paint(placed())
    try:
        robot.wait_for_node()
        for start_s in (1000, 900):
            robot.forget()
            for step in range(150):
                at = start_s * 1_000_000_000 + step * 66_000_000
                message = Clock()
                message.clock.sec, message.clock.nanosec = divmod(at, 1_000_000_000)
                clock.publish(message)
                robot.show(pixels, boxes, CAMERA, at)
                time.sleep(1 / HZ)
                if any(stamp_ns(t.header.stamp) < (start_s + 50) * 1_000_000_000 for _, t in robot.transforms):
                    break
            assert robot.transforms, node.output
        robot.wait(lambda: "the clock went back" in node.output)
    finally:
        assert node.end() == 0, node.output
        robot.close()


def test_incompatible_quality_of_service(robot: Robot, tmp_path: Path, model: Path) -> None:
    """A node that insists on reliable images hears nothing of a camera that sends best effort, and says why."""
    node = NodeProcess(
        tmp_path / "log.txt",
        {
            "models": f'["{model}"]', "autostart": "true", "diagnostic_updater.period": "0.2",
            "qos_overrides./image.subscription.reliability": "reliable",
        },
        name="strict_node",
    )  # fmt: skip
    try:
        robot.wait(lambda: "quality of service does not fit" in node.output)
        assert "RELIABILITY" in node.output
    finally:
        assert node.end() == 0, node.output


def test_a_latched_camera_info(robot: Robot, painter: Painter, tmp_path: Path, model: Path) -> None:
    """It was sent once, before the node began to listen."""
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    publisher = robot.node.create_publisher(CameraInfo, "latched_info", latched)
    publisher.publish(info_message(CAMERA, time.time_ns()))
    override = "qos_overrides./latched_info.subscription"
    node = NodeProcess(
        tmp_path / "log.txt",
        {
            "models": f'["{model}"]', "sizes": f"[potato={SIZE_M}]", "autostart": "true",
            f"{override}.reliability": "reliable", f"{override}.durability": "transient_local",
        },
        name="late_node", topics={"camera_info": "latched_info"},
    )  # fmt: skip
    try:
        robot.wait(lambda: robot.images.get_subscription_count() and robot.boxes.get_subscription_count())
        robot.forget()
        until(robot, painter.paint(placed()), lambda: robot.transforms, info=False)
    finally:
        assert node.end() == 0, node.output
        robot.node.destroy_publisher(publisher)


def test_labels_and_prefix(robot: Robot, activate: Callable[..., None], painter: Painter) -> None:
    activate(labels=["cup=potato", "*=nothing"], frame_prefix="left_")
    pixels, [box] = painter.paint(placed())
    cup = type(box)(box.bbox_xyxy, "cup", 0.9)
    until(robot, (pixels, [cup]), lambda: robot.transforms)
    assert one_name(robot).startswith("left_potato_")
