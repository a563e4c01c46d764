"""Coarse closed mesh of one capture, from masks and cameras and, where there are any, from 3-D points.

In: Capture (world frame). Out: Mesh (world frame).
The masks bound the object from outside: every mask's silhouette cone is turned into a signed distance, and their
(robust) maximum is the visual hull. Points add the concavities that silhouettes cannot show.
"""

from __future__ import annotations

import cv2
import numpy as np
from scipy.ndimage import binary_fill_holes, distance_transform_edt
from scipy.spatial import cKDTree

from uop3d_core.config import SurfaceSettings
from uop3d_core.geometry import Array, pixel_rays, rays_intersection, transform
from uop3d_core.images import mask_box
from uop3d_core.raycast import RayCaster
from uop3d_core.types import Capture, Frame, Mesh
from uop3d_core.volume import Grid, Lattice, extract_mesh

MIN_VIEWS = 3
MIN_POINTS = 100
MIN_COVERED = 0.7
CHECKED_PIXELS = 1000
CLOSING_RADII = (0.02, 0.03, 0.045, 0.065, 0.1, 0.15)
COVERAGE_LOSS = 0.02
CHECK_INPUT = (
    "Check that masks belong to their frames and that the camera poses are right (camera-to-world, axes as documented)"
)


def coarse_mesh(capture: Capture, settings: SurfaceSettings) -> Mesh:
    """Closed mesh of about `settings.vertices` vertices in the capture's world frame.

    Raises:
        ValueError: too few usable masks, or masks and cameras that contradict each other.
    """
    frames, masks = usable_masks(capture)
    cones = [_silhouette(frame, mask) for frame, mask in zip(frames, masks, strict=True)]
    low, high = _object_box(frames, masks)
    allowed = int(settings.mask_tolerance * len(frames))
    for resolution in (40, 40, settings.resolution):
        lattice = Lattice.over(low, high, resolution)
        values = _hull_distance(lattice, cones, allowed)
        inside = lattice.points[values < lattice.spacing]
        if len(inside) < 8:
            raise ValueError(f"capture {capture.name}: the masks have no common volume. {CHECK_INPUT}")
        low, high = inside.min(0) - 2 * lattice.spacing, inside.max(0) + 2 * lattice.spacing
    try:
        mesh = extract_mesh(Grid(lattice, values.astype(np.float32)), settings.vertices)
    except ValueError as error:
        raise ValueError(f"capture {capture.name}: {error}") from error
    covered = _covered_share(mesh, frames, masks)
    if covered < MIN_COVERED:
        raise ValueError(
            f"capture {capture.name}: the masks' common volume fills only {covered:.0%} of the masks. {CHECK_INPUT}"
        )
    if capture.points is None:
        return mesh
    cloud = _inside_masks(capture.points, frames, masks, settings.point_share)
    return _hollowed(Grid(lattice, values), cloud, covered, frames, masks, settings) or mesh


def _hollowed(
    hull: Grid, cloud: Array, covered: float, frames: list[Frame], masks: list[Array], settings: SurfaceSettings
) -> Mesh | None:
    """The hull less what lies clearly outside a point cloud, or None where the cloud is too thin to tell.

    The solid of the points is closed with the smallest ball that leaves the silhouettes as filled as the hull's.
    """
    if len(cloud) < MIN_POINTS:
        return None
    distance = cKDTree(cloud).query(hull.lattice.points.reshape(-1, 3), workers=-1)[0].reshape(hull.lattice.shape)
    diagonal = float(np.linalg.norm(np.ptp(cloud, axis=0)))
    for share in CLOSING_RADII:
        solid = _closed_solid(distance, hull.lattice.spacing, share * diagonal)
        try:
            values = np.maximum(hull.values, solid).astype(np.float32)
            mesh = extract_mesh(Grid(hull.lattice, values), settings.vertices)
        except ValueError:
            continue
        if _covered_share(mesh, frames, masks) >= covered - COVERAGE_LOSS:
            return mesh
    return None


def usable_masks(capture: Capture) -> tuple[list[Frame], list[Array]]:
    """The frames whose mask is not empty, and these masks.

    Raises:
        ValueError: fewer than three of them.
    """
    pairs = [(frame, frame.mask) for frame in capture.frames]
    pairs = [(frame, mask) for frame, mask in pairs if mask.any()]
    if len(pairs) < MIN_VIEWS:
        raise ValueError(
            f"capture {capture.name}: only {len(pairs)} of {len(capture.frames)} masks show the object, at least "
            f"{MIN_VIEWS} are needed; are the masks white on the object?"
        )
    return [frame for frame, _ in pairs], [mask for _, mask in pairs]


def _covered_share(mesh: Mesh, frames: list[Frame], masks: list[Array]) -> float:
    """Share of the mask's pixels that the mesh covers, in the median frame."""
    caster, shares = RayCaster(mesh), []
    for frame, mask in zip(frames, masks, strict=True):
        assert frame.cam_T_world is not None
        pixels = np.argwhere(mask)[:: 1 + int(mask.sum()) // CHECKED_PIXELS, ::-1]
        shares.append(caster.first_hits_of_rays(pixel_rays(frame.camera.K, pixels), frame.cam_T_world).mask.mean())
    return float(np.median(shares))


def _silhouette(frame: Frame, mask: Array) -> tuple[Frame, Array]:
    """Signed distance in pixels to the outline of the mask, negative inside."""
    padded = np.pad(mask, 1).astype(np.uint8)
    outside = cv2.distanceTransform(1 - padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    inside = cv2.distanceTransform(np.pad(mask, 1, mode="edge").astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return frame, np.where(mask, 0.5 - inside[1:-1, 1:-1], outside[1:-1, 1:-1] - 0.5).astype(np.float32)


def _object_box(frames: list[Frame], masks: list[Array]) -> tuple[Array, Array]:
    """A cube that surely holds the object: around the point all masks look at, as large as the masks say."""
    origins, directions, half_angles = [], [], []
    for frame, mask in zip(frames, masks, strict=True):
        box = mask_box(mask)
        corners = np.array([[(box[0] + box[2]) / 2, (box[1] + box[3]) / 2], box[:2], box[2:]])
        rays = pixel_rays(frame.camera.K, corners)
        assert frame.cam_T_world is not None
        R = frame.cam_T_world[:3, :3]
        origins.append(-R.T @ frame.cam_T_world[:3, 3])
        direction = R.T @ rays[0]
        directions.append(direction / np.linalg.norm(direction))
        half_angles.append(np.linalg.norm(rays[2] - rays[1]) / 2)
    centre = rays_intersection(np.array(origins), np.array(directions))
    radii = np.linalg.norm(np.array(origins) - centre, axis=1) * np.array(half_angles)
    radius = 1.5 * float(np.median(radii))
    return centre - radius, centre + radius


def _hull_distance(lattice: Lattice, cones: list[tuple[Frame, Array]], allowed: int) -> Array:
    """Distance to the visual hull at lattice points, the `allowed` strictest masks left out; negative inside.

    Points outside an image are not judged by it; points judged by fewer than three images count as outside.
    """
    shape = lattice.shape
    values = np.full((len(cones), *shape), -np.inf, dtype=np.float32)
    for row, (frame, outline) in zip(values, cones, strict=True):
        u, v, z = _project_lattice(frame, lattice.axes)
        seen = (z > 0) & (u > -0.5) & (u < frame.camera.width - 0.5) & (v > -0.5) & (v < frame.camera.height - 0.5)
        pixels = cv2.remap(outline, u.reshape(shape[0], -1), v.reshape(shape[0], -1), cv2.INTER_LINEAR)
        row[seen] = (pixels.reshape(shape) * z / np.float32(frame.camera.K[0, 0]))[seen]
    judged = np.isfinite(values).sum(0)
    hull = np.partition(values, len(cones) - 1 - allowed, axis=0)[len(cones) - 1 - allowed]
    far = float(np.abs(values[np.isfinite(values)]).max(initial=1.0))
    return np.where((judged < MIN_VIEWS) | ~np.isfinite(hull), far, hull)


def _project_lattice(frame: Frame, axes: list[Array]) -> tuple[Array, Array, Array]:
    """Pixels u, v and depth z, each (X, Y, Z) float32: a lattice projects by sums, one term per axis."""
    assert frame.cam_T_world is not None
    P = (frame.camera.K @ frame.cam_T_world[:3]).astype(np.float32)
    x, y, z = (axis.astype(np.float32) for axis in axes)
    uvw = [p[0] * x[:, None, None] + p[1] * y[None, :, None] + (p[2] * z + p[3])[None, None, :] for p in P]
    depth = np.where(uvw[2] > 0, uvw[2], np.float32(1e-6))
    return uvw[0] / depth, uvw[1] / depth, uvw[2]


def _inside_masks(points: Array, frames: list[Frame], masks: list[Array], share: float) -> Array:
    """The points that at least `share` of the masks cover (outside an image counts as not covered)."""
    votes = np.zeros(len(points))
    for frame, mask in zip(frames, masks, strict=True):
        assert frame.cam_T_world is not None
        cam = transform(frame.cam_T_world, points)
        ok = cam[:, 2] > 0
        uv = np.rint((cam @ frame.camera.K.T)[:, :2] / np.where(ok, cam[:, 2], 1)[:, None]).astype(int)
        ok &= ((uv >= 0) & (uv < [mask.shape[1], mask.shape[0]])).all(1)
        votes[ok] += mask[uv[ok, 1], uv[ok, 0]]
    return points[votes >= share * len(frames)]


def _closed_solid(distance: Array, spacing: float, radius: float) -> Array:
    """Signed distance to a cloud closed with a ball: the union of balls about the points, filled, then shrunk back.

    Args:
        distance: (X, Y, Z) distance of lattice points to the nearest point of the cloud.
        spacing: of the lattice.
        radius: of the ball.
    """
    solid = binary_fill_holes(distance < radius)
    outside = distance_transform_edt(~solid) * spacing
    return np.where(solid, -distance_transform_edt(solid) * spacing, outside) + radius
