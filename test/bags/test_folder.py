"""Whole and damaged recordings: what can be read is read, and what cannot is told."""

import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest
import zstandard
from films import CATEGORY, painted_film
from mcap.writer import CompressionType
from mcap.writer import Writer as McapWriter
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from uop3d_core.bags import sqlite_file
from uop3d_core.bags.definitions import type_store
from uop3d_core.bags.folder import Recording, layout_of
from uop3d_core.bags.synthetic import DETECTIONS, IMAGE, INFO, messages_of, write_film

KINDS = [".mcap", ".db3"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with film.mcap and film.db3; random pixels, so that chunks are as large as they are."""
    folder = tmp_path_factory.mktemp("whole")
    film = painted_film(40)
    rng = np.random.default_rng(0)
    for shot in film.shots:
        shot.image[:] = rng.integers(0, 255, shot.image.shape)
    write_film(folder / "film.mcap", film, CATEGORY, depth=False)
    write_film(folder / "film.db3", film, CATEGORY, depth=False, sqlite=True)
    return folder


def recording(folder: Path, storage: StoragePlugin, mode: CompressionMode) -> Path:
    """A folder as `ros2 bag record` makes it."""
    path, connections = folder / "bag", {}
    writer = Writer(path, version=9, storage_plugin=storage)
    writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer:
        for sent in messages_of(painted_film(), CATEGORY):
            name = sent.message.__msgtype__
            if sent.topic not in connections:
                connections[sent.topic] = writer.add_connection(sent.topic, name, typestore=type_store())
            writer.write(connections[sent.topic], sent.log_ns, type_store().serialize_cdr(sent.message, name))
    return path


def count(path: Path, topic: str = IMAGE) -> tuple[int, list[str]]:
    """Messages of a topic, at most as many as were told, and the problems."""
    with Recording(path) as bag:
        told = {each.name: each.count for each in bag.topics()}
        messages = list(bag.messages([topic]))
        assert len(messages) == told.get(topic, 0) or 0 < len(messages) < told[topic] and bag.problems
        assert [m.log_ns for m in messages] == sorted(m.log_ns for m in messages)
        return len(messages), bag.problems


@pytest.mark.parametrize("ending", KINDS)
def test_whole_files(whole: Path, ending: str):
    path = whole / f"film{ending}"
    with Recording(path) as bag:
        topics = {topic.name: topic for topic in bag.topics()}
        assert {name: topic.count for name, topic in topics.items()} == {
            "/tf_static": 1, "/tf": 40, INFO: 40, IMAGE: 40, DETECTIONS: 40,
        }  # fmt: skip
        assert topics[IMAGE].type == "sensor_msgs/msg/Image" and "uint32 step" in topics[IMAGE].definition
        together = list(bag.messages([IMAGE, DETECTIONS]))
        assert len(together) == 80 and {message.topic for message in together} == {IMAGE, DETECTIONS}
        assert bag.problems == []


@pytest.mark.parametrize(
    ("storage", "mode"),
    [
        (storage, mode)
        for storage in StoragePlugin
        for mode in CompressionMode
        if (storage, mode) != (StoragePlugin.SQLITE3, CompressionMode.STORAGE)  # there is no such thing
    ],
)
def test_folders_of_all_kinds(tmp_path: Path, storage: StoragePlugin, mode: CompressionMode):
    assert count(recording(tmp_path, storage, mode)) == (5, [])


@pytest.mark.parametrize("ending", KINDS)
@pytest.mark.parametrize("share", [0.6, 0.97])
def test_files_that_are_cut_off(whole: Path, tmp_path: Path, ending: str, share: float):
    data = (whole / f"film{ending}").read_bytes()
    path = tmp_path / f"cut{ending}"
    path.write_bytes(data[: int(share * len(data))])
    images, problems = count(path)
    assert 40 * share - 20 <= images < 40 * share + 2 and images > 0
    assert len(problems) == 1 and str(path) in problems[0]
    assert ("was cut off" if ending == ".mcap" else "cannot be read") in problems[0]


def test_an_mcap_file_without_its_end_loses_nothing(whole: Path, tmp_path: Path):
    data = (whole / "film.mcap").read_bytes()
    path = tmp_path / "open.mcap"
    path.write_bytes(data[:-8])
    images, problems = count(path)
    assert images == 40 and problems == []


@pytest.mark.parametrize("compression", ["NONE", "LZ4", "ZSTD"])
def test_a_chunk_broken_in_the_middle_is_left_out(whole: Path, tmp_path: Path, compression: str):
    path = tmp_path / "broken.mcap"
    with Recording(whole / "film.db3") as bag, path.open("wb") as file:
        writer = McapWriter(file, chunk_size=300_000, compression=CompressionType[compression])
        writer.start("ros2", "another program")
        channel = writer.register_channel(IMAGE, "cdr", writer.register_schema("sensor_msgs/msg/Image", "ros2msg", b""))
        for message in bag.messages([IMAGE]):
            writer.add_message(channel, message.log_ns, message.data, message.log_ns)
        writer.finish()
    assert count(path) == (40, [])
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 2000] = bytes(2000)
    path.write_bytes(data)
    images, problems = count(path)
    assert 30 < images < 40
    assert len(problems) == 2 and "broken and was left out" in problems[0]
    assert f"lacks {40 - images} of 40 messages of {IMAGE}" in problems[1]


def test_a_page_broken_in_the_middle_is_jumped_over(whole: Path, tmp_path: Path):
    data = bytearray((whole / "film.db3").read_bytes())
    page = len(data) // 2 // 4096 * 4096
    data[page : page + 8192] = bytes(8192)
    path = tmp_path / "broken.db3"
    path.write_bytes(data)
    with Recording(path) as bag:
        bag.topics()
        assert 30 < len(list(bag.messages([IMAGE]))) <= 40


def test_a_length_that_is_nonsense_does_not_fill_the_memory(whole: Path, tmp_path: Path):
    data = (whole / "film.mcap").read_bytes()
    path = tmp_path / "huge.mcap"
    path.write_bytes(data[:8] + b"\x05" + (2**62).to_bytes(8, "little") + data[8:])
    with Recording(path) as bag:
        assert list(bag.messages([IMAGE])) == [] and len(bag.problems) == 2
        assert "ends before its last record does" in bag.problems[0] and "lacks 40 of 40" in bag.problems[1]


def test_metadata_that_is_missing(tmp_path: Path):
    path = recording(tmp_path, StoragePlugin.MCAP, CompressionMode.NONE)
    (path / "metadata.yaml").unlink()
    images, problems = count(path)
    assert images == 5 and len(problems) == 1 and "metadata.yaml is missing" in problems[0]


@pytest.mark.parametrize(
    "text",
    ["{", "just words", "rosbag2_bagfile_information: {}", "- 1", "a: &a [*a]", "\x00", "!!python/object:os.x {}"],
)
def test_metadata_that_is_nonsense(tmp_path: Path, text: str):
    path = recording(tmp_path, StoragePlugin.MCAP, CompressionMode.NONE)
    (path / "metadata.yaml").write_text(text)
    images, problems = count(path)
    assert images == 5 and len(problems) == 1 and "metadata.yaml cannot be read" in problems[0]


@pytest.mark.parametrize("name", ["../secret.mcap", "/etc/passwd", "bag/../../secret.mcap", "", "a\0b"])
def test_metadata_that_names_files_elsewhere_is_refused(name: str):
    content = {"rosbag2_bagfile_information": {"relative_file_paths": [name]}}
    with pytest.raises(ValueError, match="which is no file of its folder"):
        layout_of(content, Path("bag/metadata.yaml"))


def test_tricks_do_not_reach_other_files(tmp_path: Path, whole: Path):
    path = recording(tmp_path, StoragePlugin.MCAP, CompressionMode.NONE)
    shutil.copy(whole / "film.mcap", tmp_path / "secret.mcap")
    text = (path / "metadata.yaml").read_text()
    (path / "metadata.yaml").write_text(text.replace("- bag.mcap", "- ../secret.mcap"))
    with pytest.raises(ValueError, match="no file of its folder"):
        Recording(path)
    (path / "metadata.yaml").write_text(text.replace("- bag.mcap", "- old_name/bag.mcap"))  # as ROS 2 Dashing wrote
    assert count(path) == (5, [])


def test_a_file_of_several_that_is_gone(tmp_path: Path):
    path = recording(tmp_path, StoragePlugin.SQLITE3, CompressionMode.NONE)
    text = (path / "metadata.yaml").read_text()
    (path / "metadata.yaml").write_text(text.replace("relative_file_paths:\n", "relative_file_paths:\n  - bag_0.db3\n"))
    images, problems = count(path)
    assert images == 5 and problems == [f"{path / 'bag_0.db3'}: no such file"]


def test_files_without_metadata_are_read_in_the_order_of_their_numbers(tmp_path: Path):
    film = painted_film()
    for number, shots in (("10", film.shots[3:]), ("2", film.shots[:3])):
        write_film(tmp_path / f"part_{number}.mcap", type(film)(film.camera, film.unit_m, shots), CATEGORY)
    assert count(tmp_path)[0] == 5


def test_a_compressed_file_that_is_cut_off(tmp_path: Path, whole: Path):
    packed = zstandard.ZstdCompressor().compress((whole / "film.mcap").read_bytes())
    (tmp_path / "film.mcap.zstd").write_bytes(packed[: len(packed) // 2])
    images, problems = count(tmp_path)
    assert 5 < images < 40 and any("cut off" in problem for problem in problems)


def test_what_a_killed_recorder_left_in_the_log_is_read(tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "film.db3"
    shutil.copy(whole / "film.db3", path)
    writer = sqlite3.connect(path)
    writer.execute("PRAGMA journal_mode = WAL")
    writer.execute("INSERT INTO messages (topic_id, timestamp, data) SELECT topic_id, timestamp, data FROM messages")
    writer.commit()
    killed = tmp_path / "killed"
    killed.mkdir()
    for file in tmp_path.glob("film.db3*"):
        shutil.copy(file, killed / file.name)
    writer.close()
    with Recording(killed / "film.db3") as bag:
        assert len(list(bag.messages([IMAGE]))) == 80 and bag.problems == []
    monkeypatch.setattr(sqlite_file, "READ_WITH_LOG", "mode=impossible")
    with Recording(killed / "film.db3") as bag:
        assert len(list(bag.messages([IMAGE]))) == 40
        assert len(bag.problems) == 1 and "film.db3-wal, the log of a recorder that was killed" in bag.problems[0]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.mcap", b"", "is empty"),
        ("a.mcap", b"hello, world", "does not begin like an MCAP file"),
        ("a.db3", b"hello, world" * 100, "is not a readable sqlite3 database"),
        ("a.bag", b"#ROSBAG V2.0", "is a bag of ROS 1: convert it"),
        ("a.txt", b"hello", "a rosbag2 recording is a folder"),
    ],
)
def test_what_is_no_recording(tmp_path: Path, name: str, content: bytes, message: str):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        Recording(tmp_path / name)


def test_other_databases_and_empty_folders(tmp_path: Path):
    sqlite3.connect(tmp_path / "other.db3").execute("CREATE TABLE songs (name TEXT)").connection.close()
    with pytest.raises(ValueError, match="without the tables of a recording: messages, topics"):
        Recording(tmp_path / "other.db3")
    (tmp_path / "nothing").mkdir()
    with pytest.raises(ValueError, match="holds no .mcap or .db3 file"):
        Recording(tmp_path / "nothing")
    with pytest.raises(FileNotFoundError, match="no such recording"):
        Recording(tmp_path / "absent")
