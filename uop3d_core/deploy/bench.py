"""How long an estimate takes, step by step: percentiles over repeated calls.

In: a PoseEstimator that reports to a Stopwatch, and images. Out: milliseconds by step and number of objects.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from uop3d_core.config import PoseSettings
from uop3d_core.deploy.pictures import Trial, made_up
from uop3d_core.geometry import Array
from uop3d_core.pose.estimator import PoseEstimator
from uop3d_core.progress import Progress, silent
from uop3d_core.stopwatch import Stopwatch
from uop3d_core.types import Detection

STEPS = ("crop", "backbone", "head", "network", "beliefs", "hypotheses", "refinement", "all")
"""In order; an exported graph has the step "network" in place of "backbone" and "head"."""
PERCENTILES = (50, 90, 99)
WARM_UP = 3
SHAKE = 0.03


@dataclass(frozen=True)
class Timing:
    """Times of calls with so many objects in the image.

    Attributes:
        objects: boxes per call.
        calls: how many were measured.
        steps: milliseconds by step and percentile, e.g. steps["all"]["p50"]; "backbone alone" is the backbone on the
            same crops with nothing around it, where it can be told apart.
        ratio: median of the whole call over that of the backbone alone; None where there is no such figure.
    """

    objects: int
    calls: int
    steps: dict[str, dict[str, float]]
    ratio: float | None


def bench(
    model: Path,
    *,
    images: int = 50,
    objects: Sequence[int] = (1, 8),
    threads: int | None = None,
    device: str = "cpu",
    backbone: str | None = None,
    settings: PoseSettings | None = None,
    progress: Progress = silent,
) -> list[Timing]:
    """Time a model, trained or exported, on made-up images.

    Args:
        model: a model file of any kind.
        images: measured calls per number of objects.
        objects: boxes per image.
        threads: of all libraries; None: what they take by themselves.
        device: where the network runs.
        backbone: NAME:WEIGHTS, where the weights lie elsewhere than in training.
        settings: see PoseSettings.
        progress: is told about the calls.

    Raises:
        OSError, ImportError, ValueError: as for loading a model.
    """
    watch = Stopwatch()
    with limited(threads):
        estimator = PoseEstimator.load(model, backbone, device, settings, watch)
        pictures = made_up(estimator.model.template, min(images, 16))
        return [_timed(estimator, watch, pictures, count, images, progress) for count in objects]


def _timed(
    estimator: PoseEstimator, watch: Stopwatch, pictures: Sequence[Trial], count: int, calls: int, progress: Progress
) -> Timing:
    """One number of objects."""
    rng = np.random.default_rng(count)
    alone = estimator.network.backbone_alone()
    laps: list[dict[str, float]] = []
    for call in range(WARM_UP + calls):
        trial = pictures[call % len(pictures)]
        boxes = _around(trial, count, rng)
        crops = _crops(estimator, trial, boxes)
        watch.taken()
        with watch("all"):
            estimator(trial.frame, boxes)
        if alone is not None:
            _alone(alone, crops, watch)
        laps.append(watch.taken())
        progress(f"{count} objects", call + 1, WARM_UP + calls)
    steps = {step: _percentiles([lap.get(step, 0.0) for lap in laps[WARM_UP:]]) for step in _order(laps)}
    bare = steps.get("backbone alone")
    return Timing(count, calls, steps, steps["all"]["p50"] / bare["p50"] if bare else None)


def _around(trial: Trial, count: int, rng: np.random.Generator) -> list[Detection]:
    """The box of an image, `count` times, each a little elsewhere."""
    box = trial.detection.bbox_xyxy
    side = float(np.max(box[2:] - box[:2]))
    return [Detection(box + np.tile(rng.uniform(-SHAKE, SHAKE, 2) * side, 2)) for _ in range(count)]


def _crops(estimator: PoseEstimator, trial: Trial, boxes: Sequence[Detection]) -> Array:
    """(B, S, S, 3) uint8."""
    image = trial.frame.image
    return np.stack([estimator.crop(trial.frame.camera, box.bbox_xyxy).sample(image) for box in boxes])


def _alone(backbone: Callable[[Array], object], crops: Array, watch: Stopwatch) -> None:
    with watch("backbone alone"):
        backbone(crops)


def _order(laps: Sequence[dict[str, float]]) -> list[str]:
    known = {step for lap in laps for step in lap}
    return [step for step in (*STEPS, "backbone alone") if step in known]


def _percentiles(seconds: Sequence[float]) -> dict[str, float]:
    return {f"p{p}": float(np.percentile(seconds, p)) * 1000 for p in PERCENTILES}


@contextmanager
def limited(threads: int | None) -> Iterator[None]:
    """Let numerical libraries take at most so many threads, those loaded already and those set up inside."""
    if threads is None:
        yield
        return
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = str(threads)
    try:
        with threadpool_limits(threads):
            yield
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


def as_json(timings: Sequence[Timing]) -> list[dict[str, Any]]:
    """Figures by name."""
    return [{"objects": t.objects, "calls": t.calls, "ms": t.steps, "all_over_backbone": t.ratio} for t in timings]
