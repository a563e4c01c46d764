"""Where a network says that points of the template lie in a crop.

In: positions and spreads. Out: what they tell of crop_T_obj hypotheses, in the virtual camera of the crop.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from uop3d_core.crops import Crop
from uop3d_core.geometry import Array, pixel_rays, project, transform

CLEAR = 0.05
"""In sides of the crop: a keypoint that surely lies within this is clear."""
FARTHEST = 10.0
"""In spreads: what is farther off than this is plainly elsewhere."""


@dataclass(frozen=True, eq=False)
class Keypoints:
    """Keypoints of one crop.

    Attributes:
        crop: the virtual camera.
        places: (K, 2) where they lie, 0 to 1 across the crop.
        spread: (K,) standard deviations along one axis, in sides of the crop.
    """

    crop: Crop
    places: Array
    spread: Array

    @cached_property
    def pixels(self) -> Array:
        """(K, 2) in the crop."""
        return self.places.astype(np.float64) * self.crop.pixels - 0.5

    @cached_property
    def rays(self) -> Array:
        """(K, 3) directions in the crop's camera, z = 1."""
        return pixel_rays(self.crop.K, self.pixels)

    @cached_property
    def precision(self) -> Array:
        """(K,) one over the variance of a ray's direction along one axis."""
        return (self.crop.focal / (self.spread.astype(np.float64) * self.crop.pixels)) ** 2

    @property
    def clarity(self) -> float:
        """Mean probability of a keypoint to lie within CLEAR of where it is said to."""
        return float(1 - np.exp(-((CLEAR / self.spread) ** 2) / 2).mean())

    def misfit(self, points: Array, crop_T_obj: Array) -> Array:
        """(H,) mean distance of keypoints (K, 3) from their places under (H, 4, 4) poses, in spreads, capped."""
        seen = np.stack([project(self.crop.K, transform(pose, points)) for pose in crop_T_obj])
        apart = np.linalg.norm(seen - self.pixels, axis=2) / (self.spread * self.crop.pixels)
        return np.asarray(np.fmin(apart, FARTHEST).mean(1))  # NaN where a point is behind the camera
