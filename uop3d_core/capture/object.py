"""Which thing a capture is about, from its geometry: what all cameras look at, without what it stands on.

In: a `Reconstruction` (world frame) and which way is up. Out: an `ObjectRegion` in the same frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from uop3d_core.cameras import rays_through
from uop3d_core.capture.sfm import Reconstruction
from uop3d_core.geometry import Array, rays_intersection

NEAR = 0.6
"""Points nearer to the centre than this share of the cameras' distance are looked at."""
THIN = 0.008
"""Points this near to a plane lie on it, as a share of the cameras' distance."""
LEAN = np.cos(np.deg2rad(30.0))
TRIALS = 2000
LINK = 0.045
"""Points of one object have a neighbour within this share of the cameras' distance."""
FOCUS = 0.12
"""How near to the centre what is filmed is expected, as a share of the cameras' distance."""
FEW = 25
"""Fewer object points do not tell its extent."""
SPAN = (0.02, 0.98)
MARGIN = 0.25


@dataclass(frozen=True, eq=False)
class ObjectRegion:
    """Where the object is, in the world frame.

    Attributes:
        centre: (3,) of the box around it.
        axes: (3, 3) rows are the box's axes; the last is up.
        half: (3,) half extents along the axes, with a margin.
        points: (N, 3) points on the object.
        distance: median distance of the cameras from the centre.
        floor: (4,) the support plane, normal (up) . x + d = 0, or None where none was found.
    """

    centre: Array
    axes: Array
    half: Array
    points: Array
    distance: float
    floor: Array | None

    @property
    def up(self) -> Array:
        """(3,) unit vector."""
        return self.axes[2]


def find_object(found: Reconstruction, up: Array, rng: np.random.Generator) -> ObjectRegion:
    """The thing in the middle.

    Args:
        found: cameras and points.
        up: (3,) unit vector, as the cameras are held.
        rng: of the plane's sampling.
    """
    eyes, looks = _views(found)
    focus = _common_target(eyes, looks)
    distance = float(np.median(np.linalg.norm(eyes - focus, axis=1)))
    near = found.points[np.linalg.norm(found.points - focus, axis=1) < NEAR * distance]
    floor = _support_plane(near, eyes, up, distance, rng)
    if floor is not None:
        up = floor[:3]
        near = near[near @ up + floor[3] > 1.5 * THIN * distance]
    points = _around(near, focus, distance)
    return _region(points, focus, up, distance, floor)


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


def _support_plane(points: Array, eyes: Array, up: Array, distance: float, rng: np.random.Generator) -> Array | None:
    """(4,) the level plane with the most points, by RANSAC, with (nearly) all cameras above it; None without one."""
    if len(points) < 30:
        return None
    triples = points[rng.integers(0, len(points), (TRIALS, 3))]
    normals = np.cross(triples[:, 1] - triples[:, 0], triples[:, 2] - triples[:, 0])
    length = np.linalg.norm(normals, axis=1)
    normals = normals / np.maximum(length, 1e-12)[:, None]
    normals *= np.where(normals @ up >= 0, 1, -1)[:, None]
    offsets = -(normals * triples[:, 0]).sum(1)
    above = ((normals @ eyes.T + offsets[:, None]) > 0).mean(1)
    usable = (length > (0.02 * distance) ** 2) & (normals @ up > LEAN) & (above > 0.9)
    counts = (np.abs(points @ normals.T + offsets) < THIN * distance).sum(0) * usable
    best = int(counts.argmax())
    if counts[best] < max(20, 0.1 * len(points)):
        return None
    plane = np.append(normals[best], offsets[best])
    for _ in range(3):
        on = points[np.abs(points @ plane[:3] + plane[3]) < THIN * distance]
        normal = np.linalg.svd(on - on.mean(0), full_matrices=False)[2][2]
        normal *= 1 if normal @ up >= 0 else -1
        plane = np.append(normal, -normal @ on.mean(0))
    return plane


def _around(points: Array, focus: Array, distance: float) -> Array:
    """Of points that hang together, the group in the middle of the pictures."""
    if len(points) == 0:
        return points
    pairs = cKDTree(points).query_pairs(LINK * distance, output_type="ndarray")
    graph = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), (len(points), len(points)))
    group = connected_components(graph, directed=False)[1]
    weight = np.exp(-((np.linalg.norm(points - focus, axis=1) / (FOCUS * distance)) ** 2))
    return points[group == np.bincount(group, weight).argmax()]


def _region(points: Array, focus: Array, up: Array, distance: float, floor: Array | None) -> ObjectRegion:
    """A box around the object's points, or about the focus where there are too few; it stands on the floor."""
    side = np.cross(up, np.eye(3)[np.abs(up).argmin()])
    side /= np.linalg.norm(side)
    axes = np.stack([side, np.cross(up, side), up])
    if len(points) >= FEW:
        low, high = np.quantile(points @ axes.T, SPAN, axis=0)
        pad = MARGIN * float((high - low).max())
        low, high = low - pad, high + pad
    else:
        low, high = focus @ axes.T - FOCUS * 1.5 * distance, focus @ axes.T + FOCUS * 1.5 * distance
    if floor is not None:
        low[2] = -floor[3]
    return ObjectRegion((low + high) / 2 @ axes, axes, (high - low) / 2, points, distance, floor)
