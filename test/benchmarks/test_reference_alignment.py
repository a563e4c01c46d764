"""The published alignment, re-implemented: exact on exact data, right in its details."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from reference.alignment import ReferenceSettings, align_pair, feature_distances
from reference.descent import descend, rigid_exp
from twins import gauge, surface, twins

from uop3d_core.geometry import rotation_error


@pytest.mark.parametrize("seed", range(3))
def test_an_exact_similarity_is_recovered(seed: int) -> None:
    rng = np.random.default_rng(seed)
    b_T_a = gauge(rng)
    a, b = twins(rng, b_T_a)
    pair = align_pair(a, b, ReferenceSettings(hypotheses=100), rng)
    assert (pair.a, pair.b, len(pair.a_T_b)) == ("a", "b", 1)
    np.testing.assert_allclose(pair.a_T_b[0].apply(b.mesh.vertices), b_T_a.inverse().apply(b.mesh.vertices), atol=1e-5)
    assert -5e-3 < pair.scores[0] <= 0 and pair.geometry[0] < 1e-3


def test_refinement_is_a_rigid_motion_near_the_best_hypothesis() -> None:
    rng = np.random.default_rng(0)
    a, b = twins(rng, gauge(rng))
    first, refined = (
        align_pair(a, b, ReferenceSettings(hypotheses=20, refinement_steps=steps), np.random.default_rng(1)).a_T_b[0]
        for steps in (0, 20)
    )
    assert refined.scale == pytest.approx(first.scale)
    assert 0 < rotation_error(first.R, refined.R) < 0.4


def test_feature_distance_is_the_mean_over_views_of_the_nearest_view() -> None:
    rng = np.random.default_rng(0)
    a, b = twins(rng, gauge(rng))
    D = feature_distances(a, b).numpy()
    assert np.isinf(D).any() and np.isinf(D).sum() < D.size
    for i, j in rng.integers(162, size=(50, 2)):
        x, y = (s.features[v][s.valid[v]].astype(float) for s, v in ((a, i), (b, j)))
        if len(x) == 0 or len(y) == 0:
            assert D[i, j] == np.inf
            continue
        between = np.linalg.norm(x[:, None] - y, axis=2)
        expected = (between.min(1).sum() + between.min(0).sum()) / (len(x) + len(y))
        assert D[i, j] == pytest.approx(expected, abs=1e-3)
    torch.testing.assert_close(feature_distances(b, a), torch.from_numpy(D.T))


def test_surfaces_without_features_are_refused() -> None:
    rng = np.random.default_rng(0)
    a, b = twins(rng, gauge(rng))
    blind = surface("blind", b.mesh, b.features, np.zeros_like(b.valid))
    with pytest.raises(ValueError, match="a, blind: one of the surfaces has no vertex with features"):
        align_pair(a, blind, ReferenceSettings(), rng)


def test_the_twist_moves_as_its_name_says() -> None:
    T = rigid_exp(torch.tensor([1.0, 2.0, 3.0, 0.0, 0.0, 0.0], dtype=torch.float64))
    np.testing.assert_allclose(T[:3, 3], [1, 2, 3])
    quarter = rigid_exp(torch.tensor([0, 0, 0, 0, 0, np.pi / 2], dtype=torch.float64))
    np.testing.assert_allclose(quarter[:3, :3] @ torch.tensor([1.0, 0, 0], dtype=torch.float64), [0, 1, 0], atol=1e-12)


def test_descent_reaches_a_near_minimum_and_can_hold_the_translation() -> None:
    goal = rigid_exp(torch.tensor([0.1, 0, 0, 0, 0.2, 0], dtype=torch.float64))
    start = torch.eye(4, dtype=torch.float64)

    def loss(T: torch.Tensor) -> torch.Tensor:
        return (T - goal).square().sum()

    assert loss(descend(start, loss, 60, 1e-2)) < 0.05 * loss(start)
    held = descend(start, loss, 60, 1e-2, rotate_only=True)
    np.testing.assert_array_equal(held[:3, 3], 0)
    assert rotation_error(held[:3, :3].numpy(), goal[:3, :3].numpy()) < 0.03
    slow = descend(start, loss, 2, 1e-1, largest_step=1e-3)
    assert 0 < rotation_error(slow[:3, :3].numpy(), np.eye(3)) < 4e-3
