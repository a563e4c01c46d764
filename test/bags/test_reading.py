"""Which topics a recording has and which are taken."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from films import CATEGORY, painted_film

from uop3d_core.bags.definitions import difference, type_store
from uop3d_core.bags.reading import Bag, Sources, choose_sources
from uop3d_core.bags.synthetic import DEPTH, DETECTIONS, IMAGE, INFO, messages_of
from uop3d_core.bags.writing import writing


def record(path: Path, topics: dict[str, list[str]], depth: bool = True) -> Path:
    """The painted film with its topics under other names, or several, or none."""
    with writing(path) as bag:
        for sent in messages_of(painted_film(2), CATEGORY, depth):
            for topic in topics.get(sent.topic, [sent.topic]):
                bag.write(topic, sent.log_ns, sent.message)
    return path


def test_the_only_topics_are_taken(tmp_path: Path):
    with Bag(record(tmp_path / "a.mcap", {})) as bag:
        assert choose_sources(bag) == Sources(IMAGE, INFO, DETECTIONS, None)
        assert choose_sources(bag, depth=DEPTH).depth == DEPTH


def test_of_several_cameras_one_has_to_be_chosen(tmp_path: Path):
    topics = {IMAGE: ["/left/image_raw", "/right/image_raw"], INFO: ["/left/camera_info", "/right/camera_info"]}
    with Bag(record(tmp_path / "a.mcap", topics)) as bag:
        with pytest.raises(
            ValueError, match="several topics with images, choose one with --image: /left/image_raw, /r"
        ) as e:
            choose_sources(bag)
        assert "/right/camera_info  sensor_msgs/msg/CameraInfo  2" in str(e.value)
        assert choose_sources(bag, "/right/image_raw").info == "/right/camera_info"
        assert choose_sources(bag, "/right/image_raw", "/left/camera_info").info == "/left/camera_info"


def test_several_cameras_none_of_them_beside_the_images(tmp_path: Path):
    with Bag(record(tmp_path / "a.mcap", {INFO: ["/a/camera_info", "/b/camera_info"]})) as bag:
        with pytest.raises(ValueError, match="none of them beside /camera/image_raw; choose one with --info: /a/cam"):
            choose_sources(bag)


def test_several_detectors(tmp_path: Path):
    with Bag(record(tmp_path / "a.mcap", {DETECTIONS: ["/a", "/b"]})) as bag:
        with pytest.raises(ValueError, match="several topics with boxes, choose one with --detections: /a, /b"):
            choose_sources(bag)
        assert choose_sources(bag, detections="/b").detections == "/b"


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        (IMAGE, "holds no images"),
        (INFO, "there is none; give the camera with --camera FILE"),
        (DETECTIONS, "holds no boxes .*give them in a file with --detections FILE"),
    ],
)
def test_what_is_missing(tmp_path: Path, missing: str, message: str):
    with Bag(record(tmp_path / "a.mcap", {missing: []}, depth=False)) as bag:
        with pytest.raises(ValueError, match=message):
            choose_sources(bag)
        if missing == INFO:
            assert choose_sources(bag, need_info=False).info is None
        if missing == DETECTIONS:
            assert choose_sources(bag, need_detections=False).detections is None


def test_topics_of_another_type(tmp_path: Path):
    with Bag(record(tmp_path / "a.mcap", {})) as bag:
        with pytest.raises(
            ValueError, match="/camera/camera_info has 2 messages of sensor_msgs/msg/CameraInfo, expected"
        ):
            choose_sources(bag, image=INFO)
        with pytest.raises(ValueError, match="topic /nothing is not in it"):
            choose_sources(bag, depth="/nothing")


def test_messages_that_cannot_be_decoded_are_counted(tmp_path: Path):
    path = tmp_path / "a.mcap"
    with writing(path) as bag:
        for index, sent in enumerate(messages_of(painted_film(2), CATEGORY)):
            data = bytes(type_store().serialize_cdr(sent.message, sent.message.__msgtype__))
            bag.write_raw(sent.topic, sent.message.__msgtype__, sent.log_ns, data[: 20 if index == 3 else None])
    with Bag(path) as bag:
        assert len(list(bag.messages(list(bag.topics)))) == 10
        [problem] = bag.problems
        assert problem.startswith("1 messages of /camera/") and "cannot be decoded" in problem


def test_a_type_of_another_form_is_refused(tmp_path: Path):
    path = record(tmp_path / "a.mcap", {})
    with Bag(path) as bag:
        old = bag.topics[IMAGE]
        bag.topics[IMAGE] = replace(old, definition=old.definition.replace("uint32 step", "uint64 step"))
        with pytest.raises(
            ValueError, match="has messages of sensor_msgs/msg/Image, but its sensor_msgs/msg/Image has"
        ):
            next(bag.messages([IMAGE]))
        bag.topics[IMAGE] = replace(old, type="my_msgs/msg/Image")
        with pytest.raises(ValueError, match="my_msgs/msg/Image, which is not known"):
            next(bag.messages([IMAGE]))
        bag.topics[IMAGE] = replace(old, encoding="protobuf")
        with pytest.raises(ValueError, match="is encoded as 'protobuf', only cdr is known"):
            next(bag.messages([IMAGE]))


def test_definitions_are_compared_and_never_run():
    text, _ = type_store().generate_msgdef("vision_msgs/msg/Detection2DArray", ros_version=2)
    assert difference("vision_msgs/msg/Detection2DArray", text, "ros2msg") == ""
    assert difference("vision_msgs/msg/Detection2DArray", "", "") == ""
    old = text.replace("vision_msgs/Point2D position\nfloat64 theta", "float64 x\nfloat64 y\nfloat64 theta")
    assert old != text and "vision_msgs/msg/Pose2D has the fields x, y, theta" in difference(
        "vision_msgs/msg/Detection2DArray", old, "ros2msg"
    )
    assert "cannot be read" in difference("sensor_msgs/msg/Image", "$ { nonsense", "ros2msg")
    assert "cannot be read" in difference("sensor_msgs/msg/Image", "$ { nonsense", "ros2idl")


def test_a_recording_without_messages(tmp_path: Path):
    with writing(tmp_path / "a.mcap") as bag:
        bag.announce(IMAGE, "sensor_msgs/msg/Image")
    with pytest.raises(ValueError, match="holds no messages that can be read"):
        Bag(tmp_path / "a.mcap")


def test_raw_messages_are_those_that_were_written(tmp_path: Path):
    with Bag(record(tmp_path / "a.mcap", {})) as bag:
        [first, second] = bag.raw_messages([INFO])
        store = type_store()
        K = store.deserialize_cdr(first.data, "sensor_msgs/msg/CameraInfo").k  # type: ignore[attr-defined]
        np.testing.assert_array_equal(K.reshape(3, 3), painted_film().camera.K)
        assert second.log_ns > first.log_ns
