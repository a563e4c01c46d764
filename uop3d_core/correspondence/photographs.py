"""The photographs of captured objects, by where they were taken from.

In: posed views. Out: their pixels, read from disk once while they are needed, and those from nearest to a place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from uop3d_core.correspondence.views import View
from uop3d_core.geometry import Array

NEAREST = 4
"""So many photographs are asked for what they show of a point."""
KEPT = 8
"""So many stay in memory."""


@dataclass(frozen=True, eq=False)
class Photograph:
    """A view with its pixels read.

    Attributes:
        view: frame, pose and shape.
        image: (H, W, 3) uint8 RGB.
        mask: (H, W) bool, its object.
    """

    view: View
    image: Array
    mask: Array


class Photographs:
    """Those of some views, in the same order."""

    def __init__(self, views: Sequence[View]) -> None:
        """Note who looks from where; pixels are read when they are asked for."""
        self._read = lru_cache(KEPT)(lambda index: _read(views[index]))
        captures = np.array([view.capture for view in views])
        directions = np.array([eye_direction(view.cam_T_obj) for view in views])
        self._of = {name: (np.flatnonzero(captures == name), directions[captures == name]) for name in set(captures)}

    def __getitem__(self, index: int) -> Photograph:
        """That of a view."""
        return self._read(int(index))

    def nearest(self, capture: str, cam_A_obj: Array) -> list[Photograph]:
        """Those of an object from nearest to where an affine map (4, 4) looks from, the nearest first."""
        indices, directions = self._of[capture]
        return [self[i] for i in indices[np.argsort(-directions @ eye_direction(cam_A_obj), kind="stable")[:NEAREST]]]


def eye_direction(cam_A_obj: Array) -> Array:
    """Unit vector (3,) in obj towards the camera that an affine map (4, 4) places objects before."""
    eye = -np.linalg.solve(cam_A_obj[:3, :3], cam_A_obj[:3, 3])
    return eye / np.linalg.norm(eye)


def _read(view: View) -> Photograph:
    return Photograph(view, view.frame.image, view.frame.mask)
