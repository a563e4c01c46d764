"""Scale and pose from measured depth: exact, and through noise, holes, occluders and errors of the pose."""

from dataclasses import replace

import numpy as np
import pytest
from scenes import box, look_at, potato, sphere
from scipy.spatial.transform import Rotation

from uop3d_core.cameras import rays_through
from uop3d_core.images import depth_from_millimetres
from uop3d_core.pose.metric import Metric, MetricEvidence, measure
from uop3d_core.pose.scale import pose_covariance
from uop3d_core.raycast import RayCaster
from uop3d_core.types import Camera, Detection, Mesh, PoseEstimate, PoseHypothesis, Template

CAMERA = Camera(np.array([[400.0, 0, 150], [0, 390, 130], [0, 0, 1]]), 320, 240)
TRUTH = look_at([1.8, 1.3, 1.0], target=[0.1, 0, 0])
SCALE = 0.23
BOX = Detection([0, 0, 319, 239])


def unit(mesh: Mesh) -> Mesh:
    centre = (mesh.vertices.min(0) + mesh.vertices.max(0)) / 2
    return Mesh((mesh.vertices - centre) / mesh.diameter, mesh.faces)


TEMPLATE = Template("potato", unit(potato()))
CASTER = RayCaster(TEMPLATE.mesh)


def scene(mesh: Mesh = TEMPLATE.mesh, background: float = 0.8) -> tuple[np.ndarray, np.ndarray]:
    """Exact depth (H, W) in metres before a wall, and the mask of the object."""
    hits = RayCaster(mesh).render(CAMERA, TRUTH)
    shape = CAMERA.height, CAMERA.width
    return np.where(hits.mask, hits.t * SCALE, background).reshape(shape), hits.mask.reshape(shape)


def noisy(depth: np.ndarray, rng: np.random.Generator, std: float = 0.005) -> np.ndarray:
    return depth * (1 + std * rng.standard_normal(depth.shape))


def measured(depth: np.ndarray | None, T: np.ndarray = TRUTH, mask: np.ndarray | None = None, **more) -> Metric:
    detection = Detection(BOX.bbox_xyxy, mask=mask)
    evidence = MetricEvidence(depth=depth, points=more.pop("points", None))
    template = more.pop("template", TEMPLATE)
    refine = more.pop("refine", True)
    return measure(PoseEstimate(detection, T, 0.9, **more), template, CAMERA, evidence, refine)


@pytest.mark.parametrize("points", [False, True])
def test_depth_seen_through_a_lens(points: bool) -> None:
    """Depth along the rays of the lens gives the scale; taken as undistorted it would be placed elsewhere."""
    camera = replace(CAMERA, lens="brown", distortion=np.array([-0.35, 0.1, 0.0, 0.0]))
    hits = RayCaster(TEMPLATE.mesh).render(camera, TRUTH)
    depth = np.where(hits.mask, hits.t * SCALE, 0).reshape(camera.height, camera.width)
    ys, xs = np.nonzero(depth)
    cloud = rays_through(camera, np.stack([xs, ys], -1)) * depth[ys, xs, None]
    evidence = MetricEvidence(points=cloud) if points else MetricEvidence(depth=depth)
    result = measure(PoseEstimate(BOX, TRUTH, 0.9), TEMPLATE, camera, evidence)
    assert off(result) < 0.005 and misplaced(result) < 0.005


def off(result: Metric) -> float:
    return abs(result.estimate.scale / SCALE - 1)


def misplaced(result: Metric) -> float:
    """Error of the metric position relative to the distance."""
    truth = SCALE * TRUTH[:3, 3]
    return float(np.linalg.norm(result.estimate.position_m - truth) / np.linalg.norm(truth))


def moved(shift: np.ndarray, turn_deg: float = 0) -> np.ndarray:
    T = TRUTH.copy()
    T[:3, :3] = Rotation.from_rotvec(np.deg2rad(turn_deg) * np.array([0.6, 0.8, 0])).as_matrix() @ T[:3, :3]
    T[:3, 3] += shift
    return T


@pytest.mark.parametrize("refine", [False, True])
def test_exact_depth_gives_the_exact_scale_and_keeps_the_pose(refine: bool) -> None:
    result = measured(scene()[0], refine=refine)
    assert off(result) < 1e-3 and misplaced(result) < 1e-3
    assert np.allclose(result.estimate.cam_T_obj, TRUTH, atol=3e-3)
    assert result.estimate.scale_source == "depth" and result.warnings == ()
    assert result.estimate.size_m == pytest.approx(result.estimate.scale * np.ptp(TEMPLATE.mesh.vertices, axis=0))


@pytest.mark.parametrize("refine", [False, True])
def test_noise_holes_an_occluder_and_flying_pixels(refine: bool) -> None:
    rng = np.random.default_rng(0)
    depth, mask = scene()
    depth = noisy(depth, rng)
    depth[rng.random(depth.shape) < 0.3] = np.nan
    depth[::7] = 0
    rows, columns = np.nonzero(mask)
    depth[:, : int(np.quantile(columns, 0.25))] = 0.3  # a hand before a quarter of the object
    flying = rng.random(depth.shape) < 0.05
    depth[flying] = rng.uniform(0.2, 1.5, flying.sum())
    result = measured(depth, refine=refine)
    assert off(result) < 0.01 and misplaced(result) < 0.005


def test_a_mask_leaves_the_rest_out() -> None:
    depth, mask = scene()
    left = np.arange(CAMERA.width) < np.quantile(np.nonzero(mask)[1], 0.55)
    hidden = np.where(left, 0.3, depth)
    assert "two surfaces" in measured(hidden).warnings[0]
    assert off(measured(hidden, mask=mask & ~left)) < 0.01


@pytest.mark.parametrize("factor", [0.95, 1.05])
def test_a_wrong_distance_is_corrected(factor: float) -> None:
    depth = noisy(scene()[0], np.random.default_rng(1), 0.003)
    start = moved((factor - 1) * TRUTH[:3, 3])
    coarse, fine = measured(depth, start, refine=False), measured(depth, start)
    assert off(coarse) > 0.04 and misplaced(coarse) < 0.015 and np.array_equal(coarse.estimate.cam_T_obj, start)
    assert off(fine) < 0.01 and misplaced(fine) < 0.002
    assert np.linalg.norm(fine.estimate.cam_T_obj[:3, 3] / TRUTH[:3, 3] - 1) < 0.02
    assert fine.estimate.scale_std < 0.5 * coarse.estimate.scale_std and coarse.estimate.scale_std > 0.04


def test_a_wrong_side_and_turn_are_corrected() -> None:
    depth = noisy(scene()[0], np.random.default_rng(2), 0.003)
    result = measured(depth, moved([0.05, -0.04, 0.1], 8))
    assert off(result) < 0.01 and misplaced(result) < 0.002
    turn = Rotation.from_matrix(result.estimate.cam_T_obj[:3, :3] @ TRUTH[:3, :3].T).magnitude()
    assert np.rad2deg(turn) < 1.5


def test_flat_faces_do_not_tell_the_distance_but_the_side() -> None:
    block = Template("box", unit(box((1, 0.7, 0.5))))
    depth = scene(block.mesh)[0]
    far = measured(depth, moved(0.05 * TRUTH[:3, 3]), template=block)
    assert off(far) < 0.07 and misplaced(far) < 0.02 and far.estimate.scale_std > 0.04
    given = pose_covariance(far.estimate)
    told = measured(depth, far.estimate.cam_T_obj, template=block, covariance=given).estimate
    ray = told.cam_T_obj[:3, 3] / np.linalg.norm(told.cam_T_obj[:3, 3])
    assert np.sqrt(ray @ told.covariance[:3, :3] @ ray) > told.scale_std * np.linalg.norm(told.cam_T_obj[:3, 3])
    aside = measured(depth, moved([0.08, 0, 0]), template=block)
    assert misplaced(aside) < 0.01 and off(aside) < 0.01


@pytest.mark.parametrize("covariance", [None, np.zeros((6, 6))])
def test_a_face_seen_head_on(covariance: np.ndarray | None) -> None:
    block = Template("box", unit(box((1, 0.7, 0.5))))
    T = look_at([3, 0, 0])
    hits = RayCaster(block.mesh).render(CAMERA, T)
    depth = np.where(hits.mask, hits.t * SCALE, 2).reshape(CAMERA.height, CAMERA.width)
    result = measured(depth, T, template=block, covariance=covariance)
    assert off(result) < 1e-3 and np.allclose(result.estimate.cam_T_obj, T, atol=5e-3)
    assert result.estimate.scale_std < 1e-3 if covariance is not None else result.estimate.scale_std > 0.04


def test_a_ball_keeps_its_arbitrary_turn() -> None:
    ball = Template("ball", unit(sphere()))
    depth = noisy(scene(ball.mesh)[0], np.random.default_rng(3), 0.003)
    result = measured(depth, moved(0.04 * TRUTH[:3, 3], 40), template=ball)
    assert off(result) < 0.01 and misplaced(result) < 0.003
    turn = Rotation.from_matrix(result.estimate.cam_T_obj[:3, :3] @ moved(np.zeros(3), 40)[:3, :3].T).magnitude()
    assert np.rad2deg(turn) < 5


def test_points_do_as_well_as_an_image() -> None:
    rng = np.random.default_rng(4)
    hits = CASTER.render(CAMERA, TRUTH)
    cloud = CASTER.points(hits)[hits.mask] @ TRUTH[:3, :3].T + TRUTH[:3, 3]
    cloud = SCALE * cloud[rng.choice(len(cloud), 800, replace=False)]
    clutter = rng.uniform([-0.5, -0.5, -1], [0.5, 0.5, 1.5], (400, 3))
    points = np.concatenate([cloud, clutter, [[np.nan, 0, 1]]])
    result = measured(None, points=points)
    assert off(result) < 0.01 and misplaced(result) < 0.003 and result.estimate.scale_source == "depth"
    nothing = measured(None, points=points, mask=np.zeros((CAMERA.height, CAMERA.width), bool))
    assert np.isnan(nothing.estimate.scale) and "only 0 pixels" in nothing.warnings[0]


@pytest.mark.parametrize("depth", [np.nan, 0.0, -1.0])
def test_no_depth_gives_no_scale(depth: float) -> None:
    result = measured(np.full((CAMERA.height, CAMERA.width), depth))
    assert np.isnan(result.estimate.scale) and np.isnan(result.estimate.scale_std)
    assert result.estimate.scale_source == "" and np.isnan(result.estimate.size_m).all()
    assert "only 0 pixels" in result.warnings[0]


def test_random_depth_gives_no_scale() -> None:
    depth = np.random.default_rng(5).uniform(0.1, 3, (CAMERA.height, CAMERA.width))
    result = measured(depth)
    assert np.isnan(result.estimate.scale) and "no scale from depth" in result.warnings[0]


def test_refinement_narrows_the_covariance_and_moves_the_first_hypothesis() -> None:
    start = moved(0.03 * TRUTH[:3, 3])
    prior = pose_covariance(PoseEstimate(BOX, start, 0.9))
    hypotheses = (PoseHypothesis(start, 0.7), PoseHypothesis(np.eye(4), 0.2))
    result = measured(scene()[0], start, covariance=prior, hypotheses=hypotheses).estimate
    assert result.covariance is not None
    assert np.linalg.eigvalsh(prior - result.covariance).min() > -1e-9
    assert np.linalg.eigvalsh(result.covariance).min() > 0
    assert np.array_equal(result.hypotheses[0].cam_T_obj, result.cam_T_obj) and result.hypotheses[1] is hypotheses[1]
    kept = measured(scene()[0], start, covariance=prior, hypotheses=hypotheses, refine=False).estimate
    assert np.array_equal(kept.covariance, prior) and kept.hypotheses == hypotheses
    assert measured(scene()[0], start).estimate.covariance is None


def test_millimetres() -> None:
    depth = depth_from_millimetres(np.array([[0, 1500]], dtype=np.uint16))
    assert np.isnan(depth[0, 0]) and depth[0, 1] == pytest.approx(1.5)
    with pytest.raises(ValueError, match="must be uint16"):
        depth_from_millimetres(np.ones((2, 2)))


@pytest.mark.parametrize("depth", [np.ones((240, 320), np.uint16), np.ones((240, 320, 1))])
def test_depth_of_another_type_is_refused(depth: np.ndarray) -> None:
    with pytest.raises(ValueError, match="depth must be float metres"):
        MetricEvidence(depth=depth)


def test_depth_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="align it with the image"):
        measured(np.ones((240, 319)))
