"""Surfaces made ready for many pairs: centred, scaled, summed up by a few looks per vertex, with a distance field.

In: Surface (world frame). Out: PreparedSurface in its unit frame: centred, diameter one.

The first vertices are spread over the whole surface, however many one takes: that lets a pair be judged by few points.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from uop3d_core.config import PairSettings
from uop3d_core.geometry import Array
from uop3d_core.types import Sim3, Surface
from uop3d_core.volume import signed_distance

FIELD_MARGIN = 0.15
SPREAD_OUT = 256
CLUSTERING_ROUNDS = 2


@dataclass(frozen=True, eq=False)
class PreparedSurface:
    """A surface made ready for many pairs.

    Attributes:
        name: the capture's name.
        unit_T_world: to the unit frame.
        vertices: (V, 3) unit frame; the first n, for any n up to SPREAD_OUT, are spread over the whole surface.
        areas: (V,) share of the surface that a vertex stands for, mean 1.
        features: (V, K, C) float32, typical looks of every vertex, L2-normalised.
        views: (V, K) float32, how many views look like that; 0 where there is nothing.
        field: (1, 4, Z, Y, X) signed distance and its gradient.
        field_low, field_high: (3,) corners of the field's lattice.
    """

    name: str
    unit_T_world: Sim3
    vertices: Tensor
    areas: Tensor
    features: Tensor
    views: Tensor
    field: Tensor
    field_low: Tensor
    field_high: Tensor

    def take(self, index: Tensor) -> PreparedSurface:
        """The same surface by some of its vertices only; its distance field stays whole."""
        return replace(
            self,
            vertices=self.vertices[index],
            areas=self.areas[index] / self.areas[index].mean(),
            features=self.features[index],
            views=self.views[index],
        )

    def _sample(self, points: Tensor, channels: int) -> tuple[Tensor, Tensor]:
        """The field's first channels (channels, ...) at (..., 3) points moved into its box, and by how much."""
        span = self.field_high - self.field_low
        clamped = points.clamp(self.field_low, self.field_high)
        grid = (clamped - (self.field_low + self.field_high) / 2) * (2 / span)
        flat = F.grid_sample(self.field[:, :channels], grid.reshape(1, -1, 1, 1, 3), align_corners=True)
        return flat.reshape(channels, *points.shape[:-1]), points - clamped

    def distance(self, points: Tensor) -> Tensor:
        """Signed distance (...) at (..., 3) points; outside the lattice it grows linearly."""
        values, beyond = self._sample(points, 1)
        return values[0] + beyond.norm(dim=-1)

    def lookup(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Signed distance (...) and its gradient (..., 3) at (..., 3) points."""
        values, beyond = self._sample(points, 4)
        value, gradient = values[0], values[1:].movedim(0, -1)
        distance = beyond.norm(dim=-1)
        outside = distance > 0
        if outside.any():
            value = value + distance
            gradient = torch.where(outside[..., None], beyond / distance.clamp(min=1e-9)[..., None], gradient)
        return value, gradient


def prepare(surface: Surface, settings: PairSettings) -> PreparedSurface:
    """Centre, scale, and build the distance field of a surface."""
    mesh = surface.mesh
    centre = (mesh.vertices.min(0) + mesh.vertices.max(0)) / 2
    scale = 1 / mesh.diameter
    unit_T_world = Sim3(scale, np.eye(3), -scale * centre)
    unit = mesh.transformed(unit_T_world)
    grid = signed_distance(unit, settings.field_resolution, FIELD_MARGIN)
    gradient = [np.gradient(grid.values, grid.lattice.spacing, axis=axis) for axis in range(3)]
    field = np.stack([grid.values, *gradient]).astype(np.float32)
    corners = unit.vertices[unit.faces]
    face_areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    areas = np.bincount(unit.faces.ravel(), np.repeat(face_areas, 3), len(unit.vertices))
    low = grid.lattice.origin
    high = low + grid.lattice.spacing * (np.array(grid.lattice.shape) - 1)
    order = _farthest_first(unit.vertices, SPREAD_OUT)
    looks = typical_looks(torch.tensor(surface.features[order]), torch.tensor(surface.valid[order]), settings.looks)
    return PreparedSurface(
        surface.name,
        unit_T_world,
        torch.tensor(unit.vertices[order]).float(),
        torch.from_numpy((areas / areas.mean())[order]).float(),
        *looks,
        torch.from_numpy(np.ascontiguousarray(field.transpose(0, 3, 2, 1)))[None],
        torch.from_numpy(low).float(),
        torch.from_numpy(high).float(),
    )


def _farthest_first(points: Array, count: int) -> Array:
    """Order (N,) of (N, 3) points: each of the first `count` is the one farthest from all before it."""
    order = np.empty(min(count, len(points)), dtype=np.int64)
    nearest = ((points - points.mean(0)) ** 2).sum(1)
    for k in range(len(order)):
        order[k] = nearest.argmax()
        offset = points - points[order[k]]
        distance = np.einsum("nd,nd->n", offset, offset)
        nearest = distance if k == 0 else np.minimum(nearest, distance)
        nearest[order[: k + 1]] = -1
    return np.concatenate([order, np.setdiff1d(np.arange(len(points)), order)])


def typical_looks(features: Tensor, valid: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Sum up the views of every vertex by a few: spherical k-means within each vertex, all vertices at once.

    Args:
        features: (V, K, C) L2-normalised rows, any float type.
        valid: (V, K) bool.
        count: of looks per vertex, L; with no fewer than K the views stay as they are.

    Returns:
        looks (V, L, C) float32, and the number of views (V, L) that each stands for.
    """
    weights, features = valid.float(), features.float() * valid[..., None]
    if count >= valid.shape[1]:
        return features, weights
    vertex = torch.arange(len(features))
    similarity = features @ features.mT
    chosen = [valid.int().argmax(1)]
    nearest = similarity[vertex, chosen[0]]
    for _ in range(1, count):
        chosen.append(torch.where(valid, nearest, 2.0).argmin(1))
        nearest = torch.maximum(nearest, similarity[vertex, chosen[-1]])
    looks = features[vertex[:, None], torch.stack(chosen, 1)]
    for _ in range(CLUSTERING_ROUNDS):
        member = F.one_hot((features @ looks.mT).argmax(2), count) * weights[..., None]
        looks = F.normalize(member.mT @ features, dim=2)
    return looks, member.sum(1)
