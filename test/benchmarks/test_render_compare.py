"""The published pose inference, re-implemented: a template rendered with known features is found again."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import trimesh
from reference.render_compare import (
    RenderCompareSettings,
    barycentric,
    estimate_rotation,
    look_at,
    prepare,
    view_grid,
)

from uop3d_core.geometry import pixel_rays, random_rotations, rigid, rotation_error
from uop3d_core.raycast import RayCaster
from uop3d_core.types import Mesh

K = np.array([[60.0, 0, 15.5], [0, 60.0, 15.5], [0, 0, 1]])
CELLS = 32
T_OBJ = np.array([0.05, -0.08, 2.2])
DIMENSIONS = 24


def template() -> Mesh:
    sphere = trimesh.creation.icosphere(2)
    return Mesh(sphere.vertices * [0.45, 0.25, 0.2] * (1 + 0.3 * sphere.vertices[:, :1]), sphere.faces)


def random_bank(mesh: Mesh, rng: np.random.Generator) -> torch.Tensor:
    """Unit features (V, D) that vary smoothly over the surface: random waves."""
    phases = 8 * mesh.vertices @ rng.standard_normal((3, DIMENSIONS)) + rng.uniform(0, 2 * np.pi, DIMENSIONS)
    return F.normalize(torch.from_numpy(np.cos(phases)), dim=1)


def rendered(mesh: Mesh, bank: torch.Tensor, clutter: torch.Tensor, cam_R_obj: np.ndarray) -> torch.Tensor:
    """Unit features (D, h, w) of an image that shows the template before clutter."""
    ys, xs = np.mgrid[:CELLS, :CELLS]
    pixels = np.stack([xs.ravel(), ys.ravel()], axis=1)
    hits = RayCaster(mesh).first_hits_of_rays(pixel_rays(K, pixels), rigid(cam_R_obj, T_OBJ))
    features = clutter.repeat(CELLS * CELLS, 1)
    shown = torch.from_numpy(hits.mask)
    corners = bank[torch.from_numpy(mesh.faces[hits.face[hits.mask]])]
    features[shown] = (torch.from_numpy(hits.barycentric[hits.mask])[..., None] * corners).sum(1)
    return F.normalize(features, dim=1).T.reshape(-1, CELLS, CELLS)


@pytest.mark.parametrize("seed", range(2))
def test_a_rotation_off_the_grid_is_recovered(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mesh = template()
    bank, clutter = random_bank(mesh, rng), F.normalize(torch.from_numpy(rng.standard_normal(DIMENSIONS)), dim=0)
    truth = look_at(rng.uniform(0, 2 * np.pi), rng.uniform(-0.3, 0.8), rng.uniform(-0.3, 0.3))
    features = rendered(mesh, bank, clutter, truth)
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
