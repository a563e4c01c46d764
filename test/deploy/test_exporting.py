"""Exported models give the poses that torch gives, without torch, from one file that carries everything."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scenes import look_at, potato
from typer.testing import CliRunner

from uop3d_core.backbones import load_backbone
from uop3d_core.cli import app
from uop3d_core.config import PoseSettings, TrainSettings
from uop3d_core.correspondence.checkpoint import Model, load_model, save_model
from uop3d_core.correspondence.heads import build_network
from uop3d_core.deploy import exporting
from uop3d_core.deploy.parity import Limits, Parity, compare, compare_files
from uop3d_core.deploy.pictures import made_up
from uop3d_core.exported.content import GraphFacts, pack
from uop3d_core.geometry import inverse_rigid, rotation_error
from uop3d_core.images import mask_box
from uop3d_core.pose.estimator import PoseEstimator
from uop3d_core.raycast import RayCaster
from uop3d_core.types import Camera, Detection, Frame, Mesh, Symmetry, Template

WHY = "pip install 'uop3d[deploy]'"
onnx = pytest.importorskip("onnx", reason=WHY)
pytest.importorskip("onnxruntime", reason=WHY)
pytest.importorskip("onnxscript", reason=WHY)
from uop3d_core.deploy.graph import attach, onnx_graph  # noqa: E402
from uop3d_core.deploy.quantise import quantised  # noqa: E402

CAMERA = Camera(np.array([[310.0, 0, 150.0], [0, 310.0, 110.0], [0, 0, 1]]), 320, 240)
CAM_T_OBJ = look_at([1.6, 1.1, 0.9])


@pytest.fixture(scope="module")
def mesh() -> Mesh:
    mesh = potato(2)
    centre = (mesh.vertices.min(0) + mesh.vertices.max(0)) / 2
    return Mesh((mesh.vertices - centre) / mesh.diameter, mesh.faces)


class Colours:
    """Object coordinates are the colours: stands for a perfectly trained model."""

    channels, stride, licence, fingerprint = 3, 8, "none", "colours"

    def to(self, device: str) -> "Colours":
        return self

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.avg_pool2d(images, 4)


class Reader(torch.nn.Module):
    """Reads object coordinates out of the colours."""

    def __init__(self, vertices: np.ndarray) -> None:
        super().__init__()
        self.register_buffer("vertices", torch.tensor(vertices).float())

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        colours = features.permute(0, 2, 3, 1)
        distance = (colours[..., None, :] - 0.5 - self.vertices).square().sum(-1)
        clutter = torch.where(colours.sum(-1, keepdim=True) < 0.05, 1e4, -1e4)
        return torch.cat([-1000 * distance, clutter], -1), torch.zeros_like(colours)


@pytest.fixture(scope="module")
def truthful(mesh: Mesh) -> Model:
    about = {"backbone": {"fingerprint": "colours", "licence": "none", "channels": 3}, "captures": ["a"]}
    template = Template("potato", mesh, Symmetry([0, 0, 1], 2))
    return Model("colours", template, TrainSettings(head="dense", cells=16), Reader(mesh.vertices).eval(), about)


@pytest.fixture(scope="module")
def truthful_file(truthful: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "potato.onnx"
    path.write_bytes(onnx_graph(truthful, Colours()).SerializeToString())
    return path


@pytest.fixture(scope="module")
def query(mesh: Mesh) -> tuple[Frame, Detection]:
    caster, obj_T_cam = RayCaster(mesh), inverse_rigid(CAM_T_OBJ)
    hits = caster.render(CAMERA, CAM_T_OBJ)
    image = np.zeros((CAMERA.height * CAMERA.width, 3))
    image[hits.mask] = caster.points(hits)[hits.mask] + 0.5
    shape = CAMERA.height, CAMERA.width
    assert np.isfinite(obj_T_cam).all()
    pixels = np.round(255 * image).clip(0, 255).astype(np.uint8).reshape(*shape, 3)
    return Frame("query", CAMERA, pixels), Detection(mask_box(hits.mask.reshape(shape)))


def apart_deg(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.rad2deg(rotation_error(np.asarray(a)[:3, :3], np.asarray(b)[:3, :3])))


def test_the_same_pose_where_torch_cannot_be_imported(
    truthful: Model, truthful_file: Path, query: tuple[Frame, Detection], tmp_path: Path
) -> None:
    frame, detection = query
    [expected] = PoseEstimator(truthful, Colours())(frame, [detection])
    assert apart_deg(expected.cam_T_obj, CAM_T_OBJ) < 3
    np.savez(tmp_path / "query.npz", image=frame.image, K=CAMERA.K, box=detection.bbox_xyxy)
    program = Path(__file__).with_name("blocked.py")
    result = subprocess.run(
        [sys.executable, str(program), str(truthful_file), str(tmp_path / "query.npz")],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert not found["torch"]
    assert apart_deg(found["cam_T_obj"], expected.cam_T_obj) < 0.1
    np.testing.assert_allclose(found["cam_T_obj"], expected.cam_T_obj, atol=1e-3)


def test_everything_travels_with_the_graph(truthful: Model, truthful_file: Path) -> None:
    read = PoseEstimator.load(truthful_file).model
    assert (read.category, read.backbone_spec, read.symmetry.fold) == ("potato", "colours", 2)
    assert read.settings == truthful.settings and read.metadata == truthful.metadata
    assert np.array_equal(read.template.mesh.vertices, truthful.template.mesh.vertices)
    assert read.about() == truthful.about()


def test_any_number_of_crops(truthful: Model, truthful_file: Path) -> None:
    one, other = truthful.ready(Colours()), PoseEstimator.load(truthful_file).network
    for count in (1, 2, 5):
        crops = np.random.default_rng(count).integers(0, 256, (count, 128, 128, 3), dtype=np.uint8)
        for a, b in zip(one(crops), other(crops), strict=True):
            assert a.shape == b.shape and a.dtype == b.dtype == np.float32
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-3)


def test_an_exported_model_takes_no_other_backbone_device_or_precision(truthful_file: Path) -> None:
    with pytest.raises(ValueError, match="brings its backbone along"):
        PoseEstimator.load(truthful_file, "hog")
    with pytest.raises(ValueError, match="no device 'toaster'; it has .*cpu"):
        PoseEstimator.load(truthful_file, device="toaster")
    with pytest.raises(ValueError, match="precision of the file"):
        PoseEstimator.load(truthful_file, settings=PoseSettings(precision="half"))


@pytest.mark.parametrize("size", [0, 100, -100])
def test_damaged_files(truthful_file: Path, tmp_path: Path, size: int) -> None:
    (tmp_path / "m.onnx").write_bytes(truthful_file.read_bytes()[:size])
    with pytest.raises(ValueError, match="m.onnx: "):
        PoseEstimator.load(tmp_path / "m.onnx")


def test_a_foreign_onnx_file(truthful_file: Path, tmp_path: Path) -> None:
    proto = onnx.load(str(truthful_file))
    del proto.metadata_props[:]
    onnx.save(proto, str(tmp_path / "m.onnx"))
    with pytest.raises(ValueError, match="not a uop3d model"):
        PoseEstimator.load(tmp_path / "m.onnx")


class Choosy(Colours):
    """What it computes depends on what it sees."""

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        return super().__call__(images if images.max() > 0.5 else 1 - images)


def test_a_backbone_that_cannot_be_exported(truthful: Model) -> None:
    with pytest.raises(ValueError, match="backbone 'colours' cannot be exported: .*torch operations that ONNX has"):
        onnx_graph(truthful, Choosy())


def hog_model(mesh: Mesh, path: Path) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        settings = TrainSettings(cells=8, width=16, blocks=1, embedding=16, components=16)
        network = build_network(219, Template("potato", mesh), settings).eval()
        network.projection.copy_(torch.randn(16, 219))
    about = {"backbone": {"fingerprint": "hog-1", "licence": "Apache-2.0", "channels": 219}, "captures": []}
    save_model(path, Model("hog", Template("potato", mesh), settings, network, about))
    return path


@pytest.fixture(scope="module")
def hog_file(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hog_model(mesh, tmp_path_factory.mktemp("model") / "model.safetensors")


@pytest.fixture(scope="module")
def hog_graph(hog_file: Path) -> object:
    return onnx_graph(load_model(hog_file), load_backbone("hog"))


@pytest.fixture
def made_once(hog_graph: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exporting takes the graph that is there already."""
    monkeypatch.setattr(exporting, "onnx_graph", lambda model, backbone: hog_graph)


def call(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return " ".join(result.output.split())


def test_export_compare_and_bench_with_hog(hog_file: Path, tmp_path: Path) -> None:
    exported = tmp_path / "new" / "potato.onnx"
    said = call("export", hog_file, "--out", exported, "--count", 2, "--json", tmp_path / "parity.json")
    assert "foreground max" in said and "exported:" in said
    assert [path.name for path in exported.parent.iterdir()] == ["potato.onnx"]
    parity = json.loads((tmp_path / "parity.json").read_text())
    assert parity["images"] == 2 and parity["foreground_max"] < 1e-4 and parity["same_vertex"] > 0.99
    call("compare", hog_file, exported, "--count", 1, "--json", tmp_path / "again.json")
    assert json.loads((tmp_path / "again.json").read_text())["foreground_max"] < 1e-4
    call("bench", exported, "--images", 2, "--objects", "1,2", "--threads", 1, "--json", tmp_path / "bench.json")
    timings = json.loads((tmp_path / "bench.json").read_text())
    assert [timing["objects"] for timing in timings] == [1, 2]
    assert {"crop", "network", "beliefs", "all", "backbone alone"} <= timings[0]["ms"].keys()
    assert timings[0]["ms"]["all"].keys() == {"p50", "p90", "p99"}


@pytest.mark.usefixtures("made_once")
def test_what_differs_too_much_is_not_written(hog_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "FLOAT32", Limits(-1, 1, 180))
    (tmp_path / "m.onnx").write_bytes(b"old")
    with pytest.raises(ValueError, match="was not written, because .* differs too much: foreground_mean is"):
        exporting.export(hog_file, tmp_path / "m.onnx", count=1)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def test_limits_name_what_breaks_them() -> None:
    parity = Parity(4, 0.5, 0.02, 0.9, 0.01, 3, 1, float("nan"), float("nan"), float("nan"))
    assert Limits(0.1, 0.1, 1).broken(parity) == []
    assert Limits(0.01, 0.001, 1).broken(parity) == [
        "foreground_mean is 0.02, more than 0.01", "vertex_distance is 0.01, more than 0.001",
    ]  # fmt: skip


def test_wrong_endings_and_formats(hog_file: Path, tmp_path: Path) -> None:
    assert "ends in .xml" in call("export", hog_file, "--out", tmp_path / "m.onnx", "--format", "openvino", code=1)
    assert "known are onnx, openvino" in call("export", hog_file, "--out", tmp_path / "m.x", "--format", "tf", code=1)


@pytest.mark.usefixtures("made_once")
def test_int8_has_nothing_to_offer_to_hog(hog_file: Path, tmp_path: Path) -> None:
    assert "int8 has nothing to offer" in call("export", hog_file, "--out", tmp_path / "m.onnx", "--int8", code=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("made_once")
def test_openvino_pair(hog_file: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="pip install 'uop3d[openvino]'")
    result = exporting.export(hog_file, tmp_path / "m.xml", "openvino", count=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.bin", "m.xml"]
    assert result.parity.foreground_max < 1e-4
    read = PoseEstimator.load(tmp_path / "m.xml")
    assert read.model.category == "potato" and read.network.backbone_alone() is not None
    half = compare_files(tmp_path / "m.xml", tmp_path / "m.xml", count=1, settings=PoseSettings(precision="half"))
    assert half.foreground_mean < 0.05
    (tmp_path / "m.bin").write_bytes((tmp_path / "m.bin").read_bytes()[:-1] + b"\1")
    with pytest.raises(ValueError, match="does not belong to m.xml"):
        PoseEstimator.load(tmp_path / "m.xml")


def test_a_tiny_dinov2(mesh: Mesh, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="pip install 'uop3d[dinov2]'")
    from uop3d_core.backbones import dinov2

    tiny = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 70, "patch_size": 14}
    with torch.random.fork_rng(), dinov2._silent_transformers():
        torch.manual_seed(0)
        transformers.Dinov2Model(transformers.Dinov2Config(**tiny)).save_pretrained(tmp_path / "weights")
        backbone = load_backbone(f"dinov2-small:{tmp_path / 'weights'}")
        settings = TrainSettings(cells=8, width=16, blocks=1, embedding=16, components=16)
        network = build_network(32, Template("potato", mesh), settings).eval()
        network.projection.copy_(torch.randn(16, 32))
    about = {"backbone": {"fingerprint": backbone.fingerprint, "licence": "none", "channels": 32}}
    model = Model("dinov2-small", Template("potato", mesh), settings, network, about)
    (tmp_path / "m.onnx").write_bytes(onnx_graph(model, backbone).SerializeToString())
    pictures, reference = made_up(model.template, 2), PoseEstimator(model, backbone)
    parity = compare(reference, PoseEstimator.load(tmp_path / "m.onnx"), pictures)
    assert parity.foreground_max < 1e-4 and parity.same_vertex > 0.99
    small = quantised(onnx.load(str(tmp_path / "m.onnx")), np.zeros((1, 112, 112, 3), np.uint8))
    assert sum(node.op_type == "DequantizeLinear" for node in small.graph.node) > 10
    attach(small, pack(model, GraphFacts(14, 112, int8=True)))
    (tmp_path / "m8.onnx").write_bytes(small.SerializeToString())
    estimator = PoseEstimator.load(tmp_path / "m8.onnx")
    assert estimator.model.facts.int8
    assert 1e-6 < compare(reference, estimator, pictures).foreground_max


def test_the_facts_of_a_graph_are_in_its_metadata(truthful: Model, truthful_file: Path) -> None:
    texts = {entry.key: entry.value for entry in onnx.load(str(truthful_file)).metadata_props}
    assert texts == pack(truthful, GraphFacts(8, 128))
