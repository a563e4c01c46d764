"""Views that were not photographed: they look as if they had been."""

import numpy as np
import pytest
from scenes import film, normal_image, potato, square_camera

from uop3d_core.correspondence.synthesis import moved, outline, synthesise
from uop3d_core.correspondence.views import View, posed_views
from uop3d_core.crops import Crop
from uop3d_core.geometry import rotation_angle
from uop3d_core.images import mask_box
from uop3d_core.raycast import RayCaster
from uop3d_core.types import Alignment, CaptureAlignment, Mesh, Sim3

MESH = potato()
CAMERA = square_camera(160)


@pytest.fixture(scope="module")
def view() -> View:
    capture = film(MESH, views=5, camera=CAMERA, paint=normal_image(MESH))
    alignment = Alignment("potato", capture.name, {capture.name: CaptureAlignment(Sim3.identity(), 1.0, True)})
    return posed_views([capture], {capture.name: MESH}, alignment)[1]


def made(view: View, cam_A_obj: np.ndarray, pixels: int = 120):
    box = outline(view, cam_A_obj)
    crop = Crop.around(view.frame.camera, box, pixels, 1.3)
    return crop, synthesise(view, view.frame.image, view.frame.mask, crop, cam_A_obj)


def test_nothing_moved_gives_the_photograph(view: View) -> None:
    crop, result = made(view, view.cam_T_obj)
    expected, mask = crop.sample(view.frame.image), crop.sample(view.frame.mask)
    assert (result.inside == mask).mean() > 0.98
    both = result.inside & mask & ~result.unknown
    assert np.abs(result.pixels[both].astype(int) - expected[both]).mean() < 2
    assert result.unknown.sum() < 0.02 * mask.sum()


@pytest.mark.parametrize("seed", range(4))
def test_a_turned_camera_sees_what_a_photograph_from_there_shows(view: View, seed: int) -> None:
    """The colours belong to points of the surface, so what another camera sees is known exactly."""
    cam_T_obj = moved(view.cam_T_obj, 20, 0.0, np.random.default_rng(seed))
    assert 0 < np.rad2deg(rotation_angle(cam_T_obj[:3, :3] @ view.cam_T_obj[:3, :3].T)) <= 20
    crop, result = made(view, cam_T_obj)
    truth = normal_image(MESH)(CAMERA, cam_T_obj)
    silhouette = RayCaster(MESH).render(CAMERA, cam_T_obj).mask.reshape(160, 160)
    np.testing.assert_allclose(outline(view, cam_T_obj), mask_box(silhouette), atol=1.5)
    expected, mask = crop.sample(truth), crop.sample(silhouette)
    assert (result.inside == mask).mean() > 0.97
    known = result.inside & mask & ~result.unknown
    assert known.sum() > 0.75 * mask.sum()
    error = np.abs(result.pixels[known].astype(int) - expected[known]).max(1)
    assert np.median(error) <= 4 and (error > 40).mean() < 0.03


def test_a_stretched_object_is_as_long_as_the_map_says(view: View) -> None:
    stretched = view.cam_T_obj.copy()
    stretched[:3, :3] *= [1.0, 1.0, 1.3]  # higher, as the camera stands upright
    before, after = (np.ptp(outline(view, T).reshape(2, 2), axis=0) for T in (view.cam_T_obj, stretched))
    assert after[1] / before[1] > 1.12 and after[0] / before[0] < 1.12
    crop, result = made(view, stretched)
    truth = RayCaster(Mesh(MESH.vertices * [1.0, 1.0, 1.3], MESH.faces)).render(CAMERA, view.cam_T_obj).mask
    assert (result.inside == crop.sample(truth.reshape(160, 160))).mean() > 0.97


def test_the_old_outline_is_gone_from_the_background(view: View) -> None:
    away = view.cam_T_obj.copy()
    away[0, 3] += 1.0
    pixels = np.array(view.frame.image)
    pixels[~view.frame.mask] = [10, 200, 30]
    crop = Crop.around(CAMERA, mask_box(view.frame.mask), 120, 1.3)
    result = synthesise(view, pixels, view.frame.mask, crop, away)
    background = result.pixels[~result.inside & crop.in_image(crop.grid(120)).reshape(120, 120)]
    assert np.abs(background.astype(int) - [10, 200, 30]).max(1).mean() < 8


def test_maps_are_drawn_within_their_limits() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        A = moved(np.eye(4), 15, 0.2, rng)
        lengths = np.linalg.norm(A[:3, :3], axis=0)
        assert (lengths < 1.2 + 1e-9).all() and (lengths > 1 / 1.2 - 1e-9).all()
        assert np.rad2deg(rotation_angle(A[:3, :3] / lengths)) < 15 + 1e-6
