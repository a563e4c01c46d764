"""How well poses estimated from single images agree with labels, on captures that took no part in training.

In: an estimator (Frame, Detections -> PoseEstimates), captures with masks, Labels, and the Alignment the model was
trained on. Out: a JSON object.

The learned frame ``obj`` and the frame ``label`` differ by an unknown rotation. It is fitted on training captures
alone: the chordal mean of label_R_world @ world_R_obj. A prediction counts as cam_R_label = cam_R_obj @ obj_R_label.
Where turns of a symmetry are free, the rotation is fitted once more modulo these, and figures modulo them stand beside
the plain ones: "sym_" for the symmetry that was detected, "label_sym_" for that of the labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from uop3d_core.evaluation.labels import Labels
from uop3d_core.evaluation.metrics import error_deg, mean_rotation, summary, symmetric_error_deg, up_error_deg
from uop3d_core.geometry import Array, project, rigid_through_similarity
from uop3d_core.images import mask_box
from uop3d_core.progress import Progress, silent
from uop3d_core.types import Alignment, Capture, Detection, Frame, PoseEstimate, Sim3, Symmetry

Estimator = Callable[[Frame, Sequence[Detection]], list[PoseEstimate]]


@dataclass(frozen=True, eq=False)
class FrameLink:
    """The rotation between the learned frame and that of the labels.

    Attributes:
        label_R_obj: (3, 3).
        captures: the training captures it was fitted on.
        residuals_deg: by capture, how far its own rotation is from the common one.
        symmetry: that was detected, in obj.
        label_symmetry: that of the labels, in label.
        sym_label_R_obj, label_sym_label_R_obj: (3, 3), fitted modulo the one and the other.
    """

    label_R_obj: Array
    captures: tuple[str, ...]
    residuals_deg: dict[str, float]
    symmetry: Symmetry
    label_symmetry: Symmetry
    sym_label_R_obj: Array
    label_sym_label_R_obj: Array

    @property
    def free(self) -> tuple[str, ...]:
        """Names of the figures modulo the symmetries that there are."""
        found = {"sym": self.symmetry, "label_sym": self.label_symmetry}
        return tuple(name for name, symmetry in found.items() if symmetry.fold != 1)

    def free_errors_deg(self, cam_R_obj: Array, cam_R_label: Array) -> dict[str, float]:
        """Errors of an estimate modulo these symmetries, by the name of the figures."""
        predicted = cam_R_obj @ self.label_sym_label_R_obj.T
        errors = {
            "sym": symmetric_error_deg(cam_R_obj, cam_R_label @ self.sym_label_R_obj, self.symmetry),
            "label_sym": symmetric_error_deg(predicted, cam_R_label, self.label_symmetry),
        }
        return {name: errors[name] for name in self.free}


@dataclass(frozen=True, eq=False)
class FrameResult:
    """One image.

    Attributes:
        capture, frame: names.
        estimate: what was estimated.
        error_deg, up_error_deg: 180 where no pose was found.
        free_errors_deg: modulo symmetries, by the name of the figures.
        centre_error: distance of the projected centres of obj and label, in shares of the box's longer side, or None.
        depth_error: |predicted / true - 1| of the depth of the centre in object units, or None.
    """

    capture: str
    frame: str
    estimate: PoseEstimate
    error_deg: float
    up_error_deg: float
    free_errors_deg: dict[str, float]
    centre_error: float | None
    depth_error: float | None


def fit_frame_link(
    alignment: Alignment, labels: Labels, training: Sequence[str], symmetry: Symmetry | None = None
) -> FrameLink:
    """Fit label_R_obj on those training captures that are labelled; `symmetry` is the one that was detected, in obj.

    Raises:
        ValueError: there are none.
    """
    names = [name for name in training if name in labels.label_T_world and name in alignment.captures]
    if not names:
        raise ValueError(
            f"none of the training captures ({', '.join(training)}) is both in the run's alignment and labelled: the "
            "learned frame cannot be linked to the frame of the labels"
        )
    rotations = [labels.label_T_world[name].R @ alignment.captures[name].obj_T_world.R.T for name in names]
    label_R_obj = mean_rotation(rotations)
    residuals = {name: round(float(error_deg(R, label_R_obj)), 3) for name, R in zip(names, rotations, strict=True)}
    found, group = symmetry or Symmetry.none(), labels.symmetry_group
    free = mean_rotation(rotations, found), mean_rotation([R.T for R in rotations], group).T
    return FrameLink(label_R_obj, tuple(names), residuals, found, group, *free)


def unseen_captures(names: Sequence[str], labels: Labels, training: Sequence[str], only: Sequence[str]) -> list[str]:
    """Captures to test on: labelled, not trained on and, where `only` is not empty, named in it.

    Raises:
        ValueError: there are none, or `only` names one that cannot be tested.
    """
    unseen = [name for name in names if name in labels.label_T_world and name not in training]
    for name in only:
        if name not in unseen:
            why = "was trained on" if name in training else "has no label" if name in names else "does not exist"
            raise ValueError(f"capture {name} {why}, so it cannot be tested; there are {', '.join(unseen) or 'none'}")
    if not unseen:
        raise ValueError(f"no capture is left to test on: {', '.join(names)} were trained on or have no label")
    return [name for name in unseen if not only or name in only]


def evaluate_pose(
    estimator: Estimator,
    captures: Sequence[Capture],
    labels: Labels,
    link: FrameLink,
    *,
    category: str = "",
    jitter: float = 0.0,
    seed: int = 0,
    progress: Progress = silent,
) -> tuple[dict[str, Any], list[FrameResult]]:
    """Estimate every frame that shows the object from its box alone, and compare.

    Args:
        estimator: frame and detections to estimates; it is given no mask and no camera pose.
        captures: with masks (for the boxes) and camera poses (for the truth); every one labelled.
        labels: where the objects really lie.
        link: between the learned and the labels' frame.
        category: name of the category.
        jitter: boxes are moved and scaled at random by up to this share of their size.
        seed: of the jitter.
        progress: is told "evaluation".

    Returns:
        the JSON object that docs/files.md describes, and the single results.
    """
    views = [(capture, frame, box) for capture in captures for frame, box in _boxes(capture, jitter, seed)]
    results = []
    for done, (capture, frame, box) in enumerate(views):
        progress("evaluation", done, len(views))
        blind = Frame(frame.name, frame.camera, frame.image)
        estimate = estimator(blind, [Detection(box, category)])[0]
        results.append(_compare(capture.name, frame, estimate, labels.label_T_world[capture.name], link))
    progress("evaluation", len(views), len(views))
    report = {
        "category": category,
        "symmetry": labels.symmetry,
        "detected_symmetry": {"axis": link.symmetry.axis.tolist(), "fold": link.symmetry.fold},
        "box_jitter": jitter,
        "overall": _summarise(results),
        "captures": {
            capture.name: _summarise([r for r in results if r.capture == capture.name]) for capture in captures
        },
        "frame_link": {
            "label_R_obj": link.label_R_obj.tolist(),
            "fitted_on": list(link.captures),
            "residual_median_deg": round(float(np.median(list(link.residuals_deg.values()))), 3),
            "residuals_deg": link.residuals_deg,
        },
        "frames": [_row(result) for result in results],
    }
    return report, results


def _boxes(capture: Capture, jitter: float, seed: int) -> Iterator[tuple[Frame, Array]]:
    """Frames with a mask that shows something, and the box of it (4,) xyxy."""
    for index, frame in enumerate(capture.frames):
        mask = frame.mask
        if mask.any():
            rng = np.random.default_rng([seed, index, *capture.name.encode()])
            yield frame, jittered(mask_box(mask), jitter, rng)


def jittered(box: Array, share: float, rng: np.random.Generator) -> Array:
    """Box (4,) xyxy moved by up to `share` of its size, each side's length changed by a factor within 1 +- `share`."""
    centre, size = (box[:2] + box[2:]) / 2, box[2:] - box[:2]
    centre = centre + rng.uniform(-share, share, 2) * size
    size = size * (1 + rng.uniform(-share, share, 2))
    return np.concatenate([centre - size / 2, centre + size / 2])


def _compare(capture: str, frame: Frame, estimate: PoseEstimate, label_T_world: Sim3, link: FrameLink) -> FrameResult:
    if not estimate.found:
        return FrameResult(capture, frame.name, estimate, 180.0, 180.0, dict.fromkeys(link.free, 180.0), None, None)
    assert frame.cam_T_world is not None, "a Capture has only frames with a camera"
    T = label_T_world
    cam_T_label = rigid_through_similarity(frame.cam_T_world, T.scale, T.R, T.t)
    predicted = estimate.cam_T_obj[:3, :3] @ link.label_R_obj.T
    box = np.asarray(estimate.detection.bbox_xyxy)
    centres = project(frame.camera.K, np.stack([estimate.cam_T_obj[:3, 3], cam_T_label[:3, 3]]))
    centre_error = np.linalg.norm(centres[0] - centres[1]) / max(box[2] - box[0], box[3] - box[1])
    return FrameResult(
        capture,
        frame.name,
        estimate,
        float(error_deg(predicted, cam_T_label[:3, :3])),
        float(up_error_deg(predicted, cam_T_label[:3, :3])),
        link.free_errors_deg(estimate.cam_T_obj[:3, :3], cam_T_label[:3, :3]),
        float(centre_error) if np.isfinite(centre_error) else None,
        abs(float(estimate.cam_T_obj[2, 3] / cam_T_label[2, 3]) - 1),
    )


def _summarise(results: Sequence[FrameResult]) -> dict[str, Any] | None:
    if not results:
        return None
    free = {name: [r.free_errors_deg[name] for r in results] for name in results[0].free_errors_deg}
    figures = summary([r.error_deg for r in results], [r.up_error_deg for r in results], **free)
    centre = [r.centre_error for r in results if r.centre_error is not None]
    depth = [r.depth_error for r in results if r.depth_error is not None]
    return {
        "frames": len(results),
        "not_found": sum(not r.estimate.found for r in results),
        **figures,
        "centre_error_median": round(float(np.median(centre)), 4) if centre else None,
        "depth_error_median": round(float(np.median(depth)), 4) if depth else None,
    }


def _row(result: FrameResult) -> dict[str, Any]:
    return {
        "capture": result.capture,
        "frame": result.frame,
        "found": result.estimate.found,
        "score": result.estimate.score,
        "error_deg": round(result.error_deg, 3),
        "up_error_deg": round(result.up_error_deg, 3),
        **{f"{name}_error_deg": round(error, 3) for name, error in result.free_errors_deg.items()},
    }
