"""What commands have in common on the screen: errors in one message, bars with the time left (in logs: lines)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console
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
from typer.core import TyperGroup

from uop3d_core.progress import ProgressLines

out, err = Console(), Console(stderr=True)


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


@contextmanager
def progress_bars() -> Iterator[Any]:
    """Bars with the time left, one per stage, on standard error; where that is no terminal, a line now and then."""
    if not err.is_terminal:
        yield ProgressLines(lambda line: print(line, file=err.file, flush=True))
        return
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
