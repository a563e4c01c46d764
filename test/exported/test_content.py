"""What exported files carry: the whole model but its network, and clear errors for everything else."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from scenes import sphere

from uop3d_core.config import TrainSettings
from uop3d_core.correspondence.checkpoint import Model
from uop3d_core.exported.content import METADATA_KEY, TEMPLATE_KEY, GraphFacts, checked, pack, threads, unpack
from uop3d_core.models import read_model
from uop3d_core.types import Symmetry, Template

FACTS = GraphFacts(stride=8, side=64, int8=True)
FILE = Path("mug.onnx")


@pytest.fixture
def model() -> Model:
    about = {"backbone": {"fingerprint": "hog-1", "licence": "Apache-2.0"}, "calibration": {"views": 3}}
    return Model("hog", Template("mug", sphere(0.5, 1), Symmetry([0, 0, 1], 4)), TrainSettings(cells=8), None, about)


def test_round_trip(model: Model) -> None:
    fields = unpack(pack(model, FACTS), FILE)
    assert fields["facts"] == FACTS and fields["path"] == FILE
    assert fields["settings"] == model.settings and fields["metadata"] == model.metadata
    assert fields["backbone_spec"] == "hog"
    template = fields["template"]
    assert (template.category, template.symmetry.fold) == ("mug", 4)
    assert np.array_equal(template.mesh.vertices, model.template.mesh.vertices)
    assert np.array_equal(template.mesh.faces, model.template.mesh.faces)


def test_texts_without_a_model() -> None:
    with pytest.raises(ValueError, match="mug.onnx: not a uop3d model"):
        unpack({"author": "somebody"}, FILE)


def test_a_graph_of_another_format(model: Model) -> None:
    texts = pack(model, FACTS)
    about = json.loads(texts[METADATA_KEY])
    about["graph"]["format"] = 99
    with pytest.raises(ValueError, match="export the model again"):
        unpack({**texts, METADATA_KEY: json.dumps(about)}, FILE)


@pytest.mark.parametrize("template", ["", "!", "AAAA"])
def test_a_damaged_template(model: Model, template: str) -> None:
    with pytest.raises(ValueError, match="its template is damaged"):
        unpack({**pack(model, FACTS), TEMPLATE_KEY: template}, FILE)


@pytest.mark.parametrize("ending", [".onnx", ".xml", ".safetensors"])
def test_missing_files(tmp_path: Path, ending: str) -> None:
    with pytest.raises(FileNotFoundError, match="no such model file"):
        read_model(tmp_path / f"mug{ending}")


@pytest.mark.parametrize(
    ("endings", "package", "extra"), [([".onnx"], "onnxruntime", "deploy"), ([".xml", ".bin"], "openvino", "openvino")]
)
def test_a_runtime_that_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, endings: list[str], package: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    for ending in endings:
        (tmp_path / f"mug{ending}").write_bytes(b"x")
    with pytest.raises(ModuleNotFoundError, match=rf"pip install 'uop3d\[{extra}\]'"):
        read_model(tmp_path / f"mug{endings[0]}")


def test_crops_of_another_size_or_type() -> None:
    crops = np.zeros((2, 64, 64, 3), np.uint8)
    assert checked(crops, FACTS) is crops
    for wrong in (crops[:, :32], crops.astype(np.float32), crops[0]):
        with pytest.raises(ValueError, match="expected uint8 crops"):
            checked(wrong, FACTS)


@pytest.mark.parametrize(("value", "count"), [("3", 3), ("", 0), ("2,1", 0)])
def test_threads_follow_the_environment(monkeypatch: pytest.MonkeyPatch, value: str, count: int) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert threads() == count
