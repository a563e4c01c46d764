"""A recording through the pipeline: what is written is what the stream says, and what is left out is told."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from films import CAMERA, CATEGORY, STEP_NS, UNIT_M, painted_film, truthful_stream

from uop3d_core.bags.definitions import YOLO_MSGS, message_class, octets
from uop3d_core.bags.reading import Bag
from uop3d_core.bags.replay import (
    DETECTIONS,
    ESTIMATES,
    MARKERS,
    OBJECTS,
    OUTPUTS,
    POSES,
    ReplayOptions,
    replay,
)
from uop3d_core.bags.synthetic import (
    BODY_R_OPTICAL,
    DEPTH,
    FIXED,
    IMAGE,
    INFO,
    OPTICAL,
    Sent,
    messages_of,
    write_film,
)
from uop3d_core.bags.synthetic import DETECTIONS as BOXES
from uop3d_core.bags.tally import ReplayReport
from uop3d_core.bags.writing import writing
from uop3d_core.capture.synthetic.film import START_NS, Shot
from uop3d_core.config import ReplaySettings
from uop3d_core.geometry import inverse_rigid, rotation_error
from uop3d_core.images import mask_box
from uop3d_core.messages.building import Messages
from uop3d_core.messages.placing import Place
from uop3d_core.messages.reading import Labels, pose_transform_of, stamp_ns, transform_of
from uop3d_core.pose.metric import MetricEvidence
from uop3d_core.pose.scale import KnownSize
from uop3d_core.types import Detection, Frame

SIZES = {CATEGORY: KnownSize(diameter=UNIT_M)}


def record(path: Path, change: Callable[[list[Sent]], list[Sent]] = lambda sent: sent, depth: bool = False) -> Path:
    """A recording of the painted film whose messages are changed on their way."""
    with writing(path, path.suffix == ".db3") as bag:
        for sent in change(messages_of(painted_film(), CATEGORY, depth)):
            bag.write(sent.topic, sent.log_ns, sent.message)
    return path


def run(folder: Path, bag: Path, **options) -> tuple[ReplayReport, dict[str, list]]:
    """Replay and read back."""
    out = folder / "out.mcap"
    report = replay(truthful_stream(sizes=SIZES), bag, out, ReplayOptions(**options))
    return report, contents(out)


def contents(path: Path) -> dict[str, list]:
    with Bag(path) as bag:
        found: dict[str, list] = {topic: [] for topic in bag.topics}
        for message in bag.messages(list(bag.topics)):
            found[message.raw.topic].append(message)
        assert bag.problems == []
    return found


def directly(indices: list[int]) -> list:
    """Results of the stream for some images of the film."""
    stream = truthful_stream(sizes=SIZES)
    results = []
    for index in indices:
        shot = painted_film().shots[index]
        detection = Detection(mask_box(shot.masks[0]), CATEGORY, 0.9)
        results.append(stream.process(shot.stamp_ns, Frame("f", CAMERA, shot.image), [detection]))
    return results


@pytest.mark.parametrize("ending", [".mcap", ".db3"])
def test_what_is_written_is_what_the_stream_says(tmp_path: Path, ending: str):
    bag = record(tmp_path / f"film{ending}")
    report, written = run(tmp_path, bag)
    shots, results = painted_film().shots, directly([0, 1, 2, 3, 4])
    assert report.problems == () and (report.images, report.recorded) == (5, 5)
    assert (report.boxes, report.found, report.metric, report.placed) == (5, 5, 5, 3)
    assert list(report.objects) == [f"{CATEGORY}_1"] and report.span_s == pytest.approx(0.4)
    seen = report.objects[f"{CATEGORY}_1"]
    assert (seen.images, seen.boxes, seen.confirmed) == (5, 5, 3) and seen.scale == pytest.approx(UNIT_M)
    assert {"decoding", "tracking", "writing", "metric", "reading"} <= report.seconds.keys()
    assert {topic: len(messages) for topic, messages in written.items()} == {
        OBJECTS: 5, ESTIMATES: 5, DETECTIONS: 5, POSES: 5, MARKERS: 5, "/tf": 3,
    }  # fmt: skip
    for shot, message, result in zip(shots, written[OBJECTS], results, strict=True):
        content, [track] = message.content, result.tracks
        assert stamp_ns(content.header.stamp) == shot.stamp_ns and content.header.frame_id == OPTICAL
        assert message.raw.log_ns == shot.stamp_ns + 5_000_000  # when the image arrived
        [found] = content.objects
        expected = track.estimate.cam_T_obj.copy()
        expected[:3, 3] *= track.estimate.scale
        assert found.id == f"{CATEGORY}_1" and found.track_id == 1 and found.category == CATEGORY
        np.testing.assert_allclose(pose_transform_of(found.pose.pose), expected, atol=1e-12)
        assert np.rad2deg(rotation_error(expected[:3, :3], shot.cam_T_obj[0, :3, :3])) < 3
        assert found.score == track.estimate.score
        np.testing.assert_array_equal(found.box, mask_box(shot.masks[0]))
    for message, result in zip(written[ESTIMATES], results, strict=True):
        [alone], [estimate] = message.content.objects, result.estimates
        assert (alone.id, alone.track_id, alone.state) == ("", 0, 0) and alone.score == estimate.score
        np.testing.assert_array_equal(pose_transform_of(alone.pose.pose)[:3, 3], estimate.position_m)
    for shot, message in zip(shots[2:], written["/tf"], strict=True):
        [transform] = message.content.transforms
        assert stamp_ns(transform.header.stamp) == shot.stamp_ns
        assert (transform.header.frame_id, transform.child_frame_id) == (OPTICAL, f"{CATEGORY}_1")
    for topic in (DETECTIONS, POSES):
        assert [stamp_ns(message.content.header.stamp) for message in written[topic]] == [s.stamp_ns for s in shots]
    assert [len(message.content.detections) for message in written[DETECTIONS]] == [0, 0, 1, 1, 1]
    [detection] = written[DETECTIONS][-1].content.detections
    assert detection.id == f"{CATEGORY}_1" and detection.results[0].hypothesis.class_id == CATEGORY


def test_types_are_those_of_ros(tmp_path: Path):
    run(tmp_path, record(tmp_path / "film.mcap"))
    with Bag(tmp_path / "out.mcap") as bag:
        assert {name: topic.type for name, topic in bag.topics.items()} == OUTPUTS
        assert all(topic.language == "ros2msg" and topic.definition for topic in bag.topics.values())


def test_without_a_scale_only_objects_are_written(tmp_path: Path):
    out = tmp_path / "out.mcap"
    report = replay(truthful_stream(), record(tmp_path / "film.mcap"), out)
    written = contents(out)
    assert report.metric == report.placed == 0 and np.isnan(written[OBJECTS][-1].content.objects[0].scale)
    assert written["/tf"] == [] and written[POSES][-1].content.poses == []
    report = replay(truthful_stream(), tmp_path / "film.mcap", out, ReplayOptions(unit_m=0.1))
    assert report.metric == 0 and report.placed == 3 and len(contents(out)["/tf"]) == 3


def test_depth_gives_the_scale(tmp_path: Path):
    bag = record(tmp_path / "film.mcap", depth=True)
    report = replay(truthful_stream(), bag, tmp_path / "out.mcap", ReplayOptions(depth=DEPTH))
    assert report.metric == 5 and report.objects[f"{CATEGORY}_1"].scale == pytest.approx(UNIT_M, rel=0.03)
    stream, shot = truthful_stream(), painted_film().shots[0]
    millimetres = np.where(np.isnan(shot.depth), np.nan, (1000 * shot.depth).round() / np.float32(1000))
    result = stream.process(
        shot.stamp_ns,
        Frame("f", CAMERA, shot.image),
        [Detection(mask_box(shot.masks[0]), CATEGORY, 0.9)],
        MetricEvidence(millimetres.astype(np.float32)),
    )
    first = contents(tmp_path / "out.mcap")[OBJECTS][0].content.objects[0]
    assert first.scale_source == "depth" and first.scale == pytest.approx(result.tracks[0].estimate.scale, rel=1e-6)


def test_the_camera_moves_in_a_fixed_frame(tmp_path: Path):
    bag, stream = record(tmp_path / "film.mcap"), truthful_stream(sizes=SIZES)
    report, written = run(tmp_path, bag, fixed_frame=FIXED)
    assert report.problems == ()
    for shot, message in zip(painted_film().shots, written[OBJECTS], strict=True):
        detection = Detection(mask_box(shot.masks[0]), CATEGORY, 0.9)
        frame = Frame("f", CAMERA, shot.image)
        [track] = stream.process(shot.stamp_ns, frame, [detection], cam_T_fixed=shot.cam_T_fixed).tracks
        [found] = message.content.objects
        np.testing.assert_allclose(
            pose_transform_of(found.pose.pose)[:3, :3], track.estimate.cam_T_obj[:3, :3], atol=1e-6
        )
    with pytest.raises(ValueError, match="knows no frame map, only camera_link, camera_optical_frame, table"):
        run(tmp_path, bag, fixed_frame="map")


def test_poses_in_another_frame(tmp_path: Path):
    bag = record(tmp_path / "film.mcap")
    _, in_camera = run(tmp_path, bag)
    report, written = run(tmp_path, bag, target_frame=FIXED)
    assert report.problems == () and report.placed == 3
    for shot, message, before in zip(painted_film().shots[2:], written["/tf"], in_camera["/tf"], strict=True):
        [found], [camera] = message.content.transforms, before.content.transforms
        assert (found.header.frame_id, found.child_frame_id) == (FIXED, f"{CATEGORY}_1")
        expected = inverse_rigid(shot.cam_T_fixed) @ transform_of(camera.transform)
        np.testing.assert_allclose(transform_of(found.transform), expected, atol=1e-6)
    with pytest.raises(ValueError, match="knows no frame map"):
        run(tmp_path, bag, target_frame="map")


def test_images_before_the_target_frame_is_known_are_left_out(tmp_path: Path):
    def late(sent: list[Sent]) -> list[Sent]:
        return [each for each in sent if each.topic != "/tf" or each.log_ns > START_NS + STEP_NS]

    report, written = run(tmp_path, record(tmp_path / "film.mcap", late), target_frame=FIXED)
    assert report.images == 3 and len(written[OBJECTS]) == 3
    assert f"does not tell {OPTICAL} in {FIXED}" in " ".join(report.problems)


def test_boxes_of_yolo_messages(tmp_path: Path):
    def as_yolo(sent: list[Sent]) -> list[Sent]:
        return [replace(each, message=yolo(each.message)) if each.topic == BOXES else each for each in sent]

    _, expected = run(tmp_path, record(tmp_path / "film.mcap"))
    bag = record(tmp_path / "yolo.mcap", as_yolo)
    report, written = run(tmp_path, bag, labels=Labels({"cup": CATEGORY}))
    assert report.problems == () and report.boxes == report.found == 5
    for message, same in zip(written[OBJECTS], expected[OBJECTS], strict=True):
        [found], [other] = message.content.objects, same.content.objects
        np.testing.assert_array_equal(found.box, other.box)
        np.testing.assert_array_equal(pose_transform_of(found.pose.pose), pose_transform_of(other.pose.pose))


def yolo(message: Any) -> Any:
    """A yolo_msgs/DetectionArray with the boxes of a Detection2DArray, called cups."""
    kinds = {name: message_class(f"yolo_msgs/msg/{name}") for name in YOLO_MSGS}
    nowhere = message_class("geometry_msgs/msg/Pose")(
        message_class("geometry_msgs/msg/Point")(0.0, 0.0, 0.0),
        message_class("geometry_msgs/msg/Quaternion")(0.0, 0.0, 0.0, 1.0),
    )
    nothing = message_class("geometry_msgs/msg/Vector3")(0.0, 0.0, 0.0)
    found = []
    for each in message.detections:
        centre = each.bbox.center.position
        pose = kinds["Pose2D"](kinds["Point2D"](centre.x, centre.y), 0.0)
        box = kinds["BoundingBox2D"](pose, kinds["Vector2"](each.bbox.size_x, each.bbox.size_y))
        rest = (kinds["BoundingBox3D"](nowhere, nothing, ""), kinds["Mask"](0, 0, []))
        points = (kinds["KeyPoint2DArray"]([]), kinds["KeyPoint3DArray"]([], ""))
        found.append(kinds["Detection"](41, "cup", 0.9, "", box, *rest, *points))
    return kinds["DetectionArray"](message.header, found)


def test_points_of_another_sensor_give_the_scale(tmp_path: Path):
    def as_points(sent: list[Sent]) -> list[Sent]:
        shots = {shot.stamp_ns: shot for shot in painted_film().shots}
        headers = [each.message.header if each.topic == DEPTH else None for each in sent]
        return [
            replace(each, topic="/points", message=cloud(header, shots[stamp_ns(header.stamp)])) if header else each
            for each, header in zip(sent, headers, strict=True)
        ]

    bag = record(tmp_path / "film.mcap", as_points, depth=True)
    out = tmp_path / "out.mcap"
    report = replay(truthful_stream(), bag, out, ReplayOptions(depth="/points"))
    assert report.problems == () and report.metric == 5
    assert report.objects[f"{CATEGORY}_1"].scale == pytest.approx(UNIT_M, rel=0.03)


def cloud(header: Any, shot: Shot) -> Any:
    """The visible points in the frame of the camera's body, without order, behind four bytes of something else."""
    ys, xs = np.nonzero(np.isfinite(shot.depth))
    z = shot.depth[ys, xs]
    cam = np.stack([(xs - CAMERA.K[0, 2]) * z, (ys - CAMERA.K[1, 2]) * z, CAMERA.K[0, 0] * z], axis=-1) / CAMERA.K[0, 0]
    body = (cam @ BODY_R_OPTICAL.T).astype("<f4")
    field = message_class("sensor_msgs/msg/PointField")
    content = np.concatenate([np.zeros((len(body), 1), "<f4"), body], axis=1)
    return message_class("sensor_msgs/msg/PointCloud2")(
        header=replace(header, frame_id="camera_link"),
        height=1, width=len(body), is_bigendian=False, point_step=16, row_step=16 * len(body), is_dense=True,
        fields=[field(name, offset, 7, 1) for name, offset in (("x", 4), ("y", 8), ("z", 12))],
        data=octets(content.tobytes()),
    )  # fmt: skip


def test_images_are_copied_where_they_are_wanted(tmp_path: Path):
    bag = record(tmp_path / "film.mcap")
    _, written = run(tmp_path, bag, images=True)
    assert {topic: len(messages) for topic, messages in written.items()} == {
        OBJECTS: 5, ESTIMATES: 5, DETECTIONS: 5, POSES: 5, MARKERS: 5, "/tf": 8, "/tf_static": 1, IMAGE: 5, INFO: 5,
    }  # fmt: skip
    shot, message = painted_film().shots[2], written[IMAGE][2]
    assert bytes(message.content.data) == shot.image.tobytes() and message.raw.log_ns == shot.stamp_ns + 5_000_000


def test_boxes_from_a_file(tmp_path: Path):
    bag = record(tmp_path / "film.mcap", lambda sent: [each for each in sent if each.topic != BOXES])
    boxes = [mask_box(shot.masks[0]).tolist() for shot in painted_film().shots]
    entries = [{"index": i, "detections": [{"bbox_xyxy": boxes[i], "label": "spud"}]} for i in (0, 1)]
    entries.append(
        {"stamp_ns": START_NS + 2 * STEP_NS + 1000, "detections": [{"bbox_xyxy": boxes[2], "label": "spud"}]}
    )
    entries += [{"stamp_ns": START_NS + 3 * STEP_NS, "detections": []}, {"stamp_ns": 5, "detections": []}]
    (tmp_path / "boxes.json").write_text(json.dumps(entries))
    report, written = run(tmp_path, bag, boxes=tmp_path / "boxes.json", labels=Labels.parse([f"spud={CATEGORY}"]))
    assert (report.images, report.boxes, report.found) == (4, 3, 3)
    assert report.problems == (
        "1 images for which no detector spoke were left out; the first: the nearest boxes are 0.100 s away "
        "(--set replay.slop_s=... allows more)",
        "1 messages with boxes whose image is not there",
    )
    [track] = directly([0, 1, 2])[-1].tracks
    found = written[OBJECTS][2].content.objects[0]
    np.testing.assert_allclose(pose_transform_of(found.pose.pose)[:3, :3], track.estimate.cam_T_obj[:3, :3], atol=1e-9)


def test_detections_that_come_late_or_never(tmp_path: Path):
    def slow(sent: list[Sent]) -> list[Sent]:
        late = [replace(each, log_ns=each.log_ns + 10**9) if each.topic == BOXES else each for each in sent]
        late.remove(next(each for each in late if each.topic == BOXES))
        return sorted(late, key=lambda each: each.log_ns)

    report, written = run(tmp_path, record(tmp_path / "film.mcap", slow))
    [problem] = report.problems
    assert report.images == 4 and problem.startswith("1 images for which no detector spoke were left out; the first: ")
    stamps = [stamp_ns(message.content.header.stamp) for message in written[OBJECTS]]
    assert stamps == [shot.stamp_ns for shot in painted_film().shots[1:]]


@pytest.mark.parametrize(("milliseconds", "matched"), [(8, True), (12, False)])
def test_detections_with_other_stamps(tmp_path: Path, milliseconds: int, matched: bool):
    def skewed(sent: list[Sent]) -> list[Sent]:
        build = Messages(message_class, {})
        for each in sent:
            if each.topic == BOXES:
                stamp = stamp_ns(each.message.header.stamp) + milliseconds * 1_000_000
                each.message.header = build.header(Place(stamp, OPTICAL))
        return sent

    bag = record(tmp_path / "film.mcap", skewed)
    if matched:
        assert run(tmp_path, bag)[0].images == 5
        return
    with pytest.raises(ValueError, match="no image could be used: 5 images .* the nearest boxes are 0.012 s away"):
        run(tmp_path, bag)
    assert run(tmp_path, bag, settings=ReplaySettings(slop_s=0.02))[0].images == 5


def test_images_without_stamps(tmp_path: Path):
    def unstamped(sent: list[Sent]) -> list[Sent]:
        build = Messages(message_class, {})
        for each in sent:
            if each.topic in (IMAGE, BOXES):
                each.message.header = build.header(Place(0, OPTICAL))
        return sent

    report, _ = run(tmp_path, record(tmp_path / "film.mcap", unstamped))
    assert report.images == 1 and "its stamp is 0: the driver has to set header.stamp" in report.problems[0]


def test_images_out_of_order_are_sorted(tmp_path: Path):
    def shuffled(sent: list[Sent]) -> list[Sent]:
        images = [i for i, each in enumerate(sent) if each.topic == IMAGE]
        order = dict(zip(images, [images[i] for i in (1, 0, 4, 2, 3)], strict=True))
        return [replace(sent[order.get(i, i)], log_ns=each.log_ns) for i, each in enumerate(sent)]

    report, written = run(tmp_path, record(tmp_path / "film.mcap", shuffled))
    assert report.problems == () and report.images == 5
    for message, result in zip(written[OBJECTS], directly([0, 1, 2, 3, 4]), strict=True):
        assert stamp_ns(message.content.header.stamp) == result.stamp_ns
        found, [track] = message.content.objects[0], result.tracks
        np.testing.assert_allclose(
            pose_transform_of(found.pose.pose)[:3, :3], track.estimate.cam_T_obj[:3, :3], atol=1e-12
        )


def test_a_repeated_recording_begins_anew(tmp_path: Path):
    def twice(sent: list[Sent]) -> list[Sent]:
        return sent + [replace(each, log_ns=each.log_ns + 10**10) for each in sent]

    settings = ReplaySettings(jump_s=0.3)
    report, written = run(tmp_path, record(tmp_path / "film.mcap", twice), settings=settings)
    assert report.images == 10 and list(report.objects) == [f"{CATEGORY}_1", f"{CATEGORY}_2"]
    assert [p for p in report.problems if "went back" in p] == [
        "1 times the stamps went back, as in a recording of a repeated one: all tracks began anew"
    ]
    assert [message.content.objects[0].track_id for message in written[OBJECTS]] == [1] * 5 + [2] * 5


def test_images_with_one_stamp_count_once(tmp_path: Path):
    report, _ = run(
        tmp_path, record(tmp_path / "film.mcap", lambda sent: [s for s in sent for _ in range(1 + (s.topic == IMAGE))])
    )
    assert report.images == 5
    assert report.problems == (f"5 images of {IMAGE} with the stamp of another one; the first: at {START_NS} ns",)


def test_broken_images_are_left_out_and_told(tmp_path: Path):
    def broken(sent: list[Sent]) -> list[Sent]:
        images = [each for each in sent if each.topic == IMAGE]
        images[0].message.data = images[0].message.data[:100]
        images[1].message.encoding = "rainbow"
        images[2].message.height = images[2].message.width = 0
        return sent

    report, _ = run(tmp_path, record(tmp_path / "film.mcap", broken))
    assert report.images == 2
    assert report.problems == (
        f"3 images of {IMAGE} that cannot be used; the first: 100 bytes, but 120 rows of 480 are 57600: "
        "the image is cut off",
    )


def test_no_image_at_all_is_an_error(tmp_path: Path):
    def dark(sent: list[Sent]) -> list[Sent]:
        for each in sent:
            if each.topic == IMAGE:
                each.message.data = octets(b"")
        return sent

    bag = record(tmp_path / "film.mcap", dark)
    with pytest.raises(ValueError, match="no image could be used: 5 images of /camera/image_raw that cannot be used"):
        run(tmp_path, bag)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["film.mcap"]  # nothing half done is left


def test_a_camera_of_other_images(tmp_path: Path):
    def small(sent: list[Sent]) -> list[Sent]:
        for each in sent:
            if each.topic == INFO:
                each.message.width = 80
        return sent

    with pytest.raises(ValueError, match="160 x 120 pixels, but its camera says 80 x 120: choose the camera_info"):
        run(tmp_path, record(tmp_path / "film.mcap", small))
    report, _ = run(tmp_path, tmp_path / "film.mcap", camera=CAMERA)
    assert report.images == 5 and report.sources.info is None


def test_a_camera_that_is_not_calibrated(tmp_path: Path):
    def raw(sent: list[Sent]) -> list[Sent]:
        for each in sent:
            if each.topic == INFO:
                each.message.k = np.zeros(9)
        return sent

    with pytest.raises(ValueError, match="no message of /camera/camera_info tells a camera: .*not calibrated"):
        run(tmp_path, record(tmp_path / "film.mcap", raw))


def test_labels_that_nobody_knows_are_told(tmp_path: Path):
    def spud(sent: list[Sent]) -> list[Sent]:
        for each in sent:
            if each.topic == BOXES:
                each.message.detections[0].results[0].hypothesis.class_id = "spud"
        return sent

    bag = record(tmp_path / "film.mcap", spud)
    report, _ = run(tmp_path, bag)
    assert report.found == 0
    assert "5 boxes with the label 'spud', but the models are of potato" in report.problems[0]
    assert "--label spud=potato" in report.problems[0]
    assert run(tmp_path, bag, labels=Labels.parse(["*="]))[0].found == 5


def test_the_output_is_not_the_input(tmp_path: Path):
    bag = record(tmp_path / "film.mcap")
    with pytest.raises(ValueError, match="is the recording itself"):
        replay(truthful_stream(), bag, bag)


def test_an_interrupted_replay_leaves_nothing(tmp_path: Path):
    def interrupt(stage: str, done: int, total: int) -> None:
        if stage == "images" and done == 3:
            raise KeyboardInterrupt

    bag = record(tmp_path / "film.mcap")
    with pytest.raises(KeyboardInterrupt):
        replay(truthful_stream(), bag, tmp_path / "out.mcap", progress=interrupt)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["film.mcap"]


def test_progress_counts_images(tmp_path: Path):
    calls: list[tuple[str, int, int]] = []
    replay(
        truthful_stream(),
        record(tmp_path / "film.mcap"),
        tmp_path / "out.mcap",
        progress=lambda *call: calls.append(call),
    )
    assert calls[0] == ("first look", 0, 10) and ("first look", 10, 10) in calls
    assert calls[11] == ("images", 0, 5) and calls[-1] == ("images", 5, 5)


def test_compressed_images(tmp_path: Path):
    import cv2

    def packed(sent: list[Sent]) -> list[Sent]:
        messages = []
        for each in sent:
            if each.topic == IMAGE:
                pixels = np.asarray(each.message.data).reshape(120, 160, 3)
                png = cv2.imencode(".png", pixels[:, :, ::-1])[1].reshape(-1)
                make = message_class("sensor_msgs/msg/CompressedImage")
                message = make(header=each.message.header, format="rgb8; png compressed bgr8", data=png)
                each = Sent(f"{IMAGE}/compressed", each.log_ns, message)
            messages.append(each)
        return messages

    report, written = run(tmp_path, record(tmp_path / "film.mcap", packed))
    assert report.images == 5 and report.sources.image == f"{IMAGE}/compressed" and report.sources.info == INFO
    [track] = directly([0, 1, 2, 3, 4])[-1].tracks
    pose = pose_transform_of(written[OBJECTS][-1].content.objects[0].pose.pose)
    np.testing.assert_allclose(pose[:3, :3], track.estimate.cam_T_obj[:3, :3], atol=1e-12)


def test_images_without_a_frame(tmp_path: Path):
    def nameless(sent: list[Sent]) -> list[Sent]:
        build = Messages(message_class, {})
        for each in sent:
            if each.topic == IMAGE:
                each.message.header = build.header(Place(stamp_ns(each.message.header.stamp), ""))
        return sent

    report, written = run(tmp_path, record(tmp_path / "film.mcap", nameless))
    assert report.problems == ("5 images that name no frame; theirs is called camera_optical_frame",)
    assert written[POSES][0].content.header.frame_id == "camera_optical_frame"


def test_the_film_itself(tmp_path: Path):
    write_film(tmp_path / "film.mcap", painted_film(), CATEGORY)
    with Bag(tmp_path / "film.mcap") as bag:
        assert {name: topic.count for name, topic in bag.topics.items()} == {
            "/tf_static": 1, "/tf": 5, INFO: 5, IMAGE: 5, DEPTH: 5, BOXES: 5,
        }  # fmt: skip
