"""uop3d replay: what it accepts, says and writes."""

import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from films import CAMERA, CATEGORY, UNIT_M, painted_film, unit_potato
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from uop3d_core.bags.reading import Bag, Sources
from uop3d_core.bags.replay import OUTPUTS
from uop3d_core.bags.synthetic import DEPTH, FIXED, write_film
from uop3d_core.bags.tally import ReplayReport, Seen
from uop3d_core.cli import app, replaying
from uop3d_core.config import TrainSettings
from uop3d_core.correspondence.checkpoint import Model, save_model
from uop3d_core.correspondence.model import CorrespondenceNet
from uop3d_core.types import Template


def call(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return " ".join(result.output.split())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """model.safetensors, which learned nothing, and film.mcap."""
    folder = tmp_path_factory.mktemp("replay")
    template, settings = Template(CATEGORY, unit_potato()), TrainSettings(width=16, blocks=1)
    network = CorrespondenceNet(219, torch.tensor(template.mesh.vertices), **settings.network_arguments()).eval()
    about = {"backbone": {"fingerprint": "hog-1", "licence": "Apache-2.0", "channels": 219}, "captures": []}
    save_model(folder / "model.safetensors", Model("hog", template, settings, network, about))
    write_film(folder / "film.mcap", painted_film(), CATEGORY)
    return folder


def test_a_recording_and_a_picture(folder: Path, tmp_path: Path):
    poses, picture = tmp_path / "poses.mcap", tmp_path / "poses.png"
    said = call(
        "replay", folder / "model.safetensors", folder / "film.mcap", "--out", poses, "--picture", picture,
        "--depth", DEPTH, "--size", UNIT_M, "--fixed-frame", FIXED, "--set", "track.min_score=0.001",
        "--layout", tmp_path / "layout.json",
    )  # fmt: skip
    assert "5 of 5 images with 5 boxes" in said and "recorded at 10.0 Hz" in said
    assert all(topic in said for topic in OUTPUTS if topic != "/tf") and f"recording: {poses}" in said
    panels = json.loads((tmp_path / "layout.json").read_text())["configById"]
    assert panels["Image!camera"]["imageMode"]["imageTopic"] == "/camera/image_raw"
    with Bag(poses) as bag:
        assert bag.topics["/pose_node/objects"].count == 5
    with Image.open(picture) as image:
        assert image.size[0] > 480


def test_boxes_and_a_camera_from_files(folder: Path, tmp_path: Path):
    entries = [{"index": 1, "detections": [{"bbox_xyxy": [40, 30, 120, 90], "label": "spud"}]}]
    (tmp_path / "boxes.json").write_text(json.dumps(entries))
    camera = {"width": CAMERA.width, "height": CAMERA.height, "K": CAMERA.K.tolist()}
    (tmp_path / "camera.json").write_text(json.dumps(camera))
    files = "--detections", tmp_path / "boxes.json", "--camera", tmp_path / "camera.json"
    command = "replay", folder / "model.safetensors", folder / "film.mcap", "--out", tmp_path / "poses.mcap", *files
    said = call(*command, "--label", f"spud={CATEGORY}", "--set", "replay.window=2")
    assert "1 of 5 images with 1 boxes" in said and "note: 4 images for which no detector spoke" in said
    assert "nothing could be placed in metres" in said
    assert "note: 1 boxes with the label 'spud', but the models are of potato" in call(*command)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["MODEL"], "only .*model.safetensors was given: name one model or several, and then the recording"),
        (["MODEL", "BAG", "--out", "poses.bag"], "must end with .mcap"),
        (["MODEL", "MODEL", "BAG"], "one model per category is needed"),
        (["MODEL", "nothing.mcap"], "nothing.mcap: no such recording"),
        (["nothing.safetensors", "BAG"], "nothing.safetensors"),
        (["MODEL", "BAG", "--unit", "-1"], "--unit must be positive metres"),
        (["MODEL", "BAG", "--size", "cup=0.1"], "--size cup=0.1: the models are of potato"),
        (["MODEL", "BAG", "--size", "potato=-1"], "--size potato=-1: a size must be positive"),
        (["MODEL", "BAG", "--size", "big"], "--size big: could not convert"),
        (["MODEL", "BAG", "--size-std", "0.1"], "--size-std is the spread of --size"),
        (["MODEL", "BAG", "--label", "spud"], "label 'spud' must have the form"),
        (["MODEL", "BAG", "--image", "/nothing"], "topic /nothing is not in it"),
        (["MODEL", "BAG", "--detections", "nothing.json"], "nothing.json: no such file"),
        (["MODEL", "BAG", "--fixed-frame", "map"], "TF knows no frame map"),
        (["MODEL", "BAG", "--target-frame", "map"], "TF knows no frame map"),
        (["MODEL", "BAG", "--target-frame", "table", "--picture", "p.jpg"], "leave out --target-frame"),
        (["MODEL", "BAG", "--set", "replay.slope_s=1"], "did you mean 'slop_s'"),
    ],
)
def test_bad_arguments(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
):
    monkeypatch.chdir(tmp_path)
    names = {"MODEL": str(folder / "model.safetensors"), "BAG": str(folder / "film.mcap")}
    target = [] if "--out" in arguments else ["--out", "poses.mcap"]
    said = call("replay", *(names.get(argument, argument) for argument in arguments), *target, code=1)
    assert re.search(message, said), said
    assert list(tmp_path.iterdir()) == []


def test_help_tells_all_options():
    said = call("replay", "--help")
    for option in ("--out", "--image", "--info", "--detections", "--label", "--depth", "--size", "--fixed-frame"):
        assert option in said


def test_the_table_of_a_replay(monkeypatch: pytest.MonkeyPatch):
    seen = Seen("mug", 10**9, 3 * 10**9, 20, 18, 15, 0.71, np.nan)
    sources, times = Sources("/image", "/info", "/boxes"), {"crop": 0.1, "head": 0.3}
    screen = Console(width=200, record=True, file=io.StringIO())
    monkeypatch.setattr(replaying, "out", screen)
    replaying.show_replay(
        ReplayReport(sources, 20, 22, 40, 38, 0, 0, 10**9, 2.0, {"mug_1": seen}, {"/tf": 3}, times, ("alas [x]",))
    )
    said = " ".join(screen.export_text().split())
    assert "20 of 22 images with 40 boxes: 38 poses" in said and "worked on at 50.0 Hz" in said
    assert "mug_1 │ 0.0 │ 2.0 │ 20 │ 18 │ 15 │ 0.71" in said
    assert "note: alas [x]" in said and "nothing could be placed in metres" in said
