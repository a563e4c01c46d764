"""Pose from beliefs: exact where the beliefs are, robust to wrong ones, honest where there is nothing."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scenes import potato, square_camera
from truthful import CAM_T_OBJ, CAMERA, TruthfulBackbone, TruthfulNetwork, coordinates_painted

from uop3d_core.config import PoseSettings, TrainSettings
from uop3d_core.correspondence.checkpoint import Model
from uop3d_core.crops import Crop
from uop3d_core.geometry import (
    inverse_rigid,
    pixel_rays,
    project,
    random_rotations,
    rotation_angle,
    rotation_error,
    transform,
)
from uop3d_core.images import mask_box
from uop3d_core.pose.beliefs import PixelBeliefs, TemplateShape
from uop3d_core.pose.candidates import StoredViews, box_in_crop, distinct, fill_box, pnp, rotation_grid
from uop3d_core.pose.estimator import DISTINCT, PoseEstimator
from uop3d_core.pose.refine import moved, normal_equations, refine
from uop3d_core.types import Camera, Detection, Frame, Mesh, Template

SETTINGS = PoseSettings()


@pytest.fixture(scope="module")
def mesh() -> Mesh:
    mesh = potato()
    centre = (mesh.vertices.min(0) + mesh.vertices.max(0)) / 2
    return Mesh((mesh.vertices - centre) / mesh.diameter, mesh.faces)


@pytest.fixture(scope="module")
def template(mesh: Mesh) -> TemplateShape:
    return TemplateShape.of(mesh, TrainSettings().neighbourhood, SETTINGS.guide, 16)


BOX = np.array([60.0, 10.0, 260.0, 200.0])
CROP = Crop.around(CAMERA, BOX, 240, 1.2)
TRUTH = inverse_rigid(CROP.cam_T_crop) @ CAM_T_OBJ


@pytest.fixture(scope="module")
def beliefs(template: TemplateShape) -> PixelBeliefs:
    """All belief on the corners of the triangle that a pixel shows, by their barycentric weights."""
    pixels = CROP.grid(48)
    hits = template.caster.first_hits_of_rays(pixel_rays(CROP.K, pixels), TRUTH)
    weights = np.where(hits.mask[:, None], hits.barycentric, 0)
    order = np.argsort(-weights, axis=1)
    vertices = np.take_along_axis(template.caster.mesh.faces[hits.face], order, 1)
    points = np.zeros((len(pixels), 3))
    return PixelBeliefs(CROP, 48, pixels, hits.mask * 1.0, vertices, np.take_along_axis(weights, order, 1), points)


def objects(beliefs: PixelBeliefs) -> PixelBeliefs:
    return beliefs.take(np.flatnonzero(beliefs.foreground > 0.5))


def errors(T: np.ndarray, truth: np.ndarray = TRUTH) -> tuple[float, float]:
    angle = float(np.rad2deg(rotation_error(T[:3, :3], truth[:3, :3])))
    return angle, float(np.linalg.norm(T[:3, 3] - truth[:3, 3]) / np.linalg.norm(truth[:3, 3]))


def test_points_project_onto_their_pixels(template: TemplateShape, beliefs: PixelBeliefs) -> None:
    seen = objects(beliefs)
    points, mass = seen.points(template.near, seen.vertices[None, :, 0], template.vertices)
    uv = project(CROP.K, transform(TRUTH, points[0]))
    assert len(uv) > 150
    assert np.median(np.linalg.norm(uv - seen.pixels, axis=1)) < 0.01
    assert np.median(mass) > 0.99


def test_offsets_move_the_points(template: TemplateShape, beliefs: PixelBeliefs) -> None:
    seen = objects(beliefs)
    shifted = PixelBeliefs(
        seen.crop, 48, seen.pixels, seen.foreground, seen.vertices, seen.probabilities, seen.offsets + 1
    )
    there, here = (x.points(template.near, x.vertices[None, :, 0], template.vertices)[0] for x in (shifted, seen))
    np.testing.assert_allclose(there - here, 1)


def test_exact_beliefs_give_the_exact_pose(template: TemplateShape, beliefs: PixelBeliefs) -> None:
    angle, shift = errors(pnp(objects(beliefs), template, 9, SETTINGS)[0])
    assert angle < 0.05 and shift < 1e-3


def test_refining_a_near_pose_makes_it_exact(template: TemplateShape, beliefs: PixelBeliefs) -> None:
    start = moved(TRUTH[None], np.array([[0.01, 0.02, -0.03, 0.06, -0.05, 0.04]]))
    assert errors(start[0])[0] > 4
    seen = objects(beliefs)
    points, mass = seen.points(template.near, seen.vertices[None, :, 0], template.vertices)
    angle, shift = errors(refine(start, points, seen.rays, mass, 0.05, 8)[0])
    assert angle < 0.1 and shift < 2e-3


def test_normal_equations_are_the_derivative_of_the_residuals() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(1, 40, 3)) * 0.3
    truth = TRUTH[None]
    off = moved(truth, rng.normal(size=(1, 6)) * 0.01)
    x = transform(truth[0], points[0])
    rays = x / x[:, 2:]

    def cost(T: np.ndarray) -> float:
        y = transform(T, points[0])
        return 0.5 * float(((rays - y / y[:, 2:]) ** 2).sum())

    _, right, _ = normal_equations(off, points, rays, np.ones((1, 40)), 1e6)
    for k in range(6):
        step = np.eye(6)[k : k + 1] * 1e-5
        slope = (cost(moved(off, step)[0]) - cost(moved(off, -step)[0])) / 2e-5
        assert right[0, k] == pytest.approx(-slope, rel=1e-3, abs=1e-7)


def test_half_of_the_pixels_wrong(template: TemplateShape, beliefs: PixelBeliefs) -> None:
    rng = np.random.default_rng(1)
    seen = objects(beliefs)
    vertices, probabilities = seen.vertices.copy(), seen.probabilities.copy()
    wrong = rng.random(len(vertices)) < 0.5
    vertices[wrong, 0], probabilities[wrong] = rng.integers(0, len(template.vertices), wrong.sum()), [1, 0, 0]
    mixed = PixelBeliefs(CROP, 48, seen.pixels, seen.foreground, vertices, probabilities, seen.offsets)
    angle, shift = errors(pnp(mixed, template, 9, SETTINGS)[0])
    assert angle < 2 and shift < 0.03


def test_the_true_pose_agrees_best(template: TemplateShape, beliefs: PixelBeliefs) -> None:
    turned = TRUTH @ np.diag([-1.0, -1.0, 1.0, 1.0])
    away = TRUTH.copy()
    away[0, 3] += 50
    true, flipped, outside = beliefs.agreement(template, np.stack([TRUTH, turned, away]))
    assert true > 0.99 and flipped < 0.5 and outside == 0


def test_the_template_shows_the_vertices_that_are_there(template: TemplateShape, beliefs: PixelBeliefs) -> None:
    [vertex] = template.shown(beliefs.rays, TRUTH[None])
    best = np.where(beliefs.foreground > 0.5, beliefs.vertices[:, 0], len(template.vertices))
    assert (vertex == best).mean() > 0.999


def test_no_pixels_give_no_pose(template: TemplateShape, beliefs: PixelBeliefs) -> None:
    assert pnp(beliefs.take(np.zeros(0, int)), template, 9, SETTINGS).shape == (0, 4, 4)


def test_beliefs_from_the_network_are_its_softmax() -> None:
    rng = np.random.default_rng(0)
    logits = torch.from_numpy(rng.normal(size=(8, 8, 101)) * 3).float()
    logits[:, :4, -1] += 20
    crop = Crop.around(Camera(np.array([[300.0, 0, 99.5], [0, 300, 99.5], [0, 0, 1]]), 200, 200), BOX / 3 + 30, 64)
    found = PixelBeliefs.from_network(crop, logits.numpy(), np.zeros((8, 8, 3), np.float32))
    assert len(found.pixels) == 64
    full = logits.softmax(-1).reshape(64, 101).numpy()
    np.testing.assert_allclose(found.foreground, 1 - full[:, -1], atol=1e-5)
    seen = found.foreground > 0.05
    np.testing.assert_allclose(
        found.probabilities[seen], -np.sort(-full[seen, :-1], axis=1)[:, : found.vertices.shape[1]], atol=1e-5
    )
    np.testing.assert_allclose(np.take_along_axis(full, found.vertices, 1)[seen], found.probabilities[seen], atol=1e-5)
    assert not found.probabilities[~seen].any()


def test_beliefs_are_found_by_their_place(beliefs: PixelBeliefs) -> None:
    assert (beliefs.row_at(beliefs.pixels + 2) == np.arange(48 * 48)).all()  # cells of 5 pixels
    part = beliefs.take(np.array([0, 100]))
    assert part.row_at(np.array([[2.0, 2.0], [7.0, 2.0], [-1.0, 2.0], [240.0, 500.0]])).tolist() == [0, -1, -1, -1]


def test_the_rotation_grid_covers_all_rotations() -> None:
    grid = rotation_grid(1000)
    assert np.allclose(grid @ np.swapaxes(grid, 1, 2), np.eye(3)) and np.allclose(np.linalg.det(grid), 1)
    rng = np.random.default_rng(0)
    nearest = [np.rad2deg(rotation_error(grid, R)).min() for R in random_rotations(200, rng)]
    assert max(nearest) < 25


def test_views_that_fill_the_box(template: TemplateShape) -> None:
    uv = project(CROP.K, transform(TRUTH, template.vertices))
    box = np.concatenate([uv.min(0), uv.max(0)])
    poses = fill_box(rotation_grid(4000), template.vertices, CROP, box)
    nearest = poses[np.argmin(rotation_angle(np.swapaxes(poses[:, :3, :3], 1, 2) @ TRUTH[:3, :3]))]
    angle, shift = errors(nearest)
    assert angle < 12 and shift < 0.1
    seen = project(CROP.K, transform(nearest, template.vertices))
    assert np.abs(np.concatenate([seen.min(0), seen.max(0)]) - box).max() < 0.15 * max(box[2:] - box[:2])


def test_the_best_stored_view_is_near_the_truth(template: TemplateShape, beliefs: PixelBeliefs) -> None:
    uv = project(CROP.K, transform(TRUTH, template.vertices))
    box = np.concatenate([uv.min(0), uv.max(0)])
    poses = StoredViews(template, 1000).best(beliefs, box, 4, np.deg2rad(30))
    assert len(poses) == 4 and errors(poses[0])[0] < 25
    apart = [np.rad2deg(rotation_error(poses[i, :3, :3], poses[j, :3, :3])) for i in range(4) for j in range(i)]
    assert min(apart) > 30


def test_boxes_are_carried_into_the_crop() -> None:
    inner = box_in_crop(CROP, BOX)
    assert max(inner[2:] - inner[:2]) == pytest.approx(CROP.pixels / 1.2, rel=0.1)
    assert np.abs((inner[:2] + inner[2:]) / 2 - (CROP.pixels - 1) / 2).max() < 0.06 * CROP.pixels


def test_distinct_keeps_the_best_of_each_kind() -> None:
    poses = np.stack([TRUTH, moved(TRUTH[None], np.full((1, 6), 0.05))[0], TRUTH @ np.diag([-1.0, -1, 1, 1])])
    assert distinct(poses[:, :3, :3], np.array([0.5, 0.6, 0.1]), 5, DISTINCT).tolist() == [1, 2]
    assert distinct(poses[:, :3, :3], np.array([0.5, 0.6, 0.1]), 1, DISTINCT).tolist() == [1]


@pytest.fixture
def estimator(mesh: Mesh) -> PoseEstimator:
    about = {"backbone": {"fingerprint": "truth", "licence": "none", "channels": 3}}
    model = Model("truth", Template("potato", mesh), TrainSettings(cells=24), TruthfulNetwork(mesh), about)
    return PoseEstimator(model, TruthfulBackbone())


def test_pixels_beside_the_outline_pull_it(estimator: PoseEstimator, beliefs: PixelBeliefs) -> None:
    away = TRUTH.copy()
    away[2, 3] *= 1.5
    objects = beliefs.take(np.flatnonzero(beliefs.foreground > 0.5))
    _, _, weights = estimator._constraints(objects, away[None])
    assert (weights > 0.5).mean() > 0.8  # the outline itself holds less than half of them
    poses, _ = estimator._refined(away[None], objects, beliefs, 0.02)
    angle, shift = errors(poses[0])
    assert angle < 2 and shift < 0.05


def test_full_image_pose_from_a_loose_box_off_the_centre(estimator: PoseEstimator, mesh: Mesh) -> None:
    image, mask = coordinates_painted(mesh, CAMERA, CAM_T_OBJ)
    box = mask_box(mask) + [-12, 4, 9, 15]
    [estimate] = estimator(Frame("f", CAMERA, image), [Detection(box)])
    angle, shift = errors(estimate.cam_T_obj, CAM_T_OBJ)
    assert estimate.found and estimate.score > 0.8 and np.isnan(estimate.scale)
    assert angle < 2 and shift < 0.03


@pytest.mark.parametrize(
    ("lens", "distortion"), [("brown", [-0.3, 0.12, 0.001, -0.002, 0.0]), ("fisheye", [0.05, -0.01, 0.0, 0.0])]
)
def test_lens_distortion_does_not_matter(
    estimator: PoseEstimator, mesh: Mesh, lens: str, distortion: list[float]
) -> None:
    """Far off the axis, where bending moves pixels by tens."""
    camera = Camera(CAMERA.K + [[0, -2, 110], [0, 0, 80], [0, 0, 0]], 320, 240, lens, np.array(distortion))
    image, mask = coordinates_painted(mesh, camera, CAM_T_OBJ)
    [estimate] = estimator(Frame("f", camera, image), [Detection(mask_box(mask))])
    angle, shift = errors(estimate.cam_T_obj, CAM_T_OBJ)
    assert estimate.found and angle < 3 and shift < 0.05


def test_object_cut_by_the_image_border(estimator: PoseEstimator, mesh: Mesh) -> None:
    camera = Camera(CAMERA.K - [[0, 0, 120], [0, 0, 0], [0, 0, 0]], 320, 240)
    image, mask = coordinates_painted(mesh, camera, CAM_T_OBJ)
    assert mask[:, 0].any()
    [estimate] = estimator(Frame("f", camera, image), [Detection(mask_box(mask))])
    angle, shift = errors(estimate.cam_T_obj, CAM_T_OBJ)
    assert angle < 5 and shift < 0.1


def test_order_and_number_follow_the_detections(estimator: PoseEstimator, mesh: Mesh) -> None:
    image, mask = coordinates_painted(mesh, CAMERA, CAM_T_OBJ)
    empty, good = Detection([2, 2, 30, 30]), Detection(mask_box(mask))
    boxes = [empty] + [good] * 9 + [Detection([900, 900, 950, 950])]
    estimates = estimator(Frame("f", CAMERA, image), boxes)
    assert [e.detection for e in estimates] == boxes
    assert [e.found for e in estimates] == [False] + [True] * 9 + [False]
    assert estimates[0].score == 0 and np.array_equal(estimates[0].cam_T_obj, np.eye(4))
    assert estimator(Frame("f", CAMERA, image), []) == []


def test_the_same_input_gives_the_same_pose(estimator: PoseEstimator, mesh: Mesh) -> None:
    image, mask = coordinates_painted(mesh, CAMERA, CAM_T_OBJ)
    frame, boxes = Frame("f", CAMERA, image), [Detection(mask_box(mask))]
    assert np.array_equal(estimator(frame, boxes)[0].cam_T_obj, estimator(frame, boxes)[0].cam_T_obj)


def test_another_backbone_than_in_training_is_refused(estimator: PoseEstimator) -> None:
    other = SimpleNamespace(fingerprint="hog-1", stride=8, channels=219)
    with pytest.raises(ValueError, match="was trained with backbone"):
        PoseEstimator(estimator.model, other)


def test_an_image_of_another_size_than_the_camera_is_refused(estimator: PoseEstimator) -> None:
    frame = Frame("f", square_camera(64), np.zeros((32, 64, 3), np.uint8))
    with pytest.raises(ValueError, match="camera says"):
        estimator(frame, [Detection([1, 1, 20, 20])])
