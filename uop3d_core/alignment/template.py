"""The category's shape, fused from all accepted captures, and the axes of the obj frame.

In: Alignment and the captures' Surfaces. Out: Template in obj, and the Alignment expressed in that same obj.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import trimesh
from scipy.spatial import cKDTree

from uop3d_core.alignment.joint import reorient
from uop3d_core.config import TemplateSettings
from uop3d_core.geometry import Array
from uop3d_core.raycast import vertex_normals
from uop3d_core.types import Alignment, Mesh, Sim3, Surface, Template
from uop3d_core.volume import extract_mesh, signed_distance

SAMPLES = 8000
NORMAL_WEIGHT = 0.1
FAR = 0.1


def fuse_template(
    alignment: Alignment, surfaces: Mapping[str, Surface], settings: TemplateSettings
) -> tuple[Template, Alignment]:
    """Mean shape of the accepted captures, with the obj frame's axes, origin and unit fixed by it.

    z points up (the mean of the captures' up), x along the longest horizontal extent; the origin is the centre and the
    unit the diagonal of the bounding box. Which end is the front is left open here.
    """
    accepted = [name for name, entry in alignment.captures.items() if entry.accepted]
    meshes = {n: surfaces[n].mesh.transformed(alignment.captures[n].obj_T_world) for n in accepted}
    upright = Sim3(1.0, _axes(alignment, surfaces, meshes), np.zeros(3))
    turned = {name: mesh.transformed(upright) for name, mesh in meshes.items()}
    fused = _fuse(turned[alignment.reference], list(turned.values()), settings)
    low, high = fused.vertices.min(0), fused.vertices.max(0)
    unit = 1 / float(np.linalg.norm(high - low))
    centred = Sim3(unit, np.eye(3), -unit * (low + high) / 2)
    template = Template(alignment.category, fused.transformed(centred))
    return template, reorient(alignment, centred @ upright)


def _axes(alignment: Alignment, surfaces: Mapping[str, Surface], meshes: Mapping[str, Mesh]) -> Array:
    """Rotation (3, 3) whose rows are the new x, y, z in the present frame."""
    up = np.sum([alignment.captures[n].obj_T_world.R @ surfaces[n].up for n in meshes], axis=0)
    z = up / max(float(np.linalg.norm(up)), 1e-9)
    points = np.concatenate([mesh.vertices - mesh.vertices.mean(0) for mesh in meshes.values()])
    flat = points - points @ z[:, None] * z
    x = np.linalg.eigh(flat.T @ flat)[1][:, -1]
    x -= (x @ z) * z
    x /= np.linalg.norm(x)
    return np.stack([x, np.cross(z, x), z])


def _fuse(reference: Mesh, meshes: Sequence[Mesh], settings: TemplateSettings) -> Mesh:
    """The reference's surface moved to the mean of all captures' surfaces.

    Averaging volumes would lose thin parts that do not lie exactly on each other, such as legs and handles; a surface
    that bends smoothly onto every capture keeps them.
    """
    mean = np.mean([_bend(reference, mesh, settings) for mesh in meshes], axis=0)
    grid = signed_distance(Mesh(mean, reference.faces), settings.resolution, margin=0.05)
    return extract_mesh(grid, settings.vertices)


def _bend(source: Mesh, target: Mesh, settings: TemplateSettings) -> Array:
    """Vertices (V, 3) of the source moved onto the target by ever finer smooth displacements (non-rigid ICP).

    Partners are nearest in position and normal together, so that a thin part does not fall onto its own far side.
    """
    size = target.diameter
    points, normals = _samples(target)
    tree = cKDTree(np.hstack([points, NORMAL_WEIGHT * size * normals]))
    apart = np.linalg.norm(source.vertices[:, None] - source.vertices[None], axis=-1) / size
    vertices = source.vertices
    for width in settings.bend_widths:
        own = vertex_normals(Mesh(vertices, source.faces))
        partner = tree.query(np.hstack([vertices, NORMAL_WEIGHT * size * own]))[1]
        step = points[partner] - vertices
        trust = 1 / (1 + (np.linalg.norm(step, axis=1) / (FAR * size)) ** 2)
        kernel = np.exp(-((apart / width) ** 2)) * trust
        vertices = vertices + kernel @ step / np.maximum(kernel.sum(1, keepdims=True), 1e-9)
    return vertices


def _samples(mesh: Mesh) -> tuple[Array, Array]:
    """Points (N, 3) spread over the surface and their unit normals."""
    solid = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    points, faces = trimesh.sample.sample_surface(solid, SAMPLES, seed=0)
    return points, solid.face_normals[faces]
