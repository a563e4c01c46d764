"""Did the object keep still while it was filmed? Its features and those around it must all move as the cameras say.

In: the matches of features (COLMAP's database, before verification), a `Reconstruction`, where the object is in the
pictures. Out: in how many pairs of pictures the features on the object, or those around it, fit another motion much
better than that of the cameras. The cameras may have followed either.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from uop3d_core.cameras import pixels_of, rays_through
from uop3d_core.capture.matching import raw_matches
from uop3d_core.capture.object import ObjectRegion
from uop3d_core.capture.sfm import Reconstruction
from uop3d_core.geometry import Array, inverse_rigid, transform
from uop3d_core.types import Camera

PAIRS = 200
"""Pairs of pictures that are looked at, at most."""
LEAST = 15
"""Features that must agree on a motion for it to count; so many do not by chance."""
FEWER = 0.6
"""Where the cameras' motion explains less than this share of what another motion does, it is not theirs."""
FIT = 0.002
"""Distance from the epipolar line within which a feature fits a motion, in focal lengths; cameras get twice that."""
MARGIN = 0.15
"""How far around the mask features may belong to the object, as a share of its size."""
ENOUGH, MOST = 8, 0.85
"""Pairs that tell anything, below which nothing is said; share of them that must say that it kept still."""


@dataclass(frozen=True)
class Stillness:
    """Whether the object kept still.

    Attributes:
        object_pairs, object_moved: pairs of pictures with enough features on the object, and those of them in which
            these have another motion than the cameras.
        around_pairs, around_moved: the same of the features around it.
    """

    object_pairs: int
    object_moved: int
    around_pairs: int
    around_moved: int

    @property
    def share(self) -> float | None:
        """Share of the pairs in which it kept still; None where too few tell."""
        told = ((self.object_pairs, self.object_moved), (self.around_pairs, self.around_moved))
        return min((1 - moved / pairs for pairs, moved in told if pairs >= ENOUGH), default=None)

    @property
    def kept(self) -> bool:
        """Whether most pairs say so, or nothing is known."""
        return self.share is None or self.share >= MOST

    @property
    def reason(self) -> str:
        """What is wrong where it did not."""
        return (
            f"the object moved while it was filmed: in {1 - (self.share or 0):.0%} of the pairs of pictures it has "
            "another motion than what is around it"
        )


def stillness(database: Path, found: Reconstruction, region: ObjectRegion, masks: Mapping[str, Array]) -> Stillness:
    """Compare the motion of the object's features with that of the cameras.

    Args:
        database: COLMAP's, with the keypoints and raw matches of the pictures.
        found: cameras.
        region: where the object is, for pictures without a mask.
        masks: by name, (H, W) bool.
    """
    where = {name: _where(name, found, region, masks.get(name)) for name in found.names}
    counts = np.zeros((2, 2), int)
    for first, second, here, there in _matched(database, found):
        on = _inside(where[first], here), _inside(where[second], there)
        for count, part in zip(counts, (on[0] & on[1], ~on[0] & ~on[1]), strict=True):
            own = _own_motion(found, first, second, here[part], there[part])
            count += own is not None, bool(own)
    return Stillness(*counts.ravel().tolist())


def _matched(database: Path, found: Reconstruction) -> Iterator[tuple[str, str, Array, Array]]:
    """Names and matched pixels (N, 2) of at most PAIRS pairs of pictures with cameras, evenly chosen."""
    pairs = [pair for pair in raw_matches(database) if {pair[0], pair[1]} <= set(found.cam_T_world)]
    yield from (pairs[i] for i in np.unique(np.linspace(0, len(pairs) - 1, PAIRS).astype(int)) if pairs)


def _where(name: str, found: Reconstruction, region: ObjectRegion, mask: Array | None) -> Array:
    """(H, W) bool about the object: its mask widened, or a disc about the middle of the region."""
    camera, cam_T_world = found.cameras[name], found.cam_T_world[name]
    wide = np.zeros((camera.height, camera.width), np.uint8)
    if mask is not None and mask.any():
        reach = max(3, round(MARGIN * float(np.sqrt(mask.sum()))))
        return cv2.dilate(mask.astype(np.uint8), np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)) > 0
    centre = transform(cam_T_world, region.centre[None])
    pixel = pixels_of(camera, centre)[0]
    if np.isfinite(pixel).all():
        radius = camera.K[0, 0] * float(np.linalg.norm(region.half)) / float(centre[0, 2])
        x, y = np.clip(np.rint(pixel), -1e4, 1e4).astype(int)
        cv2.circle(wide, (int(x), int(y)), int(min(radius, 1e4)), 1, -1)
    return wide > 0


def _inside(where: Array, pixels: Array) -> Array:
    """(N,) bool: which pixels (N, 2) are in it."""
    column, row = np.rint(pixels).astype(int).T
    ok = (column >= 0) & (row >= 0) & (column < where.shape[1]) & (row < where.shape[0])
    ok[ok] = where[row[ok], column[ok]]
    return ok


def _own_motion(found: Reconstruction, first: str, second: str, here: Array, there: Array) -> bool | None:
    """Whether another motion explains many more of matched pixels (N, 2) than that of the cameras; None: cannot say."""
    import poselib

    if len(here) < LEAST:
        return None
    a, b = (_flat(found.cameras[name], pixels) for name, pixels in ((first, here), (second, there)))
    off = _epipolar(found.cam_T_world[second] @ inverse_rigid(found.cam_T_world[first]), a, b)
    unit = {"model": "SIMPLE_PINHOLE", "width": 2, "height": 2, "params": [1.0, 0.0, 0.0]}
    options = {"max_epipolar_error": FIT, "max_iterations": 1000, "seed": 0}
    _, told = poselib.estimate_relative_pose(a, b, unit, unit, options, {})
    if told["num_inliers"] < LEAST:
        return None
    return bool((off < 2 * FIT).sum() < FEWER * told["num_inliers"])


def _flat(camera: Camera, pixels: Array) -> Array:
    """(N, 2) where rays through pixels meet the plane at depth 1."""
    rays = rays_through(camera, pixels)
    return rays[:, :2] / rays[:, 2:]


def _epipolar(second_T_first: Array, a: Array, b: Array) -> Array:
    """(N,) Sampson distances of points (N, 2) on the planes at depth 1 (Hartley and Zisserman, section 11.4.3)."""
    x, y, z = second_T_first[:3, 3]
    E = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]) @ second_T_first[:3, :3]
    first, second = (np.column_stack([points, np.ones(len(points))]) for points in (a, b))
    lines, back = first @ E.T, second @ E
    scale = np.sqrt((lines[:, :2] ** 2).sum(1) + (back[:, :2] ** 2).sum(1))
    distance: Array = np.abs((second * lines).sum(1)) / np.maximum(scale, 1e-12)
    return distance
