"""Crops to logits with torch: the arithmetic is that of the device and the setting."""

import numpy as np
import pytest
import torch

from uop3d_core.backbones import load_backbone
from uop3d_core.config import PoseSettings
from uop3d_core.correspondence.model import CorrespondenceNet
from uop3d_core.correspondence.running import TorchNetwork
from uop3d_core.stopwatch import Stopwatch

CROPS = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
SHAPE = {
    "components": 8,
    "width": 16,
    "blocks": 1,
    "embedding": 8,
    "clutter": 2,
    "context_dropout": 0,
    "temperature": 1,
}


@pytest.fixture(scope="module")
def network() -> CorrespondenceNet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = CorrespondenceNet(219, torch.rand(12, 3), **SHAPE).eval()
        network.projection.copy_(torch.randn(8, 219))
    return network


def test_it_computes_what_its_parts_compute(network: CorrespondenceNet) -> None:
    backbone = load_backbone("hog")
    watch = Stopwatch()
    logits, offsets = TorchNetwork(backbone, network)(CROPS, watch)
    with torch.no_grad():
        expected = network(backbone(torch.from_numpy(CROPS).permute(0, 3, 1, 2) / 255))
    np.testing.assert_array_equal(logits, expected[0])
    np.testing.assert_array_equal(offsets, expected[1])
    assert logits.shape == (2, 8, 8, 13) and offsets.shape == (2, 8, 8, 3)
    assert list(watch.taken()) == ["backbone", "head"]


def test_half_precision_is_near_and_asked_for(network: CorrespondenceNet) -> None:
    full, auto, half = (TorchNetwork(load_backbone("hog"), network, "cpu", p)(CROPS) for p in ("full", "auto", "half"))
    assert np.array_equal(full[0], auto[0])
    assert half[0].dtype == np.float32
    assert 0 < np.abs(full[0] - half[0]).max() < 0.1


class Movable:
    """Stands for a backbone or a network on a GPU that need not be there."""

    stride, fingerprint = 8, "movable"

    def to(self, device: str, **_: object) -> "Movable":
        self.device = device
        return self


@pytest.mark.parametrize(
    ("device", "precision", "type_"),
    [
        ("cuda", "auto", torch.float16), ("cuda:1", "half", torch.float16), ("cuda", "full", None),
        ("cpu", "auto", None), ("cpu", "half", torch.bfloat16),
    ],
)  # fmt: skip
def test_arithmetic_by_device(device: str, precision: str, type_: torch.dtype | None) -> None:
    backbone, network = Movable(), Movable()
    assert TorchNetwork(backbone, network, device, precision)._fast is type_
    assert backbone.device == network.device == device


def test_an_unknown_precision() -> None:
    with pytest.raises(ValueError, match="known are auto, full, half"):
        TorchNetwork(Movable(), Movable(), "cpu", "double")
    with pytest.raises(ValueError, match="precision"):
        PoseSettings(precision="double")
