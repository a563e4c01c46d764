"""Where on the template the pixels of a detection lie, as the network says, before any pose is estimated.

In: an estimator, a Frame, Detections. Out: Places on the output grid of every detection's crop, points in obj.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from uop3d_core.crops import Crop
from uop3d_core.geometry import Array
from uop3d_core.pose.beliefs import PixelBeliefs
from uop3d_core.pose.estimator import PoseEstimator
from uop3d_core.types import Detection, Frame


@dataclass(frozen=True, eq=False)
class Places:
    """Points of the template that the cells of a crop's output grid show.

    Attributes:
        crop: the virtual camera.
        points: (G, G, 3) in obj; the mean of the likeliest vertex and those near it.
        foreground: (G, G) probability of showing the object at all; 0 outside of the image.
    """

    crop: Crop
    points: Array
    foreground: Array


def places(estimator: PoseEstimator, frame: Frame, detections: Sequence[Detection]) -> list[Places]:
    """One per detection, in their order.

    Raises:
        ValueError: the model has another head than the dense one, which says nothing of pixels.
        OSError: the image cannot be read.
    """
    if estimator.model.settings.head != "dense":
        raise ValueError(
            f"this model of {estimator.model.category!r} has the head {estimator.model.settings.head!r}, which says "
            "nothing of single pixels: train one with train.head=dense"
        )
    image, found = frame.image, []
    for detection in detections:
        crop = estimator.crop(frame.camera, detection.bbox_xyxy)
        [beliefs] = estimator.beliefs([crop.sample(image)], [crop])
        assert isinstance(beliefs, PixelBeliefs)
        vertices, near = estimator.model.template.mesh.vertices, estimator.model.settings.neighbourhood
        found.append(_on_grid(beliefs, vertices, near))
    return found


def _on_grid(beliefs: PixelBeliefs, vertices: Array, near: float) -> Places:
    likely = vertices[beliefs.vertices]
    close = np.linalg.norm(likely - likely[:, :1], axis=-1) < near
    weights = close * beliefs.probabilities
    mass = np.maximum(weights.sum(1, keepdims=True), 1e-12)
    points = np.einsum("nk,nkd->nd", weights / mass, likely)
    side = beliefs.cells
    rows = beliefs.row_at(beliefs.crop.grid(side))
    known = rows >= 0
    grid, foreground = np.zeros((side * side, 3)), np.zeros(side * side)
    grid[known], foreground[known] = points[rows[known]], beliefs.foreground[rows[known]]
    return Places(beliefs.crop, grid.reshape(side, side, 3), foreground.reshape(side, side))
