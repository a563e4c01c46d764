"""Dense gradient descriptors: a backbone without weights, the embedded default of the demo.

Histograms of oriented gradients after Dalal and Triggs (CVPR 2005): signed orientation histograms of small cells,
normalised over their surroundings at two scales, with the mean colour beside them.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

ORIENTATIONS = 12


class Hog:
    """See FeatureBackbone. Channels: 12 orientations at two pooling scales over 3 x 3 neighbours, and 3 colours."""

    stride = 8
    licence = "Apache-2.0"
    fingerprint = "hog-1"

    def __init__(self) -> None:
        """No weights."""
        self.channels = 2 * 9 * ORIENTATIONS + 3
        self._device = "cpu"

    def to(self, device: str) -> Hog:
        """Move to a torch device."""
        self._device = device
        return self

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] to (B, 219, H / 8, W / 8)."""
        images = images.to(self._device)
        grey = images.mean(1, keepdim=True)
        padded = F.pad(grey, (1, 1, 1, 1), mode="replicate")
        dx = (padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]) / 2
        dy = (padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]) / 2
        magnitude = (dx**2 + dy**2).sqrt()
        position = torch.atan2(dy, dx) / (2 * math.pi) * ORIENTATIONS
        bins = torch.arange(ORIENTATIONS, device=images.device).view(1, -1, 1, 1)
        offset = torch.remainder(position - bins + ORIENTATIONS / 2, ORIENTATIONS) - ORIENTATIONS / 2
        oriented = magnitude * (1 - offset.abs()).clamp(min=0)
        fine = F.avg_pool2d(oriented, self.stride)
        coarse = F.avg_pool2d(F.pad(fine, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
        blocks = [self._block(fine, 1), self._block(coarse, 3)]
        colour = F.avg_pool2d(images, self.stride) - 0.5
        return torch.cat([*blocks, colour], dim=1)

    @staticmethod
    def _block(cells: Tensor, spread: int) -> Tensor:
        """Stack the 3 x 3 neighbours at distance `spread` and normalise, clip, normalise again (L2-Hys)."""
        B, C, H, W = cells.shape
        stacked = F.unfold(F.pad(cells, (spread,) * 4, mode="replicate"), 3, dilation=spread).view(B, 9 * C, H, W)
        return F.normalize(F.normalize(stacked + 1e-4, dim=1).clamp(max=0.2), dim=1)


def create(weights: str | None) -> Hog:
    """Factory for the backbone table.

    Raises:
        ValueError: weights were given; this backbone has none.
    """
    if weights is not None:
        raise ValueError(f"backbone hog has no weights, but {weights!r} was given: use --backbone hog")
    return Hog()
