"""Surfaces made ready: unit frame, spread-out order, typical looks, distance field."""

import numpy as np
import pytest
import torch
from scenes import potato, random_features, random_sim3, surface
from scipy.spatial import cKDTree

from uop3d_core.alignment.prepared import PreparedSurface, prepare, typical_looks
from uop3d_core.config import PairSettings

SHAPE = potato(2)


def prepared(seed: int) -> PreparedSurface:
    rng = np.random.default_rng(seed)
    features = random_features(len(SHAPE.vertices), 3, 16, rng)
    return prepare(surface("a", SHAPE, features, random_sim3(rng)), PairSettings(looks=3, field_resolution=24))


def test_prepared_surface():
    p = prepared(8)
    low, high = p.vertices.min(0).values, p.vertices.max(0).values
    np.testing.assert_allclose(low, -high, atol=1e-5)
    assert torch.linalg.norm(high - low) == pytest.approx(1, abs=1e-5)
    assert p.areas.mean() == pytest.approx(1, abs=1e-5)
    values, gradient = p.lookup(p.vertices)
    assert values.abs().max() < 0.03 and (gradient.norm(dim=1) > 0.5).float().mean() > 0.95
    outside = torch.tensor([[3.0, 0, 0], [0, -4.0, 0]])
    values, gradient = p.lookup(outside)
    np.testing.assert_allclose(values, [2.5, 3.5], rtol=0.12)
    np.testing.assert_allclose(gradient, [[1, 0, 0], [0, -1, 0]], atol=0.1)


def test_the_first_vertices_are_spread_over_the_surface():
    p = prepared(8)
    for count in (8, 32):
        gap = cKDTree(p.vertices[:count]).query(p.vertices)[0].max()
        assert gap < 1.6 / np.sqrt(count)  # about what so many discs take to cover a surface of diameter one
    part = p.take(torch.arange(10))
    assert part.vertices.shape == (10, 3) and part.features.shape[0] == part.views.shape[0] == 10
    assert part.areas.mean() == pytest.approx(1, abs=1e-5) and part.field is p.field


def test_typical_looks_are_the_clusters():
    rng = np.random.default_rng(0)
    V, C = 12, 16
    centres = np.stack([np.linalg.qr(rng.normal(size=(C, 3)))[0].T for _ in range(V)])
    views = centres[:, [0, 0, 0, 1, 1, 2, 2, 2, 2, 0]] + 0.02 * rng.normal(size=(V, 10, C))
    views /= np.linalg.norm(views, axis=2, keepdims=True)
    valid = np.ones((V, 10), bool)
    valid[0], valid[1, 1:] = False, False
    looks, counts = typical_looks(torch.from_numpy(views), torch.from_numpy(valid), 3)
    np.testing.assert_array_equal(counts.sum(1), valid.sum(1))
    np.testing.assert_array_equal(np.sort(counts[2:].numpy(), 1), np.tile([2, 4, 4], (V - 2, 1)))
    assert not counts[0].any() and sorted(counts[1].tolist()) == [0, 0, 1]
    similarity = np.einsum("vlc,vkc->vlk", looks[2:].numpy(), centres[2:])
    assert (similarity.max(2) > 0.99).all()
    np.testing.assert_allclose(looks[2:].norm(dim=2), 1, atol=1e-5)


def test_fewer_views_than_looks_stay_as_they_are():
    features, valid = torch.rand(5, 2, 4), torch.tensor([[True, False]] * 5)
    looks, counts = typical_looks(features, valid, 3)
    np.testing.assert_array_equal(looks[:, 0], features[:, 0])
    np.testing.assert_array_equal(counts, [[1, 0]] * 5)
