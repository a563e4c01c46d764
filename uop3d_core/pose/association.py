"""Which estimate of an image belongs to which object that is already followed.

In: estimates of one image, and what is predicted of every object. Out: estimates without duplicates; pairs.
Frame: cam, object units; boxes in pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.special import chdtri

from uop3d_core.config import TrackSettings
from uop3d_core.geometry import Array
from uop3d_core.pose.filtering import PoseState, compare
from uop3d_core.pose.measurement import Measurement, measure
from uop3d_core.types import PoseEstimate, Symmetry

WEIGHTS = {"position": 0.4, "rotation": 0.2, "iou": 0.2, "centre": 0.2}


@dataclass(frozen=True, eq=False)
class Sighting:
    """An estimate with what it tells a filter.

    Attributes:
        estimate: as it was given.
        category: the estimate's, or else the label of its box.
        measurement: None where only the box can be used.
    """

    estimate: PoseEstimate
    category: str
    measurement: Measurement | None


@dataclass(frozen=True, eq=False)
class Expectation:
    """What is predicted of one object.

    Attributes:
        category: of the object.
        pose: predicted state.
        bbox_xyxy: (4,) its last box in pixels, or None where that is too old to tell anything.
        confidence: in [0, 1]; of two objects that fit as well the one with the higher confidence gets the estimate.
    """

    category: str
    pose: PoseState
    bbox_xyxy: Array | None
    confidence: float


def gate(settings: TrackSettings, dimensions: int) -> float:
    """Largest squared Mahalanobis distance of a right measurement: a quantile of the chi-square distribution."""
    return float(chdtri(dimensions, 1 - settings.gate))


def sightings(estimates: Sequence[PoseEstimate], settings: TrackSettings) -> list[Sighting]:
    """The estimates of one image, each object once.

    Of those of one category that nearly share their box or their place, the one with a usable pose and the highest
    score stays.
    """
    found = [Sighting(e, e.category or e.detection.label, measure(e, settings)) for e in estimates]
    found.sort(key=lambda s: -1.0 if s.measurement is None else s.measurement.score, reverse=True)
    kept: list[Sighting] = []
    for sighting in found:
        if not any(_same(sighting, other, settings) for other in kept):
            kept.append(sighting)
    return kept


def _same(a: Sighting, b: Sighting, settings: TrackSettings) -> bool:
    if a.category != b.category:
        return False
    boxes = a.estimate.detection.bbox_xyxy, b.estimate.detection.bbox_xyxy
    if iou(boxes[0][None], boxes[1][None])[0, 0] > settings.duplicate_iou:
        return True
    if a.measurement is None or b.measurement is None:
        return False
    apart = a.estimate.cam_T_obj[:3, 3] - b.estimate.cam_T_obj[:3, 3]
    return bool(np.linalg.norm(apart) < settings.duplicate_distance)


def iou(a: Array, b: Array) -> Array:
    """Intersection over union (N, M) of (N, 4) and (M, 4) boxes xyxy."""
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    common = (high - low).clip(0).prod(-1)
    areas_a, areas_b = (a[:, 2:] - a[:, :2]).prod(-1), (b[:, 2:] - b[:, :2]).prod(-1)
    return common / (areas_a[:, None] + areas_b[None] - common)


def _centre_nearness(a: Array, b: Array) -> Array:
    """1 - distance of the centres over the mean diagonal (N, M), at least 0."""
    apart = np.linalg.norm((a[:, None, :2] + a[:, None, 2:] - b[None, :, :2] - b[None, :, 2:]) / 2, axis=-1)
    size_a, size_b = np.linalg.norm(a[:, 2:] - a[:, :2], axis=-1), np.linalg.norm(b[:, 2:] - b[:, :2], axis=-1)
    return (1 - 2 * apart / (size_a[:, None] + size_b[None])).clip(0)


def associate(
    seen: Sequence[Sighting],
    expected: Sequence[Expectation],
    symmetries: Mapping[str, Symmetry],
    settings: TrackSettings,
) -> list[tuple[int, int]]:
    """Pairs (index in seen, index in expected) with the highest total affinity, each index at most once.

    A pair needs one category, and a position within the gate or boxes that overlap well. An affinity in [0, 1] is the
    weighted sum of how near position, rotation, box overlap and box centre are; what is missing counts as not near.
    A rotation that disagrees does not forbid a pair: it may be a flipped estimate of the same object.
    """
    if not seen or not expected:
        return []
    affinity = _affinities(seen, expected, symmetries, settings)
    rows, columns = linear_sum_assignment(-affinity)
    return [(int(i), int(j)) for i, j in zip(rows, columns, strict=True) if affinity[i, j] > 0]


def _affinities(
    seen: Sequence[Sighting],
    expected: Sequence[Expectation],
    symmetries: Mapping[str, Symmetry],
    settings: TrackSettings,
) -> Array:
    """Affinities (N, M); 0 where a pair is forbidden."""
    boxes_seen = np.stack([sighting.estimate.detection.bbox_xyxy for sighting in seen])
    nowhere = np.array([-2.0, -2.0, -1.0, -1.0]) * 1e9
    boxes = np.stack([nowhere if e.bbox_xyxy is None else e.bbox_xyxy for e in expected])
    overlap = iou(boxes_seen, boxes)
    position, rotation = _pose_nearness(seen, expected, symmetries, settings)
    near = {
        "position": position,
        "rotation": rotation,
        "iou": overlap,
        "centre": _centre_nearness(boxes_seen, boxes),
    }
    total: Array = sum((WEIGHTS[name] * term for name, term in near.items()), np.zeros_like(overlap))
    same = np.array([[sighting.category == e.category for e in expected] for sighting in seen])
    allowed = same & ((position > 0) | (overlap > settings.min_iou))
    return np.where(allowed, total * [e.confidence for e in expected], 0.0)


def _pose_nearness(
    seen: Sequence[Sighting],
    expected: Sequence[Expectation],
    symmetries: Mapping[str, Symmetry],
    settings: TrackSettings,
) -> tuple[Array, Array]:
    """1 - squared Mahalanobis distance over its gate, at least 0, of positions and of rotations (N, M)."""
    near = np.zeros((2, len(seen), len(expected)))
    limit = gate(settings, 3)
    for i, sighting in enumerate(seen):
        for j, e in enumerate(expected):
            if sighting.measurement is not None and sighting.category == e.category:
                symmetry = symmetries.get(e.category, Symmetry.none())
                innovation = compare(e.pose, sighting.measurement, symmetry)
                near[:, i, j] = 1 - innovation.position / limit, 1 - innovation.rotation / limit
    return near[0].clip(0), near[1].clip(0)
