"""Flips are found, broken nodes are told from sound ones, and little evidence gives little confidence."""

from dataclasses import replace

import numpy as np
import pytest
from graphs import TOLERANCES, all_pairs, errors_deg, graph, rings
from scipy.spatial.transform import Rotation

from uop3d_core.alignment.ambiguity import confirmed, effective, find_flip, turned
from uop3d_core.alignment.problem import Problem
from uop3d_core.alignment.quality import Calibration, Evidence, describe, evidence, few, first_modes, probability
from uop3d_core.alignment.synchronization import synchronize
from uop3d_core.geometry import random_rotations, rotation_error

AXIS = np.array([0.0, 0.6, 0.8])
HALF = Rotation.from_rotvec(np.pi * AXIS).as_matrix()


def two_clusters(count: int, second: int, share: float, seed: int):
    """A graph where a share of the edges between the first nodes and the last `second` ones are off by a half turn."""
    rng = np.random.default_rng(seed)
    g = graph(count, all_pairs(count), rng, noise_deg=3)
    between = (g.edges.to >= count - second) != (g.edges.of >= count - second)
    flipped = between & (rng.random(len(between)) < share)
    R_to = g.truth.R[g.edges.to]
    R = np.where(flipped[:, None, None], np.swapaxes(R_to, 1, 2) @ HALF @ R_to, np.eye(3))[:, None] @ g.edges.R
    return g, replace(g.edges, R=R)


def solved(count, edges):
    return synchronize(count, edges, TOLERANCES).nodes.R


@pytest.mark.parametrize("count", [14, 320])
def test_two_clusters_are_found(count):
    second = count // 3
    g, edges = two_clusters(count, second, 0.45, 0)
    problem = Problem(count, edges, TOLERANCES)
    R = g.truth.R if count > 100 else solved(count, edges)
    flip = find_flip(problem, R)
    assert flip is not None and flip.margin < 0.2
    assert flip.group.tolist() == [i >= count - second for i in range(count)]
    assert np.rad2deg(rotation_error(flip.turn, np.eye(3))) == pytest.approx(180, abs=5)
    before, after = problem.objective(R), problem.objective(turned(R, flip))
    assert before < after < before + 0.1


def test_a_wrong_order_of_clusters_has_a_negative_margin():
    g, edges = two_clusters(12, 5, 0.2, 1)
    R = np.where((np.arange(12) >= 7)[:, None, None], HALF @ g.truth.R, g.truth.R)
    problem = Problem(12, edges, TOLERANCES)
    flip = find_flip(problem, R)
    assert flip is not None and flip.margin < -0.2
    assert errors_deg(turned(R, flip), g.truth.R).max() < 8


def test_perfect_edges_suggest_no_flip():
    g = graph(8, all_pairs(8), np.random.default_rng(0))
    assert find_flip(Problem(8, g.edges, TOLERANCES), g.truth.R) is None


def test_warning_about_two_clusters():
    g, edges = two_clusters(15, 5, 0.5, 2)
    R = solved(15, edges)
    found, names = evidence(15, edges, R, TOLERANCES), [f"c{i}" for i in range(15)]
    start = "two clusters of captures 180 degrees apart"
    middle = " (10 and 5 captures): turning c10, c11, c12, c13, c14 as a whole"
    [note] = describe(found, names)
    assert note.startswith(start + middle)
    [note] = describe(found, names, obj_R_common=np.eye(3))
    x, y, z = found.flip.turn @ [1, 0, 0], found.flip.turn @ [0, 1, 0], found.flip.turn @ [0, 0, 1]
    axis = np.sqrt((np.array([x[0], y[1], z[2]]) + 1) / 2)
    told = np.abs([float(t) for t in note[len(start + " about (") :].split(")")[0].split(",")])
    assert told == pytest.approx(axis, abs=0.05) and "of obj (10 and 5 captures)" in note


def test_other_warnings():
    names = [f"c{i}" for i in range(12)]
    g = graph(12, all_pairs(12), np.random.default_rng(0), wrong=0.95)
    notes = describe(evidence(12, g.edges, solved(12, g.edges), TOLERANCES), names)
    assert any(n.startswith("no consensus") for n in notes)
    sound = graph(12, all_pairs(12), np.random.default_rng(0), noise_deg=3)
    assert describe(evidence(12, sound.edges, sound.truth.R, TOLERANCES), names) == ()
    assert few(4, 12, "sequences") == ("only 4 of 12 sequences are accepted",) and few(6, 12) == ()


@pytest.mark.parametrize("kind", ["all pairs", "sparse", "five references"])
def test_probability_tells_broken_nodes_in_graphs_of_any_kind(kind):
    rng = np.random.default_rng(0)
    N = 60
    pairs = {
        "all pairs": all_pairs(N),
        "sparse": rings(N, 10, rng),
        "five references": [(r, i) for r in range(5) for i in range(N) if i > r],
    }[kind]
    g = graph(N, pairs, rng, noise_deg=5, wrong=0.15)
    broken = np.arange(N) >= N - 10
    noise = random_rotations(len(g.good), rng)[:, None]
    R = np.where((broken[g.edges.to] | broken[g.edges.of])[:, None, None, None], noise, g.edges.R)
    edges = replace(g.edges, R=R)
    R = solved(N, edges)
    p = probability(evidence(N, edges, R, TOLERANCES))
    right = errors_deg(R, g.truth.R) < 30
    assert right[~broken].mean() > 0.9
    assert ((p[right][:, None] > p[~right][None]).mean()) > 0.95
    assert p[right].mean() > 0.75 and p[broken & ~right].mean() < 0.4


def test_probabilities_hold_for_simulated_captures():
    """Graphs of many kinds and qualities: captures that tend to be flipped, wrong edges, noise, broken captures."""
    rng = np.random.default_rng(0)
    p, right = np.zeros(0), np.zeros(0, dtype=bool)
    for _ in range(60):
        N = int(rng.choice([5, 8, 12, 20, 40]))
        sparse = N >= 12 and rng.random() < 0.3
        g = graph(
            N,
            rings(N, 8, rng) if sparse else all_pairs(N),
            rng,
            noise_deg=rng.choice([3, 6, 10]),
            wrong=rng.choice([0, 0.1, 0.2, 0.4, 0.6]),
        )
        to, of = g.edges.to, g.edges.of
        hard, broken = (
            2 * rng.random(N) * rng.choice([0, 0.1, 0.2, 0.3, 0.4, 0.5]),
            rng.random(N) < rng.choice([0, 0.2]),
        )
        flipped = rng.random(len(to)) < np.maximum(hard[to], hard[of])
        flips = np.where(flipped[:, None, None], np.swapaxes(g.truth.R[to], 1, 2) @ HALF @ g.truth.R[to], np.eye(3))
        noise, lost = random_rotations(len(to), rng)[:, None], (broken[to] | broken[of])[:, None, None, None]
        edges = replace(g.edges, R=np.where(lost, noise, flips[:, None] @ g.edges.R))
        R = solved(N, edges)
        p = np.append(p, probability(evidence(N, edges, R, TOLERANCES)))
        right = np.append(right, errors_deg(R, g.truth.R) < 30)
    assert 0.5 < right.mean() < 0.9
    bins = (p * 10).astype(int)
    gaps = [abs(p[bins == b].mean() - right[bins == b].mean()) * (bins == b).mean() for b in np.unique(bins)]
    assert sum(gaps) < 0.1
    assert (p[right][:, None] > p[~right][None]).mean() > 0.75


def test_the_size_of_the_graph_does_not_matter():
    means = []
    for N in (12, 40):
        g = graph(N, all_pairs(N), np.random.default_rng(1), noise_deg=5, wrong=0.3)
        means.append(probability(evidence(N, g.edges, solved(N, g.edges), TOLERANCES)).mean())
    assert means[0] == pytest.approx(means[1], abs=0.1)


def test_one_edge_confirms_nothing():
    rng = np.random.default_rng(0)
    for pairs in ([(0, 1)], [(0, i) for i in range(1, 6)], [(i, i + 1) for i in range(5)]):
        g = graph(len(pairs) + 1, pairs, rng)
        found = evidence(g.count, g.edges, g.truth.R, TOLERANCES)
        assert (found.agreement == 0).all() and not found.testable
        assert probability(found).max() < 0.7
        [note] = describe(found, [str(i) for i in range(g.count)])
        assert note.startswith("nothing confirms the alignments")
    g = graph(6, all_pairs(6), rng)
    found = evidence(6, g.edges, g.truth.R, TOLERANCES)
    assert found.agreement == pytest.approx(np.ones(6)) and found.testable


def test_random_rotations_are_believed_little():
    g = graph(30, all_pairs(30), np.random.default_rng(0), wrong=1)
    assert probability(evidence(30, g.edges, solved(30, g.edges), TOLERANCES)).max() < 0.4


def test_confirmed_is_what_remains():
    means, numbers = np.array([1.0, 0.5, 0.25, 1.0]), np.array([4.0, 4.0, 4.0, 1.0])
    assert confirmed(means, numbers) == pytest.approx([1, 1 / 3, 0, 0])
    assert confirmed(0.5, 10, 2) == pytest.approx(3 / 8)
    assert effective(np.array(4.0), np.array(4.0)) == 4 and effective(np.array(3.0), np.array(5.0)) == 1.8


def test_a_solution_does_not_witness_for_its_choice_among_modes():
    g = graph(10, all_pairs(10), np.random.default_rng(0), modes=4, hidden=0.5)
    first = first_modes(g.edges)
    assert first.R.shape[1] == 1 and (first.cost == 0).all()
    np.testing.assert_array_equal(first.R[:, 0], g.edges.R[:, 0])
    assert evidence(10, g.edges, g.truth.R, TOLERANCES).agreement.mean() < 0.8


def test_calibration_is_monotone():
    low, high = (Evidence(np.array([a, 0.9]), np.array([a - 0.9, 0.9 - a]), None, 0.5, True) for a in (0.2, 0.6))
    assert probability(low)[0] < probability(high)[0]
    assert probability(high, Calibration(0, 0, 0)) == pytest.approx([0.5, 0.5])


def test_agreeing_less_than_the_neighbours_tells_more_than_agreeing_more():
    own, others = np.array([0.0, 0.3, 0.6, 0.9, 0.0]), np.array([0.6, 0.6, 0.6, 0.6, 0.0])
    share = Evidence(own, own - others, None, 0.5, True).share
    steps = np.diff(share[:4])
    assert (steps > 0).all() and (np.diff(steps) < 0).all() and (share < 0).all()
    assert share[4] == pytest.approx(share[2]) == pytest.approx(-np.log(2) / 2)
