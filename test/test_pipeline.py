"""The pipeline on small made-up mugs: from captures to an aligned run, and on again after every kind of stop."""

import json
import shutil

import pytest
from safetensors.numpy import load_file

from uop3d_core.capture.synthetic import write_category
from uop3d_core.config import RunSettings, parse_settings
from uop3d_core.pipeline import loops
from uop3d_core.pipeline.aligning import align
from uop3d_core.pipeline.inference import evaluate_run
from uop3d_core.runs import Run

SETTINGS = {
    "surface": {"vertices": 150, "resolution": 48, "cells": 16, "components": 32, "views_per_vertex": 8},
    "pair": {"hypotheses": 200, "candidates": 6, "iterations": 6, "modes": 2, "field_resolution": 24},
    "template": {"vertices": 150, "resolution": 32},
}


def settings(**changes):
    merged = {stage: {**SETTINGS.get(stage, {}), **changes.get(stage, {})} for stage in {*SETTINGS, *changes}}
    return parse_settings(RunSettings, merged, "test")


@pytest.fixture(scope="module")
def mugs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("captures") / "mug"
    write_category(folder, 3, seed=4, views=8, pixels=96)
    return folder


@pytest.fixture(scope="module")
def finished(mugs, tmp_path_factory):
    """An aligned run; to be copied, not changed."""
    folder = tmp_path_factory.mktemp("runs") / "mug"
    calls = []
    result = align(mugs, folder, backbone="hog", settings=settings(), progress=lambda *call: calls.append(call))
    return folder, result, calls


@pytest.fixture
def run(finished, tmp_path):
    shutil.copytree(finished[0], tmp_path / "run")
    return Run(tmp_path / "run")


def again(mugs, run, **changes):
    return align(mugs, run.folder, backbone="hog", settings=settings(**changes))


def stamps(run):
    """Time of change of every artefact."""
    return {
        path.relative_to(run.folder).as_posix(): path.stat().st_mtime_ns
        for path in run.folder.rglob("*")
        if path.is_file() and path.name not in (".lock", "run.json")
    }


def changed(before, run):
    after = stamps(run)
    return sorted({path.split("/")[0] for path in after if after[path] != before.get(path)})


def test_align(finished, mugs):
    folder, result, calls = finished
    assert sorted(result.alignment.captures) == ["mug_00", "mug_01", "mug_02"] and result.failed == {}
    assert Run(folder).read_record().category == "mug"
    content = json.loads((folder / "alignment.json").read_text())
    assert content["captures"].keys() == result.alignment.captures.keys()
    template = Run(folder).read_template(Run(folder).read_alignment())
    assert template.mesh.diameter == pytest.approx(1, abs=1e-5)
    assert {path.name for path in (folder / "pictures").iterdir()} == {"alignment.png", "template.png"}
    for stage, total in (("meshes", 3), ("surfaces", 3), ("pairs", 3)):
        assert (stage, 0, total) in calls and (stage, total, total) in calls
    report = evaluate_run(folder, mugs / "labels.json")
    assert report["all"]["pairs"] == 3 and report["failed"] == {}


def test_nothing_half_written_is_left(finished):
    assert [path for path in finished[0].rglob("*") if path.name.startswith(".") and path.name != ".lock"] == []


def test_second_call_computes_nothing(mugs, run):
    before = stamps(run)
    result = again(mugs, run)
    assert stamps(run) == before
    assert len(result.alignment.captures) == 3


def test_result_does_not_depend_on_where_it_stopped(finished, mugs, run, monkeypatch):
    """Interrupted in the pairs, then continued: only the rest is computed, and the outcome is the same."""
    for path in ("alignment.json", "template.ply", "pictures", "4_pairs", "3_surfaces/mug_01.safetensors"):
        target = run.folder / path
        shutil.rmtree(target) if target.is_dir() else target.unlink()
    kept, original, done = stamps(run), loops.align_pair, []

    def interrupted(a, b, *args):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append((a.name, b.name))
        return original(a, b, *args)

    monkeypatch.setattr(loops, "align_pair", interrupted)
    with pytest.raises(KeyboardInterrupt):
        again(mugs, run)
    assert changed(kept, run) == ["3_surfaces", "4_pairs"] and not run.alignment.exists()
    assert len(list((run.folder / "4_pairs").iterdir())) == 2
    monkeypatch.undo()
    half = stamps(run)
    again(mugs, run)
    after = stamps(run)
    assert all(after[path] == half[path] for path in half), "what was finished is left as it was"
    old, new = (Run(folder).read_alignment() for folder in (finished[0], run.folder))
    assert old.digest == new.digest


def test_corrupt_artefact_is_made_again(mugs, run, caplog):
    run.alignment.unlink()
    broken = run.surface("mug_01")
    broken.write_bytes(broken.read_bytes()[:1000])
    before = stamps(run)
    again(mugs, run)
    assert "mug_01.safetensors is damaged" in caplog.text
    assert changed(before, run) == ["3_surfaces", "alignment.json", "pictures", "template.ply"]


@pytest.mark.parametrize("target", ["alignment.json", "template.ply"])
def test_corrupt_results_are_made_again(finished, mugs, run, target, caplog):
    path = run.folder / target
    path.write_bytes(path.read_bytes()[:-40])
    result = again(mugs, run)
    assert "made again" in caplog.text and len(result.alignment.captures) == 3
    assert run.read_alignment().digest == finished[1].run.read_alignment().digest


def test_changed_setting_recomputes_from_its_stage_on(mugs, run):
    before = stamps(run)
    again(mugs, run, joint={"rounds": 19})
    assert changed(before, run) == ["alignment.json", "pictures", "template.ply"]
    before = stamps(run)
    again(mugs, run, joint={"rounds": 19}, pair={"iterations": 5})
    assert changed(before, run) == ["4_pairs", "alignment.json", "pictures", "template.ply"]


def test_pairs_do_not_depend_on_the_order_of_work(mugs, run):
    """The seed of a pair comes from its names: made again alone, it is the same."""
    path = run.pair("mug_01", "mug_02")
    before = load_file(path)
    path.unlink()
    run.alignment.unlink()
    again(mugs, run)
    assert all((array == before[key]).all() for key, array in load_file(path).items())


def test_only_and_category(mugs, tmp_path):
    result = align(
        mugs, tmp_path / "run", backbone="hog", only=["mug_01", "mug_02"], category="cup", settings=settings()
    )
    assert sorted(result.alignment.captures) == ["mug_01", "mug_02"]
    assert result.alignment.category == "cup"


def test_one_capture_alone(mugs, tmp_path):
    result = align(mugs, tmp_path / "run", backbone="hog", only=["mug_01"], settings=settings())
    assert result.alignment.captures["mug_01"].accepted


@pytest.fixture
def spoiled(mugs, tmp_path):
    """The captures with one that cannot be used."""
    folder = tmp_path / "captures"
    shutil.copytree(mugs, folder)
    return folder


def test_broken_capture_is_left_out(spoiled, run):
    image = next((spoiled / "mug_01" / "images").iterdir())
    image.write_bytes(image.read_bytes()[:700])
    result = again(spoiled, run)
    assert sorted(result.alignment.captures) == ["mug_00", "mug_02"]
    assert image.name in result.failed["mug_01"]
    assert json.loads(run.alignment.read_text())["failed"] == result.failed


def test_nothing_usable_is_an_error(spoiled, tmp_path):
    for name in ("mug_00", "mug_01"):
        (spoiled / name / "transforms.json").write_text("{}")
    with pytest.raises(ValueError, match="1 of 3 captures can be used.*\n.*mug_00.*\n.*mug_01"):
        align(spoiled, tmp_path / "run", backbone="hog", settings=settings())
    assert not (tmp_path / "run" / "alignment.json").exists()


def test_names_cannot_lead_out(spoiled, tmp_path):
    (spoiled / "mug_00").rename(spoiled / "mug 00; x")
    with pytest.raises(ValueError, match="cannot be used"):
        align(spoiled, tmp_path / "run", backbone="hog", settings=settings())
    assert not (tmp_path / "run").exists()


def test_unknown_backbone_writes_nothing(mugs, tmp_path):
    with pytest.raises(ValueError, match="unknown backbone 'sift'"):
        align(mugs, tmp_path / "run", backbone="sift", settings=settings())
    assert not (tmp_path / "run").exists()
