"""Metric poses: what is measured or known besides one image gives the scale of a PoseEstimate.

In: a PoseEstimate in object units and MetricEvidence. Out: the same estimate with `scale`, `scale_std` and
`scale_source`; the scale stays NaN where nothing tells it. Frames: cam, except where a field says otherwise.

The most trusted source that gives a scale is used: depth, then size, views, plane. The others check it.

The covariance stays in object units and changes only where the pose does. Depth that refines the pose turns it into the
posterior of that covariance and the measured shape, with the scale marginalised; an estimate without a covariance
gets none. Views replace it by that of the fused pose. Scale and distance err in opposite directions where depth gave
the scale, so scale * t is better known than either.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, replace

import numpy as np

from uop3d_core.geometry import Array
from uop3d_core.pose.depth import samples_of_depth, samples_of_points
from uop3d_core.pose.multiview import FusedPose, View, fuse_views
from uop3d_core.pose.registration import DepthFit, fit_depth
from uop3d_core.pose.scale import KnownSize, Reading, SupportPlane, scale_from_plane, scale_from_size
from uop3d_core.raycast import RayCaster
from uop3d_core.types import Camera, PoseEstimate, Template

DISAGREEMENT = 3.0
"""Two scales contradict each other when they are this many standard deviations apart."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class MetricEvidence:
    """What is known of one image besides its pixels; everything is optional.

    Attributes:
        depth: (H, W) float, metres along z of cam, aligned with the image; 0 or NaN where unknown.
        points: (N, 3) float, metres in cam; used where there is no depth image.
        size: of the object or of its category.
        world_T_cam: (4, 4) pose of this image's camera, metres; needed for `views`.
        views: other views of the same object.
        plane: what the object stands on, in the cam of this image.
    """

    depth: Array | None = None
    points: Array | None = None
    size: KnownSize | None = None
    world_T_cam: Array | None = None
    views: tuple[View, ...] = ()
    plane: SupportPlane | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "views", tuple(self.views))
        if self.depth is not None and (self.depth.ndim != 2 or not np.issubdtype(self.depth.dtype, np.floating)):
            raise ValueError(
                f"depth must be float metres (H, W), got {self.depth.dtype} {self.depth.shape}; "
                "images.depth_from_millimetres converts uint16 millimetres"
            )
        if self.points is not None and (
            self.points.ndim != 2 or self.points.shape[1] != 3 or not np.issubdtype(self.points.dtype, np.floating)
        ):
            raise ValueError(f"points must be float metres (N, 3), got {self.points.dtype} {self.points.shape}")
        if self.views and self.world_T_cam is None:
            raise ValueError("other views were given, but no world_T_cam of this one: it is needed in the same world")


@dataclass(frozen=True, eq=False)
class Metric:
    """Outcome of `measure`.

    Attributes:
        estimate: with scale, scale_std and scale_source where a source gave them.
        readings: of every source that was given, the most trusted first.
        warnings: sources without a scale, and contradictions, one sentence each.
    """

    estimate: PoseEstimate
    readings: tuple[Reading, ...] = ()
    warnings: tuple[str, ...] = ()


def metric(
    estimate: PoseEstimate,
    template: Template,
    camera: Camera,
    evidence: MetricEvidence,
    refine: bool = True,
    caster: RayCaster | None = None,
) -> PoseEstimate:
    """The estimate with the scale that the evidence gives; warnings go to the log. Arguments and Raises: `measure`."""
    result = measure(estimate, template, camera, evidence, refine, caster)
    for warning in result.warnings:
        logger.warning("%s", warning)
    return result.estimate


def measure(
    estimate: PoseEstimate,
    template: Template,
    camera: Camera,
    evidence: MetricEvidence,
    refine: bool = True,
    caster: RayCaster | None = None,
) -> Metric:
    """Scale of one estimate, with what every source says of it.

    Args:
        estimate: translation in object units; one without a pose (`found` False) is returned as it is.
        template: of its category.
        camera: of its image.
        evidence: what is known.
        refine: let depth correct the pose, and views replace it by the fused one.
        caster: of the template's mesh, to spare building one for every estimate.

    Raises:
        ValueError: the depth image does not fit the camera.
    """
    if evidence.depth is not None and evidence.depth.shape != (camera.height, camera.width):
        raise ValueError(
            f"the depth image has shape {evidence.depth.shape}, but its camera says {(camera.height, camera.width)} "
            "(height, width): align it with the image"
        )
    if not estimate.found:
        return Metric(estimate)
    if np.isnan(estimate.size).all():
        estimate = replace(estimate, size=np.ptp(template.mesh.vertices, axis=0))
    depth = _depth(estimate, caster or RayCaster(template.mesh), camera, evidence, refine)
    views = _views(estimate, template, evidence)
    readings = [] if depth is None else [depth.reading]
    readings += [] if evidence.size is None else [scale_from_size(evidence.size, template.mesh)]
    readings += [] if views is None else [views.reading]
    readings += [] if evidence.plane is None else [scale_from_plane(estimate, template.mesh, evidence.plane)]
    used = next((reading for reading in readings if reading.valid), None)
    warnings = tuple(_contradictions(used, readings))
    if used is None:
        return Metric(estimate, tuple(readings), warnings)
    if depth is not None and used is depth.reading:
        estimate = _placed(estimate, depth)
    elif views is not None and used is views.reading and refine and evidence.world_T_cam is not None:
        estimate = views.seen_by(View(estimate, evidence.world_T_cam))
    estimate = replace(estimate, scale=used.scale, scale_std=used.std, scale_source=used.source)
    return Metric(estimate, tuple(readings), warnings)


def _depth(
    estimate: PoseEstimate, caster: RayCaster, camera: Camera, evidence: MetricEvidence, refine: bool
) -> DepthFit | None:
    """What depth or points say within the detection's mask; None where there are neither."""
    mask = estimate.detection.mask
    if evidence.depth is not None:
        samples = samples_of_depth(evidence.depth, camera, mask)
    elif evidence.points is not None:
        samples = samples_of_points(evidence.points, camera, mask)
    else:
        return None
    return fit_depth(estimate, caster, camera, samples, refine)


def _views(estimate: PoseEstimate, template: Template, evidence: MetricEvidence) -> FusedPose | None:
    if not evidence.views or evidence.world_T_cam is None:
        return None
    return fuse_views([View(estimate, evidence.world_T_cam), *evidence.views], template.symmetry)


def _placed(estimate: PoseEstimate, fit: DepthFit) -> PoseEstimate:
    """The estimate at the pose that fits the depth; its first hypothesis moves along."""
    if fit.covariance is None:
        return estimate
    first = tuple(replace(h, cam_T_obj=fit.cam_T_obj) for h in estimate.hypotheses[:1])
    return replace(
        estimate,
        cam_T_obj=fit.cam_T_obj,
        covariance=None if estimate.covariance is None else fit.covariance,
        hypotheses=first + estimate.hypotheses[1:],
    )


def _contradictions(used: Reading | None, readings: list[Reading]) -> list[str]:
    """One sentence per source that gives no scale, or another one than that used."""
    sentences = [f"no scale from {reading.source}: {reading.reason}" for reading in readings if not reading.valid]
    for other in readings:
        if used is None or other is used or not other.valid:
            continue
        apart = abs(math.log(other.scale / used.scale))
        if apart > DISAGREEMENT * math.hypot(used.std, other.std):
            sentences.append(
                f"{used.source} gives {used.scale:.4g} m per object unit (\u00b1{used.std:.1%}) and is used, but "
                f"{other.source} gives {other.scale:.4g} (\u00b1{other.std:.1%})"
            )
    return sentences
