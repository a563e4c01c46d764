"""An oracle with known errors, scores and covariances gets exactly the figures that it deserves."""

import json

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from scipy.stats import chi2

from uop3d_core.capture.synthetic import make_mug
from uop3d_core.evaluation.labels import Labels
from uop3d_core.evaluation.link import fit_frame_link
from uop3d_core.evaluation.pose import evaluate_pose
from uop3d_core.geometry import inverse_rigid, random_rotations, rigid, rigid_through_similarity
from uop3d_core.types import Alignment, CaptureAlignment, PoseEstimate, PoseHypothesis, Sim3, Symmetry

Z = np.array([0.0, 0, 1])
TURN = Rotation.from_euler("xyz", [20, -50, 130], degrees=True).as_matrix()
OBJ_T_LABEL = Sim3(1.3, TURN, np.array([0.1, -0.05, 0.2]))
VIEWS = 8


@pytest.fixture(scope="module")
def mug():
    return make_mug(5, views=VIEWS, pixels=48, name="unseen", clutter=False)


@pytest.fixture(scope="module")
def label_T_world(mug):
    rng = np.random.default_rng(1)
    trained = {
        f"m{i}": Sim3(rng.uniform(0.5, 2), R, rng.normal(size=3)) for i, R in enumerate(random_rotations(4, rng))
    }
    return {**trained, "unseen": mug.canonical_T_world}


def linked(label_T_world, group=None, turns=(), symmetry=None, **errors):
    """Labels and the link from an alignment that is exact, but for turns in degrees about z of the label frame."""
    turns = {**dict.fromkeys(label_T_world, 0.0), **dict(zip(label_T_world, turns, strict=False))}
    captures = {}
    for name, T in label_T_world.items():
        spin = Sim3(1.0, Rotation.from_rotvec(np.deg2rad(turns[name]) * Z).as_matrix(), np.zeros(3))
        captures[name] = CaptureAlignment(errors.get(name, Sim3.identity()) @ OBJ_T_LABEL @ spin @ T, 0.5, True)
    labels = Labels("mug", label_T_world, symmetry_group=group or Symmetry.none())
    training = [name for name in label_T_world if name != "unseen"]
    return labels, fit_frame_link(Alignment("mug", "m0", captures), labels, training, symmetry)


def oracle(mug, errors, covariance, scores=None, spin=None, others=()):
    """The true pose in obj, off by (dt, w) (N, 6) of the frames; `others` are more hypotheses, turned in obj."""
    T = OBJ_T_LABEL @ mug.canonical_T_world
    spin = np.eye(3) if spin is None else spin
    answers = {}
    for index, frame in enumerate(mug.capture.frames):
        pose = rigid_through_similarity(frame.cam_T_world, T.scale, T.R, T.t)
        about_label = rigid(np.eye(3), -OBJ_T_LABEL.t)  # turns about the label's axis, through its origin
        pose = pose @ inverse_rigid(about_label) @ rigid(TURN @ spin @ TURN.T, np.zeros(3)) @ about_label
        dt, w = np.split(errors[index], 2)
        pose[:3, :3] = Rotation.from_rotvec(-w).as_matrix() @ pose[:3, :3]
        pose[:3, 3] -= dt
        answers[frame.name] = pose, 0.5 if scores is None else scores[index]

    def estimate(frame, detections):
        pose, score = answers[frame.name]
        listed = [
            pose,
            *(pose @ np.block([[R, np.zeros((3, 1))], [np.zeros((1, 3)), np.ones((1, 1))]]) for R in others),
        ]
        hypotheses = tuple(PoseHypothesis(T, 0.1) for T in listed)
        return [
            PoseEstimate(detection, pose, score, covariance=covariance, hypotheses=hypotheses)
            for detection in detections
        ]

    return estimate


def report_of(mug, linkage, estimator, **more):
    labels, link = linkage
    report, results = evaluate_pose(estimator, [mug.capture], labels, link, **more)
    json.dumps(report, allow_nan=False)
    return report, results


def test_the_link_knows_scale_and_origin(label_T_world):
    _, link = linked(label_T_world)
    T = link.label_T_obj @ OBJ_T_LABEL
    assert T.scale == pytest.approx(1) and link.scatter == {"scale": 0, "origin": 0}
    np.testing.assert_allclose(T.matrix, np.eye(4), atol=1e-9)


def test_one_odd_capture_does_not_move_scale_and_origin(label_T_world):
    odd = Sim3(1.5, np.eye(3), np.array([0.5, 0, 0]))
    _, link = linked(label_T_world, m1=odd)
    assert link.label_T_obj.scale * OBJ_T_LABEL.scale == pytest.approx(1)
    assert link.scatter["scale"] == pytest.approx(np.log([1, 1.5, 1, 1]).std(), abs=1e-3)


def test_a_perfect_pose_has_no_error_of_position(mug, label_T_world):
    report, results = report_of(mug, linked(label_T_world), oracle(mug, np.zeros((VIEWS, 6)), np.eye(6) * 1e-4))
    assert report["overall"]["position_error_median"] == pytest.approx(0, abs=1e-4)
    for part in ("rotation", "translation", "all"):
        assert report["overall"]["covariance"]["all"]["inside90"][part] == 100
        assert report["overall"]["covariance"]["all"]["nees"][part] == pytest.approx(0, abs=1e-3)
    assert all(result.right for result in results)


def test_it_is_told_from_where_an_image_was_taken(mug, label_T_world):
    """The camera's place in obj, whatever was estimated; the box is not quite around the origin of obj."""
    errors = np.zeros((VIEWS, 6))
    errors[:, 5] = 1.0
    report, results = report_of(mug, linked(label_T_world), oracle(mug, errors, np.eye(6)))
    for row, result in zip(report["frames"], results, strict=True):
        x, y, z = inverse_rigid(result.true_cam_T_obj)[:3, 3]
        azimuth, elevation = np.arctan2(y, x), np.arctan2(z, np.hypot(x, y))
        assert abs((row["azimuth_deg"] - np.rad2deg(azimuth) + 180) % 360 - 180) * np.cos(elevation) < 6
        assert row["elevation_deg"] == pytest.approx(np.rad2deg(elevation), abs=6)


def test_ellipsoids_hold_what_lies_in_them(mug, label_T_world):
    """Errors in the axes of cam: half of the images just inside the 90 % ellipsoid of the rotation, half just outside;
    of those beyond 30 degrees nothing is said in "within30"."""
    deviation = np.deg2rad(8)
    covariance = np.diag([0.01, 0.01, 0.05, deviation, deviation, deviation]) ** 2
    edge = np.sqrt(chi2.ppf(0.9, 3))
    errors = np.zeros((VIEWS, 6))
    errors[: VIEWS // 2, 3] = 0.99 * edge * deviation
    errors[VIEWS // 2 :, 4] = -1.01 * edge * deviation
    errors[:2, 2] = 1.01 * edge * 0.05
    report, results = report_of(mug, linked(label_T_world), oracle(mug, errors, covariance))
    inside = report["overall"]["covariance"]["all"]["inside90"]
    assert inside["rotation"] == 50 and inside["translation"] == 100 * (VIEWS - 2) / VIEWS
    squared = report["frames"][0]["squared_distance"]
    assert squared["rotation"] == pytest.approx((0.99 * edge) ** 2, rel=1e-3)
    assert squared["translation"] == pytest.approx((1.01 * edge) ** 2, rel=1e-3)
    assert squared["all"] == pytest.approx(squared["rotation"] + squared["translation"], rel=1e-3)
    assert results[0].position_error == pytest.approx(1.01 * edge * 0.05, rel=1e-6)
    assert report["overall"]["covariance"]["within30"]["images"] == VIEWS
    level = report["coverage"]["levels"].index(0.9)
    assert report["coverage"]["all"]["rotation"][level] == 0.5
    wider, _ = report_of(mug, linked(label_T_world), oracle(mug, errors * [1, 1, 1, 2, 2, 2], covariance))
    assert wider["overall"]["covariance"]["within30"] is None


def test_the_own_box_is_that_of_the_label(mug, label_T_world):
    """The pose of obj is exact, but obj has another origin and unit than the label: the own box is that far away."""
    covariance = np.eye(6) * 0.01
    report, _ = report_of(mug, linked(label_T_world), oracle(mug, np.zeros((VIEWS, 6)), covariance))
    assert report["overall"]["covariance"]["all"]["nees"]["translation"] == pytest.approx(0, abs=1e-3)
    squared = []
    for frame in mug.capture.frames:
        T = mug.canonical_T_world
        label = rigid_through_similarity(frame.cam_T_world, T.scale, T.R, T.t)
        T = OBJ_T_LABEL @ T
        obj = rigid_through_similarity(frame.cam_T_world, T.scale, T.R, T.t)
        squared.append(((obj[:3, 3] - label[:3, 3]) ** 2).sum() / 0.01)
    own = report["overall"]["covariance_own_box"]["all"]
    assert own["nees"]["translation"] == pytest.approx(np.mean(squared) / 3, rel=1e-3)
    assert own["inside90"] == {"rotation": 100, "translation": 0, "all": 0}
    assert report["coverage_own_box"]["within30"]["translation"][-1] == 0


def test_scores_are_judged_by_what_came_true(mug, label_T_world):
    errors = np.zeros((VIEWS, 6))
    errors[:2, 5] = np.deg2rad(31)
    errors[2:, 5] = np.deg2rad(29)
    scores = [0.25] * 2 + [0.75] * (VIEWS - 2)
    report, _ = report_of(mug, linked(label_T_world), oracle(mug, errors, None, scores))
    score = report["overall"]["score"]
    assert score["right"] == 1 - 2 / VIEWS and score["auroc"] == 1
    assert score["ece"] == pytest.approx(0.25) and score["brier"] == pytest.approx(0.0625)
    assert report["reliability"] == [
        {"score": 0.25, "right": 0.0, "images": 2}, {"score": 0.75, "right": 1.0, "images": VIEWS - 2},
    ]  # fmt: skip
    assert report["overall"]["covariance"] == {"all": None, "within30": None}
    assert report["score_judged_modulo_symmetry"] is False


def test_the_best_of_the_hypotheses_counts(mug, label_T_world):
    errors = np.zeros((VIEWS, 6))
    errors[:, 3] = np.pi - 1e-6  # a flip, which the second hypothesis takes back up to 12 degrees
    T = OBJ_T_LABEL @ mug.canonical_T_world
    frame = mug.capture.frames[0]
    right = rigid_through_similarity(frame.cam_T_world, T.scale, T.R, T.t)[:3, :3]
    flipped = Rotation.from_rotvec([1e-6 - np.pi, 0, 0]).as_matrix() @ right
    back = flipped.T @ right @ Rotation.from_rotvec([0, np.deg2rad(12), 0]).as_matrix()
    report, results = report_of(mug, linked(label_T_world), oracle(mug, errors, None, others=[back]))
    assert results[0].judged_error_deg == pytest.approx(180, abs=1e-3)
    assert results[0].best_error_deg == pytest.approx(12, abs=1e-3)
    assert report["overall"]["hypotheses"]["listed_mean"] == 2
    assert report["overall"]["acc30"] == 0 and report["overall"]["hypotheses"]["best_acc15"] >= 100 / VIEWS


@pytest.mark.parametrize("fold", [0, 3])
def test_an_equivalent_pose_is_as_good_where_score_and_labels_say_so(mug, label_T_world, fold):
    """The estimate is a third of a turn off, about the axis of the labels; so are some of the training captures."""
    spin = Rotation.from_rotvec([0, 0, np.deg2rad(120)]).as_matrix()
    errors = np.tile([0.01, 0, 0, 0, np.deg2rad(5), 0], (VIEWS, 1))
    estimator = oracle(mug, errors, np.eye(6) * 0.01, spin=spin)
    group, detected = Symmetry(Z, fold), Symmetry(TURN @ Z, fold)
    report, results = report_of(mug, linked(label_T_world, group, (0, 120, 240, 120), detected), estimator)
    assert report["score_judged_modulo_symmetry"] is True
    assert report["overall"]["score"]["right"] == 1 and report["overall"]["acc30"] < 100
    for result in results:
        assert result.judged_error_deg == pytest.approx(5, abs=0.01) if fold else result.judged_error_deg <= 5.01
        moved = 0 if fold else np.deg2rad(5) * np.linalg.norm(OBJ_T_LABEL.t)  # any turn: a part of the 5 degrees is one
        assert result.position_error == pytest.approx(0.01, abs=1e-3 + moved)
    assert report["overall"]["covariance"]["all"]["inside90"]["all"] == 100
    for one_sided in (linked(label_T_world, None, (), detected), linked(label_T_world, group, ())):
        strict, _ = report_of(mug, one_sided, estimator)
        assert strict["score_judged_modulo_symmetry"] is False and strict["overall"]["score"]["right"] == 0


def test_only_some_frames_with_the_boxes_that_they_have_in_any_case(mug, label_T_world):
    seen = {}

    def remember(frame, detections):
        seen.setdefault(frame.name, []).append(np.array(detections[0].bbox_xyxy))
        return [PoseEstimate(detections[0], np.eye(4), 0.0, found=False)]

    chosen = {"unseen": [frame.name for frame in mug.capture.frames[3:5]]}
    labels, link = linked(label_T_world)
    evaluate_pose(remember, [mug.capture], labels, link, jitter=0.1)
    report, _ = evaluate_pose(remember, [mug.capture], labels, link, jitter=0.1, frames=chosen)
    assert [row["frame"] for row in report["frames"]] == chosen["unseen"]
    assert report["overall"]["score"]["ece"] == 0 and report["overall"]["hypotheses"]["listed_mean"] == 0
    for name in chosen["unseen"]:
        np.testing.assert_array_equal(*seen[name])
    with pytest.raises(ValueError, match="no frame with a mask is left"):
        evaluate_pose(remember, [mug.capture], labels, link, frames={"other": []})
