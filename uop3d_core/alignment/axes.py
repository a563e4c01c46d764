"""Which way is up, and which is the front: the axes of obj.

In: an Alignment in any common frame, the Surfaces of its accepted captures. Out: the rotation to obj.

* z is up: the robust mean of the captures' ups.
* x lies in the vertical plane that mirrors captures best onto other captures, where there is a clear one; of several
  the one across which things are the narrowest. Else it is the longest horizontal extent.
* +x is the end that is farther from the centre of the volume: the side of the thinner, outstretched part, as a handle,
  a bonnet or a neck with its head.

What cannot be told is said in `Axes.doubt`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from uop3d_core.alignment.comparison import SHAPE_FLOOR, TOLD, compare, evenly
from uop3d_core.alignment.prepared import PreparedSurface, prepare
from uop3d_core.config import PairSettings
from uop3d_core.geometry import Array, closest_rotation, rotation_error
from uop3d_core.types import Alignment, Mesh, Surface, Symmetry

CAPTURES = 8
PLANES = 12
"""Vertical planes that are tried, evenly turned."""
LEVEL = np.deg2rad(8.0)
"""A capture whose up leans more than this has little say."""
LEANING = np.deg2rad(60.0)
"""One whose up leans more than this is told of."""
ROUNDS = 20
MIRRORED = 0.15
"""A mirror image may fit worse than the thing itself by this share."""
AS_GOOD = 0.1
CLEARLY = 0.1
"""A plane is told where others fit worse by this share."""
OUTSTRETCHED = 0.003
"""By how much of the diameter one end must be farther from the centre at least."""
SURE = 3.0
"""Standard errors by which the captures' mean must differ from no difference."""
AGREED = 0.8
DOUBTFUL = "could not be told"


@dataclass(frozen=True, eq=False)
class Axes:
    """The axes of obj.

    Attributes:
        obj_R_common: (3, 3) from the frame of the alignment; rows are x, y, z.
        doubt: what is left to chance and what to do about it, one sentence, or "".
        leaning: captures whose up is far from z.
    """

    obj_R_common: Array
    doubt: str
    leaning: tuple[str, ...] = ()

    def warnings(self) -> tuple[str, ...]:
        """What a person should look at."""
        names = ", ".join(self.leaning)
        lean = f"filmed with another side up than the others, or aligned upside down: {names}"
        return (*([self.doubt] if self.doubt else []), *([lean] if names else []))


def find_axes(alignment: Alignment, surfaces: Mapping[str, Surface], symmetry: Symmetry) -> Axes:
    """Axes that the accepted captures give.

    Args:
        alignment: in any common frame.
        surfaces: of all accepted captures at least.
        symmetry: of the category, in the frame of the alignment.
    """
    names = [name for name, entry in alignment.captures.items() if entry.accepted]
    meshes = [surfaces[name].mesh.transformed(alignment.captures[name].obj_T_world) for name in names]
    ups = [alignment.captures[name].obj_T_world.R @ surfaces[name].up for name in names]
    z = mean_direction(ups)
    leaning = tuple(name for name, up in zip(names, ups, strict=True) if up @ z < np.cos(LEANING))
    fold = symmetry.fold if abs(symmetry.axis @ z) > np.cos(LEVEL) else 1
    mirror = None if fold == 0 else _mirror_axis([surfaces[n] for n in evenly(names, CAPTURES)], alignment, meshes, z)
    x = _longest(meshes, z) if mirror is None else mirror
    lead = np.array([_lead(mesh, x) for mesh in meshes])
    x = x if lead.mean() >= 0 else -x
    return Axes(np.stack([x, np.cross(z, x), z]), _doubt(fold, mirror is not None, _is_sure(lead)), leaning)


def is_doubt(warning: str) -> bool:
    """Whether a warning is a doubt about axes."""
    return DOUBTFUL in warning


def turn_between(alignment: Alignment, other: Alignment) -> Array | None:
    """Rotation (3, 3) from obj of the one to obj of the other, by the captures accepted in both; None without any.

    The robust mean: captures that one of them has flipped have no say.
    """
    common = [
        n for n, e in alignment.captures.items() if e.accepted and n in other.captures and other.captures[n].accepted
    ]
    if not common:
        return None
    R = np.stack([other.captures[n].obj_T_world.R @ alignment.captures[n].obj_T_world.R.T for n in common])
    apart = rotation_error(R[:, None], R[None])
    best = np.minimum(apart, 4 * LEVEL).sum(1).argmin()
    return closest_rotation(R[apart[best] < 2 * LEVEL].sum(0))


def _doubt(fold: int, mirrored: bool, sure: bool) -> str:
    if fold == 0:
        return f"the front {DOUBTFUL}: things of this category look the same from all around, x is arbitrary"
    if not mirrored:
        return (
            f"the front {DOUBTFUL}: no plane mirrors these things, so x is their longest horizontal extent; "
            "choose with uop3d orient"
        )
    if not sure and fold % 2:
        return f"which end of x is the front {DOUBTFUL}: both reach equally far; choose with uop3d orient"
    return ""


def mean_direction(directions: Sequence[Array]) -> Array:
    """Robust mean (3,) of unit vectors: starts from the one nearest to all others, and far ones lose their say."""
    d = np.stack(directions)
    mean = d[np.minimum(np.arccos(np.clip(d @ d.T, -1, 1)), 4 * LEVEL).sum(1).argmin()]
    for _ in range(ROUNDS):
        weights = 1 / (1 + (np.arccos(np.clip(d @ mean, -1, 1)) / LEVEL) ** 2) ** 2
        mean = weights @ d
        mean = mean / np.linalg.norm(mean)
    return mean


def _mirror_axis(surfaces: Sequence[Surface], alignment: Alignment, meshes: Sequence[Mesh], z: Array) -> Array | None:
    """Horizontal unit vector (3,) in the mirror plane, or None where there is no clear one."""
    if len(surfaces) < 2:
        return None
    angles = np.arange(PLANES) * np.pi / PLANES
    first = np.cross(z, np.eye(3)[np.abs(z).argmin()])
    first /= np.linalg.norm(first)
    normals = np.cos(angles)[:, None] * first + np.sin(angles)[:, None] * np.cross(z, first)
    prepared = [prepare(surface, PairSettings()) for surface in surfaces]
    tried = _Mirrored.by(normals, prepared, alignment, z)
    nearby = tried.shape <= np.minimum(np.roll(tried.shape, 1), np.roll(tried.shape, -1))
    if tried.shape.max() < CLEARLY:
        return None
    found = _Mirrored.by(tried.normals[nearby], prepared, alignment, z)
    total = found.shape + found.looks
    good = (found.shape <= MIRRORED) & (total <= total[found.shape <= MIRRORED].min(initial=np.inf) + AS_GOOD)
    if not good.any():
        return None
    return np.cross(found.normals[good][_widths(meshes, found.normals[good]).argmin()], z)


@dataclass(frozen=True, eq=False)
class _Mirrored:
    """How well mirrored captures fit others.

    Attributes:
        normals: (P, 3) horizontal, of the planes after polishing.
        shape: (P,) share by which they fit worse than unmirrored ones.
        looks: (P,) share of the resemblance that is lost; 0 where looks say nothing.
    """

    normals: Array
    shape: Array
    looks: Array

    @classmethod
    def by(cls, normals: Array, surfaces: Sequence[PreparedSurface], alignment: Alignment, z: Array) -> _Mirrored:
        """Mirror by planes with (P, 3) normals."""
        mirrors = np.eye(3) - 2 * normals[:, :, None] * normals[:, None]
        compared = compare(surfaces, alignment, np.concatenate([np.eye(3)[None], mirrors]))
        polished = np.stack([_normal(R, z) for R in np.moveaxis(compared.obj_R_obj[:, 1:], 1, 0)])
        shape, looks = compared.shape.mean(0), compared.looks.mean(0)
        contrast = float(compared.any_two.mean() - looks[0])
        lost = (looks[1:] - looks[0]) / contrast if contrast > TOLD else np.zeros(len(normals))
        return cls(polished, (shape[1:] - shape[0]) / (shape[0] + SHAPE_FLOOR), np.where(np.isfinite(lost), lost, 1.0))


def _normal(mirrors: Array, z: Array) -> Array:
    """Horizontal normal (3,) of the mean of (E, 3, 3) reflections: what they turn round."""
    mean = mirrors.mean(0)
    normal = np.linalg.eigh(mean + mean.T)[1][:, 0]
    normal -= (normal @ z) * z
    return normal / np.linalg.norm(normal)


def _widths(meshes: Sequence[Mesh], directions: Array) -> Array:
    """Mean extent (D,) of the meshes along (D, 3) directions."""
    return np.mean([np.ptp(mesh.vertices @ directions.T, axis=0) for mesh in meshes], axis=0)


def _longest(meshes: Sequence[Mesh], z: Array) -> Array:
    """Horizontal direction (3,) in which the vertices spread most."""
    points = np.concatenate([mesh.vertices - mesh.vertices.mean(0) for mesh in meshes])
    flat = points - points @ z[:, None] * z
    x = np.linalg.eigh(flat.T @ flat)[1][:, -1]
    x -= (x @ z) * z
    return x / np.linalg.norm(x)


def _lead(mesh: Mesh, x: Array) -> float:
    """By how much of the diameter the end at +x is farther from the centre of the volume than the end at -x."""
    corners = mesh.vertices[mesh.faces]
    volumes = (corners[:, 0] * np.cross(corners[:, 1], corners[:, 2])).sum(1)
    centre = (volumes[:, None] * corners.sum(1) / 4).sum(0) / volumes.sum()
    along = (mesh.vertices - centre) @ x
    return float((along.max() + along.min()) / mesh.diameter)


def _is_sure(lead: Array) -> bool:
    """Whether the captures agree on the end that reaches farther."""
    mean = float(lead.mean())
    error = float(lead.std()) / np.sqrt(max(len(lead) - 1, 1))
    agreed = float((lead * np.sign(mean) > 0).mean())
    return abs(mean) > max(OUTSTRETCHED, SURE * error) and agreed >= AGREED
