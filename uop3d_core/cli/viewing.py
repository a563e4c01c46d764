"""Runs and captures in the browser: view."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from uop3d_core.cli.console import out, progress_bars
from uop3d_core.cli.options import Only, names_in


def view(
    sources: Annotated[
        list[Path],
        typer.Argument(metavar="RUN|CAPTURE...", help="an aligned run, or captures or folders of them"),
    ],
    only: Only = "",
    colour: Annotated[str, typer.Option(metavar="photo|place|clay", help="of surfaces")] = "photo",
    port: Annotated[int, typer.Option(min=0, max=65535, help="the next free one is taken where it is not free")] = 8080,
    host: Annotated[
        str, typer.Option(help="0.0.0.0 lets other machines look, too: there is no password")
    ] = "127.0.0.1",
) -> None:
    """Look around in an alignment, or in captures, with a browser; Ctrl-C ends it."""
    from uop3d_core.pipeline.showing import scene_of_captures, scene_of_run
    from uop3d_core.viewer.server import Viewer, require

    require()
    runs = [source for source in sources if (source / "run.json").is_file()]
    if runs and len(sources) > 1:
        raise ValueError(f"{runs[0]} is a run: view it alone, or captures without a run")
    if only and not runs:
        raise ValueError("--only chooses captures of a run: name the folders of captures instead")
    with progress_bars() as progress:
        if runs:
            scene = scene_of_run(runs[0], names_in(only), colour, progress)
        else:
            scene = scene_of_captures(sources, colour, progress)
    for note in scene.notes:
        out.print(f"[yellow]note:[/] {escape(note)}", soft_wrap=True, highlight=False)
    viewer = Viewer(scene, host, port)
    out.print(f"open {viewer.url} in a browser; Ctrl-C ends it", soft_wrap=True, highlight=False)
    try:
        while True:
            time.sleep(1)
    except KeyboardInterrupt:
        viewer.stop()
