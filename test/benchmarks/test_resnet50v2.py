"""The ResNet-50 v2 plug-in against the numbers published with its weights, and its error messages."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from uop3d_core.backbones import backbone_names, load_backbone
from uop3d_core.images import read_rgb

plugin = pytest.importorskip("uop3d_resnet50v2", reason="pip install -e benchmarks/resnet50v2_backbone")

ROOT = Path(__file__).resolve().parents[2]
TAPS = ("block1.unit3", "block2.unit4", "block3.unit6", "postact")
SYNTHETIC = (
    (-3.44341, 6.19392, [-4.1034, -2.5902, -2.9400, -3.0188, 1.5186, 18.5488]),
    (-0.99042, 2.69890, [-2.8297, -0.7957, 0.9708, -2.3250, -0.9687, -0.4016]),
    (-1.41322, 1.73242, [-0.9572, -2.5732, 0.0946, 5.7269, -0.1729, -2.9660]),
    (0.14758, 0.51262, [0.0000, 0.0000, 0.0000, 2.5471, 0.0000, 0.0000]),
)
PHOTO = (
    (-2.60398, 4.34140, [-3.6981, -1.7811, -5.9042, -4.9420, 0.5707, 16.9046]),
    (-0.47966, 1.64524, [0.8423, -2.5953, 1.0113, -1.7855, 0.8173, -2.6735]),
    (-0.79745, 1.23006, [-0.4125, 0.3592, -0.7176, 2.7766, 0.8446, -2.8290]),
    (0.12340, 0.36938, [0.0000, 1.1897, 0.0000, 1.1534, 0.6035, 0.0000]),
)


def located(variable: str, default: str, relative: str) -> Path:
    """The file under the folder that an environment variable names, or that lies beside the repository."""
    path = Path(os.environ.get(variable, ROOT.parent / "shared" / default)) / relative
    if not path.exists():
        pytest.skip(f"{path} not found; set {variable} to the folder that holds {relative}")
    return path


@pytest.fixture(scope="module")
def weights() -> Path:
    return located("UOP3D_WEIGHTS", "weights", "resnet50v2_trunk.safetensors")


def synthetic_image() -> np.ndarray:
    i, j, c = np.ogrid[:64, :64, :3]
    return ((7 * i + 13 * j + 29 * c) % 256).astype(np.uint8)


def as_crop(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255


def check(taps: dict[str, torch.Tensor], expected: tuple, tolerance: float) -> None:
    assert tuple(taps) == TAPS
    for (tap, values), (mean, std, first_six) in zip(taps.items(), expected, strict=True):
        h, w = values.shape[2:]
        assert values.mean().item() == pytest.approx(mean, rel=1e-3), tap
        assert values.std().item() == pytest.approx(std, rel=1e-3), tap
        np.testing.assert_allclose(values[0, :6, h // 2, w // 2].numpy(), first_six, atol=tolerance, err_msg=tap)


def test_numbers_on_the_synthetic_image(weights: Path) -> None:
    taps = plugin.create(str(weights)).taps(as_crop(synthetic_image()))
    assert [tuple(t.shape) for t in taps.values()] == [(1, 256, 8, 8), (1, 512, 4, 4), (1, 1024, 4, 4), (1, 1024, 4, 4)]
    check(taps, SYNTHETIC, 5e-3)


def test_numbers_on_a_photo(weights: Path) -> None:
    photo = located("UOP3D_DATA", "data", "eth80/car/car_01/images/0000.jpg")
    check(plugin.create(str(weights)).taps(as_crop(read_rgb(photo))), PHOTO, 2e-2)


def test_the_entry_point_satisfies_the_contract(weights: Path) -> None:
    assert "resnet50v2" in backbone_names()
    backbone = load_backbone(f"resnet50v2:{weights}", "cpu")
    features = backbone(torch.rand(2, 3, 48, 80))
    assert features.shape == (2, backbone.channels, 48 // backbone.stride, 80 // backbone.stride)
    assert features.dtype == torch.float32 and not features.requires_grad
    assert backbone.licence == "Apache-2.0"
    assert backbone.fingerprint == load_backbone(f"resnet50v2:{weights}").fingerprint


def test_a_batch_gives_what_its_images_give(weights: Path) -> None:
    backbone = plugin.create(str(weights))
    images = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(backbone(images), torch.cat([backbone(image[None]) for image in images]))


def test_odd_sides_are_refused() -> None:
    with pytest.raises(ValueError, match="multiples of 16"):
        small_backbone()(torch.rand(1, 3, 40, 32))


def small_backbone() -> object:
    return plugin.ResNet50V2({key: torch.zeros(shape) for key, shape in plugin.expected_shapes().items()}, "zeros")


@pytest.mark.parametrize("path", [None, "nowhere/trunk.safetensors"])
def test_missing_weights_say_what_to_pass(path: str | None) -> None:
    with pytest.raises(FileNotFoundError, match="resnet50v2:path/to/"):
        plugin.create(path)


def test_wrong_tensors_are_named(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"conv1.weight": torch.zeros(64, 3, 7, 7)}, path)
    with pytest.raises(ValueError, match=r"w\.safetensors.*'conv1\.bias' is missing"):
        plugin.create(str(path))
    save_file({"conv1.weight": torch.zeros(64, 3, 3, 3)}, path)
    with pytest.raises(ValueError, match=r"w\.safetensors.*'conv1\.weight'.*\(64, 3, 3, 3\).*\(64, 3, 7, 7\)"):
        plugin.create(str(path))


def test_another_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"no tensors here, only words")
    with pytest.raises(ValueError, match="not a safetensors file"):
        plugin.create(str(path))
