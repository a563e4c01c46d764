"""Signed distance grids of known shapes, and closed meshes out of them."""

import numpy as np
import pytest
from scenes import box, potato, sphere, to_trimesh, torus

from uop3d_core.types import Mesh, Sim3
from uop3d_core.volume import Grid, Lattice, extract_mesh, signed_distance


def grid_of(function, low=-1.5, high=1.5, resolution=48):
    """Grid of a function of (..., 3) points over a cube."""
    lattice = Lattice.over(np.full(3, low), np.full(3, high), resolution)
    return Grid(lattice, function(lattice.points).astype(np.float32))


def ball(radius, centre=(0, 0, 0)):
    return lambda points: np.linalg.norm(points - np.array(centre), axis=-1) - radius


def ring(major, minor):
    return lambda p: np.hypot(np.hypot(p[..., 0], p[..., 1]) - major, p[..., 2]) - minor


def assert_closed(mesh, genus=0):
    solid = to_trimesh(mesh)
    assert solid.is_watertight and solid.is_winding_consistent and solid.body_count == 1 and solid.volume > 0
    assert solid.euler_number == 2 - 2 * genus
    return solid


def test_lattice_covers_the_box():
    low, high = np.array([1.0, 2, 3]), np.array([2.0, 4.5, 3.7])
    lattice = Lattice.over(low, high, 26)
    assert lattice.spacing == pytest.approx(0.1) and lattice.shape == (11, 26, 8)
    assert lattice.points.shape == (11, 26, 8, 3)
    np.testing.assert_allclose(lattice.points[0, 0, 0], lattice.origin)
    np.testing.assert_allclose(lattice.points[3, 2, 1], lattice.origin + [0.3, 0.2, 0.1])
    assert (lattice.points[0, 0, 0] <= low + 1e-9).all() and (lattice.points[-1, -1, -1] >= high - 1e-9).all()
    np.testing.assert_allclose((lattice.points[0, 0, 0] + lattice.points[-1, -1, -1]) / 2, (low + high) / 2)


def test_samples_are_trilinear():
    grid = grid_of(lambda p: 2 * p[..., 0] - p[..., 1] + 3 * p[..., 2], resolution=10)
    points = np.random.default_rng(0).uniform(-1.5, 1.5, (50, 3))
    np.testing.assert_allclose(grid.sample(points), points @ [2, -1, 3], atol=1e-5)


def test_samples_outside_grow_with_the_distance():
    grid = grid_of(ball(0.5))
    np.testing.assert_allclose(grid.sample(np.array([[4.0, 0, 0]])), 3.5, atol=1e-3)
    np.testing.assert_allclose(grid.sample(np.array([[0, 1.5, 0]])), 1.0, atol=1e-3)


@pytest.mark.parametrize("gauge", [Sim3.identity(), Sim3(0.01, np.eye(3), np.array([5.0, 3, -2]))])
def test_signed_distance_of_a_sphere(gauge):
    radius = 1.0
    grid = signed_distance(sphere(radius, 4).transformed(gauge), 32)
    expected = ball(radius)(gauge.inverse().apply(grid.lattice.points))
    error = np.abs(grid.values / gauge.scale - expected)
    assert error.max() < 0.02 * 2 * np.sqrt(3) and error.mean() < 0.005  # the mesh itself is 0.002 smaller
    assert grid.values.dtype == np.float32 and (grid.values < 0).any()


def test_signed_distance_of_a_box():
    half = np.array([0.5, 0.8, 0.3])
    solid = to_trimesh(box(2 * half)).subdivide().subdivide().subdivide()  # triangles as small as a capture's
    grid = signed_distance(Mesh(solid.vertices, solid.faces), 40)
    q = np.abs(grid.lattice.points) - half
    expected = np.linalg.norm(np.maximum(q, 0), axis=-1) + np.minimum(q.max(-1), 0)
    error = np.abs(grid.values - expected)
    assert error.max() < 0.06 and error.mean() < 0.0015 and np.quantile(error, 0.99) < 0.02


def test_margin_of_the_grid():
    mesh = box((1, 2, 2))  # diagonal 3
    low = signed_distance(mesh, 20, margin=0.25).lattice.origin
    assert (low <= np.array([-0.5, -1, -1]) - 0.75 + 1e-9).all()


def test_nearest_positions_on_a_lattice():
    lattice = Lattice.over(np.zeros(3), np.array([1.0, 0.8, 0.6]), 12)
    positions = np.random.default_rng(0).uniform(0, 0.6, (40, 3))
    chosen = np.linalg.norm(positions[lattice.nearest(positions)] - lattice.points, axis=-1)
    distances = np.linalg.norm(positions - lattice.points[..., None, :], axis=-1).min(-1)
    assert (chosen - distances).max() < np.sqrt(3) * lattice.spacing and (chosen == distances).mean() > 0.6
    assert lattice.nearest(positions[:1]).max() == 0  # one position is everybody's nearest


def distances_of(points, mesh):
    return np.abs(signed_distance(mesh, 64).sample(points))


def test_distances_of_points_from_a_torus():
    mesh = torus(1.0, 0.4, 96, 48)
    points = np.random.default_rng(0).uniform(-1, 1, (500, 3)) * [1.4, 1.4, 0.4]
    assert np.abs(distances_of(points, mesh) - np.abs(ring(1.0, 0.4)(points))).max() < 0.04


@pytest.mark.parametrize("vertices", [100, 500, 1500])
def test_extracted_sphere(vertices):
    mesh = extract_mesh(grid_of(ball(1.0)), vertices)
    solid = assert_closed(mesh)
    assert solid.volume == pytest.approx(4 / 3 * np.pi, rel=0.05)
    assert 0.75 * vertices <= len(mesh.vertices) <= 1.15 * vertices
    assert np.abs(np.linalg.norm(mesh.vertices, axis=1) - 1).max() < 0.05


@pytest.mark.parametrize("unit", [1e-3, 1e3])
def test_the_unit_does_not_matter(unit):
    grid = grid_of(ball(1.0))
    lattice = Lattice(unit * (grid.lattice.origin + 50), unit * grid.lattice.spacing, grid.lattice.shape)
    mesh, plain = extract_mesh(Grid(lattice, unit * grid.values), 500), extract_mesh(grid, 500)
    assert len(mesh.vertices) == len(plain.vertices)
    assert np.abs(np.linalg.norm(mesh.vertices / unit - 50, axis=1) - 1).max() < 0.05


def test_a_coarse_surface_is_not_subdivided():
    mesh = extract_mesh(grid_of(ball(0.2), resolution=16), 5000)
    assert_closed(mesh)
    assert len(mesh.vertices) < 500


def test_only_the_largest_body_is_kept():
    large, small = ball(0.6, (-0.7, 0, 0)), ball(0.3, (0.9, 0, 0))
    mesh = extract_mesh(grid_of(lambda p: np.minimum(large(p), small(p))), 300)
    assert_closed(mesh)
    assert mesh.vertices[:, 0].max() < 0


def test_torus_keeps_its_hole():
    solid = assert_closed(extract_mesh(grid_of(ring(1.0, 0.35)), 500), genus=1)
    assert solid.volume == pytest.approx(2 * np.pi**2 * 0.35**2, rel=0.05)


def test_a_body_that_touches_the_border_is_closed():
    solid = assert_closed(extract_mesh(grid_of(ball(1.6), -1, 1), 500))
    assert solid.volume == pytest.approx(8, rel=0.15)


def test_mesh_to_grid_and_back():
    original = potato()
    mesh = extract_mesh(signed_distance(original, 64), 600)
    assert_closed(mesh)
    assert to_trimesh(mesh).volume == pytest.approx(to_trimesh(original).volume, rel=0.03)
    assert distances_of(mesh.vertices, original).mean() < 0.005 * original.diameter


def test_empty_volume():
    with pytest.raises(ValueError, match="the volume is empty"):
        extract_mesh(grid_of(lambda p: np.ones(p.shape[:-1])), 500)


def test_full_volume_is_a_block():
    assert_closed(extract_mesh(grid_of(lambda p: -np.ones(p.shape[:-1]), resolution=12), 200))


def test_noise_still_gives_a_closed_mesh():
    noise = 0.08 * np.random.default_rng(0).normal(size=(40, 40, 40))
    mesh = extract_mesh(grid_of(lambda p: ball(1.0)(p) + noise, resolution=40), 500)
    solid = to_trimesh(mesh)
    assert solid.is_watertight and solid.volume == pytest.approx(4 / 3 * np.pi, rel=0.2)
