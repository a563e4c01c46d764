"""What is left of poses when images get worse, whether the score notices, and whether other things are turned away.

In: a run directory with its model, and labelled captures that it was not trained on; with --others, folders of other
categories, which need no labels. Out: per damage and strength the shares of rotation errors below 30, 15, 10 degrees
(per cent), the median (degrees), the mean score, the share that the score promised (an error below 30 degrees, see
`FrameLink.judged_modulo_symmetry`), and the score's calibration error; of --others, how well 1 - `other` (the
probability of the category) tells the category's images from theirs: AUROC.
Boxes are jittered before the damage and do not change with it; where an image is cut off, the box reaches beyond it, or
is clipped to it.

    python benchmarks/pose_robustness.py RUN CAPTURES --others OTHER_CATEGORY ... --json out.json --picture curves.png
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from measure import write_json
from PIL import Image
from pose import Boxes, View, labelled_views

from uop3d_core.backbones import load_backbone
from uop3d_core.capture.folder import list_captures, read_captures
from uop3d_core.correspondence.checkpoint import load_model
from uop3d_core.evaluation.labels import read_labels
from uop3d_core.evaluation.link import FrameLink, fit_frame_link
from uop3d_core.evaluation.metrics import error_deg, summary, up_error_deg
from uop3d_core.evaluation.pose import Estimator, unseen_captures
from uop3d_core.evaluation.probabilities import auroc, calibration_error
from uop3d_core.evaluation.results import NOT_FOUND_DEG, RIGHT_DEG
from uop3d_core.geometry import Array
from uop3d_core.images import mask_box
from uop3d_core.pose.estimator import PoseEstimator
from uop3d_core.report.diagrams import Axes, draw_curves
from uop3d_core.report.sheets import contact_sheet, write_image
from uop3d_core.runs import Run
from uop3d_core.types import Camera, Detection, Frame, PoseEstimate

FIGURES = ("acc30", "acc15", "acc10", "median_deg")
CURVES = {"right": 1.0, "acc15": 0.01, "acc10": 0.01, "score": 1.0}
"""What is drawn, with the factor that brings it into [0, 1]."""


def main() -> None:
    """Read the arguments, measure, print and save."""
    args = _arguments()
    model = load_model(args.model or args.run / "model.safetensors")
    estimator = PoseEstimator(model, load_backbone(args.backbone or model.backbone_spec))
    labels, trained_on = read_labels(args.labels or args.captures / "labels.json"), list(model.metadata["captures"])
    link = fit_frame_link(Run(args.run).read_alignment().alignment, labels, trained_on, model.symmetry)
    there = [path.name for path in list_captures(args.captures)]
    captures = read_captures(args.captures, unseen_captures(there, labels, trained_on, args.only))
    views = list(labelled_views(captures, labels, link, args.every, Boxes(1, args.jitter, args.seed)))
    chosen = {name: damage for name, damage in DAMAGES.items() if not args.damages or name in args.damages}
    print(f"{len(views)} images of {', '.join(capture.name for capture in captures)}")
    report = curves_of(estimator, views, link, chosen, args.seed, show=lambda text: print(text, flush=True))
    rejection = {}
    if args.others:
        known = [
            1 - estimate.other for estimate in estimates_of(estimator, [(v.frame, v.detections[0]) for v in views])
        ]
        strangers = {folder.name: strange_images(folder, args) for folder in args.others}
        rejection = rejection_of(estimator, known, strangers)
        print(rejection_table(rejection))
    if args.json:
        content = {"images": len(views), "captures": [capture.name for capture in captures], "jitter": args.jitter}
        write_json(args.json, {**content, "damages": report, "rejection": rejection})
    if args.picture:
        write_image(args.picture, picture_of(report))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run directory in which the model was trained")
    parser.add_argument("captures", type=Path, help="category folder with unseen captures and labels.json")
    parser.add_argument("--only", nargs="+", default=[], metavar="CAPTURE", help="test on these captures only")
    parser.add_argument("--others", nargs="+", type=Path, default=[], metavar="FOLDER", help="of other categories")
    parser.add_argument("--damages", nargs="+", default=[], choices=list(DAMAGES), metavar="NAME", help="only these")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="use every N-th image of a capture")
    parser.add_argument("--jitter", type=float, default=0.1, help="move and scale boxes by up to this share")
    parser.add_argument("--seed", type=int, default=0, help="of boxes and damages")
    parser.add_argument("--model", type=Path, help="instead of RUN/model.safetensors")
    parser.add_argument("--backbone", help="NAME or NAME:WEIGHTS, where weights lie elsewhere than in training")
    parser.add_argument("--labels", type=Path, help="instead of CAPTURES/labels.json")
    parser.add_argument("--json", type=Path, help="where to write all numbers")
    parser.add_argument("--picture", type=Path, help="curves over the strength of the damage (PNG)")
    return parser.parse_args()


# ---- damages ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Damage:
    """A way in which images get worse.

    Attributes:
        apply: a view, a strength and a generator to a worse view.
        strengths: the first one leaves images as they are.
        unit: of the strengths.
    """

    apply: Callable[[View, float, np.random.Generator], View]
    strengths: tuple[float, ...]
    unit: str


def occluded(view: View, share: float, rng: np.random.Generator) -> View:
    """A textured patch, of the box's proportions and somewhere in it, covers a share of the box."""
    box, image = np.asarray(view.detections[0].bbox_xyxy), view.frame.image.copy()
    size = (box[2:] - box[:2]) * np.sqrt(share)
    corner = box[:2] + rng.uniform(0, 1, 2) * (box[2:] - box[:2] - size)
    low, high = np.rint(corner + 0.5).astype(int), np.rint(corner + size + 0.5).astype(int)
    width, height = np.maximum(high - low, 0)
    if width and height:
        patch = texture(int(height), int(width), rng)
        rows, columns = np.arange(low[1], high[1]), np.arange(low[0], high[0])
        y, x = ((rows >= 0) & (rows < image.shape[0])), ((columns >= 0) & (columns < image.shape[1]))
        image[np.ix_(rows[y], columns[x])] = patch[np.ix_(y, x)]
    return _with_image(view, image)


def texture(height: int, width: int, rng: np.random.Generator) -> Array:
    """(H, W, 3) uint8 blotches of two random colours, coarse and fine."""
    mixed = np.zeros((height, width))
    for cells in (3, 8, 20):
        coarse = rng.normal(size=(cells, cells)).astype(np.float32)
        mixed += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    share = 1 / (1 + np.exp(-2 * mixed))[..., None]
    colours = rng.uniform(0, 255, (2, 3))
    return np.clip(np.rint(share * colours[0] + (1 - share) * colours[1]), 0, 255).astype(np.uint8)


def truncated(view: View, share: float, rng: np.random.Generator) -> View:
    """The image ends where a share of the box, on one side of it, is outside; the box stays whole."""
    if share == 0:
        return view
    camera, image = view.frame.camera, view.frame.image
    box, side = np.asarray(view.detections[0].bbox_xyxy), int(rng.integers(4))
    axis, size = side % 2, (camera.width, camera.height)
    cut = share * (box[2 + axis] - box[axis])
    edges = np.array([0, 0, *size])
    edges[side] = np.rint(box[side] + 0.5 + (cut if side < 2 else -cut))
    edges = np.array([*np.clip(edges[:2], 0, np.array(size) - 1), *np.clip(edges[2:], 1, size)]).astype(int)
    left, top, right, bottom = edges.tolist()
    K = camera.K.copy()
    K[:2, 2] -= [left, top]
    smaller = Camera(K, right - left, bottom - top, camera.lens, camera.distortion)
    frame = Frame(view.frame.name, smaller, np.ascontiguousarray(image[top:bottom, left:right]))
    return replace(view, frame=frame, detections=(Detection(box - np.array([left, top, left, top])),))


def clipped(view: View, share: float, rng: np.random.Generator) -> View:
    """As `truncated`, with the box that a detector would give: what of it is inside."""
    cut = truncated(view, share, rng)
    limit = np.array([cut.frame.camera.width, cut.frame.camera.height] * 2) - 0.5
    return replace(cut, detections=(Detection(np.clip(cut.detections[0].bbox_xyxy, -0.5, limit)),))


def blurred(view: View, share: float, rng: np.random.Generator) -> View:
    """Out of focus: a Gaussian whose standard deviation is a share of the box's longer side."""
    if share == 0:
        return view
    box = np.asarray(view.detections[0].bbox_xyxy)
    sigma = share * float((box[2:] - box[:2]).max())
    return _with_image(view, cv2.GaussianBlur(view.frame.image, (0, 0), sigma))


def noisy(view: View, deviation: float, rng: np.random.Generator) -> View:
    """Independent normal noise in grey levels."""
    return _with_image(view, view.frame.image + rng.normal(0, 1, view.frame.image.shape) * deviation)


def night(view: View, stops: float, rng: np.random.Generator) -> View:
    """So many halvings of the light, as a sensor sees it: the noise of the light that is left, and of reading it."""
    if stops == 0:
        return view
    light = (view.frame.image / 255.0) ** 2.2 * 0.5**stops
    deviation = np.sqrt(2e-4 * light + 1e-6 * stops)
    seen = np.clip(light + rng.normal(0, 1, light.shape) * deviation, 0, 1)
    return _with_image(view, 255 * seen ** (1 / 2.2))


def compressed(view: View, strength: float, rng: np.random.Generator) -> View:
    """As JPEG of quality 100 - strength; 0 leaves the image as it is."""
    if strength == 0:
        return view
    buffer = io.BytesIO()
    Image.fromarray(view.frame.image).save(buffer, format="JPEG", quality=round(100 - strength))
    return _with_image(view, np.array(Image.open(buffer)))


def _with_image(view: View, image: Array) -> View:
    pixels = np.clip(np.rint(image), 0, 255).astype(np.uint8)
    return replace(view, frame=replace(view.frame, image_source=pixels))


DAMAGES = {
    "occlusion": Damage(occluded, (0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6), "share of the box covered"),
    "truncation": Damage(truncated, (0, 0.1, 0.2, 0.3, 0.4, 0.5), "share of the box outside the image"),
    "truncation, box clipped": Damage(clipped, (0, 0.1, 0.2, 0.3, 0.4, 0.5), "share of the box outside the image"),
    "blur": Damage(blurred, (0, 0.01, 0.02, 0.03, 0.05, 0.08), "standard deviation, share of the box"),
    "noise": Damage(noisy, (0, 10, 20, 40, 60, 80), "standard deviation, grey levels"),
    "night": Damage(night, (0, 1, 2, 3, 4, 5), "halvings of the light"),
    "jpeg": Damage(compressed, (0, 50, 70, 85, 92, 96), "100 - quality"),
}


# ---- poses -----------------------------------------------------------------------------------------------------------


def curves_of(
    estimator: Estimator,
    views: Sequence[View],
    link: FrameLink,
    damages: Mapping[str, Damage],
    seed: int,
    show: Callable[[str], None] = lambda text: None,
) -> dict[str, dict[str, Any]]:
    """Figures for every damage and strength.

    Returns:
        per damage: "unit", "strengths", and one list per figure: acc30, acc15, acc10 (per cent), median_deg, up_acc10,
        score (mean), right (share), ece, not_found (share).
    """
    show(
        f"{'':46s}{'acc30':>7s}{'acc15':>7s}{'acc10':>7s}{'median':>8s}{'score':>7s}{'right':>7s}{'ece':>7s}{'lost':>6s}"
    )
    report, as_they_are = {}, None
    for name, damage in damages.items():
        rows = []
        for strength in damage.strengths:
            if strength == 0 and as_they_are is not None:
                row = as_they_are
            else:
                row = figures_of(estimator, damaged(views, damage, strength, seed), link)
            as_they_are = row if strength == 0 else as_they_are
            rows.append(row)
            show(_line(f"{name} {strength:g}", row))
        columns = {key: [row[key] for row in rows] for key in rows[0]}
        report[name] = {"unit": damage.unit, "strengths": list(damage.strengths), **columns}
    return report


def damaged(views: Sequence[View], damage: Damage, strength: float, seed: int) -> list[View]:
    """The same random numbers for every strength, so that a stronger damage is more of the same."""
    return [damage.apply(view, strength, np.random.default_rng([seed, index])) for index, view in enumerate(views)]


def estimates_of(estimator: Estimator, images: Sequence[tuple[Frame, Detection]]) -> list[PoseEstimate]:
    """One per image."""
    return [estimator(frame, [detection])[0] for frame, detection in images]


def figures_of(estimator: Estimator, views: Sequence[View], link: FrameLink) -> dict[str, float]:
    """Of one damage and strength, see `curves_of`."""
    estimates = estimates_of(estimator, [(view.frame, view.detections[0]) for view in views])
    full, up, right = [], [], []
    for view, estimate in zip(views, estimates, strict=True):
        R, cam_R_label = estimate.cam_T_obj[:3, :3], view.cam_T_label[:3, :3]
        predicted, found = R @ link.label_R_obj.T, estimate.found
        full.append(float(error_deg(predicted, cam_R_label)) if found else NOT_FOUND_DEG)
        up.append(float(up_error_deg(predicted, cam_R_label)) if found else NOT_FOUND_DEG)
        right.append(found and link.judged_error_deg(R, cam_R_label) < RIGHT_DEG)
    scores, came_true = np.array([estimate.score for estimate in estimates]), np.array(right, dtype=bool)
    figures = summary(full, up)
    return {
        **{key: figures[key] for key in (*FIGURES, "up_acc10")},
        "score": round(float(scores.mean()), 4),
        "right": round(float(came_true.mean()), 4),
        "ece": round(calibration_error(scores, came_true), 4),
        "not_found": round(float(np.mean([not estimate.found for estimate in estimates])), 4),
    }


def _line(name: str, row: Mapping[str, float]) -> str:
    shares = "".join(f"{row[key]:7.1f}" for key in FIGURES[:3])
    worth = f"{row['score']:7.2f}{row['right']:7.2f}{row['ece']:7.3f}{row['not_found']:6.2f}"
    return f"{name:46s}{shares}{row['median_deg']:7.1f}°{worth}"


# ---- rejection -------------------------------------------------------------------------------------------------------


def strange_images(folder: Path, args: argparse.Namespace) -> list[tuple[Frame, Detection]]:
    """Every n-th frame of captures of another category, with a jittered box."""
    boxes, images = Boxes(1, args.jitter, args.seed), []
    for capture in read_captures(folder):
        for index, frame in list(enumerate(capture.frames))[:: args.every]:
            mask = frame.mask
            if mask.any():
                [detection] = boxes.of(mask_box(mask), capture.name, index)
                images.append((Frame(frame.name, frame.camera, frame.image), detection))
    return images


def rejection_of(
    estimator: Estimator, known: Sequence[float], strangers: Mapping[str, Sequence[tuple[Frame, Detection]]]
) -> dict[str, dict[str, float]]:
    """How well the probability of the category tells its images from others.

    Args:
        estimator: of the category.
        known: its probability (1 - other) for images of the category.
        strangers: images by category.

    Returns:
        per category, and for "all" together: images, auroc, mean (of the probability), above_half (share that is taken
        for the category).
    """
    found = {name: [1 - e.other for e in estimates_of(estimator, images)] for name, images in strangers.items()}
    found["all"] = [value for values in found.values() for value in values]
    own = np.array(known)
    rows = {"this category": {"images": len(own), "mean": float(own.mean()), "above_half": float((own > 0.5).mean())}}
    for name, values in found.items():
        other = np.array(values)
        right = np.arange(len(own) + len(other)) < len(own)
        rows[name] = {
            "images": len(other),
            "auroc": auroc(np.concatenate([own, other]), right),
            "mean": float(other.mean()),
            "above_half": float((other > 0.5).mean()),
        }
    return {name: {key: round(value, 4) for key, value in row.items()} for name, row in rows.items()}


def rejection_table(rejection: Mapping[str, Mapping[str, float]]) -> str:
    """Aligned text."""
    lines = [f"{'probability of the category':46s}{'images':>7s}{'mean':>7s}{'> 0.5':>7s}{'AUROC':>7s}"]
    for name, row in rejection.items():
        ranked = f"{row['auroc']:7.3f}" if "auroc" in row else f"{'':>7s}"
        lines.append(f"{name:46s}{row['images']:7.0f}{row['mean']:7.2f}{row['above_half']:7.2f}{ranked}")
    return "\n".join(lines)


# ---- picture ---------------------------------------------------------------------------------------------------------


def picture_of(report: Mapping[str, Mapping[str, Any]]) -> Array:
    """One diagram per damage: accuracy and mean score over the strength; 30 degrees are meant as scores mean them."""
    panels = []
    for name, rows in report.items():
        places = np.linspace(0, 1, len(rows["strengths"])).tolist()
        ticks = {place: f"{strength:g}" for place, strength in zip(places, rows["strengths"], strict=True)}
        curves = {_named(key): (places, [factor * value for value in rows[key]]) for key, factor in CURVES.items()}
        panels.append(draw_curves(curves, Axes(rows["unit"], "", ticks, name), side=300, margin=45))
    return contact_sheet(panels, 4)


def _named(key: str) -> str:
    return {"score": "mean score", "right": "within 30 degrees"}.get(key, key)


if __name__ == "__main__":
    main()
