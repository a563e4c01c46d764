"""Captures to a model: learn, align, orient, train; and synchronize, for alignments from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from uop3d_core.cli.console import out, progress_bars
from uop3d_core.cli.options import (
    Afresh,
    BackboneOption,
    Captures,
    Category,
    DataLicence,
    Engine,
    Only,
    RunArgument,
    RunOut,
    Set,
    Without,
    Workers,
    names_in,
    only_stage,
    run_settings,
)

if TYPE_CHECKING:
    from uop3d_core.alignment.tables import Frames
    from uop3d_core.types import Alignment, Symmetry


def learn(
    captures: Captures,
    out_folder: RunOut,
    backbone: BackboneOption = "dinov2-small",
    only: Only = "",
    category: Category = None,
    engine: Engine = "processes",
    workers: Workers = None,
    afresh: Afresh = False,
    without: Without = None,
    data_licence: DataLicence = None,
    changes: Set = None,
) -> None:
    """Learn a category: align its captures, fuse a template, train a model. Run again to go on after a stop."""
    from uop3d_core.pipeline.training import learn as run_learn

    with progress_bars() as progress:
        result = run_learn(
            captures,
            out_folder,
            backbone=backbone,
            only=names_in(only),
            category=category,
            settings=run_settings(changes),
            engine=engine,
            workers=workers,
            afresh=afresh,
            without=without,
            progress=progress,
        )
    _show_alignment(result.aligned.alignment, result.aligned.failed, result.aligned.notes)
    show_symmetry(result.aligned.run.read_alignment().symmetry)
    _note_licence(result.trained.run.model, data_licence)
    _show_model(result.trained.run.model, result.trained.reused, result.trained.seconds)


def align(
    captures: Captures,
    out_folder: RunOut,
    backbone: BackboneOption = "dinov2-small",
    only: Only = "",
    category: Category = None,
    engine: Engine = "processes",
    workers: Workers = None,
    afresh: Afresh = False,
    changes: Set = None,
) -> None:
    """Bring the captures of a category into one frame: RUN/alignment.json and RUN/template.ply."""
    from uop3d_core.pipeline.aligning import align as run_align

    with progress_bars() as progress:
        result = run_align(
            captures,
            out_folder,
            backbone=backbone,
            only=names_in(only),
            category=category,
            settings=run_settings(changes),
            engine=engine,
            workers=workers,
            afresh=afresh,
            progress=progress,
        )
    _show_alignment(result.alignment, result.failed, result.notes)
    show_symmetry(result.run.read_alignment().symmetry)
    out.print(f"picture: {result.run.pictures / 'alignment.png'}", soft_wrap=True, highlight=False)


def orient(
    run: RunArgument,
    front: Annotated[
        str | None, typer.Option(metavar="+x|-x|+y|-y|DEGREES", help="present direction that becomes the front, +x")
    ] = None,
    up: Annotated[
        str | None, typer.Option(metavar="+z|-z|+x|-x|+y|-y", help="present direction that becomes up, +z")
    ] = None,
) -> None:
    """Choose front and up of an aligned run; without options, draw RUN/pictures/orient.png to choose from."""
    from uop3d_core.pipeline.orienting import ORIENT_PICTURE, draw_choices
    from uop3d_core.pipeline.orienting import orient as run_orient

    if front is None and up is None:
        picture = draw_choices(run).pictures / ORIENT_PICTURE
        out.print(f"picture to choose from: {picture}", soft_wrap=True, highlight=False)
        return
    result = run_orient(run, front, up)
    out.print(f"axes changed: {result.run.alignment}, {result.run.template}", soft_wrap=True, highlight=False)
    if result.outdated:
        out.print(f"the model was trained on the old axes; make a new one: uop3d train {run}", soft_wrap=True)


def train(run: RunArgument, without: Without = None, data_licence: DataLicence = None, changes: Set = None) -> None:
    """Train a model on the captures that an aligned run accepts: RUN/model.safetensors."""
    from uop3d_core.pipeline.training import train as run_train

    only_stage(changes, "train")
    with progress_bars() as progress:
        settings = run_settings(changes) if changes else None
        result = run_train(run, settings=settings, without=without, progress=progress)
    _note_licence(result.run.model, data_licence)
    _show_model(result.run.model, result.reused, result.seconds)


def _note_licence(model: Path, licence: str | None) -> None:
    from uop3d_core.sharing.facts import note_licence

    if licence is not None:
        note_licence(model, licence)


def synchronize(
    estimates: Annotated[
        Path,
        typer.Argument(metavar="ESTIMATES", help=".npz with estimates to a few references", show_default=False),
    ],
    out_file: Annotated[Path, typer.Option("--out", metavar="FRAMES", help=".npz to write")],
    variant: Annotated[str, typer.Option(metavar="NAME", help="which estimates; both: all that there are")] = "both",
    changes: Set = None,
) -> None:
    """Bring alignments from elsewhere into one frame per category: a table of estimates in, rotations out."""
    from uop3d_core.alignment.tables import read_estimates, synchronize_table, write_frames

    only_stage(changes, "joint")
    settings = run_settings(changes).joint
    table = read_estimates(estimates, variant)
    with progress_bars() as progress:
        frames = synchronize_table(table, settings, progress)
    write_frames(out_file, frames)
    _show_frames(frames)
    out.print(f"frames: {out_file}", soft_wrap=True, highlight=False)


def _show_alignment(alignment: Alignment, failed: dict[str, str], notes: Sequence[str]) -> None:
    table = Table(title=f"captures of {escape(alignment.category)}", title_justify="left")
    for column in ("capture", "agreement", "probability", "", "reason"):
        table.add_column(column)
    for name, entry in alignment.captures.items():
        probability = "" if entry.probability is None else f"{entry.probability:.2f}"
        state = "[green]accepted[/]" if entry.accepted else "[red]rejected[/]"
        note = "reference" if name == alignment.reference else escape(entry.reason)
        table.add_row(escape(name), f"{entry.score:.2f}", probability, state, note)
    for name, reason in failed.items():
        table.add_row(escape(name), "", "", "[red]unusable[/]", escape(reason))
    out.print(table)
    for warning in alignment.warnings:
        out.print(f"[yellow]warning:[/] {escape(warning)}", soft_wrap=True, highlight=False)
    for note in notes:
        out.print(escape(note), soft_wrap=True, highlight=False)


def show_symmetry(symmetry: Symmetry) -> None:
    """Say how objects may be turned without a change, if so."""
    if symmetry.fold == 1:
        return
    turn = f"{360 / symmetry.fold:g}°" if symmetry.fold else "any angle"
    axis = ", ".join(f"{round(value, 2) + 0:.2f}" for value in symmetry.axis.tolist())
    out.print(f"symmetric: turns by {turn} about ({axis}) in obj change nothing", soft_wrap=True, highlight=False)


def _show_frames(frames: Frames) -> None:
    variants = list(dict.fromkeys(variant for part in frames.categories.values() for variant in part.weights))
    table = Table(title="sequences in one frame per category", title_justify="left")
    table.add_column("category")
    for column in ("sequences", "accepted", "mean probability", *(f"weight of {variant}" for variant in variants)):
        table.add_column(escape(column), justify="right")
    for name, part in frames.categories.items():
        counts = str(len(part.accepted)), str(int(part.accepted.sum())), f"{part.probability.mean():.2f}"
        table.add_row(escape(name), *counts, *(f"{part.weights[variant]:.2f}" for variant in variants))
    out.print(table)
    for name, part in frames.categories.items():
        for warning in part.warnings:
            out.print(f"[yellow]{escape(name)}:[/] {escape(warning)}", soft_wrap=True, highlight=False)


def _show_model(path: Path, reused: bool, seconds: float) -> None:
    how = "was there already" if reused else f"trained in {seconds:.0f} s"
    out.print(f"model: {path} ({how})", soft_wrap=True, highlight=False)
