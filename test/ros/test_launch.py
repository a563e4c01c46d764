"""The launch files, the commands of `ros2 run`, the parameter file and the examples, as a person would use them."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import yaml
from onnx import TensorProto, helper, numpy_helper
from ros.commands import launched, run
from ros.robot import OPTICAL, ROOT, Robot, stamps, static_transform
from ros.scenery import CAMERA, SIZE_M, Painter, placed
from tf2_ros import StaticTransformBroadcaster
from torchvision_files import ARCHITECTURE, why_not, write_weights
from vision_msgs.msg import Detection2DArray, Detection3D, Detection3DArray

from uop3d_core.geometry import rigid, rotation_error
from uop3d_core.messages.quaternions import quat_xyzw_to_rotation
from uop3d_core.messages.reading import transform_of
from uop3d_ros.msg import ObjectPoseArray
from uop3d_ros.outputs import TOPICS
from uop3d_ros.parameters import describe, fields

NO_TORCHVISION = why_not()


def write_detector(path: Path, box: np.ndarray) -> Path:
    """An ONNX detector that always sees one box, xyxy in an image of 640 x 480, fitted into 640 x 640."""
    row = np.array([[[box[0] + 0.5, box[1] + 80.5, box[2] + 0.5, box[3] + 80.5, 0.9, 0]]], np.float32)
    nodes = [
        helper.make_node("ReduceMax", ["image"], ["most"], keepdims=0),
        helper.make_node("Mul", ["most", "zero"], ["nothing"]),
        helper.make_node("Add", ["rows", "nothing"], ["output"]),
    ]
    graph = helper.make_graph(
        nodes, "constant",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 640, 640])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 1, 6])],
        [numpy_helper.from_array(row, "rows"), numpy_helper.from_array(np.zeros((), np.float32), "zero")],
    )  # fmt: skip
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(proto, {"names": "{0: 'cup'}"})
    path.write_bytes(proto.SerializeToString())
    return path


def test_pose_launch_with_a_detector(model: Path, painter: Painter, tmp_path: Path) -> None:
    """Everything through the launch file: namespace, remapped topics, a detector, sizes, labels, the prefix."""
    truth = placed(0.2, 0.1)
    pixels, [seen] = painter.paint(truth)
    detector = write_detector(tmp_path / "detector.onnx", seen.bbox_xyxy)
    robot = Robot("/left/finder", {"image": "/cam/image_raw", "camera_info": "/cam/info"})
    arguments = {
        "model": str(model), "sizes": f"potato={SIZE_M}", "labels": "cup=potato", "namespace": "left",
        "name": "finder", "image": "/cam/image_raw", "camera_info": "/cam/info", "frame_prefix": "left_",
        "detector": str(detector), "log_level": "warn",
    }  # fmt: skip
    log = tmp_path / "log.txt"
    try:
        with launched(log, "pose.launch.py", *(f"{k}:={v}" for k, v in arguments.items())):
            robot.wait(lambda: robot.images.get_subscription_count() == 2 and robot.infos.get_subscription_count(), 60)
            for _ in range(200):
                robot.info(CAMERA, at := time.time_ns())
                robot.image(pixels, at)
                time.sleep(0.1)
                if robot.transforms:
                    break
            assert robot.transforms, log.read_text()
            _, last = robot.transforms[-1]
            assert last.child_frame_id.startswith("left_potato_") and last.header.frame_id == OPTICAL
            found = transform_of(last.transform)
            assert np.rad2deg(rotation_error(found[:3, :3], truth[:3, :3])) < 4
            assert robot.objects[-1].objects[0].category == "potato"
    finally:
        robot.close()
    assert "Traceback" not in log.read_text(), log.read_text()


@pytest.mark.skipif(bool(NO_TORCHVISION), reason=NO_TORCHVISION)
def test_pose_launch_with_a_detector_of_torchvision(
    model: Path, painter: Painter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its weights, written for the test, find a cup in the middle and bowls in the corners of every image."""
    write_weights(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    robot, sent = Robot(), []
    boxes = robot.listen(Detection2DArray, "detections")
    estimates = robot.listen(ObjectPoseArray, "pose_node/estimates")
    arguments = [f"model:={model}", f"sizes:=potato={SIZE_M}", "labels:=cup=potato"]
    pixels, _ = painter.paint(placed())
    log = tmp_path / "log.txt"

    def seen() -> bool:
        sent.append(time.time_ns())
        robot.info(CAMERA, sent[-1])
        robot.image(pixels, sent[-1])
        time.sleep(0.2)
        return any(message.objects for message in estimates)

    try:
        with launched(log, "pose.launch.py", *arguments, f"detector:=torchvision:{ARCHITECTURE}"):
            robot.wait(seen, 180)
        assert set(stamps(boxes)) | set(stamps(estimates)) <= set(sent)
        [cup, *bowls] = boxes[0].detections
        assert (cup.results[0].hypothesis.class_id, len(bowls)) == ("cup", 4)
        assert cup.results[0].hypothesis.score == pytest.approx(0.9, abs=1e-3)
        middle, width, height = cup.bbox.center.position, cup.bbox.size_x, cup.bbox.size_y
        np.testing.assert_allclose([middle.x, middle.y, width, height], [319.5, 239.5, 608, 456], atol=0.05)
        [potato, *others] = next(message.objects for message in estimates if message.objects)
        assert potato.category == "potato" and potato.other < 1
        assert [other.other for other in others] == [1.0] * 4  # no model knows bowls
    finally:
        robot.close()
    assert "Traceback" not in log.read_text(), log.read_text()


def test_a_killed_node_is_started_again(model: Path, painter: Painter, tmp_path: Path) -> None:
    robot, (pixels, boxes) = Robot("phoenix"), painter.paint(placed())
    arguments = [f"model:={model}", f"sizes:=potato={SIZE_M}", "respawn:=true", "name:=phoenix"]

    def seen() -> bool:
        robot.show(pixels, boxes, CAMERA, time.time_ns())
        time.sleep(0.05)
        return bool(robot.transforms)

    try:
        with launched(tmp_path / "log.txt", "pose.launch.py", *arguments) as launch:
            for _ in range(2):
                robot.wait(seen, 60)
                started = psutil.Process(launch.pid).children(recursive=True)
                [node] = [each for each in started if any("pose_node" in word for word in each.cmdline())]
                node.kill()
                node.wait(10)
                time.sleep(0.5)  # what it sent has arrived
                robot.forget()
            robot.wait(seen, 60)
    finally:
        robot.close()


def test_pregrasp_example(model: Path, painter: Painter, tmp_path: Path) -> None:
    robot = Robot()
    base_T_cam = rigid(np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0.0]]), np.array([0.3, 0.1, 1.2]))
    truth = placed(0.1)
    try:
        with launched(tmp_path / "log.txt", "pose.launch.py", f"model:={model}", f"sizes:=potato={SIZE_M}:0.01"):
            robot.wait_for_node(60)
            broadcaster = StaticTransformBroadcaster(robot.node)
            broadcaster.sendTransform(static_transform("base_link", OPTICAL, base_T_cam))
            example = subprocess.Popen(
                [sys.executable, str(ROOT / "examples/pregrasp.py"), "potato", "base_link"],
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            )  # fmt: skip
            pixels, boxes = painter.paint(truth)
            deadline = time.monotonic() + 60
            while example.poll() is None and time.monotonic() < deadline:
                robot.show(pixels, boxes, CAMERA, time.time_ns())
                time.sleep(0.1)
            example.terminate()
            output, _ = example.communicate()
        assert "gripper in base_link" in output, output
        position, quat_xyzw = (np.array(yaml.safe_load(part)) for part in re.findall(r"\[.*?\]", output))
        base_T_obj = base_T_cam @ rigid(truth[:3, :3], SIZE_M * truth[:3, 3])
        np.testing.assert_allclose(position, base_T_obj[:3, 3] + [0, 0, 0.15], atol=0.03)
        looking_down = base_T_obj[:3, :3] @ np.diag([1, -1, -1])
        assert np.rad2deg(rotation_error(quat_xyzw_to_rotation(quat_xyzw), looking_down)) < 4
    finally:
        robot.close()


def test_collision_objects_example() -> None:
    """An object comes into MoveIt's planning scene as a box, moves, and is taken out."""
    moveit = pytest.importorskip("moveit_msgs.msg")
    robot = Robot()
    scenes = robot.listen(moveit.PlanningScene, "planning_scene")
    found = robot.node.create_publisher(Detection3DArray, "pose_node/detections", 10)
    message, mug = Detection3DArray(), Detection3D(id="mug_1")
    message.header.frame_id = mug.header.frame_id = OPTICAL
    mug.bbox.center.position.z, mug.bbox.center.orientation.w = 0.6, 1.0
    mug.bbox.size.x, mug.bbox.size.y, mug.bbox.size.z = 0.12, 0.08, 0.1
    example = subprocess.Popen([sys.executable, str(ROOT / "examples/collision_objects.py")], stderr=subprocess.PIPE)
    try:
        robot.wait(lambda: found.get_subscription_count() and robot.node.count_publishers("planning_scene"))
        time.sleep(0.5)
        for detections in ([mug], []):
            message.detections = detections
            scenes.clear()
            found.publish(message)
            robot.wait(lambda: scenes)
            [box] = scenes[0].world.collision_objects
            assert scenes[0].is_diff and (box.id, box.header.frame_id) == ("mug_1", OPTICAL)
            assert box.operation == (box.ADD if detections else box.REMOVE)
            if detections:
                assert list(box.primitives[0].dimensions) == [0.12, 0.08, 0.1] and box.pose.position.z == 0.6
    finally:
        example.send_signal(signal.SIGINT)
        _, complaints = example.communicate()
        robot.close()
    assert example.returncode == 0 and not complaints, complaints


def test_ros2_run_is_the_command_line() -> None:
    result = run("ros2", "run", "uop3d_ros", "estimate", "--help")
    assert result.returncode == 0 and "--detections" in result.stdout
    result = run("ros2", "run", "uop3d_ros", "uop3d", "--version")
    assert result.returncode == 0 and "0." in result.stdout


def test_detector_node_says_why_it_cannot_start(tmp_path: Path) -> None:
    result = run("ros2", "run", "uop3d_ros", "detector_node", "--ros-args", "-p", f"model:={tmp_path}/none.onnx")
    assert result.returncode == 1 and "none.onnx: no such file" in result.stderr and "Traceback" not in result.stderr


def test_a_python_without_the_dependencies_is_told_apart(tmp_path: Path) -> None:
    code = "import sys; sys.argv = ['pose_node']; from uop3d_ros.executable import main; sys.exit(main())"
    result = run(sys.executable, "-S", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {code}")
    assert result.returncode == 1 and "virtual environment" in result.stderr and "Traceback" not in result.stderr


def test_replay_launch(tmp_path: Path) -> None:
    result = run("ros2", "launch", "uop3d_ros", "replay.launch.py", "--show-args")
    assert result.returncode == 0
    for argument in ("bag", "rate", "loop", "model", "image", "target_frame"):
        assert f"'{argument}'" in result.stdout
    result = run("ros2", "launch", "uop3d_ros", "replay.launch.py", f"bag:={tmp_path}/none")
    assert result.returncode != 0 and "no such file or folder" in result.stdout + result.stderr


def test_the_parameter_file_is_complete() -> None:
    content = yaml.safe_load((ROOT / "config/pose.yaml").read_text())["/**"]["ros__parameters"]
    flat = {}
    for name, value in content.items():
        flat.update({f"{name}.{k}": v for k, v in value.items()} if isinstance(value, dict) else {name: value})
    expected = {name: describe(field, changeable)[0] for name, field, changeable in fields()}
    assert flat == expected
    assert {type(flat[name]) for name in flat if isinstance(expected[name], float)} == {float}


def test_the_page_about_the_node_names_everything() -> None:
    page = (ROOT / "docs/ros.md").read_text()
    for name, _, _ in fields():
        assert f"`{name.partition('.')[0]}.*`" in page if "." in name else f"`{name}`" in page, name
    for topic, _ in TOPICS.values():
        assert f"`{topic}`" in page
    for example in (ROOT / "examples").glob("*.py"):
        assert f"examples/{example.name}" in page


@pytest.mark.parametrize("name", ["pose.rviz", "foxglove_layout.json"])
def test_views_are_readable(name: str) -> None:
    assert yaml.safe_load((ROOT / "config" / name).read_text())
