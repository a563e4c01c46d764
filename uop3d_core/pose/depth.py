"""Scale and refined pose from measured depth: where the posed template is seen, at what depth it is, and how it bends.

In: a depth image aligned with the image, or points; metres, cam. A PoseEstimate in object units. Out: a DepthFit.
Frame: cam. Metres turn into object units by division by the scale.

Depth along a ray is scale times depth of the template, so one number per pixel votes for the scale; the densest votes
win. That makes the metric *position* exact, but leaves an error of the pose's distance in the scale. Only the measured
shape tells both apart, by curvature and relief: point-to-plane registration with the scale as a seventh unknown and the
covariance of the pose as a prior. Where the shape does not tell, as with flat faces, the scale stays that of the votes
and the pose alone is registered.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from uop3d_core.geometry import Array, pixel_rays, project, rigid, transform
from uop3d_core.pose.scale import Reading, pose_covariance
from uop3d_core.raycast import RayCaster
from uop3d_core.types import Camera, PoseEstimate

MIN_PIXELS, MAX_PIXELS = 20, 4000
MIN_SHARE = 0.35
"""Of the measured pixels in which the template is seen, so many must agree."""
RIVAL = 0.7
"""A second surface with so many pixels, relative to the first, leaves open which is the object."""
VOTE_STD, VOTE_RELIEF = 0.02, 0.12
"""Votes for one surface differ by the sensor's relative error and by so many object units of relief."""
GRAZING = 0.2
"""Cosine of the steepest angle at which a surface still has a depth."""
INDEPENDENT = 100
"""Errors of neighbouring pixels are alike; no more than so many count as independent."""
STEPS, FIRST_GATE, LAST_GATE, NOISE_FLOOR = 14, 0.25, 0.06, 0.003
"""Of the registration; gates and noise in object units."""
FARTHEST, LARGEST_CHANGE = 5.0, 0.5
"""A refined pose this many standard deviations from the given one is not believed, nor such a change of log scale."""
TELLING = 0.5
"""The shape tells the scale if its standard deviation is this much smaller than that of the votes."""
FIXED = 1e12


@dataclass(frozen=True, eq=False)
class DepthSamples:
    """Measured surface points with their pixels.

    Attributes:
        pixels: (N, 2) in the image.
        points: (N, 3) metres, cam.
    """

    pixels: Array
    points: Array

    def where(self, keep: Array) -> DepthSamples:
        """Those that a mask or indices keep."""
        return DepthSamples(self.pixels[keep], self.points[keep])


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


def samples_of_depth(depth: Array, camera: Camera, mask: Array | None = None) -> DepthSamples:
    """Samples of a depth image (H, W), metres along z of cam, 0 or NaN unknown; within `mask` (H, W) bool if given."""
    known = np.isfinite(depth) & (depth > 0)
    ys, xs = np.nonzero(known if mask is None else known & mask)
    pixels = np.stack([xs, ys], axis=-1).astype(np.float64)
    return DepthSamples(pixels, pixel_rays(camera.K, pixels) * depth[ys, xs, None].astype(np.float64))


def samples_of_points(points: Array, camera: Camera, mask: Array | None = None) -> DepthSamples:
    """Samples of (N, 3) points in cam, metres: those with z > 0 that are seen in the image, and within the mask."""
    points = points[np.isfinite(points).all(1) & (points[:, 2] > 0)].astype(np.float64)
    pixels = project(camera.K, points)
    inside = ((pixels > -0.5) & (pixels < [camera.width - 0.5, camera.height - 0.5])).all(1)
    if mask is not None:
        x, y = np.rint(np.where(inside[:, None], pixels, 0)).astype(int).T
        inside &= mask[y, x]
    return DepthSamples(pixels, points).where(inside)


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
    samples = _near_template(samples, caster, camera, T)
    reading = vote(samples, caster, camera, estimate)
    if not (refine and reading.valid):
        return DepthFit(reading, T)
    covariance = pose_covariance(estimate)
    free = _register(samples, caster, camera, T, reading, covariance, free_scale=True)
    if free is not None and free.reading.std < TELLING * reading.std:
        return free
    return _register(samples, caster, camera, T, reading, covariance, free_scale=False) or DepthFit(reading, T)


def vote(samples: DepthSamples, caster: RayCaster, camera: Camera, estimate: PoseEstimate) -> Reading:
    """Scale by the densest ratios of measured depth to the template's.

    An occluder, the background and flying pixels vote for other scales. The standard deviation is the spread of the
    winning votes, a hundred of which at most count as independent, and the relative error of the pose's distance.
    """
    T = estimate.cam_T_obj
    sight = _sight(samples, caster, camera, T)
    votes = np.sort(np.log(sight.points[:, 2] / sight.depth))
    if len(votes) < MIN_PIXELS:
        return Reading("depth", reason=f"only {len(votes)} pixels with depth show the object, {MIN_PIXELS} are needed")
    distance = float(np.median(sight.depth))
    width = 2 * float(np.hypot(VOTE_STD, VOTE_RELIEF / distance))
    first, count = _densest(votes, width)
    others = votes[np.abs(votes - np.median(votes[first : first + count])) > width]
    if len(others) and _densest(others, width)[1] > RIVAL * count:
        return Reading("depth", reason="two surfaces at different depths are in the place of the object: give a mask")
    kept = votes[first : first + count]
    for _ in range(3):
        centre = float(np.median(kept))
        spread = _spread(kept - centre)
        kept = votes[np.abs(votes - centre) <= np.clip(3 * spread, 0.002, width / 2)]
    if len(kept) < max(MIN_PIXELS, MIN_SHARE * len(votes)):
        return Reading("depth", reason=f"only {len(kept)} of {len(votes)} pixels with depth agree with the template")
    distance_std = np.sqrt(pose_covariance(estimate)[2, 2]) / distance
    std = float(np.hypot(spread / np.sqrt(min(len(kept), INDEPENDENT)), distance_std))
    return Reading("depth", float(np.exp(np.median(kept))), std)


@dataclass(frozen=True, eq=False)
class _Sight:
    """Samples in whose pixels the template is seen at a safe angle: measured (n, 3) metres; seen in object units, cam.

    Attributes:
        points: (n, 3) measured, metres.
        seen: (n, 3) template.
        normals: (n, 3) of the template.
        depth: (n,) of the template.
    """

    points: Array
    seen: Array
    normals: Array
    depth: Array


def _sight(samples: DepthSamples, caster: RayCaster, camera: Camera, T: Array) -> _Sight:
    rays = pixel_rays(camera.K, samples.pixels)
    hits = caster.first_hits_of_pixels(camera.K, samples.pixels, T)
    normals = caster.face_normals[hits.face] @ T[:3, :3].T
    facing = -(normals * rays).sum(1) / np.linalg.norm(rays, axis=1)
    ok = hits.mask & (facing > GRAZING) & (hits.t > 0)
    return _Sight(samples.points[ok], rays[ok] * hits.t[ok, None], normals[ok], hits.t[ok])


def _near_template(samples: DepthSamples, caster: RayCaster, camera: Camera, T: Array) -> DepthSamples:
    """At most MAX_PIXELS samples, spread evenly, in and closely around the box of the projected template."""
    vertices = transform(T, caster.mesh.vertices)
    if vertices[:, 2].min() > 0:
        uv = project(camera.K, vertices)
        margin = 0.1 * np.ptp(uv, axis=0)
        low, high = uv.min(0) - margin, uv.max(0) + margin
        samples = samples.where(((samples.pixels >= low) & (samples.pixels <= high)).all(1))
    if len(samples.pixels) > MAX_PIXELS:
        samples = samples.where(np.linspace(0, len(samples.pixels) - 1, MAX_PIXELS).astype(int))
    return samples


def _densest(ordered: Array, width: float) -> tuple[int, int]:
    """Start and length of the longest run of sorted numbers within `width`."""
    counts = np.searchsorted(ordered, ordered + width, side="right") - np.arange(len(ordered))
    first = int(np.argmax(counts))
    return first, int(counts[first])


def _spread(residuals: Array) -> float:
    """Standard deviation of normal errors by the median of their absolute values."""
    return 1.4826 * float(np.median(np.abs(residuals)))


def _register(
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
    prior[1:, 1:] = np.linalg.pinv(covariance, hermitian=True)
    T, log_scale = start, np.log(voted.scale)
    for gate in np.geomspace(FIRST_GATE, LAST_GATE, STEPS):
        system = _normal_equations(samples, caster, camera, T, log_scale, gate)
        if system is None:
            return None
        moved = np.array([log_scale - np.log(voted.scale), *_difference(T, start)])
        step = -np.linalg.lstsq(system[0] + prior, system[1] + prior @ moved, rcond=None)[0]
        log_scale += step[0]
        T = rigid(Rotation.from_rotvec(step[4:]).as_matrix() @ T[:3, :3], T[:3, 3] + step[1:4])
    system = _normal_equations(samples, caster, camera, T, log_scale, LAST_GATE)
    moved = np.array([0, *_difference(T, start)])
    if system is None or moved @ prior @ moved > FARTHEST**2 or abs(log_scale - np.log(voted.scale)) > LARGEST_CHANGE:
        return None
    posterior = np.linalg.pinv(system[0] + prior, hermitian=True)
    if free_scale:
        reading = Reading("depth", float(np.exp(log_scale)), float(np.sqrt(posterior[0, 0])))
        return DepthFit(reading, T, posterior[1:, 1:])
    posterior[1:4, 1:4] += voted.std**2 * np.outer(T[:3, 3], T[:3, 3])
    return DepthFit(voted, T, posterior[1:, 1:])


def _normal_equations(
    samples: DepthSamples, caster: RayCaster, camera: Camera, T: Array, log_scale: float, gate: float
) -> tuple[Array, Array] | None:
    """Information (7, 7) and gradient (7,) of the samples at a pose and scale; None if too few of them agree."""
    sight = _sight(samples, caster, camera, T)
    measured = sight.points / np.exp(log_scale)
    residuals = (sight.normals * (measured - sight.seen)).sum(1)
    near = np.abs(residuals) < gate
    if near.sum() < max(MIN_PIXELS, MIN_SHARE * len(near)):
        return None
    noise = max(NOISE_FLOOR, _spread(residuals[near]))
    weights = np.clip(1 - (residuals / min(gate, 4.685 * noise)) ** 2, 0, None) ** 2
    arms = np.cross(sight.seen - T[:3, 3], sight.normals)
    J = -np.column_stack([(sight.normals * sight.seen).sum(1), sight.normals, arms])  # the measured, without its noise
    weights *= min(1.0, INDEPENDENT / weights.sum()) / noise**2
    return J.T @ (weights[:, None] * J), J.T @ (weights * residuals)


def _difference(T: Array, start: Array) -> Array:
    """(6,) dt, w that lead from one pose to another, as in `PoseEstimate.covariance`."""
    turn = Rotation.from_matrix(T[:3, :3] @ start[:3, :3].T).as_rotvec()
    return np.concatenate([T[:3, 3] - start[:3, 3], turn])
