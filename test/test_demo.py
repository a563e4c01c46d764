"""The demonstration, small: every step runs, and every file it names is there."""

import json
from pathlib import Path

from uop3d_core.bags.reading import Bag
from uop3d_core.config import RunSettings, parse_settings
from uop3d_core.demo import run_demo

SMALL = {
    "surface": {"vertices": 120, "resolution": 40, "cells": 12, "components": 24},
    "pair": {"hypotheses": 100, "candidates": 4, "iterations": 3, "modes": 1, "field_resolution": 20},
    "template": {"vertices": 100, "resolution": 32},
    "train": {
        "epochs": 1, "variants": 1, "components": 16, "width": 16, "blocks": 1, "embedding": 16, "cells": 12
    },
}  # fmt: skip


def test_demo(tmp_path: Path):
    settings = parse_settings(RunSettings, SMALL, "test")
    stages: list[str] = []
    result = run_demo(
        tmp_path / "demo", training_mugs=3, unseen_mugs=1, views=6, pixels=64, shots=3, settings=settings,
        progress=lambda stage, done, total: stages.append(stage),
    )  # fmt: skip
    assert all(path.is_file() and path.stat().st_size for path in result.files.values())
    assert {"captures", "recording", "images"} <= set(stages)
    assert result.replayed.images == 3 and result.replayed.boxes == 6
    assert json.loads((tmp_path / "demo/figures.json").read_text())["seconds"].keys() == result.seconds.keys()
    with Bag(tmp_path / "demo/poses.mcap") as bag:
        assert bag.topics["/pose_node/objects"].count == bag.topics["/camera/image_raw"].count == 3
