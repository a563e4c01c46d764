"""Poses in single labelled images of other datasets: only the rotation is compared, as published.

In: an estimator, LabelledImages, and the FrameLink between the learned frame and that of the labels. Out: a JSON
object. The camera is the annotated one. What the published inference is told besides (the true position and the CAD
model's mask) is not used, but for the crop where `boxes` is "cad".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from uop3d_core.evaluation.link import FrameLink
from uop3d_core.evaluation.metrics import error_deg, mean_rotation, summary, up_error_deg
from uop3d_core.evaluation.pose import jittered
from uop3d_core.evaluation.probabilities import reliability, score_figures
from uop3d_core.evaluation.results import NOT_FOUND_DEG, RIGHT_DEG
from uop3d_core.evaluation.viewpoints import LabelledImage, LabelledImages, cad_box, cam_T_label, intrinsics
from uop3d_core.geometry import Array
from uop3d_core.images import read_rgb
from uop3d_core.progress import Progress, silent
from uop3d_core.types import Camera, Detection, Frame, PoseEstimate

Estimator = Callable[[Frame, Sequence[Detection]], list[PoseEstimate]]
BOXES = ("annotated", "cad")
FIT_ROUNDS = 5


@dataclass(frozen=True, eq=False)
class ImageResult:
    """One image.

    Attributes:
        item: the image and its label.
        estimate: what was estimated.
        error_deg, up_error_deg: 180 where no pose was found.
        free_errors_deg: modulo symmetries, by the name of the figures.
        judged_error_deg: the error that the score is judged by.
        label_R_obj: (3, 3) that would make the error 0, or None where no pose was found.
    """

    item: LabelledImage
    estimate: PoseEstimate
    error_deg: float
    up_error_deg: float
    free_errors_deg: dict[str, float]
    judged_error_deg: float
    label_R_obj: Array | None


def evaluate_images(
    estimator: Estimator,
    labelled: LabelledImages,
    link: FrameLink,
    *,
    boxes: str = "annotated",
    category: str = "",
    jitter: float = 0.0,
    seed: int = 0,
    progress: Progress = silent,
) -> tuple[dict[str, Any], list[ImageResult]]:
    """Estimate the object of every image from its box, and compare its rotation with the label.

    Args:
        estimator: frame and detections to estimates.
        labelled: images with labels.
        link: its rotation label_R_obj makes predictions comparable.
        boxes: "annotated", or "cad": the published crop, around the CAD model at the true pose.
        category: name of the model's category.
        jitter: boxes are moved and scaled at random by up to this share of their size.
        seed: of the jitter.
        progress: is told "evaluation".

    Returns:
        the JSON object that docs/files.md describes, and the single results.

    Raises:
        FileNotFoundError: an image, or a CAD model that is needed, is missing.
        ValueError: an image is unreadable, or `boxes` is something else.
    """
    if boxes not in BOXES:
        raise ValueError(f"boxes must be {' or '.join(BOXES)}, not {boxes!r}")
    results = []
    for done, item in enumerate(labelled.images):
        progress("evaluation", done, len(labelled.images))
        image = read_rgb(item.image)
        rng = np.random.default_rng([seed, *item.name.encode()])
        box = jittered(item.label.box if boxes == "annotated" else cad_box(item), jitter, rng)
        camera = Camera(intrinsics(item.viewpoint), image.shape[1], image.shape[0])
        results.append(compare(item, estimator(Frame(item.name, camera, image), [Detection(box, category)])[0], link))
    progress("evaluation", len(results), len(results))
    report = {
        "category": category,
        "boxes": boxes,
        "box_jitter": jitter,
        "all": summarise(results),
        "clear": summarise([result for result in results if not result.item.label.flags]),
        "fitted_frame": fitted_frame(results),
        "reliability": _reliability(results),
        "skipped": labelled.skipped,
        "images": [row(result) for result in results],
    }
    return report, results


def compare(item: LabelledImage, estimate: PoseEstimate, link: FrameLink) -> ImageResult:
    """Rate the estimate of one image."""
    if not estimate.found:
        lost = dict.fromkeys(link.free, NOT_FOUND_DEG)
        return ImageResult(item, estimate, NOT_FOUND_DEG, NOT_FOUND_DEG, lost, NOT_FOUND_DEG, None)
    cam_R_obj, cam_R_label = estimate.cam_T_obj[:3, :3], cam_T_label(item.viewpoint)[:3, :3]
    predicted = cam_R_obj @ link.label_R_obj.T
    return ImageResult(
        item,
        estimate,
        float(error_deg(predicted, cam_R_label)),
        float(up_error_deg(predicted, cam_R_label)),
        link.free_errors_deg(cam_R_obj, cam_R_label),
        link.judged_error_deg(cam_R_obj, cam_R_label),
        cam_R_label.T @ cam_R_obj,
    )


def summarise(results: Sequence[ImageResult]) -> dict[str, Any] | None:
    """Figures over some images, None where there are none."""
    if not results:
        return None
    errors = [result.error_deg for result in results]
    free = {name: [r.free_errors_deg[name] for r in results] for name in results[0].free_errors_deg}
    scores = np.array([result.estimate.score for result in results])
    right = np.array([result.judged_error_deg < RIGHT_DEG for result in results])
    return {
        "frames": len(results),
        "not_found": sum(not result.estimate.found for result in results),
        **summary(errors, [result.up_error_deg for result in results], **free),
        "mean_deg": round(float(np.mean(errors)), 3),
        "score": score_figures(scores, right),
    }


def fitted_frame(results: Sequence[ImageResult]) -> dict[str, Any] | None:
    """Figures after the one rotation between obj and label that suits the tested labels best; None without a pose.

    It tells a wrong link from wrong poses, and is no result: it has seen the labels. The rotation is the mean of those
    within 30 degrees of it, starting from the single one that most others are near to.
    """
    rotations = [result.label_R_obj for result in results if result.label_R_obj is not None]
    if not rotations:
        return None
    every = np.stack(rotations)
    flat = every.reshape(len(every), 9)
    apart = np.rad2deg(np.arccos(np.clip((flat @ flat.T - 1) / 2, -1, 1)))
    best = every[int(np.minimum(apart, RIGHT_DEG).sum(1).argmin())]
    for _ in range(FIT_ROUNDS):
        near = error_deg(every, best) < RIGHT_DEG
        best = mean_rotation(list(every[near])) if near.any() else best
    lost = [NOT_FOUND_DEG] * (len(results) - len(every))
    ups = [*up_error_deg(every @ best.T, np.eye(3)).tolist(), *lost]
    figures = summary([*error_deg(every, best).tolist(), *lost], ups)
    return {"frames": len(results), **figures, "label_R_obj": best.tolist()}


def row(result: ImageResult) -> dict[str, Any]:
    """One image as an entry of a report."""
    return {
        "image": result.item.name,
        "flags": sorted(result.item.label.flags),
        "found": result.estimate.found,
        "score": result.estimate.score,
        "other": result.estimate.other,
        "error_deg": round(result.error_deg, 3),
        "up_error_deg": round(result.up_error_deg, 3),
        **{f"{name}_error_deg": round(error, 3) for name, error in result.free_errors_deg.items()},
    }


def _reliability(results: Sequence[ImageResult]) -> list[dict[str, float]]:
    scores = np.array([result.estimate.score for result in results])
    right = np.array([result.judged_error_deg < RIGHT_DEG for result in results])
    return [
        {"score": round(mean, 4), "right": round(share, 4), "images": number}
        for mean, share, number in reliability(scores, right)
    ]
