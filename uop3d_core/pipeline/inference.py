"""Models applied: estimates for captures and images, evaluation against labels, pictures of both.

In: a model file and images, or a run and labels. Out: estimates and reports.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from uop3d_core.capture.folder import list_captures
from uop3d_core.capture.frame_lists import check_frames, read_frame_lists
from uop3d_core.capture.nerfstudio import TRANSFORMS, read_nerfstudio
from uop3d_core.config import PoseSettings
from uop3d_core.evaluation.alignment import evaluate_alignment
from uop3d_core.evaluation.labels import read_labels
from uop3d_core.evaluation.link import fit_frame_link
from uop3d_core.evaluation.pose import evaluate_pose, unseen_captures
from uop3d_core.evaluation.probabilities import PARTS
from uop3d_core.evaluation.results import FrameResult
from uop3d_core.geometry import Array
from uop3d_core.images import DEPTH_ENDINGS, mask_box, read_depth, read_rgb
from uop3d_core.pose.estimator import PoseEstimator
from uop3d_core.pose.metric import MetricEvidence, measure
from uop3d_core.pose.scale import KnownSize, SupportPlane
from uop3d_core.predictions import read_camera, read_detections
from uop3d_core.progress import Progress, silent
from uop3d_core.raycast import RayCaster
from uop3d_core.report.diagrams import Axes, beside, draw_curves, draw_reliability
from uop3d_core.report.overlay import Overlay
from uop3d_core.report.sheets import contact_sheet, write_image
from uop3d_core.runs import Run
from uop3d_core.types import Capture, Detection, Frame, PoseEstimate, Template

logger = logging.getLogger(__name__)

IMAGE_ENDINGS = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}


@dataclass(frozen=True, eq=False)
class Query:
    """An image with what is to be estimated in it.

    Attributes:
        name: what the output calls it.
        frame: image and camera.
        detections: boxes.
    """

    name: str
    frame: Frame
    detections: tuple[Detection, ...]


def open_estimator(
    model: Path, backbone: str | None = None, settings: PoseSettings | None = None, device: str = "cpu"
) -> PoseEstimator:
    """Load a model with its backbone.

    Raises:
        OSError: there is no model, or its backbone cannot be had.
        ValueError: the file is no such model, or the backbone is another one.
    """
    return PoseEstimator.load(model, backbone, device, settings or PoseSettings())


def queries_of_capture(folder: Path, label: str) -> list[Query]:
    """All frames of a capture whose mask shows the object, with the box of the mask.

    Raises:
        FileNotFoundError, ValueError: the capture cannot be read, or all its masks are empty.
    """
    capture = read_nerfstudio(folder)
    masks = ((frame, frame.mask) for frame in capture.frames)
    queries = [
        Query(frame.name, _blind(frame), (Detection(mask_box(mask), label),)) for frame, mask in masks if mask.any()
    ]
    if not queries:
        raise ValueError(f"{folder}: all masks are empty, so there is no box to start from")
    return queries


def queries_of_images(inputs: Sequence[Path], detections_file: Path, camera_file: Path) -> list[Query]:
    """Images, or all images of folders, with boxes from a file and one camera for all.

    An image is called by its file name; entries of the detections file are found by that, or by the path as given.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is malformed, or an entry of the detections file fits no image.
    """
    camera, detections = read_camera(camera_file), read_detections(detections_file)
    paths: dict[str, Path] = {}
    for name, path in (item for given in inputs for item in _images(given).items()):
        if name in paths:
            raise ValueError(f"{paths[name]} and {path} have the same name: estimate them one after the other")
        paths[name] = path
    by_name = {alias: name for name, path in paths.items() for alias in (str(path), path.name, name)}
    found: dict[str, tuple[Detection, ...]] = {}
    for name, boxes in detections.items():
        if name not in by_name:
            raise ValueError(f"{detections_file}: image {name!r} is none of the {len(paths)} images given")
        found[by_name[name]] = tuple(boxes)
    return [
        Query(name, Frame(name, camera, partial(read_rgb, path)), found.get(name, ())) for name, path in paths.items()
    ]


@dataclass(frozen=True, eq=False)
class MetricInputs:
    """What is known of the images besides their pixels.

    Attributes:
        depth: one file for the only image, or a folder with a file for every image; see `images.read_depth`.
        size: of the objects, the same in all images.
        plane: what the objects stand on in cam, the same in all images: the camera stands still.
    """

    depth: Path | None = None
    size: KnownSize | None = None
    plane: SupportPlane | None = None

    def files(self, queries: Sequence[Query]) -> dict[str, Path]:
        """Depth files by image name.

        Raises:
            FileNotFoundError: a file is missing.
            ValueError: one file for several images, or two files for one.
        """
        if self.depth is None:
            return {}
        if self.depth.is_dir():
            return {query.name: _depth_file(self.depth, query.name) for query in queries if query.detections}
        if len(queries) != 1:
            raise ValueError(f"{self.depth} is one file, but there are {len(queries)} images: give a folder of files")
        return {queries[0].name: self.depth}


def _depth_file(folder: Path, name: str) -> Path:
    """The file of an image: its name with the ending of depth."""
    stem = _without_ending(Path(name).name)
    found = [path for path in (folder / f"{stem}{ending}" for ending in DEPTH_ENDINGS) if path.is_file()]
    if len(found) > 1:
        raise ValueError(f"{found[0]} and {found[1]} are both depth of image {name}: remove one")
    if not found:
        raise FileNotFoundError(
            f"{folder}: no depth of image {name}: add {stem}.png (uint16, mm) or {stem}.npy (float, m)"
        )
    return found[0]


def estimate(
    estimator: PoseEstimator,
    queries: Sequence[Query],
    overlay: Path | None = None,
    progress: Progress = silent,
    known: MetricInputs | None = None,
) -> dict[str, list[PoseEstimate]]:
    """Estimates by image name, metric where something tells the scale; pictures of them in the folder `overlay`.

    Raises:
        ValueError: an image or its depth does not fit its camera.
        OSError: an image or its depth cannot be read, or a picture not be written.
    """
    painter = Overlay(estimator.model.template) if overlay else None
    known = known or MetricInputs()
    files, caster = known.files(queries), RayCaster(estimator.model.template.mesh)
    results = {}
    for done, query in enumerate(queries):
        progress("estimation", done, len(queries))
        found = estimator(query.frame, query.detections)
        results[query.name] = _metric(found, query, estimator.model.template, caster, known, files.get(query.name))
        if painter is not None and overlay is not None:
            picture = painter.draw(query.frame.image, query.frame.camera, results[query.name])
            write_image(overlay / f"{_without_ending(query.name)}.jpg", picture)
    progress("estimation", len(queries), len(queries))
    return results


def _metric(
    estimates: Sequence[PoseEstimate],
    query: Query,
    template: Template,
    caster: RayCaster,
    known: MetricInputs,
    depth_file: Path | None,
) -> list[PoseEstimate]:
    """The estimates of one image with their scale; warnings go to the log with the image's name."""
    evidence = MetricEvidence(read_depth(depth_file) if depth_file else None, size=known.size, plane=known.plane)
    camera, metric = query.frame.camera, []
    if depth_file and evidence.depth is not None and evidence.depth.shape != (camera.height, camera.width):
        raise ValueError(
            f"{depth_file} has shape {evidence.depth.shape} (height, width), but the camera of {query.name} says "
            f"{(camera.height, camera.width)}: align the depth with the image"
        )
    for found in estimates:
        result = measure(found, template, camera, evidence, caster=caster)
        metric.append(result.estimate)
        for warning in result.warnings:
            logger.warning("%s: %s", query.name, warning)
    return metric


def evaluate_run(run_folder: Path, labels_file: Path) -> dict[str, Any]:
    """Compare a run's alignment with labels; the result is that of `evaluate_alignment` and what the run says.

    Raises:
        FileNotFoundError, ValueError: run or labels cannot be read, or have too little in common.
    """
    record = Run(run_folder).read_alignment()
    report = evaluate_alignment(record.alignment, read_labels(labels_file), record.symmetry)
    return {**report, "failed": record.failed, "alignment_fingerprint": record.digest}


@dataclass(frozen=True, eq=False)
class PoseEvaluation:
    """Outcome of `evaluate_model`.

    Attributes:
        report: the JSON object.
        results: one per image.
        captures: those tested on.
        estimator: the model.
    """

    report: dict[str, Any]
    results: list[FrameResult]
    captures: list[Capture]
    estimator: PoseEstimator


def evaluate_model(
    model: Path,
    captures_folder: Path,
    labels_file: Path,
    run_folder: Path,
    *,
    only: Sequence[str] = (),
    only_frames: Path | None = None,
    jitter: float = 0.0,
    seed: int = 0,
    backbone: str | None = None,
    settings: PoseSettings | None = None,
    device: str = "cpu",
    progress: Progress = silent,
) -> PoseEvaluation:
    """Estimate single images of captures that the model was not trained on, and compare with labels.

    Args:
        model: the model file.
        captures_folder: with captures that were and that were not trained on.
        labels_file: for both.
        run_folder: where the model was trained; its alignment links the learned frame to that of the labels.
        only: test captures; empty for all that are labelled and unseen.
        only_frames: file with the frames to test on, {capture: [frame names]}; captures that are trained on or not
            tested may stand in it, too.
        jitter: see `evaluate_pose`.
        seed: of the jitter.
        backbone: where its weights lie elsewhere than in training.
        settings: of the estimation.
        device: where the network runs.
        progress: is told "evaluation".

    Raises:
        FileNotFoundError, ValueError: something cannot be read, does not belong together, or nothing is left to test.
    """
    labels, record = read_labels(labels_file), Run(run_folder).read_alignment()
    estimator = open_estimator(model, backbone, settings, device)
    metadata = estimator.model.metadata
    if metadata.get("alignment") != record.digest:
        raise ValueError(
            f"{model} was not trained on the alignment that {run_folder} has now: give the run it was trained in, or "
            "train it again"
        )
    training = list(metadata["captures"])
    folders = {path.name: path for path in list_captures(captures_folder)}
    link = fit_frame_link(record.alignment, labels, training, estimator.model.symmetry)
    names = unseen_captures(list(folders), labels, training, only)
    frames = read_frame_lists(only_frames, folders) if only_frames else None
    if frames is not None:
        names = [name for name in names if frames.get(name)]
        if not names:
            raise ValueError(f"{only_frames}: lists no frame of a capture that can be tested")
    captures = [read_nerfstudio(folders[name]) for name in names]
    check_frames(frames or {}, captures)
    report, results = evaluate_pose(
        estimator, captures, labels, link,
        category=estimator.model.category, jitter=jitter, seed=seed, frames=frames, progress=progress,
    )  # fmt: skip
    about = {
        "model_fingerprint": metadata.get("fingerprint"),
        "alignment_fingerprint": record.digest,
        "trained_on": training,
        "trained_without": metadata.get("without", {}),
        "only_frames": None if frames is None else {name: frames[name] for name in names},
    }
    return PoseEvaluation({**report, **about}, results, captures, estimator)


def evaluation_sheet(evaluation: PoseEvaluation, per_capture: int, columns: int) -> Array:
    """Evenly chosen test images with their estimates drawn in."""
    painter = Overlay(evaluation.estimator.model.template)
    pictures = []
    for capture in evaluation.captures:
        frames = {frame.name: frame for frame in capture.frames}
        results = [result for result in evaluation.results if result.capture == capture.name]
        for result in results[:: max(1, len(results) // per_capture)][:per_capture]:
            frame = frames[result.frame]
            pictures.append(painter.draw(frame.image, frame.camera, [result.estimate]))
    return contact_sheet(pictures, columns)


def reliability_picture(evaluation: PoseEvaluation) -> Array:
    """The reliability of the score, and how often ellipsoids of all sizes hold the true poses, as diagrams."""
    bins = [(entry["score"], entry["right"], entry["images"]) for entry in evaluation.report["reliability"]]
    titles = {"": "share of true poses inside", "_own_box": "the same, position and unit of the object's own box"}
    return beside([draw_reliability(bins), *(_coverage_curves(evaluation.report, *item) for item in titles.items())])


def _coverage_curves(report: dict[str, Any], truth: str, title: str) -> Array:
    covered, curves = report[f"coverage{truth}"], {}
    for which, of in (("all", "all images"), ("within30", "within 30 degrees")):
        figures = report["overall"][f"covariance{truth}"][which]
        for part in PARTS if figures else ():
            what, nees = "both" if part == "all" else part, figures["nees"][part]
            about = "" if nees is None else f" (NEES {nees:.2f})"
            curves[f"{what}, {of}{about}"] = covered["levels"], covered[which][part]
    return draw_curves(curves, Axes("size of the ellipsoid (probability)", "", title=title, diagonal=True))


def is_capture(path: Path) -> bool:
    """Whether a path is a capture folder."""
    return (path / TRANSFORMS).is_file()


def _blind(frame: Frame) -> Frame:
    """The image and its camera, nothing that only a capture knows."""
    return Frame(frame.name, frame.camera, frame.image_source)


def _without_ending(name: str) -> str:
    return Path(name).stem if Path(name).suffix.lower() in IMAGE_ENDINGS else name


def _images(given: Path) -> Mapping[str, Path]:
    """An image file, or the images of a folder, by file name."""
    if given.is_file():
        return {given.name: given}
    if not given.is_dir():
        raise FileNotFoundError(f"{given}: no such image or folder")
    found = {path.name: path for path in sorted(given.iterdir()) if path.suffix.lower() in IMAGE_ENDINGS}
    if not found:
        raise FileNotFoundError(f"{given}: there is neither {TRANSFORMS} nor an image in this folder")
    return found
