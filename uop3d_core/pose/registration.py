"""Registration of a posed template to measured depth, with the scale as a seventh unknown where the shape tells it.

In: DepthSamples (metres, cam) and a PoseEstimate in object units. Out: a DepthFit: scale, pose, covariance.
Frame: cam; residuals are in object units.

A large object has the depth of a smaller one at the same place but for curvature and relief, which tell the scale. The
covariance of the pose is a prior. Where the shape does not tell, as with flat faces, the scale stays that of the votes
and the pose alone is registered.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from uop3d_core.geometry import Array, change_between
from uop3d_core.pose.depth import (
    MIN_PIXELS,
    MIN_SHARE,
    PATCHES,
    DepthSamples,
    near_template,
    sight_of,
    spread_of,
    vote,
)
from uop3d_core.pose.refine import moved
from uop3d_core.pose.scale import TINY, Reading, pose_covariance
from uop3d_core.raycast import RayCaster
from uop3d_core.types import Camera, PoseEstimate

STEPS, FIRST_GATE, LAST_GATE, NOISE_FLOOR = 14, 0.25, 0.06, 0.003
"""Of the registration; gates and noise in object units."""
INDEPENDENT = 100
"""Of the errors of single pixels, no more than so many count as independent."""
FARTHEST, LARGEST_CHANGE = 5.0, 0.5
"""A refined pose this many standard deviations from the given one is not believed, nor such a change of log scale."""
TELLING = 0.5
"""The shape tells the scale if its standard deviation is this much smaller than that of the votes."""
FIXED = 1e12


@dataclass(frozen=True, eq=False)
class DepthFit:
    """Outcome of `fit_depth`.

    Attributes:
        reading: scale, or why not.
        cam_T_obj: (4, 4) pose in object units, refined or as it was.
        covariance: (6, 6) of the refined pose as in `PoseEstimate`, or None where it was not refined.
    """

    reading: Reading
    cam_T_obj: Array
    covariance: Array | None = None


def fit_depth(
    estimate: PoseEstimate, caster: RayCaster, camera: Camera, samples: DepthSamples, refine: bool = True
) -> DepthFit:
    """Scale of a posed template from measured depth; with `refine` the pose, too.

    Args:
        estimate: translation in object units.
        caster: template, obj.
        camera: intrinsics.
        samples: measured depth on and around the object.
        refine: register the template to the samples, from the scale that the votes give or at it.
    """
    T = estimate.cam_T_obj
    samples = near_template(samples, caster, camera, T)
    reading = vote(samples, caster, camera, estimate)
    if not (refine and reading.valid):
        return DepthFit(reading, T)
    covariance = pose_covariance(estimate)
    free = register(samples, caster, camera, T, reading, covariance, free_scale=True)
    if free is not None and free.reading.std < TELLING * reading.std:
        return free
    return register(samples, caster, camera, T, reading, covariance, free_scale=False) or DepthFit(reading, T)


def register(
    samples: DepthSamples,
    caster: RayCaster,
    camera: Camera,
    start: Array,
    voted: Reading,
    covariance: Array,
    free_scale: bool,
) -> DepthFit | None:
    """Point-to-plane registration on the rays of the samples, robust and with a prior; None if it fails.

    Gauss-Newton on x = (log scale, dt, w): with p the measured point, q + t the template's in its pixel and n the
    normal there, e = n . (p / scale - q - t) changes by -n . (q + t), -n and -(q x n). Chen and Medioni, "Object
    modelling by registration of multiple range images", 1992; Tukey's weights; the gate narrows from step to step.
    At a fixed scale, its error is added to the covariance: a larger scale is a smaller distance.
    """
    prior = np.zeros((7, 7))
    prior[0, 0] = 0 if free_scale else FIXED
    prior[1:, 1:] = np.linalg.inv(covariance + TINY * np.eye(6))
    T, log_scale = start, np.log(voted.scale)
    for gate in np.geomspace(FIRST_GATE, LAST_GATE, STEPS):
        system = _normal_equations(samples, caster, camera, T, log_scale, gate)
        if system is None:
            return None
        apart = np.array([log_scale - np.log(voted.scale), *change_between(start, T)])
        step = -np.linalg.lstsq(system[0] + prior, system[1] + prior @ apart, rcond=None)[0]
        log_scale += step[0]
        T = moved(T[None], step[None, 1:])[0]
    system = _normal_equations(samples, caster, camera, T, log_scale, LAST_GATE)
    apart = np.array([0, *change_between(start, T)])
    if system is None or apart @ prior @ apart > FARTHEST**2 or abs(log_scale - np.log(voted.scale)) > LARGEST_CHANGE:
        return None
    posterior = np.linalg.inv(system[0] + prior)
    if free_scale:
        reading = Reading("depth", float(np.exp(log_scale)), float(np.sqrt(posterior[0, 0])))
        return DepthFit(reading, T, posterior[1:, 1:])
    posterior[1:4, 1:4] += voted.std**2 * np.outer(T[:3, 3], T[:3, 3])
    return DepthFit(voted, T, posterior[1:, 1:])


def _normal_equations(
    samples: DepthSamples, caster: RayCaster, camera: Camera, T: Array, log_scale: float, gate: float
) -> tuple[Array, Array] | None:
    """Information (7, 7) and gradient (7,) of the samples at a pose and scale; None if too few of them agree."""
    sight = sight_of(samples, caster, camera, T)
    measured = sight.points / np.exp(log_scale)
    residuals = (sight.normals * (measured - sight.seen)).sum(1)
    near = np.abs(residuals) < gate
    if near.sum() < max(MIN_PIXELS, MIN_SHARE * len(near)):
        return None
    noise = max(NOISE_FLOOR, spread_of(residuals[near]))
    weights = np.clip(1 - (residuals / min(gate, 4.685 * noise)) ** 2, 0, None) ** 2
    arms = np.cross(sight.seen - T[:3, 3], sight.normals)
    J = -np.column_stack([(sight.normals * sight.seen).sum(1), sight.normals, arms])  # the measured, without its noise
    weights /= weights.sum() * _mean_variance(residuals[near])
    return J.T @ (weights[:, None] * J), J.T @ (weights * residuals)


def _mean_variance(residuals: Array) -> float:
    """Variance of what residuals (n,) say on average: of single pixels, and of the shape, which errs over patches.

    Residuals are in the order of neighbours: these differ by the error of single pixels, and all by both errors.
    """
    pixel = max(NOISE_FLOOR**2, spread_of(np.diff(residuals)) ** 2 / 2)
    shape = max(0.0, spread_of(residuals) ** 2 - pixel)
    return pixel / min(len(residuals), INDEPENDENT) + shape / PATCHES
