"""Shaded pictures of meshes with smooth edges, by ray casting alone: no graphics card, no OpenGL.

In: a Mesh in its frame and cam_T_mesh. Out: colour and coverage of every pixel, float in [0, 1].
"""

from __future__ import annotations

import cv2
import numpy as np

from uop3d_core.cameras import pixels_of, rays_through
from uop3d_core.geometry import Array, transform
from uop3d_core.raycast import RayCaster, vertex_normals
from uop3d_core.types import Camera, Mesh

SUPERSAMPLING = 3
LIGHT = np.array([-0.4, -0.65, -0.65]) / np.linalg.norm([-0.4, -0.65, -0.65])
"""Where the light comes from, in cam: over the left shoulder."""
AMBIENT = 0.35
MOST_RAYS = 2_000_000
"""Cast at once, which bounds the memory that a large picture takes."""


class ShadedMesh:
    """A mesh made ready to be drawn many times."""

    def __init__(self, mesh: Mesh, supersampling: int = SUPERSAMPLING) -> None:
        """Prepare rays, `supersampling` by `supersampling` in a pixel, and normals."""
        self.mesh, self._fine = mesh, supersampling
        self._caster, self._normals = RayCaster(mesh), vertex_normals(mesh)

    def draw(self, camera: Camera, cam_T_mesh: Array) -> tuple[Array, Array]:
        """Brightness (H, W) and coverage (H, W), both in [0, 1] with anti-aliased edges."""
        drawn, coverage = self._drawn(camera, cam_T_mesh, np.ones((len(self.mesh.vertices), 1)), AMBIENT)
        return drawn[..., 0], coverage

    def paint(self, camera: Camera, cam_T_mesh: Array, colours: Array, ambient: float = AMBIENT) -> tuple[Array, Array]:
        """The mesh with colours (V, 3) of its vertices, 0-255: (H, W, 3), and coverage (H, W) in [0, 1].

        The part `ambient` of the light comes from everywhere: with 1 colours are as they are given.
        """
        return self._drawn(camera, cam_T_mesh, colours, ambient)

    def _drawn(self, camera: Camera, cam_T_mesh: Array, values: Array, ambient: float) -> tuple[Array, Array]:
        """Lit values (V, C) of the vertices as (H, W, C), and coverage (H, W)."""
        drawn = np.zeros((camera.height, camera.width, values.shape[1]))
        coverage = np.zeros(drawn.shape[:2])
        left, top, right, bottom = self._window(camera, cam_T_mesh)
        if right <= left or bottom <= top:
            return drawn, coverage
        rows = max(1, MOST_RAYS // (self._fine**2 * (right - left)))
        for start in range(top, bottom, rows):
            window = left, start, right, min(start + rows, bottom)
            part = np.s_[window[1] : window[3], left:right]
            drawn[part], coverage[part] = self._drawn_in(window, camera, cam_T_mesh, values, ambient)
        return drawn, coverage

    def _drawn_in(
        self, window: tuple[int, int, int, int], camera: Camera, cam_T_mesh: Array, values: Array, ambient: float
    ) -> tuple[Array, Array]:
        left, top, right, bottom = window
        s = self._fine
        xs, ys = ((np.arange(s * a, s * b) + 0.5) / s - 0.5 for a, b in ((left, right), (top, bottom)))
        pixels = np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2)
        hits = self._caster.first_hits_of_rays(rays_through(camera, pixels), cam_T_mesh)
        corners = self.mesh.faces[hits.face]
        normals = np.einsum("nk,nkd->nd", hits.barycentric, self._normals[corners])
        normals = normals @ cam_T_mesh[:3, :3].T
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
        light = ambient + (1 - ambient) * np.clip(normals @ LIGHT, 0, 1)
        cover = hits.mask.astype(np.float64)
        lit = np.einsum("nk,nkc->nc", hits.barycentric, values[corners]) * (light * cover)[:, None]
        shape, size = (s * (bottom - top), s * (right - left)), (right - left, bottom - top)
        small = cv2.resize(cover.reshape(shape), size, interpolation=cv2.INTER_AREA)
        mean = cv2.resize(lit.reshape(*shape, -1), size, interpolation=cv2.INTER_AREA).reshape(*small.shape, -1)
        return mean / np.maximum(small, 1e-9)[..., None], small

    def _window(self, camera: Camera, cam_T_mesh: Array) -> tuple[int, int, int, int]:
        """The part of the image that the mesh can cover: left, top, right, bottom (exclusive)."""
        points = transform(cam_T_mesh, self.mesh.vertices)
        if points[:, 2].max() <= 0:
            return 0, 0, 0, 0
        if points[:, 2].min() <= 1e-3:
            return 0, 0, camera.width, camera.height
        uv = pixels_of(camera, points)
        limit = [camera.width, camera.height]
        low = np.clip(np.floor(uv.min(0) - 1), 0, limit).astype(int)
        high = np.clip(np.ceil(uv.max(0) + 2), 0, limit).astype(int)
        return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def outline(coverage: Array, width: float) -> Array:
    """Coverage (H, W) of a line of `width` pixels along the edge of a shape."""
    k = SUPERSAMPLING
    size = (coverage.shape[1] * k, coverage.shape[0] * k)
    shape = (cv2.resize(coverage, size, interpolation=cv2.INTER_LINEAR) > 0.5).astype(np.uint8)
    if not shape.any():
        return np.zeros_like(coverage)
    padded = np.pad(shape, 1, mode="edge")
    inside = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    outside = cv2.distanceTransform(1 - padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    line = (np.maximum(inside, outside) <= width * k / 2 + 0.5).astype(np.float64)
    if not (shape == 0).any():
        return np.zeros_like(coverage)
    return cv2.resize(line, coverage.shape[::-1], interpolation=cv2.INTER_AREA)


def blend(image: Array, colour: Array | tuple[int, ...], alpha: Array) -> Array:
    """Lay a colour ((3,) or (H, W, 3), 0-255) over an image (H, W, 3) uint8 where alpha (H, W) says how much."""
    mixed = image + (np.asarray(colour, dtype=np.float64) - image) * alpha[..., None]
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
