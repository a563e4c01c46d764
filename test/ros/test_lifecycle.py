"""The node through its states: nothing leaks, nothing that is wrong kills it, and it says what is wrong."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from ros.robot import NodeProcess, Robot
from ros.scenery import CAMERA, SIZE_M, Painter, placed


def show(robot: Robot, painter: Painter, count: int = 12) -> None:
    pixels, boxes = painter.paint(placed())
    for _ in range(count):
        robot.show(pixels, boxes, CAMERA, time.time_ns())
        time.sleep(0.06)


def test_cycles_leave_nothing_behind(robot: Robot, node: NodeProcess, model: Path, painter: Painter) -> None:
    assert robot.set_parameter("models", [str(model)]).successful
    assert robot.set_parameter("sizes", [f"potato={SIZE_M}"]).successful
    process, threads, memory, descriptors = psutil.Process(node.pid), [], [], []
    for _ in range(6):
        assert robot.transition("configure") and robot.state == "inactive"
        assert robot.transition("activate") and robot.state == "active"
        robot.wait_for_node()
        robot.forget()
        show(robot, painter)
        robot.wait(lambda: robot.transforms)
        assert robot.transition("deactivate") and robot.state == "inactive"
        robot.forget()
        show(robot, painter, 4)
        assert not robot.transforms and not robot.objects
        assert robot.transition("cleanup") and robot.state == "unconfigured"
        threads.append(process.num_threads())
        memory.append(process.memory_info().rss / 2**20)
        descriptors.append(process.num_fds())
    assert threads[-1] <= threads[1] and descriptors[-1] <= descriptors[1]
    assert memory[-1] - memory[1] < 25, memory


def test_transitions_that_are_not_allowed(robot: Robot, node: NodeProcess) -> None:
    assert robot.state == "unconfigured"
    with pytest.raises(AssertionError, match="did not answer"):  # as rclpy does it: an error and no answer
        robot.transition("activate", timeout_s=2.0)
    assert robot.state == "unconfigured" and node.alive
    assert "refused" in node.output


@pytest.mark.parametrize("what", ["nothing", "missing", "garbage", "truncated", "two of one category"])
def test_models_that_cannot_be_loaded(robot: Robot, node: NodeProcess, model: Path, tmp_path: Path, what: str) -> None:
    path = tmp_path / "potato.onnx"
    if what == "garbage":
        path.write_bytes(b"not a model")
    if what == "truncated":
        path.write_bytes(model.read_bytes()[: model.stat().st_size // 2])
    models, says = {
        "nothing": ([""], "'models' is empty"),
        "missing": ([str(path)], str(path)),
        "garbage": ([str(path)], str(path)),
        "truncated": ([str(path)], str(path)),
        "two of one category": ([str(model), str(model)], "one model per category"),
    }[what]
    assert robot.set_parameter("sizes", [""]).successful
    assert robot.set_parameter("models", models).successful
    assert not robot.transition("configure")
    assert robot.state == "unconfigured" and node.alive
    robot.wait(lambda: says in robot.summary().get("model", ""))
    assert says in node.output
    assert robot.set_parameter("models", [str(model)]).successful
    assert robot.transition("configure") and robot.transition("cleanup")


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("slop_s", -1.0, "range"),
        ("max_detections", 0, "range"),
        ("track.lost_s", 1e9, "range"),
        ("track.min_score", 0.0, "min_score"),  # the range is open there, which ROS cannot say
        ("detections", "telepathy", "whole_image"),
        ("labels", ["cup"], "form"),
        ("sizes", ["potato=large"], "CATEGORY=METRES"),
        ("sizes", ["potato=-0.1"], "positive"),
        ("frame_prefix", "my robot ", "pattern"),
        ("slop_s", "a lot", "type"),
    ],
)
def test_parameters_out_of_range_are_refused(robot: Robot, node: NodeProcess, name, value, says) -> None:  # type: ignore[no-untyped-def]
    result = robot.set_parameter(name, value)
    assert not result.successful and says in result.reason


def test_what_a_configured_node_refuses(robot: Robot, node: NodeProcess, model: Path) -> None:
    assert robot.set_parameter("models", [str(model)]).successful
    assert robot.transition("configure")
    refused = robot.set_parameter("device", "cuda")
    assert not refused.successful and "clean up" in refused.reason
    refused = robot.set_parameter("sizes", ["shoe=0.3"])
    assert not refused.successful and "shoe" in refused.reason
    assert robot.set_parameter("min_detection_score", 0.5).successful
    assert robot.set_parameter("min_detection_score", 0.0).successful
    assert robot.set_parameter("track.lost_s", 2.0).successful
    assert robot.set_parameter("track.lost_s", 1.0).successful
    assert robot.transition("cleanup")


@pytest.mark.parametrize("argument", ["slop_s:=-1.0", "slop_s:=soon", "detections:=telepathy", "sizes:=['x']"])
def test_a_node_with_a_wrong_parameter_does_not_start(argument: str) -> None:
    command = [sys.executable, "-m", "uop3d_ros.pose_node", "--ros-args", "-p", argument]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 1 and argument.partition(":=")[0] in result.stderr
    assert "Traceback" not in result.stderr


def test_killed_and_started_again(model: Path, painter: Painter, tmp_path: Path) -> None:
    """A new process takes over on the same topics while the camera goes on."""
    robot, parameters = (
        Robot("phoenix"),
        {"models": f'["{model}"]', "sizes": f'["potato={SIZE_M}"]', "autostart": "true"},
    )
    try:
        for attempt in range(2):
            node = NodeProcess(tmp_path / f"{attempt}.txt", parameters, "phoenix")
            robot.wait_for_node()
            robot.forget()
            show(robot, painter, 20)
            robot.wait(lambda: robot.transforms)
            node.end(signal.SIGKILL if attempt == 0 else signal.SIGINT)
            assert "Traceback" not in node.output
            robot.wait(lambda: not robot.node.count_publishers("phoenix/objects"), 60)
    finally:
        robot.close()


def test_two_interrupts_are_one(model: Path, tmp_path: Path) -> None:
    robot = Robot("hasty")
    try:
        node = NodeProcess(tmp_path / "log.txt", {"models": f'["{model}"]', "autostart": "true"}, "hasty")
        robot.wait_for_node()
        node.interrupt()
        time.sleep(0.05)
        assert node.end() == 0, node.output
        assert "Traceback" not in node.output
    finally:
        robot.close()
