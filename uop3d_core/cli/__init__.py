"""The command line: arguments, progress, tables; everything else is `pipeline`.

In: paths and options. Out: files, a table on standard output; progress and errors on standard error.
Exit codes: 0 done, 1 an error of the input (UOP3D_DEBUG=1 shows where it was raised), 2 wrong usage, 130 interrupted,
143 terminated.
A command is a function in one of the modules here; this one puts them together, in the order of the help.
"""

from __future__ import annotations

import logging
import signal
import sys
from typing import Annotated

import typer
from rich.logging import RichHandler

from uop3d_core.cli.benchmarking import evaluate_co3d, evaluate_objectnet3d, evaluate_pascal3d
from uop3d_core.cli.captures import captures
from uop3d_core.cli.console import FriendlyGroup, err, out
from uop3d_core.cli.demonstrating import demo
from uop3d_core.cli.deploying import bench, compare, export
from uop3d_core.cli.estimating import estimate
from uop3d_core.cli.evaluating import evaluate_alignment, evaluate_pose
from uop3d_core.cli.importing import export_capture, import_captures
from uop3d_core.cli.learning import align, learn, orient, synchronize, train
from uop3d_core.cli.picturing import pictures
from uop3d_core.cli.replaying import replay
from uop3d_core.cli.reporting import report
from uop3d_core.cli.sharing import card, info, pull, push
from uop3d_core.cli.viewing import view
from uop3d_core.executors.threads import short_waits

app = typer.Typer(cls=FriendlyGroup, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
for command in (
    learn,
    align,
    orient,
    train,
    report,
    view,
    estimate,
    replay,
    synchronize,
    export,
    compare,
    bench,
    info,
    card,
    push,
    pull,
    demo,
):
    app.command()(command)

captures.command("import")(import_captures)
captures.command("export")(export_capture)
app.add_typer(captures, name="capture")
app.add_typer(pictures, name="picture")

evaluate = typer.Typer(no_args_is_help=True, help="Compare with labels.")
evaluate.command("alignment")(evaluate_alignment)
evaluate.command("pose")(evaluate_pose)
evaluate.command("pascal3d")(evaluate_pascal3d)
evaluate.command("objectnet3d")(evaluate_objectnet3d)
evaluate.command("co3d")(evaluate_co3d)
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


def main() -> None:
    """Entry point of the command ``uop3d``."""
    short_waits()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # what is half-written is removed
    logging.basicConfig(
        level=logging.WARNING, format="%(message)s", handlers=[RichHandler(console=err, show_path=False)]
    )
    app()
