"""Colours that mean something: places on the template, and what photographs show of a surface.

In: points in obj, a Template's extents, meshes and Captures (world). Out: colours (..., 3), 0-255.
"""

from __future__ import annotations

import cv2
import numpy as np
import trimesh
from scipy.spatial import cKDTree

from uop3d_core.cameras import pixels_of, rays_through
from uop3d_core.crops import Crop
from uop3d_core.geometry import Array, inverse_rigid, project, transform
from uop3d_core.raycast import RayCaster, vertex_normals
from uop3d_core.types import Camera, Capture, Frame, Mesh, Template

FINE = 12_000
"""Vertices that a mesh is divided into, at least, before it takes colours of photographs."""
MOST_FRAMES = 24
SHARP = 8
"""How much more a photograph counts that looks straight at the surface: the power of the cosine."""
UNSEEN = (150, 150, 155)
TOLERANCE = 0.01
"""In diameters: a point so little behind what a photograph shows still counts as shown."""


class PlaceColours:
    """Places on a category's template as colours: red grows to the front, green to the left, blue upwards."""

    def __init__(self, template: Template) -> None:
        """The template's box gets all the colours that there are."""
        low, high = template.mesh.vertices.min(0), template.mesh.vertices.max(0)
        self._middle, self._size = (low + high) / 2, np.maximum(high - low, 1e-9)

    def __call__(self, points: Array) -> Array:
        """Colours (..., 3) of points (..., 3) in obj; those outside of the box get the colour at its border."""
        return 255 * np.clip(0.5 + (points - self._middle) / self._size, 0, 1)


def in_picture(crop: Crop, values: Array, camera: Camera) -> Array:
    """What is known on the grid of a crop, (G, G, C), at the pixels of a camera that stands where the crop's does.

    Returns:
        (H, W, C), interpolated; 0 where the crop does not reach.
    """
    ys, xs = np.mgrid[: camera.height, : camera.width]
    rays = rays_through(camera, np.stack([xs, ys], axis=-1).reshape(-1, 2).astype(np.float64))
    with np.errstate(invalid="ignore"):
        at = (project(crop.K, rays @ crop.cam_R_crop) + 0.5) * (len(values) / crop.pixels) - 0.5
    where = np.nan_to_num(at, nan=-1e4).reshape(camera.height, camera.width, 2).astype(np.float32)
    return cv2.remap(values.astype(np.float32), where, None, cv2.INTER_LINEAR).reshape(*ys.shape, -1)


def photographed(mesh: Mesh, capture: Capture, vertices: int = FINE) -> tuple[Mesh, Array]:
    """A capture's surface with the colours that its photographs show.

    Args:
        mesh: in the capture's world.
        capture: with masks; of many frames some are looked at.
        vertices: that the mesh is divided into, at least.

    Returns:
        The same surface of more vertices, and their colours (V, 3) uint8; grey where no photograph shows it.

    Raises:
        OSError, ValueError: an image or mask cannot be read.
    """
    fine = divided(mesh, vertices)
    caster, normals = RayCaster(mesh), vertex_normals(fine)
    total, weights = np.zeros((len(fine.vertices), 3)), np.zeros(len(fine.vertices))
    step = max(1, -(-len(capture.frames) // MOST_FRAMES))
    for frame in capture.frames[::step]:
        colours, weight = _seen(frame, fine, normals, caster)
        total += weight[:, None] * colours
        weights += weight
    shown = weights > 1e-6
    if not shown.any():
        return fine, np.full(total.shape, UNSEEN, np.uint8)
    colours = total / np.maximum(weights, 1e-12)[:, None]
    colours[~shown] = UNSEEN
    return fine, _closed(fine, np.rint(colours).astype(np.uint8), shown)


def divided(mesh: Mesh, vertices: int) -> Mesh:
    """The same surface of at least so many vertices: every edge is halved until there are."""
    corners, faces = mesh.vertices, mesh.faces
    while len(corners) < vertices:
        corners, faces = trimesh.remesh.subdivide(corners, faces)
    return Mesh(corners, faces)


def _seen(frame: Frame, mesh: Mesh, normals: Array, caster: RayCaster) -> tuple[Array, Array]:
    """Colours (V, 3) of vertices in one photograph, and how well it shows them (V,), 0 where it does not."""
    assert frame.cam_T_world is not None  # a Capture has them all
    image, mask = frame.image, frame.mask
    eye = inverse_rigid(frame.cam_T_world)[:3, 3]
    pixels = pixels_of(frame.camera, transform(frame.cam_T_world, mesh.vertices))
    towards = eye - mesh.vertices
    facing = (normals * towards).sum(1) / np.maximum(np.linalg.norm(towards, axis=1), 1e-12)
    x, y = np.rint(np.nan_to_num(pixels, nan=-1)).astype(int).T
    inside = (x >= 0) & (y >= 0) & (x < mask.shape[1]) & (y < mask.shape[0]) & (facing > 0.1)
    inside[inside] = mask[y[inside], x[inside]]
    rows = np.flatnonzero(inside)
    rows = rows[caster.visible(mesh.vertices[rows], eye, TOLERANCE * mesh.diameter)] if len(rows) else rows
    weight, colours = np.zeros(len(x)), np.zeros((len(x), 3))
    if len(rows):
        weight[rows] = facing[rows] ** SHARP
        colours[rows] = _sampled(image, pixels[rows])
    return colours, weight


def _sampled(image: Array, pixels: Array) -> Array:
    """Colours (N, 3) at (N, 2) pixels, interpolated."""
    height, width = image.shape[:2]
    low = np.clip(np.floor(pixels).astype(int), 0, [width - 1, height - 1])
    high = np.minimum(low + 1, [width - 1, height - 1])
    (u, v), (x0, y0), (x1, y1) = np.clip(pixels - low, 0, 1).T, low.T, high.T
    top = image[y0, x0] * (1 - u)[:, None] + image[y0, x1] * u[:, None]
    below = image[y1, x0] * (1 - u)[:, None] + image[y1, x1] * u[:, None]
    return top * (1 - v)[:, None] + below * v[:, None]


def _closed(mesh: Mesh, colours: Array, shown: Array) -> Array:
    """Colours in which slits between photographs take those of the nearest shown vertex; wide gaps stay grey."""
    away, nearest = cKDTree(mesh.vertices[shown]).query(
        mesh.vertices[~shown], distance_upper_bound=0.04 * mesh.diameter
    )
    near = np.isfinite(away)
    hidden = np.flatnonzero(~shown)[near]
    colours[hidden] = colours[shown][nearest[near]]
    return colours
