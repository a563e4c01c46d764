"""A model and a recording of a robot to a recording of poses: replay."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from uop3d_core.cli.console import out, progress_bars
from uop3d_core.cli.options import Device, OtherBackbone, Set, inference_settings

if TYPE_CHECKING:
    from uop3d_core.bags.tally import ReplayReport
    from uop3d_core.pose.scale import KnownSize


def replay(
    models_and_bag: Annotated[
        list[Path],
        typer.Argument(
            metavar="MODEL... BAG", help="model files, and a rosbag2 folder, .mcap or .db3 file", show_default=False
        ),
    ],
    out_file: Annotated[Path, typer.Option("--out", metavar="OUT.mcap", help="recording to write")],
    image: Annotated[
        str | None,
        typer.Option(metavar="TOPIC", help="images, raw or compressed (default: the only ones)"),
    ] = None,
    info: Annotated[str | None, typer.Option(metavar="TOPIC", help="their camera_info (default: beside them)")] = None,
    camera: Annotated[
        Path | None, typer.Option(metavar="FILE", help="JSON with width, height, K, instead of camera_info")
    ] = None,
    rectified: Annotated[
        bool, typer.Option("--rectified", help="the images are rectified: P holds, not K and D")
    ] = False,
    detections: Annotated[
        str | None,
        typer.Option(
            metavar="TOPIC|FILE", help="boxes: a topic (default: the only one), or a .json file", show_default=False
        ),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(metavar="LABEL=CATEGORY", help="what the detector calls a category; *= tries all; repeatable"),
    ] = None,
    depth: Annotated[str | None, typer.Option(metavar="TOPIC", help="aligned depth, or a point cloud")] = None,
    size: Annotated[
        list[str] | None,
        typer.Option(metavar="[CATEGORY=]M", help="diagonal of the objects' box in metres; repeatable"),
    ] = None,
    size_std: Annotated[
        float | None, typer.Option("--size-std", metavar="S", help="relative spread of --size [0.1]")
    ] = None,
    unit: Annotated[
        float | None, typer.Option(metavar="M", help="metres to draw an object unit with where the scale is unknown")
    ] = None,
    fixed_frame: Annotated[
        str | None, typer.Option("--fixed-frame", metavar="FRAME", help="frame of TF in which the camera moved")
    ] = None,
    target_frame: Annotated[
        str | None,
        typer.Option("--target-frame", metavar="FRAME", help="frame of TF to give poses in, not the camera's"),
    ] = None,
    images: Annotated[bool, typer.Option("--images", help="copy images, camera_info and TF as well")] = False,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE.jpg", help="some of the images with the markers of OUT drawn in")
    ] = None,
    layout: Annotated[
        Path | None, typer.Option(metavar="FILE.json", help="Foxglove layout for OUT and this recording")
    ] = None,
    device: Device = "cpu",
    backbone: OtherBackbone = None,
    changes: Set = None,
) -> None:
    """Run a recording of a robot through the pipeline of the ROS node, without ROS: poses, TF and markers."""
    from uop3d_core.atomic import write_json
    from uop3d_core.bags.filmstrip import filmstrip
    from uop3d_core.bags.layout import layout as foxglove_layout
    from uop3d_core.bags.replay import ReplayOptions, open_stream
    from uop3d_core.bags.replay import replay as run_replay
    from uop3d_core.bags.writing import check_target
    from uop3d_core.messages.reading import Labels
    from uop3d_core.predictions import read_camera
    from uop3d_core.report.sheets import write_image

    *models, bag = models_and_bag
    if not models:
        raise ValueError(f"only {bag} was given: name one model or several, and then the recording")
    check_target(out_file)
    if unit is not None and not 0 < unit < math.inf:
        raise ValueError(f"--unit must be positive metres, got {unit}")
    if picture is not None and target_frame is not None:
        raise ValueError("--picture draws what is given in the camera's frame: leave out --target-frame for it")
    settings, in_file = inference_settings(changes), detections is not None and detections.endswith(".json")
    options = ReplayOptions(
        image,
        info,
        None if in_file else detections,
        depth,
        boxes=Path(detections) if in_file and detections else None,
        camera=None if camera is None else read_camera(camera),
        rectified=rectified,
        labels=Labels.parse(label or []),
        fixed_frame=fixed_frame,
        target_frame=target_frame,
        unit_m=math.nan if unit is None else unit,
        images=images,
        settings=settings.replay,
    )
    stream = open_stream(models, backbone, device, settings)
    stream.sizes = _sizes(size or [], size_std, list(stream.templates))
    with progress_bars() as progress:
        report = run_replay(stream, bag, out_file, options, progress)
    show_replay(report)
    out.print(f"recording: {out_file}", soft_wrap=True, highlight=False)
    if picture is not None:
        write_image(picture, filmstrip(out_file, bag, report.sources, options.camera, rectified))
        out.print(f"picture: {picture}", soft_wrap=True, highlight=False)
    if layout is not None:
        write_json(layout, foxglove_layout(report.sources.image, report.sources.info))
        out.print(f"layout: {layout}", soft_wrap=True, highlight=False)


def _sizes(texts: Sequence[str], std: float | None, categories: Sequence[str]) -> dict[str, KnownSize]:
    """Sizes by category; one without a name is of all."""
    from uop3d_core.pose.scale import KnownSize

    if std is not None and not texts:
        raise ValueError("--size-std is the spread of --size, which is missing: give both")
    sizes: dict[str, KnownSize] = {}
    for text in texts:
        name, _, number = text.rpartition("=")
        if name and name not in categories:
            raise ValueError(f"--size {text}: the models are of {', '.join(categories)}")
        try:
            known = KnownSize(float(number), std=KnownSize.std if std is None else std)
        except ValueError as error:
            raise ValueError(f"--size {text}: {error}") from error
        sizes |= dict.fromkeys([name] if name else categories, known)
    return sizes


def show_replay(report: ReplayReport) -> None:
    """Objects, rates, times and topics of a replay, and what was left out."""
    out.print(_objects_table(report))
    took = sum(report.seconds.values())
    rates = f"recorded at {(report.images - 1) / report.span_s:.1f} Hz, " if report.span_s else ""
    out.print(
        f"{report.images} of {report.recorded} images with {report.boxes} boxes: {report.found} poses, "
        f"{report.metric} of them in metres; {rates}worked on at {report.images / took:.1f} Hz",
        soft_wrap=True,
        highlight=False,
    )
    out.print(_steps_table(report))
    out.print(_topics_table(report))
    if not report.placed:
        out.print(
            "[yellow]nothing could be placed in metres:[/] detections, poses, markers and TF are empty; "
            "give --depth or --size, or --unit to draw objects in a size that is made up",
            soft_wrap=True,
            highlight=False,
        )
    for problem in report.problems:
        out.print(f"[yellow]note:[/] {escape(problem)}", soft_wrap=True, highlight=False)


def _objects_table(report: ReplayReport) -> Table:
    table = Table(title="objects of the recording", title_justify="left")
    for column in ("object", "from s", "to s", "images", "boxes", "confirmed", "score", "m per unit"):
        table.add_column(column, justify="left" if column == "object" else "right")
    for name, seen in report.objects.items():
        times = (f"{(stamp - report.first_ns) / 1e9:.1f}" for stamp in (seen.first_ns, seen.last_ns))
        counts = (str(count) for count in (seen.images, seen.boxes, seen.confirmed))
        scale = "" if math.isnan(seen.scale) else f"{seen.scale:.3f}"
        table.add_row(escape(name), *times, *counts, f"{seen.score:.2f}", scale)
    return table


def _steps_table(report: ReplayReport) -> Table:
    table = Table(title="ms per image", title_justify="left")
    table.add_column("step")
    table.add_column("mean", justify="right")
    for step, seconds in report.seconds.items():
        table.add_row(step, f"{1000 * seconds / report.images:.1f}")
    table.add_row("all", f"{1000 * sum(report.seconds.values()) / report.images:.1f}")
    return table


def _topics_table(report: ReplayReport) -> Table:
    table = Table("topic", title="new recording", title_justify="left")
    table.add_column("messages", justify="right")
    for topic, count in report.written.items():
        table.add_row(escape(topic), str(count))
    return table
