"""How well a pose explains what the network says of every pixel of the crop.

In: per-pixel probabilities over template vertices and clutter. Out: agreement of cam_T_obj hypotheses in [0, 1].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from uop3d_core.geometry import Array, pixel_rays
from uop3d_core.raycast import RayCaster


@dataclass(frozen=True, eq=False)
class PixelBeliefs:
    """What the network says of one crop.

    Attributes:
        pixels: (N, 2) centres of the output grid's pixels, in the full image.
        probabilities: (N, V + 1), rows sum to 1; the last column is clutter.
    """

    pixels: Array
    probabilities: Array

    @property
    def foreground(self) -> Array:
        """(N,) probability of not being clutter."""
        return 1 - self.probabilities[:, -1]

    def thinned(self, step: int) -> PixelBeliefs:
        """Every step-th pixel."""
        return PixelBeliefs(self.pixels[::step], self.probabilities[::step])


class Judge:
    """Scores poses against the beliefs of one crop.

    The agreement is the mean probability that pixels show what the posed template predicts there, over the pixels that
    either the network or the template holds for object. Where the template predicts a vertex, its neighbourhood
    counts; where it predicts nothing, clutter counts.
    """

    def __init__(self, beliefs: PixelBeliefs, template: RayCaster, near: Array, K: Array) -> None:
        """Args: beliefs; template in obj; (V, V) 0/1 neighbourhoods; (3, 3) intrinsics of the full image."""
        self.beliefs, self._template = beliefs, template
        self._rays = pixel_rays(K, beliefs.pixels)
        self._support = np.concatenate(
            [beliefs.probabilities[:, :-1] @ near.astype(np.float32), beliefs.probabilities[:, -1:]], axis=1
        )
        self._object = beliefs.foreground > 0.5

    def shown(self, cam_T_obj: Array) -> Array:
        """(H, N) vertex that each of (H, 4, 4) poses shows at each pixel, V where it shows nothing."""
        H, N = len(cam_T_obj), len(self._rays)
        R = cam_T_obj[:, :3, :3]
        eyes = -(np.swapaxes(R, 1, 2) @ cam_T_obj[:, :3, 3, None])[:, :, 0]
        directions = (self._rays[None] @ R).reshape(-1, 3)
        hits = self._template.first_hits(np.repeat(eyes, N, axis=0), directions)
        corner = np.take_along_axis(self._template.mesh.faces[hits.face], hits.barycentric.argmax(1)[:, None], axis=1)[
            :, 0
        ]
        return np.where(hits.mask, corner, len(self._template.mesh.vertices)).reshape(H, N)

    def agreement(self, cam_T_obj: Array) -> Array:
        """(H,) agreement of (H, 4, 4) poses; 0 for a pose that shows nothing at all in the crop."""
        vertex = self.shown(cam_T_obj)
        nothing = vertex == len(self._template.mesh.vertices)
        support = self._support[np.arange(len(self._rays)), vertex]
        concerned = ~nothing | self._object
        mean = (support * concerned).sum(1) / np.maximum(concerned.sum(1), 1)
        return np.where(nothing.all(1), 0.0, mean)
