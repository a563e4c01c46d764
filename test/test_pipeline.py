"""The pipeline on small made-up mugs: from captures to an aligned run, and on again after every kind of stop."""

import json
import shutil
import threading

import numpy as np
import psutil
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from uop3d_core.capture.synthetic import write_category
from uop3d_core.config import RunSettings, parse_settings
from uop3d_core.executors import processes
from uop3d_core.pipeline import loops
from uop3d_core.pipeline.aligning import align
from uop3d_core.pipeline.inference import evaluate_run
from uop3d_core.pipeline.orienting import orient
from uop3d_core.runs import SURFACE, Run, load
from uop3d_core.timings import read_timings

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
        if path.is_file() and path.name not in (".lock", "run.json", "timings.json")
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
    before, spent = stamps(run), run.timings.read_bytes()
    result = again(mugs, run)
    assert stamps(run) == before and run.timings.read_bytes() == spent
    assert len(result.alignment.captures) == 3


def test_result_does_not_depend_on_where_it_stopped(finished, mugs, run, monkeypatch):
    """Interrupted in the pairs, then continued: only the rest is computed, and the outcome is the same."""
    for path in ("alignment.json", "template.ply", "pictures", "4_pairs", "3_surfaces/mug_01.safetensors"):
        target = run.folder / path
        shutil.rmtree(target) if target.is_dir() else target.unlink()
    kept, original, done = stamps(run), loops.align_pair, []
    spent = [read_timings(run.timings).seconds["pairs"]]

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
    spent.append(read_timings(run.timings).seconds["pairs"])
    again(mugs, run)
    assert spent[0] < spent[1] < read_timings(run.timings).seconds["pairs"]
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


def arrays(folder):
    """Fingerprint and arrays of every artefact; the order of a header's entries says nothing."""
    content = {}
    for path in sorted(folder.rglob("*.safetensors")):
        with safe_open(path, "numpy") as file:
            content[path.relative_to(folder).as_posix()] = (
                file.metadata(), {key: file.get_tensor(key).tobytes() for key in file.keys()}  # noqa: SIM118
            )  # fmt: skip
    return content


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("engine", ["processes", "ray:local"])
def test_engines_give_the_same_bits(mugs, tmp_path, monkeypatch, engine):
    if engine.startswith("ray"):
        pytest.importorskip("ray", reason="Ray is not installed: pip install 'uop3d[ray]'")
    monkeypatch.setattr(processes, "START_S", 0)
    align(mugs, tmp_path / "serial", backbone="hog", settings=settings(), engine="serial")
    calls = []
    align(mugs, tmp_path / "other", backbone="hog", settings=settings(), engine=engine, workers=2,
          progress=lambda *call: calls.append(call))  # fmt: skip
    assert ("pairs", 0, 3) in calls and ("pairs", 3, 3) in calls
    assert arrays(tmp_path / "serial") == arrays(tmp_path / "other")
    for name in ("alignment.json", "template.ply"):
        assert (tmp_path / "serial" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()
    assert not [path for path in (tmp_path / "other").iterdir() if path.name.startswith(".draft")]


def test_unknown_engine_writes_nothing(mugs, tmp_path):
    with pytest.raises(ValueError, match="unknown engine 'threads'; known are processes, ray, serial"):
        align(mugs, tmp_path / "run", backbone="hog", engine="threads", settings=settings())
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def family(tmp_path_factory):
    """Captures that are added to those of the finished run: the same three and two more."""
    folder = tmp_path_factory.mktemp("family") / "mug"
    write_category(folder, 5, seed=4, views=8, pixels=96)
    return folder


def test_death_of_the_workers_keeps_what_is_finished(family, tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "START_S", 0)
    killer = threading.Event()

    def kill(stage, done, total):
        if (stage, done) == ("pairs", 1) and not killer.is_set():
            killer.set()
            for child in psutil.Process().children():
                if "uop3d_core.executors.worker" in " ".join(child.cmdline()):
                    child.kill()

    run = Run(tmp_path / "run")
    with pytest.raises(ChildProcessError, match=r"while it worked on mug_0\d\+mug_0\d"):
        align(family, run.folder, backbone="hog", settings=settings(), workers=2, progress=kill)
    assert len(list((run.folder / "4_pairs").iterdir())) >= 1
    assert len(again(family, run).alignment.captures) == 5


@pytest.fixture
def three(family, tmp_path):
    """An aligned run of the first three of the family."""
    align(family, tmp_path / "run", backbone="hog", only=names(3), settings=settings())
    return Run(tmp_path / "run")


def names(count):
    return [f"mug_{i:02d}" for i in range(count)]


def extended(family, run, count, **options):
    return align(family, run.folder, backbone="hog", only=names(count), settings=settings(), **options)


def test_added_capture_leaves_everything_else_as_it_is(family, three):
    before, old = stamps(three), three.read_alignment()
    result = extended(family, three, 4)
    assert result.notes == ("added 1 capture to 3 aligned ones, by 3 pairs",)
    assert list(result.alignment.captures) == names(4)
    assert {path for path in stamps(three) if stamps(three)[path] != before.get(path)} == {
        "1_meshes/mug_03.safetensors", "3_surfaces/mug_03.safetensors", "alignment.json",
        "pictures/alignment.png", "pictures/template.png",
        *(f"4_pairs/{name}+mug_03.safetensors" for name in names(3)),
    }  # fmt: skip
    new = three.read_alignment()
    for name, entry in old.alignment.captures.items():
        again = new.alignment.captures[name]
        assert (again.obj_T_world.matrix == entry.obj_T_world.matrix).all()
        assert (again.score, again.accepted, again.reason) == (entry.score, entry.accepted, entry.reason)
    assert new.alignment.captures["mug_03"].score > 0
    assert new.template_sha256 == old.template_sha256 and new.founders == tuple(names(3))
    assert list(new.inputs) == names(4)


def test_nothing_happens_after_an_addition(family, three):
    extended(family, three, 4)
    before = stamps(three)
    assert extended(family, three, 4).notes == ()
    assert stamps(three) == before


def test_one_after_the_other_or_together(family, three, tmp_path):
    shutil.copytree(three.folder, tmp_path / "other")
    other = Run(tmp_path / "other")
    for count in (4, 5):
        extended(family, three, count)
    assert extended(family, other, 5).notes == ("added 2 captures to 3 aligned ones, by 6 pairs",)
    assert other.read_alignment().inputs == three.read_alignment().inputs


def test_interrupted_addition_goes_on(family, three, monkeypatch):
    original, done = loops.align_pair, []

    def interrupted(a, b, *args):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append((a.name, b.name))
        return original(a, b, *args)

    old = three.alignment.read_bytes()
    monkeypatch.setattr(loops, "align_pair", interrupted)
    with pytest.raises(KeyboardInterrupt):
        extended(family, three, 4)
    assert three.alignment.read_bytes() == old
    monkeypatch.undo()
    half = stamps(three)
    assert "added 1 capture" in extended(family, three, 4).notes[0]
    after = stamps(three)
    assert all(after[path] == half[path] for path in half if "pairs" in path or "surfaces" in path)


@pytest.mark.parametrize("what", ["removed", "changed", "afresh", "setting"])
def test_other_changes_align_all_again(family, three, tmp_path, what):
    folder, options, count = family, {}, 4
    if what == "removed":
        count = 2
    elif what == "changed":
        folder = tmp_path / "changed"
        shutil.copytree(family, folder)
        (folder / "mug_00" / "transforms.json").write_text((folder / "mug_00" / "transforms.json").read_text() + " ")
    elif what == "afresh":
        options["afresh"] = True
    changes = {"joint": {"rounds": 19}} if what == "setting" else {}
    result = align(folder, three.folder, backbone="hog", only=names(count), settings=settings(**changes), **options)
    assert result.notes[-1] == f"aligned {count} captures together"
    assert three.read_alignment().founders == tuple(names(count))


def test_many_new_captures_align_all_again(family, tmp_path):
    run = Run(tmp_path / "run")
    extended(family, run, 2)
    assert extended(family, run, 5).notes[0] == "3 new captures beside 2 accepted ones: all are aligned afresh"


def test_many_new_captures_are_added_where_that_is_asked_for(family, tmp_path):
    run = Run(tmp_path / "run")
    extended(family, run, 2)
    result = align(family, run.folder, backbone="hog", settings=settings(graph={"growth": 2, "added_pairs": 1}))
    assert result.notes == ("added 3 captures to 2 aligned ones, by 3 pairs",)


def test_addition_without_earlier_artefacts(family, three):
    """alignment.json is enough: what it was made from comes back the same."""
    before = load_file(three.surface("mug_01"))
    for folder in ("1_meshes", "3_surfaces", "4_pairs"):
        shutil.rmtree(three.folder / folder)
    three.basis.unlink()
    old = three.read_alignment()
    assert "added 1 capture" in extended(family, three, 4).notes[0]
    assert three.read_alignment().template_sha256 == old.template_sha256
    assert all((array == before[key]).all() for key, array in load_file(three.surface("mug_01")).items())


def test_axes_chosen_by_hand_outlive_a_new_alignment(mugs, run):
    """They are those of the captures, whatever axes the new alignment would have given."""
    old = run.read_alignment()
    orient(run.folder, "70", None)
    chosen = run.read_alignment()
    assert chosen.digest != old.digest
    again(mugs, run)
    assert run.read_alignment().digest == chosen.digest, "nothing to do"
    again(mugs, run, joint={"rounds": 19})
    new = run.read_alignment()
    assert new.axes_by_hand and new.mark != chosen.mark
    for name, entry in new.alignment.captures.items():
        np.testing.assert_allclose(
            entry.obj_T_world.R, chosen.alignment.captures[name].obj_T_world.R, atol=np.deg2rad(3)
        )
    assert run.read_template(new).mesh.diameter == pytest.approx(1, abs=1e-5)


def test_axes_chosen_by_hand_for_other_captures_are_lost(family, tmp_path):
    only = {"backbone": "hog", "settings": settings()}
    align(family, tmp_path / "run", only=names(2), **only)
    orient(tmp_path / "run", "-x", None)
    result = align(family, tmp_path / "run", only=names(4)[2:], **only)
    assert any("chosen by hand are lost" in note for note in result.notes)
    assert not result.run.read_alignment().axes_by_hand


def test_added_capture_that_cannot_be_used(family, three, tmp_path):
    folder = tmp_path / "spoiled"
    shutil.copytree(family, folder)
    image = next((folder / "mug_03" / "images").iterdir())
    image.write_bytes(image.read_bytes()[:700])
    result = extended(folder, three, 4)
    assert list(result.alignment.captures) == names(3) and image.name in result.failed["mug_03"]


def test_sparse_graph_in_the_pipeline(family, tmp_path):
    sparse = settings(graph={"all_pairs": 3, "neighbours": 0, "rings": 1})
    result = align(family, tmp_path / "run", backbone="hog", settings=sparse)
    assert "5 pairs of 5 captures" in result.notes[0] and "any 1 may fail" in result.notes[0]
    assert len(list((tmp_path / "run" / "4_pairs").iterdir())) == 5


def test_unit_frame_is_that_of_the_pairs(finished):
    run = Run(finished[0])
    record = finished[1].alignment
    name = next(iter(record.captures))
    surface = load_surface(run, name)
    prepared = loops.prepared_surface(settings().pair, {}, surface)
    np.testing.assert_allclose(prepared.unit_T_world.matrix, loops.unit_frame(surface.mesh).matrix, atol=1e-12)


def load_surface(run, name):
    with safe_open(run.surface(name), "numpy") as file:
        mark = file.metadata()["fingerprint"]
    return load(run.surface(name), mark, SURFACE)
