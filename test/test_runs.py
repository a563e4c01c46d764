"""Artefacts are whole or absent, are made again when they have to be, and stay inside the run."""

import json

import numpy as np
import pytest
import trimesh

from uop3d_core.atomic import DRAFT, remove_drafts, replaced, replaced_when_complete
from uop3d_core.config import PairSettings
from uop3d_core.geometry import random_rotations
from uop3d_core.runs import (
    FORMAT,
    MESH,
    PAIR,
    SURFACE,
    AlignmentRecord,
    Run,
    RunRecord,
    cached,
    capture_fingerprint,
    check_capture_name,
    fingerprint,
    load,
    pair_generator,
    save,
)
from uop3d_core.types import Alignment, CaptureAlignment, Mesh, PairAlignment, Sim3, Surface, Template


def box_mesh():
    box = trimesh.creation.box((1, 0.5, 0.25))
    return Mesh(box.vertices, box.faces)


def similarities(count):
    rng = np.random.default_rng(0)
    return [Sim3(1.5, R, rng.normal(size=3)) for R in random_rotations(count, rng)]


@pytest.fixture
def record():
    a, b = similarities(2)
    captures = {"a": CaptureAlignment(a, 0.9, True), "b": CaptureAlignment(b, 0.1, False, "another kind of object")}
    return AlignmentRecord(Alignment("mug", "a", captures), {"c": "all masks are empty"}, "mark")


def test_mesh_round_trip(tmp_path):
    mesh, path = box_mesh(), tmp_path / "deep" / "mesh.safetensors"
    save(path, "mark", MESH, mesh)
    again = load(path, "mark", MESH)
    assert (again.vertices == mesh.vertices).all() and (again.faces == mesh.faces).all()


def test_surface_round_trip(tmp_path):
    mesh, rng = box_mesh(), np.random.default_rng(0)
    V = len(mesh.vertices)
    features, valid = rng.normal(size=(V, 3, 5)).astype(np.float16), rng.uniform(size=(V, 3)) < 0.5
    save(tmp_path / "s", "mark", SURFACE, Surface("mug", mesh, features, valid, np.arange(V), np.array([0, 0, 1.0])))
    again = load(tmp_path / "s", "mark", SURFACE)
    assert again.name == "mug" and (again.features == features).all() and (again.valid == valid).all()
    assert again.features.dtype == np.float16 and again.valid.dtype == np.bool_


def test_pair_round_trip(tmp_path):
    pair = PairAlignment("a", "b", tuple(similarities(3)), [-0.1, -0.2, -0.3], [1, 2, 3], [4, 5, 6])
    save(tmp_path / "p", "mark", PAIR, pair)
    again = load(tmp_path / "p", "mark", PAIR)
    assert (again.a, again.b) == ("a", "b") and (again.scores == pair.scores).all()
    for mine, theirs in zip(again.a_T_b, pair.a_T_b, strict=True):
        np.testing.assert_allclose(mine.matrix, theirs.matrix, atol=1e-15)


def test_another_fingerprint_is_not_there(tmp_path):
    save(tmp_path / "m", "mark", MESH, box_mesh())
    assert load(tmp_path / "m", "other", MESH) is None
    assert load(tmp_path / "none", "mark", MESH) is None


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_truncated_artefact_is_told_and_made_again(tmp_path, caplog, keep):
    path = tmp_path / "m"
    save(path, "mark", MESH, box_mesh())
    path.write_bytes(path.read_bytes()[:keep])
    again = cached(path, "mark", MESH, box_mesh)
    assert len(again.vertices) == 8 and "damaged" in caplog.text
    assert load(path, "mark", MESH) is not None


def test_artefact_of_another_kind_is_made_again(tmp_path, caplog):
    save(tmp_path / "m", "mark", MESH, box_mesh())
    assert load(tmp_path / "m", "mark", PAIR) is None
    assert "damaged" in caplog.text


def test_cached_computes_once(tmp_path):
    calls = []
    for _ in range(2):
        cached(tmp_path / "m", "mark", MESH, lambda: calls.append(1) or box_mesh())
    assert calls == [1]


def test_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "f"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), replaced(path) as draft:
        draft.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_drafts_of_killed_processes_are_removed(tmp_path):
    (tmp_path / "1_meshes").mkdir()
    (tmp_path / "1_meshes" / f"{DRAFT}abc-mug.safetensors").write_text("half")
    (tmp_path / "whole").write_text("whole")
    remove_drafts(tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["1_meshes", "whole"]


def test_folder_appears_when_complete(tmp_path):
    with pytest.raises(RuntimeError), replaced_when_complete(tmp_path / "x") as draft:
        (draft / "a").write_text("a")
        raise RuntimeError
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["mug_01", "a.b-c", "7", "_x"])
def test_good_names(name):
    assert check_capture_name(name) == name


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "-x", "a/b", "../a", "a b", "ü", "a\n", "a+b", "a\0"])
def test_bad_names(name, tmp_path):
    with pytest.raises(ValueError, match="cannot be used"):
        check_capture_name(name)
    with pytest.raises(ValueError, match="cannot be used"):
        Run(tmp_path).pair("a", name)


def test_fingerprint_depends_on_content_only():
    assert fingerprint(a=1, b=PairSettings()) == fingerprint(b=PairSettings(), a=1)
    assert fingerprint(a=1, b=PairSettings()) != fingerprint(a=1, b=PairSettings(modes=2))


def test_capture_fingerprint_sees_changes(tmp_path):
    (tmp_path / "transforms.json").write_text("{}")
    (tmp_path / "a.jpg").write_bytes(b"1")
    first = capture_fingerprint(tmp_path)
    (tmp_path / "transforms.json").touch()
    assert capture_fingerprint(tmp_path) == first
    (tmp_path / "transforms.json").write_text("[]")
    second = capture_fingerprint(tmp_path)
    (tmp_path / "a.jpg").write_bytes(b"22")
    assert len({first, second, capture_fingerprint(tmp_path)}) == 3


def test_pair_generator_depends_on_seed_and_names():
    draws = [pair_generator(*args).integers(1 << 40) for args in ((0, "ab"), (0, "ba"), (1, "ab"), (0, ("a", "b")))]
    assert draws[0] == draws[3] and len(set(draws)) == 3


def test_alignment_round_trip(tmp_path, record):
    run = Run(tmp_path)
    written = run.write_alignment(record, Template("mug", box_mesh()))
    again = run.read_alignment()
    assert again.failed == {"c": "all masks are empty"} and again.mark == "mark"
    assert again.alignment.reference == "a" and again.alignment.category == "mug"
    for name, entry in record.alignment.captures.items():
        mine = again.alignment.captures[name]
        np.testing.assert_allclose(mine.obj_T_world.matrix, entry.obj_T_world.matrix, atol=1e-15)
        assert (mine.score, mine.accepted, mine.reason) == (entry.score, entry.accepted, entry.reason)
    assert run.read_alignment().digest == again.digest
    template = run.read_template(written)
    np.testing.assert_allclose(template.mesh.vertices, box_mesh().vertices, atol=1e-7)


def test_alignment_file_keeps_its_contract(tmp_path, record):
    Run(tmp_path).write_alignment(record, Template("mug", box_mesh()))
    content = json.loads((tmp_path / "alignment.json").read_text())
    assert content["category"] == "mug"
    assert {"obj_T_world", "score", "accepted"} <= content["captures"]["a"].keys()
    assert np.shape(content["captures"]["a"]["obj_T_world"]) == (4, 4)


def test_alignment_changed_by_hand_has_another_digest(tmp_path, record):
    run = Run(tmp_path)
    run.write_alignment(record, Template("mug", box_mesh()))
    before = run.read_alignment().digest
    content = json.loads(run.alignment.read_text())
    content["captures"]["b"]["accepted"] = True
    run.alignment.write_text(json.dumps(content))
    assert run.read_alignment().digest != before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("captures"), "captures"),
        (lambda c: c["captures"]["a"].pop("score"), "capture a must have"),
        (lambda c: c["captures"]["a"].update(accepted="yes"), "capture a: accepted"),
        (lambda c: c["captures"]["a"].update(obj_T_world=[[1]]), "capture a: .*shape"),
        (lambda c: c["captures"]["a"]["obj_T_world"][0].__setitem__(0, None), "capture a: "),
        (lambda c: c.update(reference="z"), "reference 'z'"),
        (lambda c: c.update(failed=[]), "failed"),
    ],
)
def test_broken_alignment_is_a_clear_error(tmp_path, record, change, message):
    run = Run(tmp_path)
    run.write_alignment(record, Template("mug", box_mesh()))
    content = json.loads(run.alignment.read_text())
    change(content)
    run.alignment.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message) as error:
        run.read_alignment()
    assert "alignment.json" in str(error.value)


def test_truncated_alignment_and_template(tmp_path, record):
    run = Run(tmp_path)
    written = run.write_alignment(record, Template("mug", box_mesh()))
    run.template.write_bytes(run.template.read_bytes()[:-5])
    with pytest.raises(ValueError, match="template.ply is damaged"):
        run.read_template(written)
    run.alignment.write_text(run.alignment.read_text()[:-30])
    with pytest.raises(ValueError, match="alignment.json: not valid JSON"):
        run.read_alignment()


def test_run_record(tmp_path):
    run, record = Run(tmp_path), RunRecord("mug", tmp_path, ("a", "b"), "hog", {"pair": {"modes": 3}})
    with pytest.raises(FileNotFoundError, match="not a run"):
        run.read_record()
    run.write_record(record)
    assert run.read_record() == record
    run.record_path.write_text('{"format": 99}')
    with pytest.raises(ValueError, match="format 99"):
        run.read_record()
    run.record_path.write_text(json.dumps({"format": FORMAT, "captures": ["../x"]}))
    with pytest.raises(ValueError, match="damaged"):
        run.read_record()


def test_foreign_folder_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(FileExistsError, match="not a run"), Run(tmp_path).locked():
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(FileExistsError, match="is a file"), Run(tmp_path / "thesis.tex").locked():
        pass


def test_one_at_a_time(tmp_path):
    with Run(tmp_path / "run").locked():
        with pytest.raises(BlockingIOError, match="another uop3d"), Run(tmp_path / "run").locked():
            pass
    with Run(tmp_path / "run").locked():
        pass
