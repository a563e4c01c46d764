"""Which thing a capture is about, from its geometry: what all cameras look at, without what it stands on.

In: a `Reconstruction` (world frame) and which way is up. Out: an `ObjectRegion` in the same frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from uop3d_core.cameras import pixels_of, rays_through
from uop3d_core.capture.sfm import Reconstruction
from uop3d_core.geometry import Array, rays_intersection, transform

NEAR = 0.6
"""Points nearer to the centre than this share of the cameras' distance are looked at."""
THIN = 0.008
"""Points this near to a plane lie on it, as a share of the cameras' distance."""
LEAN = np.cos(np.deg2rad(30.0))
TRIALS = 2000
LINKS = (0.03, 0.045, 0.065, 0.09)
"""Points of one object have a neighbour within this share of the cameras' distance; the wider where few are found."""
LARGE = 0.14
"""Extent of a group of points that can be all of an object, as a share of the cameras' distance."""
FOCUS = 0.12
"""How near to the centre what is filmed is expected, as a share of the cameras' distance."""
CORE = 0.05
"""Half the width that an object has at least, as a share of the cameras' distance."""
WIDEST = 0.28
"""Half the width of what may fill the middle of the pictures, as a share of the cameras' distance."""
PLAIN = 2.0
"""Height of a part without points that other parts stand on, as a share of what is below it."""
FEW = 3
"""Points of a group above others, below which it is none."""
OUTER = 500
SPAN = (0.01, 0.99)
MARGIN = 0.35


@dataclass(frozen=True, eq=False)
class ObjectRegion:
    """Where the object is, in the world frame.

    Attributes:
        centre: (3,) of the box around it.
        axes: (3, 3) rows are the box's axes; the last is up.
        half: (3,) half extents along the axes, with a margin.
        points: (N, 3) points on the object.
        object_points, other_points: indices of points of the reconstruction that are surely on it, or surely not.
        distance: median distance of the cameras from the centre.
        floor: (4,) the support plane, normal (up) . x + d = 0, or None where none was found.
    """

    centre: Array
    axes: Array
    half: Array
    points: Array
    object_points: Array
    other_points: Array
    distance: float
    floor: Array | None

    @property
    def up(self) -> Array:
        """(3,) unit vector."""
        return self.axes[2]


def find_object(found: Reconstruction, up: Array, rng: np.random.Generator, measured: bool = False) -> ObjectRegion:
    """The thing in the middle.

    Args:
        found: cameras and points.
        up: (3,) unit vector, as the cameras are held.
        rng: of the plane's sampling.
        measured: whether `up` is measured; where it is not, and no plane is level, the thing may stand on any plane
            that the cameras look at from above, since a phone may have been held sideways.
    """
    eyes, looks = _views(found)
    focus = _common_target(eyes, looks)
    distance = float(np.median(np.linalg.norm(eyes - focus, axis=1)))
    near = np.flatnonzero(np.linalg.norm(found.points - focus, axis=1) < NEAR * distance)
    floor = _support_plane(found.points[near], eyes, up, LEAN, distance, rng)
    if floor is None and not measured:
        floor = _support_plane(found.points[near], eyes, up, -1.0, distance, rng)
    if floor is not None:
        up = floor[:3]
        near = near[found.points[near] @ up + floor[3] > 1.5 * THIN * distance]
    near = near[_around(found.points[near], focus, distance, floor)]
    return _region(found.points, near, focus, up, distance, floor)


def object_of_masks(found: Reconstruction, masks: Mapping[str, Array], up: Array) -> ObjectRegion:
    """The region of an object that masks show: about the points that most of the pictures that see them show on it.

    Args:
        found: cameras and points.
        masks: by name, (H, W) bool.
        up: (3,) unit vector.

    Raises:
        ValueError: no point lies on the masks.
    """
    eyes, looks = _views(found)
    focus = _common_target(eyes, looks)
    distance = float(np.median(np.linalg.norm(eyes - focus, axis=1)))
    votes = np.zeros((2, len(found.points)))
    for index, name in enumerate(found.names):
        if name in masks:
            seen = found.seen[found.seen[:, 1] == index, 0]
            uv = pixels_of(found.cameras[name], transform(found.cam_T_world[name], found.points[seen]))
            pixel = np.rint(np.nan_to_num(uv, nan=-1.0)).astype(int)
            inside = ((pixel >= 0) & (pixel < masks[name].shape[::-1])).all(1)
            votes[0, seen] += 1
            votes[1, seen[inside]] += masks[name][pixel[inside, 1], pixel[inside, 0]]
    chosen = np.flatnonzero((votes[0] > 0) & (votes[1] > 0.6 * votes[0]))
    if len(chosen) == 0:
        raise ValueError("no point of the reconstruction lies on the masks; do they belong to these pictures?")
    return _region(found.points, chosen, focus, up, distance, None)


def widened(region: ObjectRegion) -> ObjectRegion:
    """The region with a box that holds what a thing in the middle can fill, whatever points it has."""
    local = region.centre @ region.axes.T
    low, high = local - region.half, local + region.half
    reach = WIDEST * region.distance
    low[:2] = np.minimum(low[:2], local[:2] - reach)
    high[:2] = np.maximum(high[:2], local[:2] + reach)
    high[2] = max(high[2], low[2] + 1.5 * reach)
    return replace(region, centre=(low + high) / 2 @ region.axes, half=(high - low) / 2)


def about(region: ObjectRegion, inside: Array) -> ObjectRegion:
    """The region about (N, 3) points that fill the object, and those of its own points that are above or below them."""
    local, own = inside @ region.axes.T, region.points @ region.axes.T
    over = ((own >= local.min(0)) & (own <= local.max(0)))[:, :2].all(1)
    low, high = (end(np.concatenate([local, own[over]]), axis=0) for end in (np.min, np.max))
    pad = MARGIN * float((high - low).max())
    bottom = low[2] if region.floor is None else -region.floor[3]
    low, high = low - pad, high + pad
    low[2] = min(bottom, high[2] - 1e-6)
    rng = np.random.default_rng(0)
    some = inside[rng.choice(len(inside), min(len(inside), OUTER), replace=False)]
    points = np.concatenate([some, region.points[over]])
    return replace(region, centre=(low + high) / 2 @ region.axes, half=(high - low) / 2, points=points)


def _views(found: Reconstruction) -> tuple[Array, Array]:
    """Camera centres (N, 3) and unit directions (N, 3) through the middle of the images."""
    eyes, looks = [], []
    for name in found.names:
        camera, R = found.cameras[name], found.cam_T_world[name][:3, :3]
        ray = R.T @ rays_through(camera, np.array([(camera.width - 1) / 2, (camera.height - 1) / 2]))
        eyes.append(-R.T @ found.cam_T_world[name][:3, 3])
        looks.append(ray / np.linalg.norm(ray))
    return np.array(eyes), np.array(looks)


def _common_target(eyes: Array, looks: Array) -> Array:
    """The point (3,) nearest to the lines of sight, those that pass far from it left out."""
    use = np.ones(len(eyes), bool)
    for _ in range(5):
        centre = rays_intersection(eyes[use], looks[use])
        to = centre - eyes
        off = np.linalg.norm(np.cross(to, looks), axis=1) / np.linalg.norm(to, axis=1)
        use = off <= max(2.5 * float(np.median(off)), 1e-9)
    return centre


def _support_plane(
    points: Array, eyes: Array, up: Array, lean: float, distance: float, rng: np.random.Generator
) -> Array | None:
    """(4,) the plane with the most points, by RANSAC, with (nearly) all cameras above it; None without one.

    Its normal is towards the cameras, and `lean` is the least cosine of the angle from it to `up`.
    """
    if len(points) < 30:
        return None
    triples = points[rng.integers(0, len(points), (TRIALS, 3))]
    normals = np.cross(triples[:, 1] - triples[:, 0], triples[:, 2] - triples[:, 0])
    length = np.linalg.norm(normals, axis=1)
    normals = normals / np.maximum(length, 1e-12)[:, None]
    side = ((normals @ eyes.T - (normals * triples[:, 0]).sum(1)[:, None]) > 0).mean(1)
    normals *= np.where(side > 0.5, 1, -1)[:, None]
    offsets = -(normals * triples[:, 0]).sum(1)
    above = np.maximum(side, 1 - side)
    usable = (length > (0.02 * distance) ** 2) & (normals @ up > lean) & (above > 0.9)
    counts = (np.abs(points @ normals.T + offsets) < THIN * distance).sum(0) * usable
    best = int(counts.argmax())
    if counts[best] < max(20, 0.1 * len(points)):
        return None
    plane = np.append(normals[best], offsets[best])
    for _ in range(3):
        on = points[np.abs(points @ plane[:3] + plane[3]) < THIN * distance]
        normal = np.linalg.svd(on - on.mean(0), full_matrices=False)[2][2]
        normal *= 1 if normal @ plane[:3] >= 0 else -1
        plane = np.append(normal, -normal @ on.mean(0))
    return plane


def _around(points: Array, focus: Array, distance: float, floor: Array | None) -> Array:
    """(N,) bool: of points that hang together, the group in the middle of the pictures, and what stands on it."""
    chosen, group = np.zeros(len(points), bool), np.zeros(len(points), int)
    weight = np.exp(-((np.linalg.norm(points - focus, axis=1) / (FOCUS * distance)) ** 2))
    for link in LINKS if len(points) else ():
        pairs = cKDTree(points).query_pairs(link * distance, output_type="ndarray")
        graph = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), (len(points), len(points)))
        group = connected_components(graph, directed=False)[1]
        chosen = group == np.bincount(group, weight).argmax()
        if np.linalg.norm(np.ptp(points[chosen], axis=0)) > LARGE * distance:
            break
    if floor is None or not chosen.any():
        return chosen
    return _with_upper_parts(points, chosen, group, floor, link * distance)


def _with_upper_parts(points: Array, chosen: Array, group: Array, floor: Array, beside: float) -> Array:
    """(N,) bool: the chosen points and the groups of points above or below them, as of a bottle's cap and label.

    `beside` is how far such a group may be from the column of the chosen points.
    """
    height = points @ floor[:3] + floor[3]
    flat = points - height[:, None] * floor[:3]
    numbers, counts = np.unique(group[~chosen], return_counts=True)
    lowest = {number: float(height[group == number].min()) for number in numbers[counts >= FEW]}
    for number in sorted(lowest, key=lambda number: lowest[number]):
        part = group == number
        away = cKDTree(flat[chosen]).query(flat[part])[0]
        if np.median(away) < beside and lowest[number] < (1 + PLAIN) * height[chosen].max():
            chosen = chosen | part
    return chosen


def _region(
    points: Array, chosen: Array, focus: Array, up: Array, distance: float, floor: Array | None
) -> ObjectRegion:
    """A box around the object's points and the least that an object fills about them; it stands on the floor."""
    side = np.cross(up, np.eye(3)[np.abs(up).argmin()])
    side /= np.linalg.norm(side)
    axes = np.stack([side, np.cross(up, side), up])
    core = (focus if len(chosen) == 0 else np.median(points[chosen], axis=0)) @ axes.T
    low, high = core - CORE * distance, core + CORE * distance
    if len(chosen):
        ends = np.quantile(points[chosen] @ axes.T, SPAN, axis=0)
        low, high = np.minimum(low, ends[0]), np.maximum(high, ends[1])
    pad = MARGIN * float((high - low).max())
    low, high = low - pad, high + pad
    if floor is not None:
        low[2] = -floor[3]
    local = points @ axes.T
    inside = ((local > low) & (local < high)).all(1)
    if floor is not None:
        inside &= local[:, 2] + floor[3] > THIN * distance
    return ObjectRegion(
        (low + high) / 2 @ axes,
        axes,
        (high - low) / 2,
        points[chosen],
        chosen,
        np.flatnonzero(~inside),
        distance,
        floor,
    )
