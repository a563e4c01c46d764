"""Keypoints beside the pixels: what they tell of poses, by themselves and in an estimate."""

from dataclasses import replace

import numpy as np
import pytest
from scenes import potato
from truthful import CAM_T_OBJ, CAMERA, TruthfulBackbone, TruthfulNetwork

from uop3d_core.config import PoseSettings, TrainSettings
from uop3d_core.correspondence.checkpoint import Model
from uop3d_core.crops import Crop
from uop3d_core.geometry import inverse_rigid, pixel_rays, project, rotation_error, transform
from uop3d_core.pose.beliefs import PixelBeliefs, TemplateShape
from uop3d_core.pose.candidates import keypoint_pnp
from uop3d_core.pose.estimator import PoseEstimator
from uop3d_core.pose.keypoints import FARTHEST, Keypoints
from uop3d_core.types import Mesh, Template

BOX = np.array([60.0, 10.0, 260.0, 200.0])
CROP = Crop.around(CAMERA, BOX, 240, 1.2)
TRUTH = inverse_rigid(CROP.cam_T_crop) @ CAM_T_OBJ
SIDEWAYS = TRUTH @ np.diag([-1.0, -1.0, 1.0, 1.0])


@pytest.fixture(scope="module")
def template() -> TemplateShape:
    mesh = potato()
    centre = (mesh.vertices.min(0) + mesh.vertices.max(0)) / 2
    return TemplateShape.of(Mesh((mesh.vertices - centre) / mesh.diameter, mesh.faces), 0.12, 0.18, 16)


def seen(template: TemplateShape, pose: np.ndarray, spread: float = 0.01) -> Keypoints:
    places = (project(CROP.K, transform(pose, template.keypoints)) + 0.5) / CROP.pixels
    return Keypoints(CROP, places.astype(np.float32), np.full(16, spread, np.float32))


def vague(template: TemplateShape, keypoints: Keypoints | None) -> PixelBeliefs:
    """Pixels that know that they are object, but hardly of what part."""
    pixels = CROP.grid(24)
    V = len(template.vertices)
    vertices = np.broadcast_to(np.linspace(0, V - 1, 24).astype(int), (len(pixels), 24)).copy()
    inside = template.shown(pixel_rays(CROP.K, pixels), TRUTH[None])[0] < V
    probabilities = np.full(vertices.shape, 1 / 24, np.float32) * inside[:, None]
    return PixelBeliefs(CROP, 24, pixels, inside * 1.0, vertices, probabilities, np.zeros((len(pixels), 3)), keypoints)


def error(pose: np.ndarray) -> float:
    return float(np.rad2deg(rotation_error(pose[:3, :3], TRUTH[:3, :3])))


def test_misfit_counts_spreads_and_is_capped(template: TemplateShape) -> None:
    keypoints = seen(template, TRUTH, 0.01)
    aside = TRUTH.copy()
    aside[0, 3] += 0.03 * CROP.pixels / CROP.focal * TRUTH[2, 3]
    behind = TRUTH.copy()
    behind[2, 3] = -5
    true, moved, turned, gone = keypoints.misfit(template.keypoints, np.stack([TRUTH, aside, SIDEWAYS, behind]))
    assert true < 1e-4 and moved == pytest.approx(3, rel=0.1) and 5 < turned <= FARTHEST and gone == FARTHEST


def test_precision_is_one_over_the_variance_of_the_rays(template: TemplateShape) -> None:
    keypoints = seen(template, TRUTH, 0.02)
    rng = np.random.default_rng(0)
    noisy = replace(keypoints, places=keypoints.places + rng.normal(0, 0.02, (2000, 16, 2)))
    variance = np.var(noisy.rays[..., :2] - keypoints.rays[:, :2])
    assert 1 / variance == pytest.approx(keypoints.precision[0], rel=0.05)
    assert seen(template, TRUTH, 0.005).clarity > 0.99 and seen(template, TRUTH, 0.3).clarity < 0.05


def test_pnp_on_keypoints(template: TemplateShape) -> None:
    assert keypoint_pnp(vague(template, None), template, 9, PoseSettings()).shape == (0, 4, 4)
    assert error(keypoint_pnp(vague(template, seen(template, TRUTH)), template, 9, PoseSettings())[0]) < 0.1


@pytest.fixture(scope="module")
def estimator(template: TemplateShape) -> PoseEstimator:
    mesh = template.caster.mesh
    about = {"backbone": {"fingerprint": TruthfulBackbone.fingerprint}}
    settings = TrainSettings(cells=24, keypoints=16)
    model = Model("truth", Template("potato", mesh), settings, TruthfulNetwork(mesh), about)
    return PoseEstimator(model, TruthfulBackbone(), settings=PoseSettings(misfit=1.0))


def test_keypoints_place_what_pixels_do_not_tell_apart(template: TemplateShape, estimator: PoseEstimator) -> None:
    box = np.array([20.0, 20, 219, 219])
    alone = estimator.solve(vague(template, None), box)
    both = estimator.solve(vague(template, seen(template, TRUTH)), box)
    assert both is not None and error(both.crop_T_obj[0]) < 3
    assert alone is None or error(alone.crop_T_obj[0]) > 10


def test_keypoints_elsewhere_speak_against_a_pose(template: TemplateShape, estimator: PoseEstimator) -> None:
    scores = [
        estimator._agreement(vague(template, keypoints), TRUTH[None])[0]
        for keypoints in (None, seen(template, TRUTH), seen(template, SIDEWAYS))
    ]
    assert scores[0] == pytest.approx(scores[1], rel=1e-3) and scores[2] < 0.01 * scores[0]
