"""A model run by torch: crops to what its head says, in full precision on a CPU and half on a GPU.

In: crops (B, S, S, 3) uint8 RGB. Out: numpy logits (B, G, G, V + 1) and offsets (B, G, G, 3), or what
another head says.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from uop3d_core.backbones import FeatureBackbone
from uop3d_core.geometry import Array
from uop3d_core.stopwatch import Watch, unwatched

PRECISIONS: dict[str, dict[str, torch.dtype]] = {
    "auto": {"cuda": torch.float16},
    "full": {},
    "half": {"cuda": torch.float16, "cpu": torch.bfloat16},
}
"""Type of the fast arithmetic by setting and kind of device; where there is none, everything is float32."""


class TorchNetwork:
    """See CropNetwork."""

    def __init__(
        self, backbone: FeatureBackbone, network: nn.Module, device: str = "cpu", precision: str = "auto"
    ) -> None:
        """Move both to a torch device.

        Raises:
            ValueError: an unknown precision.
        """
        if precision not in PRECISIONS:
            raise ValueError(f"unknown precision {precision!r}; known are {', '.join(PRECISIONS)}")
        self._kind = torch.device(device).type
        self._fast = PRECISIONS[precision].get(self._kind)
        self._backbone, self._device = backbone.to(device), device
        self._network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.stride = backbone.stride
        self.shares = f"{backbone.fingerprint} {device} {self._fast}"

    def __call__(self, images: Array, watch: Watch = unwatched) -> tuple[Array, ...]:
        """The head's outputs; laps "backbone" and "head"."""
        return self.decode(self.features(images, watch), watch)

    def features(self, images: Array, watch: Watch = unwatched) -> Tensor:
        """(B, C, h, w) of the backbone, on the device; lap "backbone"."""
        with watch("backbone"):
            return self._features(images)

    @torch.no_grad()
    def decode(self, features: Tensor, watch: Watch = unwatched) -> tuple[Array, ...]:
        """The head's outputs; lap "head"."""
        with watch("head"):
            with self._arithmetic():
                found = self._network(features)
            return tuple(output.float().cpu().numpy() for output in found)

    def backbone_alone(self) -> Callable[[Array], object]:
        """The backbone."""
        return self._features

    @torch.no_grad()
    def _features(self, images: Array) -> Tensor:
        """(B, C, h, w) float32 on the device, computed when this returns."""
        stacked = torch.from_numpy(images).to(self._device)
        with self._arithmetic():
            features = self._backbone(stacked.permute(0, 3, 1, 2).float() / 255).float()
        if self._kind == "cuda":
            torch.cuda.synchronize(features.device)
        return features

    def _arithmetic(self) -> torch.autocast:
        return torch.autocast(self._kind, self._fast or torch.bfloat16, enabled=self._fast is not None)
