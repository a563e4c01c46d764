"""A camera, a detector and pose_node as three parties on real middleware; poses are known exactly."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from geometry_msgs.msg import PoseArray
from ros.robot import OPTICAL, Robot, detection_message, stamps
from ros.scenery import CAMERA, SIZE_M, Painter, placed
from ros.showing import errors, film, last_transform, names, one_name, until
from std_srvs.srv import SetBool, Trigger
from vision_msgs.msg import Detection3DArray
from visualization_msgs.msg import MarkerArray

from uop3d_core.geometry import rigid, rotation_error
from uop3d_core.messages.reading import pose_transform_of, stamp_ns, transform_of
from uop3d_core.pose.estimator import PoseEstimator
from uop3d_core.types import Detection, Frame
from uop3d_ros.msg import ObjectPose
from uop3d_ros.srv import EstimatePoses


def test_pose_of_late_detections(robot: Robot, activate: Callable[..., None], painter: Painter, model: Path) -> None:
    """640 x 480 at 30 Hz, detections 80 ms late: TF is as exact as the estimator alone, with the image's stamp.

    The object turns by 60 degrees and moves by 4 cm in a second, so a pose with another image's stamp would be wrong.
    """
    activate()
    truths = [placed(0.3 - 0.2 * k / 30, 0.1, yaw=0.4 + np.deg2rad(2 * k)) for k in range(90)]
    scenes = [painter.paint(truth) for truth in truths]
    sent: dict[int, int] = {}
    late: deque[tuple[int, list[Detection]]] = deque()
    begin = time.time_ns()
    for k, (pixels, boxes) in enumerate(scenes):
        at = begin + k * 1_000_000_000 // 30
        while late and time.time_ns() < at:
            if time.time_ns() - late[0][0] >= 80_000_000:
                stamp, seen = late.popleft()
                robot.detect(seen, stamp)
            time.sleep(0.002)
        robot.info(CAMERA, at)
        robot.image(pixels, at)
        late.append((at, boxes))
        sent[at] = k
    robot.wait(lambda: len(robot.transforms) > 5)
    assert {t.header.frame_id for _, t in robot.transforms} == {OPTICAL} and len(names(robot)) == 1
    served = {sent[stamp_ns(t.header.stamp)]: transform_of(t.transform) for _, t in robot.transforms}
    estimator = PoseEstimator.load(model)
    alone = {k: estimator(Frame("alone", CAMERA, scenes[k][0]), scenes[k][1])[0].cam_T_obj for k in served}
    theirs = np.array([errors(rigid(T[:3, :3], SIZE_M * T[:3, 3]), truths[k]) for k, T in alone.items()])
    ours = np.array([errors(found, truths[k]) for k, found in served.items()])
    assert (np.median(ours, axis=0) < np.median(theirs, axis=0) + (0.3, 0.001)).all()
    assert (ours.max(axis=0) < theirs.max(axis=0) + (0.5, 0.003)).all()
    values = {v.key: v.value for v in robot.wait(lambda: robot.diagnostics.get("estimation")).values}
    assert float(values["detections' lag (ms)"]) > 60


def test_all_outputs_agree(robot: Robot, activate: Callable[..., None], painter: Painter) -> None:
    topics = {"detections": Detection3DArray, "poses": PoseArray, "markers": MarkerArray}
    heard = {name: robot.listen(kind, f"pose_node/{name}") for name, kind in topics.items()}
    activate()
    sent = film(robot, painter.paint(placed()), 2.0)
    robot.wait(lambda: all(heard.values()) and robot.transforms)
    name, [message] = one_name(robot), robot.objects[-1].objects
    assert (message.id, message.category, message.state) == (name, "potato", ObjectPose.CONFIRMED)
    assert message.scale == pytest.approx(SIZE_M) and message.scale_source == "size" and message.covariance_known
    assert 0.5 < message.score <= 1 and np.all(np.linalg.eigvalsh(message.pose.covariance.reshape(6, 6)) > 0)
    assert set(stamps(robot.objects)) <= set(sent)
    found = next(m for m in reversed(heard["detections"]) if m.detections).detections[0]
    assert (found.id, found.results[0].hypothesis.class_id) == (name, "potato")
    np.testing.assert_allclose(pose_transform_of(found.bbox.center), last_transform(robot, name), atol=0.003)
    assert any(m.poses for m in heard["poses"])
    texts = {marker.text for m in heard["markers"] for marker in m.markers}
    assert any(text.startswith(name) for text in texts)


def test_two_objects_keep_two_names(robot: Robot, activate: Callable[..., None], painter: Painter) -> None:
    activate()
    left, right = placed(-0.7, 0, 3.2), placed(0.7, 0.2, 3.6, yaw=1.5)
    until(robot, painter.paint(left, right), lambda: len(names(robot)) == 2)
    film(robot, painter.paint(left, right), 1.0)
    assert len(names(robot)) == 2
    ordered = sorted(names(robot), key=lambda name: last_transform(robot, name)[0, 3])
    for name, truth in zip(ordered, (left, right), strict=True):
        found = last_transform(robot, name)
        assert np.rad2deg(rotation_error(found[:3, :3], truth[:3, :3])) < 5
        assert abs(found[0, 3] - SIZE_M * truth[0, 3]) < 0.02


def test_nothing_there_is_an_empty_array(robot: Robot, activate: Callable[..., None], painter: Painter) -> None:
    activate()
    sent = film(robot, painter.paint(), 1.0)
    robot.wait(lambda: robot.objects)
    assert all(len(message.objects) == 0 for message in robot.objects)
    assert set(stamps(robot.objects)) <= set(sent) and not robot.transforms


def test_services(robot: Robot, activate: Callable[..., None], painter: Painter) -> None:
    activate()
    scene = painter.paint(placed())
    film(robot, scene, 1.5)
    first = one_name(robot)
    assert robot.call(Trigger, "pose_node/reset_tracks", Trigger.Request()).success
    robot.forget()
    until(robot, scene, lambda: robot.transforms)
    assert one_name(robot) != first
    assert robot.call(SetBool, "pose_node/set_enabled", SetBool.Request(data=False)).success
    time.sleep(0.3)
    robot.forget()
    film(robot, scene, 0.7)
    assert not robot.objects
    answer = robot.call(EstimatePoses, "pose_node/estimate", EstimatePoses.Request())
    assert answer.success and len(answer.objects.objects) == 1
    assert answer.objects.objects[0].state == ObjectPose.UNTRACKED and answer.objects.objects[0].hypotheses
    boxes = [detection_message(scene[1][0])] * 2
    answer = robot.call(EstimatePoses, "pose_node/estimate", EstimatePoses.Request(detections=boxes))
    assert answer.success and len(answer.objects.objects) == 2
    found = pose_transform_of(answer.objects.objects[1].pose.pose)
    assert np.rad2deg(rotation_error(found[:3, :3], placed()[:3, :3])) < 3
    assert robot.call(Trigger, "pose_node/reload_model", Trigger.Request()).success
    assert robot.call(SetBool, "pose_node/set_enabled", SetBool.Request(data=True)).success
    until(robot, scene, lambda: robot.transforms)


def test_a_planner_gets_an_answer_in_time(robot: Robot, activate: Callable[..., None], painter: Painter) -> None:
    """Also where it cannot have poses: too little time, a wrong time, too many who ask at once."""
    activate()
    scene = painter.paint(placed())
    until(robot, scene, lambda: robot.objects)
    boxes = [detection_message(scene[1][0])] * 8
    for timeout_s, says in ((0.001, "no answer within 0.001 s"), (-1.0, "timeout_s"), (np.nan, "timeout_s")):
        answer = robot.call(EstimatePoses, "pose_node/estimate", EstimatePoses.Request(timeout_s=timeout_s))
        assert not answer.success and says in answer.message
    client = robot.node.create_client(EstimatePoses, "pose_node/estimate")
    assert client.wait_for_service(10)
    futures = [client.call_async(EstimatePoses.Request(detections=boxes, timeout_s=30.0)) for _ in range(8)]
    robot.wait(lambda: all(future.done() for future in futures))
    answers = [future.result() for future in futures]
    robot.node.destroy_client(client)
    assert sum(answer.success for answer in answers) >= EstimatePoses.Request.MOST_WAITING
    assert all(len(answer.objects.objects) == 8 for answer in answers if answer.success)
    refused = {answer.message for answer in answers if not answer.success}
    assert refused == {"busy: 4 requests wait already"}
    until(robot, scene, lambda: robot.transforms)


def test_two_models(robot: Robot, activate: Callable[..., None], painter: Painter, model: Path, tmp_path: Path) -> None:
    """The same shape learned twice, under two names: labels tell which is which."""
    proto = onnx.load(str(model))
    for entry in proto.metadata_props:
        entry.value = entry.value.replace('"potato"', '"stone"')
    onnx.save(proto, str(tmp_path / "stone.onnx"))
    activate(models=[str(model), str(tmp_path / "stone.onnx")], sizes=[f"potato={SIZE_M}", "stone=0.4"])
    left, right = placed(-0.7, 0, 3.2), placed(0.7, 0.2, 3.6, yaw=1.5)
    pixels, boxes = painter.paint(left, right)
    boxes[1] = Detection(boxes[1].bbox_xyxy, "stone", 0.9)
    until(robot, (pixels, boxes), lambda: len(names(robot)) == 2)
    by_category = {name.rpartition("_")[0]: name for name in names(robot)}
    assert by_category.keys() == {"potato", "stone"}
    assert last_transform(robot, by_category["stone"])[2, 3] == pytest.approx(0.4 * 3.6, rel=0.08)
    assert last_transform(robot, by_category["potato"])[2, 3] == pytest.approx(SIZE_M * 3.2, rel=0.08)
