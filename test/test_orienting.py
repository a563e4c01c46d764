"""Axes chosen by hand: what the options mean, what changes with them, and what is refused."""

import json

import numpy as np
import pytest
from scenes import potato

from uop3d_core.capture.synthetic import write_category
from uop3d_core.images import read_rgb
from uop3d_core.pipeline.orienting import FRONTS, UPS, chosen_axes, draw_choices, orient
from uop3d_core.runs import MESH, AlignmentRecord, Run, RunRecord, save
from uop3d_core.types import Alignment, CaptureAlignment, Mesh, Sim3, Symmetry, Template

X, Y, Z = np.eye(3)


def unit_box(mesh: Mesh) -> Mesh:
    """The same shape as a template lies: centred, diagonal 1."""
    low, high = mesh.vertices.min(0), mesh.vertices.max(0)
    scale = 1 / float(np.linalg.norm(high - low))
    return mesh.transformed(Sim3(scale, np.eye(3), -scale * (low + high) / 2))


@pytest.fixture
def run(tmp_path):
    """An aligned run of two copies of a potato, whose captures are gone."""
    run, mesh = Run(tmp_path / "run"), unit_box(potato(2))
    world_T_obj = {"a": Sim3.identity(), "b": Sim3(2.0, np.stack([Y, Z, X]), np.ones(3))}
    entries = {name: CaptureAlignment(T.inverse(), 0.9, True) for name, T in world_T_obj.items()}
    warnings = ("the front could not be told: no plane mirrors", "captures a and b disagree")
    inputs = {"a": "mark", "b": "mark"}
    for name, T in world_T_obj.items():
        save(run.mesh(name), "mark", MESH, mesh.transformed(T))
    record = AlignmentRecord(Alignment("potato", "a", entries, warnings), {}, "m", inputs=inputs)
    with run.locked():
        run.write_record(RunRecord("potato", tmp_path / "captures", ("a", "b"), "hog", {}))
        run.write_alignment(record, Template("potato", mesh, Symmetry(Y, 2)))
    return run


@pytest.mark.parametrize("name", FRONTS)
def test_front_becomes_x(name):
    R = chosen_axes(name, None)
    direction = {"+x": X, "-x": -X, "+y": Y, "-y": -Y}.get(name)
    if direction is None:
        direction = np.array([np.cos(np.deg2rad(float(name))), np.sin(np.deg2rad(float(name))), 0])
    np.testing.assert_allclose(R @ direction, X, atol=1e-12)
    np.testing.assert_allclose(R @ Z, Z, atol=1e-12)
    assert np.linalg.det(R) == pytest.approx(1)


@pytest.mark.parametrize("name", UPS)
def test_up_becomes_z_and_the_front_stays_where_it_can(name):
    R = chosen_axes(None, name)
    axis = np.eye(3)["xyz".index(name[1])] * (1 if name[0] == "+" else -1)
    np.testing.assert_allclose(R @ axis, Z, atol=1e-12)
    assert np.linalg.det(R) == pytest.approx(1)
    if name[1] != "x":
        np.testing.assert_allclose(R @ X, X, atol=1e-12)


def test_both():
    R = chosen_axes("-z", "+y")
    np.testing.assert_allclose([R @ -Z, R @ Y], [X, Z], atol=1e-12)


@pytest.mark.parametrize(
    ("front", "up", "why"),
    [
        ("+z", None, "contradict"),
        ("+x", "+x", "contradict"),
        ("-y", "+y", "contradict"),
        ("30", "+y", "contradict"),
        ("left", None, "--front left is no direction: give"),
        ("nan", None, "--front nan is no direction"),
        (None, "30", "--up 30 is no direction"),
    ],
)
def test_what_is_refused(run, front, up, why):
    before = run.alignment.read_bytes()
    with pytest.raises(ValueError, match=why):
        orient(run.folder, front, up)
    assert run.alignment.read_bytes() == before


def test_not_a_run_and_not_aligned(run, tmp_path):
    for call in (draw_choices, lambda folder: orient(folder, "-x", None)):
        with pytest.raises(FileNotFoundError, match="not a run"):
            call(tmp_path)
    run.alignment.unlink()
    for call in (draw_choices, lambda folder: orient(folder, "-x", None)):
        with pytest.raises(FileNotFoundError, match="uop3d align"):
            call(run.folder)


@pytest.mark.parametrize(("front", "up"), [("+y", None), ("35", None), (None, "-z"), ("-z", "+x")])
def test_everything_turns_together(run, front, up):
    old = run.read_alignment()
    old_template = run.read_template(old)
    result = orient(run.folder, front, up)
    new, R = run.read_alignment(), chosen_axes(front, up)
    template = run.read_template(new)
    assert new.axes_by_hand and not old.axes_by_hand and not result.outdated and new.digest != old.digest
    for name, entry in new.alignment.captures.items():
        np.testing.assert_allclose(entry.obj_T_world.R, R @ old.alignment.captures[name].obj_T_world.R, atol=1e-9)
    new_T_old = new.alignment.captures["b"].obj_T_world @ old.alignment.captures["b"].obj_T_world.inverse()
    np.testing.assert_allclose(template.mesh.vertices, new_T_old.apply(old_template.mesh.vertices), atol=1e-5)
    np.testing.assert_allclose(template.mesh.vertices.min(0), -template.mesh.vertices.max(0), atol=1e-5)
    assert template.mesh.diameter == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(np.abs(new.symmetry.axis @ R @ Y), 1, atol=1e-9)
    assert new.symmetry.axis.max() > 0.7, "the positive sense of the axis"
    assert new.symmetry.fold == 2
    assert new.alignment.warnings == ("captures a and b disagree",), "the doubt about the front is over"
    assert {path.name for path in run.pictures.iterdir()} == {"alignment.png", "template.png"}


def test_there_and_back(run):
    old = run.read_alignment()
    orient(run.folder, "+y", None)
    orient(run.folder, "-y", None)
    for name, entry in run.read_alignment().alignment.captures.items():
        np.testing.assert_allclose(entry.obj_T_world.matrix, old.alignment.captures[name].obj_T_world.matrix, atol=1e-5)


def test_choosing_the_present_axes_keeps_all(run):
    old = run.read_alignment()
    orient(run.folder, "+x", None)
    new = run.read_alignment()
    assert new.digest == old.digest and new.axes_by_hand
    assert new.alignment.warnings == ("captures a and b disagree",), "the doubt about the front is over"


def test_a_damaged_template_is_told(run):
    run.template.write_bytes(run.template.read_bytes()[:-9])
    with pytest.raises(ValueError, match="align again"):
        orient(run.folder, "-x", None)


def test_an_unreadable_model_is_outdated(run):
    run.model.write_bytes(b"old")
    assert orient(run.folder, "-x", None).outdated


def test_picture_of_choices(run, caplog):
    before = run.alignment.read_bytes()
    picture = read_rgb(draw_choices(run.folder).pictures / "orient.png")
    assert "no photographs of a" in caplog.text
    write_category(run.read_record().captures_folder, 2, seed=1, views=6, pixels=48)
    captures = run.read_record().captures_folder
    (captures / "mug_00").rename(captures / "a")
    with_photos = read_rgb(draw_choices(run.folder).pictures / "orient.png")
    assert with_photos.shape[1] == picture.shape[1] and with_photos.shape[0] > picture.shape[0]
    assert run.alignment.read_bytes() == before and json.loads(before)["axes"] == "found"
