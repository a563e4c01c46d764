"""All nodes at once: robust least squares for rotations, then for scales and translations.

In: Problem, rotations (N, 3, 3) common_R_node. Out: better ones, and Nodes. The cost of a round grows with the edges.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.spatial.transform import Rotation

from uop3d_core.alignment.problem import Directions, Nodes, Problem, common_direction
from uop3d_core.geometry import Array

LARGEST_TURN = 0.5
"""Radians that a rotation may change in one step."""
CG_STEPS = 200
SCALE_TOLERANCE = 0.1
"""Cauchy scale of disagreements in log scale."""


def average(
    problem: Problem, R: Array, free: Array, scale: float, rounds: int, directions: Directions | None = None
) -> Array:
    """Robust mean of all rotations at one Cauchy scale."""
    for _ in range(rounds):
        R, moved = _step(problem, R, free, scale, directions)
        if moved < 1e-5:
            break
    return R


def similarities(problem: Problem, R: Array, mode: Array, residual: Array, initial: Nodes, free: Array) -> Nodes:
    """Scales and translations to given rotations, by robust least squares with the rotations' weights."""
    pick = np.arange(len(mode)), mode
    to, of = problem.edges.to, problem.edges.of
    base = _weights(problem, residual, problem.tolerances.fine)
    one, turn = np.ones((len(mode), 1, 1)), _relative(problem, R, mode)[1]
    log_scale = np.log(initial.scale)[:, None]
    for robust in range(3):
        apart = log_scale[to] + np.log(problem.edges.scale[pick])[:, None] - log_scale[of]
        weight = base / (1 + (apart[:, 0] / SCALE_TOLERANCE) ** 2 * (robust > 0))
        log_scale = log_scale + _least_squares(problem, apart, weight, one, free)
    scale, t = np.exp(log_scale[:, 0]), initial.t
    offset = scale[to, None] * (R[to] @ problem.edges.t[pick][..., None])[..., 0]
    for robust in range(3):
        apart = (turn @ (offset + t[to])[..., None])[..., 0] - t[of]
        length = np.linalg.norm(apart, axis=1)
        spread = max(_weighted_median(length, base), 1e-9)
        weight = base / (1 + (length / spread) ** 2 * (robust > 0))
        t = t + _least_squares(problem, apart, weight, turn, free)
    return Nodes(scale, R, t)


def _step(problem: Problem, R: Array, free: Array, scale: float, directions: Directions | None) -> tuple[Array, float]:
    """One robust Gauss-Newton step of all free nodes' rotations, and the largest turn in it (radians)."""
    residual, mode = problem.residuals(R)
    vector, turn = _relative(problem, R, mode)
    weight = _weights(problem, residual, scale)
    if problem.axis is not None:
        vector = vector - (vector @ problem.axis)[:, None] * problem.axis
    omega = _least_squares(problem, vector, weight, turn, free, _direction_prior(problem, R, weight, scale, directions))
    angle = np.linalg.norm(omega, axis=1, keepdims=True)
    omega = omega * np.minimum(1, LARGEST_TURN / np.maximum(angle, 1e-12))
    return Rotation.from_rotvec(omega).as_matrix() @ R, float(angle.max())


def _relative(problem: Problem, R: Array, mode: Array) -> tuple[Array, Array]:
    """Residual vectors (E, 3) of edges in the common frame, and the symmetry's turns (E, 3, 3) that they take."""
    R_e = np.take_along_axis(problem.edges.R, mode[:, None, None, None], 1)[:, 0]
    delta = R[problem.edges.to] @ R_e @ np.swapaxes(R[problem.edges.of], -1, -2)
    if problem.axis is not None:
        turn = np.swapaxes(_twist(delta, problem.axis), -1, -2)
    elif len(problem.turns) > 1:
        turned = problem.turns[:, None] @ delta
        turn = problem.turns[np.trace(turned, axis1=-2, axis2=-1).argmax(0)]
    else:
        turn = np.broadcast_to(np.eye(3), delta.shape)
    return Rotation.from_matrix(turn @ delta).as_rotvec(), turn


def _weights(problem: Problem, residual: Array, scale: float) -> Array:
    """(E,) Cauchy weights; an edge beyond the truncation has no say."""
    return problem.edges.weight * (residual < problem.tolerances.truncate) / (1 + (residual / scale) ** 2)


def _least_squares(
    problem: Problem, apart: Array, weight: Array, turn: Array, free: Array, prior: tuple[Array, Array] | None = None
) -> Array:
    """(N, C) changes x of the free nodes that make `apart + turn @ x_to - x_of` (E, C) small.

    `prior` adds (N, C, C), (N, C) to the normal equations. Directions that nothing tells of stay unchanged.
    """
    to, of, back = problem.edges.to, problem.edges.of, np.swapaxes(turn, -1, -2)

    def collect(difference: Array) -> Array:
        weighted = weight[:, None] * difference
        return problem.to_nodes @ (back @ weighted[..., None])[..., 0] - problem.of_nodes @ weighted

    def normal(x: Array) -> Array:
        result = collect((turn @ x[to][..., None])[..., 0] - x[of])
        return result if prior is None else result + (prior[0] @ x[..., None])[..., 0]

    right, diagonal = -collect(apart), problem.total(weight) + 1e-9
    if prior is not None:
        right, diagonal = right - prior[1], diagonal + np.trace(prior[0], axis1=-2, axis2=-1) / 3
    return solve(normal, right, diagonal, free)


def _direction_prior(
    problem: Problem, R: Array, weight: Array, scale: float, directions: Directions | None
) -> tuple[Array, Array] | None:
    """Normal equations (N, 3, 3), (N, 3) of the shared direction.

    All edges of a node err together where the node itself is hard to align, so a direction counts against their
    sum; the spread of the directions about their common one says how far.
    """
    if directions is None or len(directions.nodes) < 3 or directions.strength == 0:
        return None
    H, g = np.zeros((problem.count, 3, 3)), np.zeros((problem.count, 3))
    here = (R[directions.nodes] @ directions.vectors[..., None])[..., 0]
    centre, angle, spread = common_direction(here)
    total = problem.total(weight)
    w = directions.strength * total[directions.nodes] * (scale / spread) ** 2 / (1 + (angle / spread) ** 2)
    axis = np.cross(here, centre)
    vector = -axis / np.maximum(np.linalg.norm(axis, axis=1, keepdims=True), 1e-12) * angle[:, None]
    P = np.eye(3) - centre[:, None] * centre
    H[directions.nodes], g[directions.nodes] = w[:, None, None] * P, w[:, None] * (vector @ P)
    return H, g


def solve(apply: Callable[[Array], Array], right: Array, diagonal: Array, free: Array) -> Array:
    """Solve a positive semi-definite system for the free nodes' (N, C) unknowns by conjugate gradients.

    Stops after CG_STEPS at the latest: the systems are solved again with other weights anyway.
    """
    mask = free[:, None] / diagonal[:, None]
    x, residual = np.zeros_like(right), right * free[:, None]
    direction = z = residual * mask
    size = enough = float((residual * z).sum())
    for _ in range(CG_STEPS):
        if size <= 1e-14 * enough or size < 1e-28:
            break
        moved = apply(direction) * free[:, None]
        curvature = float((direction * moved).sum())
        if curvature <= 0:
            break
        x = x + size / curvature * direction
        residual = residual - size / curvature * moved
        z = residual * mask
        size, last = float((residual * z).sum()), size
        direction = z + size / last * direction
    return x


def _weighted_median(values: Array, weights: Array) -> float:
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, total[-1] / 2)]) if len(values) else 1.0


def _twist(R: Array, axis: Array) -> Array:
    """The part (..., 3, 3) of rotations that turns about an axis."""
    quaternion = Rotation.from_matrix(R).as_quat()
    along = quaternion[:, :3] @ axis
    return Rotation.from_rotvec(2 * np.arctan2(along, quaternion[:, 3])[:, None] * axis).as_matrix()
