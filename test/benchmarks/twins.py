"""Two surfaces of one object whose similarity is known exactly."""

from __future__ import annotations

import numpy as np
import trimesh

from uop3d_core.geometry import random_rotations
from uop3d_core.types import Mesh, Sim3, Surface


def asymmetric_mesh() -> Mesh:
    sphere = trimesh.creation.icosphere(2)
    x, y, z = sphere.vertices.T
    bumps = 1 + 0.4 * x + 0.3 * np.sin(2 * y + x) + 0.2 * z**2
    return Mesh(sphere.vertices * bumps[:, None] * [1.5, 1.0, 0.7], sphere.faces)


def surface(name: str, mesh: Mesh, features: np.ndarray, valid: np.ndarray) -> Surface:
    return Surface(name, mesh, features, valid, valid.sum(1), np.array([0, 0, 1.0]))


def unit(features: np.ndarray) -> np.ndarray:
    return (features / np.linalg.norm(features, axis=-1, keepdims=True)).astype(np.float16)


def twins(rng: np.random.Generator, b_T_a: Sim3) -> tuple[Surface, Surface]:
    """One mesh twice, the second in another gauge, with its vertices in another order and another set of views."""
    mesh, order = asymmetric_mesh(), rng.permutation(162)
    looks = rng.standard_normal((162, 1, 32))
    views = [unit(looks + 0.1 * rng.standard_normal((162, 3, 32))) for _ in range(2)]
    valid = rng.random((2, 162, 3)) < 0.7
    moved = Mesh(b_T_a.apply(mesh.vertices)[order], np.argsort(order)[mesh.faces])
    return surface("a", mesh, views[0], valid[0]), surface("b", moved, views[1][order], valid[1][order])


def gauge(rng: np.random.Generator) -> Sim3:
    return Sim3(rng.uniform(0.02, 5), random_rotations(1, rng)[0], rng.uniform(-3, 3, 3))
