"""The demonstration: demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from uop3d_core.cli.console import out, progress_bars
from uop3d_core.cli.evaluating import figures_table
from uop3d_core.cli.replaying import show_replay


def demo(
    out_folder: Annotated[Path, typer.Option("--out", metavar="DIR", help="folder for everything it makes")] = Path(
        "runs/demo"
    ),
) -> None:
    """Make synthetic mugs, learn them, estimate mugs never seen, and show how well that went. No download."""
    from uop3d_core.demo import run_demo

    with progress_bars() as progress:
        result = run_demo(out_folder, progress=progress)
    rows = {"captures in one frame": result.alignment["all"], "unseen mugs, single images": result.pose["overall"]}
    out.print(figures_table("synthetic mugs", rows))
    out.print("up: the up axis alone. Where the handle is hidden, nobody can tell how far a mug is turned about it.")
    show_replay(result.replayed)
    times = ", ".join(f"{step} {seconds:.0f} s" for step, seconds in result.seconds.items())
    out.print(f"time: {times}", highlight=False)
    for what, path in result.files.items():
        out.print(f"{what}: {path}", soft_wrap=True, highlight=False)
