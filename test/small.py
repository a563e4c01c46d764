"""Categories that are aligned and learned in seconds, for what needs a run or a model and not a good one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from uop3d_core.capture.nerfstudio import read_nerfstudio
from uop3d_core.capture.synthetic import write_category
from uop3d_core.config import RunSettings, parse_settings
from uop3d_core.images import write_rgb
from uop3d_core.pipeline.aligning import align
from uop3d_core.pipeline.training import LearnResult, learn

ALIGNMENT: dict[str, dict[str, Any]] = {
    "surface": {"vertices": 120, "resolution": 40, "cells": 12, "components": 24},
    "pair": {"hypotheses": 100, "candidates": 4, "iterations": 3, "modes": 1, "field_resolution": 20},
    "template": {"vertices": 100, "resolution": 32},
}
TRAINING = {"epochs": 1, "variants": 1, "components": 16, "width": 16, "blocks": 1, "embedding": 16, "cells": 12}
SETTINGS = {**ALIGNMENT, "joint": {"min_agreement": 0, "min_standing": 0}, "train": {**TRAINING, "rehearsal": 0}}


def options(stages: dict[str, dict[str, Any]]) -> list[str]:
    """Settings as a command takes them."""
    changes = [f"{stage}.{key}={value}" for stage, values in stages.items() for key, value in values.items()]
    return [part for change in changes for part in ("--set", change)]


def tiny_mugs(folder: Path, count: int = 3) -> Path:
    """A category folder "mug" with captures of six views."""
    write_category(folder / "mug", count, seed=4, views=6, pixels=64)
    return folder / "mug"


def align_mugs(captures: Path, folder: Path, modes: int = 1, **options: Any) -> Path:
    """An aligned run."""
    changes = {**ALIGNMENT, "pair": {**ALIGNMENT["pair"], "modes": modes}}
    settings = parse_settings(RunSettings, changes, "test")
    return align(captures, folder, backbone="hog", settings=settings, engine="serial", **options).run.folder


def learn_mugs(folder: Path) -> LearnResult:
    """captures/mug with three mugs, runs/mug with their model, photo.jpg of a mug."""
    captures = folder / "captures" / "mug"
    write_category(captures, 3, seed=1, views=8, pixels=96)
    settings = parse_settings(RunSettings, SETTINGS, "test")
    learned = learn(captures, folder / "runs" / "mug", backbone="hog", settings=settings, engine="serial")
    write_rgb(folder / "photo.jpg", read_nerfstudio(captures / "mug_02").frames[3].image)
    return learned
