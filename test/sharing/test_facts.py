"""Facts are those of the file, whatever kind it is and whenever it was trained."""

import hashlib
import json

import pytest
from shared_models import ABOUT, REPORT, exported, model, trained

from uop3d_core.correspondence.checkpoint import load_model, save_model
from uop3d_core.exported.content import METADATA_KEY, GraphFacts, pack
from uop3d_core.sharing.facts import figures_of, model_facts, note, note_licence, with_figures


def test_a_trained_model(tmp_path):
    path = trained(tmp_path / "model.safetensors", spec="dinov2-small:/home/someone/weights/dino.safetensors")
    facts = model_facts(path)
    [file] = facts.files
    assert file.sha256 == hashlib.sha256(path.read_bytes()).hexdigest() and file.bytes == path.stat().st_size
    assert (facts.category, facts.symmetry_fold, facts.head) == ("mug", 4, "dense")
    assert (facts.backbone, facts.weights, facts.backbone_licence) == ("dinov2-small", "dino.safetensors", "Apache-2.0")
    assert facts.captures == ("mug_a", "mug_b") and facts.frames == 26 and facts.held_out == ("mug_b",)
    assert (facts.vertices, facts.faces, facts.calibrated_on, facts.int8) == (42, 80, 0, None)
    assert facts.data_licence is None and facts.figures is None
    assert "someone" not in json.dumps(facts.as_json())


@pytest.mark.parametrize("ending", [".onnx", ".xml"])
def test_an_exported_model(tmp_path, ending):
    pytest.importorskip("onnxruntime" if ending == ".onnx" else "openvino")
    pytest.importorskip("onnx")
    path = exported(tmp_path / f"mug{ending}", figures=figures_of(REPORT))
    facts = model_facts(path)
    names = {".onnx": ["mug.onnx"], ".xml": ["mug.xml", "mug.bin"]}[ending]
    assert [file.name for file in facts.files] == names and facts.int8 is True
    assert "exported" in facts.kind and facts.figures == figures_of(REPORT)
    with pytest.raises(ValueError, match="export that again"):
        note(path, figures={})


def test_exported_models_do_not_tell_where_the_weights_were():
    texts = pack(model(spec="dinov2-small:/home/someone/dino.safetensors"), GraphFacts(8, 64))
    assert json.loads(texts[METADATA_KEY])["backbone"] == "dinov2-small:dino.safetensors"


def test_old_models_say_less(tmp_path):
    old = model()
    for key in ("data", "views", "held_out_in_rehearsal", "version", "epochs"):
        del old.metadata[key]
    save_model(tmp_path / "old.safetensors", old)
    facts = model_facts(tmp_path / "old.safetensors")
    assert (facts.frames, facts.version, facts.epochs, facts.held_out) == (None, None, None, ())


def test_notes_change_nothing_else(tmp_path):
    path = trained(tmp_path / "model.safetensors")
    before = load_model(path)
    note(path, figures=figures_of(REPORT))
    note_licence(path, "CC-BY-4.0")
    size, digest = path.stat().st_mtime_ns, path.read_bytes()
    note_licence(path, "CC-BY-4.0")
    assert (path.stat().st_mtime_ns, path.read_bytes()) == (size, digest)
    after, facts = load_model(path), model_facts(path)
    assert facts.data_licence == "CC-BY-4.0" and facts.figures["median_deg"] == 4.25 and facts.frames == 26
    assert after.metadata == {
        **before.metadata, "figures": figures_of(REPORT), "data": {**ABOUT["data"], "licence": "CC-BY-4.0"},
    }  # fmt: skip
    assert after.settings == before.settings
    for name, value in before.network.state_dict().items():
        assert (after.network.state_dict()[name] == value).all()


def test_figures_of_the_model_alone(tmp_path):
    facts = model_facts(trained(tmp_path / "model.safetensors"))
    assert with_figures(facts, REPORT, "pose.json").figures == {
        "acc30": 96.0, "acc15": 90.0, "acc10": 80.0, "median_deg": 4.25, "sym_acc30": 98.0, "images": 50,
        "not_found": 1, "captures": ["mug_y", "mug_z"], "box_jitter": 0.1, "calibration_error": 0.021,
    }  # fmt: skip
    for change in ({"category": "car"}, {"trained_on": ["mug_a"]}):
        with pytest.raises(ValueError, match="pose.json: these figures are of a model that was trained on other"):
            with_figures(facts, {**REPORT, **change}, "pose.json")
    for wrong in ({}, {"overall": 3, "captures": {}}, {**REPORT, "overall": {"acc30": "many"}}):
        with pytest.raises(ValueError, match="pose.json: these are no figures"):
            with_figures(facts, wrong, "pose.json")
