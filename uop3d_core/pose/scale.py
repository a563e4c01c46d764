"""Scale of a posed template from what is known of the object: its size, or the plane it stands on.

In: a PoseEstimate whose translation is in object units, and the template. Out: a Reading: metres per object unit with a
relative standard deviation, or NaN and the reason why not. Frames: cam for planes, obj for extents.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from uop3d_core.geometry import Array
from uop3d_core.types import Mesh, PoseEstimate

ALONG_RAY, ACROSS_RAY, TURN_RAD = 0.05, 0.01, np.deg2rad(10)
"""How well a pose without a covariance is taken to be known: relative to its distance, and in rotation."""

TEMPLATE_STD = 0.02
"""How far the lowest point of an object lies from that of its category's template, in object units."""

TINY = 1e-10
"""Added to variances, so that a pose that is known exactly still has an inverse covariance."""

UNUSABLE_STD = 0.3
"""A scale that is known no better than this, relative to it, is none."""


@dataclass(frozen=True)
class Reading:
    """What one source says of the scale.

    Attributes:
        source: "depth", "size", "views" or "plane".
        scale: metres per object unit; NaN where it cannot be told.
        std: standard deviation of `scale`, relative to it; NaN where unknown.
        reason: why there is no scale, or "".
    """

    source: str
    scale: float = math.nan
    std: float = math.nan
    reason: str = ""

    @property
    def valid(self) -> bool:
        """Whether there is a scale."""
        return math.isfinite(self.scale)


@dataclass(frozen=True, eq=False)
class KnownSize:
    """Size of an object, or the usual one of its category.

    Attributes:
        diameter: diagonal of the object's bounding box in metres, or NaN.
        extents: (3,) lengths of that box along x, y, z of obj in metres, NaN where unknown.
        std: standard deviation relative to the size: how exact it is, or how much objects of the category differ.
    """

    diameter: float = math.nan
    extents: Array = field(default_factory=lambda: np.full(3, np.nan))
    std: float = 0.1

    def __post_init__(self) -> None:
        extents = np.array(self.extents, dtype=np.float64)
        if extents.shape != (3,):
            raise ValueError(f"KnownSize.extents has shape {extents.shape}, expected (3,): x, y, z in metres or NaN")
        given = np.array([self.diameter, *extents])
        if np.isnan(given).all():
            raise ValueError("KnownSize holds no size: give the diameter or at least one of the extents in metres")
        if (given <= 0).any() or np.isinf(given).any():
            raise ValueError(f"a size must be positive and finite, in metres, got {given[~np.isnan(given)].tolist()}")
        if not 0 <= self.std < 1:
            raise ValueError(f"the std of a size is relative to it, from 0 to below 1, got {self.std}")
        extents.setflags(write=False)
        object.__setattr__(self, "extents", extents)


@dataclass(frozen=True, eq=False)
class SupportPlane:
    """The plane that an object stands on: normal . x + d = 0 for x in cam.

    Attributes:
        normal: (3,) unit vector in cam that points up, to the side on which the object stands.
        d: metres; as the camera is the origin of cam, this is its height above the plane.
        std: standard deviation of `d` in metres.
    """

    normal: Array
    d: float
    std: float = 0.005

    def __post_init__(self) -> None:
        normal = np.array(self.normal, dtype=np.float64)
        if normal.shape != (3,) or not np.isfinite([*normal, self.d]).all():
            raise ValueError(f"a plane is a finite normal (3,) and d in metres, got {normal.tolist()}, {self.d}")
        length = float(np.linalg.norm(normal))
        if abs(length - 1) > 1e-3:
            raise ValueError(
                f"the normal of a plane must have length 1, got {normal.tolist()} of length {length:.4g}: "
                "divide the normal and d by that length"
            )
        if not 0 <= self.std < math.inf:
            raise ValueError(f"the std of a plane must be metres, not negative, got {self.std}")
        normal /= length
        normal.setflags(write=False)
        object.__setattr__(self, "normal", normal)

    @classmethod
    def of_frame(cls, cam_T_plane: Array) -> SupportPlane:
        """The plane z = 0 of a frame whose z axis points up, from a (4, 4) rigid transform in metres."""
        normal = cam_T_plane[:3, 2]
        return cls(normal, -float(normal @ cam_T_plane[:3, 3]))


def pose_covariance(estimate: PoseEstimate) -> Array:
    """The (6, 6) covariance of the estimate, or a usual one: 5 % of the distance along the ray, 1 % across, 10 degrees.

    Order, axes and units are those of `PoseEstimate.covariance`.
    """
    if estimate.covariance is not None:
        return estimate.covariance
    t = estimate.cam_T_obj[:3, 3]
    along = np.outer(t, t)
    covariance = np.diag([0.0, 0, 0, *[TURN_RAD**2] * 3])
    covariance[:3, :3] = ALONG_RAY**2 * along + ACROSS_RAY**2 * (t @ t * np.eye(3) - along)
    return covariance


def scale_from_size(size: KnownSize, mesh: Mesh) -> Reading:
    """Scale of a template (obj) from the size of the object: the geometric mean over all that is given.

    The spread is the given one or, where that is larger, the disagreement between the lengths: an object with
    other proportions than the template has no single scale.
    """
    extents = np.ptp(mesh.vertices, axis=0)
    measured = np.array([size.diameter, *size.extents])
    logs = np.log(measured / np.maximum([mesh.diameter, *extents], 1e-9))
    logs = logs[np.isfinite(logs)]
    return Reading("size", float(np.exp(logs.mean())), max(size.std, float(logs.std())))


def scale_from_plane(estimate: PoseEstimate, mesh: Mesh, plane: SupportPlane) -> Reading:
    """Scale at which the lowest vertex of the posed template along the normal lies on the plane.

    With the height -h < 0 of that vertex relative to the camera in object units and the camera's height d above the
    plane in metres, scale = d / h. Its error comes from that of h (pose and template) and of d.
    """
    T = estimate.cam_T_obj
    offsets = mesh.vertices @ T[:3, :3].T
    heights = (offsets + T[:3, 3]) @ plane.normal
    lowest = int(np.argmin(heights))
    if plane.d <= 0:
        return Reading("plane", reason="the camera is below the plane; its normal must point up, to the object's side")
    if heights[lowest] >= 0:
        return Reading("plane", reason="the object lies above the camera and the plane below: it is behind the object")
    gradient = np.concatenate([plane.normal, np.cross(offsets[lowest], plane.normal)])
    variance = gradient @ pose_covariance(estimate) @ gradient + TEMPLATE_STD**2
    std = math.hypot(math.sqrt(variance) / -heights[lowest], plane.std / plane.d)
    if std > UNUSABLE_STD:
        reason = f"the plane is seen too flat or is too near to tell the scale (relative error {std:.0%})"
        return Reading("plane", reason=reason)
    return Reading("plane", float(-plane.d / heights[lowest]), float(std))
