"""Image features behind one small contract; third parties add theirs by a Python entry point.

In: float RGB crops (B, 3, H, W) in [0, 1]. Out: a grid of features (B, C, H / stride, W / stride).
Cell (i, j) is centred at crop pixel ((j + 0.5) * stride - 0.5, (i + 0.5) * stride - 0.5).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from uop3d_core.plugins import known_names, load_factory

if TYPE_CHECKING:
    from torch import Tensor

ENTRY_POINT_GROUP = "uop3d.backbones"
BUILT_IN = {
    "dinov2-small": "uop3d_core.backbones.dinov2:small",
    "dinov2-base": "uop3d_core.backbones.dinov2:base",
    "hog": "uop3d_core.backbones.hog:create",
}


class FeatureBackbone(Protocol):
    """Frozen image features.

    Attributes:
        channels: C.
        stride: pixels per feature cell; crops have sides that are multiples of it.
        licence: licence of the weights, as an SPDX identifier or a short text; stored in models.
        fingerprint: changes whenever the features would change (name, weights, version).
    """

    channels: int
    stride: int
    licence: str
    fingerprint: str

    def to(self, device: str) -> FeatureBackbone:
        """Move to a torch device and return self."""
        ...

    def __call__(self, images: Tensor) -> Tensor:
        """Features of (B, 3, H, W) crops in [0, 1] as (B, C, H / stride, W / stride), same device, no gradient."""
        ...


def backbone_names() -> list[str]:
    """All names that `load_backbone` knows, built in or installed."""
    return known_names(BUILT_IN, ENTRY_POINT_GROUP)


def load_backbone(spec: str, device: str = "cpu") -> FeatureBackbone:
    """Load a backbone from ``NAME`` or ``NAME:WEIGHTS`` (a file or folder).

    An installed entry point of group ``uop3d.backbones`` names a factory ``create(weights: str | None)`` that returns
    a FeatureBackbone.

    Raises:
        ValueError: unknown name; the message lists the known ones.
        FileNotFoundError: the weights are not there.
    """
    name, _, weights = spec.partition(":")
    factory = load_factory(name, "backbone", BUILT_IN, ENTRY_POINT_GROUP)
    backbone: FeatureBackbone = factory(weights or None).to(device)
    return backbone
