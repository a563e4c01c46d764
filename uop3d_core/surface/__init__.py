"""Capture to Surface: a coarse closed mesh, and what each of its vertices looks like.

The features of all captures of a category are projected on one basis (principal components, scaled to equal
variance), which is fitted on a few frames of a few captures first: matches become better and storage smaller.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from uop3d_core.backbones import FeatureBackbone
from uop3d_core.config import SurfaceSettings
from uop3d_core.geometry import Array
from uop3d_core.surface.features import vertex_observations
from uop3d_core.surface.mesh import coarse_mesh
from uop3d_core.types import Capture, Mesh, Surface

BASIS_CAPTURES = 6
BASIS_FRAMES = 10
LEVEL = np.deg2rad(4.0)
"""How level a camera is held; views that lean more have little say on what is up."""
ROUNDS = 10
TIE_BREAKER = 1e-3
"""Say of the mean up of images beside that of their x axes, where 1 is as much as from all around."""


@dataclass(frozen=True, eq=False)
class FeatureBasis:
    """Affine map of backbone features to whitened principal components.

    Attributes:
        mean: (C,) float32.
        weights: (C, D) float32.
    """

    mean: Array
    weights: Array

    def apply(self, features: Array) -> Array:
        """(N, C) features to (N, D), L2-normalised."""
        projected = (features - self.mean) @ self.weights
        return projected / np.maximum(np.linalg.norm(projected, axis=1, keepdims=True), 1e-9)


def fit_basis(
    captures: Sequence[Capture], meshes: Sequence[Mesh], backbone: FeatureBackbone, settings: SurfaceSettings
) -> FeatureBasis:
    """Whitening principal components of vertex features, from some frames of some captures (evenly chosen)."""
    chosen = np.unique(np.linspace(0, len(captures) - 1, BASIS_CAPTURES).round().astype(int))
    samples = []
    for index in chosen:
        frames = captures[index].frames
        keep = np.unique(np.linspace(0, len(frames) - 1, BASIS_FRAMES).round().astype(int))
        part = Capture(captures[index].name, tuple(frames[i] for i in keep))
        samples += [features for _, features in vertex_observations(part, meshes[index], backbone, settings)]
    stacked = np.concatenate(samples).astype(np.float64)
    mean = stacked.mean(0)
    variances, directions = np.linalg.eigh(np.cov((stacked - mean).T))
    order = np.argsort(variances)[::-1][: min(settings.components, len(stacked) - 1)]
    deviations = np.sqrt(np.maximum(variances[order], 1e-6 * variances.max()))
    return FeatureBasis(mean.astype(np.float32), (directions[:, order] / deviations).astype(np.float32))


def build_surface(
    capture: Capture, mesh: Mesh, backbone: FeatureBackbone, basis: FeatureBasis, settings: SurfaceSettings
) -> Surface:
    """Attach features to the coarse mesh of a capture: at most `settings.views_per_vertex` views per vertex.

    Raises:
        ValueError: hardly any vertex is seen, so cameras, masks and images contradict each other.
    """
    V, K = len(mesh.vertices), settings.views_per_vertex
    observations = list(vertex_observations(capture, mesh, backbone, settings))
    vertex = np.concatenate([seen for seen, _ in observations])
    features = basis.apply(np.concatenate([rows for _, rows in observations]))
    counts = np.bincount(vertex, minlength=V)
    if (counts > 0).mean() < 0.2:
        raise ValueError(
            f"capture {capture.name}: only {(counts > 0).mean():.0%} of the surface is seen in any image; "
            "do masks, images and cameras belong together?"
        )
    order = np.argsort(vertex, kind="stable")
    rank = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    slot, kept = _spread(rank, counts[vertex[order]], K)
    stored = np.zeros((V, K, features.shape[1]), np.float16)
    valid = np.zeros((V, K), bool)
    rows = order[kept]
    stored[vertex[rows], slot[kept]] = features[rows]
    valid[vertex[rows], slot[kept]] = True
    return Surface(capture.name, mesh, stored, valid, counts, upward(capture))


def _spread(rank: Array, count: Array, K: int) -> tuple[Array, Array]:
    """Keep K of `count` ranked views, evenly spread: the slot of each rank, and which ranks are kept."""
    slot = np.where(count > K, rank * K // np.maximum(count, 1), rank)
    previous = np.where(count > K, (rank - 1) * K // np.maximum(count, 1), rank - 1)
    return slot, (rank == 0) | (slot != previous)


def upward(capture: Capture) -> Array:
    """(3,) unit vector in the world that points up, as the capture says or else as its cameras tell.

    Whoever films holds the camera level, however far it looks down: the images' x axes are horizontal, so up is the
    direction most nearly orthogonal to all of them, and its sign is that of the images' mean up. That needs no full
    ring. Where cameras hardly turn about the object, the mean up decides among what the x axes leave open.
    """
    if capture.up is not None:
        return capture.up
    cameras = np.stack([frame.cam_T_world[:2, :3] for frame in capture.frames if frame.cam_T_world is not None])
    right, mean = cameras[:, 0], -cameras[:, 1].mean(0)
    length = float(np.linalg.norm(mean))
    mean = mean / length if length > 1e-6 else np.array([0.0, 0.0, 1.0])
    weights, up = np.ones(len(right)), mean
    for _ in range(ROUNDS):
        spread = (weights[:, None] * right).T @ right / weights.sum() + TIE_BREAKER * (np.eye(3) - np.outer(mean, mean))
        up = np.linalg.eigh(spread)[1][:, 0]
        weights = 1 / (1 + (right @ up / np.sin(LEVEL)) ** 2)
    return up if up @ mean >= 0 else -up


__all__ = ["FeatureBasis", "build_surface", "coarse_mesh", "fit_basis", "upward"]
