"""Training: it learns, resumes bit for bit after a kill, and notices changed inputs."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scenes import film, normal_image, potato

from uop3d_core.backbones import load_backbone
from uop3d_core.config import TrainSettings
from uop3d_core.correspondence.train import fit, gather
from uop3d_core.progress import Progress, silent
from uop3d_core.types import Alignment, CaptureAlignment, Sim3, Template

SETTINGS = TrainSettings(
    cells=8, variants=2, components=32, width=16, blocks=1, embedding=16, epochs=4, batch=4, pixels_per_crop=64
)


class Killed(Exception):
    """Stands for a kill at a given moment."""


@pytest.fixture(scope="module")
def inputs() -> dict:
    mesh = potato(2)
    unit = 1 / mesh.diameter
    obj_T_world = Sim3(unit, np.eye(3), -unit * (mesh.vertices.min(0) + mesh.vertices.max(0)) / 2)
    capture = film(mesh, views=6, paint=normal_image(mesh))
    alignment = Alignment("potato", capture.name, {capture.name: CaptureAlignment(obj_T_world, 1.0, True)})
    return {
        "captures": [capture],
        "meshes": {capture.name: mesh},
        "alignment": alignment,
        "template": Template("potato", mesh.transformed(obj_T_world)),
        "backbone": load_backbone("hog"),
    }


def train(
    settings: TrainSettings, folder: Path, progress: Progress = silent, use: list[int] | None = None, **inputs
) -> tuple[torch.nn.Module, dict]:
    training = gather(**inputs, settings=settings, folder=folder, progress=progress)
    return fit(training, settings, folder, "training" if use is None else "rehearsal", use, progress)


def weights(net: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in net.parameters()])


def kill_at(stage: str, count: int):
    def progress(name: str, done: int, total: int) -> None:
        if name == stage and done == count:
            raise Killed

    return progress


@pytest.mark.parametrize(("stage", "count"), [("features", 3), ("training", 2)])
def test_a_killed_training_ends_like_an_uninterrupted_one(inputs: dict, tmp_path: Path, stage: str, count: int) -> None:
    whole, _ = train(**inputs, settings=SETTINGS, folder=tmp_path / "whole")
    with pytest.raises(Killed):
        train(**inputs, settings=SETTINGS, folder=tmp_path / "parts", progress=kill_at(stage, count))
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "parts" / "cache").glob("*.npy")}
    assert before
    resumed, about = train(**inputs, settings=SETTINGS, folder=tmp_path / "parts")
    assert torch.equal(weights(whole), weights(resumed))
    assert about["epochs"] == 4
    after = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "parts" / "cache").glob("*.npy")}
    assert before.items() <= after.items()


def test_the_loss_falls(inputs: dict, tmp_path: Path) -> None:
    def loss(epochs: int) -> float:
        settings = SETTINGS.model_copy(update={"epochs": epochs, "learning_rate": 1e-2})
        return train(**inputs, settings=settings, folder=tmp_path / str(epochs))[1]["loss"]

    assert loss(30) < 0.6 * loss(1)


def test_another_seed_or_template_starts_afresh(inputs: dict, tmp_path: Path) -> None:
    first, _ = train(**inputs, settings=SETTINGS, folder=tmp_path)
    again, _ = train(**inputs, settings=SETTINGS, folder=tmp_path)
    assert torch.equal(weights(first), weights(again))
    other, _ = train(**inputs, settings=SETTINGS.model_copy(update={"seed": 5}), folder=tmp_path)
    assert not torch.equal(weights(first), weights(other))
    moved = inputs["template"].mesh.transformed(Sim3(0.9, np.eye(3), np.zeros(3)))
    changed, _ = train(**{**inputs, "template": Template("potato", moved)}, settings=SETTINGS, folder=tmp_path)
    assert not torch.equal(weights(first), weights(changed))


@pytest.mark.parametrize("kind", ["image", "mask"])
def test_a_picture_that_was_replaced_in_its_place_counts(inputs: dict, tmp_path: Path, kind: str) -> None:
    """Name, camera and pose stay, a few pixels change: cached features and checkpoints of old pixels do not serve."""
    capture = inputs["captures"][0]
    frame = capture.frames[2]
    pixels = getattr(frame, kind).copy()
    rows, columns = np.nonzero(frame.mask)
    middle = rows == int(np.median(rows))
    pixels[rows[middle], columns[middle]] = 0
    edited = replace(frame, **{f"{kind}_source": lambda: pixels})
    frames = [edited if each is frame else each for each in capture.frames]
    changed = {**inputs, "captures": [replace(capture, frames=tuple(frames))]}
    first, _ = train(**inputs, settings=SETTINGS, folder=tmp_path / "run")
    again, _ = train(**changed, settings=SETTINGS, folder=tmp_path / "run")
    afresh, _ = train(**changed, settings=SETTINGS, folder=tmp_path / "afresh")
    assert torch.equal(weights(again), weights(afresh)) and not torch.equal(weights(first), weights(again))


@pytest.mark.parametrize("name", ["training.safetensors", "cache/projection.safetensors", "cache/00001_labels.npy"])
def test_damaged_files_of_an_interrupted_training_are_made_again(inputs: dict, tmp_path: Path, name: str) -> None:
    whole, _ = train(**inputs, settings=SETTINGS, folder=tmp_path)
    damaged = tmp_path / name
    damaged.write_bytes(damaged.read_bytes()[:50])
    repaired, _ = train(**inputs, settings=SETTINGS, folder=tmp_path)
    assert torch.equal(weights(whole), weights(repaired))


def test_tensorboard_curves_are_written(inputs: dict, tmp_path: Path) -> None:
    train(**inputs, settings=SETTINGS, folder=tmp_path)
    assert list((tmp_path / "tensorboard").glob("*/events.out.tfevents.*"))


def test_nothing_accepted_is_an_error(inputs: dict, tmp_path: Path) -> None:
    name = inputs["captures"][0].name
    rejected = Alignment("potato", name, {name: CaptureAlignment(Sim3.identity(), 0.0, False, "no")})
    with pytest.raises(ValueError, match="nothing to train on"):
        train(**{**inputs, "alignment": rejected}, settings=SETTINGS, folder=tmp_path)


def test_some_views_only(inputs: dict, tmp_path: Path) -> None:
    """A rehearsal differs from the whole training, leaves it alone, and is repeatable."""
    whole, _ = train(**inputs, settings=SETTINGS, folder=tmp_path)
    part, about = train(**inputs, settings=SETTINGS, folder=tmp_path, use=[0, 2, 3])
    assert about["views"] == 3 and not torch.equal(weights(whole), weights(part))
    again, _ = train(**inputs, settings=SETTINGS, folder=tmp_path, use=[0, 2, 3])
    other, _ = train(**inputs, settings=SETTINGS, folder=tmp_path, use=[0, 2, 4])
    assert torch.equal(weights(part), weights(again)) and not torch.equal(weights(part), weights(other))
    assert torch.equal(weights(train(**inputs, settings=SETTINGS, folder=tmp_path)[0]), weights(whole))
