"""Captures: making one from a video or photos, checking one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table
from typer.core import TyperGroup

from uop3d_core.cli.console import out, progress_bars
from uop3d_core.cli.options import Set, changes_in

if TYPE_CHECKING:
    from uop3d_core.capture.checking import Verdict
    from uop3d_core.config import CaptureSettings

DEFAULT = "make"


class DefaultGroup(TyperGroup):
    """A group in which the name of the command `make` may be left out."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the name of the default command in front of arguments that begin with no command."""
        if args and args[0] not in self.commands and args[0] not in ("--help", "-h"):
            args = [DEFAULT, *args]
        return super().parse_args(ctx, args)


captures = typer.Typer(
    cls=DefaultGroup, no_args_is_help=True, help="Make a capture of a video or photos (the default), or check one."
)


@captures.command(DEFAULT)
def make(
    source: Annotated[
        Path, typer.Argument(metavar="VIDEO_OR_FOLDER", help="video file, or folder of photos", show_default=False)
    ],
    folder: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="capture folder; an unfinished one is continued")
    ],
    masks: Annotated[
        Path | None, typer.Option("--masks", metavar="DIR", help="masks of the photos, PNG files of the same names")
    ] = None,
    segmenter: Annotated[
        str | None, typer.Option("--segmenter", metavar="NAME:FILE", help="a model for masks: onnx:FILE or sam:FOLDER")
    ] = None,
    features: Annotated[
        str | None, typer.Option("--features", metavar="NAME:FILE", help="a plug-in in place of COLMAP's features")
    ] = None,
    intrinsics: Annotated[
        str | None,
        typer.Option("--intrinsics", metavar="FX,FY,CX,CY", help="if known: pixels, corner of the image at 0, 0"),
    ] = None,
    accept: Annotated[bool, typer.Option("--accept", help="keep the capture even if it fails a check")] = False,
    changes: Set = None,
) -> None:
    """Make a capture: choose sharp pictures, find the cameras, cut out the object, check."""
    from uop3d_core.pipeline.capturing import Filmed, make_capture

    with progress_bars() as progress:
        verdict = make_capture(
            Filmed(source, masks, segmenter, features, _intrinsics(intrinsics)),
            folder,
            _settings(changes),
            accept,
            progress,
        )
    _tell(f"{folder}", verdict)
    if not verdict.passed and not accept:
        out.print(f"{folder} is not a capture yet; --accept makes it one all the same", highlight=False)
    if not verdict.passed:
        raise typer.Exit(1)


@captures.command("check")
def check(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="capture folder", show_default=False)],
    picture: Annotated[Path | None, typer.Option("--picture", metavar="FILE.jpg", help="picture to write")] = None,
    changes: Set = None,
) -> None:
    """Check a capture, whatever made it; exit code 1 where it fails."""
    from uop3d_core.pipeline.capturing import check_folder, write_sheet

    capture, verdict = check_folder(folder, _settings(changes).quality)
    if picture:
        write_sheet(picture, capture, verdict)
    _tell(f"{folder}", verdict)
    if not verdict.passed:
        raise typer.Exit(1)


def _settings(changes: list[str] | None) -> CaptureSettings:
    from uop3d_core.config import CaptureSettings, parse_settings

    return parse_settings(CaptureSettings, changes_in(changes), "--set")


def _intrinsics(text: str | None) -> tuple[float, float, float, float] | None:
    if text is None:
        return None
    try:
        fx, fy, cx, cy = (float(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"--intrinsics {text}: write four numbers, as in 1500,1500,960,540") from None
    if not (fx > 0 and fy > 0):
        raise ValueError(f"--intrinsics {text}: focal lengths must be positive")
    return fx, fy, cx, cy


def _tell(title: str, verdict: Verdict) -> None:
    """Print what was checked, and what to do about what failed."""
    table = Table(title=escape(title), title_justify="left")
    for column in ("", "is", "should be", ""):
        table.add_column(column)
    for gate in verdict.gates:
        word = "[green]good[/]" if gate.passed else "[bold red]not good[/]"
        table.add_row(escape(gate.name), escape(gate.value), escape(gate.limit), word)
    out.print(table)
    for note in verdict.notes:
        out.print(f"note: {note}", highlight=False, markup=False, soft_wrap=True)
    for advice in verdict.advice:
        out.print(f"to do: {advice}", highlight=False, markup=False, soft_wrap=True)
