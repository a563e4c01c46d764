"""What was pushed comes back bit for bit, and what was tampered with does not come at all."""

import hashlib
import json

import pytest
from fake_hub import fake_hub
from shared_models import REPORT, exported, trained
from typer.testing import CliRunner

from uop3d_core.cli import app
from uop3d_core.correspondence.checkpoint import load_model
from uop3d_core.sharing.exchange import CARD, SUMS, pull, push
from uop3d_core.sharing.facts import model_facts
from uop3d_core.sharing.shelves import FolderShelf, HubShelf

HOME = "/home/someone/weights"


@pytest.fixture
def model(tmp_path):
    return trained(tmp_path / "model.safetensors", spec=f"dinov2-small:{HOME}/dino.safetensors")


@pytest.fixture
def shelf(tmp_path, model):
    shelf = FolderShelf(tmp_path / "shelf")
    push([model], shelf, licence="Apache-2.0", figures=(REPORT, "pose.json"))
    return shelf


def test_there_and_back(tmp_path, model, shelf):
    told = []
    pulled = pull(shelf, tmp_path / "got", progress=lambda *progress: told.append(progress))
    assert pulled.models == (tmp_path / "got" / "model.safetensors",) and told[-1] == ("files", 2, 2)
    assert sorted(path.name for path in (tmp_path / "got").iterdir()) == [CARD, SUMS, "model.safetensors"]
    for path in (tmp_path / "got").iterdir():
        assert path.read_bytes() == (shelf.folder / path.name).read_bytes()
    for line in (shelf.folder / SUMS).read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((shelf.folder / name).read_bytes()).hexdigest() == digest
    assert "96.0 %" in (tmp_path / "got" / CARD).read_text()
    before, after = load_model(model), load_model(pulled.models[0])
    assert after.metadata == before.metadata and after.settings == before.settings
    assert after.backbone_spec == "dinov2-small:dino.safetensors"
    assert before.backbone_spec.startswith("dinov2-small:/home")  # the own file stays as it is
    assert all(HOME.encode() not in path.read_bytes() for path in shelf.folder.iterdir())


def test_through_a_hub(tmp_path, model, monkeypatch):
    pytest.importorskip("huggingface_hub", reason="the extra hub is not installed")
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    with fake_hub() as hub:
        push([model], HubShelf("someone/mug", None, False, hub.endpoint))
        pulled = pull(HubShelf("someone/mug", None, False, hub.endpoint), tmp_path / "got")
        assert load_model(pulled.models[0]).category == "mug"
        hub.repositories["someone/mug"]["model.safetensors"] += b"!"
        with pytest.raises(ValueError, match="damaged or was changed"):
            pull(HubShelf("someone/mug", None, False, hub.endpoint), tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_exported_ones_beside_it(tmp_path, model):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("openvino")
    models = [exported(tmp_path / "mug.xml"), exported(tmp_path / "mug.onnx"), model]
    shelf = FolderShelf(tmp_path / "shelf")
    push(models, shelf)
    pulled = pull(shelf, tmp_path / "got")
    assert [path.name for path in pulled.models] == ["model.safetensors", "mug.xml", "mug.onnx"]
    assert [model_facts(path).category for path in pulled.models] == ["mug"] * 3
    assert (tmp_path / "got" / "mug.bin").is_file()
    card = (tmp_path / "got" / CARD).read_text()
    assert all(file.sha256 in card for path in pulled.models for file in model_facts(path).files)


def test_the_digest_that_was_expected(tmp_path, shelf):
    digest = hashlib.sha256((shelf.folder / "model.safetensors").read_bytes()).hexdigest()
    assert pull(shelf, tmp_path / "got", sha256=digest.upper()).sha256["model.safetensors"] == digest
    card = hashlib.sha256((shelf.folder / CARD).read_bytes()).hexdigest()
    for other in ("0" * 64, card):
        with pytest.raises(ValueError, match="not the one you expect"):
            pull(shelf, tmp_path / "other", sha256=other)
    with pytest.raises(ValueError, match="64 hexadecimal digits"):
        pull(shelf, tmp_path / "other", sha256="12")


@pytest.mark.parametrize("name", ["model.safetensors", CARD])
def test_a_changed_byte_is_noticed(tmp_path, shelf, name):
    content = bytearray((shelf.folder / name).read_bytes())
    content[-3] ^= 1
    (shelf.folder / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{name} is damaged or was changed"):
        pull(shelf, tmp_path / "got")
    assert not (tmp_path / "got").exists() and not [p for p in tmp_path.iterdir() if p.name.startswith(".got")]


@pytest.mark.parametrize(
    ("sums", "message"),
    [
        ("", "0 files"),
        ("nonsense\n", "no digest with a name"),
        (f"{'0' * 64}  ../model.safetensors\n", "not taken"),
        (f"{'0' * 64}  /etc/passwd\n", "not taken"),
        (f"{'0' * 64}  model.pkl\n", "not taken"),
        (f"{'0' * 64}  model.py\n", "not taken"),
        (f"{'0' * 64}  .model.safetensors\n", "not taken"),
        (f"{'0' * 64}  sub/model.safetensors\n", "not taken"),
        (f"{'0' * 64}  README.md\n", "do not make a shared model"),
        (f"{'0' * 64}  a.onnx\n{'1' * 64}  a.onnx\n", "twice"),
        ("".join(f"{'0' * 64}  m{i}.onnx\n" for i in range(30)), "30 files"),
        ("x" * 20_000, "more than the 10000"),
        (b"\xff\xfe\x00", "not text"),
        (f"{'0' * 64}  gone.onnx\n", "no such file"),
    ],
)
def test_lists_that_are_not_taken(tmp_path, shelf, sums, message):
    (shelf.folder / SUMS).write_bytes(sums if isinstance(sums, bytes) else sums.encode())
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        pull(shelf, tmp_path / "got")
    assert not (tmp_path / "got").exists()


def test_where_nothing_can_be_taken_or_put(tmp_path, model, shelf):
    with pytest.raises(FileNotFoundError, match="uop3d push has put there has SHA256SUMS"):
        pull(FolderShelf(tmp_path), tmp_path / "got")
    with pytest.raises(FileExistsError, match="not an empty folder"):
        pull(shelf, shelf.folder)
    with pytest.raises(FileExistsError, match="is a file"):
        push([model], FolderShelf(model))
    with pytest.raises(ValueError, match="several categories|one category"):
        push([model, trained(tmp_path / "car.safetensors", category="car")], FolderShelf(tmp_path / "s"))
    with pytest.raises(ValueError, match="rename it"):
        push([trained(tmp_path / "my model.safetensors")], FolderShelf(tmp_path / "s"))
    (tmp_path / "weights.bin").write_bytes(b"")
    with pytest.raises(ValueError, match="ends in .safetensors, .onnx, .xml"):
        push([tmp_path / "weights.bin"], FolderShelf(tmp_path / "s"))
    with pytest.raises(ValueError, match="rename one"):
        push([model, model], FolderShelf(tmp_path / "s"))
    with pytest.raises(ValueError, match="no model to push"):
        push([], FolderShelf(tmp_path / "s"))
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="damaged or not a safetensors"):
        push([tmp_path / "broken.safetensors"], FolderShelf(tmp_path / "s"))
    assert not (tmp_path / "s").exists()


def call(*arguments, code=0):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.output


def test_the_commands(tmp_path, model):
    facts = json.loads(call("info", model, "--json"))
    assert facts["category"] == "mug" and facts["files"][0]["sha256"] in "".join(call("info", model).split()).replace(
        "│", ""
    )
    (tmp_path / "pose.json").write_text(json.dumps(REPORT))
    assert "96.0 %" in call("card", model, "--figures", tmp_path / "pose.json")
    call("card", model, "--out", tmp_path / "card.md", "--licence", "MIT")
    assert "license: mit" in (tmp_path / "card.md").read_text()
    assert "pushed:" in call("push", model, "--to", tmp_path / "shelf")
    assert "sha256" in call("pull", tmp_path / "shelf", "--out", tmp_path / "got")
    assert "hf://USER/NAME" in call("pull", "ftp://x", "--out", tmp_path / "new", code=1)
    assert "no such model file" in call("info", tmp_path / "none.safetensors", code=1)
