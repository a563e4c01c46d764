"""Captures of other programs: capture import, capture export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from uop3d_core.cli.console import out, progress_bars
from uop3d_core.cli.options import Set, changes_in, names_in


def import_captures(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="file or folder of another program")],
    out_folder: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="capture folder, or category folder of many")
    ],
    format: Annotated[str, typer.Option(metavar="NAME", help="nerfstudio, colmap, co3d, ...; auto looks")] = "auto",
    images: Annotated[
        Path | None, typer.Option(metavar="DIR", help="where the images are, if not where the format has them")
    ] = None,
    masks: Annotated[Path | None, typer.Option(metavar="DIR", help="masks: NAME.png for image NAME.jpg")] = None,
    cut_out: Annotated[
        bool, typer.Option("--cut-out", help="make masks, by the cameras as they are; needs the extra `capture`")
    ] = False,
    segmenter: Annotated[
        str | None, typer.Option("--segmenter", metavar="NAME:FILE", help="a model for these masks")
    ] = None,
    only: Annotated[str, typer.Option(metavar="A,B,...", help="captures, of many")] = "",
    frames: Annotated[int | None, typer.Option(min=2, help="at most so many frames each, evenly spaced")] = None,
    topic: Annotated[str | None, typer.Option(metavar="TOPIC", help="images of a ROS 2 recording, if several")] = None,
    up: Annotated[
        str | None,
        typer.Option(metavar="X,Y,Z", help="against gravity in the source's world, if known: 0,0,1 or 0,1,0"),
    ] = None,
    skip_missing: Annotated[
        bool, typer.Option("--skip-missing", help="go on without images that the source names and that are not there")
    ] = False,
    link: Annotated[bool, typer.Option("--link", help="hard links instead of copies where possible")] = False,
    changes: Set = None,
) -> None:
    """Make capture folders out of what other programs wrote."""
    from uop3d_core.capture.recordings import ImportOptions
    from uop3d_core.config import CaptureSettings, parse_settings
    from uop3d_core.pipeline.importing import NO_MASKS
    from uop3d_core.pipeline.importing import import_captures as run_import

    if (segmenter or changes) and not cut_out:
        raise ValueError("--segmenter and --set say how masks are made: add --cut-out")
    with progress_bars() as progress:
        done = run_import(
            source,
            out_folder,
            format,
            options=ImportOptions(images, tuple(names_in(only)), frames, topic, _direction(up), skip_missing),
            masks=masks,
            cut=parse_settings(CaptureSettings, changes_in(changes), "--set") if cut_out else None,
            segmenter=segmenter,
            link=link,
            progress=progress,
        )
    table = Table("capture", title=f"imported from {escape(str(source))}", title_justify="left")
    for column in ("frames", "masks", "points"):
        table.add_column(column, justify="right")
    for one in done:
        counts = str(one.frames), str(one.frames - one.unmasked), str(one.points)
        table.add_row(escape(str(one.folder)) + (" (was there already)" if one.reused else ""), *counts)
    out.print(table)
    for note in (note for one in done for note in one.notes):
        out.print(f"[yellow]note:[/] {escape(note)}", soft_wrap=True, highlight=False)
    if missing := sum(one.unmasked for one in done):
        total = sum(one.frames for one in done)
        text = f"{missing} of {total} frames have no mask: {NO_MASKS}"
        out.print(f"[yellow]warning:[/] {escape(text)}", soft_wrap=True, highlight=False)


def _direction(text: str | None) -> tuple[float, float, float] | None:
    if text is None:
        return None
    try:
        x, y, z = (float(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"--up {text}: write three numbers, as in 0,0,1") from None
    if not 1e-6 < x * x + y * y + z * z < 1e12:
        raise ValueError(f"--up {text}: must have a direction")
    return x, y, z


def export_capture(
    capture: Annotated[Path, typer.Argument(metavar="CAPTURE", help="capture folder")],
    out_folder: Annotated[Path, typer.Option("--out", metavar="DIR", help="folder to make")],
    format: Annotated[str, typer.Option(metavar="NAME", help="nerfstudio, colmap, colmap-text, co3d, ...")],
) -> None:
    """Write a capture for other programs."""
    from uop3d_core.pipeline.importing import export_capture as run_export

    run_export(capture, out_folder, format)
    out.print(f"exported: {out_folder}", soft_wrap=True, highlight=False)
