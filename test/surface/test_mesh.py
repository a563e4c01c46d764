"""Visual hulls of known shapes: silhouettes, robustness, concavities from points, and errors."""

from dataclasses import replace

import numpy as np
import pytest
from scenes import bowl, box, film, mask_iou, potato, random_sim3, sphere, square_camera, to_trimesh, torus

from uop3d_core.capture.synthetic import make_mug
from uop3d_core.config import SurfaceSettings
from uop3d_core.geometry import inverse_rigid
from uop3d_core.raycast import RayCaster
from uop3d_core.surface.mesh import coarse_mesh, usable_masks
from uop3d_core.types import Capture, Mesh, Sim3

QUICK = SurfaceSettings(resolution=48)


def changed(capture: Capture, masks: dict[int, np.ndarray]) -> Capture:
    """The capture with some masks replaced."""
    frames = [replace(f, mask_source=masks.get(i, f.mask_source)) for i, f in enumerate(capture.frames)]
    return Capture(capture.name, tuple(frames), capture.points)


def assert_closed(mesh: Mesh) -> None:
    solid = to_trimesh(mesh)
    assert solid.is_watertight and solid.is_winding_consistent and solid.body_count == 1 and solid.volume > 0


def surface_points(mesh: Mesh, count: int, noise: float = 0.0) -> np.ndarray:
    points = to_trimesh(mesh).sample(count, seed=0)
    return np.asarray(points) + noise * np.random.default_rng(0).normal(size=(count, 3))


@pytest.fixture(scope="module")
def potato_capture():
    return film(potato(), views=36, camera=square_camera(64))


@pytest.mark.parametrize("shape", [sphere(subdivisions=3), box((1, 1.5, 0.7)), potato()])
def test_convex_and_smooth_shapes(shape):
    capture = film(shape, views=16)
    mesh = coarse_mesh(capture, QUICK)
    assert_closed(mesh)
    assert mask_iou(mesh, capture).min() > 0.9 and mask_iou(mesh, capture).mean() > 0.95
    assert 0.95 < to_trimesh(mesh).volume / to_trimesh(shape).volume < 1.25  # no view from above cuts off the corners
    assert 350 <= len(mesh.vertices) <= 575


def test_the_hole_of_a_torus_is_seen():
    capture = film(torus(), views=16)
    mesh = coarse_mesh(capture, QUICK)
    assert_closed(mesh)
    assert to_trimesh(mesh).euler_number == 0 and mask_iou(mesh, capture).min() > 0.9


def test_mug():
    mug = make_mug(0, views=16, pixels=96, clutter=False)
    mesh = coarse_mesh(mug.capture, QUICK)
    assert_closed(mesh)
    assert mask_iou(mesh, mug.capture).mean() > 0.9
    assert mesh.transformed(mug.canonical_T_world).diameter == pytest.approx(1, rel=0.2)


def test_the_gauge_of_the_world_does_not_matter():
    gauge = random_sim3(np.random.default_rng(3))
    capture = film(potato(), views=12, camera=square_camera(64), world_T_mesh=gauge)
    mesh = coarse_mesh(capture, QUICK).transformed(gauge.inverse())
    assert to_trimesh(mesh).volume == pytest.approx(to_trimesh(potato()).volume, rel=0.12)


@pytest.mark.parametrize("unit", [0.001, 1000])
def test_the_unit_of_the_world_does_not_matter(unit):
    capture = film(potato(), 12, square_camera(64), world_T_mesh=Sim3(unit, np.eye(3), unit * np.array([40, 30, -20])))
    mesh = coarse_mesh(capture, QUICK)
    assert 350 <= len(mesh.vertices) <= 575 and mask_iou(mesh, capture).min() > 0.88


def test_one_mask_of_something_else(potato_capture):
    """A mask that misses most of the object must not carve it away."""
    wrong = np.zeros((64, 64), bool)
    wrong[:8, :8] = True
    mesh = coarse_mesh(changed(potato_capture, {5: wrong}), QUICK)
    assert np.delete(mask_iou(mesh, potato_capture), 5).min() > 0.88


def test_one_mask_of_everything(potato_capture):
    mesh = coarse_mesh(changed(potato_capture, {5: np.ones((64, 64), bool)}), QUICK)
    assert mask_iou(mesh, potato_capture).min() > 0.88


def test_empty_masks_are_left_out(potato_capture):
    empty = np.zeros((64, 64), bool)
    capture = changed(potato_capture, {0: empty, 7: empty})
    assert len(usable_masks(capture)[0]) == 34
    assert mask_iou(coarse_mesh(capture, QUICK), potato_capture).min() > 0.88


def test_all_masks_empty(potato_capture):
    capture = changed(potato_capture, {i: np.zeros((64, 64), bool) for i in range(36)})
    with pytest.raises(ValueError, match=r"capture thing: only 0 of 36 masks show the object, at least 3 are needed"):
        coarse_mesh(capture, QUICK)


def test_too_few_masks(potato_capture):
    with pytest.raises(ValueError, match="only 2 of 2 masks"):
        coarse_mesh(Capture("thing", potato_capture.frames[:2]), QUICK)


def test_missing_mask_is_an_error(potato_capture):
    frames = (replace(potato_capture.frames[0], mask_source=None), *potato_capture.frames[1:])
    with pytest.raises(ValueError, match="frame 000 has no mask"):
        coarse_mesh(Capture("thing", frames), QUICK)


def test_cameras_that_contradict_each_other():
    """Every camera is in a world of its own."""
    frames = []
    for index in range(12):
        gauge = random_sim3(np.random.default_rng(index))
        frames.append(film(potato(), 12, square_camera(64), world_T_mesh=replace(gauge, t=5 * gauge.t)).frames[index])
    with pytest.raises(ValueError, match="capture mixed: .*common volume.*Check that masks belong to their frames"):
        coarse_mesh(Capture("mixed", tuple(frames)), QUICK)


def test_inverted_cameras():
    """world_T_cam given for cam_T_world."""
    gauge = random_sim3(np.random.default_rng(0))
    capture = film(potato(), 20, square_camera(64), world_T_mesh=gauge)
    inverted = [replace(frame, cam_T_world=inverse_rigid(frame.cam_T_world)) for frame in capture.frames]
    with pytest.raises(ValueError, match="Check that masks belong to their frames and that the camera poses are right"):
        coarse_mesh(Capture("thing", tuple(inverted)), QUICK)


def test_masks_in_the_wrong_order():
    off_centre = film(potato().transformed(Sim3(1, np.eye(3), [1.2, 0, 0.3])), 40, square_camera(64), distance=9)
    masks = {i: frame.mask for i, frame in enumerate(off_centre.frames[::-1])}
    with pytest.raises(ValueError, match="Check that masks belong to their frames"):
        coarse_mesh(changed(off_centre, masks), QUICK)


def test_object_that_leaves_some_images():
    """Close-ups cut the object at the border; what they do not show, they must not carve."""
    camera = square_camera(64)
    near, far = film(potato(), 12, camera, distance=2.6), film(potato(), 12, camera, distance=6)
    both = Capture("near_and_far", near.frames + far.frames)
    assert any(f.mask[0].any() or f.mask[-1].any() or f.mask[:, 0].any() or f.mask[:, -1].any() for f in near.frames)
    assert mask_iou(coarse_mesh(both, QUICK), both).min() > 0.85


def test_points_add_the_concavity_of_a_bowl():
    shape = bowl(wall=0.2)
    in_the_hollow = np.array([[0, 0, -0.4]])
    assert not RayCaster(shape).contains(in_the_hollow).any()
    side_views = film(shape, views=14, camera=square_camera(64))
    hull = coarse_mesh(side_views, QUICK)
    with_points = coarse_mesh(replace(side_views, points=surface_points(shape, 4000, 0.005)), QUICK)
    assert_closed(with_points)
    assert RayCaster(hull).contains(in_the_hollow).all()
    assert not RayCaster(with_points).contains(in_the_hollow).any()
    true_volume = to_trimesh(shape).volume
    assert to_trimesh(with_points).volume == pytest.approx(true_volume, rel=0.3)
    assert to_trimesh(hull).volume > 1.8 * true_volume
    assert mask_iou(with_points, side_views).min() > 0.85


def test_stray_points_and_points_on_the_table_are_harmless(potato_capture):
    rng = np.random.default_rng(0)
    strays = rng.uniform(-4, 4, (2000, 3))
    table = np.column_stack([rng.uniform(-4, 4, (2000, 2)), np.full(2000, -1.5)])
    points = np.concatenate([surface_points(potato(), 2000), strays, table])
    mesh = coarse_mesh(replace(potato_capture, points=points), QUICK)
    assert_closed(mesh)
    assert mask_iou(mesh, potato_capture).mean() > 0.88


def test_a_few_points_change_nothing(potato_capture):
    plain = coarse_mesh(potato_capture, QUICK)
    with_few = coarse_mesh(replace(potato_capture, points=surface_points(potato(), 50)), QUICK)
    np.testing.assert_array_equal(with_few.vertices, plain.vertices)
