"""An aligned run to its model, and captures to a model in one go.

In: a run directory. Out: model.safetensors in it.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from html import escape
from importlib.metadata import version as distribution_version
from pathlib import Path
from typing import Any

from uop3d_core.atomic import write_json
from uop3d_core.backbones import load_backbone
from uop3d_core.capture.folder import list_captures
from uop3d_core.capture.frame_lists import FrameLists, check_frames, read_frame_lists, without_frames
from uop3d_core.capture.nerfstudio import read_nerfstudio
from uop3d_core.config import RunSettings, parse_settings
from uop3d_core.correspondence.checkpoint import Model, load_model, save_model
from uop3d_core.correspondence.train import fit, gather
from uop3d_core.executors import DEFAULT_ENGINE
from uop3d_core.pipeline.aligning import DEFAULT_BACKBONE, AlignResult, align, mesh_mark, with_hint
from uop3d_core.pipeline.calibrating import calibrate
from uop3d_core.pipeline.loops import make_mesh
from uop3d_core.progress import Progress, silent
from uop3d_core.runs import (
    FORMAT,
    MESH,
    Run,
    cached,
    capture_fingerprint,
    fingerprint,
    read_json_object,
)
from uop3d_core.timings import StageClock
from uop3d_core.types import Capture

STAGES = ("features", "training", "rehearsal", "calibration")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class TrainResult:
    """What `train` did.

    Attributes:
        run: the run directory.
        captures: the captures trained on.
        metadata: what the model says of itself.
        reused: whether the model was there already.
        seconds: time this call took.
    """

    run: Run
    captures: tuple[str, ...]
    metadata: dict[str, Any]
    reused: bool
    seconds: float


@dataclass(frozen=True, eq=False)
class LearnResult:
    """What `learn` did.

    Attributes:
        aligned: of the alignment.
        trained: of the training.
    """

    aligned: AlignResult
    trained: TrainResult

    @property
    def model(self) -> Path:
        """The model file."""
        return self.trained.run.model

    def __repr__(self) -> str:
        how = "there already" if self.trained.reused else f"trained in {self.trained.seconds:.0f} s"
        return f"<LearnResult: {self.model} ({how}), {repr(self.aligned.alignment)[1:-1]}>"

    def _repr_html_(self) -> str:
        """The model and a table of the captures, as notebooks show it."""
        return f"<div>{escape(str(self.model))}</div>{self.aligned.alignment._repr_html_()}"


def learn(
    captures_folder: Path | str,
    run_folder: Path | str,
    *,
    backbone: str = DEFAULT_BACKBONE,
    only: Sequence[str] = (),
    category: str | None = None,
    settings: RunSettings | None = None,
    engine: str = DEFAULT_ENGINE,
    workers: int | None = None,
    afresh: bool = False,
    without: Path | None = None,
    progress: Progress = silent,
) -> LearnResult:
    """Learn a category: bring its captures into one frame, fuse a template, train a model.

    Work that is done already is not done again, so an interrupted call goes on when it is repeated, and captures that
    were added join the others.

    Args:
        captures_folder: one sub-folder per capture; see `uop3d_core.capture` for what makes them.
        run_folder: the run directory, made where it does not exist; docs/files.md says what it holds.
        backbone: ``NAME`` or ``NAME:WEIGHTS`` of the image features: "dinov2-small", "dinov2-base", or "hog", which
            needs no weights.
        only: names of the captures that take part; empty for all.
        category: its name; by default that of the folder.
        settings: of all stages.
        engine: "processes", "serial", "ray", or "ray:ADDRESS": what runs the loops; the result does not depend on it.
        workers: how many captures or pairs at once; None for as many as there are cores.
        afresh: align all captures together even if only some were added.
        without: file with frames that the training does not get to see.
        progress: a function ``(stage, done, total)`` that is told how far it is.

    Returns:
        The model file, where every capture lies, what failed and why.

    Raises:
        FileNotFoundError: there are no captures.
        ValueError: too few of them can be used, or names or settings are wrong.
        OSError: the backbone cannot be had, the run cannot be written, or a worker died.

    Examples:
        >>> learned = learn("captures/mug", "runs/mug", backbone="hog")
        >>> learned.model.name
        'model.safetensors'
        >>> learned.aligned.alignment
        <Alignment mug: 3 of 3 captures accepted...>
    """
    captures_folder, run_folder = Path(captures_folder), Path(run_folder)
    aligned = align(
        captures_folder,
        run_folder,
        backbone=backbone,
        only=only,
        category=category,
        settings=settings,
        engine=engine,
        workers=workers,
        afresh=afresh,
        progress=progress,
    )
    return LearnResult(aligned, train(run_folder, settings=settings, without=without, progress=progress))


def train(
    run_folder: Path,
    *,
    settings: RunSettings | None = None,
    without: Path | None = None,
    progress: Progress = silent,
) -> TrainResult:
    """Train on the accepted captures of an aligned run; a killed training goes on where it was.

    Args:
        run_folder: the run directory.
        settings: of which only "train" counts; by default those of the run.
        without: file with frames that the training does not get to see, {capture: [frame names]}; captures that are
            not trained on may stand in it, too. The alignment and the coarse meshes are made of all frames.
        progress: is told "features", "training", "rehearsal" and "calibration".

    Raises:
        FileNotFoundError: this is no run, it is not aligned, or its captures are gone.
        ValueError: something in it is damaged, no capture is accepted, or `without` does not fit the captures.
        OSError: the backbone cannot be had.
    """
    start, run = time.monotonic(), Run(run_folder)
    record = run.read_record()
    own = parse_settings(RunSettings, record.settings, str(run.record_path))
    settings = own if settings is None else own.model_copy(update={"train": settings.train})
    with run.locked():
        run.write_record(replace(record, settings=settings.model_dump()))
        aligned = run.read_alignment()
        template = run.read_template(aligned)
        with with_hint():
            backbone = load_backbone(record.backbone)
        names = [name for name, entry in aligned.alignment.captures.items() if entry.accepted]
        folders = {path.name: path for path in list_captures(record.captures_folder, names)}
        captures = {name: read_nerfstudio(folders[name]) for name in names}
        left_out = _left_out(without, record.captures_folder, captures)
        inputs = fingerprint(
            alignment=aligned.digest,
            captures={name: capture_fingerprint(folders[name]) for name in names},
            backbone=backbone.fingerprint,
            **({"without": left_out} if left_out else {}),
        )
        mark = fingerprint(stage="model", inputs=inputs, settings=settings.train)
        finished = _finished(run, mark)
        if finished is not None:
            return TrainResult(run, tuple(names), finished, True, round(time.monotonic() - start, 2))
        meshes = {
            name: cached(
                run.mesh(name), mesh_mark(folders[name], settings), MESH, partial(make_mesh, capture, settings.surface)
            )
            for name, capture in captures.items()
        }
        folder, clock = _working_folder(run, inputs), StageClock(run.timings, dict.fromkeys(STAGES, mark))
        progress = clock.told(progress)
        shown = [without_frames(capture, left_out.get(name, ())) for name, capture in captures.items()]
        with clock("features"):
            training = gather(shown, meshes, aligned.alignment, template, backbone, settings.train, folder, progress)
        with clock("training"):
            network, provenance = fit(training, settings.train, folder, "training", progress=progress)
        if settings.train.rehearsal > 0:
            calibration, held = calibrate(
                training, network, backbone, record.backbone, settings.train, folder, progress, clock
            )
            provenance |= {"calibration": calibration.to_json(), "held_out_in_rehearsal": held}
        metadata = {
            **provenance,
            "captures": names,
            "without": left_out,
            "data": {"folder": record.captures_folder.name, "frames": sum(len(each.frames) for each in shown)},
            "alignment": aligned.digest,
            "fingerprint": mark,
            "version": distribution_version("uop3d"),
            "backbone": {
                "fingerprint": backbone.fingerprint,
                "licence": backbone.licence,
                "channels": backbone.channels,
            },
        }
        save_model(run.model, Model(record.backbone, template, settings.train, network, metadata))
    return TrainResult(run, tuple(names), metadata, False, round(time.monotonic() - start, 2))


def _left_out(file: Path | None, folder: Path, captures: Mapping[str, Capture]) -> FrameLists:
    """Frames that the training does without, of the captures that it is made of."""
    if file is None:
        return {}
    lists = read_frame_lists(file, [path.name for path in list_captures(folder)])
    check_frames(lists, captures.values())
    found = {name: sorted(lists[name]) for name in captures if lists.get(name)}
    if not found:
        raise ValueError(f"{file}: no frame of the captures that are trained on ({', '.join(captures)}) is listed")
    return found


def _finished(run: Run, mark: str) -> dict[str, Any] | None:
    """What the model of the run says of itself, if it is the one this call would make."""
    if not run.model.is_file():
        return None
    try:
        metadata = dict(load_model(run.model).metadata)
    except (OSError, ValueError) as error:
        logger.warning("%s; it is trained again", error)
        return None
    return metadata if metadata.get("fingerprint") == mark else None


def _working_folder(run: Run, inputs: str) -> Path:
    """The training's own folder, emptied where it was made from other captures or another alignment."""
    note = run.training / "inputs.json"
    try:
        same = read_json_object(note).get("fingerprint") == inputs
    except (OSError, ValueError):
        same = False
    if not same:
        shutil.rmtree(run.training, ignore_errors=True)
        write_json(note, {"format": FORMAT, "fingerprint": inputs})
    return run.training
