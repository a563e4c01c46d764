"""The category's shape, fused from all accepted captures, and the axes of the obj frame.

In: Alignment and the captures' Surfaces. Out: Template in obj, and the Alignment expressed in that same obj.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import trimesh
from scipy.spatial import cKDTree

from uop3d_core.alignment.axes import Axes, find_axes, is_doubt
from uop3d_core.alignment.comparison import evenly
from uop3d_core.alignment.joint import reorient
from uop3d_core.config import TemplateSettings
from uop3d_core.geometry import Array
from uop3d_core.raycast import vertex_normals
from uop3d_core.types import Alignment, Mesh, Sim3, Surface, Symmetry, Template
from uop3d_core.volume import extract_mesh, signed_distance

SAMPLES = 8000
NORMAL_WEIGHT = 0.1
FAR = 0.1
COMPARED = 24


def fuse_template(
    alignment: Alignment,
    surfaces: Mapping[str, Surface],
    settings: TemplateSettings,
    symmetry: Symmetry | None = None,
    axes: Axes | None = None,
) -> tuple[Template, Alignment]:
    """Mean shape of the accepted captures, with the obj frame's axes, origin and unit fixed by it.

    z is up and x the front, as far as it can be told (see `axes`; what cannot be told becomes a warning); the origin is
    the centre and the unit the diagonal of the bounding box.

    Args:
        alignment: in any common frame.
        surfaces: of all accepted captures at least.
        settings: of the mesh.
        symmetry: of the category, in the frame of the alignment.
        axes: where they are known already.
    """
    symmetry = symmetry or Symmetry.none()
    accepted = [name for name, entry in alignment.captures.items() if entry.accepted]
    axes = axes or find_axes(alignment, surfaces, symmetry)
    upright = reorient(alignment, Sim3(1.0, axes.obj_R_common, np.zeros(3)))
    turned = {n: surfaces[n].mesh.transformed(upright.captures[n].obj_T_world) for n in accepted}
    meshes = list(turned.values())
    fused = _fuse(most_typical(meshes), meshes, settings)
    template = Template(alignment.category, fused, _turned(symmetry, axes.obj_R_common))
    template, placed = oriented(template, upright, np.eye(3))
    return template, replace(placed, warnings=(*placed.warnings, *axes.warnings()))


def oriented(template: Template, alignment: Alignment, new_R_obj: Array) -> tuple[Template, Alignment]:
    """Both with other axes, and with origin and unit as the template's bounding box along these gives them.

    Doubts about the axes are over then.
    """
    turned = template.mesh.transformed(Sim3(1.0, new_R_obj, np.zeros(3)))
    low, high = turned.vertices.min(0), turned.vertices.max(0)
    unit = 1 / float(np.linalg.norm(high - low))
    new_T_obj = Sim3(unit, new_R_obj, -unit * (low + high) / 2)
    warnings = tuple(text for text in alignment.warnings if not is_doubt(text))
    placed = replace(reorient(alignment, new_T_obj), warnings=warnings)
    symmetry = _turned(template.symmetry, new_R_obj)
    return Template(template.category, template.mesh.transformed(new_T_obj), symmetry), placed


def _turned(symmetry: Symmetry, new_R_old: Array) -> Symmetry:
    """With its axis, of which either sense means the same, along the positive half of a frame's axes."""
    if symmetry.fold == 1:
        return symmetry
    axis = new_R_old @ symmetry.axis
    return Symmetry(axis * np.sign(axis[np.abs(axis).argmax()]), symmetry.fold)


def most_typical(meshes: Sequence[Mesh]) -> Mesh:
    """The one whose surface lies nearest to those of the others, in the root mean square both ways.

    Missing and superfluous parts count much: a mug that has lost its handle is not typical, however well it agrees.
    Of many meshes, some are compared, evenly chosen.
    """
    some = evenly(meshes, COMPARED)
    trees = [cKDTree(mesh.vertices) for mesh in some]
    squared = np.array([[np.mean(tree.query(mesh.vertices)[0] ** 2) for tree in trees] for mesh in some])
    return some[int(np.sqrt(squared + squared.T).sum(1).argmin())]


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
