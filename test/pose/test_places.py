"""Places of pixels on the template are those that the network says."""

from types import SimpleNamespace

import numpy as np
import pytest
from scenes import potato
from truthful import CAM_T_OBJ, CAMERA, TruthfulBackbone, TruthfulNetwork, coordinates_painted

from uop3d_core.config import TrainSettings
from uop3d_core.correspondence.checkpoint import Model
from uop3d_core.geometry import inverse_rigid, pixel_rays
from uop3d_core.images import mask_box
from uop3d_core.pose.estimator import PoseEstimator
from uop3d_core.pose.places import places
from uop3d_core.raycast import RayCaster
from uop3d_core.types import Detection, Frame, Mesh, Template


@pytest.fixture(scope="module")
def mesh():
    mesh = potato()
    centre = (mesh.vertices.min(0) + mesh.vertices.max(0)) / 2
    return Mesh((mesh.vertices - centre) / mesh.diameter, mesh.faces)


@pytest.fixture(scope="module")
def estimator(mesh):
    about = {"backbone": {"fingerprint": "truth"}}
    model = Model("truth", Template("potato", mesh), TrainSettings(), TruthfulNetwork(mesh), about)
    return PoseEstimator(model, TruthfulBackbone())


def test_places_are_where_the_rays_hit(mesh, estimator):
    image, mask = coordinates_painted(mesh, CAMERA, CAM_T_OBJ)
    [found] = places(estimator, Frame("f", CAMERA, image), [Detection(mask_box(mask))])
    side = len(found.points)
    crop_T_obj = inverse_rigid(found.crop.cam_T_crop) @ CAM_T_OBJ
    caster = RayCaster(mesh)
    hits = caster.first_hits_of_rays(pixel_rays(found.crop.K, found.crop.grid(side)), crop_T_obj)
    sure = (hits.mask & (found.foreground.ravel() > 0.99)).reshape(side, side)
    assert sure.sum() > 0.9 * hits.mask.sum()
    errors = np.linalg.norm(found.points[sure] - caster.points(hits).reshape(side, side, 3)[sure], axis=-1)
    assert np.median(errors) < 0.05
    assert found.foreground[~hits.mask.reshape(side, side)].mean() < 0.1


def test_outside_of_the_image_there_is_nothing(mesh, estimator):
    image, _ = coordinates_painted(mesh, CAMERA, CAM_T_OBJ)
    [found] = places(estimator, Frame("f", CAMERA, image), [Detection([-200.0, -200, 100, 100])])
    outside = ~found.crop.in_image(found.crop.grid(len(found.points))).reshape(found.foreground.shape)
    assert outside.any() and (found.foreground[outside] == 0).all()


def test_other_heads_say_nothing_of_pixels():
    model = SimpleNamespace(category="mug", settings=TrainSettings(head="quaternion"))
    with pytest.raises(ValueError, match="quaternion.*train.head=dense"):
        places(SimpleNamespace(model=model), Frame("f", CAMERA, np.zeros((240, 320, 3), np.uint8)), [])
