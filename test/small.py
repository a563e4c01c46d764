"""A category that is learned in seconds, for what needs a model and not a good one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from uop3d_core.capture.nerfstudio import read_nerfstudio
from uop3d_core.capture.synthetic import write_category
from uop3d_core.config import RunSettings, parse_settings
from uop3d_core.images import write_rgb
from uop3d_core.pipeline.training import LearnResult, learn

SETTINGS: dict[str, Any] = {
    "surface": {"vertices": 120, "resolution": 40, "cells": 12, "components": 24},
    "pair": {"hypotheses": 100, "candidates": 4, "iterations": 3, "modes": 1, "field_resolution": 20},
    "joint": {"min_agreement": 0, "min_standing": 0},
    "template": {"vertices": 100, "resolution": 32},
    "train": {
        "epochs": 1, "variants": 1, "components": 16, "width": 16, "blocks": 1, "embedding": 16, "cells": 12,
        "rehearsal": 0,
    },
}  # fmt: skip


def learn_mugs(folder: Path) -> LearnResult:
    """captures/mug with three mugs, runs/mug with their model, photo.jpg of a mug."""
    captures = folder / "captures" / "mug"
    write_category(captures, 3, seed=1, views=8, pixels=96)
    settings = parse_settings(RunSettings, SETTINGS, "test")
    learned = learn(captures, folder / "runs" / "mug", backbone="hog", settings=settings, engine="serial")
    write_rgb(folder / "photo.jpg", read_nerfstudio(captures / "mug_02").frames[3].image)
    return learned
