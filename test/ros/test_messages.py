"""The messages survive the wire, and the conversions are exact; needs a sourced ROS 2 with uop3d_ros built."""

import math

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not sourced")

from geometry_msgs.msg import Pose, PoseWithCovariance, Quaternion
from rclpy.serialization import deserialize_message, serialize_message
from scipy.spatial.transform import Rotation
from std_msgs.msg import Header

from uop3d_ros.convert import (
    pose_to_transform,
    quat_xyzw_to_rotation,
    rotation_to_quat_xyzw,
    transform_to_pose,
)
from uop3d_ros.msg import ObjectPose, ObjectPoseArray


def random_transforms(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    transforms = np.tile(np.eye(4), (count, 1, 1))
    transforms[:, :3, :3] = Rotation.random(count, random_state=rng).as_matrix()
    transforms[:, :3, 3] = rng.normal(size=(count, 3))
    return list(transforms)


def half_turns() -> list[np.ndarray]:
    transforms = []
    for axis in np.vstack([np.eye(3), np.ones(3) / math.sqrt(3)]):
        transforms.append(np.eye(4))
        transforms[-1][:3, :3] = 2 * np.outer(axis, axis) - np.eye(3)
    return transforms


def test_array_survives_serialization():
    message = ObjectPoseArray(header=Header(frame_id="camera_optical_frame"))
    message.header.stamp.sec, message.header.stamp.nanosec = 7, 250
    for index, cam_T_obj in enumerate(random_transforms(3)):
        pose = PoseWithCovariance(pose=transform_to_pose(cam_T_obj), covariance=np.arange(36.0))
        scale = math.nan if index == 2 else 0.12
        message.objects.append(ObjectPose(category="mug", id=f"mug_{index}", pose=pose, scale=scale, score=0.5))

    received = deserialize_message(serialize_message(message), ObjectPoseArray)

    assert received.header == message.header
    assert [o.id for o in received.objects] == ["mug_0", "mug_1", "mug_2"]
    assert received.objects[:2] == message.objects[:2]
    assert received.objects[2].pose == message.objects[2].pose
    assert math.isnan(received.objects[2].scale)


def test_empty_array_survives_serialization():
    received = deserialize_message(serialize_message(ObjectPoseArray()), ObjectPoseArray)
    assert list(received.objects) == []


@pytest.mark.parametrize("cam_T_obj", [np.eye(4), *half_turns(), *random_transforms(20)])
def test_transform_round_trip(cam_T_obj):
    np.testing.assert_allclose(pose_to_transform(transform_to_pose(cam_T_obj)), cam_T_obj, atol=1e-12)


@pytest.mark.parametrize("transform", random_transforms(20))
def test_quaternion_order_is_xyzw(transform):
    R = transform[:3, :3]
    expected = Rotation.from_matrix(R).as_quat(canonical=True)  # scipy: x y z w
    np.testing.assert_allclose(rotation_to_quat_xyzw(R), expected, atol=1e-12)
    np.testing.assert_allclose(quat_xyzw_to_rotation(expected), R, atol=1e-12)


def test_default_pose_is_identity():
    np.testing.assert_array_equal(pose_to_transform(Pose()), np.eye(4))


@pytest.mark.parametrize(
    "bad",
    [np.eye(3), np.diag([1.0, 1, -1, 1]), np.diag([2.0, 2, 2, 1]), np.diag([1.0, 1, 1, 2]), np.full((4, 4), np.nan)],
)
def test_not_a_rigid_transform(bad):
    with pytest.raises(ValueError, match="transform|rotation"):
        transform_to_pose(bad)


def test_not_a_unit_quaternion():
    with pytest.raises(ValueError, match="unit length"):
        pose_to_transform(Pose(orientation=Quaternion(x=0.0, y=0.0, z=0.0, w=0.0)))


def test_position_not_finite():
    pose = Pose()
    pose.position.x = math.nan
    with pytest.raises(ValueError, match="finite"):
        pose_to_transform(pose)
