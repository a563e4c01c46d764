"""Colours of places and of photographs are those of the same points."""

import numpy as np
import pytest
from scenes import film, potato, sphere, square_camera
from truthful import CAM_T_OBJ, CAMERA

from uop3d_core.cameras import pixels_of
from uop3d_core.crops import Crop
from uop3d_core.geometry import transform
from uop3d_core.raycast import RayCaster
from uop3d_core.report.colouring import UNSEEN, PlaceColours, divided, in_picture, photographed
from uop3d_core.report.shading import ShadedMesh
from uop3d_core.types import Mesh, Template


def painted(camera, cam_T_world, mesh, colour_at):
    hits = RayCaster(mesh).render(camera, cam_T_world)
    image = np.zeros((camera.height * camera.width, 3))
    image[hits.mask] = colour_at(RayCaster(mesh).points(hits)[hits.mask])
    return np.rint(image).clip(0, 255).astype(np.uint8).reshape(camera.height, camera.width, 3)


def test_places_take_the_whole_range_of_each_colour():
    mesh = potato()
    colours = PlaceColours(Template("potato", mesh))(mesh.vertices)
    np.testing.assert_allclose([colours.min(0), colours.max(0)], [[0] * 3, [255] * 3], atol=1e-9)
    order = np.argsort(mesh.vertices[:, 0])
    assert (np.diff(colours[order, 0]) >= 0).all()
    assert PlaceColours(Template("potato", mesh))(np.array([99.0, 0, -99])).tolist()[::2] == [255, 0]


def test_painted_mesh_has_the_colours_of_its_points():
    mesh, camera = divided(potato(), 5000), square_camera(96)
    paint = PlaceColours(Template("potato", mesh))
    cam_T_obj = film(mesh, 3).frames[1].cam_T_world
    picture, coverage = ShadedMesh(mesh).paint(camera, cam_T_obj, paint(mesh.vertices), 1.0)
    exact = painted(camera, cam_T_obj, mesh, paint)
    inside = coverage > 0.999
    assert inside.sum() > 500
    assert np.abs(picture[inside] - exact[inside]).mean() < 2
    assert np.abs(picture[inside] - exact[inside]).max() < 25  # the middle of a pixel against its mean


@pytest.mark.parametrize("lens", ["pinhole", "brown"])
def test_what_is_on_the_grid_of_a_crop_comes_to_its_pixels(lens):
    camera = CAMERA if lens == "pinhole" else type(CAMERA)(CAMERA.K, 320, 240, "brown", [0.1, 0, 0, 0])
    crop = Crop.around(camera, np.array([60.0, 30.0, 250.0, 200.0]), 240)
    grid = crop.to_image(crop.grid(48)).reshape(48, 48, 2)
    picture = in_picture(crop, np.concatenate([np.nan_to_num(grid), np.ones((48, 48, 1))], -1), camera)
    ys, xs = np.nonzero(picture[..., 2] > 0.999)
    assert len(xs) > 10_000
    np.testing.assert_allclose(picture[ys, xs, :2], np.stack([xs, ys], -1), atol=0.3)
    assert picture[0, 0].max() == 0


def test_photographs_colour_a_surface():
    mesh = potato()
    size = np.ptp(mesh.vertices, axis=0)

    def colour_at(points):
        return 255 * (0.5 + 0.8 * points / size).clip(0, 1)

    capture = film(mesh, 24, square_camera(128), paint=lambda camera, T: painted(camera, T, mesh, colour_at))
    fine, colours = photographed(mesh, capture, 3000)
    assert len(fine.vertices) >= 3000 and colours.shape == fine.vertices.shape
    shown = (colours != UNSEEN).any(1)
    assert shown.mean() > 0.9
    assert np.median(np.abs(colours[shown] - colour_at(fine.vertices[shown]))) < 3


def test_what_no_photograph_shows_stays_grey():
    mesh = sphere(0.5, 3)
    capture = film(mesh, 2, square_camera(96), paint=lambda camera, T: np.full((96, 96, 3), 250, np.uint8))
    one = type(capture)("one", (capture.frames[0], capture.frames[0]))
    fine, colours = photographed(mesh, one, 2000)
    seen = transform(one.frames[0].cam_T_world, fine.vertices)
    front = seen[:, 2] < np.quantile(seen[:, 2], 0.2)
    back = seen[:, 2] > np.quantile(seen[:, 2], 0.8)
    assert (colours[front] == 250).all()
    assert (colours[back] == UNSEEN).all()
    assert np.isfinite(pixels_of(CAMERA, transform(CAM_T_OBJ, fine.vertices))).all()


def test_divided_keeps_the_surface():
    mesh = potato()
    fine = divided(mesh, 4 * len(mesh.vertices))
    assert isinstance(fine, Mesh) and len(fine.vertices) >= 4 * len(mesh.vertices)
    np.testing.assert_allclose(fine.diameter, mesh.diameter)
    assert len(divided(mesh, 3).vertices) == len(mesh.vertices)
