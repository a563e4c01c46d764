"""A camera, a detector and pose_node as three parties on real middleware; poses are known exactly."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from cv_bridge import CvBridge
from geometry_msgs.msg import PoseArray
from rclpy.qos import qos_profile_sensor_data
from ros.robot import OPTICAL, NodeProcess, Robot, detection_message, image_message, stamps, static_transform
from ros.scenery import CAMERA, SIZE_M, Painter, placed
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image, PointCloud2
from sensor_msgs_py import point_cloud2
from std_srvs.srv import SetBool, Trigger
from tf2_ros import StaticTransformBroadcaster, TransformBroadcaster
from vision_msgs.msg import Detection3DArray
from visualization_msgs.msg import MarkerArray

from uop3d_core.geometry import inverse_rigid, rigid, rotation_error
from uop3d_core.messages.reading import pose_transform_of, stamp_ns, transform_of
from uop3d_core.pose.estimator import PoseEstimator
from uop3d_core.types import Detection, Frame
from uop3d_ros.msg import ObjectPose
from uop3d_ros.srv import EstimatePoses

HZ = 15
Scene = tuple[np.ndarray, list[Any]]


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


DEFAULTS = {
    "models": [""], "sizes": [""], "target_frame": "", "detections": "vision_msgs", "image_transport": "raw",
    "depth": "none", "plane_frame": "", "fixed_frame": "", "publish_unscaled": False, "frame_prefix": "",
    "labels": [""], "publish_min_score": 0.0, "track.confirm_hits": 3, "device": "cpu",
}  # fmt: skip


def film(robot: Robot, scene: Scene, seconds: float = 1.5, start_ns: int | None = None, info: bool = True) -> list[int]:
    """Show a scene for some time. Returns the stamps."""
    shown, begin = [], start_ns or time.time_ns()
    for index in range(int(seconds * HZ)):
        at = begin + index * 1_000_000_000 // HZ
        if info:
            robot.info(CAMERA, at)
        robot.image(scene[0], at)
        robot.detect(scene[1], at)
        shown.append(at)
        time.sleep(1 / HZ)
    return shown


def until(robot: Robot, scene: Scene, what: Callable[[], Any], **options: Any) -> Any:
    """Show a scene until something is true."""
    for _ in range(20):
        film(robot, scene, 0.5, **options)
        if value := what():
            return value
    raise AssertionError(f"in vain; diagnostics: {robot.summary()}")


def last_transform(robot: Robot, name: str) -> np.ndarray:
    return transform_of([t for _, t in robot.transforms if t.child_frame_id == name][-1].transform)


def names(robot: Robot) -> set[str]:
    return {transform.child_frame_id for _, transform in robot.transforms}


def one_name(robot: Robot) -> str:
    [name] = names(robot)
    return name


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


def errors(found: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Degrees, and metres, of a transform in metres from one in object units."""
    turn = np.rad2deg(rotation_error(found[:3, :3], truth[:3, :3]))
    return float(turn), float(np.linalg.norm(found[:3, 3] - SIZE_M * truth[:3, 3]))


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
    for degrees in [0] * 30 + [12] * 15:
        at, odom_T_cam = time.time_ns(), about_y(np.deg2rad(degrees))
        moved = static_transform("odom", robot.optical, odom_T_cam)
        moved.header.stamp.sec, moved.header.stamp.nanosec = divmod(at, 1_000_000_000)
        broadcaster.sendTransform(moved)
        cam_T_obj = inverse_rigid(odom_T_cam) @ odom_T_obj
        robot.show(*painter.paint(cam_T_obj), CAMERA, at)
        time.sleep(1 / HZ)
    robot.wait(lambda: stamp_ns(robot.objects[-1].header.stamp) == at)
    found = [name for name in sorted(names(robot)) if name.startswith("potato")]
    assert len(found) == objects
    degrees, metres = errors(last_transform(robot, found[-1]), cam_T_obj)
    assert degrees < 3 and metres < 0.04


def about_y(angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return rigid(np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]), np.zeros(3))


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


def test_labels_and_prefix(robot: Robot, activate: Callable[..., None], painter: Painter) -> None:
    activate(labels=["cup=potato", "*=nothing"], frame_prefix="left_")
    pixels, [box] = painter.paint(placed())
    cup = type(box)(box.bbox_xyxy, "cup", 0.9)
    until(robot, (pixels, [cup]), lambda: robot.transforms)
    assert one_name(robot).startswith("left_potato_")


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
