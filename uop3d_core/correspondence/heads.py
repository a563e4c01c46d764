"""All heads: dense correspondences with keypoints beside them, either alone, and light ones that say the rotation.

In: (B, C, h, w) backbone features of square crops; light heads look at half the resolution. Out: what the dense
network says; where points of the template lie in the crop; or crop_R_obj, the rotation in the virtual camera of the
crop, as a unit quaternion, by Gram-Schmidt from six numbers (Zhou et al., CVPR 2019) or by SVD from nine (Levinson et
al., NeurIPS 2020). Keypoints and the three rotations are the four that SLOPE-KP compares.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from uop3d_core.config import TrainSettings
from uop3d_core.correspondence.model import CorrespondenceNet, Trunk
from uop3d_core.geometry import farthest_points
from uop3d_core.types import Template

POOLED = 6
"""Cells along the side of the grid that the rotation is read from; fewer would not tell left from right."""
GAP = 1e-3
"""Sum of two singular values below which the gradient of the nearest rotation grows no more."""


def build_network(channels: int, template: Template, settings: TrainSettings) -> Trunk:
    """The untrained network that settings ask for.

    Args:
        channels: of the backbone.
        template: in obj.
        settings: of which `head` and those that shape the network count.
    """
    vertices = template.mesh.vertices
    keypoints = torch.tensor(vertices[farthest_points(vertices, settings.keypoints)])
    if settings.head == "hybrid":
        return HybridNet(channels, torch.tensor(vertices), keypoints, **settings.network_arguments())
    if settings.head == "dense":
        return CorrespondenceNet(channels, torch.tensor(vertices), **settings.network_arguments())
    if settings.head == "keypoints":
        return KeypointNet(channels, keypoints, **settings.trunk_arguments())
    return RotationNet(channels, settings.head, **settings.trunk_arguments())


class RotationNet(Trunk):
    """The trunk, pooled into the numbers of a rotation."""

    def __init__(self, channels: int, kind: str, **trunk: Any) -> None:
        """Args: as of Trunk, and the name of the parametrisation."""
        super().__init__(channels, **trunk)
        self.rotation, numbers = PARAMETRISATIONS[kind]
        width = self.stem.out_channels
        narrow = max(width // 4, 8)
        self.read = nn.Sequential(
            nn.Conv2d(width, narrow, 1),
            nn.AdaptiveAvgPool2d(POOLED),
            nn.Flatten(),
            nn.ReLU(),
            nn.Dropout(trunk["context_dropout"]),
            nn.Linear(narrow * POOLED**2, width),
            nn.ReLU(),
            nn.Linear(width, numbers),
        )

    def say(self, components: Tensor) -> tuple[Tensor, ...]:
        """Components (B, components, h, w) to crop_R_obj (B, 3, 3), in single precision whatever went before."""
        numbers = self.read(self.look(coarse(components))).float()
        with torch.autocast(numbers.device.type, enabled=False):
            return (self.rotation(numbers),)


class KeypointNet(Trunk):
    """The trunk with a heat map for every keypoint, of which mean and spread are taken (Nibali et al., 2018)."""

    keypoints: Tensor

    def __init__(self, channels: int | None, keypoints: Tensor, **trunk: Any) -> None:
        """Args: as of Trunk, and the keypoints (K, 3) in obj."""
        super().__init__(channels, **trunk)
        self.register_buffer("keypoints", keypoints.float())
        self.heat = nn.Conv2d(self.stem.out_channels, len(keypoints), 1)

    def say(self, components: Tensor) -> tuple[Tensor, ...]:
        """Components (B, components, h, w) to positions (B, K, 2) in the crop, 0 to 1 across, and spreads (B, K).

        A spread is the standard deviation along one axis, in sides of the crop, and at least that of one cell.
        """
        heat = self.heat(self.look(coarse(components))).float()
        h, w = heat.shape[2:]
        with torch.autocast(heat.device.type, enabled=False):
            share = heat.flatten(2).softmax(2)
            ys = (torch.arange(h, device=heat.device) + 0.5) / h
            xs = (torch.arange(w, device=heat.device) + 0.5) / w
            cells = torch.stack(torch.meshgrid(ys, xs, indexing="ij"), -1).flip(-1).reshape(-1, 2)
            mean = share @ cells
            variance = (share @ (cells**2).sum(1) - (mean**2).sum(-1)) / 2
            return mean, (variance.clamp(min=0) + 1 / (12 * h * w)).sqrt()


class HybridNet(CorrespondenceNet):
    """The dense network, and beside it that of the keypoints; what both say is solved as one.

    Pixels know the surface that they show, keypoints the whole object, hidden parts too. That different kinds of
    predictions make up for each other's weaknesses is the idea of HybridPose (Song et al., CVPR 2020).
    """

    def __init__(self, channels: int, vertices: Tensor, keypoints: Tensor, **arguments: Any) -> None:
        """Args: as of CorrespondenceNet, and the keypoints (K, 3) in obj."""
        super().__init__(channels, vertices, **arguments)
        trunk = {name: arguments[name] for name in ("width", "blocks", "context_dropout")}
        self.light = KeypointNet(None, keypoints, components=self.projection.shape[0], **trunk)

    def say(self, components: Tensor) -> tuple[Tensor, ...]:
        """What CorrespondenceNet says, then what KeypointNet says."""
        return *super().say(components), *self.light.say(components)

    def groups(self) -> list[list[nn.Parameter]]:
        """Those of the dense network, and those of the keypoints'."""
        named = list(self.named_parameters())
        return [[value for name, value in named if name.startswith("light.") == light] for light in (False, True)]


def coarse(grids: Tensor) -> Tensor:
    """(B, C, h, w) averaged to half as many cells along each side: what is pooled in the end needs no fine grid."""
    h, w = grids.shape[2:]
    return F.adaptive_avg_pool2d(grids, (-(-h // 2), -(-w // 2)))


def from_quaternion(numbers: Tensor) -> Tensor:
    """Rotations (..., 3, 3) of (..., 4) quaternions w, x, y, z of any length but zero."""
    w, x, y, z = F.normalize(numbers, dim=-1).unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, -1).unflatten(-1, (3, 3))


def from_six(numbers: Tensor) -> Tensor:
    """Rotations (..., 3, 3) of (..., 6): the first two columns, made orthonormal one after the other."""
    first = F.normalize(numbers[..., :3], dim=-1)
    second = numbers[..., 3:] - (first * numbers[..., 3:]).sum(-1, keepdim=True) * first
    second = F.normalize(second, dim=-1)
    return torch.stack([first, second, torch.linalg.cross(first, second)], -1)


def from_nine(numbers: Tensor) -> Tensor:
    """Rotations (..., 3, 3) nearest to the matrices that (..., 9) are row by row."""
    nearest: Tensor = _NearestRotation.apply(numbers.unflatten(-1, (3, 3)))
    return nearest


class _NearestRotation(torch.autograd.Function):
    """R = U diag(1, 1, det) V^T of M = U S V^T, with a gradient that is finite where singular values are equal.

    With M = R P, P symmetric, the skew part of R^T dM is W P + P W for dR = R W. In the basis V this divides by sums of
    the (signed) singular values only, while differentiating U and V by themselves divides by their differences.
    """

    @staticmethod
    def forward(ctx: Any, M: Tensor) -> Tensor:
        U, S, Vt = torch.linalg.svd(M)
        sign = torch.linalg.det(U @ Vt).sign()
        S = torch.cat([S[..., :2], S[..., 2:] * sign[..., None]], -1)
        R = torch.cat([U[..., :2], U[..., 2:] * sign[..., None, None]], -1) @ Vt
        ctx.save_for_backward(R, S, Vt)
        return R

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        R, S, Vt = ctx.saved_tensors
        sums = (S[..., :, None] + S[..., None, :]).clamp(min=GAP)
        Z = Vt @ R.mT @ gradients[0] @ Vt.mT / sums
        return R @ Vt.mT @ (Z - Z.mT) @ Vt


PARAMETRISATIONS: dict[str, tuple[Callable[[Tensor], Tensor], int]] = {
    "quaternion": (from_quaternion, 4),
    "rotation6d": (from_six, 6),
    "rotation9d": (from_nine, 9),
}
"""Rotations from so many numbers, by the name of the head."""
