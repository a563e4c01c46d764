"""Models for other machines: export, compare, bench."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from uop3d_core.cli.console import out, progress_bars
from uop3d_core.cli.options import Device, ModelArgument, OtherBackbone, Set, names_in, pose_settings

if TYPE_CHECKING:
    from uop3d_core.deploy.bench import Timing
    from uop3d_core.deploy.parity import Parity


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

    settings = pose_settings(changes)
    parity = compare_files(model, other, images=images, count=count, device=device, settings=settings)
    if json_out is not None:
        write_json(json_out, parity.as_json())
    out.print(_parity_table(f"{other} against {model}", parity))


def bench(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="model file, trained or exported", show_default=False)],
    images: Annotated[int, typer.Option(min=1, help="measured calls per number of objects")] = 50,
    objects: Annotated[str, typer.Option(metavar="N,N,...", help="objects per image")] = "1,8",
    threads: Annotated[
        int | None, typer.Option(min=1, help="threads (default: what the libraries take)", show_default=False)
    ] = None,
    device: Device = "cpu",
    backbone: OtherBackbone = None,
    json_out: Annotated[Path | None, typer.Option("--json", metavar="OUT", help="file for the figures")] = None,
    changes: Set = None,
) -> None:
    """Time the steps of an estimate on made-up images."""
    from uop3d_core.atomic import write_json
    from uop3d_core.deploy.bench import as_json
    from uop3d_core.deploy.bench import bench as run_bench

    counts = counts_in(objects)
    with progress_bars() as progress:
        timings = run_bench(
            model,
            images=images,
            objects=counts,
            threads=threads,
            device=device,
            backbone=backbone,
            settings=pose_settings(changes),
            progress=progress,
        )
    if json_out is not None:
        write_json(json_out, as_json(timings))
    for timing in timings:
        out.print(_timing_table(timing))


def counts_in(text: str) -> list[int]:
    """Positive numbers, separated by commas."""
    words = names_in(text)
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
