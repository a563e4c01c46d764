"""The category's shape, fused from all accepted captures, and the axes of the obj frame.

In: Alignment and the captures' Surfaces. Out: Template in obj, and the Alignment expressed in that same obj.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from uop3d_core.alignment.joint import reorient
from uop3d_core.config import TemplateSettings
from uop3d_core.geometry import Array
from uop3d_core.types import Alignment, Mesh, Sim3, Surface, Template
from uop3d_core.volume import Grid, Lattice, extract_mesh, signed_distance


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
    fused = _fuse([mesh.transformed(upright) for mesh in meshes.values()], settings)
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


def _fuse(meshes: list[Mesh], settings: TemplateSettings) -> Mesh:
    """Level set of the mean signed distance that has the mean volume of the meshes.

    The plain zero level loses thin parts that do not lie exactly on each other, such as legs and handles.
    """
    low = np.mean([mesh.vertices.min(0) for mesh in meshes], axis=0)
    high = np.mean([mesh.vertices.max(0) for mesh in meshes], axis=0)
    pad = 0.12 * float(np.linalg.norm(high - low))
    lattice = Lattice.over(low - pad, high + pad, settings.resolution)
    points = lattice.points
    fields = [signed_distance(mesh, settings.resolution).sample(points) for mesh in meshes]
    inside = float(np.mean([(field < 0).mean() for field in fields]))
    mean = np.mean(fields, axis=0)
    level = float(np.quantile(mean, inside))
    return extract_mesh(Grid(lattice, (mean - level).astype(np.float32)), settings.vertices)
