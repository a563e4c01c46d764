"""How well poses estimated from single images agree with labels, on captures that took no part in training.

In: an estimator (Frame, Detections -> PoseEstimates), captures with masks, Labels, and the FrameLink between the
learned frame and theirs. Out: a JSON object.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from uop3d_core.evaluation.labels import Labels
from uop3d_core.evaluation.link import FrameLink
from uop3d_core.evaluation.results import FrameResult, compare, diagrams, row, summarise
from uop3d_core.geometry import Array
from uop3d_core.images import mask_box
from uop3d_core.progress import Progress, silent
from uop3d_core.types import Capture, Detection, Frame, PoseEstimate

Estimator = Callable[[Frame, Sequence[Detection]], list[PoseEstimate]]


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
    frames: Mapping[str, Collection[str]] | None = None,
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
        seed: of the jitter; a frame gets the same box whatever other frames are tested.
        frames: names of those to test on, by capture; None for all.
        progress: is told "evaluation".

    Returns:
        the JSON object that docs/files.md describes, and the single results.

    Raises:
        ValueError: no frame is left to test on.
    """
    views = [
        (capture, frame, box)
        for capture in captures
        for frame, box in boxes_of(capture, jitter, seed)
        if frames is None or frame.name in frames.get(capture.name, ())
    ]
    if not views:
        raise ValueError(f"no frame with a mask is left to test on, of {', '.join(c.name for c in captures) or 'none'}")
    results = []
    for done, (capture, frame, box) in enumerate(views):
        progress("evaluation", done, len(views))
        blind = Frame(frame.name, frame.camera, frame.image)
        estimate = estimator(blind, [Detection(box, category)])[0]
        results.append(compare(capture.name, frame, estimate, labels.label_T_world[capture.name], link))
    progress("evaluation", len(views), len(views))
    report = {
        "category": category,
        "symmetry": labels.symmetry,
        "detected_symmetry": link.symmetry.to_json(),
        "box_jitter": jitter,
        "score_judged_modulo_symmetry": link.judged_modulo_symmetry,
        "overall": summarise(results),
        "captures": {
            capture.name: summarise([r for r in results if r.capture == capture.name]) for capture in captures
        },
        "frame_link": {
            "label_R_obj": link.label_R_obj.tolist(),
            "label_unit_per_obj_unit": link.label_T_obj.scale,
            "label_t_obj": link.label_T_obj.t.tolist(),
            "scatter": link.scatter,
            "fitted_on": list(link.captures),
            "residual_median_deg": round(float(np.median(list(link.residuals_deg.values()))), 3),
            "residuals_deg": link.residuals_deg,
        },
        **diagrams(results),
        "frames": [row(result) for result in results],
    }
    return report, results


def boxes_of(capture: Capture, jitter: float, seed: int) -> Iterator[tuple[Frame, Array]]:
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
