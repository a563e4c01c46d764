"""What is better is told only where it is more than chance, and where both runs have the figure."""

import numpy as np
from scenes import sphere

from uop3d_core.report.comparison import compare, verdict
from uop3d_core.report.content import Content, PoseFigures, PoseImage
from uop3d_core.runs import AlignmentRecord
from uop3d_core.types import Alignment, CaptureAlignment, Sim3, Template


def run(name, errors=(), accepted=True, **changes):
    captures = {"a": CaptureAlignment(Sim3.identity(), 0.9, True, "", 0.97),
                "b": CaptureAlignment(Sim3.identity(), 0.9, accepted, "" if accepted else "odd", 0.5)}  # fmt: skip
    images = [PoseImage("c", str(i), 0.5, True, error) for i, error in enumerate(errors)]
    share = 100 * float(np.mean(np.array(errors) < 10)) if errors else 0.0
    overall = {"frames": len(errors), "acc30": share, "acc10": share, "median_deg": float(np.median(errors or [0]))}
    pose = PoseFigures(overall, {"c": overall}, images) if errors else None
    record = AlignmentRecord(Alignment("cup", "a", captures), {})
    return Content(record, Template("cup", sphere(0.5, 1)), name, pose=pose, **changes)


def test_a_difference_that_is_no_chance():
    errors = np.array([[5.0, 50.0]] * 30 + [[5.0, 5.0]] * 30)
    words = verdict(errors, "new", "old")
    assert "100 % of the poses of new" in words and "50 % of those of old" in words
    assert "+50 points" in words and "new is better by more than chance" in words
    assert "first is better" not in verdict(errors[:, ::-1], "first", "second")
    assert "second is better by more than chance" in verdict(errors[:, ::-1], "first", "second")


def test_a_difference_that_may_be_chance():
    words = verdict(np.array([[5.0, 50.0], [50.0, 5.0], [5.0, 5.0], [5.0, 12.0]]), "new", "old")
    assert "that may be chance" in words


def test_what_is_better_is_marked():
    found = compare(run("new", [5.0] * 8), run("old", [25.0] * 8), {}, None)
    better = {each.what: each.better for each in found.contrasts}
    assert better["poses within 10°, %"] == better["poses, median °"] == 1
    assert better["captures accepted"] == better["symmetry"] == 0 and "alignment against labels, median °" not in better
    assert len(found.errors_deg) == 8 and found.errors_deg[0] == (5.0, 25.0) and "more than chance" in found.verdict
    turned = compare(run("old", [25.0] * 8), run("new", [5.0] * 8), {}, None)
    assert {each.what: each.better for each in turned.contrasts}["poses, median °"] == -1


def test_a_figure_that_only_one_run_has():
    found = compare(run("new", [5.0]), run("old"), {}, None)
    [row] = [each for each in found.contrasts if each.what == "poses within 10°, %"]
    assert (row.here, row.there, row.better) == ("100", "–", 0) and not found.verdict


def test_remarks_and_settings():
    here = run("r", accepted=False, settings={"pair": {"modes": 3, "k": 1}}, facts=[("backbone", "hog")])
    there = run("r", settings={"pair": {"modes": 4, "k": 1}}, facts=[("backbone", "dinov2")])
    found = compare(here, there, {"a": 1.0}, None)
    assert found.name == "r (the other)"
    assert "Rejected here and accepted there: b." in found.remarks
    assert "The backbones differ: hog and dinov2." in found.remarks
    assert [(each.what, each.here, each.there) for each in found.settings] == [("pair.modes", "3", "4")]
