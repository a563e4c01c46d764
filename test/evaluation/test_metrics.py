"""Exact cases of the metrics, and evaluations of predictions that are known to be right or wrong."""

import json

import numpy as np
import pytest

from uop3d_core.capture.synthetic import make_mug
from uop3d_core.evaluation.alignment import evaluate_alignment
from uop3d_core.evaluation.labels import Labels, read_labels
from uop3d_core.evaluation.link import fit_frame_link
from uop3d_core.evaluation.metrics import (
    error_deg,
    mean_rotation,
    pair_error_deg,
    pair_up_error_deg,
    summary,
    symmetric_error_deg,
    symmetric_pair_error_deg,
    up_error_deg,
)
from uop3d_core.evaluation.pose import evaluate_pose, jittered, unseen_captures
from uop3d_core.geometry import random_rotations, rigid_through_similarity
from uop3d_core.types import Alignment, CaptureAlignment, PoseEstimate, Sim3, Symmetry

X, Z = np.array([1.0, 0, 0]), np.array([0, 0, 1.0])


def about(axis, degrees):
    """Rotation about x, y or z."""
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    i, j = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    R = np.eye(3)
    R[i, i] = R[j, j] = c
    R[i, j], R[j, i] = -s, s
    return R


@pytest.fixture
def rotations():
    return random_rotations(6, np.random.default_rng(0))


def test_identity_and_known_angles(rotations):
    np.testing.assert_allclose(error_deg(rotations, rotations), 0, atol=1e-6)
    for angle in (0.001, 10, 90, 179.9, 180):
        np.testing.assert_allclose(error_deg(rotations @ about("x", angle), rotations), angle, atol=1e-6)


def test_up_error_ignores_azimuth(rotations):
    np.testing.assert_allclose(up_error_deg(rotations @ about("z", 73), rotations), 0, atol=1e-6)
    np.testing.assert_allclose(up_error_deg(rotations @ about("z", 73) @ about("x", 20), rotations), 20, atol=1e-6)


def test_pair_errors_ignore_global_rotations(rotations):
    label_a, label_b, G, H = rotations[:4]
    turned = label_b.T @ about("x", 25)  # an error of 25 degrees in world b
    for left, right in ((np.eye(3), np.eye(3)), (G, H)):
        args = left @ label_a, left @ turned.T, right @ label_a, right @ label_b
        assert pair_error_deg(*args) == pytest.approx(25)
    assert pair_up_error_deg(G @ label_a, G @ turned.T, label_a, label_b) == pytest.approx(25)
    spun = about("z", 25) @ label_b
    assert pair_error_deg(label_a, spun, label_a, label_b) == pytest.approx(25)
    assert pair_up_error_deg(label_a, spun, label_a, label_b) == pytest.approx(0, abs=1e-6)


def test_mean_rotation(rotations):
    R = rotations[0]
    np.testing.assert_allclose(mean_rotation([R @ about("y", 8), R @ about("y", -8)]), R, atol=1e-12)


@pytest.mark.parametrize(("turn", "rest"), [(0, 0), (90, 0), (180, 0), (-90, 0), (45, 45), (100, 10), (-50, 40)])
def test_error_modulo_a_quarter_turn(rotations, turn, rest):
    for R in rotations:
        assert symmetric_error_deg(R @ about("z", turn), R, Symmetry(Z, 4)) == pytest.approx(rest, abs=1e-5)


def test_error_modulo_any_turn(rotations):
    """Only what tilts the axis counts."""
    R = rotations[0]
    for turn in (0, 33, 180, -100):
        assert symmetric_error_deg(R @ about("z", turn), R, Symmetry(Z, 0)) == pytest.approx(0, abs=1e-5)
        tilted = R @ about("x", 20) @ about("z", turn)
        assert symmetric_error_deg(tilted, R, Symmetry(Z, 0)) == pytest.approx(20)
        assert symmetric_error_deg(tilted, R, Symmetry(-Z, 0)) == pytest.approx(20)
    assert symmetric_error_deg(R @ about("z", 50), R, Symmetry(X, 0)) == pytest.approx(50)


def test_without_a_symmetry_the_error_is_the_plain_one(rotations):
    for R in rotations[1:]:
        assert symmetric_error_deg(R, rotations[0], Symmetry.none()) == pytest.approx(float(error_deg(R, rotations[0])))


def test_pair_error_modulo_turns_in_obj(rotations):
    """The axis is one of obj, which is another frame than label; errors of a fixed size remain."""
    label_a, label_b, G, _ = rotations[:4]
    for turn in (0, 120, 240):
        obj_a, obj_b = G @ label_a, about("x", turn) @ about("y", 7) @ G @ label_b
        error = symmetric_pair_error_deg(obj_a, obj_b, label_a, label_b, Symmetry(X, 3))
        assert error == pytest.approx(7, abs=1e-5)
    assert pair_error_deg(obj_a, obj_b, label_a, label_b) > 100


@pytest.mark.parametrize("fold", [0, 3])
def test_mean_modulo_turns(rotations, fold):
    R, symmetry = rotations[0], Symmetry(Z, fold)
    given = [R @ about("x", tilt) @ about("z", turn) for tilt, turn in ((8, 120), (-8, 0), (0, 240))]
    assert symmetric_error_deg(mean_rotation(given, symmetry), R, symmetry) < 0.1


def test_summary():
    figures = summary([5, 12, 20, 40], [1, 2, 3, 100])
    assert [figures[key] for key in ("acc30", "acc15", "acc10", "median_deg")] == [75, 50, 25, 16]
    assert [figures[key] for key in ("up_acc30", "up_acc15", "up_acc10", "up_median_deg")] == [75, 75, 75, 2.5]
    assert not any(key.startswith("sym") for key in figures)
    with_sym = summary([5, 100], [1, 2], sym=[5, 12])
    assert [with_sym[key] for key in ("acc15", "sym_acc15", "sym_acc10", "sym_median_deg")] == [50, 100, 50, 8.5]
    with pytest.raises(ValueError, match="nothing"):
        summary([], [])


def aligned(labels, G, errors=None, rejected=()):
    """An alignment that is the labels seen from another global frame, with errors about z in degrees."""
    captures = {}
    for name, T in labels.items():
        wrong = Sim3(1.0, about("z", (errors or {}).get(name, 0)), np.zeros(3))
        captures[name] = CaptureAlignment(G @ wrong @ T, 0.5, name not in rejected)
    return Alignment("mug", next(iter(labels)), captures)


@pytest.fixture
def labels(rotations):
    rng = np.random.default_rng(1)
    return {f"m{i}": Sim3(rng.uniform(0.5, 2), R, rng.normal(size=3)) for i, R in enumerate(rotations[:4])}


def test_right_alignment_in_another_frame(labels, rotations):
    report = evaluate_alignment(aligned(labels, Sim3(2.0, rotations[5], np.ones(3))), Labels("mug", labels))
    assert report["all"]["pairs"] == 6 and report["all"]["acc10"] == 100
    assert report["all"]["median_deg"] == pytest.approx(0, abs=1e-3)


def test_one_wrong_capture(labels, rotations):
    G = Sim3(1.0, rotations[5], np.zeros(3))
    report = evaluate_alignment(aligned(labels, G, {"m3": 180}, rejected={"m3"}), Labels("mug", labels))
    assert report["all"]["acc30"] == 50 and report["all"]["up_acc10"] == 100
    assert report["accepted"]["captures"] == 3 and report["accepted"]["acc10"] == 100
    assert report["captures"]["m3"]["mean_error_deg"] == pytest.approx(180)
    assert report["captures"]["m0"]["mean_error_deg"] == pytest.approx(60)
    json.dumps(report, allow_nan=False)


def test_figures_modulo_a_symmetry_stand_beside_the_plain_ones(labels, rotations):
    """Two of four are half a turn off; the symmetry's axis is that of obj and of label, which differ by G."""
    G = rotations[5]
    alignment = aligned(labels, Sim3(1.0, G, np.zeros(3)), {"m1": 180, "m3": 180})
    plain = evaluate_alignment(alignment, Labels("box", labels))["all"]
    report = evaluate_alignment(alignment, Labels("box", labels, symmetry_group=Symmetry(Z, 2)), Symmetry(G @ Z, 2))
    both = report["all"]
    assert {key: both[key] for key in plain} == plain and plain["acc10"] < 40
    assert both["sym_acc10"] == both["label_sym_acc10"] == 100
    assert report["detected_symmetry"]["fold"] == 2
    wrong_axis = evaluate_alignment(alignment, Labels("box", labels), Symmetry(G @ X, 2))["all"]
    assert wrong_axis["sym_acc10"] < 40 and "label_sym_acc10" not in wrong_axis


def test_too_few_labels(labels):
    alignment = aligned(labels, Sim3.identity())
    with pytest.raises(ValueError, match="1 of the 4 captures"):
        evaluate_alignment(alignment, Labels("mug", {"m0": labels["m0"], "other": labels["m1"]}))


def test_read_labels(tmp_path, labels):
    path = tmp_path / "labels.json"
    content = {"instances": {name: {"canonical_T_world": T.matrix.tolist()} for name, T in labels.items()}}
    path.write_text(json.dumps(content))
    again = read_labels(path)
    np.testing.assert_allclose(again.label_T_world["m0"].matrix, labels["m0"].matrix)
    assert again.symmetry_group.fold == 1
    path.write_text(json.dumps({**content, "symmetry_group": {"axis": [0, 0, 1], "fold": 0}}))
    assert read_labels(path).symmetry_group.fold == 0
    path.write_text(json.dumps({**content, "symmetry_group": {"axis": [0, 0, 2], "fold": 0}}))
    with pytest.raises(ValueError, match="labels.json: symmetry_group"):
        read_labels(path)
    for broken in ({}, {"instances": {}}, {"instances": {"a": {}}}, {"instances": {"a": {"canonical_T_world": 3}}}, []):
        path.write_text(json.dumps(broken))
        with pytest.raises(ValueError, match="labels.json"):
            read_labels(path)


@pytest.fixture(scope="module")
def mug():
    return make_mug(5, views=4, pixels=64, name="unseen", clutter=False)


def oracle(mug, obj_T_label, found=True):
    """An estimator that knows the truth and states it in the learned frame."""
    T = Sim3(1.0, obj_T_label, np.zeros(3)) @ mug.canonical_T_world
    poses = {frame.name: rigid_through_similarity(frame.cam_T_world, T.scale, T.R, T.t) for frame in mug.capture.frames}

    def estimate(frame, detections):
        assert frame.cam_T_world is None and frame.mask_source is None, "the truth must not be handed over"
        pose = poses[frame.name] if found else np.eye(4)
        return [PoseEstimate(detection, pose, 0.5 if found else 0.0, found=found) for detection in detections]

    return estimate


def test_pose_of_an_oracle_in_another_frame(mug, labels, rotations):
    G = rotations[5]
    every = Labels("mug", {**labels, "unseen": mug.canonical_T_world})
    link = fit_frame_link(aligned(labels, Sim3(1.3, G, np.ones(3))), every, list(labels))
    np.testing.assert_allclose(link.label_R_obj, G.T, atol=1e-9)
    report, results = evaluate_pose(oracle(mug, G), [mug.capture], every, link, category="mug")
    assert report["overall"]["frames"] == 4 and report["overall"]["not_found"] == 0
    assert report["overall"]["median_deg"] == pytest.approx(0, abs=1e-3)
    assert report["overall"]["centre_error_median"] == pytest.approx(0, abs=1e-3)
    assert report["overall"]["depth_error_median"] == pytest.approx(0, abs=1e-3)
    assert report["frame_link"]["fitted_on"] == list(labels)
    json.dumps(report, allow_nan=False)
    assert len(results) == 4


def test_wrong_by_a_known_angle(mug, labels):
    every = Labels("mug", {**labels, "unseen": mug.canonical_T_world})
    link = fit_frame_link(aligned(labels, Sim3.identity()), every, list(labels))
    report, _ = evaluate_pose(oracle(mug, about("z", 20)), [mug.capture], every, link)
    assert report["overall"]["median_deg"] == pytest.approx(20, abs=1e-3)
    assert report["overall"]["up_median_deg"] == pytest.approx(0, abs=1e-3)


def test_pose_figures_modulo_a_symmetry(mug, labels, rotations):
    """Of a bottle: training captures lie anyhow about its axis, and so does the estimate."""
    G = rotations[5]
    every = Labels("mug", {**labels, "unseen": mug.canonical_T_world}, symmetry_group=Symmetry(Z, 0))
    alignment = aligned(labels, Sim3(1.0, G, np.zeros(3)), {"m1": 70, "m2": 160, "m3": -130})
    link = fit_frame_link(alignment, every, list(labels), Symmetry(G @ Z, 0))
    report, results = evaluate_pose(oracle(mug, G @ about("z", 100) @ about("x", 5)), [mug.capture], every, link)
    assert report["overall"]["sym_median_deg"] == pytest.approx(5, abs=1e-2)
    assert report["overall"]["label_sym_median_deg"] == pytest.approx(5, abs=1e-2)
    assert report["overall"]["median_deg"] > 10
    assert report["frames"][0]["sym_error_deg"] == pytest.approx(5, abs=1e-2)
    lost, _ = evaluate_pose(oracle(mug, np.eye(3), found=False), [mug.capture], every, link)
    assert lost["overall"]["sym_median_deg"] == 180
    json.dumps(report, allow_nan=False)


def test_not_found_counts_as_180(mug, labels):
    every = Labels("mug", {**labels, "unseen": mug.canonical_T_world})
    link = fit_frame_link(aligned(labels, Sim3.identity()), every, list(labels))
    report, _ = evaluate_pose(oracle(mug, np.eye(3), found=False), [mug.capture], every, link)
    assert report["overall"]["not_found"] == 4 and report["overall"]["median_deg"] == 180
    assert report["overall"]["centre_error_median"] is None
    json.dumps(report, allow_nan=False)


def test_link_needs_training_labels(labels):
    with pytest.raises(ValueError, match="none of the training captures"):
        fit_frame_link(aligned(labels, Sim3.identity()), Labels("mug", labels), ["other"])


def test_unseen_captures(labels):
    names, known = ["m0", "m1", "m2", "extra"], Labels("mug", labels)
    assert unseen_captures(names, known, ["m0"], []) == ["m1", "m2"]
    assert unseen_captures(names, known, ["m0"], ["m2"]) == ["m2"]
    for only, why in (("m0", "was trained on"), ("extra", "has no label"), ("m9", "does not exist")):
        with pytest.raises(ValueError, match=why):
            unseen_captures(names, known, ["m0"], [only])
    with pytest.raises(ValueError, match="no capture is left"):
        unseen_captures(names, known, ["m0", "m1", "m2"], [])


def test_jitter_stays_within_its_share():
    box, rng = np.array([10.0, 20, 110, 70]), np.random.default_rng(0)
    assert (jittered(box, 0.0, rng) == box).all()
    for _ in range(100):
        moved = jittered(box, 0.1, rng)
        size = moved[2:] - moved[:2]
        assert (np.abs(size / [100, 50] - 1) <= 0.1).all()
        assert (np.abs((moved[:2] + moved[2:]) / 2 - [60, 45]) <= [10, 5]).all()
