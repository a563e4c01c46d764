"""Runs to reports: what is shown of a finished, an unfinished and a damaged run."""

import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import save_file
from scipy.spatial.transform import Rotation
from small import align_mugs, tiny_mugs

from uop3d_core.pipeline.evaluations import alignment_file, keep_alignment, pose_file, read_pose_figures
from uop3d_core.pipeline.inference import evaluate_run
from uop3d_core.pipeline.reporting import (
    MAX_SHOWN,
    _shown,
    around_deg,
    compared,
    directions_deg,
    gather,
    pair_turn,
    scalars,
    write_report,
)
from uop3d_core.runs import Run
from uop3d_core.types import Alignment, Camera, Capture, CaptureAlignment, Frame, PairAlignment, Sim3, Symmetry


@pytest.fixture(scope="module")
def mugs(tmp_path_factory):
    return tiny_mugs(tmp_path_factory.mktemp("captures"))


@pytest.fixture(scope="module")
def aligned(mugs, tmp_path_factory):
    """An aligned run; to be copied, not changed."""
    return align_mugs(mugs, tmp_path_factory.mktemp("runs") / "mug", modes=2, category="<i>mug</i>")


@pytest.fixture
def run(aligned, tmp_path):
    shutil.copytree(aligned, tmp_path / "run")
    return Run(tmp_path / "run")


def figures(**changes):
    frames = [{"found": True, "error_deg": 4.0, "capture": "<u>m", "frame": "0", "score": 0.9},
              {"found": False, "error_deg": None}]  # fmt: skip
    overall = {"frames": 2, "not_found": 1, "acc30": 50.0, "acc15": 50.0, "acc10": 50.0, "median_deg": 92.0}
    bins = [{"score": 0.2, "right": 0.0, "images": 1}, {"score": 0.9, "right": 1.0, "images": 1}]
    return {"overall": overall, "captures": {"<u>m": overall}, "frames": frames, "reliability": bins, **changes}


def test_an_aligned_run_that_is_not_trained(run, tmp_path):
    before = sorted(path.name for path in run.folder.rglob("*"))
    page = write_report(run.folder, tmp_path / "report.html").read_text()
    assert sorted(path.name for path in run.folder.rglob("*")) == before
    for words in ("mug_00", "mug_01", "mug_02", "none yet", "Nothing was trained yet", "hog", "6 frames"):
        assert words in page
    assert "&lt;i&gt;mug" in page and "<i>mug" not in page
    assert page.count("data:image/jpeg") == 4 and page.count("data:image/png") == 1
    assert str(run.folder) not in page


def test_everything_that_a_run_holds_is_gathered(run):
    content = gather(run)
    assert set(content.meshes) == set(content.sheets) == {"mug_00", "mug_01", "mug_02"}
    assert len(content.pairs) == 3 and not content.notes
    assert all(sheet.picture.shape == (112, 672, 3) and sheet.frames == 6 for sheet in content.sheets.values())
    assert content.timings.seconds.keys() == {"meshes", "surfaces", "pairs", "fields", "alignment", "pictures"}
    assert all(0 <= turn.nearest_deg <= turn.best_deg <= 180 for turn in content.pairs.values())
    assert all(np.abs(mesh.vertices).max() < 1.5 for mesh in content.meshes.values())


def test_the_report_stands_in_the_run_by_default(run):
    assert write_report(run.folder) == run.folder / "report.html"
    with run.locked():
        pass
    run.record_path.unlink()
    with run.locked():  # still taken for a run that lost its record
        pass


def test_what_is_gone_is_told(run, mugs, tmp_path):
    run.mesh("mug_01").write_bytes(b"rubbish")
    shutil.rmtree(run.folder / "4_pairs")
    shutil.rmtree(run.pictures)
    run.model.write_bytes(b"rubbish")
    record = json.loads(run.record_path.read_text())
    run.record_path.write_text(json.dumps({**record, "captures_folder": str(tmp_path / "moved")}))
    content = gather(run)
    notes = "\n".join(content.notes)
    assert set(content.meshes) == {"mug_00", "mug_02"} and content.model is None and not content.sheets
    for words in ("surface of mug_01", "photographs: the folder of the captures, moved", "model.safetensors cannot be"):
        assert words in notes
    page = write_report(run.folder, tmp_path / "r.html").read_text()
    assert "surface of mug_01" in page and "no alignments of pairs" in page and str(tmp_path) not in page


def test_a_capture_that_cannot_be_read(run, mugs, tmp_path):
    shutil.copytree(mugs, tmp_path / "mug")
    (tmp_path / "mug" / "mug_00" / "transforms.json").write_text("{")
    shutil.rmtree(tmp_path / "mug" / "mug_01")
    next((tmp_path / "mug" / "mug_02" / "images").iterdir()).write_bytes(b"no image")
    record = json.loads(run.record_path.read_text())
    run.record_path.write_text(json.dumps({**record, "captures_folder": str(tmp_path / "mug")}))
    content = gather(run)
    assert not content.sheets and len(content.notes) == 3
    assert str(tmp_path) not in "".join(content.notes)


def test_what_is_no_run(tmp_path, run):
    with pytest.raises(FileNotFoundError, match="is not a run"):
        write_report(tmp_path)
    with pytest.raises(IsADirectoryError, match="is a folder"):
        write_report(run.folder, tmp_path)
    before = run.alignment.read_bytes()
    with pytest.raises(ValueError, match="ends with .html"):
        write_report(run.folder, run.alignment)
    assert run.alignment.read_bytes() == before
    run.alignment.unlink()
    with pytest.raises(FileNotFoundError, match="uop3d align"):
        write_report(run.folder)
    assert not run.report.exists()


def test_poses(run, tmp_path):
    (tmp_path / "pose.json").write_text(json.dumps(figures()))
    page = write_report(run.folder, tmp_path / "r.html", pose=tmp_path / "pose.json").read_text()
    assert '<section id="poses"' in page and "50 % within 30 degrees" in page and "&lt;u&gt;m" in page
    assert "came true" in page and "<u>" not in page and "not of the model in this run" in page


def with_model(run, fingerprint="m"):
    metadata = {"alignment": run.read_alignment().digest, "fingerprint": fingerprint, "captures": ["mug_00"]}
    about = {"format": 2, "category": "mug", "settings": {}, "metadata": metadata}
    save_file({"x": np.zeros(1)}, run.model, {"uop3d": json.dumps(about)})


def test_figures_in_the_run_are_shown_if_they_are_of_its_model(run, mugs):
    with_model(run)
    pose_file(run).parent.mkdir()
    pose_file(run).write_text(json.dumps(figures(model_fingerprint="m")))
    content = gather(run)
    assert content.pose.belongs and len(content.pose.images) == 2
    assert content.pose.images[1].error_deg == 180 and content.pose.images[1].score == 0
    with_model(run, "another")
    content = gather(run)
    assert content.pose is None and "of another model" in "".join(content.notes)
    pose_file(run).write_text("{")
    content = gather(run)
    assert content.pose is None and "not valid JSON" in "".join(content.notes)
    assert str(run.folder) not in "".join(content.notes)


def test_figures_of_the_alignment(run, mugs):
    keep_alignment(evaluate_run(run.folder, mugs / "labels.json"), run.folder)
    content = gather(run)
    assert content.labelled["all"]["pairs"] == 3 and content.labelled["captures"].keys() == content.sheets.keys()
    page = write_report(run.folder).read_text()
    assert "Against labels" in page and "off by the labels" in page
    kept = json.loads(alignment_file(run).read_text())
    alignment_file(run).write_text(json.dumps({**kept, "alignment_fingerprint": "another"}))
    content = gather(run)
    assert content.labelled is None and "of another one" in "".join(content.notes)
    alignment_file(run).write_text(json.dumps({**kept, "all": {}}))
    assert "does not hold figures" in "".join(gather(run).notes)


def test_damaged_times_are_told(run):
    run.timings.write_text("{")
    content = gather(run)
    assert not content.timings.seconds and "timings.json" in "".join(content.notes)


def test_a_run_of_settings_that_this_version_does_not_know(run):
    record = json.loads(run.record_path.read_text())
    run.record_path.write_text(json.dumps({**record, "settings": {"pair": {"mode": 3}}}))
    with pytest.raises(ValueError, match=r"run\.json"):
        write_report(run.folder)


def test_a_model_that_does_not_say_how_it_was_trained(run):
    about = {"format": 2, "category": "mug", "settings": {}}
    save_file({"x": np.zeros(1)}, run.model, {"uop3d": json.dumps(about)})
    content = gather(run)
    assert content.model is None and "does not say how it was trained" in "".join(content.notes)


@pytest.mark.parametrize(
    "spoiled",
    [[], {}, figures(frames=[]), figures(overall={}), figures(captures=[]), figures(reliability=[{}]),
     figures(frames=[{"found": True}]), figures(frames=3), figures(frames=["x"]), figures(examples=[{}]),
     figures(examples=[{"which": "best", "image": 7, "jpeg": ""}]), figures(coverage={"within30": {"rotation": [1]}}),
     figures(examples=[{"which": "best", "image": 0, "jpeg": "bm8gcGljdHVyZQ=="}]),
     figures(frames=[{"found": True, "error_deg": 1e999}])],
)  # fmt: skip
def test_figures_of_something_else(spoiled, tmp_path):
    (tmp_path / "pose.json").write_text(json.dumps(spoiled))
    with pytest.raises(ValueError, match=r"pose\.json"):
        read_pose_figures(tmp_path / "pose.json", None)


def test_turn_of_a_pair():
    """b's best alignment is 90 degrees off, the second 10; modulo quarter turns the best is right."""
    a, b = (Sim3(1.0, Rotation.from_rotvec(v).as_matrix(), np.zeros(3)) for v in ([0.3, 0, 1.0], [0, 0.5, -0.4]))
    true = a.inverse() @ b
    wrong = [a.inverse() @ Sim3(1.0, Rotation.from_rotvec([0, 0, w]).as_matrix(), np.zeros(3)) @ b
             for w in np.deg2rad([90, 10])]  # fmt: skip
    captures = {"a": CaptureAlignment(a, 1.0, True), "b": CaptureAlignment(b, 1.0, True)}
    alignment = Alignment("c", "a", captures)
    scores = -np.array([0.01, 0.02])
    turn = pair_turn(PairAlignment("a", "b", tuple(wrong), scores, -scores, -scores), alignment, Symmetry.none())
    assert (turn.best_deg, turn.nearest_deg) == pytest.approx((90, 10))
    turn = pair_turn(PairAlignment("a", "b", tuple(wrong), scores, -scores, -scores), alignment, Symmetry([0, 0, 1], 4))
    assert (turn.best_deg, turn.nearest_deg) == pytest.approx((0, 0), abs=1e-6)
    one = PairAlignment("a", "b", (true,), scores[:1], -scores[:1], -scores[:1])
    assert pair_turn(one, alignment, Symmetry.none()).best_deg == pytest.approx(0, abs=1e-6)


def test_losses_of_a_training_that_was_continued(tmp_path):
    from torch.utils.tensorboard import SummaryWriter

    for first, last, loss in ((0, 3, 5.0), (2, 4, 1.0)):
        with SummaryWriter(str(tmp_path), purge_step=first, filename_suffix=str(first)) as writer:
            for epoch in range(first, last):
                writer.add_scalar("loss", loss, epoch)
    assert scalars(tmp_path) == {"loss": [(1, 5), (2, 5), (3, 1), (4, 1)]}


def test_losses_that_cannot_be_read(tmp_path):
    assert scalars(tmp_path) == {}
    (tmp_path / "events.out.tfevents.1.x.1.0").write_bytes(b"rubbish" * 20)
    assert scalars(tmp_path) == {}


def test_how_far_around_a_capture_was_filmed():
    """Cameras at 0, 30 and 300 degrees about z of obj, which is x of the world: all but the 270 between 30 and 300."""
    frames = []
    for azimuth in np.deg2rad([0, 30, 300]):
        world_T_cam = np.eye(4)
        world_T_cam[:3, 3] = [1.5, 2 * np.cos(azimuth), 2 * np.sin(azimuth)]
        camera = Camera(np.array([[50, 0, 31.5], [0, 50, 31.5], [0, 0, 1.0]]), 64, 64)
        image = np.zeros((64, 64, 3), np.uint8)
        frames.append(Frame(str(len(frames)), camera, image, np.linalg.inv(world_T_cam)))
    obj_T_world = Sim3(0.5, np.array([[0, 1.0, 0], [0, 0, 1], [1, 0, 0]]), np.zeros(3))
    directions = directions_deg(Capture("c", tuple(frames)), obj_T_world)
    np.testing.assert_allclose(directions[:, 0], [0, 30, -60], atol=1e-9)
    np.testing.assert_allclose(directions[:, 1], np.rad2deg(np.arctan2(1.5, 2)), atol=1e-9)
    assert around_deg(directions) == pytest.approx(90)


def test_a_run_against_another(run, mugs, tmp_path):
    """The same run, all of it turned by 40 degrees about z and twice as large, but mug_01 by 90 more."""
    other = Run(tmp_path / "other")
    shutil.copytree(run.folder, other.folder)
    content = json.loads(other.alignment.read_text())
    for name, entry in content["captures"].items():
        turn = Rotation.from_rotvec([0, 0, np.deg2rad(40 + 90 * (name == "mug_01"))]).as_matrix()
        T = Sim3(2.0, turn, np.zeros(3)) @ Sim3.from_matrix(np.array(entry["obj_T_world"]))
        entry["obj_T_world"] = T.matrix.tolist()
    other.alignment.write_text(json.dumps(content))
    record = json.loads(other.record_path.read_text())
    record["settings"]["joint"]["rounds"] = 7
    other.record_path.write_text(json.dumps(record))
    found = compared(gather(run, pictures=False), gather(other, pictures=False))
    assert found.turns_deg == pytest.approx({"mug_00": 0, "mug_01": 90, "mug_02": 0}, abs=1e-4)
    assert [(each.what, each.there) for each in found.settings] == [("joint.rounds", "7")]
    assert {each.better for each in found.contrasts} == {0} and found.name == "other"
    np.testing.assert_allclose(
        found.template.vertices.mean(0),
        0.5
        * Rotation.from_rotvec([0, 0, np.deg2rad(-40)]).apply(
            run.read_template(run.read_alignment()).mesh.vertices.mean(0)
        ),
        atol=1e-6,
    )
    page = write_report(run.folder, against=other.folder).read_text()
    assert '<section id="comparison"' in page and "joint.rounds" in page and "template of other" in page
    with pytest.raises(ValueError, match="is the run itself"):
        write_report(run.folder, against=run.folder)
    with pytest.raises(FileNotFoundError, match="is not a run"):
        write_report(run.folder, against=mugs)


def test_runs_that_have_nothing_in_common(run, tmp_path):
    other = Run(tmp_path / "other")
    shutil.copytree(run.folder, other.folder)
    content = json.loads(other.alignment.read_text())
    content["captures"] = {f"x_{name}": entry for name, entry in content["captures"].items()}
    content["reference"], content["inputs"], content["founders"] = "x_mug_00", {}, []
    other.alignment.write_text(json.dumps(content))
    found = compared(gather(run, pictures=False), gather(other, pictures=False))
    assert found.template is None and not found.turns_deg
    assert "Captures of this run alone: mug_00, mug_01, mug_02." in found.remarks


def test_of_very_many_captures_some_are_shown():
    def entries(accepted, count):
        return {f"{accepted}{i:03d}": CaptureAlignment(Sim3.identity(), 0.5, accepted) for i in range(count)}

    some = _shown(Alignment("c", "True000", {**entries(True, 200), **entries(False, 100)}))
    assert len(some) == MAX_SHOWN and sum(name.startswith("False") for name in some) == MAX_SHOWN // 3
    assert len(_shown(Alignment("c", "True000", {**entries(True, 9), **entries(False, 9)}))) == 18
