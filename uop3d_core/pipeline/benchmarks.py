"""Models on the datasets of the literature: PASCAL3D+, ObjectNet3D, CO3D with human labels.

In: the dataset's folder, a model, the run that it was trained in. Out: reports with the published figures.
How the learned frame meets that of the labels: by the labels of captures that were trained on where there are such;
else its front, left and up are taken to be the dataset's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from uop3d_core.capture.co3d import find_co3d, read_co3d
from uop3d_core.capture.recordings import capture_of, evenly_chosen
from uop3d_core.config import PoseSettings
from uop3d_core.evaluation.alignment import evaluate_alignment
from uop3d_core.evaluation.co3d_labels import read_co3d_labels
from uop3d_core.evaluation.labels import Labels, read_labels
from uop3d_core.evaluation.link import FrameLink, fit_frame_link, link_by_names
from uop3d_core.evaluation.metrics import summary
from uop3d_core.evaluation.objectnet3d import read_objectnet3d
from uop3d_core.evaluation.pascal3d import read_pascal3d
from uop3d_core.evaluation.pose import evaluate_pose, unseen_captures
from uop3d_core.evaluation.results import FrameResult
from uop3d_core.evaluation.several_views import fused_errors_deg
from uop3d_core.evaluation.single_images import ImageResult, evaluate_images
from uop3d_core.evaluation.viewpoints import LabelledImages, intrinsics
from uop3d_core.geometry import Array
from uop3d_core.images import read_rgb
from uop3d_core.pipeline.inference import open_estimator
from uop3d_core.pose.estimator import PoseEstimator
from uop3d_core.progress import Progress, silent
from uop3d_core.report.overlay import Overlay
from uop3d_core.report.sheets import contact_sheet
from uop3d_core.runs import AlignmentRecord, Run
from uop3d_core.types import Camera, Capture

VIEWS = 6
"""Images per video that the reference method tests CO3D on."""
LINKS = ("all", "reference")


@dataclass(frozen=True, eq=False)
class ImageEvaluation:
    """Outcome on a dataset of single images.

    Attributes:
        report: the JSON object.
        results: one per image.
        estimator: the model.
    """

    report: dict[str, Any]
    results: list[ImageResult]
    estimator: PoseEstimator


def read_dataset(
    name: str, root: Path, category: str, subset: str | None = None, progress: Progress = silent
) -> LabelledImages:
    """The labelled images of "pascal3d" or "objectnet3d"; of the set that is published where none is given.

    Raises:
        FileNotFoundError, ValueError: as the readers.
    """
    if name == "pascal3d":
        return read_pascal3d(root, category, subset or "val")
    return read_objectnet3d(root, category, subset or "test", progress)


def evaluate_dataset(
    labelled: LabelledImages,
    model: Path,
    run: Path,
    *,
    labels: Path | None = None,
    link: str = "all",
    boxes: str = "annotated",
    jitter: float = 0.0,
    seed: int = 0,
    backbone: str | None = None,
    settings: PoseSettings | None = None,
    progress: Progress = silent,
) -> ImageEvaluation:
    """Rotations of a model in single images against their labels; see `evaluate_images`.

    Args:
        labelled: the images.
        model: the model file.
        run: where the model was trained.
        labels: of captures that it was trained on, x front, y left, z up: a labels.json or CO3D's; None takes the axes
            of obj at their word.
        link: "all": over all labelled training captures; "reference": the alignment's reference alone, as published.
        boxes: "annotated" or "cad".
        jitter: see `evaluate_images`.
        seed: of the jitter.
        backbone: where its weights lie elsewhere than in training.
        settings: of the estimation.
        progress: is told "evaluation".

    Raises:
        FileNotFoundError, ValueError: something cannot be read or does not belong together.
    """
    estimator = open_estimator(model, backbone, settings)
    record = _alignment_of(run, model, estimator)
    category = estimator.model.category
    frame_link = link_by_names(estimator.model.symmetry)
    if labels is not None:
        frame_link = _link(read_any_labels(labels, category), record, estimator, link)
    report, results = evaluate_images(
        estimator, labelled, frame_link,
        boxes=boxes, category=category, jitter=jitter, seed=seed, progress=progress,
    )  # fmt: skip
    return ImageEvaluation({**report, **_about_link(frame_link)}, results, estimator)


@dataclass(frozen=True, eq=False)
class Co3dEvaluation:
    """Outcome on CO3D.

    Attributes:
        report: the JSON object.
        results: one per image.
    """

    report: dict[str, Any]
    results: list[FrameResult]


def evaluate_co3d(
    root: Path,
    category: str,
    labels_path: Path,
    model: Path,
    run: Path,
    *,
    only: Sequence[str] = (),
    views: int = VIEWS,
    link: str = "all",
    jitter: float = 0.0,
    seed: int = 0,
    backbone: str | None = None,
    settings: PoseSettings | None = None,
    progress: Progress = silent,
) -> Co3dEvaluation:
    """The alignment of a run, and a model in images of unseen sequences, against human labels.

    Args:
        root: the dataset's folder, or that of the category.
        category: CO3D's name of it.
        labels_path: CO3D's labels, or a labels.json.
        model: the model file.
        run: where it was trained; its captures are called as the sequences are.
        only: sequences to test on; empty for all that are labelled, there, and were not trained on.
        views: images per sequence, evenly spaced.
        link: see `evaluate_dataset`.
        jitter: see `evaluate_pose`.
        seed: of the jitter.
        backbone: where its weights lie elsewhere than in training.
        settings: of the estimation.
        progress: is told "evaluation".

    Raises:
        FileNotFoundError, ValueError: something cannot be read, does not belong together, or nothing is left to test.
    """
    labels = read_any_labels(labels_path, category)
    estimator = open_estimator(model, backbone, settings)
    record = _alignment_of(run, model, estimator)
    frame_link = _link(labels, record, estimator, link)
    places = [place for place in find_co3d(root) if place.category == category]
    if not places:
        raise FileNotFoundError(f"{root}: there is no category {category!r} of CO3D here")
    known = [name for name in labels.label_T_world if (places[0].folder / name).is_dir()]
    names = unseen_captures(known, labels, list(estimator.model.metadata["captures"]), only)
    captures = [capture_of(evenly_chosen(found, views)) for found in read_co3d(places[0], names)]
    report, results = evaluate_pose(
        estimator, captures, labels, frame_link, category=category, jitter=jitter, seed=seed, progress=progress
    )
    labelled = [name for name in record.alignment.captures if name in labels.label_T_world]
    aligned = evaluate_alignment(record.alignment, labels, record.symmetry) if len(labelled) > 1 else None
    together = _together(captures, results, labels, frame_link)
    about = {"trained_on": list(estimator.model.metadata["captures"]), "views": views}
    return Co3dEvaluation({"alignment": aligned, "pose": report, "several_views": together, **about}, results)


def read_any_labels(path: Path, category: str) -> Labels:
    """Labels of captures: our labels.json, or those of CO3D.

    Raises:
        FileNotFoundError, ValueError: as the readers.
    """
    return read_labels(path) if path.suffix == ".json" else read_co3d_labels(path, category)


def images_sheet(evaluation: ImageEvaluation, count: int, columns: int) -> Array:
    """Evenly chosen test images with their estimates drawn in."""
    painter, results = Overlay(evaluation.estimator.model.template), evaluation.results
    pictures = []
    for index in np.unique(np.linspace(0, len(results) - 1, count).astype(int)):
        item, estimate = results[index].item, results[index].estimate
        image = read_rgb(item.image)
        camera = Camera(intrinsics(item.viewpoint), image.shape[1], image.shape[0])
        pictures.append(painter.draw(image, camera, [estimate]))
    return contact_sheet(pictures, columns)


def _alignment_of(run: Path, model: Path, estimator: PoseEstimator) -> AlignmentRecord:
    record = Run(run).read_alignment()
    if estimator.model.metadata.get("alignment") != record.digest:
        raise ValueError(
            f"{model} was not trained on the alignment that {run} has now: give the run it was trained in, or train it "
            "again"
        )
    return record


def _link(labels: Labels, record: AlignmentRecord, estimator: PoseEstimator, link: str) -> FrameLink:
    if link not in LINKS:
        raise ValueError(f"the link must be {' or '.join(LINKS)}, not {link!r}")
    reference = record.alignment.reference
    training = [reference] if link == "reference" else list(estimator.model.metadata["captures"])
    return fit_frame_link(record.alignment, labels, training, estimator.model.symmetry)


def _about_link(link: FrameLink) -> dict[str, Any]:
    return {
        "frame_link": {
            "label_R_obj": link.label_R_obj.tolist(),
            "fitted_on": list(link.captures),
            "residuals_deg": link.residuals_deg,
        },
        "detected_symmetry": link.symmetry.to_json(),
    }


def _together(
    captures: Sequence[Capture], results: Sequence[FrameResult], labels: Labels, link: FrameLink
) -> dict[str, Any]:
    """Figures of one rotation per sequence, from all its images."""
    errors = {}
    for capture in captures:
        poses = {frame.name: frame.cam_T_world for frame in capture.frames if frame.cam_T_world is not None}
        mine = [result for result in results if result.capture == capture.name]
        errors[capture.name] = fused_errors_deg(mine, poses, labels.label_T_world[capture.name], link)
    figures = summary([full for full, _ in errors.values()], [up for _, up in errors.values()])
    single = {name: round(full, 3) for name, (full, _) in errors.items()}
    return {"frames": len(errors), **figures, "error_deg": single}
