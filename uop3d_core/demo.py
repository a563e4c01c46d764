"""The demonstration: made-up mugs, learned from captures, then found in pictures and a recording of mugs never seen.

In: a folder. Out: captures, run, recordings, pictures and figures in it. Nothing is downloaded.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uop3d_core.atomic import write_json
from uop3d_core.bags.definitions import type_store
from uop3d_core.bags.filmstrip import filmstrip
from uop3d_core.bags.replay import ReplayOptions, open_stream, replay
from uop3d_core.bags.synthetic import DEPTH, FIXED, write_film
from uop3d_core.bags.tally import ReplayReport
from uop3d_core.capture.folder import list_captures
from uop3d_core.capture.synthetic import write_category
from uop3d_core.capture.synthetic.film import make_film
from uop3d_core.config import RunSettings, TrainSettings
from uop3d_core.pipeline.evaluations import keep_alignment, keep_pose
from uop3d_core.pipeline.inference import (
    estimate,
    evaluate_model,
    evaluate_run,
    evaluation_sheet,
    queries_of_capture,
)
from uop3d_core.pipeline.reporting import write_report
from uop3d_core.pipeline.training import learn
from uop3d_core.predictions import write_estimates
from uop3d_core.progress import Progress, silent
from uop3d_core.report.sheets import write_image

TRAINING_MUGS, UNSEEN_MUGS = 12, 3
VIEWS, PIXELS, SEED = 12, 224, 1
SETTINGS = RunSettings(train=TrainSettings(variants=5, epochs=12))
SHEET_COLUMNS, SHEET_PER_MUG = 4, 4
SHOTS, SHOTS_PER_S = 24, 6.0
"""Of the robot's recording."""


@dataclass(frozen=True, eq=False)
class DemoResult:
    """What came out.

    Attributes:
        alignment: report of `evaluate_run`.
        pose: report of `evaluate_model`, on mugs that were not trained on.
        replayed: report of `replay`, on a robot's recording of two other mugs.
        seconds: by step.
        files: what to look at, by what it shows.
    """

    alignment: dict[str, Any]
    pose: dict[str, Any]
    replayed: ReplayReport
    seconds: dict[str, float]
    files: dict[str, Path]


def run_demo(
    folder: Path,
    *,
    training_mugs: int = TRAINING_MUGS,
    unseen_mugs: int = UNSEEN_MUGS,
    views: int = VIEWS,
    pixels: int = PIXELS,
    shots: int = SHOTS,
    settings: RunSettings = SETTINGS,
    progress: Progress = silent,
) -> DemoResult:
    """Make captures, learn the category, estimate unseen mugs in pictures and in a recording, and draw the outcome.

    Goes on where it was stopped.

    Raises:
        ValueError, OSError: `folder` holds something else.
        ImportError: what recordings need is not installed.
    """
    type_store()
    folder, seconds = Path(folder).absolute(), {}
    captures, run, count = folder / "captures" / "mug", folder / "run", training_mugs + unseen_mugs
    labels, start = captures / "labels.json", time.monotonic()
    progress("captures", 0, 1)
    if not labels.is_file():
        write_category(captures, count, SEED, views, pixels)
    progress("captures", 1, 1)
    names = [path.name for path in list_captures(captures)]
    seconds["captures"], start = time.monotonic() - start, time.monotonic()
    learned = learn(captures, run, backbone="hog", only=names[:training_mugs], settings=settings, progress=progress)
    seconds |= {"align": time.monotonic() - start - learned.trained.seconds, "train": learned.trained.seconds}
    alignment, start = evaluate_run(run, labels), time.monotonic()
    outcome = evaluate_model(learned.trained.run.model, captures, labels, run, progress=progress)
    seconds["evaluation"] = time.monotonic() - start
    files = {
        "unseen mugs, template drawn in": folder / "unseen.jpg",
        "report, to be opened in a browser": folder / "report.html",
        "captures in the common frame": run / "pictures" / "alignment.png",
        "template": run / "pictures" / "template.png",
        "figures": folder / "figures.json",
        "estimates of one unseen mug": folder / "estimates.json",
        "a robot's recording of two other mugs": folder / "robot.mcap",
        "the same with poses, TF and markers": folder / "poses.mcap",
        "what RViz shows of it": folder / "poses.jpg",
    }
    keep_alignment(alignment, run)
    keep_pose(outcome, run)
    write_report(run, files["report, to be opened in a browser"], progress=progress)
    write_image(files["unseen mugs, template drawn in"], evaluation_sheet(outcome, SHEET_PER_MUG, SHEET_COLUMNS))
    queries = queries_of_capture(captures / outcome.captures[0].name, outcome.estimator.model.category)
    write_estimates(files["estimates of one unseen mug"], estimate(outcome.estimator, queries))
    start = time.monotonic()
    replayed = _replay(learned.trained.run.model, files, (SEED, count), shots, progress)
    seconds["replay"] = time.monotonic() - start
    seconds = {step: round(value, 1) for step, value in seconds.items()}
    write_json(files["figures"], {"alignment": alignment, "pose": outcome.report, "seconds": seconds})
    return DemoResult(alignment, outcome.report, replayed, seconds, files)


def _replay(
    model: Path, files: Mapping[str, Path], seed: tuple[int, int], shots: int, progress: Progress
) -> ReplayReport:
    """Make the recording of a robot that moves past two mugs, run it through the pipeline, and draw the markers."""
    recording, poses = files["a robot's recording of two other mugs"], files["the same with poses, TF and markers"]
    progress("recording", 0, 1)
    write_film(recording, make_film(seed, shots, SHOTS_PER_S))
    progress("recording", 1, 1)
    options = ReplayOptions(depth=DEPTH, fixed_frame=FIXED, images=True)
    report = replay(open_stream([model]), recording, poses, options, progress)
    write_image(files["what RViz shows of it"], filmstrip(poses, poses, report.sources))
    return report
