"""The Foxglove layout fits what is written: its topics are there, and its paths lead to values."""

import json
import re
from pathlib import Path

import pytest
from films import CATEGORY, UNIT_M, painted_film, truthful_stream

from uop3d_core.bags.layout import layout
from uop3d_core.bags.reading import Bag
from uop3d_core.bags.replay import OUTPUTS, ReplayOptions, replay
from uop3d_core.bags.synthetic import DEPTH, FIXED, IMAGE, INFO, write_film
from uop3d_core.pose.scale import KnownSize

CONFIG = Path(__file__).resolve().parent.parent.parent / "config" / "foxglove_layout.json"
DRAWN = {
    "visualization_msgs/msg/MarkerArray", "geometry_msgs/msg/PoseArray", "sensor_msgs/msg/Image",
    "sensor_msgs/msg/CameraInfo", "uop3d_ros/msg/ObjectPoseArray",
}  # fmt: skip


def paths_in(panels: dict) -> set[str]:
    """Message paths, topics included."""
    found = set()
    for panel in panels.values():
        found |= set(panel.get("topics", {}))
        found |= {value for key, value in panel.get("imageMode", {}).items() if key.endswith("Topic")}
        found |= {panel[key] for key in ("topicPath",) if key in panel}
        found |= {path["value"] for path in panel.get("paths", ())}
    return found


def panels_in(node: str | dict) -> list[str]:
    return [node] if isinstance(node, str) else panels_in(node["first"]) + panels_in(node["second"])


@pytest.mark.parametrize("live", [False, True])
def test_every_panel_is_placed(live: bool) -> None:
    content = layout(IMAGE, INFO, live)
    assert sorted(panels_in(content["layout"])) == sorted(content["configById"])
    assert json.loads(json.dumps(content)) == content


def test_the_file_of_the_node_is_this_one() -> None:
    assert json.loads(CONFIG.read_text()) == layout("/image", "/camera_info", live=True)


def test_it_fits_a_replayed_recording(tmp_path: Path) -> None:
    write_film(tmp_path / "film.mcap", painted_film(), CATEGORY)
    options = ReplayOptions(depth=DEPTH, fixed_frame=FIXED, images=True)
    stream = truthful_stream(sizes={CATEGORY: KnownSize(diameter=UNIT_M)})
    report = replay(stream, tmp_path / "film.mcap", tmp_path / "poses.mcap", options)
    paths = paths_in(layout(report.sources.image, report.sources.info)["configById"])
    with Bag(tmp_path / "poses.mcap") as bag:
        assert OUTPUTS.keys() <= bag.topics.keys()
        assert {bag.topics[path.partition(".")[0]].type for path in paths} == DRAWN
        for path in (path for path in paths if "." in path):
            topic, _, fields = path.partition(".")
            values = [value for stamped in bag.messages([topic]) for value in follow(stamped.content, fields)]
            assert values and all(value is not None for value in values)


def follow(value: object, fields: str) -> list[object]:
    """What a message path leads to."""
    values = [value]
    for field in fields.split("."):
        name, every = re.fullmatch(r"(\w+)(\[:\])?", field).groups()
        values = [getattr(each, name) for each in values]
        if every:
            values = [item for each in values for item in each]
    return values
