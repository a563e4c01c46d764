"""Tracks of simulated videos whose true poses are known."""

from __future__ import annotations

import logging
import re
import subprocess
import sys

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.spatial.transform import Rotation

from uop3d_core.config import TrackSettings
from uop3d_core.evaluation.tracking import jitter, lag_s, pose_errors
from uop3d_core.geometry import inverse_rigid, random_rotations, rigid
from uop3d_core.pose.association import iou, sightings
from uop3d_core.pose.filtering import PoseState, compare, correct, predict, seen_from, start
from uop3d_core.pose.measurement import default_covariance, measure, nearest_equivalents
from uop3d_core.pose.tracking import Tracker, TrackState
from uop3d_core.types import Detection, PoseEstimate, PoseHypothesis, Symmetry

SETTINGS = TrackSettings()
STEP_NS = 33_333_333
UP = np.array([0, 0, 1.0])
NONE = Symmetry.none()
FACING = np.column_stack([[0, 0, -1], [1, 0, 0], [0, -1, 0]]).astype(float)
HALF = Rotation.from_rotvec([0, 0, np.pi]).as_matrix()
STD = np.array([0.03, 0.03, 0.1, 0.1, 0.1, 0.1])
COVARIANCE = np.diag(STD**2)


def pose(x=0.0, y=0.0, z=5.0, R=FACING):
    return rigid(np.asarray(R, float), np.array([x, y, z], float))


def turned(degrees, axis=(0, 1, 0)):
    """FACING turned about an axis of cam."""
    return Rotation.from_rotvec(np.deg2rad(degrees) * np.asarray(axis, float)).as_matrix() @ FACING


def box_of(cam_T_obj):
    x, y, z = cam_T_obj[:3, 3]
    centre, half = np.array([320 + 600 * x / z, 240 + 600 * y / z]), 0.35 * 600 / z
    return Detection(np.concatenate([centre - half, centre + half]))


def estimate(cam_T_obj, score=1.0, category="mug", box=None, **fields):
    return PoseEstimate(box or box_of(cam_T_obj), cam_T_obj, score, category=category, **fields)


def perturbed(cam_T_obj, rng, std=STD):
    error = rng.normal(size=6) * std
    R = Rotation.from_rotvec(error[3:]).as_matrix() @ cam_T_obj[:3, :3]
    return rigid(R, cam_T_obj[:3, 3] + error[:3])


def run(frames, symmetry=NONE, settings=SETTINGS, tracker=None, cameras=None):
    """Tracks of every frame."""
    tracker = tracker or Tracker(settings, {"mug": symmetry})
    cameras = [None] * len(frames) if cameras is None else cameras
    return [tracker.update(k * STEP_NS, frame, cameras[k]) for k, frame in enumerate(frames)]


def poses(history):
    """Poses of the only track (T, 4, 4)."""
    return np.array([tracks[0].estimate.cam_T_obj for tracks in history])


def angle_deg(R_a, R_b):
    return np.rad2deg(Rotation.from_matrix(R_a.T @ R_b).magnitude())


# Identity


def test_a_track_is_confirmed_and_keeps_its_id():
    history = run([[estimate(pose())]] * 5)
    assert [[t.id for t in tracks] for tracks in history] == [[1]] * 5
    states = [tracks[0].state for tracks in history]
    assert states == [TrackState.TENTATIVE] * 2 + [TrackState.CONFIRMED] * 3
    track = history[-1][0]
    assert (track.hits, track.last_seen_ns, track.category) == (5, 4 * STEP_NS, "mug")
    np.testing.assert_allclose(track.estimate.cam_T_obj, pose(), atol=1e-9)
    assert track.estimate.score == pytest.approx(1)


@pytest.mark.parametrize("seed", range(3))
def test_crossing_objects_keep_their_ids(seed):
    """Each in the other's image half in the end, estimates in random order; one passes in front of the other."""
    rng = np.random.default_rng(seed)
    frames, true = [], []
    for k in range(90):
        x = -1.5 + 3 * k / 89
        true.append([pose(x, 0, 5), pose(-x, 0, 6.5)])
        frame = [estimate(perturbed(T, rng), box=box_of(T), covariance=COVARIANCE) for T in true[-1]]
        frames.append([frame[i] for i in rng.permutation(2)])
    settings = TrackSettings(duplicate_iou=0.95)
    history = run(frames, settings=settings)
    assert {len(tracks) for tracks in history} == {2}
    first = {t.id: int(t.estimate.cam_T_obj[2, 3] > 5.75) for t in history[0]}
    for tracks, T in zip(history, true, strict=True):
        for track in tracks:
            assert np.linalg.norm(track.estimate.cam_T_obj[:3, 3] - T[first[track.id]][:3, 3]) < 0.5


def test_the_hidden_one_of_two_crossing_objects_is_found_again():
    frames = []
    for k in range(90):
        x = -1.5 + 3 * k / 89
        both = [estimate(pose(x, 0, 5)), estimate(pose(-x, 0, 6.5))]
        frames.append(both[:1] if abs(x) < 0.25 else both)
    history = run(frames)
    assert {t.id for tracks in history for t in tracks} == {1, 2}
    ends = {t.id: t.estimate.cam_T_obj[0, 3] for t in history[-1]}
    assert ends[1] == pytest.approx(1.5, abs=0.02) and ends[2] == pytest.approx(-1.5, abs=0.02)


def test_a_gap_is_bridged_along_the_motion():
    true = [pose(-1 + 0.02 * k, R=turned(1.0 * k)) for k in range(60)]
    frames = [[] if 30 <= k < 45 else [estimate(T)] for k, T in enumerate(true)]
    history = run(frames)
    assert {t.id for tracks in history for t in tracks} == {1}
    assert all(tracks[0].state is TrackState.CONFIRMED for tracks in history[5:])
    assert history[44][0].detection is None and history[45][0].detection is not None
    predicted = history[44][0].estimate
    assert abs(predicted.cam_T_obj[0, 3] - true[44][0, 3]) < 0.05
    assert angle_deg(predicted.cam_T_obj[:3, :3], true[44][:3, :3]) < 4
    assert predicted.score < history[29][0].estimate.score
    assert np.trace(predicted.covariance) > 3 * np.trace(history[29][0].estimate.covariance)


def test_lost_after_a_while_found_again_and_forgotten():
    tracker = Tracker(SETTINGS, {})
    seen = [[estimate(pose())]] * 10
    history = run([*seen, *[[]] * 60, *seen, *[[]] * 200], tracker=tracker)
    unseen_s = [
        np.nan if not tracks else (k * STEP_NS - tracks[0].last_seen_ns) / 1e9 for k, tracks in enumerate(history)
    ]
    for k, tracks in enumerate(history[5:], 5):
        if unseen_s[k] <= SETTINGS.forget_s:
            assert tracks[0].id == 1
            assert tracks[0].state is (TrackState.LOST if unseen_s[k] > SETTINGS.lost_s else TrackState.CONFIRMED)
    assert history[60][0].state is TrackState.LOST and history[70][0].state is TrackState.CONFIRMED
    assert history[-1] == []
    again = tracker.update(len(history) * STEP_NS, [estimate(pose())])
    assert [(t.id, t.state) for t in again] == [(2, TrackState.TENTATIVE)]


def test_a_single_wrong_estimate_never_becomes_an_object():
    history = run([[estimate(pose(1.0))], *[[]] * 20])
    assert history[0][0].state is TrackState.TENTATIVE
    assert all(t.state is TrackState.TENTATIVE for tracks in history for t in tracks) and history[-1] == []


def test_categories_never_share_a_track():
    history = run([[estimate(pose())], [estimate(pose(), category="car")], [estimate(pose(), category="")]])
    assert [(t.id, t.category) for t in history[-1]] == [(1, "mug"), (2, "car"), (3, "")]
    label = Detection(box_of(pose()).bbox_xyxy, "mug")
    history = run([[estimate(pose())], [estimate(pose(), category="", box=label)]])
    assert [t.id for t in history[-1]] == [1]


def test_duplicates_make_one_track():
    flipped = pose(R=FACING @ HALF)
    near, other = box_of(pose(0.02)), Detection([400, 300, 440, 380])
    frame = [estimate(pose(), 0.5), estimate(flipped, 0.9, box=near), estimate(pose(0.1), 0.4, box=other)]
    frame += [estimate(np.eye(4), 0.0, found=False, box=near)]
    [kept] = sightings(frame, SETTINGS)
    assert kept.estimate is frame[1]
    assert {len(tracks) for tracks in run([frame] * 5)} == {1}


def test_assignment_is_globally_optimal():
    """Greedily the first estimate would take the track in the middle, and the other pair would be left."""
    tracker = Tracker(SETTINGS, {})
    cov = np.diag([0.09, 0.09, 0.09, 0.01, 0.01, 0.01])
    frame = [estimate(pose(0.0), covariance=cov), estimate(pose(1.0), covariance=cov)]
    run([frame] * 5, tracker=tracker)
    moved = [estimate(pose(0.45), covariance=cov), estimate(pose(-0.6), covariance=cov)]
    tracks = tracker.update(5 * STEP_NS, moved)
    assert [t.id for t in tracks] == [1, 2] and all(t.detection is not None for t in tracks)


def test_iou_by_hand():
    a, b = np.array([[0, 0, 4, 2.0]]), np.array([[2, 0, 6, 2.0], [0, 0, 4, 2], [9, 9, 10, 10]])
    np.testing.assert_allclose(iou(a, b), [[1 / 3, 1, 0]])


# Steadiness


@pytest.mark.parametrize("said", [True, False])
def test_jitter_at_rest_is_far_smaller(said):
    rng = np.random.default_rng(0)
    noisy = [perturbed(pose(), rng) for _ in range(300)]
    frames = [[estimate(T, covariance=COVARIANCE if said else None)] for T in noisy]
    steady = jitter(poses(run(frames))[30:])
    raw = jitter(np.array(noisy)[30:])
    assert steady[0] < raw[0] / 4 and steady[1] < raw[1] / 3


def test_lag_of_a_moving_object_is_bounded():
    rng = np.random.default_rng(0)
    seconds = np.arange(300) * STEP_NS / 1e9
    true = np.array([pose(np.sin(s), 0, 5, turned(60 * np.sin(s))) for s in seconds])
    frames = [[estimate(perturbed(T, rng), covariance=COVARIANCE)] for T in true]
    found = poses(run(frames))
    lag = lag_s(found[30:], true[30:], (seconds[30:] * 1e9).astype(int))
    assert np.abs(lag).max() < 0.04
    noisy = np.array([frame[0].cam_T_obj for frame in frames])
    rms = [np.sqrt((pose_errors(T, true)[30:] ** 2).mean(0)) for T in (found, noisy)]
    assert (rms[0] < 0.75 * rms[1]).all()


@pytest.mark.parametrize("fold", [0, 2, 4, 6])
def test_a_symmetric_object_does_not_jump(fold):
    rng = np.random.default_rng(fold)
    frames, turns = [], []
    for _ in range(80):
        angle = rng.uniform(0, 2 * np.pi) if fold == 0 else 2 * np.pi * rng.integers(fold) / fold
        turns.append(Rotation.from_rotvec(angle * UP).as_matrix())
        T = perturbed(pose(R=turned(30, (1, 0, 0)) @ turns[-1]), rng)
        frames.append([estimate(T, covariance=COVARIANCE)])
    history = run(frames, Symmetry(UP, fold))
    found = poses(history)
    steps = [angle_deg(a[:3, :3], b[:3, :3]) for a, b in zip(found, found[1:], strict=False)]
    assert max(steps) < 12 and max(steps[30:]) < 7 and history[-1][0].hits == 80
    nearest = nearest_equivalents(found[-1:], turned(30, (1, 0, 0)), Symmetry(UP, fold))[0]
    assert angle_deg(nearest[:3, :3], turned(30, (1, 0, 0))) < 12


def test_without_its_symmetry_it_would():
    frames = [[estimate(pose(R=FACING @ (HALF if k % 32 < 16 else np.eye(3))))] for k in range(80)]
    steps = [jitter(poses(run(frames, symmetry)))[0] for symmetry in (NONE, Symmetry(UP, 2))]
    assert steps[0] > 10 and steps[1] < 1e-6


@pytest.mark.parametrize("fold", [1, 2, 3, 5, 0])
def test_nearest_equivalents(fold):
    rng = np.random.default_rng(0)
    axis = np.array([1, 2, 2]) / 3
    symmetry = Symmetry(axis, fold)
    T, reference = rigid(random_rotations(20, rng), rng.normal(size=(20, 3))), random_rotations(1, rng)[0]
    nearest = nearest_equivalents(T, reference, symmetry)
    np.testing.assert_array_equal(nearest[:, :3, 3], T[:, :3, 3])
    np.testing.assert_allclose(nearest[:, :3, :3] @ axis, T[:, :3, :3] @ axis, atol=1e-12)
    angles = 2 * np.pi * np.arange(fold) / fold if fold else np.linspace(0, 2 * np.pi, 181)
    all_turns = Rotation.from_rotvec(angles[:, None] * axis).as_matrix()
    for old, new in zip(T, nearest, strict=True):
        best = min(angle_deg(reference, old[:3, :3] @ g) for g in all_turns)
        assert angle_deg(reference, new[:3, :3]) <= best + 1e-6


# Flips and changes


def test_flips_of_some_frames_are_rejected():
    rng = np.random.default_rng(1)
    frames = []
    for k in range(120):
        R = FACING @ HALF if k > 8 and k % 7 in (0, 1) else FACING
        frames.append([estimate(perturbed(pose(0.005 * k, R=R), rng), covariance=COVARIANCE)])
    history = run(frames)
    assert all(angle_deg(T[:3, :3], FACING) < 15 for T in poses(history))
    assert history[-1][0].id == 1
    assert abs(poses(history)[-1][0, 3] - 0.005 * 119) < 0.1


def test_a_lasting_change_is_accepted_after_some_frames():
    before, after = pose(), pose(R=FACING @ HALF)
    history = run([[estimate(before)]] * 20 + [[estimate(after)]] * 30)
    n = SETTINGS.replace_hits
    apart = [angle_deg(T[:3, :3], after[:3, :3]) for T in poses(history)]
    assert min(apart[: 20 + n - 1]) > 170 and max(apart[20 + n - 1 :]) < 1e-3
    assert {t.id for tracks in history for t in tracks} == {1}


def test_a_track_that_began_with_a_flip_recovers_at_once():
    history = run([[estimate(pose(R=FACING @ HALF))]] + [[estimate(pose())]] * 5)
    apart = [angle_deg(T[:3, :3], FACING) for T in poses(history)]
    assert min(apart[:2]) > 170 and max(apart[2:]) < 1e-3


def test_another_object_in_the_same_box_replaces_the_first():
    """Its box overlaps, its pose does not fit: the track goes over to it."""
    box = box_of(pose())
    history = run([[estimate(pose(), box=box)]] * 20 + [[estimate(pose(0.5, 0, 9), box=box)]] * 20)
    assert {t.id for tracks in history for t in tracks} == {1}
    np.testing.assert_allclose(poses(history)[-1], pose(0.5, 0, 9), atol=1e-6)


def test_poses_that_agree_with_nothing_change_nothing():
    rng = np.random.default_rng(0)
    wild = [estimate(pose(R=R), covariance=np.diag([1e-3] * 6)) for R in random_rotations(10, rng)]
    history = run([[estimate(pose())]] * 20 + [[e] for e in wild])
    assert angle_deg(poses(history)[-1][:3, :3], FACING) < 1
    assert history[-1][0].estimate.score < 0.3


def test_the_hypothesis_near_the_prediction_is_taken():
    right, wrong = pose(), pose(R=FACING @ HALF)
    ambiguous = estimate(wrong, hypotheses=(PoseHypothesis(wrong, 0.5), PoseHypothesis(right, 0.4)))
    unlikely = estimate(wrong, hypotheses=(PoseHypothesis(wrong, 0.9), PoseHypothesis(right, 0.05)))
    history = run([[estimate(right)]] * 10 + [[ambiguous]] * 30)
    assert history[-1][0].hits == 40 and angle_deg(poses(history)[-1][:3, :3], FACING) < 1e-3
    history = run([[estimate(right)]] * 10 + [[unlikely]] * 30)
    assert angle_deg(poses(history)[-1][:3, :3], FACING) > 170


def test_low_scores_weigh_less():
    moved = [run([[estimate(pose())]] * 10 + [[estimate(pose(0.05), score)]])[-1][0] for score in (1.0, 0.3, 0.11)]
    shifts = [t.estimate.cam_T_obj[0, 3] for t in moved]
    assert 0.05 > shifts[0] > 1.5 * shifts[1] > 2 * shifts[2] > 0


@pytest.mark.parametrize("fields", [{"score": 0.05}, {"score": float("nan")}, {"found": False}])
def test_unusable_poses_keep_the_box_and_change_nothing(fields):
    assert run([[estimate(pose(), **fields)]]) == [[]]
    fields = {"score": 0.9, **fields}
    bad = estimate(pose(R=FACING @ HALF), **fields)
    track = run([[estimate(pose())]] * 10 + [[bad]] * 3)[-1][0]
    assert track.detection is bad.detection and track.hits == 10 and track.last_seen_ns == 9 * STEP_NS
    assert angle_deg(track.estimate.cam_T_obj[:3, :3], FACING) < 1e-6


# Clock and camera


@pytest.mark.parametrize(
    ("stamp_ns", "message"), [(0, "time went back by 0.300 s"), (3_000_000_000, "no image for 2.7")]
)
def test_a_loop_or_a_long_pause_begins_anew(stamp_ns, message, caplog):
    tracker = Tracker(SETTINGS, {})
    run([[estimate(pose())]] * 10, tracker=tracker)
    with caplog.at_level(logging.WARNING):
        [track] = tracker.update(stamp_ns, [estimate(pose())])
    assert message in caplog.text
    assert (track.id, track.state, track.hits) == (2, TrackState.TENTATIVE, 1)


def test_reset():
    tracker = Tracker(SETTINGS, {})
    run([[estimate(pose())]] * 5, tracker=tracker)
    tracker.reset()
    assert [t.id for t in tracker.update(0, [estimate(pose())])] == [2]


def test_equal_times_are_refused():
    tracker = Tracker(SETTINGS, {})
    tracker.update(7, [])
    with pytest.raises(ValueError, match="second update at 7 ns: give all estimates of an image in one call"):
        tracker.update(7, [estimate(pose())])


@pytest.mark.parametrize("bad", [np.eye(3), np.full((4, 4), np.nan), np.diag([1, 1, -1, 1.0]), 2 * np.eye(4)])
def test_a_wrong_camera_transform_is_refused_and_changes_nothing(bad):
    tracker = Tracker(SETTINGS, {})
    run([[estimate(pose())]] * 5, tracker=tracker)
    with pytest.raises(ValueError, match=re.escape("cam_T_fixed is not a finite (4, 4) rigid transform")):
        tracker.update(5 * STEP_NS, [], bad)
    assert [t.id for t in tracker.update(5 * STEP_NS, [])] == [1]


def shaken_camera(count, metres=0.02):
    """cam_T_fixed (count, 4, 4) of a camera in a hand, which no constant velocity predicts for long."""
    rng = np.random.default_rng(5)
    seconds = np.arange(count) * STEP_NS / 1e9
    phase = rng.uniform(0, 6, (6, 1))
    wave = np.sin(2 * np.pi * np.array([[1.1], [1.7], [0.9], [1.3], [0.7], [1.9]]) * seconds + phase)
    return rigid(Rotation.from_rotvec(0.05 * wave[:3].T).as_matrix(), metres * wave[3:].T)


def seen_by(cameras, fixed_T_obj, scale):
    """cam_T_obj, object units, of fixed_T_obj, metres."""
    cam_T_obj = cameras @ fixed_T_obj
    cam_T_obj[:, :3, 3] /= scale
    return cam_T_obj


@pytest.mark.parametrize("things", [1, 2])
def test_objects_at_rest_before_a_moving_camera_stay_predictable(things):
    """After half a second in which nothing is seen the prediction is exact if the camera's motion is known."""
    scale, cameras = 0.12, shaken_camera(60)
    fixed = [pose(0.2 * i, 0, 0.6) for i in range(things)]
    true = [seen_by(cameras, T, scale) for T in fixed]
    frames = [[] if k >= 45 else [estimate(T[k], scale=scale) for T in true] for k in range(60)]
    for camera, low, high in ((cameras, 0, 0.01), (None, 0.05, 9)):
        tracks = run(frames, cameras=camera)[-1]
        assert [t.id for t in tracks] == list(range(1, things + 1))
        for track, T in zip(tracks, true, strict=True):
            error = pose_errors(track.estimate.cam_T_obj[None], T[-1:])[0]
            assert low <= np.linalg.norm(error) < high
            if camera is not None:
                assert np.abs(track.velocity).max() < 0.02


def test_without_a_scale_the_rotation_of_the_camera_still_counts():
    cameras = shaken_camera(60, metres=0.0)
    true = seen_by(cameras, pose(0, 0, 5), 1.0)
    frames = [[] if k >= 45 else [estimate(true[k])] for k in range(60)]
    track = run(frames, cameras=cameras)[-1][0]
    assert np.linalg.norm(pose_errors(track.estimate.cam_T_obj[None], true[-1:])) < 0.01
    assert np.isnan(track.estimate.scale)


def test_rounded_camera_transforms_do_not_add_up():
    cameras = shaken_camera(140)
    cameras[:, :3, :3] *= 1 + 4e-5 * np.random.default_rng(0).normal(size=(140, 1, 1)).clip(-1, 1)
    [track] = run([[estimate(pose())]] * 5 + [[]] * 135, cameras=cameras)[-1]
    R = track.estimate.cam_T_obj[:3, :3]
    assert np.abs(R @ R.T - np.eye(3)).max() < 1e-9


def test_what_was_given_out_is_not_what_is_remembered():
    tracker, camera = Tracker(SETTINGS, {}), np.eye(4)
    [track] = tracker.update(0, [estimate(pose())], camera)
    camera[0, 3] = 5
    track.velocity[:] = 1e6
    [track] = tracker.update(STEP_NS, [estimate(pose())], np.eye(4))
    assert track.hits == 2


def test_a_scale_that_becomes_known_late_loses_nothing():
    scale, cameras = 0.12, shaken_camera(90)
    true = seen_by(cameras, pose(0, 0, 0.6), scale)
    frames = [[] if k >= 80 else [estimate(T, scale=scale if k > 40 else np.nan)] for k, T in enumerate(true)]
    history = run(frames, cameras=cameras)
    assert {t.id for tracks in history for t in tracks} == {1} and history[-1][0].hits == 80
    assert np.linalg.norm(pose_errors(poses(history), true)[-1]) < 0.05


def test_a_camera_that_is_known_only_at_times_keeps_the_track():
    cameras = list(shaken_camera(90))
    true = seen_by(np.array(cameras), pose(0, 0, 0.6), 0.12)
    known = [None if k % 20 >= 15 else camera for k, camera in enumerate(cameras)]
    history = run([[estimate(T, scale=0.12)] for T in true], cameras=known)
    assert {t.id for tracks in history for t in tracks} == {1}
    assert max(np.linalg.norm(pose_errors(poses(history), true)[30:], axis=1)) < 0.3


# Odd input, scale, covariance


def test_empty_frames():
    assert run([[]] * 3) == [[], [], []]


def test_missing_values_leave_everything_finite():
    rng = np.random.default_rng(0)
    odd = [
        {"covariance": np.zeros((6, 6))},
        {"covariance": None, "scale": float("nan")},
        {"scale": 0.1, "scale_std": float("nan")},
        {"scale": float("inf")},
        {"scale": -1.0},
        {"scale": 0.11, "scale_std": 0.0},
        {"covariance": -np.eye(6)},
        {"covariance": 1e12 * np.eye(6)},
        {"covariance": np.triu(np.ones((6, 6)))},
    ]
    frames = [[estimate(perturbed(pose(), rng, 0.01 * STD), **odd[k % len(odd)])] for k in range(60)]
    history = run(frames)
    assert {t.id for tracks in history for t in tracks} == {1}
    assert np.isnan(history[1][0].estimate.scale) and history[-1][0].estimate.scale == pytest.approx(0.105, abs=0.006)
    for tracks in history:
        check_covariance(tracks[0].estimate.covariance)


def check_covariance(covariance):
    assert np.isfinite(covariance).all()
    np.testing.assert_array_equal(covariance, covariance.T)
    assert np.linalg.eigvalsh(covariance)[0] > 0


def test_covariance_stays_symmetric_and_positive():
    rng = np.random.default_rng(0)
    seconds = np.arange(400) * STEP_NS / 1e9
    true = [pose(np.sin(3 * s), 0.3 * np.cos(s), 5 + np.sin(s), turned(200 * s, (0.3, 0.9, 0.1))) for s in seconds]
    frames = [[] if rng.random() < 0.2 else [estimate(perturbed(T, rng), rng.uniform(0.2, 1))] for T in true]
    for tracks in run(frames):
        for track in tracks:
            check_covariance(track.estimate.covariance)


def test_scale_is_averaged_and_outliers_weigh_little():
    rng = np.random.default_rng(0)
    scales = 0.12 * np.exp(0.05 * rng.normal(size=200))
    scales[::10] *= 4
    track = run([[estimate(pose(), scale=s, scale_std=0.05)] for s in scales])[-1][0]
    assert track.estimate.scale == pytest.approx(0.12, rel=0.05)
    assert 0 < track.estimate.scale_std < 0.03


def simulated_nees(seed, frames=60):
    """Squared errors of a filter over its covariance, for motion and noise as the filter assumes them."""
    rng = np.random.default_rng(seed)
    settings = TrackSettings(gate=0.999999, camera_change_deg=0)
    truth = start(measure(estimate(pose(), covariance=COVARIANCE), settings), settings)
    first = np.concatenate([np.full(3, settings.speed), np.full(3, np.deg2rad(settings.turn_deg))])
    T, velocity = truth.cam_T_obj, rng.normal(size=6) * first
    change = np.concatenate([np.full(3, settings.speed_change), np.full(3, np.deg2rad(settings.turn_change_deg))])
    seconds, state, values = 1 / 30, None, []
    for _ in range(frames):
        measurement = measure(estimate(perturbed(T, rng), box=box_of(pose()), covariance=COVARIANCE), settings)
        if state is None:
            state = start(measurement, settings)
        else:
            state = predict(state, seconds, settings)
            state = correct(state, compare(state, measurement, NONE), measurement)
        error = -pose_errors(state.cam_T_obj[None], T[None])[0]
        error[3:] = Rotation.from_matrix(T[:3, :3] @ state.cam_T_obj[:3, :3].T).as_rotvec()
        values.append(error @ np.linalg.solve(state.covariance[:6, :6], error))
        kick = rng.normal(size=6) * change * np.sqrt(seconds)
        half = (velocity + kick / 2) * seconds + rng.normal(size=6) * change * np.sqrt(seconds**3 / 12)
        T = rigid(Rotation.from_rotvec(half[3:]).as_matrix() @ T[:3, :3], T[:3, 3] + half[:3])
        velocity = velocity + kick
    return np.array(values)


def test_the_covariance_is_consistent():
    """Normalised squared errors have the mean 6, as many as dimensions (Bar-Shalom et al. 2001, section 5.4.2)."""
    values = np.array([simulated_nees(seed) for seed in range(20)])
    assert 5.3 < values.mean() < 6.7
    assert 5 < values[:, -20:].mean() < 7


def test_default_covariance_is_larger_along_the_ray():
    t = np.array([3.0, 0, 4.0])
    covariance = default_covariance(t, SETTINGS)
    ray, across = t / 5, np.array([0.8, 0, -0.6])
    assert ray @ covariance[:3, :3] @ ray == pytest.approx((SETTINGS.depth_std * 5) ** 2)
    assert across @ covariance[:3, :3] @ across == pytest.approx(SETTINGS.lateral_std**2)
    assert covariance[4, 4] == pytest.approx(np.deg2rad(SETTINGS.rotation_std_deg) ** 2)
    check_covariance(default_covariance(np.zeros(3), SETTINGS))


def test_prediction_and_camera_motion_are_exact():
    rng = np.random.default_rng(0)
    velocity = np.array([0.3, -0.1, 0.2, 0.5, 1.0, -0.4])
    state = PoseState(pose(), velocity, np.eye(12) * 1e-4, 0.12, 0.02)
    later = predict(state, 2.0, SETTINGS)
    np.testing.assert_allclose(later.cam_T_obj[:3, 3], pose()[:3, 3] + 2 * velocity[:3])
    np.testing.assert_allclose(later.cam_T_obj[:3, :3], Rotation.from_rotvec(2 * velocity[3:]).as_matrix() @ FACING)
    move = rigid(random_rotations(1, rng)[0], np.array([0.1, 0.2, 0.3]))
    there = seen_from(state, move)
    np.testing.assert_allclose(there.cam_T_obj[:3, 3], move[:3, :3] @ [0, 0, 5] + move[:3, 3] / 0.12)
    back = seen_from(there, inverse_rigid(move))
    np.testing.assert_allclose(back.cam_T_obj, state.cam_T_obj, atol=1e-12)
    np.testing.assert_allclose(back.velocity, velocity, atol=1e-12)


def test_the_transition_of_errors_is_the_derivative():
    """A small error before a prediction is the predicted error after it."""
    seconds, step = 0.5, 1e-6
    base = PoseState(pose(), np.array([0.3, -0.1, 0.2, 0.5, 1.0, -0.4]), np.zeros((12, 12)), np.nan, np.nan)
    quiet = TrackSettings(speed_change=1e-9, turn_change_deg=1e-9, camera_change_deg=0)
    for i in range(12):
        error = step * np.eye(12)[i]
        R = Rotation.from_rotvec(error[3:6]).as_matrix() @ base.cam_T_obj[:3, :3]
        shifted = PoseState(rigid(R, base.cam_T_obj[:3, 3] + error[:3]), base.velocity + error[6:], np.outer(error, error), np.nan, np.nan)  # fmt: skip # noqa: E501
        after, moved = predict(base, seconds, quiet), predict(shifted, seconds, quiet)
        expected = np.concatenate([pose_errors(moved.cam_T_obj[None], after.cam_T_obj[None])[0], error[6:]])
        np.testing.assert_allclose(moved.covariance, np.outer(expected, expected), atol=2e-2 * step**2)


def test_tracking_needs_no_torch():
    code = "import sys, uop3d_core.pose.tracking, uop3d_core.evaluation.tracking; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def test_settings_are_checked():
    with pytest.raises(ValidationError, match="min_score"):
        TrackSettings(min_score=0)
