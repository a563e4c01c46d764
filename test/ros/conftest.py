"""One model file, one robot and one node for all tests that can share them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not sourced")
pytest.importorskip("onnxscript", reason="pip install 'uop3d[deploy]'")

from ros.robot import NodeProcess, Robot  # noqa: E402
from ros.scenery import SIZE_M, Painter, write_model  # noqa: E402

DEFAULTS = {
    "models": [""], "sizes": [""], "target_frame": "", "detections": "vision_msgs", "image_transport": "raw",
    "depth": "none", "plane_frame": "", "fixed_frame": "", "publish_unscaled": False, "frame_prefix": "",
    "labels": [""], "publish_min_score": 0.0, "track.confirm_hits": 3, "device": "cpu",
}  # fmt: skip


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


@pytest.fixture
def activate(robot: Robot, node: NodeProcess, model: Path) -> Iterator[Callable[..., None]]:
    """Configure and activate the node with parameters; afterwards it is as it was."""
    changed: dict[str, Any] = {}

    def start(**parameters: Any) -> None:
        parameters = {"models": [str(model)], "sizes": [f"potato={SIZE_M}"], **parameters}
        for name, value in parameters.items():
            name = name.replace("__", ".")
            changed[name] = DEFAULTS[name]
            assert robot.set_parameter(name, value).successful
        assert robot.transition("configure") and robot.transition("activate")
        robot.wait_for_node()
        robot.forget()

    yield start
    robot.transition("deactivate")
    robot.transition("cleanup")
    for name, value in changed.items():
        robot.set_parameter(name, value)
    robot.forget()
