"""Poses from light heads: exact where what they say is exact, learned from a few views, read back from their files."""

from pathlib import Path

import numpy as np
import pytest
from scenes import film, normal_image, potato
from truthful import CAM_T_OBJ, CAMERA

from uop3d_core.backbones import load_backbone
from uop3d_core.config import PoseSettings, TrainSettings
from uop3d_core.correspondence.checkpoint import Model, load_model, save_model
from uop3d_core.correspondence.train import TrainingSet, fit, gather
from uop3d_core.crops import Crop
from uop3d_core.deploy.exporting import export
from uop3d_core.geometry import inverse_rigid, project, rotation_error, transform
from uop3d_core.images import mask_box
from uop3d_core.pipeline.calibrating import calibrate
from uop3d_core.pose.beliefs import TemplateShape
from uop3d_core.pose.direct import READINGS, DirectKeypoints, DirectRotation
from uop3d_core.pose.estimator import PoseEstimator
from uop3d_core.types import Alignment, CaptureAlignment, Detection, Mesh, Sim3, Template

SETTINGS = TrainSettings(
    cells=8, variants=4, components=64, width=48, blocks=1, keypoints=12, epochs=60, batch=8, learning_rate=4e-3,
    context_dropout=0.0, shift=0.0, zoom=0.0, roll_deg=0.0, turn_deg=0.0, stretch=0.0, occlusion=0.0, background=0.0,
    texture=0.0, colour=0.0, damage=0.0,
)  # fmt: skip


@pytest.fixture(scope="module")
def unit() -> Mesh:
    mesh = potato(2)
    return mesh.transformed(centring(mesh))


def shape(mesh: Mesh) -> TemplateShape:
    return TemplateShape.of(mesh, 0.1, 0.2, 16)


def centring(mesh: Mesh) -> Sim3:
    scale = 1 / mesh.diameter
    return Sim3(scale, np.eye(3), -scale * (mesh.vertices.min(0) + mesh.vertices.max(0)) / 2)


@pytest.fixture(scope="module")
def crop_and_truth(unit: Mesh) -> tuple[Crop, np.ndarray, np.ndarray]:
    """A crop around the object's true box, crop_T_obj, and the box in it."""
    pixels = project(CAMERA.K, transform(CAM_T_OBJ, unit.vertices))
    crop = Crop.around(CAMERA, np.concatenate([pixels.min(0), pixels.max(0)]), 240, 1.25)
    truth = inverse_rigid(crop.cam_T_crop) @ CAM_T_OBJ
    seen = project(crop.K, transform(truth, unit.vertices))
    return crop, truth, np.concatenate([seen.min(0), seen.max(0)])


def test_a_rotation_keeps_and_fills_the_box(unit: Mesh, crop_and_truth) -> None:
    crop, truth, box = crop_and_truth
    found = DirectRotation(crop, truth[:3, :3].astype(np.float32)).solution(shape(unit), box, PoseSettings())
    [T] = found.crop_T_obj
    assert rotation_error(T[:3, :3], truth[:3, :3]) < 1e-3
    assert np.linalg.norm(T[:3, 3] - truth[:3, 3]) < 0.06 * truth[2, 3]


def test_true_keypoints_give_the_true_pose(unit: Mesh, crop_and_truth) -> None:
    crop, truth, box = crop_and_truth
    points = shape(unit).keypoints
    places = ((project(crop.K, transform(truth, points)) + 0.5) / crop.pixels).astype(np.float32)
    wrong = places.copy()
    wrong[:3] += 0.3
    for given, agreement in ((places, 1.0), (wrong, 13 / 16)):
        spread = np.full(16, 0.01, np.float32)
        found = DirectKeypoints(crop, given, spread).solution(shape(unit), box, PoseSettings())
        assert found is not None
        assert rotation_error(found.crop_T_obj[0, :3, :3], truth[:3, :3]) < np.deg2rad(0.5)
        assert np.linalg.norm(found.crop_T_obj[0, :3, 3] - truth[:3, 3]) < 0.02 * truth[2, 3]
        assert found.agreement.tolist() == [agreement]
        assert (np.linalg.eigvalsh(found.covariance) > 0).all()


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainingSet, dict, Path]:
    """Crops that all heads share."""
    mesh, folder = potato(2), tmp_path_factory.mktemp("training")
    capture = film(mesh, views=8, paint=normal_image(mesh))
    placed = centring(mesh)
    alignment = Alignment("potato", capture.name, {capture.name: CaptureAlignment(placed, 1.0, True)})
    inputs = {
        "captures": [capture],
        "meshes": {capture.name: mesh},
        "alignment": alignment,
        "template": Template("potato", mesh.transformed(placed)),
        "backbone": load_backbone("hog"),
    }
    return gather(**inputs, settings=SETTINGS, folder=folder), inputs, folder


@pytest.mark.parametrize("head", ["hybrid", *READINGS])
def test_a_head_learns_the_views_it_is_shown(head: str, training, tmp_path: Path) -> None:
    """It shares the cache of the other heads, and what it learned survives its file."""
    _, inputs, folder = training
    settings = SETTINGS.model_copy(update={"head": head})
    made = {path.name: path.stat().st_mtime_ns for path in (folder / "cache").iterdir()}
    own = gather(**inputs, settings=settings, folder=folder)
    assert made == {path.name: path.stat().st_mtime_ns for path in (folder / "cache").iterdir()}
    first = fit(own, settings.model_copy(update={"epochs": 1}), folder, f"{head}-short")[1]
    network, about = fit(own, settings, folder, head)
    assert about["loss"] < first["loss"] - 0.3 * abs(first["loss"])
    backbone = inputs["backbone"]
    facts = {"backbone": {"fingerprint": backbone.fingerprint, "licence": "", "channels": backbone.channels}}
    path = tmp_path / "model.safetensors"
    save_model(path, Model("hog", own.template, settings, network, facts))
    assert load_model(path).settings.head == head
    estimator, errors = PoseEstimator.load(path), []
    for view in own.views:
        [estimate] = estimator(view.frame, [Detection(mask_box(view.frame.mask))])
        assert estimate.found and 0 < estimate.score < 1 and np.isfinite(estimate.covariance).all()
        errors.append(float(np.rad2deg(rotation_error(estimate.cam_T_obj[:3, :3], view.cam_T_obj[:3, :3]))))
        assert np.linalg.norm(estimate.cam_T_obj[:3, 3] - view.cam_T_obj[:3, 3]) < 0.15 * view.cam_T_obj[2, 3]
    assert np.median(errors) < 10, errors


def test_scores_come_from_the_rehearsal(training) -> None:
    """A head that says no doubt gets the same probability everywhere: about the share that was right."""
    prepared, inputs, folder = training
    settings = SETTINGS.model_copy(update={"head": "rotation6d", "epochs": 10, "rehearsal": 1.0})
    made = gather(**inputs, settings=settings, folder=folder)
    network = fit(made, settings, folder, "calibrated")[0]
    constants, _ = calibrate(made, network, inputs["backbone"], "hog", settings, folder)
    about = {
        "backbone": {"fingerprint": inputs["backbone"].fingerprint},
        "calibration": constants.to_json(),
    }
    estimator = PoseEstimator(Model("hog", prepared.template, settings, network, about), inputs["backbone"])
    scores = {estimator(v.frame, [Detection(mask_box(v.frame.mask))])[0].score for v in made.views}
    assert constants.views > 0 and max(scores) - min(scores) < 1e-9


def test_only_dense_models_are_exported(training, tmp_path: Path) -> None:
    prepared, inputs, folder = training
    settings = SETTINGS.model_copy(update={"head": "quaternion", "epochs": 1})
    made = gather(**inputs, settings=settings, folder=folder)
    facts = {"backbone": {"fingerprint": "hog-1", "licence": "", "channels": inputs["backbone"].channels}}
    save_model(tmp_path / "m.safetensors", Model("hog", prepared.template, settings, made.network, facts))
    with pytest.raises(ValueError, match="head is 'quaternion', and only dense models"):
        export(tmp_path / "m.safetensors", tmp_path / "m.onnx")
