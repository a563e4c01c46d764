"""Pose from single images, ours against the published inference, with the same network, crops and images in one run.

In: a run directory with its model, and labelled captures that it was not trained on. Out: rotation errors against the
labels, seconds per image (the network included), peak memory.
The published inference is given the true translation, as published; ours is given the box only. Frames: estimates are
cam_R_obj; obj is linked to the frame of the labels by the training captures.

    python benchmarks/pose.py RUN CAPTURES --every 4 --json runs/pose.json
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from measure import mean_cost, measured, table, write_json
from reference.render_compare import RenderCompareSettings, estimate_rotation
from torch import Tensor

from uop3d_core.backbones import FeatureBackbone, load_backbone
from uop3d_core.capture.folder import list_captures, read_captures
from uop3d_core.correspondence.checkpoint import Model, load_model
from uop3d_core.crops import Crop
from uop3d_core.evaluation.labels import Labels, read_labels
from uop3d_core.evaluation.link import fit_frame_link
from uop3d_core.evaluation.metrics import error_deg, summary, up_error_deg
from uop3d_core.evaluation.pose import unseen_captures
from uop3d_core.geometry import Array, rigid_through_similarity
from uop3d_core.images import mask_box
from uop3d_core.pose.estimator import PoseEstimator
from uop3d_core.runs import Run
from uop3d_core.types import Capture, Detection, Frame

PUBLISHED, GRID, OURS, NETWORK = "published", "published, not refined", "uop3d", "network alone"
COLUMNS = ("acc30", "acc15", "acc10", "median_deg", "up_acc10", "up_median_deg")
NOT_FOUND_DEG = 180.0


@dataclass(frozen=True, eq=False)
class View:
    """One image with its truth.

    Attributes:
        capture: name.
        frame: image and camera, nothing else.
        detection: the box of the mask.
        cam_T_label: (4, 4) true pose, translation in units of the label frame (the object's diagonal).
    """

    capture: str
    frame: Frame
    detection: Detection
    cam_T_label: Array


Method = Callable[[View], Array | None]


def main() -> None:
    """Read the arguments, measure, print and save."""
    args = _arguments()
    labels = read_labels(args.labels or args.captures / "labels.json")
    model = load_model(args.model or args.run / "model.safetensors")
    backbone = load_backbone(args.backbone or model.backbone_spec)
    trained_on = list(model.metadata["captures"])
    link = fit_frame_link(Run(args.run).read_alignment().alignment, labels, trained_on)
    there = [path.name for path in list_captures(args.captures)]
    names = unseen_captures(there, labels, trained_on, args.only)
    views = list(labelled_views(read_captures(args.captures, names), labels, args.every))
    results = compare(methods(model, backbone), views, link.label_R_obj)
    rows = {name: result["summary"] for name, result in results.items()}
    about = f"{len(views)} images of {', '.join(names)}; {torch.get_num_threads()} threads, {backbone.fingerprint}"
    print(f"{about}\n{table(rows, PUBLISHED)}")
    if args.json:
        write_json(args.json, {"about": about, "settings": model.settings.model_dump(), "results": results})


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run directory in which the model was trained")
    parser.add_argument("captures", type=Path, help="category folder with unseen captures and labels.json")
    parser.add_argument("--only", nargs="+", default=[], metavar="CAPTURE", help="test on these captures only")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="use every N-th image of a capture")
    parser.add_argument("--model", type=Path, help="instead of RUN/model.safetensors")
    parser.add_argument("--backbone", help="NAME or NAME:WEIGHTS, where weights lie elsewhere than in training")
    parser.add_argument("--labels", type=Path, help="instead of CAPTURES/labels.json")
    parser.add_argument("--json", type=Path, help="where to write all numbers")
    return parser.parse_args()


def labelled_views(captures: list[Capture], labels: Labels, every: int) -> Iterator[View]:
    """Every n-th frame that shows the object, stripped of what only a capture knows."""
    for capture in captures:
        label_T_world = labels.label_T_world[capture.name]
        for frame in capture.frames[::every]:
            mask = frame.mask
            if mask.any() and frame.cam_T_world is not None:
                T = rigid_through_similarity(frame.cam_T_world, label_T_world.scale, label_T_world.R, label_T_world.t)
                blind = Frame(frame.name, frame.camera, frame.image)
                yield View(capture.name, blind, Detection(mask_box(mask)), T)


def methods(model: Model, backbone: FeatureBackbone) -> dict[str, Method]:
    """Everything that is compared: view to cam_R_obj, or None where nothing was found."""
    estimator = PoseEstimator(model, backbone)

    def ours(view: View) -> Array | None:
        estimate = estimator(view.frame, [view.detection])[0]
        return estimate.cam_T_obj[:3, :3] if estimate.found else None

    def network_alone(view: View) -> None:
        feature_map(model, backbone, view.frame, view.detection)

    grid_only = replace(RenderCompareSettings(), refinement_steps=0)
    return {
        PUBLISHED: partial(published_rotation, model, backbone, RenderCompareSettings()),
        GRID: partial(published_rotation, model, backbone, grid_only),
        OURS: ours,
        NETWORK: network_alone,
    }


def published_rotation(model: Model, backbone: FeatureBackbone, settings: RenderCompareSettings, view: View) -> Array:
    """cam_R_obj (3, 3) by render-and-compare, with the view's true translation."""
    features, crop, K, inside = feature_map(model, backbone, view.frame, view.detection)
    bank, clutter = F.normalize(model.network.bank.detach(), dim=1), F.normalize(model.network.clutter.detach(), dim=1)
    crop_t_obj = crop.cam_R_crop.T @ view.cam_T_label[:3, 3]
    mesh = model.template.mesh
    return crop.cam_R_crop @ estimate_rotation(mesh, bank, clutter, features, K, crop_t_obj, settings, inside)[0]


@torch.no_grad()
def feature_map(
    model: Model, backbone: FeatureBackbone, frame: Frame, detection: Detection
) -> tuple[Tensor, Crop, Array, Array]:
    """The network's unit embeddings of the crop around a box.

    Returns:
        features (D, h, w), the crop, its K (3, 3) in cells, inside (h, w): which cells lie in the image.
    """
    pixels = model.settings.cells * backbone.stride
    crop = Crop.around(frame.camera, detection.bbox_xyxy, pixels, model.settings.margin)
    image = torch.from_numpy(crop.sample(frame.image)).permute(2, 0, 1)[None].float() / 255
    features = model.network.embed(model.network.project(backbone(image).float()))[0][0]
    side = features.shape[1]
    inside = crop.in_image(crop.grid(side)).reshape(side, side)
    return features, crop, cell_intrinsics(crop.K, side / pixels), inside


def cell_intrinsics(K: Array, cells_per_pixel: float) -> Array:
    """K (3, 3) of a feature map, in cells with integer centres, from that of its image."""
    shift = (cells_per_pixel - 1) / 2
    return np.array([[cells_per_pixel, 0, shift], [0, cells_per_pixel, shift], [0, 0, 1]]) @ K


def compare(candidates: dict[str, Method], views: list[View], label_R_obj: Array) -> dict[str, dict[str, Any]]:
    """Run all methods on all views, view by view, so that a busy machine slows all of them alike.

    Returns:
        per method: summary (means), and errors_deg and up_errors_deg in the order of `views`.
    """
    errors: dict[str, list[tuple[float, float]]] = defaultdict(list)
    costs: dict[str, list[Any]] = defaultdict(list)
    for view in views:
        for name, method in candidates.items():
            cam_R_obj, cost = measured(partial(method, view))
            errors[name].append(_errors_deg(cam_R_obj, label_R_obj, view.cam_T_label[:3, :3]))
            costs[name].append(cost)
    results = {}
    for name in candidates:
        full, up = [error[0] for error in errors[name]], [error[1] for error in errors[name]]
        figures = {} if name == NETWORK else {key: summary(full, up)[key] for key in COLUMNS}
        results[name] = {"summary": figures | mean_cost(costs[name]), "errors_deg": full, "up_errors_deg": up}
    return results


def _errors_deg(cam_R_obj: Array | None, label_R_obj: Array, cam_R_label: Array) -> tuple[float, float]:
    if cam_R_obj is None:
        return NOT_FOUND_DEG, NOT_FOUND_DEG
    predicted = cam_R_obj @ label_R_obj.T
    return float(error_deg(predicted, cam_R_label)), float(up_error_deg(predicted, cam_R_label))


if __name__ == "__main__":
    main()
