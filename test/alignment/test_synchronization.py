"""Graphs with known answers are solved: exactly, against wrong edges and hidden modes, modulo symmetries."""

import time
from dataclasses import replace

import numpy as np
import pytest
from graphs import TOLERANCES, all_pairs, errors_deg, graph, rings
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from uop3d_core.alignment.averaging import solve
from uop3d_core.alignment.problem import Directions, Nodes, common_direction, turns_of
from uop3d_core.alignment.synchronization import synchronize
from uop3d_core.geometry import rotation_error
from uop3d_core.types import Symmetry

SHAPES = {
    "chain": [(i, i + 1) for i in range(7)],
    "star": [(3, i) for i in range(8) if i != 3],
    "ring": [(i, (i + 1) % 8) for i in range(8)],
    "all": all_pairs(8),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_perfect_edges_give_the_truth(shape):
    g = graph(8, SHAPES[shape], np.random.default_rng(1))
    found = synchronize(8, g.edges, TOLERANCES)
    assert errors_deg(found.nodes.R, g.truth.R).max() < 1e-5 and found.objective < 1e-6
    ratio = found.nodes.scale / g.truth.scale
    assert ratio == pytest.approx(np.full(8, ratio[0]), rel=1e-5)
    Q = found.nodes.R[0] @ g.truth.R[0].T
    shift = found.nodes.t - ratio[0] * g.truth.t @ Q.T
    np.testing.assert_allclose(shift, np.tile(shift[0], (8, 1)), atol=1e-5)


@given(seed=st.integers(0, 10_000), count=st.integers(2, 12))
@settings(max_examples=25, deadline=None)
def test_any_connected_graph_of_perfect_edges(seed, count):
    rng = np.random.default_rng(seed)
    pairs = [(int(rng.integers(i)), i) for i in range(1, count)]  # a random tree
    pairs += [(a, b) for a, b in all_pairs(count) if rng.random() < 0.3 and (a, b) not in pairs]
    g = graph(count, pairs, rng, modes=int(rng.integers(1, 4)))
    found = synchronize(count, g.edges, TOLERANCES)
    assert errors_deg(found.nodes.R, g.truth.R).max() < 1e-4


@given(seed=st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_the_order_of_nodes_and_edges_and_their_direction_do_not_matter(seed):
    rng = np.random.default_rng(seed)
    g = graph(9, all_pairs(9), rng, modes=2, noise_deg=3, wrong=0.2, hidden=0.2)
    order, names = rng.permutation(len(g.good)), rng.permutation(9)
    edges = g.edges.take(order)
    back = rng.random(len(order)) < 0.5
    to, of = np.where(back, edges.of, edges.to), np.where(back, edges.to, edges.of)
    R = np.where(back[:, None, None, None], np.swapaxes(edges.R, -1, -2), edges.R)
    edges = replace(edges, to=names[to], of=names[of], R=R)
    first, second = synchronize(9, g.edges, TOLERANCES), synchronize(9, edges, TOLERANCES)
    assert second.objective == pytest.approx(first.objective, abs=2e-3)
    assert errors_deg(second.nodes.R[names], first.nodes.R).max() < 1


@pytest.mark.parametrize("seed", range(3))
def test_wrong_edges_and_hidden_modes(seed):
    g = graph(25, all_pairs(25), np.random.default_rng(seed), modes=5, noise_deg=4, wrong=0.3, hidden=0.5)
    found = synchronize(25, g.edges, TOLERANCES)
    assert errors_deg(found.nodes.R, g.truth.R).max() < 6
    assert np.rad2deg(np.median(found.residual[g.good])) < 8


def test_noise_is_averaged():
    g = graph(30, all_pairs(30), np.random.default_rng(0), noise_deg=5)
    errors = errors_deg(synchronize(30, g.edges, TOLERANCES).nodes.R, g.truth.R)
    assert np.median(errors) < 3


@pytest.mark.parametrize(("count", "degree", "seconds"), [(50, 49, 5), (400, 14, 15)])
def test_large_graphs_take_seconds(count, degree, seconds):
    rng = np.random.default_rng(0)
    pairs = all_pairs(count) if degree == count - 1 else rings(count, degree, rng)
    g = graph(count, pairs, rng, modes=5, noise_deg=4, wrong=0.3, hidden=0.4)
    start = time.process_time()
    found = synchronize(count, g.edges, TOLERANCES)
    assert time.process_time() - start < seconds
    assert (errors_deg(found.nodes.R, g.truth.R) < 10).mean() > 0.98


def test_fixed_nodes_stay_and_the_others_find_their_place():
    rng = np.random.default_rng(3)
    g = graph(10, all_pairs(10), rng, modes=3, wrong=0.2)
    fixed = np.arange(10) < 6
    start = Nodes(
        np.where(fixed, g.truth.scale, 1),
        np.where(fixed[:, None, None], g.truth.R, np.eye(3)),
        np.where(fixed[:, None], g.truth.t, 0),
    )
    found = synchronize(10, g.edges, TOLERANCES, initial=start, fixed=fixed)
    np.testing.assert_array_equal(found.nodes.t[fixed], g.truth.t[fixed])
    np.testing.assert_allclose(found.nodes.R[fixed], g.truth.R[fixed], atol=1e-12)
    assert np.rad2deg(rotation_error(found.nodes.R, g.truth.R)).max() < 0.5
    np.testing.assert_allclose(found.nodes.scale, g.truth.scale, rtol=1e-2)
    np.testing.assert_allclose(found.nodes.t, g.truth.t, atol=1e-2)


def test_parts_without_an_edge_between_them():
    g = graph(4, [(0, 1), (2, 3)], np.random.default_rng(0))
    with pytest.raises(ValueError, match="the pair graph is not connected"):
        synchronize(4, g.edges, TOLERANCES)


@pytest.mark.parametrize("fold", [2, 3, 6, 0])
def test_edges_count_modulo_the_symmetry(fold):
    """Every edge is turned by a random element of the group; the start is the truth with 10 degrees of noise."""
    rng = np.random.default_rng(fold)
    axis = np.array([0.6, 0.0, 0.8])
    symmetry = Symmetry(axis, fold)
    g = graph(12, all_pairs(12), rng, noise_deg=2, wrong=0.1)
    E, R_to = len(g.good), g.truth.R[g.edges.to]
    angles = rng.uniform(0, 2 * np.pi, E) if fold == 0 else 2 * np.pi / fold * rng.integers(0, fold, E)
    S = Rotation.from_rotvec(angles[:, None] * axis).as_matrix()
    turned = (np.swapaxes(R_to, 1, 2) @ S @ R_to)[:, None] @ g.edges.R
    noise = Rotation.from_rotvec(np.deg2rad(10) * rng.normal(size=(12, 3)) / np.sqrt(3)).as_matrix()
    start = Nodes(g.truth.scale, noise @ g.truth.R, g.truth.t)
    found = synchronize(12, replace(g.edges, R=turned), TOLERANCES, initial=start, symmetry=symmetry)
    assert np.rad2deg(np.median(found.residual[g.good])) < 4
    if fold == 0:
        a, b = (np.swapaxes(R, 1, 2) @ axis for R in (found.nodes.R, g.truth.R))
        errors = np.rad2deg(np.arccos(np.clip((a * b).sum(1), -1, 1)))
    else:
        errors = np.rad2deg(
            np.min([rotation_error(turn @ found.nodes.R, g.truth.R) for turn in turns_of(symmetry)], axis=0)
        )
    before = np.rad2deg(rotation_error(start.R, g.truth.R))
    assert np.median(errors) < 0.5 * np.median(before) and errors.max() < 10


def _tilted(seed: int, noise_deg: float = 8.0):
    """A graph whose edges into a node err alike, and the nodes' true ups in their own frames."""
    rng = np.random.default_rng(seed)
    g = graph(15, all_pairs(15), rng, noise_deg=1)
    bias = Rotation.from_rotvec(np.deg2rad(noise_deg) * rng.normal(size=(15, 3)) / np.sqrt(3)).as_matrix()
    R = np.swapaxes(bias[g.edges.to], 1, 2)[:, None] @ g.edges.R @ bias[g.edges.of][:, None]
    up = np.swapaxes(g.truth.R, 1, 2) @ np.array([0.0, 0.0, 1.0])
    return g, replace(g.edges, R=R), up, rng


def _tilt_errors(R, truth, up):
    here = (R @ up[..., None])[..., 0]
    return np.rad2deg(common_direction(here)[1])


def test_shared_directions_correct_tilts():
    g, edges, up, rng = _tilted(0)
    noisy = up + np.tan(np.deg2rad(2)) * rng.normal(size=up.shape)
    noisy /= np.linalg.norm(noisy, axis=1, keepdims=True)
    plain = synchronize(15, edges, TOLERANCES).nodes.R
    helped = synchronize(15, edges, TOLERANCES, directions=Directions(np.arange(15), noisy)).nodes.R
    assert np.median(_tilt_errors(helped, g.truth.R, up)) < 0.7 * np.median(_tilt_errors(plain, g.truth.R, up))


@pytest.mark.parametrize("kind", ["random", "some turned"])
def test_directions_that_are_wrong_do_no_harm(kind):
    g, edges, up, rng = _tilted(1, 3.0)
    wrong = up.copy()
    if kind == "random":
        wrong = rng.normal(size=up.shape)
        wrong /= np.linalg.norm(wrong, axis=1, keepdims=True)
    else:
        side = np.cross(up[:4], rng.normal(size=(4, 3)))
        wrong[:4] = side / np.linalg.norm(side, axis=1, keepdims=True)
    plain = synchronize(15, edges, TOLERANCES).nodes.R
    found = synchronize(15, edges, TOLERANCES, directions=Directions(np.arange(15), wrong)).nodes.R
    before, after = errors_deg(plain, g.truth.R), errors_deg(found, g.truth.R)
    assert after.max() < before.max() + 0.7 and np.median(after) < np.median(before) + 0.5


def test_directions_leave_the_turn_about_them_to_the_edges():
    g, edges, up, _ = _tilted(2)
    strong = Directions(np.arange(15), up, strength=100)
    plain, helped = (synchronize(15, edges, TOLERANCES, directions=d).nodes.R for d in (None, strong))
    assert np.median(_tilt_errors(helped, g.truth.R, up)) < 1
    assert np.median(errors_deg(helped, g.truth.R)) <= np.median(errors_deg(plain, g.truth.R)) + 0.5


def test_solve_is_a_linear_solver():
    rng = np.random.default_rng(0)
    A = rng.normal(size=(6, 6))
    A = A @ A.T + np.eye(6)
    b = rng.normal(size=(6, 2))
    x = solve(lambda v: A @ v, b, np.diag(A), np.ones(6, dtype=bool))
    np.testing.assert_allclose(A @ x, b, atol=1e-6)
    free = np.arange(6) != 2
    part = solve(lambda v: A @ v, b, np.diag(A), free)
    np.testing.assert_allclose(part[free], np.linalg.solve(A[np.ix_(free, free)], b[free]), atol=1e-6)
    assert (part[2] == 0).all()


def test_no_direction_to_speak_of():
    centre, angle, spread = common_direction(np.tile([0.0, 1.0, 0.0], (4, 1)))
    np.testing.assert_allclose(centre, [0, 1, 0], atol=1e-9)
    assert angle.max() < 1e-6 and spread == pytest.approx(np.deg2rad(1))
