"""Pictures for papers and talks: picture overlay, picture correspondence, picture turntable."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from uop3d_core.cli.console import out, progress_bars
from uop3d_core.cli.options import Device, OtherBackbone

if TYPE_CHECKING:
    from uop3d_core.config import PictureSettings
    from uop3d_core.geometry import Array
    from uop3d_core.pipeline.inference import Query
    from uop3d_core.pipeline.picturing import Shot
    from uop3d_core.pipeline.viewing import AlignedRun
    from uop3d_core.pose.estimator import PoseEstimator
    from uop3d_core.progress import Progress

pictures = typer.Typer(no_args_is_help=True, help="Pictures for papers and talks.")

Source = Annotated[
    Path, typer.Argument(metavar="MODEL|RUN", help="model file, or run directory with an alignment", show_default=False)
]
Inputs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[INPUT...]",
        help="with a model: a capture folder, or images; with a run: names of captures (default: all)",
        show_default=False,
    ),
]
FigureOut = Annotated[Path, typer.Option("--out", metavar="FILE", help="picture to write: .png, .jpg, .pdf, .tif")]
Detections = Annotated[Path | None, typer.Option(metavar="FILE", help="JSON with boxes, for images")]
CameraFile = Annotated[Path | None, typer.Option(metavar="FILE", help="JSON with width, height, K, for images")]
Width = Annotated[float, typer.Option("--width", metavar="MM", help="width in print")]
Dpi = Annotated[int, typer.Option(help="pixels per inch in print")]
Columns = Annotated[int, typer.Option(min=1, help="pictures beside each other")]
Frames = Annotated[int, typer.Option(min=1, help="pictures at most, evenly chosen")]
Crop = Annotated[bool, typer.Option("--crop", help="squares around the objects instead of whole images")]


@pictures.command()
def overlay(
    source: Source,
    out_file: FigureOut,
    inputs: Inputs = None,
    detections: Detections = None,
    camera: CameraFile = None,
    width: Width = 180.0,
    dpi: Dpi = 300,
    columns: Columns = 4,
    frames: Frames = 8,
    crop: Crop = False,
    fill: Annotated[float, typer.Option(help="how much the template covers, 0 to 1; 0: contour alone")] = 0.2,
    device: Device = "cpu",
    backbone: OtherBackbone = None,
) -> None:
    """Draw axes and the template's contour: at a model's estimates, or where a run has aligned its captures."""
    from uop3d_core.pipeline.picturing import overlay_of_model, overlay_of_run

    settings = _settings(width_mm=width, dpi=dpi, columns=columns, frames=frames, crop=crop, fill=fill)
    drawers = overlay_of_model, overlay_of_run
    _draw(source, inputs or [], out_file, detections, camera, settings, device, backbone, drawers)


@pictures.command()
def correspondence(
    source: Source,
    out_file: FigureOut,
    inputs: Inputs = None,
    detections: Detections = None,
    camera: CameraFile = None,
    width: Width = 180.0,
    dpi: Dpi = 300,
    columns: Columns = 4,
    frames: Frames = 8,
    crop: Crop = False,
    device: Device = "cpu",
    backbone: OtherBackbone = None,
) -> None:
    """Colour objects by place on the template: as a model sees them, or where a run has aligned its captures."""
    from uop3d_core.pipeline.picturing import correspondence_of_model, correspondence_of_run

    settings = _settings(width_mm=width, dpi=dpi, columns=columns, frames=frames, crop=crop)
    drawers = correspondence_of_model, correspondence_of_run
    _draw(source, inputs or [], out_file, detections, camera, settings, device, backbone, drawers)


def _settings(**values: Any) -> PictureSettings:
    from uop3d_core.config import PictureSettings, parse_settings

    return parse_settings(PictureSettings, values, "options of the picture")


OfModel = Callable[["PoseEstimator", "list[Query]", "PictureSettings", "Progress"], "Array"]
OfRun = Callable[["AlignedRun", "list[Shot]", "PictureSettings", "Progress"], "Array"]


def _draw(
    source: Path,
    inputs: list[str],
    out_file: Path,
    detections: Path | None,
    camera: Path | None,
    settings: PictureSettings,
    device: str,
    backbone: str | None,
    drawers: tuple[OfModel, OfRun],
) -> None:
    """Draw by the first function with a model, by the second with a run, and write the figure."""
    from uop3d_core.pipeline.inference import open_estimator
    from uop3d_core.pipeline.picturing import model_queries, run_shots
    from uop3d_core.pipeline.viewing import AlignedRun
    from uop3d_core.report.figures import ENDINGS, check_ending, write_figure

    check_ending(out_file, ENDINGS)
    of_model, of_run = drawers
    with progress_bars() as progress:
        if source.is_dir():
            if detections or camera or backbone:
                raise ValueError(f"{source} is a run, whose alignment says all: no --detections, --camera, --backbone")
            aligned = AlignedRun(source)
            figure = of_run(aligned, run_shots(aligned, inputs, settings.frames), settings, progress)
        else:
            estimator = open_estimator(source, backbone, device=device)
            given = [Path(text) for text in inputs]
            queries = model_queries(given, detections, camera, estimator.model.category, settings.frames)
            figure = of_model(estimator, queries, settings, progress)
    write_figure(out_file, figure, settings)
    height, across = figure.shape[:2]
    out.print(f"picture: {out_file} ({across} x {height} pixels)", soft_wrap=True, highlight=False)


@pictures.command()
def turntable(
    source: Source,
    out_file: Annotated[Path, typer.Option("--out", metavar="FILE", help="to write: .gif or .mp4")],
    what: Annotated[
        str, typer.Argument(metavar="[WHAT]", help="template, all (captures in their common frame), or a capture")
    ] = "template",
    colour: Annotated[
        str | None, typer.Option(metavar="clay|place|photo", help="[template: clay; captures: photo]")
    ] = None,
    side: Annotated[int, typer.Option(metavar="PIXELS", help="width")] = 480,
    seconds: Annotated[float, typer.Option(help="of one turn")] = 4.0,
    rate: Annotated[int, typer.Option(help="pictures a second")] = 25,
    captures: Annotated[int, typer.Option(help="at most, of all")] = 20,
) -> None:
    """Turn a template, the surface of a capture, or all captures side by side, once around."""
    from uop3d_core.config import TurntableSettings, parse_settings
    from uop3d_core.models import read_model
    from uop3d_core.pipeline.turning import TEMPLATE, run_pieces, template_piece
    from uop3d_core.pipeline.viewing import AlignedRun
    from uop3d_core.report.figures import check_ending
    from uop3d_core.report.turntables import ENDINGS, Turntable, write_turntable

    check_ending(out_file, ENDINGS)
    values = {"side": side, "seconds": seconds, "rate": rate, "captures": captures}
    settings = parse_settings(TurntableSettings, values, "options of the turntable")
    with progress_bars() as progress:
        if source.is_dir():
            pieces = run_pieces(AlignedRun(source), what, colour, settings.captures, progress)
        elif what == TEMPLATE:
            pieces = [template_piece(read_model(source).template, colour or "clay")]
        else:
            raise ValueError(f"{source} is a model, which has a template but no captures: give a run to see {what}")
        write_turntable(out_file, Turntable(pieces, settings), settings, progress)
    megabytes = out_file.stat().st_size / 1e6
    out.print(f"turntable: {out_file} ({megabytes:.1f} MB)", soft_wrap=True, highlight=False)
