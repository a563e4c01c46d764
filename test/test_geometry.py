"""Geometry by properties: group axioms, inverses, exact fits, round trips."""

import numpy as np
import pytest
from hypothesis import given as given_many
from hypothesis import settings
from hypothesis import strategies as st
from scenes import random_sim3, rotations, similarities, vectors
from scipy.spatial.transform import Rotation
from scipy.stats import kstest

from uop3d_core.geometry import (
    closest_rotation,
    inverse_rigid,
    pixel_rays,
    project,
    random_rotations,
    rays_intersection,
    rigid,
    rigid_through_similarity,
    rotation_angle,
    rotation_error,
    transform,
    umeyama,
)
from uop3d_core.types import Sim3


def given(*strategies):
    """Each property on 40 examples."""
    return lambda test: settings(max_examples=40)(given_many(*strategies)(test))


seeds = st.integers(0, 2**32 - 1)
K = np.array([[210.0, 1.5, 64.2], [0, 190.0, 40.8], [0, 0, 1]])


def close(a: Sim3, b: Sim3, tolerance: float = 1e-9) -> bool:
    return np.allclose(a.matrix, b.matrix, rtol=tolerance, atol=tolerance)


@given(similarities, similarities, similarities)
def test_composition_is_associative(a, b, c):
    assert close((a @ b) @ c, a @ (b @ c), 1e-7)


@given(similarities)
def test_identity_and_inverse(T):
    identity = Sim3.identity()
    assert close(T @ identity, T) and close(identity @ T, T)
    assert close(T @ T.inverse(), identity) and close(T.inverse() @ T, identity)
    assert close(T.inverse().inverse(), T)


@given(similarities, similarities)
def test_inverse_of_a_product(a, b):
    assert close((a @ b).inverse(), b.inverse() @ a.inverse(), 1e-7)


@given(similarities, similarities, vectors)
def test_apply_follows_composition(a, b, x):
    np.testing.assert_allclose((a @ b).apply(x), a.apply(b.apply(x)), rtol=1e-9, atol=1e-8)


@given(similarities, vectors)
def test_matrix_round_trip(T, x):
    assert close(Sim3.from_matrix(T.matrix), T)
    np.testing.assert_allclose((T.matrix @ [*x, 1])[:3], T.apply(x), rtol=1e-9, atol=1e-9)


@given(similarities, similarities)
def test_matrix_of_a_product(a, b):
    np.testing.assert_allclose((a @ b).matrix, a.matrix @ b.matrix, rtol=1e-9, atol=1e-8)


def test_apply_keeps_leading_dimensions():
    T, x = random_sim3(np.random.default_rng(0)), np.random.default_rng(1).normal(size=(2, 5, 3))
    np.testing.assert_allclose(T.apply(x)[1, 3], T.apply(x[1, 3]))


@given(rotations, st.floats(0.1, 10))
def test_closest_rotation_undoes_scaling(R, scale):
    np.testing.assert_allclose(closest_rotation(scale * R), R, atol=1e-10)


@given(seeds)
def test_closest_rotation_is_a_rotation_and_the_nearest(seed):
    rng = np.random.default_rng(seed)
    M = rng.normal(size=(3, 3))
    R = closest_rotation(M)
    np.testing.assert_allclose(R @ R.T, np.eye(3), atol=1e-10)
    assert np.linalg.det(R) > 0
    others = random_rotations(50, rng)
    assert (np.linalg.norm(others - M, axis=(1, 2)) >= np.linalg.norm(R - M) - 1e-12).all()


def test_closest_rotation_of_a_mirror_and_of_a_batch():
    M = np.random.default_rng(0).normal(size=(4, 2, 3, 3))
    M[0, 0] = np.diag([1.0, 1.0, -1.0])
    R = closest_rotation(M)
    np.testing.assert_allclose(np.linalg.det(R), 1)
    np.testing.assert_allclose(R[3, 1], closest_rotation(M[3, 1]))


@given(vectors.filter(lambda v: np.linalg.norm(v) > 0.1), st.floats(0, np.pi))
def test_rotation_angle(axis, angle):
    R = Rotation.from_rotvec(angle * axis / np.linalg.norm(axis)).as_matrix()
    assert rotation_angle(R) == pytest.approx(angle, abs=1e-12)


@pytest.mark.parametrize("gap", [0.0, 1e-12, 1e-9, 1e-6])
def test_rotation_angle_near_the_ends(gap):
    axis = np.array([2, -3, 6]) / 7
    near_zero, near_pi = (Rotation.from_rotvec(a * axis).as_matrix() for a in (gap, np.pi - gap))
    assert rotation_angle(near_zero) == pytest.approx(gap, rel=1e-3, abs=1e-15)
    assert rotation_angle(near_pi) == pytest.approx(np.pi - gap, abs=1e-14)


@given(rotations, rotations, rotations)
def test_rotation_error_is_a_metric_that_gauges_do_not_change(a, b, gauge):
    error = rotation_error(a, b)
    assert error == pytest.approx(rotation_error(b, a), abs=1e-7)
    assert error == pytest.approx(rotation_error(gauge @ a, gauge @ b), abs=1e-7)
    assert error <= rotation_error(a, gauge) + rotation_error(gauge, b) + 1e-7


def test_rotation_error_broadcasts():
    R = random_rotations(4, np.random.default_rng(0))
    errors = rotation_error(R[:, None], R[None])
    assert errors.shape == (4, 4)
    np.testing.assert_allclose(np.diag(errors), 0, atol=1e-12)


@given(similarities, seeds)
def test_umeyama_is_exact(T, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(6, 3))
    found = Sim3(*umeyama(x, T.apply(x), rng.uniform(0.1, 1, 6)))
    np.testing.assert_allclose(found.apply(x), T.apply(x), rtol=1e-7, atol=1e-7)
    assert close(found, T, 1e-6)


def test_umeyama_weights():
    rng = np.random.default_rng(0)
    T, x = random_sim3(rng), rng.normal(size=(9, 3))
    y = T.apply(x)
    y[:3] += rng.normal(size=(3, 3))
    weights = np.array([0.0] * 3 + [1.0] * 6)
    assert close(Sim3(*umeyama(x, y, weights)), T)
    twice = umeyama(np.concatenate([x, x[:2]]), np.concatenate([y, y[:2]]))
    weighted = umeyama(x, y, np.array([2.0] * 2 + [1.0] * 7))
    assert close(Sim3(*twice), Sim3(*weighted))


def test_umeyama_is_the_least_squares_solution():
    rng = np.random.default_rng(1)
    x, T = rng.normal(size=(20, 3)), random_sim3(rng)
    y = T.apply(x) + 0.1 * rng.normal(size=(20, 3))
    best = Sim3(*umeyama(x, y))

    def cost(S):
        return ((S.apply(x) - y) ** 2).sum()

    for _ in range(100):
        small = Sim3(float(np.exp(0.01 * rng.normal())), Rotation.from_rotvec(0.01 * rng.normal(size=3)).as_matrix(), 0.01 * rng.normal(size=3))  # fmt: skip # noqa: E501
        assert cost(small @ best) >= cost(best)


def test_umeyama_batched():
    rng = np.random.default_rng(2)
    transforms = [[random_sim3(rng) for _ in range(3)] for _ in range(2)]
    x = rng.normal(size=(2, 3, 5, 3))
    y = np.array([[transforms[i][j].apply(x[i, j]) for j in range(3)] for i in range(2)])
    scale, R, t = umeyama(x, y)
    assert scale.shape == (2, 3) and R.shape == (2, 3, 3, 3) and t.shape == (2, 3, 3)
    for i in range(2):
        for j in range(3):
            assert close(Sim3(scale[i, j], R[i, j], t[i, j]), transforms[i][j])


@given(seeds)
def test_umeyama_never_mirrors(seed):
    x = np.random.default_rng(seed).normal(size=(7, 3))
    scale, R, _ = umeyama(x, x * [1, 1, -1])
    assert np.linalg.det(R) == pytest.approx(1) and scale > -1e-12


@given(rotations)
def test_umeyama_of_planar_points(R):
    x = np.array([[0, 0, 0], [1, 0, 0], [0, 2, 0], [3, 1, 0.0]])
    np.testing.assert_allclose(umeyama(x, x @ R.T)[1], R, atol=1e-9)


def test_umeyama_of_one_point_is_degenerate_and_does_not_warn():
    x = np.ones((4, 3))
    scale, _, _ = umeyama(x, x)
    assert not scale > 0


@given(rotations, vectors, vectors)
def test_inverse_rigid(R, t, x):
    T = rigid(R, t)
    np.testing.assert_allclose(inverse_rigid(T) @ T, np.eye(4), atol=1e-9)
    np.testing.assert_allclose(transform(inverse_rigid(T), transform(T, x)), x, atol=1e-9)


def test_rigid_batches():
    rng = np.random.default_rng(0)
    T = rigid(random_rotations(5, rng), rng.normal(size=(5, 3)))
    assert T.shape == (5, 4, 4)
    np.testing.assert_allclose(inverse_rigid(T) @ T, np.broadcast_to(np.eye(4), (5, 4, 4)), atol=1e-12)


@given(st.floats(-100, 300), st.floats(-100, 300), st.floats(0.1, 50))
def test_project_and_pixel_rays_are_inverse(x, y, depth):
    ray = pixel_rays(K, np.array([x, y]))
    assert ray[2] == pytest.approx(1)
    np.testing.assert_allclose(project(K, depth * ray), [x, y], atol=1e-9)


def test_points_behind_the_camera_give_nan():
    uv = project(K, np.array([[0, 0, 1], [0, 0, 0], [0, 0, -1.0]]))
    assert np.isnan(uv).all(1).tolist() == [False, True, True]


@given(similarities, rotations, seeds)
def test_rigid_through_similarity_leaves_the_image_unchanged(obj_T_world, R, seed):
    rng = np.random.default_rng(seed)
    x_cam = rng.uniform([-1, -1, 2], [1, 1, 6], (10, 3))
    cam_T_world = rigid(R, rng.normal(size=3))
    x_world = transform(inverse_rigid(cam_T_world), x_cam)
    x_obj = obj_T_world.apply(x_world)
    cam_T_obj = rigid_through_similarity(cam_T_world, obj_T_world.scale, obj_T_world.R, obj_T_world.t)
    np.testing.assert_allclose(cam_T_obj[:3, :3] @ cam_T_obj[:3, :3].T, np.eye(3), atol=1e-9)
    np.testing.assert_allclose(project(K, transform(cam_T_obj, x_obj)), project(K, x_cam), atol=1e-6)
    depth = transform(cam_T_obj, x_obj)[:, 2]
    np.testing.assert_allclose(depth, obj_T_world.scale * x_cam[:, 2], rtol=1e-6)


@given(vectors, seeds)
def test_rays_intersection(point, seed):
    directions = np.random.default_rng(seed).normal(size=(5, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    np.testing.assert_allclose(rays_intersection(point - 3 * directions, directions), point, atol=1e-4)


def test_rays_intersection_of_skew_lines_is_the_middle():
    origins, directions = np.array([[5, 0, 0], [0, 7, 2.0]]), np.array([[1, 0, 0], [0, 1, 0.0]])
    np.testing.assert_allclose(rays_intersection(origins, directions), [0, 0, 1], atol=1e-12)


def test_random_rotations_are_uniform():
    R = random_rotations(4000, np.random.default_rng(0))
    np.testing.assert_allclose(R @ np.swapaxes(R, 1, 2), np.broadcast_to(np.eye(3), R.shape), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(R), 1)
    for entry in R.reshape(-1, 9).T:  # every coordinate of a uniform unit vector is uniform (Archimedes)
        assert kstest(entry, "uniform", args=(-1, 2)).pvalue > 1e-3
    angle = rotation_angle(R)
    assert kstest(angle, lambda a: (a - np.sin(a)) / np.pi).pvalue > 1e-3


def test_random_rotations_follow_the_generator():
    first, again = (random_rotations(3, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
