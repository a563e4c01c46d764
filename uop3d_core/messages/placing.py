"""Tracks as standard messages show them: confirmed, metric, with a name, in the frame of the message's header.

In: Tracks (cam, object units). Out: Placed (frame of the header, metres).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from uop3d_core.geometry import Array
from uop3d_core.types import PoseEstimate, Track, TrackState


@dataclass(frozen=True, eq=False)
class Place:
    """What the header of a message says.

    Attributes:
        stamp_ns: when the image was taken.
        frame_id: name of the frame that poses are given in.
        frame_T_cam: (4, 4) rigid transform, metres; None where that frame is cam itself.
        prefix: of the names of objects, for robots with several cameras.
    """

    stamp_ns: int
    frame_id: str
    frame_T_cam: Array | None = None
    prefix: str = ""

    def name(self, category: str, track_id: int) -> str:
        """Name of an object and of its frame in TF."""
        return f"{self.prefix}{re.sub(r'[^A-Za-z0-9_]', '_', category)}_{track_id}"


@dataclass(frozen=True, eq=False)
class Placed:
    """One object in metres.

    Attributes:
        name: of its frame.
        track: what it comes from.
        frame_T_obj: (4, 4) rigid transform, metres.
        covariance: (6, 6) in the axes of the frame, metres and radians; None where unknown.
        scale: metres per object unit.
        size: (3,) extents along the axes of obj, metres.
    """

    name: str
    track: Track
    frame_T_obj: Array
    covariance: Array | None
    scale: float
    size: Array = field(default_factory=lambda: np.full(3, np.nan))


def place_tracks(place: Place, tracks: Sequence[Track], unit_m: float = math.nan) -> list[Placed]:
    """Confirmed tracks whose size in metres is known.

    Args:
        place: header of the messages.
        tracks: all.
        unit_m: metres that an object unit is taken for where the scale is unknown; NaN leaves such objects out.
    """
    placed = []
    for track in tracks:
        estimate = track.estimate
        if not math.isfinite(estimate.scale):
            estimate = replace(estimate, scale=unit_m, scale_std=math.nan)
        if track.state is TrackState.CONFIRMED and math.isfinite(estimate.scale):
            frame_T_obj = in_frame(place, estimate.cam_T_obj, estimate.scale)
            covariance, name = covariance_in_frame(place, estimate), place.name(track.category, track.id)
            placed.append(Placed(name, track, frame_T_obj, covariance, estimate.scale, estimate.size_m))
    return placed


def in_frame(place: Place, cam_T_obj: Array, scale: float) -> Array:
    """frame_T_obj (4, 4) in the frame of a header, with the translation in metres.

    Where the scale is unknown (NaN) it is in object units, and NaN in a frame other than cam.
    """
    metric = math.isfinite(scale)
    frame_T_obj = np.array(cam_T_obj, dtype=np.float64)
    frame_T_obj[:3, 3] *= scale if metric else 1
    if place.frame_T_cam is not None:
        frame_T_obj = place.frame_T_cam @ frame_T_obj
        frame_T_obj[:3, 3] = frame_T_obj[:3, 3] if metric else math.nan
    return frame_T_obj


def covariance_in_frame(place: Place, estimate: PoseEstimate) -> Array | None:
    """Covariance (6, 6) of that pose, in its unit and about the axes of the frame; None where unknown."""
    metric = math.isfinite(estimate.scale)
    covariance = estimate.covariance_m if metric else estimate.covariance
    if covariance is None or place.frame_T_cam is None:
        return covariance
    turn = np.kron(np.eye(2), place.frame_T_cam[:3, :3])
    turned: Array = turn @ covariance @ turn.T
    return turned if metric else None
