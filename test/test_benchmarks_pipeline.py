"""A perfect network on made-up PASCAL3D+ images: viewpoints, cameras, boxes and axes must fit for small errors."""

import numpy as np
import pytest
from mat_files import annotated, save_record, viewpoint, write_pascal3d
from PIL import Image
from scenes import potato
from truthful import TruthfulBackbone, TruthfulNetwork, coordinates_painted

from uop3d_core.config import TrainSettings
from uop3d_core.correspondence.checkpoint import Model
from uop3d_core.evaluation.link import link_by_names
from uop3d_core.evaluation.mat_records import read_record
from uop3d_core.evaluation.pascal3d import read_pascal3d
from uop3d_core.evaluation.single_images import evaluate_images
from uop3d_core.evaluation.viewpoints import cam_T_label, intrinsics
from uop3d_core.images import mask_box
from uop3d_core.pipeline.benchmarks import ImageEvaluation, images_sheet
from uop3d_core.pose.estimator import PoseEstimator
from uop3d_core.types import Camera, Mesh, Sim3, Template

VIEWS = [(20.0, 10.0, 0.0), (115.0, 25.0, -15.0), (250.0, -5.0, 30.0)]


@pytest.fixture(scope="module")
def mesh() -> Mesh:
    mesh = potato()
    centre = (mesh.vertices.min(0) + mesh.vertices.max(0)) / 2
    return mesh.transformed(Sim3(1 / mesh.diameter, np.eye(3), -centre / mesh.diameter))


def test_a_perfect_network_is_right(tmp_path, mesh):
    root = write_pascal3d(tmp_path / "p3d", {f"n{index}": [annotated()] for index in range(len(VIEWS))})
    for index, (azimuth, elevation, theta) in enumerate(VIEWS):
        view = viewpoint(azimuth=azimuth, elevation=elevation, theta=theta, distance=20.0, px=150.0 + index, py=120.0)
        path = root / "Annotations" / "car_imagenet" / f"n{index}.mat"
        save_record(path, annotated(viewpoint=view))
        found = read_record(path).objects[0].viewpoint
        image, mask = coordinates_painted(mesh, Camera(intrinsics(found), 320, 240), cam_T_label(found))
        Image.fromarray(image).save(root / "Images" / "car_imagenet" / f"n{index}.JPEG", format="PNG")
        save_record(path, annotated(viewpoint=view, bbox=mask_box(mask) + [1.5, 1.5, 0.5, 0.5]))  # as MATLAB counts
    about = {"backbone": {"fingerprint": "truth", "licence": "none", "channels": 3}}
    model = Model("truth", Template("potato", mesh), TrainSettings(cells=24), TruthfulNetwork(mesh), about)
    estimator = PoseEstimator(model, TruthfulBackbone())
    report, results = evaluate_images(estimator, read_pascal3d(root, "car"), link_by_names(), category="potato")
    assert report["all"]["not_found"] == 0
    assert max(result.error_deg for result in results) < 3
    for result in results:
        np.testing.assert_allclose(result.estimate.cam_T_obj[:3, 3], [0, 0, 20], atol=0.6)
    sheet = images_sheet(ImageEvaluation(report, results, estimator), 3, 3)
    assert sheet.shape[1] > 3 * 320
