"""What the network says of the pixels of one crop, and how well poses explain it.

In: logits over template vertices and clutter, offsets. Out: agreement of crop_T_obj hypotheses in [0, 1], and object
points of pixels. Everything is in the virtual camera of the crop.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from uop3d_core.crops import Crop
from uop3d_core.geometry import Array, farthest_points, inverse_rigid, pixel_rays
from uop3d_core.pose.keypoints import Keypoints
from uop3d_core.raycast import RayCaster
from uop3d_core.types import Mesh

LIKELIEST = 24
"""Vertices per pixel that are kept; the others have hardly any probability."""
FAINT = 0.05
"""Pixels less likely to be object keep no vertices."""


@dataclass(frozen=True, eq=False)
class TemplateShape:
    """The template as the estimation needs it.

    Attributes:
        caster: its mesh in obj, prepared for rays.
        near: (V, V) bool, which vertices lie so near to each other that one is as good as the other.
        guide: (V, V) bool, the same within the distance over which a pose guides its pixels.
        keypoints: (K, 3) in obj.
    """

    caster: RayCaster
    near: Array
    guide: Array
    keypoints: Array

    @classmethod
    def of(cls, mesh: Mesh, near: float, guide: float, keypoints: int) -> TemplateShape:
        """Of a mesh in obj, with both distances in object units and the number of keypoints."""
        vertices = mesh.vertices
        apart = np.linalg.norm(vertices[:, None] - vertices[None], axis=-1)
        return cls(RayCaster(mesh), apart < near, apart < guide, vertices[farthest_points(vertices, keypoints)])

    @property
    def vertices(self) -> Array:
        """(V, 3) in obj."""
        return self.caster.mesh.vertices

    def shown(self, rays: Array, crop_T_obj: Array) -> Array:
        """(H, N) vertex that each of (H, 4, 4) poses shows along each of (N, 3) rays, V where it shows nothing."""
        H, N = len(crop_T_obj), len(rays)
        eyes = inverse_rigid(crop_T_obj)[:, :3, 3]
        hits = self.caster.first_hits(np.repeat(eyes, N, axis=0), (rays[None] @ crop_T_obj[:, :3, :3]).reshape(-1, 3))
        corner = hits.barycentric.argmax(1)
        vertex = self.caster.mesh.faces[hits.face, corner]
        return np.where(hits.mask, vertex, len(self.vertices)).reshape(H, N)


@dataclass(frozen=True, eq=False)
class PixelBeliefs:
    """Beliefs about the pixels of a crop's output grid that lie inside the image, and perhaps only some of them.

    Attributes:
        crop: the virtual camera.
        cells: side of the output grid.
        pixels: (N, 2) crop pixels.
        foreground: (N,) probability of not being clutter.
        vertices: (N, K) likeliest vertices.
        probabilities: (N, K) theirs; 0 where they stand for nothing.
        offsets: (N, 3) from the template's points to those of the object in the image, object units.
        keypoints: of the whole object, where a network says them beside.
    """

    crop: Crop
    cells: int
    pixels: Array
    foreground: Array
    vertices: Array
    probabilities: Array
    offsets: Array
    keypoints: Keypoints | None = None

    @classmethod
    def from_network(cls, crop: Crop, logits: Array, offsets: Array, *keypoints: Array) -> PixelBeliefs:
        """Beliefs from what a network says of the whole crop, float32.

        Args:
            crop: the virtual camera.
            logits: (G, G, V + 1).
            offsets: (G, G, 3).
            keypoints: places (K, 2) and spreads (K,), or nothing.
        """
        side = len(logits)
        pixels = crop.grid(side)
        inside = crop.in_image(pixels)
        logits = logits.reshape(-1, logits.shape[-1])[inside]
        whole = _logsumexp(logits)
        foreground = 1 - np.exp(logits[:, -1] - whole)
        seen = np.flatnonzero(foreground > FAINT)
        there = logits[seen]
        likeliest = _likeliest(there[:, :-1], LIKELIEST)
        vertices = np.zeros((len(logits), likeliest.shape[1]), dtype=np.int64)
        probabilities = np.zeros(vertices.shape, dtype=np.float32)
        vertices[seen] = likeliest
        probabilities[seen] = np.exp(np.take_along_axis(there, likeliest, axis=1) - whole[seen, None])
        beside = Keypoints(crop, *keypoints) if keypoints else None
        offsets = offsets.reshape(-1, 3)[inside]
        return cls(crop, side, pixels[inside], foreground, vertices, probabilities, offsets, beside)

    @cached_property
    def rays(self) -> Array:
        """(N, 3) directions in the crop's camera, z = 1."""
        return pixel_rays(self.crop.K, self.pixels)

    def take(self, index: Array) -> PixelBeliefs:
        """Some of the pixels."""
        names = ("pixels", "foreground", "vertices", "probabilities", "offsets")
        return replace(self, **{name: getattr(self, name)[index] for name in names})

    def row_at(self, pixels: Array) -> Array:
        """(M,) which of these beliefs are about the grid's pixels that hold (M, 2) crop pixels; -1 for none."""
        table = np.full((self.cells + 2, self.cells + 2), -1)
        x, y = self._cell(self.pixels)
        table[y, x] = np.arange(len(self.pixels))
        x, y = self._cell(pixels)
        return table[y, x]

    def _cell(self, pixels: Array) -> Array:
        """(2, M) column and row in the grid with a border, in which everything outside is."""
        cell = np.floor((pixels + 0.5) * (self.cells / self.crop.pixels)).astype(int)
        return np.clip(cell, -1, self.cells).T + 1

    def spread(self, count: int) -> PixelBeliefs:
        """At most `count` of the pixels, evenly spread."""
        step = max(1, len(self.pixels) / count)
        return self.take(np.arange(0, len(self.pixels) - 0.5, step).astype(int))

    def support(self, near: Array, centres: Array) -> Array:
        """(H, N) probability that pixels show a vertex near a given one.

        Args:
            near: (V, V) bool neighbourhoods.
            centres: (H, N) vertices; V stands for clutter.
        """
        V = len(near)
        close = near[np.minimum(centres, V - 1)[..., None], self.vertices[None]]
        inside = np.einsum("hnk,nk->hn", close, self.probabilities)
        return np.where(centres < V, inside, 1 - self.foreground)

    def points(self, near: Array, centres: Array, vertices: Array) -> tuple[Array, Array]:
        """Object points (H, N, 3) that pixels show if they show something near given vertices, and their weights.

        Args:
            near: (V, V) bool neighbourhoods.
            centres: (H, N) vertices.
            vertices: (V, 3) positions in obj.
        """
        weights = near[centres[..., None], self.vertices[None]] * self.probabilities
        mass = weights.sum(-1)
        points = np.einsum("hnk,nkd->hnd", weights, vertices[self.vertices]) / np.maximum(mass, 1e-12)[..., None]
        return points + self.offsets, mass

    def agreement(self, template: TemplateShape, crop_T_obj: Array) -> Array:
        """(H,) agreement of (H, 4, 4) poses.

        That is the mean probability that pixels show what the posed template predicts there, over the pixels that
        either the network or the template holds for object. Where the template predicts a vertex, its neighbourhood
        counts; where it predicts nothing, clutter counts. 0 for a pose that shows nothing at all in the crop.
        """
        vertex = template.shown(self.rays, crop_T_obj)
        shows = vertex < len(template.vertices)
        concerned = shows | (self.foreground > 0.5)
        mean = (self.support(template.near, vertex) * concerned).sum(1) / np.maximum(concerned.sum(1), 1)
        return np.where(shows.any(1), mean, 0.0)


def _logsumexp(values: Array) -> Array:
    """(N,) log of the summed exponentials of (N, M) values."""
    highest = values.max(axis=1)
    shifted = values - highest[:, None]
    np.exp(shifted, out=shifted)  # a second such array would cost as much as the exponentials
    return np.asarray(highest + np.log(shifted.sum(axis=1)))


def _likeliest(values: Array, count: int) -> Array:
    """(N, min(count, M)) columns of the largest of (N, M) values, the largest first."""
    count = min(count, values.shape[1])
    columns = np.argpartition(values, values.shape[1] - count, axis=1)[:, values.shape[1] - count :]
    order = np.argsort(-np.take_along_axis(values, columns, axis=1), axis=1, kind="stable")
    return np.take_along_axis(columns, order, axis=1)
