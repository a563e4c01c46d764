"""Surfaces of one capture and of the category.

Frames: `world` of a capture, `obj` of the category; a Mesh may be in any.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from uop3d_core.types.checks import Array, finite
from uop3d_core.types.showing import vector_text
from uop3d_core.types.similarity import Sim3


@dataclass(frozen=True, eq=False)
class Mesh:
    """Triangle mesh.

    Attributes:
        vertices: (V, 3) float64.
        faces: (F, 3) int64, counter-clockwise seen from outside.
    """

    vertices: Array
    faces: Array

    def __post_init__(self) -> None:
        object.__setattr__(self, "vertices", finite(self.vertices, (None, 3), "Mesh.vertices"))
        object.__setattr__(self, "faces", finite(self.faces, (None, 3), "Mesh.faces", np.int64))
        if len(self.faces) == 0 or self.faces.min() < 0 or self.faces.max() >= len(self.vertices):
            raise ValueError(f"Mesh.faces must index the {len(self.vertices)} vertices and be at least one triangle")

    def __repr__(self) -> str:
        size = f"{len(self.vertices):,} vertices, {len(self.faces):,} faces"
        return f"<Mesh: {size}, extents {vector_text(np.ptp(self.vertices, axis=0))}>"

    def transformed(self, a_T_mesh: Sim3) -> Mesh:
        """The same mesh in frame a."""
        return Mesh(a_T_mesh.apply(self.vertices), self.faces)

    @property
    def diameter(self) -> float:
        """Diagonal of the axis-aligned bounding box, in mesh units."""
        return float(np.linalg.norm(np.ptp(self.vertices, axis=0)))


@dataclass(frozen=True, eq=False)
class Surface:
    """What alignment needs to know of one capture: a coarse closed mesh with the looks of every vertex.

    Attributes:
        name: the capture's name.
        mesh: V vertices, world frame.
        features: (V, K, C) float16, L2-normalised rows; row k of vertex v is valid where `valid[v, k]`.
        valid: (V, K) bool.
        visible_views: (V,) int, in how many frames the vertex was seen.
        up: (3,) unit vector in the world frame, measured or as the cameras are held.
    """

    name: str
    mesh: Mesh
    features: Array
    valid: Array
    visible_views: Array
    up: Array

    def __post_init__(self) -> None:
        V = len(self.mesh.vertices)
        object.__setattr__(self, "features", finite(self.features, (V, None, None), "Surface.features", np.float16))
        object.__setattr__(self, "valid", finite(self.valid, self.features.shape[:2], "Surface.valid", np.bool_))
        object.__setattr__(self, "visible_views", finite(self.visible_views, (V,), "visible_views", np.int64))
        object.__setattr__(self, "up", finite(self.up, (3,), "Surface.up"))

    def __repr__(self) -> str:
        V, K, C = self.features.shape
        seen = f"{np.mean(self.visible_views > 0):.0%} of them seen"
        return f"<Surface {self.name}: {V:,} vertices ({seen}), up to {K} features of {C} channels each>"


@dataclass(frozen=True, eq=False)
class Symmetry:
    """Rotations that bring an object onto itself: the cyclic group of one axis through the origin of obj.

    Attributes:
        axis: (3,) unit vector in obj.
        fold: turns by 360 / fold degrees change nothing; 1 for no symmetry, 0 for any angle (a body of revolution).
    """

    axis: Array
    fold: int

    def __post_init__(self) -> None:
        axis = finite(self.axis, (3,), "Symmetry.axis")
        if abs(np.linalg.norm(axis) - 1) > 1e-4:
            raise ValueError(f"Symmetry.axis must be a unit vector, got {axis.tolist()}")
        if self.fold < 0:
            raise ValueError(f"Symmetry.fold must be 0 (any angle), 1 (none) or more, got {self.fold}")
        object.__setattr__(self, "axis", axis)
        object.__setattr__(self, "fold", int(self.fold))

    def __repr__(self) -> str:
        if self.fold == 1:
            return "<Symmetry: none>"
        turn = f"turns by {360 / self.fold:g}°" if self.fold else "any turn"
        return f"<Symmetry: {turn} about {vector_text(self.axis)}>"

    def nearest(self, a_R_obj: Array, a_R_target: Array) -> Array:
        """Rotations (..., 3, 3) of obj, each turned by the symmetry to be as near as it can be to (..., 3, 3) targets.

        With M = target.T @ R, the trace of M S(angle) is a cosine of the angle; the best of `fold` turns is that
        nearest to its maximum.
        """
        if self.fold == 1:
            return a_R_obj
        x, y, z = self.axis
        cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
        M = np.swapaxes(a_R_target, -1, -2) @ a_R_obj
        level = np.einsum("i,...ij,j->...", self.axis, M, self.axis)
        angle = np.arctan2(np.einsum("...ij,ji->...", M, cross), np.trace(M, axis1=-2, axis2=-1) - level)
        if self.fold > 1:
            angle = np.round(angle * self.fold / (2 * np.pi)) * 2 * np.pi / self.fold
        c, s = np.cos(angle)[..., None, None], np.sin(angle)[..., None, None]
        turned: Array = a_R_obj @ (c * np.eye(3) + s * cross + (1 - c) * np.outer(self.axis, self.axis))
        return turned

    @classmethod
    def none(cls) -> Symmetry:
        """No symmetry."""
        return cls(np.array([0.0, 0.0, 1.0]), 1)

    @classmethod
    def from_json(cls, content: Any, where: str) -> Symmetry:
        """From what `to_json` gave.

        Args:
            content: the JSON object.
            where: file and key that it comes from, for the error.

        Raises:
            ValueError: it has no axis that is a unit vector, or no fold.
        """
        try:
            return cls(np.array(content["axis"], dtype=np.float64), int(content["fold"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{where} must have an axis (unit vector) and a fold ({error})") from error

    def to_json(self) -> dict[str, Any]:
        """For files and reports."""
        return {"axis": self.axis.tolist(), "fold": self.fold}


@dataclass(frozen=True, eq=False)
class Template:
    """The category's shape in the obj frame: origin = centre and unit = diagonal of its bounding box.

    Attributes:
        category: name of the category.
        mesh: closed mesh, obj frame.
        symmetry: rotations that bring the category's objects onto themselves.
    """

    category: str
    mesh: Mesh
    symmetry: Symmetry = field(default_factory=Symmetry.none)

    def __repr__(self) -> str:
        turns = "" if self.symmetry.fold == 1 else f", {repr(self.symmetry)[1:-1]}"
        return f"<Template {self.category}: {repr(self.mesh)[1:-1]}{turns}>"
