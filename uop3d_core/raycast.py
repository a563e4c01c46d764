"""Rays against a triangle mesh (Embree): first hits, depth maps, visibility, inside tests.

In: a Mesh in any frame. Out: numpy arrays in the same frame. Rays of a depth map have z = 1, so hit parameter = depth.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene

from uop3d_core.cameras import rays_through
from uop3d_core.geometry import Array
from uop3d_core.types import Camera, Mesh


@dataclass(frozen=True, eq=False)
class Hits:
    """First hits of rays.

    Attributes:
        t: (N,) ray parameter, inf where nothing was hit.
        face: (N,) index of the face, -1 where nothing was hit.
        barycentric: (N, 3) weights of the face's three vertices.
    """

    t: Array
    face: Array
    barycentric: Array

    @property
    def mask(self) -> Array:
        """(N,) bool, True where something was hit."""
        return self.face >= 0


class RayCaster:
    """A mesh prepared for ray queries."""

    def __init__(self, mesh: Mesh) -> None:
        """Build the acceleration structure (Embree works in float32, so the mesh is centred and scaled first)."""
        self.mesh = mesh
        self._centre = mesh.vertices.mean(0)
        self._scale = 1.0 / max(mesh.diameter, 1e-12)
        triangles = ((mesh.vertices - self._centre) * self._scale)[mesh.faces]
        self._scene = EmbreeScene()
        self._geometry = TriangleMesh(self._scene, triangles.astype(np.float32))
        edges = triangles[:, 1:] - triangles[:, :1]
        self.face_normals = np.cross(edges[:, 0], edges[:, 1])
        self.face_normals /= np.maximum(np.linalg.norm(self.face_normals, axis=1, keepdims=True), 1e-20)

    def first_hits(self, origins: Array, directions: Array) -> Hits:
        """Cast (N, 3) rays; origins broadcast against directions."""
        directions = np.ascontiguousarray(directions, dtype=np.float32)
        origins = np.broadcast_to((origins - self._centre) * self._scale, directions.shape)
        hits = self._scene.run(np.ascontiguousarray(origins, dtype=np.float32), directions, output=True)
        u, v, face = hits["u"].astype(np.float64), hits["v"].astype(np.float64), hits["primID"].astype(np.int64)
        t = np.where(face >= 0, hits["tfar"].astype(np.float64) / self._scale, np.inf)
        return Hits(t, face, np.stack([1 - u - v, u, v], axis=-1))

    def render(self, camera: Camera, cam_T_mesh: Array) -> Hits:
        """First hit of every pixel's ray, flattened row by row; `t` is the depth along z of the camera."""
        ys, xs = np.mgrid[: camera.height, : camera.width]
        rays = rays_through(camera, np.stack([xs.ravel(), ys.ravel()], axis=-1))
        return self.first_hits_of_rays(rays, cam_T_mesh)

    def first_hits_of_rays(self, rays: Array, cam_T_mesh: Array) -> Hits:
        """First hits of rays (N, 3) in cam with z = 1, NaN for none; `t` is the depth along z of the camera.

        cam_T_mesh (4, 4) may be any invertible affine map: the mesh is then seen as that deforms it.
        """
        mesh_T_cam = np.linalg.inv(cam_T_mesh)
        directions = rays @ mesh_T_cam[:3, :3].T
        blind = np.isnan(directions[:, 0])
        if not blind.any():
            return self.first_hits(mesh_T_cam[:3, 3], directions)
        hits = self.first_hits(mesh_T_cam[:3, 3], np.where(blind[:, None], 1.0, directions))
        return Hits(np.where(blind, np.inf, hits.t), np.where(blind, -1, hits.face), hits.barycentric)

    def points(self, hits: Hits) -> Array:
        """Hit points (N, 3) in the mesh's frame; rows of misses are meaningless."""
        return np.einsum("nk,nkd->nd", hits.barycentric, self.mesh.vertices[self.mesh.faces[hits.face]])

    def visible(self, points: Array, eye: Array, tolerance: float) -> Array:
        """(N,) bool: is nothing nearer to `eye` (3,) than `tolerance` (mesh units) before each of (N, 3) points."""
        directions = points - eye
        distances = np.linalg.norm(directions, axis=1)
        hits = self.first_hits(eye, directions / np.maximum(distances, 1e-12)[:, None])
        return hits.t >= distances - tolerance

    def contains(self, points: Array) -> Array:
        """(N,) bool: inside a closed mesh, because the first surface on the way to one side is seen from within.

        One hit decides. Counting crossings is not safe: at grazing incidence a ray that is continued behind a hit meets
        the same face again, as Embree works in float32.
        """
        direction = np.array([0.5719, 0.3517, 0.7412])
        hits = self.first_hits(points, np.broadcast_to(direction, (len(points), 3)))
        return hits.mask & (self.face_normals[hits.face] @ direction > 0)


def vertex_normals(mesh: Mesh) -> Array:
    """(V, 3) unit normals, area-weighted over the adjacent faces, pointing outwards."""
    corners = mesh.vertices[mesh.faces]
    face_normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.zeros_like(mesh.vertices)
    for corner in range(3):
        np.add.at(normals, mesh.faces[:, corner], face_normals)
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-20)
