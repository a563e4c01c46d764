"""One model file, one robot and one node for all tests that can share them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not sourced")
pytest.importorskip("onnxscript", reason="pip install 'uop3d[deploy]'")

from ros.robot import NodeProcess, Robot  # noqa: E402
from ros.scenery import Painter, write_model  # noqa: E402


@pytest.fixture(scope="session", autouse=True)
def active_environment() -> Iterator[None]:
    """What `ros2 run` starts is run by this Python, as in an activated virtual environment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
        yield


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "potato.onnx")


@pytest.fixture(scope="session")
def painter() -> Painter:
    return Painter()


@pytest.fixture(scope="module")
def robot() -> Iterator[Robot]:
    robot = Robot()
    yield robot
    robot.close()


@pytest.fixture(scope="module")
def node(robot: Robot, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    node = NodeProcess(tmp_path_factory.mktemp("node") / "log.txt", {"diagnostic_updater.period": "0.2"})
    robot.wait(lambda: robot.node.count_publishers("/diagnostics"))
    yield node
    alive = node.alive
    status = node.end()
    assert alive and status == 0, node.output
