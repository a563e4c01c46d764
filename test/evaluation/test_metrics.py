"""Exact cases of the metrics, and evaluations of predictions that are known to be right or wrong."""

import json

import numpy as np
import pytest

from uop3d_core.capture.synthetic import make_mug
from uop3d_core.evaluation.alignment import evaluate_alignment
from uop3d_core.evaluation.labels import Labels, read_labels
from uop3d_core.evaluation.metrics import (
    error_deg,
    mean_rotation,
    pair_error_deg,
    pair_up_error_deg,
    summary,
    up_error_deg,
)
from uop3d_core.evaluation.pose import evaluate_pose, fit_frame_link, jittered, unseen_captures
from uop3d_core.geometry import random_rotations, rigid_through_similarity
from uop3d_core.types import Alignment, CaptureAlignment, PoseEstimate, Sim3


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


def test_summary():
    figures = summary([5, 12, 20, 40], [1, 2, 3, 100])
    assert [figures[key] for key in ("acc30", "acc15", "acc10", "median_deg")] == [75, 50, 25, 16]
    assert [figures[key] for key in ("up_acc30", "up_acc15", "up_acc10", "up_median_deg")] == [75, 75, 75, 2.5]
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
