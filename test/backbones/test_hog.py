"""Gradient descriptors: the contract, where a cell looks, and what does not change them."""

import numpy as np
import pytest
import torch

from uop3d_core.backbones import hog, load_backbone


@pytest.fixture(scope="module")
def backbone():
    return load_backbone("hog")


def images(count, height, width, seed=0):
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed))


def test_contract(backbone):
    assert (backbone.stride, backbone.licence) == (8, "Apache-2.0") and backbone.fingerprint.startswith("hog")
    grid = backbone(images(2, 40, 64).requires_grad_())
    assert grid.shape == (2, backbone.channels, 5, 8) and grid.isfinite().all() and not grid.requires_grad


def test_uniform_image_is_finite_and_uniform(backbone):
    grid = backbone(torch.full((1, 3, 32, 32), 0.25))
    assert grid.isfinite().all()
    np.testing.assert_allclose(grid, grid[:, :, :1, :1].expand_as(grid), atol=1e-6)
    np.testing.assert_allclose(grid[0, -3:, 0, 0], -0.25)


def test_a_cell_sees_itself_and_its_surroundings_only(backbone):
    x = images(1, 160, 160)
    changed = x.clone()
    changed[:, :, 72:80, 80:88] = images(1, 8, 8, seed=1)  # cell row 9, column 10
    difference = (backbone(changed) - backbone(x))[0].norm(dim=0)
    assert divmod(int(difference.argmax()), 20) == (9, 10)
    rows, columns = torch.nonzero(difference > 1e-6, as_tuple=True)
    reach = 5  # 3 x 3 neighbours, 3 cells apart, of 3 x 3 means, and gradients one pixel wide
    assert (rows - 9).abs().max() <= reach and (columns - 10).abs().max() <= reach


def test_gradients_do_not_depend_on_brightness_and_contrast(backbone):
    x = images(1, 64, 64)
    np.testing.assert_allclose(backbone(0.5 * x + 0.3)[:, :-3], backbone(x)[:, :-3], atol=0.01)


def test_descriptors_tell_directions_apart(backbone):
    ramp = torch.linspace(0, 1, 64).expand(1, 3, 64, 64)
    towards_right, towards_left, down = (
        backbone(x)[0, :-3, 4, 4] for x in (ramp, ramp.flip(3), ramp.transpose(2, 3).contiguous())
    )
    for other in (towards_left, down):
        assert torch.nn.functional.cosine_similarity(towards_right, other, dim=0) < 0.3


def test_shifting_by_a_cell_shifts_the_grid(backbone):
    x = images(1, 160, 160)
    shifted = backbone(torch.roll(x, (8, 16), (2, 3)))
    expected = torch.roll(backbone(x), (1, 2), (2, 3))
    inner = slice(8, -8)  # away from the border and the seam
    np.testing.assert_allclose(shifted[..., inner, inner], expected[..., inner, inner], atol=1e-5)


def test_no_weights():
    with pytest.raises(ValueError, match=r"hog has no weights, but 'w\.safetensors' was given: use --backbone hog"):
        load_backbone("hog:w.safetensors")


def test_create_accepts_none():
    assert hog.create(None).to("cpu").channels == 219
