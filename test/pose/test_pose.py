"""Pose from beliefs: exact where the beliefs are, robust to wrong ones, honest where there is nothing."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scenes import look_at, potato, square_camera

from uop3d_core.config import PoseSettings, TrainSettings
from uop3d_core.correspondence.checkpoint import Model
from uop3d_core.geometry import project, random_rotations, rotation_angle, rotation_error, transform
from uop3d_core.images import mask_box
from uop3d_core.pose.candidates import correspondences, grid_poses, pnp, polish, rotation_grid
from uop3d_core.pose.estimator import PoseEstimator
from uop3d_core.pose.scoring import Judge, PixelBeliefs
from uop3d_core.raycast import RayCaster
from uop3d_core.types import Camera, Detection, Frame, Mesh, Template

SETTINGS = PoseSettings()


@pytest.fixture(scope="module")
def template() -> Mesh:
    mesh = potato()
    centre = (mesh.vertices.min(0) + mesh.vertices.max(0)) / 2
    return Mesh((mesh.vertices - centre) / mesh.diameter, mesh.faces)


@pytest.fixture(scope="module")
def near(template: Mesh) -> np.ndarray:
    apart = np.linalg.norm(template.vertices[:, None] - template.vertices[None], axis=-1)
    return apart < SETTINGS.neighbourhood


CAMERA = Camera(np.array([[310.0, 2.0, 150.0], [0, 290.0, 90.0], [0, 0, 1]]), 320, 240)
TRUTH = look_at([1.6, 1.1, 0.9])


def exact_beliefs(template: Mesh, pixels: np.ndarray, camera: Camera = CAMERA, T: np.ndarray = TRUTH) -> PixelBeliefs:
    """All belief on the corners of the triangle that a pixel shows, by their barycentric weights."""
    caster = RayCaster(template)
    hits = caster.first_hits_of_pixels(camera.K, pixels, T)
    p = np.zeros((len(pixels), len(template.vertices) + 1))
    p[~hits.mask, -1] = 1
    rows = np.flatnonzero(hits.mask)
    for corner in range(3):
        p[rows, template.faces[hits.face[rows], corner]] += hits.barycentric[rows, corner]
    return PixelBeliefs(pixels, p)


@pytest.fixture(scope="module")
def beliefs(template: Mesh) -> PixelBeliefs:
    ys, xs = np.mgrid[0:240:5, 0:320:5]
    return exact_beliefs(template, np.stack([xs.ravel(), ys.ravel()], -1).astype(float))


def errors(T: np.ndarray) -> tuple[float, float]:
    angle = float(np.rad2deg(rotation_error(T[:3, :3], TRUTH[:3, :3])))
    return angle, float(np.linalg.norm(T[:3, 3] - TRUTH[:3, 3]) / np.linalg.norm(TRUTH[:3, 3]))


def test_correspondences_project_onto_their_pixels(template: Mesh, near: np.ndarray, beliefs: PixelBeliefs) -> None:
    found = correspondences(beliefs, template.vertices, near, SETTINGS)
    uv = project(CAMERA.K, transform(TRUTH, found.points))
    assert len(found.points) > 150
    assert np.median(np.linalg.norm(uv - found.pixels, axis=1)) < 0.01
    assert (found.confidence > 0.99).all()


def test_exact_beliefs_give_the_exact_pose(template: Mesh, near: np.ndarray, beliefs: PixelBeliefs) -> None:
    found = correspondences(beliefs, template.vertices, near, SETTINGS)
    angle, shift = errors(pnp(found, CAMERA, 9, 2000)[0])
    assert angle < 0.05 and shift < 1e-3


def test_polishing_a_near_pose_makes_it_exact(template: Mesh, near: np.ndarray, beliefs: PixelBeliefs) -> None:
    found = correspondences(beliefs, template.vertices, near, SETTINGS)
    start = TRUTH.copy()
    start[:3, :3] = look_at([1.6, 1.3, 0.8])[:3, :3]
    assert errors(start)[0] > 4
    angle, shift = errors(polish(found, CAMERA, start, 20)[0])
    assert angle < 0.1 and shift < 2e-3


def test_half_of_the_pixels_wrong(template: Mesh, near: np.ndarray, beliefs: PixelBeliefs) -> None:
    rng = np.random.default_rng(1)
    p = beliefs.probabilities.copy()
    shown = np.flatnonzero(p[:, -1] == 0)
    wrong = shown[rng.random(len(shown)) < 0.5]
    p[wrong] = 0
    p[wrong, rng.integers(0, len(template.vertices), len(wrong))] = 1
    found = correspondences(PixelBeliefs(beliefs.pixels, p), template.vertices, near, SETTINGS)
    angle, shift = errors(pnp(found, CAMERA, 9, 2000)[0])
    assert angle < 2 and shift < 0.03


def test_the_true_pose_agrees_best(template: Mesh, near: np.ndarray, beliefs: PixelBeliefs) -> None:
    turned = TRUTH @ np.diag([-1.0, -1.0, 1.0, 1.0])
    away = TRUTH.copy()
    away[0, 3] += 50
    true, flipped, outside = Judge(beliefs, RayCaster(template), near, CAMERA.K).agreement(
        np.stack([TRUTH, turned, away])
    )
    assert true > 0.99 and flipped < 0.5 and outside == 0


def test_the_judge_sees_the_vertices_that_are_there(template: Mesh, near: np.ndarray, beliefs: PixelBeliefs) -> None:
    [vertex] = Judge(beliefs, RayCaster(template), near, CAMERA.K).shown(TRUTH[None])
    best = beliefs.probabilities.argmax(1)
    assert (vertex == best).mean() > 0.999


def test_only_clutter_gives_no_correspondences(template: Mesh, near: np.ndarray, beliefs: PixelBeliefs) -> None:
    p = np.zeros_like(beliefs.probabilities)
    p[:, -1] = 1
    found = correspondences(PixelBeliefs(beliefs.pixels, p), template.vertices, near, SETTINGS)
    assert len(found.points) == 0
    assert pnp(found, CAMERA, 9, 2000).shape == polish(found, CAMERA, TRUTH, 9).shape == (0, 4, 4)


def test_the_rotation_grid_covers_all_rotations() -> None:
    grid = rotation_grid(1000)
    assert np.allclose(grid @ np.swapaxes(grid, 1, 2), np.eye(3)) and np.allclose(np.linalg.det(grid), 1)
    rng = np.random.default_rng(0)
    nearest = [np.rad2deg(rotation_error(grid, R)).min() for R in random_rotations(200, rng)]
    assert max(nearest) < 25


def test_grid_poses_fill_the_box(template: Mesh) -> None:
    uv = project(CAMERA.K, transform(TRUTH, template.vertices))
    box = np.concatenate([uv.min(0), uv.max(0)])
    poses = grid_poses(rotation_grid(4000), template.vertices, CAMERA, box)
    nearest = poses[np.argmin(rotation_angle(np.swapaxes(poses[:, :3, :3], 1, 2) @ TRUTH[:3, :3]))]
    angle, shift = errors(nearest)
    assert angle < 12 and shift < 0.1
    seen = project(CAMERA.K, transform(nearest, template.vertices))
    assert np.abs(np.concatenate([seen.min(0), seen.max(0)]) - box).max() < 0.15 * max(box[2:] - box[:2])


class TruthfulBackbone:
    """Feeds the pixels' own colours through; with `TruthfulNetwork` it stands for a perfectly trained model."""

    channels, stride, licence, fingerprint = 3, 8, "none", "truth"

    def to(self, device: str) -> "TruthfulBackbone":
        return self

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.avg_pool2d(images, 4)  # twice the cells, as the network's output grid has


class TruthfulNetwork(torch.nn.Module):
    """Reads object coordinates out of the colours."""

    def __init__(self, template: Mesh) -> None:
        super().__init__()
        self.vertices = torch.tensor(template.vertices).float()

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        colours = features.permute(0, 2, 3, 1)
        distance = (colours[..., None, :] - 0.5 - self.vertices).square().sum(-1)
        clutter = torch.where(colours.sum(-1, keepdim=True) < 0.05, 1e4, -1e4)
        return torch.cat([-1000 * distance, clutter], -1)


def coordinates_painted(template: Mesh, camera: Camera, T: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    caster = RayCaster(template)
    hits = caster.render(camera, T)
    image = np.zeros((camera.height * camera.width, 3))
    image[hits.mask] = caster.points(hits)[hits.mask] + 0.5
    shape = camera.height, camera.width
    return np.round(255 * image).clip(0, 255).astype(np.uint8).reshape(*shape, 3), hits.mask.reshape(shape)


@pytest.fixture
def estimator(template: Mesh) -> PoseEstimator:
    about = {"backbone": {"fingerprint": "truth", "licence": "none", "channels": 3}}
    model = Model("truth", Template("potato", template), TrainSettings(cells=24), TruthfulNetwork(template), about)
    return PoseEstimator(model, TruthfulBackbone())


def test_full_image_pose_from_a_loose_box_off_the_centre(estimator: PoseEstimator, template: Mesh) -> None:
    image, mask = coordinates_painted(template, CAMERA, TRUTH)
    box = mask_box(mask) + [-12, 4, 9, 15]
    [estimate] = estimator(Frame("f", CAMERA, image), [Detection(box)])
    angle, shift = errors(estimate.cam_T_obj)
    assert estimate.found and estimate.score > 0.8 and np.isnan(estimate.scale)
    assert angle < 2 and shift < 0.03


def test_object_cut_by_the_image_border(estimator: PoseEstimator, template: Mesh) -> None:
    camera = Camera(CAMERA.K - [[0, 0, 120], [0, 0, 0], [0, 0, 0]], 320, 240)
    image, mask = coordinates_painted(template, camera, TRUTH)
    assert mask[:, 0].any()
    [estimate] = estimator(Frame("f", camera, image), [Detection(mask_box(mask))])
    angle, shift = errors(estimate.cam_T_obj)
    assert angle < 5 and shift < 0.1


def test_order_and_number_follow_the_detections(estimator: PoseEstimator, template: Mesh) -> None:
    image, mask = coordinates_painted(template, CAMERA, TRUTH)
    empty, good = Detection([2, 2, 30, 30]), Detection(mask_box(mask))
    boxes = [empty] + [good] * 9 + [Detection([900, 900, 950, 950])]
    estimates = estimator(Frame("f", CAMERA, image), boxes)
    assert [e.detection for e in estimates] == boxes
    assert [e.found for e in estimates] == [False] + [True] * 9 + [False]
    assert estimates[0].score == 0 and np.array_equal(estimates[0].cam_T_obj, np.eye(4))
    assert estimator(Frame("f", CAMERA, image), []) == []


def test_the_same_input_gives_the_same_pose(estimator: PoseEstimator, template: Mesh) -> None:
    image, mask = coordinates_painted(template, CAMERA, TRUTH)
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
