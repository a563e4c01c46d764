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
from uop3d_core.cli.options import OtherBackbone, Set, inference_settings

if TYPE_CHECKING:
    from uop3d_core.bags.replay import ReplayReport
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
        str | None, typer.Option(metavar="TOPIC", help="images, raw or compressed [the only ones]", show_default=False)
    ] = None,
    info: Annotated[
        str | None, typer.Option(metavar="TOPIC", help="their camera_info [beside them]", show_default=False)
    ] = None,
    camera: Annotated[
        Path | None, typer.Option(metavar="FILE", help="JSON with width, height, K, instead of camera_info")
    ] = None,
    rectified: Annotated[bool, typer.Option("--rectified", help="the images are rectified: P holds, not K and D")] = False,
    detections: Annotated[
        str | None,
        typer.Option(metavar="TOPIC|FILE", help="boxes: a topic [the only one], or JSON", show_default=False),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(metavar="LABEL=CATEGORY", help="what the detector calls a category; *= tries all; may be repeated"),
    ] = None,
    depth: Annotated[str | None, typer.Option(metavar="TOPIC", help="depth aligned with the images")] = None,
    size: Annotated[
        list[str] | None,
        typer.Option(metavar="[CATEGORY=]M", help="diagonal of the objects' box in metres; may be repeated"),
    ] = None,
    size_std: Annotated[float | None, typer.Option("--size-std", metavar="S", help="relative spread of --size [0.1]")] = None,
    unit: Annotated[
        float | None, typer.Option(metavar="M", help="metres to draw an object unit with where the scale is unknown")
    ] = None,
    fixed_frame: Annotated[
        str | None, typer.Option("--fixed-frame", metavar="FRAME", help="frame of TF in which the camera moved")
    ] = None,
    images: Annotated[bool, typer.Option("--images", help="copy images, camera_info and TF as well")] = False,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE.jpg", help="some of the images with the markers of OUT drawn in")
    ] = None,
    device: Annotated[str, typer.Option(help="where the network runs: cpu, cuda, ...")] = "cpu",
    backbone: OtherBackbone = None,
    changes: Set = None,
) -> None:
    """Run a recording of a robot through the pipeline of the ROS node, without ROS: poses, TF and markers."""
    from uop3d_core.bags.filmstrip import filmstrip
    from uop3d_core.bags.replay import ReplayOptions
    from uop3d_core.bags.replay import replay as run_replay
    from uop3d_core.bags.writing import check_target
    from uop3d_core.messages.reading import Labels
    from uop3d_core.pose.stream import PoseStream
    from uop3d_core.predictions import read_camera
    from uop3d_core.report.sheets import write_image

    *models, bag = models_and_bag
    if not models:
        raise ValueError(f"only {bag} was given: name one model or several, and then the recording")
    check_target(out_file)
    if unit is not None and not 0 < unit < math.inf:
        raise ValueError(f"--unit must be positive metres, got {unit}")
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
        unit_m=math.nan if unit is None else unit,
        images=images,
        settings=settings.replay,
    )
    stream = PoseStream.load(models, device, settings.pose, settings.track, backbone=backbone)
    stream.sizes = _sizes(size or [], size_std, list(stream.templates))
    with progress_bars() as progress:
        report = run_replay(stream, bag, out_file, options, progress)
    _show(report)
    out.print(f"recording: {out_file}", soft_wrap=True, highlight=False)
    if picture is not None:
        write_image(picture, filmstrip(out_file, bag, report.sources))
        out.print(f"picture: {picture}", soft_wrap=True, highlight=False)


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


def _show(report: ReplayReport) -> None:
    out.print(_objects(report))
    rate = report.images / report.total_s if report.total_s else 0.0
    recorded = (report.images - 1) / report.span_s if report.span_s else 0.0
    out.print(
        f"{report.images} of {report.recorded} images, {report.boxes} boxes: {report.found} poses, {report.metric} of them "
        f"in metres; {report.span_s:.1f} s at {recorded:.1f} Hz, worked on at {rate:.1f} Hz",
        soft_wrap=True,
        highlight=False,
    )
    out.print(_times(report))
    out.print(_topics(report))
    if not report.written.get("/tf_objects", 0) and not report.placed:
        out.print(
            "[yellow]nothing was placed in metres:[/] detections, poses, markers and TF are empty. Give --depth or --size, "
            "or --unit to draw objects in a made-up size",
            soft_wrap=True,
            highlight=False,
        )
    for problem in report.problems:
        out.print(f"[yellow]note:[/] {escape(problem)}", soft_wrap=True, highlight=False)
