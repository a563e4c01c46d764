"""Recordings that others can read."""

from pathlib import Path

import pytest
from films import CATEGORY, painted_film
from mcap.reader import make_reader
from rosbags.highlevel import AnyReader

from uop3d_core.bags.synthetic import IMAGE, messages_of, write_film
from uop3d_core.bags.writing import writing

TYPES = {
    "/tf_static": "tf2_msgs/msg/TFMessage",
    "/tf": "tf2_msgs/msg/TFMessage",
    "/camera/camera_info": "sensor_msgs/msg/CameraInfo",
    "/camera/image_raw": "sensor_msgs/msg/Image",
    "/camera/aligned_depth/image_raw": "sensor_msgs/msg/Image",
    "/detector/detections": "vision_msgs/msg/Detection2DArray",
}


def test_the_mcap_library_reads_it(tmp_path: Path):
    write_film(tmp_path / "film.mcap", painted_film(), CATEGORY)
    with (tmp_path / "film.mcap").open("rb") as file:
        reader = make_reader(file)
        header, summary = reader.get_header(), reader.get_summary()
        assert header.profile == "ros2" and summary is not None and summary.statistics.message_count == 26
        channels = {channel.topic: channel for channel in summary.channels.values()}
        schemas = {topic: summary.schemas[channel.schema_id] for topic, channel in channels.items()}
        assert {topic: schema.name for topic, schema in schemas.items()} == TYPES
        assert {schema.encoding for schema in schemas.values()} == {"ros2msg"}
        assert {channel.message_encoding for channel in channels.values()} == {"cdr"}
        assert "durability: 1" in channels["/tf_static"].metadata["offered_qos_profiles"]  # transient local
        assert "durability: 2" in channels["/tf"].metadata["offered_qos_profiles"]
        times = [message.log_time for _, _, message in reader.iter_messages(log_time_order=True)]
        assert times == [sent.log_ns for sent in messages_of(painted_film(), CATEGORY)]


@pytest.mark.parametrize("ending", [".mcap", ".db3"])
def test_rosbags_reads_it(tmp_path: Path, ending: str):
    path = tmp_path / f"film{ending}"
    write_film(path, painted_film(), CATEGORY, sqlite=ending == ".db3")
    with AnyReader([path]) as reader:
        assert {topic: info.msgtype for topic, info in reader.topics.items()} == TYPES
        images = [connection for connection in reader.connections if connection.topic == IMAGE]
        messages = [reader.deserialize(data, c.msgtype) for c, _, data in reader.messages(images)]
        assert bytes(messages[3].data) == painted_film().shots[3].image.tobytes()  # type: ignore[attr-defined]


def test_nothing_is_left_when_it_fails(tmp_path: Path):
    (tmp_path / "film.mcap").write_text("what was there before")
    with pytest.raises(RuntimeError), writing(tmp_path / "film.mcap") as bag:
        sent = messages_of(painted_film(), CATEGORY)[0]
        bag.write(sent.topic, sent.log_ns, sent.message)
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ["film.mcap"]
    assert (tmp_path / "film.mcap").read_text() == "what was there before"


def test_places_where_nothing_can_be_written(tmp_path: Path):
    with pytest.raises(ValueError, match="must end with .mcap"), writing(tmp_path / "film.bag"):
        pass
    (tmp_path / "film.mcap").mkdir()
    with pytest.raises(IsADirectoryError, match="is a folder"), writing(tmp_path / "film.mcap"):
        pass
