"""Which vertices a frame shows, where their features are sampled, and what is stored."""

import dataclasses

import numpy as np
import pytest
import torch
from scenes import (
    coordinate_image,
    film,
    first_intersections,
    normal_image,
    potato,
    random_sim3,
    rendered_mask,
    sphere,
    square_camera,
    torus,
)

from uop3d_core.backbones import load_backbone
from uop3d_core.config import SurfaceSettings
from uop3d_core.crops import Crop
from uop3d_core.geometry import inverse_rigid, project, rigid, transform
from uop3d_core.images import mask_box
from uop3d_core.raycast import RayCaster, vertex_normals
from uop3d_core.surface import FeatureBasis, build_surface, fit_basis, upward
from uop3d_core.surface.features import vertex_observations, visible_vertices
from uop3d_core.types import Capture, Frame

TORUS = torus(around=24, across=12)


class Position:
    """Ignores the image: every cell tells where in the crop its centre is."""

    channels, stride, licence, fingerprint = 3, 8, "MIT", "position"

    def to(self, device):
        return self

    def __call__(self, images):
        B, _, H, W = images.shape
        ys = (torch.arange(H // 8) + 0.5) * 8 - 0.5
        xs = (torch.arange(W // 8) + 0.5) * 8 - 0.5
        grid = torch.stack(
            [xs.expand(len(ys), -1), ys[:, None].expand(-1, len(xs)), torch.full((len(ys), len(xs)), 99.0)]
        )
        return grid.expand(B, -1, -1, -1)


class MeanColour(Position):
    """The mean colour of every cell."""

    def __call__(self, images):
        return torch.nn.functional.avg_pool2d(images, 8)


def settings(**changes):
    return SurfaceSettings(**{"cells": 14, "components": 8, **changes})


def test_visibility_against_brute_force():
    capture = film(TORUS, views=6)
    caster, normals = RayCaster(TORUS), vertex_normals(TORUS)
    for frame in capture.frames:
        seen, uv = visible_vertices(caster, normals, frame, frame.mask)
        eye = inverse_rigid(frame.cam_T_world)[:3, 3]
        nearest, length = first_intersections(TORUS, eye, TORUS.vertices.copy())
        free = nearest >= length - 0.01 * TORUS.diameter
        to_eye = (eye - TORUS.vertices) / length[:, None]
        cosine = (normals * to_eye).sum(1)
        pixel = project(frame.camera.K, transform(frame.cam_T_world, TORUS.vertices))
        column, row = np.rint(pixel).astype(int).T
        expected = np.flatnonzero(free & (cosine > 0.1) & frame.mask[row, column])
        assert 0.2 * len(TORUS.vertices) < len(expected) < 0.5 * len(TORUS.vertices)
        np.testing.assert_array_equal(seen, expected)
        np.testing.assert_allclose(uv, pixel[seen])


def test_vertices_outside_image_or_mask_are_not_seen():
    capture = film(TORUS, views=4, distance=2.2)
    caster, normals = RayCaster(TORUS), vertex_normals(TORUS)
    frame = capture.frames[0]
    half = frame.mask.copy()
    half[:, :48] = False
    seen, uv = visible_vertices(caster, normals, frame, half)
    assert len(seen) and (uv[:, 0] >= 47.5).all() and (uv < 95.5).all() and (uv > -0.5).all()


def test_vertices_behind_the_camera_are_not_seen():
    inside = film(TORUS, views=4, distance=0.3)
    caster, normals = RayCaster(TORUS), vertex_normals(TORUS)
    for frame in inside.frames:
        seen, uv = visible_vertices(caster, normals, frame, np.ones((96, 96), bool))
        depth = transform(frame.cam_T_world, TORUS.vertices)[:, 2]
        assert (depth[seen] > 0).all() and np.isfinite(uv).all()


def test_features_are_sampled_at_the_right_place_of_the_grid():
    """Less than a tenth of a cell between where a feature comes from and where the vertex is in the crop."""
    capture, some = film(TORUS, views=5), settings()
    pixels = some.cells * 8
    for frame, (seen, features) in zip(
        capture.frames, vertex_observations(capture, TORUS, Position(), some), strict=True
    ):
        crop = Crop.around(frame.camera, mask_box(frame.mask), pixels, some.margin)
        expected = crop.to_crop(project(frame.camera.K, transform(frame.cam_T_world, TORUS.vertices[seen])))
        found = features[:, :2] / features[:, 2:] * 99
        assert np.abs(found - expected).max() < 0.01


@pytest.mark.parametrize("cells", [8, 14, 28])
def test_features_show_the_pixels_of_the_vertex(cells):
    """End to end through crop, backbone and grid: the colour at a vertex tells its pixel in the full image."""
    camera = square_camera(160)
    capture, some = film(TORUS, views=3, camera=camera), settings(cells=cells)
    observed = vertex_observations(capture, TORUS, MeanColour(), some)
    for frame, (seen, features) in zip(capture.frames, observed, strict=True):
        pixel = project(camera.K, transform(frame.cam_T_world, TORUS.vertices[seen]))
        found = features[:, :2] / features[:, 2:] * (camera.width - 1)
        cell = camera.K[0, 0] / Crop.around(frame.camera, mask_box(frame.mask), 1, some.margin).focal / cells
        assert np.abs((found - pixel).mean(0)).max() < 0.1 * cell
        assert np.abs(found - pixel).max() < max(0.1 * cell, 0.6)  # 0.6: half a grey value


def test_frames_without_mask_pixels_are_skipped():
    capture = film(TORUS, views=10)
    frames = list(capture.frames)
    frames[3] = dataclasses.replace(frames[3], mask_source=np.zeros((96, 96), bool))
    observed = list(vertex_observations(Capture("x", tuple(frames)), TORUS, Position(), settings()))
    assert len(observed) == 9


@pytest.fixture(scope="module")
def painted():
    mesh = sphere(subdivisions=3)
    captures = [
        film(
            mesh,
            20,
            square_camera(64),
            paint=normal_image(mesh),
            name=name,
            world_T_mesh=random_sim3(np.random.default_rng(i)),
        )
        for i, name in enumerate(("one", "two"))
    ]
    meshes = [mesh.transformed(random_sim3(np.random.default_rng(i))) for i in range(2)]
    some = settings(views_per_vertex=4, components=16)
    return captures, meshes, some, fit_basis(captures, meshes, load_backbone("hog"), some)


def test_stored_surface(painted):
    captures, meshes, some, basis = painted
    surface = build_surface(captures[0], meshes[0], load_backbone("hog"), basis, some)
    V = len(meshes[0].vertices)
    assert surface.features.shape == (V, 4, 16) and surface.features.dtype == np.float16
    assert surface.valid.shape == (V, 4) and surface.valid.any(1).mean() > 0.8
    norms = np.linalg.norm(surface.features.astype(float), axis=2)
    np.testing.assert_allclose(norms[surface.valid], 1, atol=2e-3)
    assert not norms[~surface.valid].any()
    np.testing.assert_array_equal(surface.valid.sum(1), np.minimum(surface.visible_views, 4))
    assert surface.visible_views.max() > 4


def test_kept_views_are_spread_over_all_views(painted):
    """With one feature per frame that tells the frame, the kept ones are the evenly spread frames, in order."""
    captures, meshes, some, _ = painted
    capture, mesh = captures[0], meshes[0]
    order = [seen for seen, _ in vertex_observations(capture, mesh, Position(), some)]

    class FrameNumber(Position):
        def __init__(self):
            self.next = 0

        def __call__(self, images):
            B, _, H, W = images.shape
            angle = (self.next + torch.arange(B)) / 20
            self.next += B
            grid = torch.stack([angle.cos(), angle.sin(), torch.zeros(B)], 1)
            return grid[:, :, None, None].expand(B, 3, H // 8, W // 8)

    surface = build_surface(capture, mesh, FrameNumber(), FeatureBasis(np.zeros(3), np.eye(3)), some)
    for vertex in range(0, len(mesh.vertices), 37):
        shown = np.array([i for i, seen in enumerate(order) if vertex in seen])
        kept = surface.features[vertex][surface.valid[vertex]].astype(float)
        frames = np.round(np.arctan2(kept[:, 1], kept[:, 0]) * 20).astype(int)
        assert set(frames) <= set(shown) and len(set(frames)) == len(frames) == min(4, len(shown))
        if len(shown) > 4:
            positions = np.searchsorted(shown, np.sort(frames)) / len(shown)
            np.testing.assert_allclose(positions, np.arange(4) / 4, atol=1 / len(shown))


def test_basis_whitens(painted):
    captures, meshes, some, basis = painted
    rows = [
        f
        for c, m in zip(captures, meshes, strict=True)
        for _, f in vertex_observations(c, m, load_backbone("hog"), some)
    ]
    projected = (np.concatenate(rows) - basis.mean) @ basis.weights
    np.testing.assert_allclose(projected.mean(0), 0, atol=0.2)  # it was fitted on every other frame
    np.testing.assert_allclose(np.cov(projected.T), np.eye(16), atol=0.25)
    np.testing.assert_allclose(np.linalg.norm(basis.apply(np.concatenate(rows)), axis=1), 1, rtol=1e-5)


def test_basis_is_no_larger_than_the_features():
    capture = film(TORUS, 4, square_camera(48))
    basis = fit_basis([capture], [TORUS], MeanColour(), settings(components=64))
    assert basis.weights.shape == (3, 3)


def test_a_surface_takes_little_memory():
    """At default settings, a tenth of the 50 MB that storing every view in single precision takes."""
    default = SurfaceSettings()
    mesh = potato(3)
    assert len(mesh.vertices) > default.vertices
    capture = film(mesh, 12, square_camera(64), paint=normal_image(mesh))
    backbone = load_backbone("hog")
    surface = build_surface(capture, mesh, backbone, fit_basis([capture], [mesh], backbone, default), default)
    assert surface.features.shape[1:] == (default.views_per_vertex, default.components)
    arrays = [surface.features, surface.valid, surface.visible_views, mesh.vertices, mesh.faces]
    assert sum(array.nbytes for array in arrays) < 5e6


def test_images_that_do_not_show_the_mesh():
    """The mesh is elsewhere than the masks say."""
    capture = film(sphere(0.3, 2), 6, distance=4)
    elsewhere = sphere(0.3, 2, (1.5, 0, 0))
    assert not (rendered_mask(elsewhere, capture.frames[1]) & capture.frames[1].mask).any()
    with pytest.raises(ValueError, match=r"capture thing: only \d+% of the surface is seen in any image"):
        build_surface(capture, elsewhere, MeanColour(), FeatureBasis(np.zeros(3), np.eye(3)), settings())


def tilt_deg(up, true=(0, 0, 1)):
    return float(np.rad2deg(np.arccos(np.clip(up @ np.asarray(true), -1, 1))))


def part(capture, *frames):
    return Capture(capture.name, frames)


def test_up_of_cameras_all_around():
    gauge = random_sim3(np.random.default_rng(0))
    assert tilt_deg(upward(film(TORUS, 12, world_T_mesh=gauge)), gauge.R[:, 2]) < 0.01


@pytest.mark.parametrize(("views", "limit"), [(12, 0.5), (6, 1.5), (4, 4)])
def test_up_needs_no_full_ring(views, limit):
    """Cameras that look down from one side: the mean of the images' up leans towards the middle one."""
    capture = film(TORUS, 24)
    frames = capture.frames[:views]
    mean = -np.mean([frame.cam_T_world[1, :3] for frame in frames], axis=0)
    assert tilt_deg(upward(part(capture, *frames))) < limit < tilt_deg(mean / np.linalg.norm(mean))


def test_up_of_cameras_that_look_the_same_way():
    """Nothing tells how far they look down: up is that of the images."""
    frames = film(TORUS, 24).frames
    up = upward(part(film(TORUS, 24), frames[0], frames[0]))
    np.testing.assert_allclose(up, -frames[0].cam_T_world[1, :3], atol=1e-6)


def test_rolled_views_do_not_tilt_up():
    """Two of twelve were taken with the phone on its side."""
    capture = film(TORUS, 12)
    roll = rigid(np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]]), np.zeros(3))
    frames = [
        Frame(f.name, f.camera, f.image, roll @ f.cam_T_world if i in (3, 8) else f.cam_T_world, f.mask)
        for i, f in enumerate(capture.frames)
    ]
    assert tilt_deg(upward(part(capture, *frames))) < 1.5


def test_measured_up_comes_before_what_cameras_tell():
    capture = film(TORUS, 12)
    assert upward(Capture("thing", capture.frames, None, [0, 0.6, 0.8])).tolist() == [0, 0.6, 0.8]


def test_coordinate_image_is_what_the_tests_think():
    image = coordinate_image(square_camera(11))
    assert image[3, 10].tolist() == [250, 75, 250]
