"""The command line: arguments, progress, tables; everything else is `pipeline`.

In: paths and options. Out: files, a table on standard output; progress and errors on standard error.
Exit codes: 0 done, 1 an error of the input (UOP3D_DEBUG=1 shows where it was raised), 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from typer.core import TyperGroup

if TYPE_CHECKING:
    from uop3d_core.alignment.tables import Frames
    from uop3d_core.config import PoseSettings, RunSettings
    from uop3d_core.deploy.bench import Timing
    from uop3d_core.deploy.parity import Parity
    from uop3d_core.pipeline.inference import MetricInputs
    from uop3d_core.types import Alignment, Symmetry

out, err = Console(), Console(stderr=True)
SHEET_PER_CAPTURE, SHEET_COLUMNS = 8, 8
PLAIN_FIGURES = 6
"""More columns of figures than this stand closer together."""


class FriendlyGroup(TyperGroup):
    """Errors of the input become one message without a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            err.print("interrupted; run the same command again to go on")
            raise typer.Exit(130) from None
        except (ValueError, OSError, ImportError) as error:
            if os.environ.get("UOP3D_DEBUG"):
                raise
            err.print(f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True, highlight=False)
            raise typer.Exit(1) from None


app = typer.Typer(
    cls=FriendlyGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
evaluate = typer.Typer(no_args_is_help=True, help="Compare with labels.")
app.add_typer(evaluate, name="evaluate")


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        out.print(f"uop3d {version('uop3d')}", highlight=False)
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True, help="and stop")] = False,
) -> None:
    """Learn the 3-D pose of an object category from casual videos, and estimate it in images."""


Captures = Annotated[
    Path, typer.Argument(metavar="CAPTURES", help="folder with one capture per sub-folder", show_default=False)
]
RunOut = Annotated[Path, typer.Option("--out", metavar="RUN", help="run directory; an unfinished one is continued")]
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="run directory", show_default=False)]
ModelArgument = Annotated[
    Path, typer.Argument(metavar="MODEL", help="model file: RUN/model.safetensors, or exported", show_default=False)
]
BackboneOption = Annotated[
    str, typer.Option("--backbone", metavar="NAME[:WEIGHTS]", help="image features; hog needs no download")
]
OtherBackbone = Annotated[
    str | None,
    typer.Option("--backbone", metavar="NAME:WEIGHTS", help="the weights, if they lie elsewhere than in training"),
]
Only = Annotated[str, typer.Option("--only", metavar="A,B,...", help="captures to use (default: all)")]
Category = Annotated[str | None, typer.Option(help="name of the category (default: name of the folder)")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="STAGE.KEY=VALUE", help="change a setting, e.g. pair.modes=3; may be repeated"),
]
Engine = Annotated[
    str, typer.Option("--engine", metavar="NAME[:ADDRESS]", help="what runs the loops: serial, processes or ray")
]
Workers = Annotated[
    int | None, typer.Option(min=1, help="captures or pairs at once (default: one per core)", show_default=False)
]
Afresh = Annotated[bool, typer.Option("--afresh", help="align all captures again even if only some were added")]
Without = Annotated[
    Path | None,
    typer.Option("--without", metavar="FILE", help="JSON {capture: [frames]} that the training must not see"),
]
Labels = Annotated[Path, typer.Option("--labels", metavar="FILE", help="labels.json of the category")]
JsonOut = Annotated[Path, typer.Option("--json", metavar="OUT", help="file to write")]


@app.command()
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
    changes: Set = None,
) -> None:
    """Learn a category: align its captures, fuse a template, train a model. Run again to go on after a stop."""
    from uop3d_core.pipeline.training import learn as run_learn

    with _progress() as progress:
        result = run_learn(
            captures,
            out_folder,
            backbone=backbone,
            only=_names(only),
            category=category,
            settings=_run_settings(changes),
            engine=engine,
            workers=workers,
            afresh=afresh,
            without=without,
            progress=progress,
        )
    _show_alignment(result.aligned.alignment, result.aligned.failed, result.aligned.notes)
    _show_symmetry(result.aligned.run.read_alignment().symmetry)
    _show_model(result.trained.run.model, result.trained.reused, result.trained.seconds)


@app.command()
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

    with _progress() as progress:
        result = run_align(
            captures,
            out_folder,
            backbone=backbone,
            only=_names(only),
            category=category,
            settings=_run_settings(changes),
            engine=engine,
            workers=workers,
            afresh=afresh,
            progress=progress,
        )
    _show_alignment(result.alignment, result.failed, result.notes)
    _show_symmetry(result.run.read_alignment().symmetry)
    out.print(f"picture: {result.run.pictures / 'alignment.png'}", soft_wrap=True, highlight=False)


@app.command()
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


@app.command()
def train(run: RunArgument, without: Without = None, changes: Set = None) -> None:
    """Train a model on the captures that an aligned run accepts: RUN/model.safetensors."""
    from uop3d_core.pipeline.training import train as run_train

    _only_stage(changes, "train")
    with _progress() as progress:
        settings = _run_settings(changes) if changes else None
        result = run_train(run, settings=settings, without=without, progress=progress)
    _show_model(result.run.model, result.reused, result.seconds)


@app.command()
def estimate(
    model: ModelArgument,
    inputs: Annotated[
        list[Path],
        typer.Argument(metavar="INPUT...", help="a capture folder, or images or a folder of them", show_default=False),
    ],
    json_out: JsonOut,
    overlay: Annotated[Path | None, typer.Option(metavar="DIR", help="folder for pictures with the poses")] = None,
    detections: Annotated[Path | None, typer.Option(metavar="FILE", help="JSON with boxes, for images")] = None,
    camera: Annotated[Path | None, typer.Option(metavar="FILE", help="JSON with width, height, K, for images")] = None,
    depth: Annotated[
        Path | None,
        typer.Option(metavar="FILE|FOLDER", help="aligned depth: 16-bit PNG in mm or .npy in m"),
    ] = None,
    size: Annotated[float | None, typer.Option(metavar="M", help="diagonal of the objects' box in metres")] = None,
    size_std: Annotated[
        float | None, typer.Option("--size-std", metavar="S", help="relative standard deviation of --size [0.1]")
    ] = None,
    plane: Annotated[
        tuple[float, float, float, float] | None,
        typer.Option(metavar="NX NY NZ D", help="plane n.x + d = 0 in cam that objects stand on, n up, metres"),
    ] = None,
    backbone: OtherBackbone = None,
    changes: Set = None,
) -> None:
    """Estimate poses in the frames of a capture (boxes from its masks), or in images with boxes and a camera."""
    from uop3d_core.pipeline.inference import estimate as run_estimate
    from uop3d_core.pipeline.inference import is_capture, open_estimator, queries_of_capture, queries_of_images
    from uop3d_core.predictions import write_estimates

    known = _metric_inputs(depth, size, size_std, plane)
    estimator = open_estimator(model, backbone, _pose_settings(changes))
    if len(inputs) == 1 and is_capture(inputs[0]):
        if detections or camera:
            raise ValueError(
                f"{inputs[0]} is a capture: boxes and cameras come from it, so give no --detections or --camera"
            )
        if plane:
            raise ValueError(f"{inputs[0]} is a capture, whose camera moves, but --plane holds for a camera at rest")
        queries = queries_of_capture(inputs[0], estimator.model.category)
    elif detections is None or camera is None:
        raise ValueError(
            f"{inputs[0]} is no capture folder (no transforms.json), so --detections FILE with boxes and --camera FILE "
            "with width, height and K are needed"
        )
    else:
        queries = queries_of_images(inputs, detections, camera)
    with _progress() as progress:
        results = run_estimate(estimator, queries, overlay, progress, known)
    write_estimates(json_out, results)
    every = [pose for poses in results.values() for pose in poses]
    found = sum(pose.found for pose in every)
    out.print(f"{found} poses for {len(every)} boxes in {len(results)} images: {json_out}", soft_wrap=True)
    if depth or size or plane:
        out.print(f"{sum(bool(pose.scale_source) for pose in every)} of them are metric", highlight=False)


@app.command()
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

    _only_stage(changes, "joint")
    settings = _run_settings(changes).joint
    table = read_estimates(estimates, variant)
    with _progress() as progress:
        frames = synchronize_table(table, settings, progress)
    write_frames(out_file, frames)
    _show_frames(frames)
    out.print(f"frames: {out_file}", soft_wrap=True, highlight=False)


@evaluate.command("alignment")
def evaluate_alignment(run: RunArgument, labels: Labels, json_out: JsonOut) -> None:
    """Errors of the relative rotations of all pairs of captures."""
    from uop3d_core.atomic import write_json
    from uop3d_core.pipeline.inference import evaluate_run

    report = evaluate_run(run, labels)
    write_json(json_out, report)
    out.print(
        _figures_table(f"alignment of {report['category']}", {"all": report["all"], "accepted": report["accepted"]})
    )


@evaluate.command("pose")
def evaluate_pose(
    model: ModelArgument,
    captures: Annotated[Path, typer.Option(metavar="DIR", help="captures, some of them not trained on")],
    labels: Labels,
    run: Annotated[Path, typer.Option(metavar="RUN", help="run directory that the model was trained in")],
    json_out: JsonOut,
    only: Only = "",
    only_frames: Annotated[
        Path | None, typer.Option("--only-frames", metavar="FILE", help="JSON {capture: [frames]} to test on")
    ] = None,
    jitter: Annotated[float, typer.Option(min=0, max=0.5, help="move and scale boxes by up to this share")] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="seed of the jitter")] = 0,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE.jpg", help="some of the images with the poses drawn in")
    ] = None,
    reliability: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="diagrams of what score and covariance are worth")
    ] = None,
    backbone: OtherBackbone = None,
    changes: Set = None,
) -> None:
    """Errors of poses in single images of captures that were not trained on."""
    from uop3d_core.atomic import write_json
    from uop3d_core.pipeline.inference import evaluate_model, evaluation_sheet, reliability_picture
    from uop3d_core.report.sheets import write_image

    with _progress() as progress:
        outcome = evaluate_model(
            model,
            captures,
            labels,
            run,
            only=_names(only),
            only_frames=only_frames,
            jitter=jitter,
            seed=seed,
            backbone=backbone,
            settings=_pose_settings(changes),
            progress=progress,
        )
    write_json(json_out, outcome.report)
    rows = {**outcome.report["captures"], "overall": outcome.report["overall"]}
    out.print(_figures_table(f"pose of unseen {outcome.report['category']}", rows))
    out.print(_worth_table("what the estimates say of themselves", rows))
    if picture:
        write_image(picture, evaluation_sheet(outcome, SHEET_PER_CAPTURE, SHEET_COLUMNS))
    if reliability:
        write_image(reliability, reliability_picture(outcome))


@app.command()
def export(
    model: ModelArgument,
    out_file: Annotated[Path, typer.Option("--out", metavar="FILE", help="NAME.onnx, or NAME.xml for openvino")],
    kind: Annotated[str, typer.Option("--format", metavar="onnx|openvino", help="kind of file")] = "onnx",
    int8: Annotated[bool, typer.Option("--int8", help="quantise: smaller, often faster, less accurate")] = False,
    images: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="images to compare on, and to quantise with [made-up ones]")
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="how many images")] = 16,
    backbone: OtherBackbone = None,
    json_out: Annotated[Path | None, typer.Option("--json", metavar="OUT", help="file for the differences")] = None,
) -> None:
    """Write backbone, network and category into one file that runs without torch, and compare it with torch."""
    from uop3d_core.atomic import write_json
    from uop3d_core.deploy.exporting import export as run_export

    result = run_export(model, out_file, kind, int8=int8, backbone=backbone, images=images, count=count)
    if json_out is not None:
        write_json(json_out, result.parity.as_json())
    out.print(_parity_table(f"{out_file.name} against torch", result.parity))
    for file in result.files:
        out.print(f"exported: {file} ({file.stat().st_size / 1e6:.1f} MB)", soft_wrap=True, highlight=False)


@app.command()
def compare(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="model file, run in full precision on the CPU")],
    other: Annotated[Path, typer.Argument(metavar="OTHER", help="the same category, trained or exported")],
    images: Annotated[Path | None, typer.Option(metavar="FOLDER", help="images to compare on [made-up ones]")] = None,
    count: Annotated[int, typer.Option(min=1, help="how many images")] = 16,
    device: Annotated[str, typer.Option(help="where the network of OTHER runs: cpu, cuda, ...")] = "cpu",
    json_out: Annotated[Path | None, typer.Option("--json", metavar="OUT", help="file for the differences")] = None,
    changes: Set = None,
) -> None:
    """Show how far two ways to run a model differ; --set and --device are for OTHER, e.g. pose.precision=half."""
    from uop3d_core.atomic import write_json
    from uop3d_core.deploy.parity import compare_files

    settings = _pose_settings(changes)
    parity = compare_files(model, other, images=images, count=count, device=device, settings=settings)
    if json_out is not None:
        write_json(json_out, parity.as_json())
    out.print(_parity_table(f"{other} against {model}", parity))


@app.command()
def bench(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="model file, trained or exported", show_default=False)],
    images: Annotated[int, typer.Option(min=1, help="measured calls per number of objects")] = 50,
    objects: Annotated[str, typer.Option(metavar="N,N,...", help="objects per image")] = "1,8",
    threads: Annotated[
        int | None, typer.Option(min=1, help="threads (default: what the libraries take)", show_default=False)
    ] = None,
    device: Annotated[str, typer.Option(help="where the network runs: cpu, cuda, ...")] = "cpu",
    backbone: OtherBackbone = None,
    json_out: Annotated[Path | None, typer.Option("--json", metavar="OUT", help="file for the figures")] = None,
    changes: Set = None,
) -> None:
    """Time the steps of an estimate on made-up images."""
    from uop3d_core.atomic import write_json
    from uop3d_core.deploy.bench import as_json
    from uop3d_core.deploy.bench import bench as run_bench

    counts = _counts(objects)
    with _progress() as progress:
        timings = run_bench(
            model,
            images=images,
            objects=counts,
            threads=threads,
            device=device,
            backbone=backbone,
            settings=_pose_settings(changes),
            progress=progress,
        )
    if json_out is not None:
        write_json(json_out, as_json(timings))
    for timing in timings:
        out.print(_timing_table(timing))


@app.command()
def demo(
    out_folder: Annotated[Path, typer.Option("--out", metavar="DIR", help="folder for everything it makes")] = Path(
        "runs/demo"
    ),
) -> None:
    """Make synthetic mugs, learn them, estimate mugs never seen, and show how well that went. No download."""
    from uop3d_core.demo import run_demo

    with _progress() as progress:
        result = run_demo(out_folder, progress=progress)
    rows = {"captures in one frame": result.alignment["all"], "unseen mugs, single images": result.pose["overall"]}
    out.print(_figures_table("synthetic mugs", rows))
    out.print("up: the up axis alone. Where the handle is hidden, nobody can tell how far a mug is turned about it.")
    times = ", ".join(f"{step} {seconds:.0f} s" for step, seconds in result.seconds.items())
    out.print(f"time: {times}", highlight=False)
    for what, path in result.files.items():
        out.print(f"{what}: {path}", soft_wrap=True, highlight=False)


def main() -> None:
    """Entry point of the command ``uop3d``."""
    logging.basicConfig(
        level=logging.WARNING, format="%(message)s", handlers=[RichHandler(console=err, show_path=False)]
    )
    app()


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _changes(changes: Sequence[str] | None) -> dict[str, dict[str, Any]]:
    """``["a.b=1"]`` as ``{"a": {"b": 1}}``; values are JSON, or text where they are not."""
    nested: dict[str, dict[str, Any]] = {}
    for change in changes or ():
        path, equals, text = change.partition("=")
        stage, dot, key = path.partition(".")
        if not (equals and dot and stage and key):
            raise ValueError(f"--set {change}: write it as STAGE.KEY=VALUE, e.g. pair.modes=3")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        nested.setdefault(stage, {})[key] = value
    return nested


def _run_settings(changes: Sequence[str] | None) -> RunSettings:
    from uop3d_core.config import RunSettings, parse_settings

    return parse_settings(RunSettings, _changes(changes), "--set")


def _pose_settings(changes: Sequence[str] | None) -> PoseSettings:
    from uop3d_core.config import InferenceSettings, parse_settings

    return parse_settings(InferenceSettings, _changes(changes), "--set").pose


def _metric_inputs(
    depth: Path | None, size: float | None, size_std: float | None, plane: tuple[float, float, float, float] | None
) -> MetricInputs:
    import numpy as np

    from uop3d_core.pipeline.inference import MetricInputs
    from uop3d_core.pose.scale import KnownSize, SupportPlane

    if depth is not None and not depth.exists():
        raise FileNotFoundError(f"{depth}: no such depth file or folder")
    if size_std is not None and size is None:
        raise ValueError("--size-std is the spread of --size, which is missing: give both")
    try:
        known = None if size is None else KnownSize(size, std=KnownSize.std if size_std is None else size_std)
    except ValueError as error:
        raise ValueError(f"--size: {error}") from error
    try:
        stand = None if plane is None else SupportPlane(np.array(plane[:3]), plane[3])
    except ValueError as error:
        raise ValueError(f"--plane: {error}") from error
    return MetricInputs(depth, known, stand)


def _only_stage(changes: Sequence[str] | None, stage: str) -> None:
    others = [name for name in _changes(changes) if name != stage]
    if others:
        raise ValueError(f"--set: this command takes settings of {stage}.* only, not of {', '.join(others)}; see align")


@contextmanager
def _progress() -> Iterator[Any]:
    """Bars with the time left, one per stage, on standard error."""
    columns = (
        TextColumn("{task.description:<12}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=err) as bars:
        tasks: dict[str, TaskID] = {}

        def advance(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield advance


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


def _show_symmetry(symmetry: Symmetry) -> None:
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


def _counts(text: str) -> list[int]:
    """Positive numbers, separated by commas."""
    words = _names(text)
    if not words or not all(word.isdecimal() and int(word) > 0 for word in words):
        raise ValueError(f"--objects {text}: write numbers with commas between them, e.g. 1,8")
    return [int(word) for word in words]


def _parity_table(title: str, parity: Parity) -> Table:
    table = Table("difference", "", title=escape(title), title_justify="left")
    for name, value in parity.as_json().items():
        table.add_row(name.replace("_", " "), "" if value is None else f"{value:.4g}")
    return table


def _timing_table(timing: Timing) -> Table:
    """Milliseconds by step."""
    table = Table(title=f"ms, {timing.objects} per image, {timing.calls} calls", title_justify="left")
    table.add_column("step")
    for name in next(iter(timing.steps.values())):
        table.add_column(name, justify="right")
    for step, figures in timing.steps.items():
        table.add_row(step, *(f"{value:.1f}" for value in figures.values()))
    if timing.ratio is not None:
        table.add_row("all / backbone alone", f"{timing.ratio:.2f}")
    return table


def _figures_table(title: str, rows: dict[str, dict[str, Any] | None]) -> Table:
    """Rows of figures as `metrics.summary` makes them; those modulo a symmetry where there is one."""
    columns = {
        "acc30": "acc30 %", "acc15": "acc15 %", "acc10": "acc10 %", "median_deg": "median °",
        "up_acc10": "up acc10 %", "up_median_deg": "up median °",
        "sym_acc10": "sym acc10 %", "sym_median_deg": "sym median °",
        "label_sym_acc10": "label sym acc10 %", "label_sym_median_deg": "label sym median °",
    }  # fmt: skip
    columns = {key: title for key, title in columns.items() if any(row and key in row for row in rows.values())}
    narrow = (0, 0) if len(columns) > PLAIN_FIGURES else (0, 1)
    table = Table(title=escape(title), title_justify="left", padding=narrow)
    for column in ("", "n", *columns.values()):
        table.add_column(column, justify="right" if column else "left")
    for name, row in rows.items():
        if row is None:
            table.add_row(escape(name), "0")
            continue
        count = row.get("frames", row.get("pairs"))
        table.add_row(escape(name), str(count), *(f"{row[key]:.1f}" for key in columns))
    return table


def _worth_table(title: str, rows: dict[str, dict[str, Any] | None]) -> Table:
    """Rows of `evaluation.results.summarise`: score, hypotheses, and true poses inside the 90 % ellipsoids."""
    from uop3d_core.evaluation.probabilities import PARTS

    table = Table(title=escape(title), title_justify="left", padding=(0, 0))
    table.add_column(no_wrap=True)
    for column in (
        "right %",
        "ECE",
        "AUROC",
        "Brier",
        "best %",
        "inside R/t/both",
        "right R/t/both",
        "own box R/t/both",
    ):
        table.add_column(column, justify="right")
    for name, row in rows.items():
        if row is None:
            table.add_row(escape(name))
            continue
        score, worth = row["score"], row["covariance"]
        spreads = worth["all"], worth["within30"], row["covariance_own_box"]["within30"]
        ranked = "-" if score["auroc"] is None else f"{score['auroc']:.2f}"
        inside = ["/".join(f"{part['inside90'][kind]:.0f}" for kind in PARTS) if part else "-" for part in spreads]
        right = f"{100 * score['right']:.1f}"
        best = f"{row['hypotheses']['best_acc30']:.1f}"
        table.add_row(escape(name), right, f"{score['ece']:.3f}", ranked, f"{score['brier']:.3f}", best, *inside)
    return table


if __name__ == "__main__":
    main()
