"""Known similarities between copies of a shape without symmetry are found again."""

import numpy as np
import pytest
import torch
from scenes import potato, random_features, random_sim3, sphere, surface
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from uop3d_core.alignment.pairwise import (
    Matches,
    Similarities,
    align_pair,
    distinct,
    feature_distance,
    match,
    refine,
    sample_hypotheses,
    score,
    turned,
)
from uop3d_core.alignment.prepared import PreparedSurface, prepare
from uop3d_core.config import PairSettings
from uop3d_core.geometry import random_rotations, rotation_error
from uop3d_core.types import Mesh, PairAlignment, Sim3, Surface

QUICK = PairSettings(looks=3, hypotheses=300, candidates=16, iterations=12, field_resolution=24)
SHAPE = potato(2)


def copies(seed: int, mesh: Mesh = SHAPE, views: int = 3) -> tuple[Surface, Surface, Sim3]:
    """Two captures of one thing in random worlds, and the true a_T_b; b lists its vertices in another order."""
    rng = np.random.default_rng(seed)
    features = random_features(len(mesh.vertices), views, 16, rng)
    order = rng.permutation(len(mesh.vertices))
    shuffled = Mesh(mesh.vertices[order], np.argsort(order)[mesh.faces])
    gauge_a, gauge_b = random_sim3(rng), random_sim3(rng)
    a = surface("a", mesh, features, gauge_a)
    return a, surface("b", shuffled, features[order], gauge_b), gauge_a @ gauge_b.inverse()


def aligned(a: Surface, b: Surface, settings: PairSettings = QUICK, seed: int = 0) -> PairAlignment:
    return align_pair(prepare(a, settings), prepare(b, settings), settings, np.random.default_rng(seed))


def assert_same(found: Sim3, true: Sim3, mesh_b: Mesh, angle_deg: float, share: float) -> None:
    """Rotation within an angle; scale and place of the object within a share of scale and diameter."""
    assert np.rad2deg(rotation_error(found.R, true.R)) < angle_deg
    assert found.scale == pytest.approx(true.scale, rel=share)
    centre = mesh_b.vertices.mean(0)
    shift = np.linalg.norm(found.apply(centre) - true.apply(centre))
    assert shift < share * true.scale * mesh_b.diameter


def batch(transforms: list[Sim3]) -> Similarities:
    stacked = (np.stack([getattr(T, name) for T in transforms]) for name in ("scale", "R", "t"))
    return Similarities(*(torch.tensor(x).float() for x in stacked))


def order_of(p: PreparedSurface, s: Surface) -> np.ndarray:
    """Which vertex of the surface each one of the prepared surface is."""
    return cKDTree(p.unit_T_world.apply(s.mesh.vertices)).query(p.vertices)[1]


def unit_similarity(a: PreparedSurface, b: PreparedSurface, a_T_b: Sim3) -> Sim3:
    """The same transform as a map from a's unit frame to b's."""
    return b.unit_T_world @ a_T_b.inverse() @ a.unit_T_world.inverse()


@pytest.mark.parametrize("seed", range(3))
def test_exact_copies(seed):
    a, b, a_T_b = copies(seed)
    result = aligned(a, b)
    assert_same(result.a_T_b[0], a_T_b, b.mesh, angle_deg=0.5, share=0.01)
    assert -0.01 < result.scores[0] <= 0 and result.geometry[0] < 0.01 and result.appearance[0] < 0.01
    assert (result.a, result.b) == ("a", "b")


def test_swapped_pair_is_the_inverse():
    a, b, a_T_b = copies(0)
    assert_same(aligned(b, a).a_T_b[0], a_T_b.inverse(), a.mesh, angle_deg=0.5, share=0.01)


def with_wrong_looks(s: Surface, share: float, rng: np.random.Generator) -> Surface:
    """The looks of that share of the vertices are random."""
    V, K, C = s.features.shape
    wrong = rng.permutation(V)[: round(share * V)]
    features = s.features.copy()
    features[wrong] = random_features(len(wrong), K, C, rng)
    return Surface(s.name, s.mesh, features, s.valid, s.visible_views, s.up)


@pytest.mark.parametrize("seed", range(2))
def test_wrong_looks_on_half_of_the_surface(seed):
    a, b, a_T_b = copies(seed)
    rng = np.random.default_rng(100 + seed)
    b = with_wrong_looks(b, 0.5, rng)
    assert_same(aligned(a, b).a_T_b[0], a_T_b, b.mesh, angle_deg=1.5, share=0.02)


def test_unseen_vertices_are_left_out():
    a, b, a_T_b = copies(1)
    valid = a.valid.copy()
    valid[a.mesh.vertices[:, 0] < np.median(a.mesh.vertices[:, 0])] = False
    a = Surface(a.name, a.mesh, a.features * valid[..., None], valid, valid.sum(1), a.up)
    assert_same(aligned(a, b).a_T_b[0], a_T_b, b.mesh, angle_deg=1.0, share=0.02)


def test_gauge_of_the_first_world():
    """Moving a's world by G moves the answer by G on the left."""
    a, b, _ = copies(0)
    G = random_sim3(np.random.default_rng(50))
    moved = Surface(a.name, a.mesh.transformed(G), a.features, a.valid, a.visible_views, G.R @ a.up)
    assert_same(aligned(moved, b).a_T_b[0], G @ aligned(a, b).a_T_b[0], b.mesh, angle_deg=0.7, share=0.015)


def test_gauge_of_the_second_world():
    """Moving b's world by G moves the answer by G's inverse on the right."""
    a, b, _ = copies(1)
    G = random_sim3(np.random.default_rng(60))
    moved = Surface(b.name, b.mesh.transformed(G), b.features, b.valid, b.visible_views, G.R @ b.up)
    expected = aligned(a, b).a_T_b[0] @ G.inverse()
    assert_same(aligned(a, moved).a_T_b[0], expected, moved.mesh, angle_deg=0.7, share=0.015)


def test_two_ways_to_see_it_are_two_modes():
    """A shape and looks that half a turn about z does not change: both answers are kept, the better one first."""
    ball = sphere(subdivisions=2)
    mesh = Mesh(ball.vertices * [1.0, 0.6, 0.4] + [0, 0, 0.1] * ball.vertices[:, :1] ** 2, ball.faces)
    half_turn = np.diag([-1.0, -1.0, 1.0])
    partner = cKDTree(mesh.vertices).query(mesh.vertices @ half_turn)[1]
    rng = np.random.default_rng(0)
    own = random_features(len(mesh.vertices), 1, 16, rng)

    def looks():
        seen = own + own[partner] + 0.4 * random_features(len(mesh.vertices), 3, 16, rng)
        return seen / np.linalg.norm(seen, axis=2, keepdims=True)

    gauge_a, gauge_b = random_sim3(rng), random_sim3(rng)
    b = surface("b", mesh, looks(), gauge_b)
    result = aligned(surface("a", mesh, looks(), gauge_a), b)
    assert 2 <= len(result.a_T_b) <= QUICK.modes
    assert (np.diff(result.scores) <= 0).all()
    turns = (Sim3.identity(), Sim3(1, half_turn, np.zeros(3)))
    truths = [gauge_a @ turn @ gauge_b.inverse() for turn in turns]
    if rotation_error(result.a_T_b[0].R, truths[0].R) > 1:
        truths.reverse()
    for found, true in zip(result.a_T_b, truths, strict=False):
        assert_same(found, true, b.mesh, angle_deg=2, share=0.02)
    R = np.stack([T.R for T in result.a_T_b])
    apart = np.rad2deg(rotation_error(R[:, None], R[None]))[np.triu_indices(len(R), 1)]
    assert apart.min() > QUICK.mode_angle_deg - 0.1


def test_distinct_keeps_the_best_of_each_group():
    def turned(angle_deg):
        return Sim3(1, Rotation.from_euler("z", angle_deg, degrees=True).as_matrix(), np.zeros(3))

    T = batch([turned(0), turned(10), turned(90), turned(95), turned(180)])
    scores = torch.tensor([-0.3, -0.1, -0.5, -0.2, -0.4])
    assert distinct(T, scores, count=5, angle_deg=20).tolist() == [1, 3, 4]
    assert distinct(T, scores, count=2, angle_deg=20).tolist() == [1, 3]


def test_same_generator_same_answer():
    a, b, _ = copies(0)
    a, b = prepared(a), prepared(b)
    first, again = (align_pair(a, b, QUICK, np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(first.scores, again.scores)
    np.testing.assert_array_equal(first.a_T_b[0].matrix, again.a_T_b[0].matrix)


def test_refinement_never_lowers_the_score():
    a, b, a_T_b = (f(x) for f, x in zip((prepared, prepared, lambda T: T), copies(3), strict=True))
    rng = np.random.default_rng(0)
    true = unit_similarity(a, b, a_T_b)
    start = [perturbed(true, angle, rng) for angle in (0, 0.05, 0.2, 0.5, 1, 2, 3)]
    start += [Sim3(1, R, np.zeros(3)) for R in random_rotations(10, rng)]
    matches = match(a, b, feature_distance(a, b), QUICK.cycle_temperature)
    before = score(a, b, matches, batch(start), QUICK)[0]
    each = [refine(a, b, matches, batch([T]), QUICK) for T in start]  # one by one: a batch may drop the hopeless
    refined = Similarities(*(torch.cat([getattr(T, name) for T in each]) for name in ("s", "R", "t")))
    after = score(a, b, matches, refined, QUICK)[0]
    assert (after >= before - 1e-6).all() and (after > before + 0.01).sum() >= 5
    angle = np.rad2deg(rotation_error(refined.R.double().numpy()[:4], true.R))
    assert angle.max() < 0.5  # starts up to 0.5 rad away end at the truth
    np.testing.assert_allclose(torch.linalg.det(refined.R), 1, atol=1e-4)


def prepared(s: Surface) -> PreparedSurface:
    return prepare(s, QUICK)


def perturbed(T: Sim3, angle: float, rng: np.random.Generator) -> Sim3:
    axis = rng.normal(size=3)
    small = Rotation.from_rotvec(angle * axis / np.linalg.norm(axis)).as_matrix()
    return Sim3(float(np.exp(0.2 * angle * rng.normal())), small, 0.1 * angle * rng.normal(size=3)) @ T


def test_score_of_the_truth_is_near_zero_and_the_best():
    a, b, a_T_b = copies(4)
    a, b = prepared(a), prepared(b)
    true = unit_similarity(a, b, a_T_b)
    matches = match(a, b, feature_distance(a, b), 0.1)
    others = [Sim3(1, R, np.zeros(3)) for R in random_rotations(50, np.random.default_rng(0))]
    scores, geometry, appearance = score(a, b, matches, batch([true, *others]), QUICK)
    assert scores[0] > -0.005 and scores.argmax() == 0
    np.testing.assert_allclose(scores, -(0.7 * geometry + 0.3 * matches.weights.mean() * appearance), atol=1e-6)


def test_score_does_not_depend_on_the_order_of_the_pair():
    a, b, _ = copies(5)
    a, b = prepared(a), prepared(b)
    transforms = [Sim3(1.3, R, np.full(3, 0.1)) for R in random_rotations(5, np.random.default_rng(0))]
    forward = score(a, b, match(a, b, feature_distance(a, b), 0.1), batch(transforms), QUICK)[0]
    inverse = [T.inverse() for T in transforms]
    backward = score(b, a, match(b, a, feature_distance(b, a), 0.1), batch(inverse), QUICK)[0]
    np.testing.assert_allclose(forward, backward, rtol=1e-3)


def test_feature_distance_is_the_naive_one():
    rng = np.random.default_rng(0)
    surfaces = []
    for name, subdivisions in (("a", 0), ("b", 1)):
        mesh = sphere(subdivisions=subdivisions)
        V = len(mesh.vertices)
        features = random_features(V, 3, 8, rng)
        valid = rng.random((V, 3)) < 0.6
        valid[4] = False
        surfaces.append(Surface(name, mesh, features, valid, valid.sum(1), np.array([0, 0, 1])))
    a, b = surfaces
    expected = np.full((len(a.valid), len(b.valid)), np.inf)
    for v in range(len(a.valid)):
        for w in range(len(b.valid)):
            x, y = a.features[v][a.valid[v]].astype(float), b.features[w][b.valid[w]].astype(float)
            if len(x) and len(y):
                apart = np.linalg.norm(x[:, None] - y[None], axis=2)
                expected[v, w] = np.concatenate([apart.min(1), apart.min(0)]).mean()
    p, q = prepared(a), prepared(b)
    expected = expected[np.ix_(order_of(p, a), order_of(q, b))]
    found = feature_distance(p, q).numpy()
    np.testing.assert_array_equal(np.isinf(found), np.isinf(expected))
    np.testing.assert_allclose(found, expected, atol=2e-3)  # features are stored in half precision


def test_matches_of_copies_are_right_and_unseen_vertices_weigh_nothing():
    a, b, a_T_b = copies(6)
    valid = a.valid.copy()
    valid[:20] = False
    half_seen = Surface(a.name, a.mesh, a.features, valid, valid.sum(1), a.up)
    a, b = prepared(half_seen), prepared(b)
    matches = match(a, b, feature_distance(a, b), 0.1)
    V, seen = len(a.vertices), torch.from_numpy(order_of(a, half_seen) >= 20)
    assert not matches.weights[:V][~seen].any() and (matches.weights[:V][seen] > 0).all()
    assert matches.weights.max() == 1  # copies: the way there and back ends where it began
    mapped = batch([unit_similarity(a, b, a_T_b)]).apply(matches.a[:V][seen])[0]
    np.testing.assert_allclose(mapped, matches.b[:V][seen], atol=1e-4)


def test_hypotheses_are_similarities_within_the_scale_range():
    a, b, a_T_b = copies(7)
    a, b = prepared(a), prepared(b)
    T = sample_hypotheses(match(a, b, feature_distance(a, b), 0.1), QUICK, np.random.default_rng(0))
    assert 0 < len(T.s) <= QUICK.hypotheses
    assert (T.s > 1 / QUICK.scale_range - 1e-5).all() and (T.s < QUICK.scale_range + 1e-5).all()
    np.testing.assert_allclose(torch.linalg.det(T.R), 1, atol=1e-4)
    true = unit_similarity(a, b, a_T_b)
    assert np.rad2deg(rotation_error(T.R.double().numpy(), true.R)).min() < 1


def test_similarities_apply_and_invert():
    T, x = batch([random_sim3(np.random.default_rng(i)) for i in range(4)]), torch.rand(6, 3)
    y = T.apply(x)
    assert y.shape == (4, 6, 3)
    for h in range(4):
        np.testing.assert_allclose(T.take(torch.tensor([h])).apply_inverse(y[h])[0], x, atol=1e-5)


def test_turned_hypotheses_keep_the_centre_and_scale():
    rng = np.random.default_rng(0)
    T, vertices = batch([random_sim3(rng)]), torch.rand(50, 3) * torch.tensor([1.0, 0.5, 0.3])
    turns = turned(T, vertices)
    assert turns.R.shape == (9, 3, 3) and (turns.s == T.s).all()
    centre = T.apply_inverse(vertices.mean(0)[None])[0]
    np.testing.assert_allclose(turns.apply(centre)[:, 0], vertices.mean(0).expand(9, 3), atol=1e-5)
    angles = np.rad2deg(rotation_error(turns.R.double().numpy(), T.R.double().numpy()))
    np.testing.assert_allclose(np.sort(angles), [90] * 6 + [180] * 3, atol=0.1)


def test_far_matches_all_cost_the_same():
    a, b, a_T_b = copies(4)
    a, b = prepared(a), prepared(b)
    true = batch([unit_similarity(a, b, a_T_b)])
    matches = match(a, b, feature_distance(a, b), 0.1)
    wrong = [Matches(matches.a, matches.b + shift, matches.weights) for shift in (0.5, 5.0)]
    near, far = (float(score(a, b, m, true, QUICK)[2]) for m in wrong)
    assert near == far == pytest.approx(QUICK.appearance_cutoff, abs=1e-5)


def test_nothing_in_common():
    a, b, _ = copies(0)
    nowhere = np.zeros_like(b.valid)
    b = Surface(b.name, b.mesh, b.features, nowhere, nowhere.sum(1), b.up)
    with pytest.raises(ValueError, match="captures a and b: no appearance matches"):
        aligned(a, b)
