"""One estimate against its label, and figures over many of them.

In: PoseEstimates (cam_T_obj, object units), label_T_world, the FrameLink. Out: FrameResults, figures for a report.
A prediction counts as cam_R_label = cam_R_obj @ obj_R_label; positions are compared in object units, where the truth is
the object's origin as the link has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from uop3d_core.cameras import pixels_of, rays_through
from uop3d_core.evaluation.link import FrameLink
from uop3d_core.evaluation.metrics import THRESHOLDS_DEG, error_deg, summary, up_error_deg
from uop3d_core.evaluation.probabilities import (
    LEVELS,
    PARTS,
    Spread,
    coverage,
    reliability,
    score_figures,
    spread_figures,
)
from uop3d_core.evaluation.tracking import pose_errors
from uop3d_core.geometry import Array, rigid_through_similarity
from uop3d_core.types import Frame, PoseEstimate, Sim3

RIGHT_DEG = 30.0
"""What a score promises: a rotation error below this."""
NOT_FOUND_DEG = 180.0


@dataclass(frozen=True, eq=False)
class FrameResult:
    """One image.

    Attributes:
        capture, frame: names.
        estimate: what was estimated.
        true_cam_T_obj: (4, 4), translation in object units, see `FrameLink.true_cam_T_obj`.
        azimuth_deg, elevation_deg: where the camera truly stood, as seen from the object: 0, 0 before its front, 90, 0
            on its left.
        error_deg, up_error_deg: 180 where no pose was found.
        free_errors_deg: modulo symmetries, by the name of the figures.
        judged_error_deg: the error that the score is judged by, see `FrameLink.judged_modulo_symmetry`.
        best_error_deg: the same of the best of the listed hypotheses.
        centre_error: distance of the projected centres of obj and label, in shares of the box's longer side, or None.
        depth_error: |predicted / true - 1| of the depth of the centre in object units, or None.
        position_error: distance of the predicted and the true position of obj in object units, or None.
        spread: what the covariance makes of the errors of position and rotation; None without a covariance.
        own_spread: the same if the true position is the label's origin in label units, see `summarise`.
    """

    capture: str
    frame: str
    estimate: PoseEstimate
    true_cam_T_obj: Array
    azimuth_deg: float
    elevation_deg: float
    error_deg: float
    up_error_deg: float
    free_errors_deg: dict[str, float]
    judged_error_deg: float
    best_error_deg: float
    centre_error: float | None
    depth_error: float | None
    position_error: float | None
    spread: Spread | None
    own_spread: Spread | None

    @property
    def right(self) -> bool:
        """Whether what the score promises came true."""
        return self.judged_error_deg < RIGHT_DEG


def compare(capture: str, frame: Frame, estimate: PoseEstimate, label_T_world: Sim3, link: FrameLink) -> FrameResult:
    """Rate the estimate of one frame of a capture, which has a camera pose."""
    assert frame.cam_T_world is not None, "a Capture has only frames with a camera"
    T, found = label_T_world, estimate.found
    true_cam_T_obj = link.true_cam_T_obj(frame.cam_T_world, T, estimate.cam_T_obj[:3, :3] if found else None)
    about = capture, frame.name, estimate, true_cam_T_obj, *_seen_from(frame, estimate, true_cam_T_obj)
    if not found:
        lost = dict.fromkeys(link.free, NOT_FOUND_DEG)
        nowhere = NOT_FOUND_DEG, NOT_FOUND_DEG
        return FrameResult(*about, *nowhere, lost, *nowhere, None, None, None, None, None)
    cam_T_label = rigid_through_similarity(frame.cam_T_world, T.scale, T.R, T.t)
    cam_R_obj, cam_R_label = estimate.cam_T_obj[:3, :3], cam_T_label[:3, :3]
    predicted = cam_R_obj @ link.label_R_obj.T
    box = np.asarray(estimate.detection.bbox_xyxy)
    centres = pixels_of(frame.camera, np.stack([estimate.cam_T_obj[:3, 3], cam_T_label[:3, 3]]))
    centre_error = np.linalg.norm(centres[0] - centres[1]) / max(box[2] - box[0], box[3] - box[1])
    judged = link.judged_error_deg(cam_R_obj, cam_R_label)
    others = [link.judged_error_deg(other.cam_T_obj[:3, :3], cam_R_label) for other in estimate.hypotheses]
    own = true_cam_T_obj.copy()
    own[:3, 3] = cam_T_label[:3, 3]
    error, own_error = pose_errors(np.stack([true_cam_T_obj, own]), np.stack([estimate.cam_T_obj] * 2))
    return FrameResult(
        *about,
        float(error_deg(predicted, cam_R_label)),
        float(up_error_deg(predicted, cam_R_label)),
        link.free_errors_deg(cam_R_obj, cam_R_label),
        judged,
        min([judged, *others]),
        float(centre_error) if np.isfinite(centre_error) else None,
        abs(float(estimate.cam_T_obj[2, 3] / cam_T_label[2, 3]) - 1),
        float(np.linalg.norm(error[:3])),
        *(None if estimate.covariance is None else Spread.of(e, estimate.covariance) for e in (error, own_error)),
    )


def _seen_from(frame: Frame, estimate: PoseEstimate, cam_T_obj: Array) -> tuple[float, float]:
    """Azimuth and elevation (degrees) of the way from the object to the camera, which the rotation and the box tell."""
    left, top, right, bottom = estimate.detection.bbox_xyxy
    [ray] = rays_through(frame.camera, np.array([[(left + right) / 2, (top + bottom) / 2]]))
    x, y, z = -(cam_T_obj[:3, :3].T @ ray)
    return float(np.rad2deg(np.arctan2(y, x))), float(np.rad2deg(np.arctan2(z, np.hypot(x, y))))


def summarise(results: Sequence[FrameResult]) -> dict[str, Any] | None:
    """Figures over some images, as docs/files.md describes them; None where there are none.

    What covariances are worth is said twice, for two meanings of the true position: by way of the link, in units of the
    template ("covariance"), and the label's own origin and unit ("covariance_own_box"), which are the middle and the
    diagonal of the single object's box where labels are made so. The latter is what estimates promise.
    """
    if not results:
        return None
    free = {name: [r.free_errors_deg[name] for r in results] for name in results[0].free_errors_deg}
    figures = summary([r.error_deg for r in results], [r.up_error_deg for r in results], **free)
    return {
        "frames": len(results),
        "not_found": sum(not r.estimate.found for r in results),
        **figures,
        "centre_error_median": _median([r.centre_error for r in results]),
        "depth_error_median": _median([r.depth_error for r in results]),
        "position_error_median": _median([r.position_error for r in results]),
        "hypotheses": _hypotheses(results),
        "score": score_figures(*scores(results)),
        "covariance": {which: spread_figures(found) for which, found in spreads(results).items()},
        "covariance_own_box": {which: spread_figures(found) for which, found in spreads(results, own=True).items()},
    }


def scores(results: Sequence[FrameResult]) -> tuple[np.ndarray, np.ndarray]:
    """Scores (N,) and whether they came true (N,) bool."""
    return np.array([r.estimate.score for r in results]), np.array([r.right for r in results], dtype=bool)


def spreads(results: Sequence[FrameResult], own: bool = False) -> dict[str, list[Spread]]:
    """Of the estimates that have a covariance: of "all", and of those whose rotation is right ("within30")."""
    found = [(r.own_spread if own else r.spread, r.right) for r in results]
    known = [(spread, right) for spread, right in found if spread is not None]
    return {"all": [spread for spread, _ in known], "within30": [spread for spread, right in known if right]}


def diagrams(results: Sequence[FrameResult]) -> dict[str, Any]:
    """What the diagrams of a report are drawn from: bins of the score, and shares inside ellipsoids of all sizes."""
    return {
        "reliability": [
            {"score": round(mean, 4), "right": round(share, 4), "images": number}
            for mean, share, number in reliability(*scores(results))
        ],
        "coverage": {"levels": list(LEVELS), **_coverages(spreads(results))},
        "coverage_own_box": {"levels": list(LEVELS), **_coverages(spreads(results, own=True))},
    }


def _coverages(found: dict[str, list[Spread]]) -> dict[str, dict[str, list[float]] | None]:
    return {
        which: {part: [round(share, 4) for share in coverage(some, part)] for part in PARTS} if some else None
        for which, some in found.items()
    }


def row(result: FrameResult) -> dict[str, Any]:
    """One image as an entry of a report."""
    spread = result.spread
    return {
        "capture": result.capture,
        "frame": result.frame,
        "found": result.estimate.found,
        "score": result.estimate.score,
        "other": result.estimate.other,
        "error_deg": round(result.error_deg, 3),
        "up_error_deg": round(result.up_error_deg, 3),
        **{f"{name}_error_deg": round(error, 3) for name, error in result.free_errors_deg.items()},
        "best_error_deg": round(result.best_error_deg, 3),
        "judged_error_deg": round(result.judged_error_deg, 3),
        "azimuth_deg": round(result.azimuth_deg, 1),
        "elevation_deg": round(result.elevation_deg, 1),
        "position_error": None if result.position_error is None else round(result.position_error, 4),
        "squared_distance": None
        if spread is None
        else {part: round(getattr(spread, part), 3) if np.isfinite(getattr(spread, part)) else None for part in PARTS},
    }


def _hypotheses(results: Sequence[FrameResult]) -> dict[str, float]:
    """How many are listed, and shares of images (per cent) in which the best of them is within 30, 15, 10 degrees."""
    errors = np.array([r.best_error_deg for r in results])
    listed = [max(len(r.estimate.hypotheses), int(r.estimate.found)) for r in results]
    shares = {f"best_acc{limit}": round(float((errors < limit).mean() * 100), 2) for limit in THRESHOLDS_DEG}
    return {"listed_mean": round(float(np.mean(listed)), 2), **shares}


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(float(np.median(known)), 4) if known else None
