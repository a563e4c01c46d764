"""One object in several views: exact from two, robust with more, and nothing without a baseline."""

from dataclasses import replace

import numpy as np
import pytest
from scenes import look_at, square_camera
from scipy.spatial.transform import Rotation

from uop3d_core.geometry import inverse_rigid, random_rotations, rigid, rotation_error
from uop3d_core.pose.metric import MetricEvidence, measure
from uop3d_core.pose.multiview import View, fuse_views
from uop3d_core.types import Detection, Mesh, PoseEstimate, Symmetry, Template

SCALE = 0.25
WORLD_T_OBJ = rigid(random_rotations(1, np.random.default_rng(7))[0], np.array([0.3, -0.2, 1.0]))
CENTRE = WORLD_T_OBJ[:3, 3]
RING = [CENTRE + [np.cos(angle), np.sin(angle), 0.5] for angle in np.linspace(0, 4, 8)]
PLAIN = Symmetry.none()
BOX = Detection([0, 0, 9, 9])


def view(centre: np.ndarray, turn: np.ndarray | None = None) -> View:
    """A camera at `centre` that sees the object exactly, turned in obj."""
    cam_T_world = look_at(centre, CENTRE)
    T = cam_T_world @ WORLD_T_OBJ
    R = T[:3, :3] if turn is None else T[:3, :3] @ turn
    return View(PoseEstimate(BOX, rigid(R, T[:3, 3] / SCALE), 0.8), inverse_rigid(cam_T_world))


def noisy(view: View, rng: np.random.Generator, along: float = 0.03, turn: float = 0.08) -> View:
    T = view.estimate.cam_T_obj
    t = T[:3, 3] * (1 + along * rng.standard_normal()) + 0.1 * along * rng.standard_normal(3)
    R = Rotation.from_rotvec(turn * rng.standard_normal(3)).as_matrix() @ T[:3, :3]
    return View(replace(view.estimate, cam_T_obj=rigid(R, t)), view.world_T_cam)


def elsewhere(view: View) -> View:
    """Another object, which several views agree on."""
    shift = inverse_rigid(view.world_T_cam)[:3, :3] @ [0.0, 0.4, 0.5]
    T = rigid(view.estimate.cam_T_obj[:3, :3], view.estimate.cam_T_obj[:3, 3] + shift / SCALE)
    return View(replace(view.estimate, cam_T_obj=T), view.world_T_cam)


def wrong(view: View, rng: np.random.Generator) -> View:
    T = rigid(random_rotations(1, rng)[0], 2 * view.estimate.cam_T_obj[:3, 3] + [0.5, 0, 0])
    return View(replace(view.estimate, cam_T_obj=T), view.world_T_cam)


@pytest.mark.parametrize("count", [2, 3, 8])
def test_exact_views_give_the_exact_pose_and_scale(count: int) -> None:
    fused = fuse_views([view(centre) for centre in RING[:count]], PLAIN)
    assert fused.reading.scale == pytest.approx(SCALE) and 0 < fused.reading.std < 0.1
    assert np.allclose(fused.world_T_obj, WORLD_T_OBJ, atol=1e-9) and fused.agrees.all()


def test_seen_by_a_view_it_is_the_estimate_again() -> None:
    views = [view(centre) for centre in RING[:3]]
    seen = fuse_views(views, PLAIN).seen_by(views[1])
    assert np.allclose(seen.cam_T_obj, views[1].estimate.cam_T_obj, atol=1e-9)
    assert seen.position_m == pytest.approx((inverse_rigid(views[1].world_T_cam) @ WORLD_T_OBJ)[:3, 3])
    assert seen.scale_source == "views" and np.linalg.eigvalsh(seen.covariance).min() > 0


def test_noise_is_averaged_and_its_spread_is_stated() -> None:
    rng, deviations = np.random.default_rng(0), []
    for _ in range(60):
        fused = fuse_views([noisy(view(centre), rng, along=0.05) for centre in RING[:5]], PLAIN)
        deviations.append(np.log(fused.reading.scale / SCALE) / fused.reading.std)
    assert 0.7 < np.std(deviations) < 1.3
    assert abs(np.mean(deviations)) < 0.5
    assert rotation_error(fused.world_T_obj[:3, :3], WORLD_T_OBJ[:3, :3]) < np.deg2rad(8)


@pytest.mark.parametrize("seed", range(3))
def test_three_of_eight_views_are_wrong(seed: int) -> None:
    rng = np.random.default_rng(seed)
    views = [noisy(view(centre), rng, 0.01, 0.03) for centre in RING]
    views[:3] = [wrong(v, rng) for v in views[:3]]
    fused = fuse_views(views, PLAIN)
    assert fused.agrees.tolist() == [False] * 3 + [True] * 5
    assert fused.reading.scale == pytest.approx(SCALE, rel=0.03)
    assert np.linalg.norm(fused.world_T_obj[:3, 3] - CENTRE) < 0.015
    assert rotation_error(fused.world_T_obj[:3, :3], WORLD_T_OBJ[:3, :3]) < np.deg2rad(4)


def test_most_views_outvote_those_of_another_object() -> None:
    rng = np.random.default_rng(0)
    views = [noisy(view(centre), rng, 0.01, 0.03) for centre in RING]
    views[1::3] = [elsewhere(v) for v in views[1::3]]
    fused = fuse_views(views, PLAIN)
    assert fused.agrees.tolist() == [index % 3 != 1 for index in range(8)]
    assert fused.reading.scale == pytest.approx(SCALE, rel=0.05)


@pytest.mark.parametrize("fold", [2, 4, 0])
def test_turns_of_a_symmetric_object_do_not_matter(fold: int) -> None:
    rng, axis = np.random.default_rng(fold), np.array([0.6, 0, 0.8])
    angles = rng.uniform(0, 2 * np.pi, 8) if fold == 0 else 2 * np.pi / fold * rng.integers(0, fold, 8)
    turns = Rotation.from_rotvec(angles[:, None] * axis).as_matrix()
    symmetry = Symmetry(axis, fold)
    fused = fuse_views([view(centre, turn) for centre, turn in zip(RING, turns, strict=True)], symmetry)
    turned = symmetry.nearest(fused.world_T_obj[:3, :3], WORLD_T_OBJ[:3, :3])
    assert rotation_error(turned, WORLD_T_OBJ[:3, :3]) < 1e-6
    assert fused.reading.scale == pytest.approx(SCALE) and fused.agrees.all()


def test_no_baseline_gives_no_scale() -> None:
    still = fuse_views([view(RING[0])] * 4, PLAIN)
    assert np.isnan(still.reading.scale) and "no baseline" in still.reading.reason
    assert still.world_T_obj is None and still.seen_by(view(RING[0])).scale_source == ""
    rng = np.random.default_rng(0)
    trembling = [noisy(view(RING[0] + 0.003 * rng.standard_normal(3)), rng) for _ in range(6)]
    assert "no baseline" in fuse_views(trembling, PLAIN).reading.reason


def test_views_without_a_pose_have_no_say() -> None:
    lost = View(PoseEstimate(BOX, np.eye(4), 0.0, found=False), np.eye(4))
    fused = fuse_views([lost, view(RING[0]), view(RING[1])], PLAIN)
    assert fused.reading.scale == pytest.approx(SCALE) and fused.agrees.tolist() == [False, True, True]
    assert "two are needed" in fuse_views([lost, view(RING[0])], PLAIN).reading.reason


def test_poses_that_are_known_exactly() -> None:
    views = [view(centre) for centre in RING[:3]]
    views = [View(replace(v.estimate, covariance=np.zeros((6, 6))), v.world_T_cam) for v in views]
    fused = fuse_views(views, PLAIN)
    assert fused.reading.scale == pytest.approx(SCALE) and fused.reading.std < 1e-3
    assert np.isfinite(fused.covariance).all()


def test_metric_takes_the_fused_pose_or_the_scale_alone() -> None:
    rng = np.random.default_rng(3)
    mesh = Mesh(np.eye(3) / np.sqrt(3), [[0, 1, 2]])
    views = [noisy(view(centre), rng) for centre in RING]
    own = views[0].estimate
    evidence = MetricEvidence(world_T_cam=views[0].world_T_cam, views=tuple(views[1:]))
    fused = measure(own, Template("t", mesh), square_camera(), evidence).estimate
    assert fused.scale_source == "views" and fused.scale == pytest.approx(SCALE, rel=0.05)
    truth = (inverse_rigid(views[0].world_T_cam) @ WORLD_T_OBJ)[:3, 3]
    assert np.linalg.norm(fused.position_m - truth) < 0.02
    alone = measure(own, Template("t", mesh), square_camera(), evidence, refine=False).estimate
    assert alone.scale == fused.scale and np.array_equal(alone.cam_T_obj, own.cam_T_obj)


def test_bad_cameras_are_refused() -> None:
    estimate = view(RING[0]).estimate
    with pytest.raises(ValueError, match="rigid"):
        View(estimate, np.eye(3))
    with pytest.raises(ValueError, match="scale must be divided out"):
        View(estimate, np.diag([2.0, 2, 2, 1]))
    with pytest.raises(ValueError, match="no world_T_cam"):
        MetricEvidence(views=(view(RING[0]),))
