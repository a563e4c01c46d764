"""The published pose inference with its own renderer: it finds what the one with rays finds."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("pytorch3d", reason="PyTorch3D is not installed; the published inference is timed without it")

from looks import CELLS, T_OBJ, K, looked_at
from reference.rasterised import RasterisedInference
from reference.render_compare import estimate_rotation

from uop3d_core.geometry import rotation_error


@pytest.mark.parametrize("seed", range(2))
def test_it_finds_what_the_one_with_rays_finds(seed: int) -> None:
    mesh, bank, clutter, truth, features = looked_at(seed)
    R, score = RasterisedInference(mesh, bank, clutter[None], CELLS).estimate(features, K, T_OBJ)
    other, other_score = estimate_rotation(mesh, bank, clutter, features, K, T_OBJ)
    assert np.degrees(rotation_error(R, truth)) < 5 and np.degrees(rotation_error(R, other)) < 5
    assert abs(score - other_score) < 0.02


def test_cells_without_an_image_count_as_clutter() -> None:
    mesh, bank, clutter, _, features = looked_at(0)
    nowhere = np.zeros((CELLS, CELLS), bool)
    background = float((features.flatten(1).T @ clutter).mean())
    _, score = RasterisedInference(mesh, bank, clutter[None], CELLS).estimate(features, K, T_OBJ, nowhere)
    assert abs(score - background) < 1e-5
