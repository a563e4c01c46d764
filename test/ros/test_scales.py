"""What tells how large things are: sizes, depth, points of another sensor, a plane, or nothing."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
from rclpy.qos import qos_profile_sensor_data
from ros.robot import OPTICAL, Robot, image_message, static_transform
from ros.scenery import CAMERA, SIZE_M, Painter, placed
from ros.showing import HZ, film, last_transform, names, one_name, until
from sensor_msgs.msg import Image, PointCloud2
from sensor_msgs_py import point_cloud2
from tf2_ros import StaticTransformBroadcaster

from uop3d_core.geometry import rigid
from uop3d_ros.msg import ObjectPose


def test_unknown_size_stays_out_of_tf(robot: Robot, activate: Callable[..., None], painter: Painter) -> None:
    activate(sizes=[""])
    scene = painter.paint(placed())
    until(robot, scene, lambda: any(o.state == ObjectPose.CONFIRMED for m in robot.objects for o in m.objects))
    assert not robot.transforms and np.isnan(robot.objects[-1].objects[0].scale)
    robot.wait(lambda: "unknown size" in robot.summary().get("objects", ""))
    assert robot.set_parameter("publish_unscaled", True).successful
    until(robot, scene, lambda: robot.transforms)
    assert last_transform(robot, one_name(robot))[2, 3] == pytest.approx(3.0, abs=0.2)  # an object unit for a metre
    assert robot.set_parameter("publish_unscaled", False).successful
    assert robot.set_parameter("sizes", [f"potato={SIZE_M}"]).successful
    robot.forget()
    until(robot, scene, lambda: robot.transforms)
    until(robot, scene, lambda: abs(last_transform(robot, one_name(robot))[2, 3] - 3.0 * SIZE_M) < 0.05)


def test_depth_gives_the_scale(robot: Robot, activate: Callable[..., None], painter: Painter) -> None:
    truth = placed(0.1, 0.0, 2.8)
    pixels, boxes = painter.paint(truth)
    depth = painter.depth(truth) * 0.35
    publisher = robot.node.create_publisher(Image, "depth", qos_profile_sensor_data)
    activate(sizes=[""], depth="image")

    def message(at: int) -> Image:
        millimetres = np.nan_to_num(np.round(depth * 1000)).astype("<u2")
        content = millimetres.view(np.uint8).reshape(*depth.shape, 2)
        return image_message(content, at, encoding="16UC1", step=2 * CAMERA.width)

    for _ in range(150):
        at = time.time_ns()
        robot.info(CAMERA, at)
        robot.image(pixels, at)
        publisher.publish(message(at))
        robot.detect(boxes, at)
        time.sleep(1 / HZ)
        if robot.transforms:
            break
    robot.node.destroy_publisher(publisher)
    [seen] = robot.objects[-1].objects
    assert seen.scale_source == "depth" and seen.scale == pytest.approx(0.35, rel=0.02)
    np.testing.assert_allclose(last_transform(robot, one_name(robot))[:3, 3], 0.35 * truth[:3, 3], atol=0.03)


def test_points_of_another_sensor(robot: Robot, activate: Callable[..., None], painter: Painter) -> None:
    """A cloud in the frame of a lidar, whose place TF tells."""
    truth, scale = placed(0.1, 0.0, 2.8), 0.35
    pixels, boxes = painter.paint(truth)
    cam_T_lidar = rigid(np.array([[0, -1, 0], [0, 0, -1], [1, 0, 0.0]]), np.array([0.1, -0.2, 0.05]))
    depth = painter.depth(truth) * scale
    ys, xs = np.nonzero(np.isfinite(depth))
    z = depth[ys, xs]
    cam = np.stack([(xs - CAMERA.K[0, 2]) / 600 * z, (ys - CAMERA.K[1, 2]) / 600 * z, z], axis=-1)
    lidar = (cam - cam_T_lidar[:3, 3]) @ cam_T_lidar[:3, :3]
    broadcaster = StaticTransformBroadcaster(robot.node)
    broadcaster.sendTransform(static_transform(OPTICAL, "lidar", cam_T_lidar))
    publisher = robot.node.create_publisher(PointCloud2, "points", qos_profile_sensor_data)
    activate(sizes=[""], depth="points")
    for _ in range(150):
        at = time.time_ns()
        robot.info(CAMERA, at)
        robot.image(pixels, at)
        header = image_message(pixels[:1, :1], at).header
        header.frame_id = "lidar"
        publisher.publish(point_cloud2.create_cloud_xyz32(header, lidar.astype(np.float32)))
        robot.detect(boxes, at)
        time.sleep(1 / HZ)
        if any(name.startswith("potato") for name in names(robot)):
            break
    robot.node.destroy_publisher(publisher)
    [seen] = robot.objects[-1].objects
    assert seen.scale_source == "depth" and seen.scale == pytest.approx(scale, rel=0.03)


def test_a_plane_gives_the_scale(robot: Robot, activate: Callable[..., None], painter: Painter) -> None:
    """Nothing but the table that the object stands on, whose frame TF knows."""
    truth, scale = placed(0.1, 0.3, 2.8), 0.35
    lowest = painter.mesh.vertices[:, 2].min()
    cam_T_table = rigid(truth[:3, :3], scale * (truth[:3, 3] + lowest * truth[:3, 2]))
    broadcaster = StaticTransformBroadcaster(robot.node)
    broadcaster.sendTransform(static_transform(OPTICAL, "table", cam_T_table))
    activate(sizes=[""], plane_frame="table")
    scene = painter.paint(truth)
    until(robot, scene, lambda: robot.transforms)
    film(robot, scene, 1.0)
    [seen] = robot.objects[-1].objects
    assert seen.scale_source == "plane" and seen.scale == pytest.approx(scale, rel=0.1)
