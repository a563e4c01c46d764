"""The published pose inference with its own renderer: it finds what the one with rays finds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

pytest.importorskip("pytorch3d", reason="PyTorch3D is not installed; the published inference is timed without it")

from reference.rasterised import RasterisedInference
from reference.render_compare import estimate_rotation, look_at
from test_render_compare import CELLS, DIMENSIONS, T_OBJ, K, random_bank, rendered, template

from uop3d_core.geometry import rotation_error


@pytest.mark.parametrize("seed", range(2))
def test_it_finds_what_the_one_with_rays_finds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mesh = template()
    bank, clutter = random_bank(mesh, rng), F.normalize(torch.from_numpy(rng.standard_normal(DIMENSIONS)), dim=0)
    truth = look_at(rng.uniform(0, 2 * np.pi), rng.uniform(-0.3, 0.8), rng.uniform(-0.3, 0.3))
    features = rendered(mesh, bank, clutter, truth)
    R, score = RasterisedInference(mesh, bank, clutter[None], CELLS).estimate(features, K, T_OBJ)
    other, other_score = estimate_rotation(mesh, bank, clutter, features, K, T_OBJ)
    assert np.degrees(rotation_error(R, truth)) < 5 and np.degrees(rotation_error(R, other)) < 5
    assert abs(score - other_score) < 0.02


def test_cells_without_an_image_count_as_clutter() -> None:
    rng = np.random.default_rng(0)
    mesh = template()
    bank, clutter = random_bank(mesh, rng), F.normalize(torch.from_numpy(rng.standard_normal(DIMENSIONS)), dim=0)
    features = rendered(mesh, bank, clutter, look_at(0.4, 0.3, 0.1))
    nowhere = np.zeros((CELLS, CELLS), bool)
    background = float((features.flatten(1).T @ clutter).mean())
    _, score = RasterisedInference(mesh, bank, clutter[None], CELLS).estimate(features, K, T_OBJ, nowhere)
    assert abs(score - background) < 1e-5
