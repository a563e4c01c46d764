"""What is kept of a comparison with labels: one JSON file, with pictures of single estimates in it.

In: a PoseEvaluation, or the report of an alignment. Out: the file, by default in the run, where the report finds it,
and what stands in it, checked.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from uop3d_core.atomic import write_json
from uop3d_core.evaluation.results import NOT_FOUND_DEG
from uop3d_core.pipeline.inference import PoseEvaluation
from uop3d_core.report.content import PoseFigures, PoseImage
from uop3d_core.report.examples import best_median_worst, draw_example
from uop3d_core.report.markup import jpeg
from uop3d_core.report.overlay import Overlay
from uop3d_core.runs import Run, read_json_object

EXAMPLES = (3, 3, 6)
"""How many of the best, the middle and the worst estimates are kept as pictures."""
JPEG_QUALITY, MAX_SIDE = 82, 2000


def examples(evaluation: PoseEvaluation) -> list[dict[str, Any]]:
    """The best, the middle and the worst estimates: what they are of, and a picture, see docs/files.md."""
    painter = Overlay(evaluation.estimator.model.template)
    frames = {(capture.name, frame.name): frame for capture in evaluation.captures for frame in capture.frames}
    found: list[dict[str, Any]] = []
    for which, index in best_median_worst([result.judged_error_deg for result in evaluation.results], EXAMPLES):
        result = evaluation.results[index]
        frame = frames[result.capture, result.frame]
        picture = draw_example(painter, frame, result.estimate, result.true_cam_T_obj)
        content = base64.b64encode(jpeg(picture, JPEG_QUALITY)).decode()
        found.append({"which": which, "image": index, "jpeg": content})
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


def read_pose_figures(path: Path, model: Mapping[str, Any] | None) -> PoseFigures:
    """What ``uop3d evaluate pose`` wrote.

    Args:
        path: of the file.
        model: metadata of the model that it should be of, or None.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it holds something else.
    """
    content = read_json_object(path)
    try:
        return _pose_figures(content, model)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OSError) as error:
        raise ValueError(f"{path} does not hold figures of uop3d evaluate pose ({error!r})") from error


def _pose_figures(content: Mapping[str, Any], model: Mapping[str, Any] | None) -> PoseFigures:
    overall, images = content["overall"], [_image(row) for row in content["frames"]]
    captures = {str(name): each for name, each in content.get("captures", {}).items() if each}
    for figures in (overall, *captures.values()):
        [float(figures[key]) for key in ("frames", "acc30", "acc10", "median_deg")]
    if not images:
        raise ValueError("no images")
    bins = [(float(b["score"]), float(b["right"]), int(b["images"])) for b in content.get("reliability", ())]
    shown = [(str(e["which"]), int(e["image"]), _picture(str(e["jpeg"]))) for e in content.get("examples", ())]
    [images[index] for _, index, _ in shown]
    return PoseFigures(
        overall,
        captures,
        images,
        bins,
        _inside(content.get("coverage_own_box") or content.get("coverage") or {}),
        shown,
        _belongs(content, model),
    )


def _image(row: Mapping[str, Any]) -> PoseImage:
    found = bool(row["found"])
    error = row.get("judged_error_deg", row["error_deg"]) if found else NOT_FOUND_DEG
    angles = {key: None if row.get(key) is None else _finite(row[key]) for key in ("azimuth_deg", "elevation_deg")}
    score = _finite(row.get("score", 0.0))
    return PoseImage(str(row.get("capture", "")), str(row.get("frame", "")), score, found, _finite(error), **angles)


def _finite(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{number} is no finite number")
    return number


def _picture(text: str) -> bytes:
    """A JPEG file that can be read, and is no larger than those that `examples` makes."""
    content = base64.b64decode(text, validate=True)
    with Image.open(io.BytesIO(content), formats=["JPEG"]) as picture:
        if picture.width > MAX_SIDE or picture.height > MAX_SIDE:
            raise ValueError(f"a picture of {picture.width} x {picture.height}")
        picture.load()
    return content


def _inside(coverage: Mapping[str, Any]) -> tuple[list[float], dict[str, list[float]]]:
    """Levels, and shares of the true poses that ellipsoids of rotation and translation hold, where poses are right."""
    shares = coverage.get("within30")
    if not shares:
        return [], {}
    levels = [_finite(level) for level in coverage["levels"]]
    curves = {name: [_finite(share) for share in shares[name]] for name in ("rotation", "translation")}
    if any(len(curve) != len(levels) for curve in curves.values()):
        raise ValueError("levels and shares differ in number")
    return levels, curves


def _belongs(content: Mapping[str, Any], model: Mapping[str, Any] | None) -> bool:
    if model is None:
        return False
    if "model_fingerprint" in content:
        return bool(content["model_fingerprint"] == model.get("fingerprint"))
    return list(model.get("captures", ())) == list(content.get("trained_on", ()))


def read_alignment_figures(path: Path, digest: str) -> dict[str, Any] | None:
    """What ``uop3d evaluate alignment`` wrote; None where it is of another alignment than that with this digest.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it holds something else.
    """
    content = read_json_object(path)
    try:
        for figures in (content["all"], content["accepted"] or content["all"]):
            [_finite(figures[key]) for key in ("pairs", "acc10", "median_deg")]
        [_finite(entry["mean_error_deg"]) for entry in content["captures"].values()]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{path} does not hold figures of uop3d evaluate alignment ({error!r})") from error
    return content if content.get("alignment_fingerprint") == digest else None


def _keep(content: Mapping[str, Any], file: Path) -> Path:
    write_json(file, dict(content))
    return file
