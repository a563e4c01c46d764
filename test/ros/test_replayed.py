"""What `uop3d replay` wrote without ROS, read with ROS: the messages, and the tree of frames; needs a sourced ROS 2."""

from collections import defaultdict
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not sourced")
tf2 = pytest.importorskip("tf2_py", reason="tf2_py is not there")

from films import CATEGORY, UNIT_M, painted_film, truthful_stream  # noqa: E402
from mcap.reader import make_reader  # noqa: E402
from rclpy.duration import Duration  # noqa: E402
from rclpy.serialization import deserialize_message, serialize_message  # noqa: E402
from rclpy.time import Time  # noqa: E402
from rosidl_runtime_py.utilities import get_message  # noqa: E402

from uop3d_core.bags.replay import OBJECTS, OUTPUTS, ReplayOptions, replay  # noqa: E402
from uop3d_core.bags.synthetic import FIXED, OPTICAL, write_film  # noqa: E402
from uop3d_core.geometry import inverse_rigid, rotation_error  # noqa: E402
from uop3d_core.messages.reading import transform_of  # noqa: E402
from uop3d_core.pose.scale import KnownSize  # noqa: E402


@pytest.fixture(scope="module")
def messages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """All messages of a replay by topic, as ROS reads them."""
    folder = tmp_path_factory.mktemp("replay")
    write_film(folder / "film.mcap", painted_film(), CATEGORY)
    stream = truthful_stream(sizes={CATEGORY: KnownSize(diameter=UNIT_M)})
    options = ReplayOptions(fixed_frame=FIXED, images=True)
    replay(stream, folder / "film.mcap", folder / "poses.mcap", options)
    found = defaultdict(list)
    with (folder / "poses.mcap").open("rb") as file:
        for schema, channel, message in make_reader(file).iter_messages():
            content = deserialize_message(message.data, get_message(schema.name))
            assert len(serialize_message(content)) == pytest.approx(len(message.data), abs=4)  # nothing was left over
            found[channel.topic].append(content)
    return dict(found)


def test_ros_reads_every_message(messages: dict[str, list[Any]]):
    assert OUTPUTS.keys() <= messages.keys()
    for message, shot in zip(messages[OBJECTS], painted_film().shots, strict=True):
        assert Time.from_msg(message.header.stamp).nanoseconds == shot.stamp_ns
        assert message.header.frame_id == OPTICAL
        [found] = message.objects
        assert (found.category, found.id) == (CATEGORY, f"{CATEGORY}_1") and found.scale == pytest.approx(UNIT_M)
        assert found.state in (found.TENTATIVE, found.CONFIRMED)


def test_objects_are_leaves_of_the_tree_of_frames(messages: dict[str, list[Any]]):
    tree = tf2.BufferCore(Duration(seconds=100))
    for topic, give in (("/tf_static", tree.set_transform_static), ("/tf", tree.set_transform)):
        for transform in (each for message in messages[topic] for each in message.transforms):
            give(transform, "recording")
    for shot in painted_film().shots[2:]:
        found = tree.lookup_transform_core(FIXED, f"{CATEGORY}_1", Time(nanoseconds=shot.stamp_ns))
        fixed_T_obj = transform_of(found.transform)
        expected = inverse_rigid(shot.cam_T_fixed) @ shot.cam_T_obj[0]
        assert np.rad2deg(rotation_error(fixed_T_obj[:3, :3], expected[:3, :3])) < 3
        assert np.linalg.norm(fixed_T_obj[:3, 3] - expected[:3, 3]) < 0.05 * UNIT_M * 2
