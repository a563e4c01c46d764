"""What each head is taught: cached crops in, one loss and a few figures to watch out.

All heads get the same crops: dense correspondences their labels and surface points, the others the pose alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy.spatial.transform import Rotation
from torch import Tensor

from uop3d_core.config import TrainSettings
from uop3d_core.correspondence.data import IGNORE
from uop3d_core.types import Symmetry, Template

SMOOTH = 1e-3
"""Distances much smaller than this have next to no gradient."""
ANY_TURNS = 72
"""Turns that stand for all of a body of revolution: at most 2.5 degrees from the best one."""


class Batch(NamedTuple):
    """Cached crops, stacked.

    Attributes:
        features: (B, components, h, w).
        labels: (B, 2h, 2w).
        points: (B, 2h, 2w, 3).
        poses: (B, 4, 4) crop_T_obj.
        focals: (B,) in sides of the crop.
    """

    features: Tensor
    labels: Tensor
    points: Tensor
    poses: Tensor
    focals: Tensor


Loss = Callable[[Any, Batch, np.random.Generator], dict[str, Tensor]]
"""Network, crops, random numbers: "loss", which is differentiated, and figures to watch."""


def loss_of(settings: TrainSettings, template: Template) -> Loss:
    """What the head that settings ask for is taught."""
    vertices = torch.tensor(template.mesh.vertices).float()
    dense = partial(_dense, settings, vertices, torch.cdist(vertices, vertices) < settings.neighbourhood)
    about = torch.tensor(turns(template.symmetry)).float()
    keypoints, rotation = partial(_keypoints, about), partial(_rotation, about)
    known: dict[str, Loss] = {"hybrid": partial(_hybrid, dense, keypoints), "dense": dense, "keypoints": keypoints}
    return known.get(settings.head, rotation)


def turns(symmetry: Symmetry) -> np.ndarray:
    """(S, 3, 3) rotations in obj that change nothing, the identity first."""
    count = symmetry.fold or ANY_TURNS
    angles = 2 * np.pi * np.arange(count) / count
    return Rotation.from_rotvec(angles[:, None] * symmetry.axis).as_matrix()


def arithmetic() -> torch.autocast:
    """Half precision where this processor is fast at it."""
    return torch.autocast("cpu", torch.bfloat16, enabled=torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _seen(batch: Batch) -> Tensor:
    return batch.features.float().contiguous(memory_format=torch.channels_last)


def _hybrid(dense: Loss, keypoints: Loss, net: Any, batch: Batch, rng: np.random.Generator) -> dict[str, Tensor]:
    """Both losses; figures of the keypoints are named so."""
    figures, beside = dense(net, batch, rng), keypoints(net.light, batch, rng)
    named = {f"keypoints_{name}": value.detach() for name, value in beside.items()}
    return {**figures, **named, "loss": figures["loss"] + beside["loss"]}


# ---- rotations -------------------------------------------------------------------------------------------------------


def _rotation(about: Tensor, net: Any, batch: Batch, rng: np.random.Generator) -> dict[str, Tensor]:
    with arithmetic():
        [found] = net.say(_seen(batch))
    sine = rotation_distance(found, batch.poses[:, :3, :3], about)
    return {"loss": sine.mean(), "rotation_error_deg": _degrees(sine)}


def rotation_distance(found: Tensor, crop_R_obj: Tensor, about: Tensor) -> Tensor:
    """(B,) sines of half the angles between (B, 3, 3) rotations and the nearest of equivalent ones.

    That is their Frobenius distance over its largest value. It is the same for all parametrisations, blind to the sign
    of a quaternion, and far errors pull no harder than near ones.

    Args:
        found: (B, 3, 3).
        crop_R_obj: (B, 3, 3) true rotations.
        about: (S, 3, 3) turns in obj that change nothing.
    """
    squares = ((found[:, None] - crop_R_obj[:, None] @ about) ** 2).sum((2, 3)).amin(1) / 8
    return (squares + SMOOTH**2).sqrt()


def _degrees(sine: Tensor) -> Tensor:
    return torch.rad2deg(2 * sine.detach().clamp(max=1).asin()).median()


# ---- keypoints -------------------------------------------------------------------------------------------------------


def _keypoints(about: Tensor, net: Any, batch: Batch, rng: np.random.Generator) -> dict[str, Tensor]:
    with arithmetic():
        found, spread = net.say(_seen(batch))
    distance, true = keypoint_distance(found, net.keypoints, batch.poses, batch.focals, about)
    loss = (true / spread + 2 * spread.log()).mean()
    return {"loss": loss, "point_error": distance.mean().detach(), "spread": spread.mean().detach()}


def keypoint_distance(
    found: Tensor, keypoints: Tensor, crop_T_obj: Tensor, focals: Tensor, about: Tensor
) -> tuple[Tensor, Tensor]:
    """Distances between keypoints found in crops and those of the nearest of equivalent poses, in sides of the crop.

    Args:
        found: (B, K, 2) positions, 0 to 1 across the crop.
        keypoints: (K, 3) in obj.
        crop_T_obj: (B, 4, 4).
        focals: (B,) in sides of the crop.
        about: (S, 3, 3) turns in obj that change nothing.

    Returns:
        the mean over the keypoints (B,), and all of them (B, K).
    """
    turned = torch.einsum("sij,kj->ski", about, keypoints)
    seen = torch.einsum("bij,skj->bski", crop_T_obj[:, :3, :3], turned) + crop_T_obj[:, None, None, :3, 3]
    places = focals[:, None, None, None] * seen[..., :2] / seen[..., 2:] + 0.5
    apart = (((found[:, None] - places) ** 2).sum(-1) + SMOOTH**2).sqrt()
    best = apart.mean(2).argmin(1)
    chosen = apart[torch.arange(len(apart)), best]
    return chosen.mean(1), chosen


# ---- dense correspondences -------------------------------------------------------------------------------------------


def _dense(
    settings: TrainSettings, vertices: Tensor, near: Tensor, net: Any, batch: Batch, rng: np.random.Generator
) -> dict[str, Tensor]:
    labels, points = batch.labels.long(), batch.points.float()
    with arithmetic():
        embeddings, offsets = net.embed(_seen(batch))
    rows = torch.from_numpy(_draw_pixels(labels.numpy(), len(vertices), settings.pixels_per_crop, rng))
    target = labels.reshape(-1)[rows]
    logits = net.logits(_rows(embeddings, rows))
    apart = point_error(logits, _rows(offsets, rows), target, points.reshape(-1, 3)[rows], vertices, near)
    clutter = target == logits.shape[1] - 1
    right = logits.detach().argmax(1) == target
    return {
        "loss": F.cross_entropy(logits, target) + settings.offset_weight * apart,
        "point_error": apart.detach(),
        "vertex_accuracy": right[~clutter].float().mean().nan_to_num(),
        "clutter_accuracy": right[clutter].float().mean().nan_to_num(),
    }


def _rows(grids: Tensor, rows: Tensor) -> Tensor:
    """(N, D) some pixels of (B, D, H, W) grids."""
    return grids.float().permute(0, 2, 3, 1).reshape(-1, grids.shape[1])[rows]


def point_error(
    logits: Tensor, offsets: Tensor, target: Tensor, points: Tensor, vertices: Tensor, near: Tensor
) -> Tensor:
    """Mean distance in object units between the points that pixels are taken for and those that they show.

    A pixel is taken for the mean of the vertices near the right one, by their probabilities, plus its offset.

    Args:
        logits: (N, V + 1).
        offsets: (N, 3).
        target: (N,) right vertices, V for clutter.
        points: (N, 3) right points, NaN where unknown.
        vertices: (V, 3) template.
        near: (V, V) bool neighbourhoods.
    """
    known = (target < len(vertices)) & points.isfinite().all(1)
    local = logits[known, :-1].masked_fill(~near[target[known]], -torch.inf).softmax(1)
    return (local @ vertices + offsets[known] - points[known]).norm(dim=1).sum() / known.sum().clamp(min=1)


def _draw_pixels(labels: np.ndarray, clutter: int, per_crop: int, rng: np.random.Generator) -> np.ndarray:
    """Flat indices of supervised pixels: per crop, three quarters on the object and a quarter on clutter."""
    flat = labels.reshape(len(labels), -1)
    rows = []
    for index, row in enumerate(flat):
        for wanted, pool in (
            (3 * per_crop // 4, np.flatnonzero((row != IGNORE) & (row != clutter))),
            (per_crop // 4, np.flatnonzero(row == clutter)),
        ):
            if len(pool):
                rows.append(index * flat.shape[1] + rng.choice(pool, min(wanted, len(pool)), replace=False))
    return np.concatenate(rows) if rows else np.zeros(0, np.int64)
