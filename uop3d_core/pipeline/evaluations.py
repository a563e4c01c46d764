"""What is kept of a comparison with labels: one JSON file, with pictures of single estimates in it.

In: a PoseEvaluation, or the report of an alignment. Out: the file, by default in the run, where the report finds it.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from uop3d_core.atomic import write_json
from uop3d_core.pipeline.inference import PoseEvaluation
from uop3d_core.report.examples import best_median_worst, draw_example
from uop3d_core.report.overlay import Overlay
from uop3d_core.runs import Run

EXAMPLES = (3, 3, 6)
"""How many of the best, the middle and the worst estimates are kept as pictures."""
JPEG_QUALITY = 82


def examples(evaluation: PoseEvaluation) -> list[dict[str, Any]]:
    """The best, the middle and the worst estimates: what they are of, and a picture, see docs/files.md."""
    painter = Overlay(evaluation.estimator.model.template)
    frames = {(capture.name, frame.name): frame for capture in evaluation.captures for frame in capture.frames}
    found = []
    for which, index in best_median_worst([result.judged_error_deg for result in evaluation.results], EXAMPLES):
        result = evaluation.results[index]
        frame = frames[result.capture, result.frame]
        picture = draw_example(painter, frame, result.estimate, result.true_cam_T_obj)
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "JPEG", quality=JPEG_QUALITY)
        jpeg = base64.b64encode(buffer.getvalue()).decode()
        found.append({"which": which, "image": index, "jpeg": jpeg})
    return found


def keep_pose(evaluation: PoseEvaluation, run_folder: Path, file: Path | None = None) -> Path:
    """Write an evaluation of poses with its examples, by default into the run; returns where."""
    return _keep({**evaluation.report, "examples": examples(evaluation)}, file or pose_file(Run(run_folder)))


def keep_alignment(report: Mapping[str, Any], run_folder: Path, file: Path | None = None) -> Path:
    """Write an evaluation of an alignment, by default into the run; returns where."""
    return _keep(report, file or alignment_file(Run(run_folder)))


def pose_file(run: Run) -> Path:
    """Where a run keeps the last evaluation of its poses."""
    return run.evaluation / "pose.json"


def alignment_file(run: Run) -> Path:
    """Where a run keeps the last evaluation of its alignment."""
    return run.evaluation / "alignment.json"


def _keep(content: Mapping[str, Any], file: Path) -> Path:
    write_json(file, dict(content))
    return file
