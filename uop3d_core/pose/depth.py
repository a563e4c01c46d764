"""Scale from measured depth: at what depth the posed template is where it is seen.

In: a depth image aligned with the image, or points; metres, cam. A PoseEstimate in object units. Out: a Reading.
Frame: cam. Metres turn into object units by division by the scale.

Depth along a ray is scale times depth of the template, so one number per pixel votes for the scale; the densest votes
win. That makes the metric *position* right, but leaves the error of the pose's distance in the scale: `registration`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from uop3d_core.cameras import pixels_of, rays_through
from uop3d_core.geometry import Array, transform
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
PATCHES = 5
"""Where an object is shaped unlike its template, it is so over whole patches; so many of them count as independent."""


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


def samples_of_depth(depth: Array, camera: Camera, mask: Array | None = None) -> DepthSamples:
    """Samples of a depth image (H, W), metres along z of cam, 0 or NaN unknown; within `mask` (H, W) bool if given."""
    known = np.isfinite(depth) & (depth > 0)
    ys, xs = np.nonzero(known if mask is None else known & mask)
    pixels = np.stack([xs, ys], axis=-1).astype(np.float64)
    rays = rays_through(camera, pixels)
    samples = DepthSamples(pixels, rays * depth[ys, xs, None].astype(np.float64))
    return samples if camera.lens == "pinhole" else samples.where(np.asarray(np.isfinite(rays).all(1)))


def samples_of_points(points: Array, camera: Camera, mask: Array | None = None) -> DepthSamples:
    """Samples of (N, 3) points in cam, metres: those with z > 0 that are seen in the image, and within the mask."""
    points = points[np.isfinite(points).all(1) & (points[:, 2] > 0)].astype(np.float64)
    pixels = pixels_of(camera, points)
    kept = np.flatnonzero(((pixels > -0.5) & (pixels < [camera.width - 0.5, camera.height - 0.5])).all(1))
    if mask is not None:
        x, y = np.rint(pixels[kept]).astype(int).T
        kept = kept[mask[y, x]]
    return DepthSamples(pixels, points).where(kept)


def vote(samples: DepthSamples, caster: RayCaster, camera: Camera, estimate: PoseEstimate) -> Reading:
    """Scale by the densest ratios of measured depth to the template's.

    An occluder, the background and flying pixels vote for other scales. The standard deviation is the spread of the
    winning votes, as many of which count as independent as there are patches, and the relative error of the distance.
    """
    T = estimate.cam_T_obj
    sight = sight_of(samples, caster, camera, T)
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
        spread = spread_of(kept - centre)
        kept = votes[np.abs(votes - centre) <= np.clip(3 * spread, 0.002, width / 2)]
    if len(kept) < max(MIN_PIXELS, MIN_SHARE * len(votes)):
        return Reading("depth", reason=f"only {len(kept)} of {len(votes)} pixels with depth agree with the template")
    distance_std = np.sqrt(pose_covariance(estimate)[2, 2]) / distance
    std = float(np.hypot(spread / np.sqrt(min(len(kept), PATCHES)), distance_std))
    return Reading("depth", float(np.exp(np.median(kept))), std)


@dataclass(frozen=True, eq=False)
class Sight:
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


def sight_of(samples: DepthSamples, caster: RayCaster, camera: Camera, T: Array) -> Sight:
    """What the template at cam_T_obj `T` shows in the pixels of the samples, where it is seen at a safe angle."""
    rays = rays_through(camera, samples.pixels)
    hits = caster.first_hits_of_rays(rays, T)
    normals = caster.face_normals[hits.face] @ T[:3, :3].T
    facing = -(normals * rays).sum(1) / np.linalg.norm(rays, axis=1)
    ok = hits.mask & (facing > GRAZING) & (hits.t > 0)
    return Sight(samples.points[ok], rays[ok] * hits.t[ok, None], normals[ok], hits.t[ok])


def near_template(samples: DepthSamples, caster: RayCaster, camera: Camera, T: Array) -> DepthSamples:
    """At most MAX_PIXELS samples, spread evenly, around the projected template; neighbours follow each other."""
    vertices = transform(T, caster.mesh.vertices)
    if vertices[:, 2].min() > 0:
        uv = pixels_of(camera, vertices)
        margin = 0.1 * np.ptp(uv, axis=0)
        low, high = uv.min(0) - margin, uv.max(0) + margin
        samples = samples.where(((samples.pixels >= low) & (samples.pixels <= high)).all(1))
    if len(samples.pixels) > MAX_PIXELS:
        samples = samples.where(np.linspace(0, len(samples.pixels) - 1, MAX_PIXELS).astype(int))
    if len(samples.pixels) == 0:
        return samples
    row = max(1.0, float(np.sqrt(np.prod(np.ptp(samples.pixels, axis=0) + 1) / len(samples.pixels))))
    return samples.where(np.lexsort([samples.pixels[:, 0], np.floor(samples.pixels[:, 1] / row)]))


def _densest(ordered: Array, width: float) -> tuple[int, int]:
    """Start and length of the longest run of sorted numbers within `width`."""
    counts = np.searchsorted(ordered, ordered + width, side="right") - np.arange(len(ordered))
    first = int(np.argmax(counts))
    return first, int(counts[first])


def spread_of(residuals: Array) -> float:
    """Standard deviation of normal errors by the median of their absolute values."""
    return 1.4826 * float(np.median(np.abs(residuals)))
