"""The correspondence network: backbone features of a crop to logits over template vertices and clutter.

In: (B, C, h, w) backbone features of square crops. Out: (B, D, 2h, 2w) unit pixel embeddings, compared with one unit
embedding per template vertex (the bank) and a few for clutter, as in NeMo (Wang et al., ICLR 2021) and Sommer et al.
Pixel (x, y) of the output grid is centred at crop position (x + 0.5) / (2w), (y + 0.5) / (2h) in [0, 1].
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

UPSAMPLING = 2


class CorrespondenceNet(nn.Module):
    """Trainable head with its frozen input projection, vertex bank and clutter embeddings."""

    mean: Tensor
    projection: Tensor

    def __init__(
        self,
        channels: int,
        vertices: int,
        *,
        components: int,
        width: int,
        blocks: int,
        embedding: int,
        clutter: int,
        context_dropout: float,
        temperature: float,
    ) -> None:
        """Args: backbone channels, template vertices, and the fields of TrainSettings with the same names."""
        super().__init__()
        self.temperature = temperature
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("projection", torch.zeros(min(components, channels), channels))
        self.stem = nn.Conv2d(self.projection.shape[0], width, 1)
        dilations = [1 + index % 3 for index in range(blocks)]
        self.blocks = nn.ModuleList(ResidualBlock(width, dilation) for dilation in dilations)
        self.context = nn.Sequential(
            nn.Linear(2 * width, width), nn.ReLU(), nn.Dropout(context_dropout), nn.Linear(width, width)
        )
        self.position = nn.Conv2d(2, width, 1)
        self.late = ResidualBlock(width, 1)
        self.out = nn.Conv2d(width, embedding * UPSAMPLING**2, 1)
        self.bank = nn.Parameter(torch.randn(vertices, embedding))
        self.clutter = nn.Parameter(torch.randn(clutter, embedding))

    def project(self, features: Tensor) -> Tensor:
        """Backbone features (B, C, h, w) to whitened components (B, components, h, w)."""
        return F.conv2d(features - self.mean[:, None, None], self.projection[:, :, None, None])

    def embed(self, components: Tensor) -> Tensor:
        """Components (B, components, h, w) to unit pixel embeddings (B, D, 2h, 2w)."""
        x = self.stem(components)
        for block in self.blocks:
            x = block(x)
        context = self.context(torch.cat([x.mean((2, 3)), x.amax((2, 3))], dim=1))
        x = self.late(x + context[:, :, None, None] + self.position(_coordinates(x)))
        return F.normalize(F.pixel_shuffle(self.out(x), UPSAMPLING), dim=1)

    def logits(self, embeddings: Tensor) -> Tensor:
        """(..., D) unit embeddings to (..., V + 1) logits; the last is clutter (log-sum over its embeddings)."""
        vertices = embeddings @ F.normalize(self.bank, dim=1).T
        clutter = embeddings @ F.normalize(self.clutter, dim=1).T
        clutter_logit = torch.logsumexp(clutter / self.temperature, dim=-1, keepdim=True)
        return torch.cat([vertices / self.temperature, clutter_logit], dim=-1)

    def forward(self, features: Tensor) -> Tensor:
        """Backbone features (B, C, h, w) to logits (B, 2h, 2w, V + 1)."""
        return self.logits(self.embed(self.project(features)).permute(0, 2, 3, 1))


class ResidualBlock(nn.Module):
    """Bottleneck: 1 x 1, dilated 3 x 3, 1 x 1, with group normalisation (small batches, same at test time)."""

    def __init__(self, width: int, dilation: int) -> None:
        """Args: channels in and out, dilation of the 3 x 3 convolution."""
        super().__init__()
        inner = max(width // 2, 8)
        self.layers = nn.Sequential(
            nn.GroupNorm(8, width),
            nn.ReLU(),
            nn.Conv2d(width, inner, 1, bias=False),
            nn.GroupNorm(8, inner),
            nn.ReLU(),
            nn.Conv2d(inner, inner, 3, padding=dilation, dilation=dilation, bias=False),
            nn.GroupNorm(8, inner),
            nn.ReLU(),
            nn.Conv2d(inner, width, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, h, w) to the same."""
        return x + self.layers(x)


def _coordinates(x: Tensor) -> Tensor:
    """(1, 2, h, w) positions in the crop, -1 to 1 at its edges."""
    h, w = x.shape[2:]
    ys = (torch.arange(h, device=x.device, dtype=x.dtype) + 0.5) / h * 2 - 1
    xs = (torch.arange(w, device=x.device, dtype=x.dtype) + 0.5) / w * 2 - 1
    return torch.stack(torch.meshgrid(ys, xs, indexing="ij")).flip(0)[None]
