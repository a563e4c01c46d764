"""Recordings and ROS's own recorder and player: they read what replay wrote, and play recordings through the node."""

from __future__ import annotations

import importlib.util
import signal
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from films import CATEGORY, UNIT_M, painted_film, truthful_stream
from ros.commands import launched, run
from ros.robot import Robot
from tf2_msgs.msg import TFMessage

from uop3d_core.bags.replay import OUTPUTS, ReplayOptions, replay
from uop3d_core.bags.synthetic import FIXED, OPTICAL, write_film
from uop3d_core.geometry import rotation_error
from uop3d_core.messages.reading import stamp_ns, transform_of
from uop3d_core.pose.scale import KnownSize

pytestmark = pytest.mark.skipif(importlib.util.find_spec("ros2bag") is None, reason="ros2 bag is not there")


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("film") / "film.mcap"
    write_film(path, painted_film(), CATEGORY)
    return path


@pytest.fixture(scope="module")
def poses(film: Path) -> Path:
    path = film.with_name("poses.mcap")
    stream = truthful_stream(sizes={CATEGORY: KnownSize(diameter=UNIT_M)})
    replay(stream, film, path, ReplayOptions(fixed_frame=FIXED, images=True))
    return path


def test_info_tells_all_topics(poses: Path) -> None:
    told = run("ros2", "bag", "info", str(poses))
    assert told.returncode == 0, told.stderr
    for topic, kind in OUTPUTS.items():
        assert f"Topic: {topic} | Type: {kind} |" in told.stdout


def objects_in_tf(robot: Robot) -> list[Any]:
    return [t for _, t in robot.transforms if t.child_frame_id.startswith(CATEGORY)]


def test_what_replay_wrote_is_played(poses: Path) -> None:
    robot = Robot()
    static = robot.listen(TFMessage, "/tf_static")
    player = subprocess.Popen(
        ["ros2", "bag", "play", str(poses), "--delay", "1"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        robot.wait(lambda: len(objects_in_tf(robot)) == 3 and len(robot.objects) == 5)
        shots = {shot.stamp_ns for shot in painted_film().shots}
        assert {stamp_ns(t.header.stamp) for t in objects_in_tf(robot)} <= shots
        assert {stamp_ns(m.header.stamp) for m in robot.objects} == shots
        assert [t.child_frame_id for m in static for t in m.transforms] == [OPTICAL]
        player.wait(20)
    finally:
        player.send_signal(signal.SIGINT)
        player.communicate()
        robot.close()


def test_a_recording_through_the_node(film: Path, model: Path, tmp_path: Path) -> None:
    arguments = {
        "bag": film, "model": model, "sizes": f"{CATEGORY}={UNIT_M}", "image": "/camera/image_raw",
        "camera_info": "/camera/camera_info", "detections": "/detector/detections", "delay_s": "5.0", "rate": "0.3",
    }  # fmt: skip
    robot, log = Robot(), tmp_path / "log.txt"
    try:
        with launched(log, "replay.launch.py", *(f"{name}:={value}" for name, value in arguments.items())):
            robot.wait(lambda: objects_in_tf(robot), 60)
    finally:
        robot.close()
    shots = {shot.stamp_ns: shot for shot in painted_film().shots}
    for found in objects_in_tf(robot):
        cam_T_obj, truth = transform_of(found.transform), shots[stamp_ns(found.header.stamp)].cam_T_obj[0]
        assert found.header.frame_id == OPTICAL
        assert np.rad2deg(rotation_error(cam_T_obj[:3, :3], truth[:3, :3])) < 6
        assert np.linalg.norm(cam_T_obj[:3, 3] - truth[:3, 3]) < 0.1 * truth[2, 3]
    assert "Traceback" not in log.read_text(), log.read_text()
