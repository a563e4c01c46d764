"""The shape of a parametric mug: a turned body with a cavity, and a handle swept along a curve.

In: a random generator. Out: a closed-body mesh in the canonical frame: x from the axis to the handle, z up, origin =
centre of the bounding box, unit = its diagonal. Body and handle are two closed bodies that overlap inside the wall.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from uop3d_core.geometry import Array
from uop3d_core.types import Mesh

AROUND = 96
"""Faces around the body's axis."""
HANDLE_STATIONS, HANDLE_AROUND = 40, 20


class Part(IntEnum):
    """What a face belongs to; CLUTTER is what stands beside the mug."""

    OUTSIDE = 0
    RIM = 1
    INSIDE = 2
    HANDLE = 3
    CLUTTER = 4


@dataclass(frozen=True)
class MugShape:
    """Parameters of a mug; lengths in units of its mean radius.

    Attributes:
        height: of the body.
        bottom, top: outer radius at the bottom and the top.
        curve: exponent of the way from bottom to top (1 = straight; larger = flared at the rim).
        belly: added radius at half height.
        rounding: radius of the bottom edge.
        wall: thickness of wall and floor.
        handle_low, handle_high: heights at which the handle joins the body.
        handle_reach: how far its centre line stands off the wall.
        handle_square: exponent of its superellipse (2 = C, 4 = D).
        handle_lean: how much farther its upper half stands off than its lower one (ear).
        handle_width, handle_depth: half the size of its cross-section along y and in the handle's plane.
        handle_flare: relative growth of the cross-section towards the joints.
    """

    height: float
    bottom: float
    top: float
    curve: float
    belly: float
    rounding: float
    wall: float
    handle_low: float
    handle_high: float
    handle_reach: float
    handle_square: float
    handle_lean: float
    handle_width: float
    handle_depth: float
    handle_flare: float

    def radius(self, z: Array) -> Array:
        """Outer radius at heights z, without the rounding of the bottom edge."""
        share = np.clip(z / self.height, 0, 1)
        return self.bottom + (self.top - self.bottom) * share**self.curve + self.belly * np.sin(np.pi * share)


@dataclass(frozen=True, eq=False)
class Mug:
    """A mug in the canonical frame.

    Attributes:
        mesh: body and handle.
        parts: (F,) Part of every face.
        axis_x: x of the body's axis; its y is 0.
        z_bottom, height, radius: of the body.
    """

    mesh: Mesh
    parts: Array
    axis_x: float
    z_bottom: float
    height: float
    radius: float


def random_shape(rng: np.random.Generator) -> MugShape:
    """A mug as it may stand in a kitchen: from espresso cup to tall mug, with a C, D or ear handle."""
    height = rng.uniform(1.5, 2.9)
    opening = rng.choice([0.0, rng.uniform(-0.08, 0.1), rng.uniform(0.1, 0.28)])
    style = rng.choice(["straight", "flared", "bellied"], p=[0.4, 0.3, 0.3])
    rounding = rng.uniform(0.05, 0.2) if rng.random() < 0.6 else rng.uniform(0.2, 0.5)
    depth = rng.uniform(0.08, 0.13)
    handle = rng.choice(["C", "D", "ear"], p=[0.4, 0.3, 0.3])
    low = max(height * rng.uniform(0.15, 0.38), rounding * 0.7 + 2 * depth)
    return MugShape(
        height=height,
        bottom=1 - opening,
        top=1 + opening,
        curve=rng.uniform(1.5, 3.0) if style == "flared" else rng.uniform(0.7, 1.1),
        belly=rng.uniform(0.05, 0.16) if style == "bellied" else rng.uniform(-0.03, 0.02),
        rounding=rounding,
        wall=rng.uniform(0.06, 0.12),
        handle_low=low,
        handle_high=max(height * rng.uniform(0.7, 0.88), low + 0.65),
        handle_reach=rng.uniform(0.5, 0.85),
        handle_square=rng.uniform(3.2, 4.5) if handle == "D" else rng.uniform(1.9, 2.4),
        handle_lean=rng.uniform(0.2, 0.4) if handle == "ear" else rng.uniform(-0.05, 0.05),
        handle_width=rng.uniform(0.11, 0.2),
        handle_depth=depth,
        handle_flare=rng.uniform(0.1, 0.5),
    )


def build_mug(shape: MugShape) -> Mug:
    """Mesh of a shape, about 8,800 vertices, moved to the canonical frame."""
    body, body_parts = _turned(shape)
    handle = _handle(shape)
    vertices = np.concatenate([body.vertices, handle.vertices])
    faces = np.concatenate([body.faces, handle.faces + len(body.vertices)])
    parts = np.concatenate([body_parts, np.full(len(handle.faces), Part.HANDLE)])
    low, high = vertices.min(0), vertices.max(0)
    centre, diagonal = (low + high) / 2, float(np.linalg.norm(high - low))
    mesh = Mesh((vertices - centre) / diagonal, faces)
    axis_x, _, z_bottom = -centre / diagonal
    return Mug(mesh, parts, float(axis_x), float(z_bottom), shape.height / diagonal, 1 / diagonal)


def _profile(shape: MugShape) -> tuple[Array, Array]:
    """Half cross-section (P, 2) of radius and height, from the outer to the inner floor; (P - 1,) Part of each step."""
    wall, outer = shape.wall, shape.rounding
    inner = max(outer - wall, 0.5 * wall)
    shoulder = shape.height - wall / 2
    quarter, half = np.linspace(0, np.pi / 2, 9), np.linspace(0, np.pi, 11)
    flat = np.linspace(0, 1, 5)[:-1]
    z_corner, z_inner_corner = outer * (1 - np.cos(quarter)), wall + inner * (1 - np.cos(quarter[::-1]))
    z_side, z_inner_side = np.linspace(outer, shoulder, 26)[1:-1], np.linspace(shoulder, wall + inner, 26)[1:-1]
    r_corner = shape.radius(z_corner) - outer * (1 - np.sin(quarter))
    r_inner_corner = shape.radius(z_inner_corner) - wall - inner * (1 - np.sin(quarter[::-1]))
    r_shoulder = float(shape.radius(np.array(shoulder)))
    pieces = [
        (flat * r_corner[0], np.zeros(4), Part.OUTSIDE),
        (r_corner, z_corner, Part.OUTSIDE),
        (shape.radius(z_side), z_side, Part.OUTSIDE),
        (r_shoulder - wall / 2 + wall / 2 * np.cos(half), shoulder + wall / 2 * np.sin(half), Part.RIM),
        (shape.radius(z_inner_side) - wall, z_inner_side, Part.INSIDE),
        (r_inner_corner, z_inner_corner, Part.INSIDE),
        (flat[::-1] * r_inner_corner[-1], np.full(4, wall), Part.INSIDE),
    ]
    points = np.concatenate([np.stack([r, z], axis=1) for r, z, _ in pieces])
    parts = np.concatenate([np.full(len(r), part) for r, _, part in pieces])
    return points, parts[:-1]


def _turned(shape: MugShape) -> tuple[Mesh, Array]:
    """The body, turned about z with its bottom at z = 0, and the Part of every face."""
    points, parts = _profile(shape)
    angles = 2 * np.pi * np.arange(AROUND) / AROUND
    rings = points[1:-1]
    r, z = rings[:, :1], np.repeat(rings[:, 1:], AROUND, axis=1)
    vertices = np.stack([r * np.cos(angles), r * np.sin(angles), z], axis=-1).reshape(-1, 3)
    poles = np.array([[0, 0, points[0, 1]], [0, 0, points[-1, 1]]])
    faces = [_grid_faces(len(rings), AROUND), *_fans(len(rings), AROUND, len(vertices))]
    face_parts = [np.repeat(parts[1:-1], 2 * AROUND), np.repeat(parts[[0, -1]], AROUND)]
    return Mesh(np.concatenate([vertices, poles]), np.concatenate(faces)), np.concatenate(face_parts)


def _grid_faces(rings: int, around: int) -> Array:
    """Triangles (F, 3) between successive rings of vertices numbered ring by ring."""
    ring, step = np.meshgrid(np.arange(rings - 1), np.arange(around), indexing="ij")
    a, b = ring * around + step, ring * around + (step + 1) % around
    quads = np.stack([a, b, b + around, a, b + around, a + around], axis=-1)
    return quads.reshape(-1, 3)


def _fans(rings: int, around: int, pole: int) -> tuple[Array, Array]:
    """Triangles that close the first ring to vertex `pole` and the last one to `pole` + 1."""
    step = np.arange(around)
    following = (step + 1) % around
    last = (rings - 1) * around
    first_fan = np.stack([following, step, np.full(around, pole)], axis=-1)
    last_fan = np.stack([last + step, last + following, np.full(around, pole + 1)], axis=-1)
    return first_fan, last_fan


def _handle_curve(shape: MugShape) -> Array:
    """Centre line (HANDLE_STATIONS, 2) of x and z from the lower to the upper joint, at even spacing."""
    angle = np.linspace(-np.pi / 2, np.pi / 2, 801)
    power = 2 / shape.handle_square
    out, along = np.abs(np.cos(angle)) ** power, np.sign(angle) * np.abs(np.sin(angle)) ** power
    z = (shape.handle_high + shape.handle_low) / 2 + (shape.handle_high - shape.handle_low) / 2 * along
    ends = np.array([shape.handle_low, shape.handle_high])
    x = np.interp(z, ends, shape.radius(ends) - shape.wall / 2) + shape.handle_reach * out * (
        1 + shape.handle_lean * along
    )
    length = np.concatenate([[0], np.cumsum(np.hypot(np.diff(x), np.diff(z)))])
    even = np.linspace(0, length[-1], HANDLE_STATIONS)
    return np.stack([np.interp(even, length, x), np.interp(even, length, z)], axis=1)


def _handle(shape: MugShape) -> Mesh:
    """The handle: an elliptic tube along the curve whose ends lie within the wall."""
    curve = _handle_curve(shape)
    tangent = np.gradient(curve, axis=0)
    tangent[[0, -1]] = [[1, 0], [-1, 0]]
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    normal = np.stack([tangent[:, 1], -tangent[:, 0]], axis=1)
    position = np.linspace(-1, 1, HANDLE_STATIONS)
    growth = (1 + shape.handle_flare * position**6)[:, None]
    around = 2 * np.pi * np.arange(HANDLE_AROUND) / HANDLE_AROUND
    y = shape.handle_width * growth * np.sin(around)
    in_plane = shape.handle_depth * growth * np.cos(around)
    x = curve[:, :1] + in_plane * normal[:, :1]
    z = curve[:, 1:] + in_plane * normal[:, 1:]
    for end in (0, -1):
        x[end] = np.sqrt((shape.radius(z[end]) - shape.wall / 2) ** 2 - y[end] ** 2)
    poles = np.stack([[x[0].mean(), x[-1].mean()], [0, 0], curve[[0, -1], 1]], axis=-1)
    vertices = np.concatenate([np.stack([x, y, z], axis=-1).reshape(-1, 3), poles])
    faces = [_grid_faces(HANDLE_STATIONS, HANDLE_AROUND), *_fans(HANDLE_STATIONS, HANDLE_AROUND, len(vertices) - 2)]
    return Mesh(vertices, np.concatenate(faces))
