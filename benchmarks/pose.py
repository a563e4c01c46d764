"""Pose from single images, ours beside what else could be done, with one network, crops and images in one run.

In: a run directory with its model, and labelled captures that it was not trained on. Boxes are moved and scaled at
random (--jitter), and every method gets the same ones. Out: rotation errors against the labels, seconds per image (the
backbone included), peak memory. Methods:

    published                  render-and-compare as published: it is told the true translation
    published, not refined     the same without its optimiser
    published, box only        without that help: the translation is what fills the box, by weak perspective
    published, PyTorch3D       told the translation, and with the renderer that it was published with, where PyTorch3D
                               is installed; the three before take shortcuts that make them faster
    nearest view               the pose of the training image whose backbone features are most alike
    uop3d                      the box only; once with one object, once with several in the image
    HEAD head                  the box only: models of other heads (train.head), given by --heads
    backbone alone             nothing but the forward pass, with as many crops

"over_backbone" is the median over the images of the time of a method over that of the backbone, both measured one after
the other on the same image; "beyond_backbone_s" the median of what it takes longer. Frames: estimates are cam_R_obj;
obj is linked to the frame of the labels by the training captures.

    python benchmarks/pose.py RUN CAPTURES --every 4 --json runs/pose.json
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from measure import Cost, mean_cost, measured, table, write_json
from reference.render_compare import RenderCompareSettings, estimate_rotation
from torch import Tensor

from uop3d_core.backbones import FeatureBackbone, load_backbone
from uop3d_core.capture.folder import list_captures, read_captures
from uop3d_core.capture.frame_lists import check_frames, read_frame_lists
from uop3d_core.correspondence.checkpoint import Model, load_model
from uop3d_core.correspondence.model import UPSAMPLING
from uop3d_core.correspondence.views import pose_of
from uop3d_core.crops import Crop
from uop3d_core.evaluation.labels import Labels, read_labels
from uop3d_core.evaluation.link import FrameLink, fit_frame_link
from uop3d_core.evaluation.metrics import error_deg, summary, up_error_deg
from uop3d_core.evaluation.pose import jittered, unseen_captures
from uop3d_core.geometry import Array, rigid_through_similarity
from uop3d_core.images import mask_box
from uop3d_core.pose.candidates import box_in_crop, filling_box
from uop3d_core.pose.estimator import PoseEstimator
from uop3d_core.runs import Run
from uop3d_core.types import Alignment, Capture, Detection, Frame

PUBLISHED, GRID, UNAIDED = "published", "published, not refined", "published, box only"
RASTERISED = "published, PyTorch3D"
NEAREST, OURS, BACKBONE = "nearest view", "uop3d", "backbone alone"
COLUMNS = ("acc30", "acc15", "acc10", "median_deg", "up_acc10", "up_median_deg")
NOT_FOUND_DEG = 180.0
POOLED = 8
"""Cells along the side of the feature maps that nearest views are compared by."""
BATCH = 8


@dataclass(frozen=True, eq=False)
class View:
    """One image with its truth.

    Attributes:
        capture: name.
        frame: image and camera, nothing else.
        detections: boxes of the object; methods for one object take the first, the others are jittered anew.
        cam_T_label: (4, 4) true pose, translation in units of the label frame (the object's diagonal).
        cam_t_obj: (3,) true position of obj, in object units.
    """

    capture: str
    frame: Frame
    detections: tuple[Detection, ...]
    cam_T_label: Array
    cam_t_obj: Array


Method = Callable[[View], Callable[[], Array | None]]
"""Makes ready, which is not timed; what it returns is: it gives cam_R_obj, or None where nothing was found."""
Inference = Callable[..., tuple[Array, float]]
"""Features, K, translation and inside, as for `estimate_rotation`, to a rotation and its score."""


def main() -> None:
    """Read the arguments, measure, print and save."""
    args = _arguments()
    labels = read_labels(args.labels or args.captures / "labels.json")
    model = load_model(args.model or args.run / "model.safetensors")
    others = [other_head(path, model) for path in args.heads]
    backbone = load_backbone(args.backbone or model.backbone_spec)
    trained_on = list(model.metadata["captures"])
    alignment = Run(args.run).read_alignment().alignment
    link = fit_frame_link(alignment, labels, trained_on, model.symmetry)
    there = [path.name for path in list_captures(args.captures)]
    captures = read_captures(args.captures, unseen_captures(there, labels, trained_on, args.only))
    frames = read_frame_lists(args.only_frames, there) if args.only_frames else None
    check_frames(frames or {}, captures)
    boxes = Boxes(args.objects, args.jitter, args.seed)
    views = list(labelled_views(captures, labels, link, args.every, boxes, frames))
    bank = NearestViews.of(model, backbone, read_captures(args.captures, trained_on), alignment)
    candidates = methods(model, backbone, bank, args.objects)
    candidates |= {f"{other.settings.head} head": box_only(PoseEstimator(other, backbone)) for other in others}
    results = compare(candidates, views, link.label_R_obj)
    rows = {name: result["summary"] for name, result in results.items()}
    names = ", ".join(capture.name for capture in captures)
    about = (
        f"{len(views)} images of {names}; boxes jittered by {args.jitter:g}; {torch.get_num_threads()} threads, "
        f"{backbone.fingerprint}"
    )
    print(f"{about}\n{table(rows, PUBLISHED)}")
    if args.json:
        write_json(args.json, {"about": about, "settings": model.settings.model_dump(), "results": results})


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run directory in which the model was trained")
    parser.add_argument("captures", type=Path, help="category folder with trained and unseen captures and labels.json")
    parser.add_argument("--only", nargs="+", default=[], metavar="CAPTURE", help="test on these captures only")
    parser.add_argument("--only-frames", type=Path, metavar="FILE", help="JSON {capture: [frames]} to test on")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="use every N-th image of a capture")
    parser.add_argument("--jitter", type=float, default=0.1, help="move and scale boxes by up to this share")
    parser.add_argument("--seed", type=int, default=0, help="of the jitter")
    parser.add_argument("--objects", type=int, default=8, metavar="N", help="objects in an image with several")
    parser.add_argument("--model", type=Path, help="instead of RUN/model.safetensors")
    parser.add_argument("--heads", type=Path, nargs="+", default=[], metavar="MODEL", help="models of other heads")
    parser.add_argument("--backbone", help="NAME or NAME:WEIGHTS, where weights lie elsewhere than in training")
    parser.add_argument("--labels", type=Path, help="instead of CAPTURES/labels.json")
    parser.add_argument("--json", type=Path, help="where to write all numbers")
    return parser.parse_args()


# ---- images ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Boxes:
    """How boxes are made from masks.

    Attributes:
        count: how many per image.
        jitter: they are moved and scaled by up to this share of their size.
        seed: of the jitter.
    """

    count: int = 1
    jitter: float = 0.1
    seed: int = 0

    def of(self, box: Array, capture: str, index: int) -> tuple[Detection, ...]:
        """Boxes of one frame; the first one is that of `uop3d evaluate pose`."""
        rng = np.random.default_rng([self.seed, index, *capture.encode()])
        return tuple(Detection(jittered(box, self.jitter, rng)) for _ in range(self.count))


def labelled_views(
    captures: Sequence[Capture],
    labels: Labels,
    link: FrameLink,
    every: int,
    boxes: Boxes,
    only: Mapping[str, Collection[str]] | None = None,
) -> Iterator[View]:
    """Every n-th frame that shows the object, stripped of what only a capture knows.

    Args:
        captures: all labelled.
        labels: where their objects lie.
        link: between obj and label.
        every: n.
        boxes: how they are made.
        only: names of the frames wanted, by capture; None for all.
    """
    for capture in captures:
        T = labels.label_T_world[capture.name]
        wanted = [
            (index, frame)
            for index, frame in enumerate(capture.frames)
            if only is None or frame.name in only.get(capture.name, ())
        ]
        for index, frame in wanted[::every]:
            mask = frame.mask
            if mask.any() and frame.cam_T_world is not None:
                yield View(
                    capture.name,
                    Frame(frame.name, frame.camera, frame.image),
                    boxes.of(mask_box(mask), capture.name, index),
                    rigid_through_similarity(frame.cam_T_world, T.scale, T.R, T.t),
                    link.true_cam_T_obj(frame.cam_T_world, T)[:3, 3],
                )


# ---- methods ---------------------------------------------------------------------------------------------------------


def methods(model: Model, backbone: FeatureBackbone, bank: NearestViews, objects: int) -> dict[str, Method]:
    """Everything that is compared, the backbone's rows first."""
    estimator = PoseEstimator(model, backbone)
    alone = estimator.network.backbone_alone()
    assert alone is not None, "torch runs this model, which can tell its backbone apart"
    published = partial(published_rotation, model, backbone)
    compared = partial(estimate_rotation, model.template.mesh, *vertex_features(model))
    plain = partial(compared, settings=RenderCompareSettings())
    grid_only = partial(compared, settings=replace(RenderCompareSettings(), refinement_steps=0))
    rasterised = rasterised_inference(model)

    def forward(count: int, view: View) -> Callable[[], None]:
        crops = np.stack([crop_of(model, backbone, view.frame, box)[1] for box in view.detections[:count]])

        def call() -> None:
            alone(crops)

        return call

    several = f", {objects} objects"
    return {
        BACKBONE: partial(forward, 1),
        OURS: box_only(estimator),
        BACKBONE + several: partial(forward, objects),
        OURS + several: box_only(estimator, objects),
        NEAREST: lambda view: partial(bank.rotation, model, backbone, view),
        PUBLISHED: lambda view: partial(published, plain, view, aided=True),
        GRID: lambda view: partial(published, grid_only, view, aided=True),
        UNAIDED: lambda view: partial(published, plain, view, aided=False),
        **({RASTERISED: lambda view: partial(published, rasterised, view, aided=True)} if rasterised else {}),
    }


def rasterised_inference(model: Model) -> Inference | None:
    """The published inference with its own renderer; None where that is not installed, and it says so."""
    try:
        from reference.rasterised import RasterisedInference
    except ImportError as error:
        print(f"without '{RASTERISED}': {error}")
        return None
    side = model.settings.cells * UPSAMPLING
    return RasterisedInference(model.template.mesh, *vertex_features(model), side).estimate


def box_only(estimator: PoseEstimator, count: int = 1) -> Method:
    """The rotation that an estimator finds, given the first `count` boxes of an image, for the first."""

    def ready(view: View) -> Callable[[], Array | None]:
        def call() -> Array | None:
            estimate = estimator(view.frame, view.detections[:count])[0]
            return estimate.cam_T_obj[:3, :3] if estimate.found else None

        return call

    return ready


def other_head(path: Path, model: Model) -> Model:
    """A model of another head that was trained on the same alignment.

    Raises:
        ValueError: on another one.
    """
    other = load_model(path)
    if other.metadata.get("alignment") != model.metadata.get("alignment"):
        raise ValueError(f"{path} was trained on another alignment than the model that it is compared with")
    return other


def backbone_of(name: str) -> str:
    """The row that a method's time is set against: the backbone with as many crops."""
    return name.replace(OURS, BACKBONE) if name.startswith((OURS, BACKBONE)) else BACKBONE


def published_rotation(
    model: Model, backbone: FeatureBackbone, inference: Inference, view: View, *, aided: bool
) -> Array:
    """cam_R_obj (3, 3) by render-and-compare, with the view's true translation or the one that fills the box."""
    features, crop, K, inside = feature_map(model, backbone, view.frame, view.detections[0])
    vertices, box = model.template.mesh.vertices, box_in_crop(crop, np.asarray(view.detections[0].bbox_xyxy))
    crop_t_obj = crop.cam_R_crop.T @ view.cam_t_obj if aided else partial(filling_translation, vertices, crop, box)
    return crop.cam_R_crop @ inference(features, K, crop_t_obj, inside=inside)[0]


def vertex_features(model: Model) -> tuple[Tensor, Tensor]:
    """Unit features of the template's vertices (V, D), and those of clutter (N, D)."""
    return F.normalize(model.network.bank.detach(), dim=1), F.normalize(model.network.clutter.detach(), dim=1)


def filling_translation(vertices: Array, crop: Crop, box: Array, crop_R_obj: Array) -> Array:
    """crop_t_obj (3,) in object units with which the turned template (V, 3) fills a box (4,) of the crop."""
    return filling_box(crop_R_obj[None], vertices, crop, box)[0, :3, 3]


@dataclass(frozen=True, eq=False)
class NearestViews:
    """Training images, to be looked up.

    Attributes:
        mean: (C, 1, 1) of the backbone's features over all of them.
        descriptors: (N, D) of length 1.
        crop_R_obj: (N, 3, 3) rotations, in the cameras of their crops.
    """

    mean: Tensor
    descriptors: Tensor
    crop_R_obj: Array

    @classmethod
    def of(
        cls, model: Model, backbone: FeatureBackbone, captures: Sequence[Capture], alignment: Alignment
    ) -> NearestViews:
        """All frames that the model was trained on, as the learned alignment poses them."""
        hidden = model.metadata.get("without", {})
        pixels, rotations = [], []
        for capture in captures:
            obj_T_world = alignment.captures[capture.name].obj_T_world
            for frame in capture.frames:
                if frame.mask.any() and frame.name not in hidden.get(capture.name, ()):
                    crop, image = crop_of(model, backbone, frame, Detection(mask_box(frame.mask)))
                    pixels.append(image)
                    rotations.append(crop.cam_R_crop.T @ pose_of(frame, obj_T_world)[:3, :3])
        pooled = [pooled_features(backbone, pixels[i : i + BATCH]) for i in range(0, len(pixels), BATCH)]
        grids = torch.cat(pooled)
        mean = grids.mean((0, 2, 3))[:, None, None]
        return cls(mean, described(grids, mean), np.stack(rotations))

    def rotation(self, model: Model, backbone: FeatureBackbone, view: View) -> Array:
        """cam_R_obj (3, 3) of the image that is most alike, seen in the middle of its crop as the view's object is."""
        crop, pixels = crop_of(model, backbone, view.frame, view.detections[0])
        alike = self.descriptors @ described(pooled_features(backbone, [pixels]), self.mean)[0]
        return crop.cam_R_crop @ self.crop_R_obj[int(alike.argmax())]


def pooled_features(backbone: FeatureBackbone, crops: Sequence[Array]) -> Tensor:
    """(B, C, POOLED, POOLED) of crops (S, S, 3) uint8."""
    return F.adaptive_avg_pool2d(features_of(backbone, crops), POOLED)


def described(grids: Tensor, mean: Tensor) -> Tensor:
    """(B, D) of length 1: every cell of (B, C, h, w), less the mean, counts alike."""
    cells = F.normalize(grids - mean, dim=1)
    return F.normalize(cells.flatten(1), dim=1)


# ---- the network -----------------------------------------------------------------------------------------------------


def crop_of(model: Model, backbone: FeatureBackbone, frame: Frame, detection: Detection) -> tuple[Crop, Array]:
    """What the network is shown of a box: the crop and its pixels (S, S, 3) uint8."""
    pixels = model.settings.cells * backbone.stride
    crop = Crop.around(frame.camera, np.asarray(detection.bbox_xyxy), pixels, model.settings.margin)
    return crop, crop.sample(frame.image)


@torch.no_grad()
def features_of(backbone: FeatureBackbone, crops: Sequence[Array]) -> Tensor:
    """(B, C, h, w) float of crops (S, S, 3) uint8."""
    return backbone(torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 255).float()


@torch.no_grad()
def feature_map(
    model: Model, backbone: FeatureBackbone, frame: Frame, detection: Detection
) -> tuple[Tensor, Crop, Array, Array]:
    """The network's unit embeddings of the crop around a box.

    Returns:
        features (D, h, w), the crop, its K (3, 3) in cells, inside (h, w): which cells lie in the image.
    """
    crop, image = crop_of(model, backbone, frame, detection)
    features = model.network.embed(model.network.project(features_of(backbone, [image])))[0][0]
    side = features.shape[1]
    inside = crop.in_image(crop.grid(side)).reshape(side, side)
    return features, crop, cell_intrinsics(crop.K, side / crop.pixels), inside


def cell_intrinsics(K: Array, cells_per_pixel: float) -> Array:
    """K (3, 3) of a feature map, in cells with integer centres, from that of its image."""
    shift = (cells_per_pixel - 1) / 2
    return np.array([[cells_per_pixel, 0, shift], [0, cells_per_pixel, shift], [0, 0, 1]]) @ K


# ---- comparison ------------------------------------------------------------------------------------------------------


def compare(candidates: Mapping[str, Method], views: Sequence[View], label_R_obj: Array) -> dict[str, dict[str, Any]]:
    """Run all methods on all views, view by view, so that a busy machine slows all of them alike.

    Returns:
        per method: summary (figures, means, "over_backbone"), errors_deg, up_errors_deg and wall_s in the order of
        `views`.
    """
    errors: dict[str, list[tuple[float, float]]] = defaultdict(list)
    costs: dict[str, list[Cost]] = defaultdict(list)
    for method in candidates.values():
        method(views[0])()  # what is only done the first time is not measured
    for view in views:
        for name, method in candidates.items():
            cam_R_obj, cost = measured(method(view))
            errors[name].append(_errors_deg(cam_R_obj, label_R_obj, view.cam_T_label[:3, :3]))
            costs[name].append(cost)
    results = {}
    for name in candidates:
        full, up = [error[0] for error in errors[name]], [error[1] for error in errors[name]]
        figures = {} if name.startswith(BACKBONE) else {key: summary(full, up)[key] for key in COLUMNS}
        wall = [cost.wall_s for cost in costs[name]]
        times = mean_cost(costs[name])
        if backbone_of(name) in costs:
            alone = [cost.wall_s for cost in costs[backbone_of(name)]]
            times["over_backbone"] = float(np.median(np.divide(wall, alone)))
            times["beyond_backbone_s"] = float(np.median(np.subtract(wall, alone)))
        results[name] = {"summary": figures | times, "errors_deg": full, "up_errors_deg": up, "wall_s": wall}
    return results


def _errors_deg(cam_R_obj: Array | None, label_R_obj: Array, cam_R_label: Array) -> tuple[float, float]:
    if cam_R_obj is None:
        return NOT_FOUND_DEG, NOT_FOUND_DEG
    predicted = cam_R_obj @ label_R_obj.T
    return float(error_deg(predicted, cam_R_label)), float(up_error_deg(predicted, cam_R_label))


if __name__ == "__main__":
    main()
