"""The correspondence network: backbone features of a crop to logits over template vertices and clutter.

In: (B, C, h, w) backbone features of square crops. Out: (B, D, 2h, 2w) unit pixel embeddings, compared with one unit
embedding per template vertex (the bank) and a few for clutter, as in NeMo (Wang et al., ICLR 2021) and Sommer et al.;
beside them (B, 3, 2h, 2w) offsets of the object's own shape from the template's.
Pixel (x, y) of the output grid is centred at crop position (x + 0.5) / (2w), (y + 0.5) / (2h) in [0, 1].
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

UPSAMPLING = 2
WAVES, OWN = 64, 0.3
"""Number of waves over the template that vertex embeddings are mixed from, and the size of what each has of its own."""
LONGEST, SHORTEST = 0.5, 5.7
"""Typical waves per object unit and axis, from the longest to the shortest."""


class Trunk(nn.Module):
    """What all networks begin with: the frozen projection of the backbone's features, and layers that look around."""

    mean: Tensor
    projection: Tensor

    def __init__(
        self, channels: int | None, *, components: int, width: int, blocks: int, context_dropout: float
    ) -> None:
        """Args: backbone channels, None for a part of a network that projects already, and fields of TrainSettings."""
        super().__init__()
        if channels is not None:
            components = min(components, channels)
            self.register_buffer("mean", torch.zeros(channels))
            self.register_buffer("projection", torch.zeros(components, channels))
        self.stem = nn.Conv2d(components, width, 1)
        dilations = [1 + index % 3 for index in range(blocks)]
        self.blocks = nn.ModuleList(ResidualBlock(width, dilation) for dilation in dilations)
        self.context = nn.Sequential(
            nn.Linear(2 * width, width), nn.ReLU(), nn.Dropout(context_dropout), nn.Linear(width, width)
        )
        self.position = nn.Conv2d(2, width, 1)
        self.late = ResidualBlock(width, 1)

    def project(self, features: Tensor) -> Tensor:
        """Backbone features (B, C, h, w) to whitened components (B, components, h, w)."""
        return F.conv2d(features, self.projection[:, :, None, None], -(self.projection @ self.mean))

    def look(self, components: Tensor) -> Tensor:
        """Components (B, components, h, w) to (B, width, h, w) that know their surroundings and where they are."""
        x = self.stem(components)
        for block in self.blocks:
            x = block(x)
        context = self.context(torch.cat([x.mean((2, 3)), x.amax((2, 3))], dim=1))
        seen: Tensor = self.late(x + context[:, :, None, None] + self.position(_coordinates(x)))
        return seen

    def say(self, components: Tensor) -> tuple[Tensor, ...]:
        """What the network says of components (B, components, h, w)."""
        raise NotImplementedError

    def forward(self, features: Tensor) -> tuple[Tensor, ...]:
        """What the network says of backbone features (B, C, h, w)."""
        return self.say(self.project(features))

    def groups(self) -> list[list[nn.Parameter]]:
        """Parameters that share no gradient, in groups: each is clipped by itself."""
        return [list(self.parameters())]


class CorrespondenceNet(Trunk):
    """The trunk with an embedding of every pixel, the vertex bank and clutter embeddings."""

    waves: Tensor

    def __init__(
        self,
        channels: int,
        vertices: Tensor,
        *,
        embedding: int,
        clutter: int,
        temperature: float,
        **trunk: Any,
    ) -> None:
        """Args: as of Trunk, template vertices (V, 3), and the fields of TrainSettings with the same names."""
        super().__init__(channels, **trunk)
        self.temperature = temperature
        self.out = nn.Conv2d(self.stem.out_channels, (embedding + 3) * UPSAMPLING**2, 1)
        self.register_buffer("waves", _waves(vertices, WAVES))
        self.mixture = nn.Parameter(torch.randn(2 * WAVES, embedding) * WAVES**-0.5)
        self.own = nn.Parameter(torch.randn(len(vertices), embedding) * OWN)
        self.clutter = nn.Parameter(torch.randn(clutter, embedding))

    def embed(self, components: Tensor) -> tuple[Tensor, Tensor]:
        """Components (B, components, h, w) to unit pixel embeddings (B, D, 2h, 2w) and offsets (B, 3, 2h, 2w).

        Offsets are in object units: from where the template has what a pixel shows to where the object in the image
        has it, so that a tall car is not taken for a flat one seen from higher up.
        """
        out = F.pixel_shuffle(self.out(self.look(components)), UPSAMPLING)
        return F.normalize(out[:, :-3], dim=1), out[:, -3:]

    @property
    def bank(self) -> Tensor:
        """(V, D) unit embeddings of the vertices: waves over the template, mixed, and something of each vertex's own.

        Neighbours so are alike from the start, and what is learned of one vertex is learned of those around it.
        """
        return F.normalize(self.own + self.waves @ self.mixture, dim=1)

    def logits(self, embeddings: Tensor) -> Tensor:
        """(..., D) unit embeddings to (..., V + 1) logits; the last is clutter (log-sum over its embeddings).

        That of clutter goes through the product with the bank as one more dimension: joining it on afterwards, or
        dividing by the temperature there, would copy all logits, which takes longer than the product.
        """
        scaled = embeddings / self.temperature
        clutter = torch.logsumexp(scaled @ F.normalize(self.clutter, dim=1).T, dim=-1, keepdim=True)
        return torch.cat([scaled, clutter], dim=-1) @ torch.block_diag(self.bank, self.bank.new_ones(1, 1)).T

    def say(self, components: Tensor) -> tuple[Tensor, ...]:
        """Components (B, components, h, w) to logits (B, 2h, 2w, V + 1) and offsets (B, 2h, 2w, 3)."""
        embeddings, offsets = self.embed(components)
        return self.logits(embeddings.permute(0, 2, 3, 1)), offsets.permute(0, 2, 3, 1)


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


def _waves(vertices: Tensor, count: int) -> Tensor:
    """(V, 2 * count) sines and cosines of random directions and of wave lengths over several octaves.

    These are the random Fourier features of Tancik et al., NeurIPS 2020.
    """
    directions = torch.randn(3, count, generator=torch.Generator().manual_seed(0))
    frequencies = torch.logspace(math.log10(LONGEST), math.log10(SHORTEST), count)
    phase = 2 * torch.pi * (vertices.float() @ (directions * frequencies))
    return torch.cat([phase.sin(), phase.cos()], dim=1)


def _coordinates(x: Tensor) -> Tensor:
    """(1, 2, h, w) positions in the crop, -1 to 1 at its edges."""
    h, w = x.shape[2:]
    ys = (torch.arange(h, device=x.device, dtype=x.dtype) + 0.5) / h * 2 - 1
    xs = (torch.arange(w, device=x.device, dtype=x.dtype) + 0.5) / w * 2 - 1
    return torch.stack(torch.meshgrid(ys, xs, indexing="ij")).flip(0)[None]
