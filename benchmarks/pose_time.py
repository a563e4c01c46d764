"""Time of an estimate over that of its image features alone, by size of the crop and number of objects.

In: a model and captures with masks, whose boxes (jittered) are what a detector would say. Out: a table of medians over
the images, milliseconds of the clock; each image's times are taken one after the other, so ratios are within one run.
The head is convolutional: it runs at other sizes than it was trained at, less well, which does not matter here.

    all / backbone      crop, backbone, head, hypotheses and refinement over the backbone's forward pass alone
    all / NAME          the same with another backbone (--beside) in the first one's place, at as many cells: what it
                        takes at that size, plus what the model takes beyond its own backbone

    python benchmarks/pose_time.py RUN/model.safetensors CAPTURES --cells 20 24 32 --beside dinov2-small:WEIGHTS
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from measure import aligned, write_json

from uop3d_core.backbones import FeatureBackbone, load_backbone
from uop3d_core.capture.folder import read_captures
from uop3d_core.correspondence.checkpoint import load_model
from uop3d_core.evaluation.pose import jittered
from uop3d_core.images import mask_box
from uop3d_core.pose.estimator import PoseEstimator
from uop3d_core.types import Detection, Frame

JITTER = 0.1
COLUMNS = ("backbone_ms", "all_ms", "beyond_ms", "over_backbone", "beside_ms", "over_beside")


def main() -> None:
    """Read the arguments, measure, print and save."""
    args = _arguments()
    torch.set_num_threads(args.threads)
    model = load_model(args.model)
    backbone = load_backbone(args.backbone or model.backbone_spec)
    beside = load_backbone(args.beside) if args.beside else None
    estimators = [
        PoseEstimator(replace(model, settings=model.settings.model_copy(update={"cells": cells})), backbone)
        for cells in args.cells or [model.settings.cells]
    ]
    boxes = list(boxed(args.captures, args.only, args.every))
    rows = [
        {"cells": estimator.model.settings.cells, "objects": objects, **medians(estimator, beside, boxes, objects)}
        for estimator in estimators
        for objects in args.objects
    ]
    names = f"{backbone.fingerprint}{f', beside {beside.fingerprint}' if beside else ''}"
    print(f"{len(boxes)} images, {args.threads} threads, {names}\n{as_table(rows)}")
    if args.json:
        write_json(args.json, {"images": len(boxes), "threads": args.threads, "backbones": names, "rows": rows})


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="model.safetensors")
    parser.add_argument("captures", type=Path, help="category folder with captures that have masks")
    parser.add_argument("--only", nargs="+", default=[], metavar="CAPTURE", help="of these captures only")
    parser.add_argument("--every", type=int, default=6, metavar="N", help="every N-th image of a capture")
    parser.add_argument("--cells", type=int, nargs="+", default=[], help="feature cells along a crop, as trained")
    parser.add_argument("--objects", type=int, nargs="+", default=[1, 8], help="objects in an image")
    parser.add_argument("--beside", metavar="NAME:WEIGHTS", help="another backbone, which needs no trained model")
    parser.add_argument("--backbone", help="NAME or NAME:WEIGHTS, where weights lie elsewhere than in training")
    parser.add_argument("--threads", type=int, default=1, help="of the networks")
    parser.add_argument("--json", type=Path, help="where to write all numbers")
    return parser.parse_args()


def boxed(folder: Path, only: list[str], every: int) -> Iterator[tuple[Frame, Detection]]:
    """Images with the jittered boxes of their masks."""
    for capture in read_captures(folder, only):
        for index, frame in list(enumerate(capture.frames))[::every]:
            if frame.mask.any():
                box = jittered(mask_box(frame.mask), JITTER, np.random.default_rng([index, *capture.name.encode()]))
                yield Frame(frame.name, frame.camera, frame.image), Detection(box)


def medians(
    estimator: PoseEstimator, beside: FeatureBackbone | None, boxes: list[tuple[Frame, Detection]], objects: int
) -> dict[str, float | None]:
    """Medians over the images of what an estimate of so many objects takes; keys are COLUMNS."""
    times = np.array([_times(estimator, beside, *each, objects) for each in boxes])
    alone, whole, other = times.T
    beyond = whole - alone
    found: dict[str, float | None] = {
        "backbone_ms": float(np.median(alone)) * 1e3,
        "all_ms": float(np.median(whole)) * 1e3,
        "beyond_ms": float(np.median(beyond)) * 1e3,
        "over_backbone": float(np.median(whole / alone)),
    }
    if beside is None:
        return found | {"beside_ms": None, "over_beside": None}
    return found | {
        "beside_ms": float(np.median(other)) * 1e3,
        "over_beside": float(np.median((other + beyond) / other)),
    }


def _times(
    estimator: PoseEstimator, beside: FeatureBackbone | None, frame: Frame, detection: Detection, objects: int
) -> tuple[float, float, float]:
    """Seconds of the backbone alone, of the whole estimate, and of the other backbone (NaN: none)."""
    pixels = np.repeat(estimator.crop(frame.camera, detection.bbox_xyxy).sample(frame.image)[None], objects, axis=0)
    alone = _seconds(lambda: estimator.network.features(pixels))
    whole = _seconds(lambda: estimator(frame, [detection] * objects))
    if beside is None:
        return alone, whole, float("nan")
    side = estimator.model.settings.cells * beside.stride
    return alone, whole, _seconds(lambda: _forward(beside, torch.rand(objects, 3, side, side)))


@torch.no_grad()
def _forward(backbone: FeatureBackbone, images: torch.Tensor) -> None:
    backbone(images)


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def as_table(rows: list[dict[str, float | None]]) -> str:
    """Aligned text, a line per size and number of objects."""
    forms = {"over_backbone": "{:.2f}", "over_beside": "{:.2f}"}
    names = ("cells", "objects", *COLUMNS)
    lines = [names] + [
        tuple("-" if row[name] is None else forms.get(name, "{:.0f}").format(row[name]) for name in names)
        for row in rows
    ]
    return aligned(lines)


if __name__ == "__main__":
    main()
