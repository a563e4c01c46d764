"""The worked examples in the documents are true."""

import doctest
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from scenes import sphere
from typer.main import get_command

from uop3d_core.backbones import FeatureBackbone
from uop3d_core.cli import app
from uop3d_core.config import TrainSettings
from uop3d_core.correspondence.checkpoint import Model, save_model
from uop3d_core.correspondence.model import CorrespondenceNet
from uop3d_core.types import Template

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = (
    ROOT / "README.md",
    *(DOCS / f"{name}.md" for name in ("cli", "quickstart", "deployment", "pictures", "viewing", "models")),
)
NAMES = (
    "learn|align|train|estimate|evaluate|synchronize|export|compare|bench|capture|replay|report|"
    "picture|view|info|card|push|pull"
)
COMMANDS = [
    line.split("#")[0]
    for file in PAGES
    for line in file.read_text().replace("\\\n", " ").splitlines()
    if re.match(rf"uop3d ({NAMES}) ", line)
]


def test_conventions_example():
    result = doctest.testfile(str(DOCS / "conventions.md"), module_relative=False)
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_and_options_exist(command: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "200")
    words = re.findall(r"[a-z0-9]+", command.split("uop3d", 1)[1])
    path = words[:2] if words[0] in ("evaluate", "picture") else words[:1]
    if words[0] == "capture":
        path.append(words[1] if words[1] in ("check", "import", "export") else "make")
    result = CliRunner().invoke(get_command(app), [*path, "--help"])
    assert result.exit_code == 0
    for option in re.findall(r"--[a-z]+[a-z0-9]*", command):
        assert option in result.output


def test_the_plug_ins_of_the_documents_are_such():
    backbone, segmenter = re.findall(r"```python\n(.*?)```", (DOCS / "extending.md").read_text(), re.DOTALL)
    made: dict[str, object] = {}
    exec(backbone, made)
    colours = made["create"](None).to("cpu")
    assert colours(torch.ones(2, 3, 32, 16)).shape == (2, colours.channels, 32 / colours.stride, 16 / colours.stride)
    assert {name for name in FeatureBackbone.__annotations__} <= set(dir(colours))
    exec(segmenter, made)
    image = np.zeros((20, 30, 3), dtype=np.uint8)
    image[5:15, 5:25] = 200
    probabilities = made["create"]("anything")(image, np.array([12.0, 10.0]))
    assert ((probabilities > 0.5) == (image[..., 0] > 0)).all()


def test_the_python_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    [code] = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    template, settings = Template("mug", sphere(0.5, 2)), TrainSettings(width=16, blocks=1)
    network = CorrespondenceNet(219, torch.tensor(template.mesh.vertices), **settings.network_arguments()).eval()
    backbone = {"fingerprint": "hog-1", "licence": "Apache-2.0", "channels": 219}
    model = tmp_path / "runs/mug/model.safetensors"
    save_model(model, Model("hog", template, settings, network, {"backbone": backbone, "captures": []}))
    noise = np.random.default_rng(0).integers(0, 255, (480, 640, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    assert "[[" in capsys.readouterr().out
