"""A run to look at: report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from uop3d_core.cli.console import out, progress_bars
from uop3d_core.cli.options import RunArgument


def report(
    run: RunArgument,
    out_file: Annotated[
        Path | None, typer.Option("--out", metavar="FILE.html", help="file to write (default: RUN/report.html)")
    ] = None,
    pose: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="figures of uop3d evaluate pose --json (default: those in the run)"),
    ] = None,
    against: Annotated[Path | None, typer.Option(metavar="OTHER_RUN", help="another run to compare with")] = None,
) -> None:
    """Show what was learned in one HTML file: captures, aligned surfaces in 3-D, pairs, training, poses."""
    from uop3d_core.pipeline.reporting import write_report

    with progress_bars() as progress:
        written = write_report(run, out_file, pose=pose, against=against, progress=progress)
    out.print(f"report: {written} ({written.stat().st_size / 1e6:.1f} MB)", soft_wrap=True, highlight=False)
