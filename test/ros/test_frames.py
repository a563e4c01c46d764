"""In which frame poses are: that of the camera, another one, one at rest, and with two cameras."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ros.robot import OPTICAL, NodeProcess, Robot, static_transform
from ros.scenery import CAMERA, SIZE_M, Painter, placed
from ros.showing import HZ, about_y, errors, film, last_transform, names, until
from tf2_ros import StaticTransformBroadcaster, TransformBroadcaster

from uop3d_core.geometry import inverse_rigid, rigid
from uop3d_core.messages.reading import stamp_ns, transform_of


def test_target_frame(robot: Robot, activate: Callable[..., None], painter: Painter) -> None:
    base_T_cam = rigid(np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0.0]]), np.array([0.3, 0.1, 1.2]))
    activate(target_frame="base_link")
    truth = placed(0.2, 0.1)
    scene = painter.paint(truth)
    film(robot, scene, 1.0)
    robot.wait(lambda: "target_frame" in robot.summary().get("inputs", ""))
    assert not robot.objects
    broadcaster = StaticTransformBroadcaster(robot.node)
    broadcaster.sendTransform(static_transform("base_link", OPTICAL, base_T_cam))
    until(robot, scene, lambda: any(name.startswith("potato") for name in names(robot)))
    ours = [t for _, t in robot.transforms if t.child_frame_id.startswith("potato")]
    assert {t.header.frame_id for t in ours} == {"base_link"} == {m.header.frame_id for m in robot.objects}
    expected = base_T_cam @ rigid(truth[:3, :3], SIZE_M * truth[:3, 3])
    np.testing.assert_allclose(transform_of(ours[-1].transform)[:3, 3], expected[:3, 3], atol=0.03)


def answered_until(robot: Robot, stamp: int, patience_s: float) -> None:
    """Wait for the answer to an image, which may have been lost."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        if robot.objects and stamp_ns(robot.objects[-1].header.stamp) == stamp:
            return
        time.sleep(0.005)


@pytest.mark.parametrize(("fixed_frame", "objects"), [("odom", 1), ("", 2)])
def test_a_camera_that_turns_away(
    robot: Robot,
    activate: Callable[..., None],
    painter: Painter,
    monkeypatch: pytest.MonkeyPatch,
    fixed_frame: str,
    objects: int,
) -> None:
    """Who knows that it was the camera has the same object at once; who does not takes it for another one."""
    monkeypatch.setattr(robot, "optical", "turning_optical_frame")
    activate(fixed_frame=fixed_frame)
    broadcaster, odom_T_obj, cam_T_obj = TransformBroadcaster(robot.node), placed(0.4, 0.1), np.eye(4)
    begin = time.time_ns()
    for index, degrees in enumerate([0] * 30 + [12] * 15):
        at, odom_T_cam = begin + round(1e9 * index / HZ), about_y(np.deg2rad(degrees))  # however long answers take
        moved = static_transform("odom", robot.optical, odom_T_cam)
        moved.header.stamp.sec, moved.header.stamp.nanosec = divmod(at, 1_000_000_000)
        broadcaster.sendTransform(moved)
        cam_T_obj = inverse_rigid(odom_T_cam) @ odom_T_obj
        robot.show(*painter.paint(cam_T_obj), CAMERA, at)
        time.sleep(1 / HZ)
        answered_until(robot, at, 1.0)
    robot.wait(lambda: stamp_ns(robot.objects[-1].header.stamp) == at)
    found = [name for name in sorted(names(robot)) if name.startswith("potato")]
    assert len(found) == objects
    degrees, metres = errors(last_transform(robot, found[-1]), cam_T_obj)
    assert degrees < 3 and metres < 0.04


def test_two_cameras(painter: Painter, model: Path, tmp_path: Path) -> None:
    """One node each, side by side: the frames of both are in one tree and do not get mixed up."""
    sides = {"left": placed(0.3, 0.1), "right": placed(-0.2, 0.0, yaw=1.2)}
    robots, nodes = {}, {}
    for side in sides:
        topics = {name: f"/{side}/{name}" for name in ("image", "camera_info", "detections")}
        parameters = {
            "models": f'["{model}"]', "sizes": f'["potato={SIZE_M}"]', "frame_prefix": f"{side}_", "autostart": "true",
        }  # fmt: skip
        robots[side] = Robot(f"{side}_node", topics, f"{side}_optical_frame")
        nodes[side] = NodeProcess(tmp_path / f"{side}.txt", parameters, f"{side}_node", topics)
    listener = robots["left"]
    try:
        for robot in robots.values():
            robot.wait_for_node()
        scenes = {side: painter.paint(truth) for side, truth in sides.items()}
        for _ in range(60):
            for side, robot in robots.items():
                robot.show(*scenes[side], CAMERA, time.time_ns())
            time.sleep(1 / HZ)
        assert {(t.header.frame_id, t.child_frame_id) for _, t in listener.transforms} == {
            ("left_optical_frame", "left_potato_1"),
            ("right_optical_frame", "right_potato_1"),
        }
        for side, truth in sides.items():
            degrees, metres = errors(last_transform(listener, f"{side}_potato_1"), truth)
            assert degrees < 4 and metres < 0.04, side
            assert {o.id for m in robots[side].objects for o in m.objects} == {f"{side}_potato_1"}
    finally:
        status = [node.end() for node in nodes.values()]
        for robot in robots.values():
            robot.close()
    assert status == [0, 0]
