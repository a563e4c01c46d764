"""Model files: round trip, and a clear error for every damaged or foreign file."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from scenes import sphere

from uop3d_core.config import TrainSettings
from uop3d_core.correspondence.checkpoint import Model, load_model, save_model
from uop3d_core.correspondence.heads import build_network
from uop3d_core.types import Symmetry, Template


@pytest.fixture
def model() -> Model:
    settings = TrainSettings(components=8, width=16, blocks=1, embedding=8)
    template = Template("mug", sphere(0.5, 2), Symmetry([0, 0.6, 0.8], 3))
    net = build_network(12, template, settings).eval()
    about = {"backbone": {"fingerprint": "hog-1", "licence": "Apache-2.0", "channels": 12}, "captures": ["a"]}
    return Model("hog", template, settings, net, about)


@pytest.fixture
def file(model: Model, tmp_path: Path) -> Path:
    save_model(tmp_path / "model.safetensors", model)
    return tmp_path / "model.safetensors"


def test_round_trip(model: Model, file: Path) -> None:
    read = load_model(file)
    assert read.category == "mug" and read.settings == model.settings and read.metadata == model.metadata
    assert np.array_equal(read.template.mesh.vertices, model.template.mesh.vertices)
    assert read.symmetry.fold == 3 and read.symmetry.axis.tolist() == [0, 0.6, 0.8]
    features = torch.randn(1, 12, 4, 4)
    for found, expected in zip(read.network(features), model.network(features), strict=True):
        assert torch.equal(found, expected)


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such model file"):
        load_model(tmp_path / "model.safetensors")


@pytest.mark.parametrize("size", [0, 7, 300, -10])
def test_truncated(file: Path, size: int) -> None:
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(ValueError, match="damaged or not a safetensors file"):
        load_model(file)


def test_foreign_safetensors(file: Path) -> None:
    save_file({"weight": torch.zeros(3)}, file)
    with pytest.raises(ValueError, match="not a uop3d model"):
        load_model(file)


def rewrite(file: Path, change) -> None:
    with safe_open(file, "pt") as opened:
        about = json.loads(opened.metadata()["uop3d"])
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    change(about, tensors)
    save_file(tensors, file, {"uop3d": json.dumps(about)})


def test_other_version(file: Path) -> None:
    rewrite(file, lambda about, tensors: about.update(format=99))
    with pytest.raises(ValueError, match="model format 99"):
        load_model(file)


def test_metadata_that_is_no_object(file: Path) -> None:
    save_file({"weight": torch.zeros(3)}, file, {"uop3d": "[1"})
    with pytest.raises(ValueError, match="metadata cannot be read"):
        load_model(file)


@pytest.mark.parametrize(
    "change",
    [
        lambda about, tensors: tensors.pop("network.own"),
        lambda about, tensors: tensors.pop("template.faces"),
        lambda about, tensors: tensors.update({"network.own": torch.zeros(3, 8)}),
        lambda about, tensors: about.pop("settings"),
        lambda about, tensors: about["metadata"].pop("backbone"),
        lambda about, tensors: tensors.update({"template.vertices": torch.full((162, 3), torch.nan)}),
        lambda about, tensors: about["settings"].update(cels=3),
        lambda about, tensors: about["symmetry"].update(fold=-1),
        lambda about, tensors: about["symmetry"].pop("axis"),
    ],
)
def test_content_that_does_not_fit(file: Path, change) -> None:
    rewrite(file, change)
    with pytest.raises(ValueError, match="model.safetensors"):
        load_model(file)


def test_an_interrupted_save_leaves_the_old_file(model: Model, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = file.read_bytes()

    def fail(*args: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        save_model(file, model)
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == [file.name]
