"""The published pose inference, re-implemented: a template rendered with known features is found again."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from looks import CELLS, DIMENSIONS, T_OBJ, K, looked_at, random_bank, rendered, template
from reference.render_compare import (
    RenderCompareSettings,
    barycentric,
    estimate_rotation,
    look_at,
    prepare,
    view_grid,
)

from uop3d_core.geometry import random_rotations, rotation_error


@pytest.mark.parametrize("seed", range(2))
def test_a_rotation_off_the_grid_is_recovered(seed: int) -> None:
    mesh, bank, clutter, truth, features = looked_at(seed)
    R, score = estimate_rotation(mesh, bank, clutter, features, K, T_OBJ)
    assert np.degrees(rotation_error(R, truth)) < 5
    assert 0.95 < score <= 1 + 1e-6
    start, start_score = estimate_rotation(
        mesh, bank, clutter, features, K, T_OBJ, RenderCompareSettings(refinement_steps=0)
    )
    assert rotation_error(start, truth) > rotation_error(R, truth) and start_score < score


def test_a_translation_may_depend_on_the_rotation() -> None:
    rng = np.random.default_rng(0)
    mesh = template()
    bank, clutter = random_bank(mesh, rng), F.normalize(torch.from_numpy(rng.standard_normal(DIMENSIONS)), dim=0)
    truth = look_at(0.4, 0.3, 0.1)
    features, asked = rendered(mesh, bank, clutter, truth), []

    def translation(R: np.ndarray) -> np.ndarray:
        asked.append(R)
        return T_OBJ

    R, score = estimate_rotation(mesh, bank, clutter, features, K, translation)
    given, given_score = estimate_rotation(mesh, bank, clutter, features, K, T_OBJ)
    np.testing.assert_array_equal(R, given)
    assert score == given_score and len(asked) > 144


def test_the_gradient_is_that_of_the_score() -> None:
    rng = np.random.default_rng(0)
    mesh = template()
    bank, clutter = random_bank(mesh, rng), F.normalize(torch.from_numpy(rng.standard_normal((2, DIMENSIONS))), dim=1)
    features = rendered(mesh, bank, clutter[0], look_at(0.5, 0.3, 0.1))
    comparison = prepare(mesh, bank, clutter, features, K, T_OBJ)
    R = torch.from_numpy(look_at(0.62, 0.3, 0.1)).requires_grad_()
    comparison.score(R).backward()
    assert R.grad is not None
    turn = torch.from_numpy(look_at(0.63, 0.3, 0.1) - look_at(0.61, 0.3, 0.1))
    with torch.no_grad():
        rise = comparison.score(R + turn / 2) - comparison.score(R - turn / 2)
    assert (R.grad * turn).sum().item() == pytest.approx(rise.item(), rel=0.3)


def test_cells_without_image_count_as_clutter() -> None:
    rng = np.random.default_rng(0)
    mesh = template()
    bank, clutter = random_bank(mesh, rng), F.normalize(torch.from_numpy(rng.standard_normal(DIMENSIONS)), dim=0)
    features = rendered(mesh, bank, clutter, np.eye(3))
    nowhere = prepare(mesh, bank, clutter, features, K, T_OBJ, np.zeros((CELLS, CELLS), dtype=bool))
    background = torch.einsum("dhw,d->hw", features, clutter).mean().item()
    assert nowhere.score(torch.eye(3, dtype=torch.float64)).item() == pytest.approx(background)


def test_the_grid_has_144_upright_views() -> None:
    grid = view_grid(RenderCompareSettings())
    assert grid.shape == (144, 3, 3)
    np.testing.assert_allclose(grid @ grid.swapaxes(1, 2), np.broadcast_to(np.eye(3), grid.shape), atol=1e-12)
    front = look_at(0, 0, 0)
    np.testing.assert_allclose(front @ [1, 0, 0], [0, 0, -1], atol=1e-12)  # its front faces the camera
    np.testing.assert_allclose(front @ [0, 0, 1], [0, -1, 0], atol=1e-12)  # its top is up in the image
    assert np.linalg.det(front) == pytest.approx(1)


def test_barycentric_weights_reproduce_the_point() -> None:
    corners = torch.from_numpy(np.random.default_rng(0).uniform(size=(20, 3, 2)))
    weights = F.normalize(torch.rand(20, 3, dtype=torch.float64), p=1, dim=1)
    points = (weights[..., None] * corners).sum(1)
    torch.testing.assert_close(barycentric(points, corners), weights)


def test_sizes_that_do_not_fit_are_refused() -> None:
    mesh, features = template(), torch.zeros(8, 4, 4)
    with pytest.raises(ValueError, match="do not fit 162 vertices"):
        prepare(mesh, torch.zeros(100, 8), torch.zeros(8), features, K, T_OBJ)
    with pytest.raises(ValueError, match="do not fit"):
        prepare(mesh, torch.zeros(162, 8), torch.zeros(9), features, K, T_OBJ)


def test_random_rotations_stay_rotations_through_refinement() -> None:
    rng = np.random.default_rng(0)
    mesh = template()
    bank, clutter = random_bank(mesh, rng), torch.zeros(DIMENSIONS, dtype=torch.float64)
    features = rendered(mesh, bank, clutter, random_rotations(1, rng)[0])
    R, _ = estimate_rotation(mesh, bank, clutter, features, K, T_OBJ, RenderCompareSettings(3, 2, 1, 5))
    np.testing.assert_allclose(R @ R.T, np.eye(3), atol=1e-9)
