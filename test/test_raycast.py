"""Ray casting against shapes whose answers are known in closed form."""

import numpy as np
import pytest
from scenes import box, first_intersections, look_at, rays_of, sphere, square_camera, to_trimesh, torus

from uop3d_core.cameras import pixels_of
from uop3d_core.geometry import inverse_rigid, pixel_rays, random_rotations, rigid, transform
from uop3d_core.raycast import RayCaster, vertex_normals
from uop3d_core.types import Camera, Mesh, Sim3

CAMERA = square_camera(64)
AWAY = Sim3(0.02, np.eye(3), np.array([300.0, -200.0, 100.0]))  # a small thing far from the origin


def test_depth_of_a_sphere():
    centre, radius = np.array([0.3, -0.2, 6.0]), 1.1
    hits = RayCaster(sphere(radius, 5, centre)).render(CAMERA, np.eye(4))
    rays = rays_of(CAMERA)
    a, b, c = (rays**2).sum(1), rays @ centre, centre @ centre - radius**2
    discriminant = b**2 - a * c
    clear = np.abs(discriminant) > 0.3  # away from the outline
    np.testing.assert_array_equal(hits.mask[clear], discriminant[clear] > 0)
    both = clear & hits.mask
    assert both.sum() > 100
    np.testing.assert_allclose(hits.t[both], (b - np.sqrt(np.maximum(discriminant, 0)))[both] / a[both], atol=2e-3)
    assert np.isinf(hits.t[~hits.mask]).all() and (hits.face[~hits.mask] == -1).all()


def test_depth_of_a_box_in_front():
    hits = RayCaster(box((2, 1, 1), (0, 0, 4.5))).render(CAMERA, np.eye(4))
    at_front = rays_of(CAMERA) * 4
    expected = (np.abs(at_front[:, 0]) < 1) & (np.abs(at_front[:, 1]) < 0.5)
    np.testing.assert_array_equal(hits.mask, expected)
    np.testing.assert_allclose(hits.t[hits.mask], 4, rtol=1e-6)


def test_depth_does_not_depend_on_the_frame_of_the_mesh():
    """A mesh that is moved and turned together with the camera, also far from the origin."""
    mesh = torus()
    cam_T_mesh = look_at((2.5, 1.5, 2))
    expected = RayCaster(mesh).render(CAMERA, cam_T_mesh)
    R = random_rotations(1, np.random.default_rng(0))[0]
    t = np.array([50.0, -20, 30])
    moved = RayCaster(mesh.transformed(Sim3(1, R, t))).render(CAMERA, cam_T_mesh @ inverse_rigid(rigid(R, t)))
    assert (moved.mask == expected.mask).mean() > 0.999
    both = moved.mask & expected.mask
    assert np.median(np.abs(moved.t[both] - expected.t[both])) < 1e-5


def test_small_things_far_from_the_origin():
    mesh, eye = sphere(), np.array([0, 0, -6.0])
    caster, far = RayCaster(mesh), RayCaster(mesh.transformed(AWAY))
    directions = rays_of(CAMERA)
    near, away = caster.first_hits(eye, directions), far.first_hits(AWAY.apply(eye), directions)
    assert (near.mask == away.mask).mean() > 0.999
    both = near.mask & away.mask
    np.testing.assert_allclose(away.t[both], AWAY.scale * near.t[both], rtol=1e-3)


def test_points_lie_on_the_rays_and_barycentric_weights_add_up():
    mesh = torus()
    caster, cam_T_mesh = RayCaster(mesh), look_at((2.5, 1.5, 2))
    hits = caster.render(CAMERA, cam_T_mesh)
    expected = transform(inverse_rigid(cam_T_mesh), rays_of(CAMERA)[hits.mask] * hits.t[hits.mask, None])
    np.testing.assert_allclose(caster.points(hits)[hits.mask], expected, atol=1e-5)
    np.testing.assert_allclose(hits.barycentric[hits.mask].sum(1), 1)
    assert hits.barycentric[hits.mask].min() > -1e-5


def test_barycentric_weights_belong_to_their_corners():
    triangle = Mesh(np.array([[0, 0, 2], [4, 0, 2], [0, 4, 2.0]]), np.array([[0, 1, 2]]))
    hits = RayCaster(triangle).first_hits(np.array([1.0, 2.0, 0]), np.array([[0, 0, 1.0]]))
    np.testing.assert_allclose(hits.barycentric, [[0.25, 0.25, 0.5]], atol=1e-6)
    np.testing.assert_allclose(hits.t, [2], rtol=1e-6)


def test_rays_of_single_pixels_are_those_of_the_picture():
    caster, cam_T_mesh = RayCaster(sphere()), look_at((3, 2, 1))
    picture = caster.render(CAMERA, cam_T_mesh)
    pixels = np.array([[20, 30], [33, 31], [0, 0]])
    single = caster.first_hits_of_rays(pixel_rays(CAMERA.K, pixels), cam_T_mesh)
    index = pixels[:, 1] * CAMERA.width + pixels[:, 0]
    np.testing.assert_array_equal(single.face, picture.face[index])


@pytest.mark.parametrize("lens", [("brown", [-0.3, 0.1, 0.001, -0.002]), ("fisheye", [0.05, 0.01, 0.0, 0.0])])
def test_pictures_through_a_lens(lens: tuple[str, list[float]]):
    camera = Camera(CAMERA.K, CAMERA.width, CAMERA.height, *lens)
    caster, cam_T_mesh = RayCaster(sphere()), look_at((3, 2, 1))
    hits = caster.render(camera, cam_T_mesh)
    assert not np.array_equal(hits.mask, caster.render(CAMERA, cam_T_mesh).mask)
    ys, xs = np.divmod(np.flatnonzero(hits.mask), camera.width)
    found = pixels_of(camera, transform(cam_T_mesh, caster.points(hits)[hits.mask]))
    np.testing.assert_allclose(found, np.stack([xs, ys], -1), atol=0.2)


def test_rays_that_there_are_not_hit_nothing():
    rays = np.array([[0, 0, 1.0], [np.nan, np.nan, 1.0]])
    hits = RayCaster(sphere()).first_hits_of_rays(rays, look_at((3, 2, 1)))
    np.testing.assert_array_equal(hits.mask, [True, False])
    assert np.isfinite(hits.t[0]) and np.isinf(hits.t[1])


def test_origins_broadcast_or_not():
    caster = RayCaster(box((2, 2, 2)))
    directions = np.array([[0, 0, -1.0], [0, 0, -2.0]])
    np.testing.assert_allclose(caster.first_hits(np.array([0.1, 0.2, 5]), directions).t, [4, 2], rtol=1e-6)
    origins = np.array([[0.1, 0.2, 5], [0.1, 0.2, 9]])
    np.testing.assert_allclose(caster.first_hits(origins, directions).t, [4, 4], rtol=1e-6)


def test_contains_box():
    points = np.random.default_rng(0).uniform(-1, 1, (20_000, 3))
    extents = np.array([1.0, 1.4, 0.6])
    inside = (np.abs(points) < extents / 2).all(1)
    np.testing.assert_array_equal(RayCaster(box(extents)).contains(points), inside)


@pytest.mark.parametrize("gauge", [Sim3.identity(), AWAY])
def test_contains_torus(gauge):
    mesh = torus(1.0, 0.4, 96, 48)
    points = np.random.default_rng(1).uniform([-1.5, -1.5, -0.5], [1.5, 1.5, 0.5], (20_000, 3))
    away = np.hypot(np.hypot(points[:, 0], points[:, 1]) - 1, points[:, 2]) - 0.4
    clear = np.abs(away) > 0.01
    found = RayCaster(mesh.transformed(gauge)).contains(gauge.apply(points))
    np.testing.assert_array_equal(found[clear], away[clear] < 0)


def test_contains_sphere_of_many_faces():
    """Of so many rays some graze the surface."""
    points = np.random.default_rng(2).uniform(-1.4, 1.4, (200_000, 3))
    radius = np.linalg.norm(points, axis=1)
    clear = np.abs(radius - 1) > 0.003
    found = RayCaster(sphere(1, 4)).contains(points)
    np.testing.assert_array_equal(found[clear], radius[clear] < 1)


def test_visible_on_a_box():
    mesh = box((2, 2, 2))
    caster, eye = RayCaster(mesh), np.array([0.3, 0.1, 8.0])
    faces = np.array([[0.2, 0.4, 1.0], [0.2, 0.4, -1.0], [1.0, 0.2, 0.1], [0, 0, 5.0], [0, 0, -20.0]])
    in_front, behind, side, between, hidden = caster.visible(faces, eye, 0.01)
    assert in_front and between and not behind and not side and not hidden
    np.testing.assert_array_equal(caster.visible(mesh.vertices, eye, 0.01), mesh.vertices[:, 2] > 0)


def test_visible_tolerance_is_in_units_of_the_mesh():
    caster = RayCaster(box((2, 2, 2)).transformed(Sim3(100, np.eye(3), np.zeros(3))))
    below = np.array([[0, 0, 97.0]])  # three units under the top
    assert caster.visible(below, np.array([0, 0, 900.0]), 4).all()
    assert not caster.visible(below, np.array([0, 0, 900.0]), 2).any()


@pytest.mark.parametrize("mesh", [sphere(), torus(), box()])
def test_normals_point_outwards(mesh):
    step = 1e-3
    caster, normals = RayCaster(mesh), vertex_normals(mesh)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1)
    assert caster.contains(mesh.vertices - step * normals).all()
    assert not caster.contains(mesh.vertices + step * normals).any()
    np.testing.assert_allclose(caster.face_normals, to_trimesh(mesh).face_normals, atol=1e-9)


def test_normals_of_a_sphere():
    mesh = sphere()
    np.testing.assert_allclose(vertex_normals(mesh), mesh.vertices, atol=6e-3)


def test_normals_are_weighted_by_area():
    """Three unequal triangles meet at the origin; the largest has most to say."""
    mesh = from_corner(2.0)
    expected = np.array([1.0, 1.0, 0.5])  # cross products of (0,1,0)x(0,0,2), (0,0,2)x(1,0,0), (1,0,0)x(0,1,0), halved
    np.testing.assert_allclose(vertex_normals(mesh)[0], expected / np.linalg.norm(expected))


def from_corner(height: float) -> Mesh:
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, height]])
    return Mesh(vertices, np.array([[0, 2, 3], [0, 3, 1], [0, 1, 2]]))


def test_degenerate_faces_do_no_harm():
    mesh = sphere()
    faces = np.concatenate([mesh.faces, [[0, 0, 1], [2, 2, 2]]])
    caster = RayCaster(Mesh(mesh.vertices, faces))
    assert np.isfinite(caster.face_normals).all() and np.isfinite(vertex_normals(caster.mesh)).all()
    assert caster.contains(np.zeros((1, 3))).all()


def test_agrees_with_brute_force():
    mesh = torus(around=24, across=12)
    eye, targets = np.array([1.9, 0.7, 1.1]), np.random.default_rng(3).uniform(-1.2, 1.2, (400, 3))
    expected, length = first_intersections(mesh, eye, targets)
    hits = RayCaster(mesh).first_hits(eye, (targets - eye) / length[:, None])
    assert 100 < hits.mask.sum() < 400
    np.testing.assert_allclose(hits.t, expected, atol=1e-5)
