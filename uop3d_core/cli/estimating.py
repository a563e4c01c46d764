"""A model and images to poses: estimate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from uop3d_core.cli.console import out, progress_bars
from uop3d_core.cli.options import Device, JsonOut, ModelArgument, OtherBackbone, Set, pose_settings

if TYPE_CHECKING:
    from uop3d_core.pipeline.inference import MetricInputs


def estimate(
    model: ModelArgument,
    inputs: Annotated[
        list[Path],
        typer.Argument(metavar="INPUT...", help="a capture folder, or images or a folder of them", show_default=False),
    ],
    json_out: JsonOut,
    overlay: Annotated[Path | None, typer.Option(metavar="DIR", help="folder for pictures with the poses")] = None,
    detections: Annotated[Path | None, typer.Option(metavar="FILE", help="JSON with boxes, for images")] = None,
    camera: Annotated[Path | None, typer.Option(metavar="FILE", help="JSON with width, height, K, for images")] = None,
    depth: Annotated[
        Path | None,
        typer.Option(metavar="FILE|FOLDER", help="aligned depth: 16-bit PNG in mm or .npy in m"),
    ] = None,
    size: Annotated[float | None, typer.Option(metavar="M", help="diagonal of the objects' box in metres")] = None,
    size_std: Annotated[
        float | None, typer.Option("--size-std", metavar="S", help="relative standard deviation of --size [0.1]")
    ] = None,
    plane: Annotated[
        tuple[float, float, float, float] | None,
        typer.Option(metavar="NX NY NZ D", help="plane n.x + d = 0 in cam that objects stand on, n up, metres"),
    ] = None,
    device: Device = "cpu",
    backbone: OtherBackbone = None,
    changes: Set = None,
) -> None:
    """Estimate poses in the frames of a capture (boxes from its masks), or in images with boxes and a camera."""
    from uop3d_core.pipeline.inference import estimate as run_estimate
    from uop3d_core.pipeline.inference import is_capture, open_estimator, queries_of_capture, queries_of_images
    from uop3d_core.predictions import write_estimates

    known = _metric_inputs(depth, size, size_std, plane)
    estimator = open_estimator(model, backbone, pose_settings(changes), device)
    if len(inputs) == 1 and is_capture(inputs[0]):
        if detections or camera:
            raise ValueError(
                f"{inputs[0]} is a capture: boxes and cameras come from it, so give no --detections or --camera"
            )
        if plane:
            raise ValueError(f"{inputs[0]} is a capture, whose camera moves, but --plane holds for a camera at rest")
        queries = queries_of_capture(inputs[0], estimator.model.category)
    elif detections is None or camera is None:
        raise ValueError(
            f"{inputs[0]} is no capture folder (no transforms.json), so --detections FILE with boxes and --camera FILE "
            "with width, height and K are needed"
        )
    else:
        queries = queries_of_images(inputs, detections, camera)
    with progress_bars() as progress:
        results = run_estimate(estimator, queries, overlay, progress, known)
    write_estimates(json_out, results)
    every = [pose for poses in results.values() for pose in poses]
    found = sum(pose.found for pose in every)
    out.print(f"{found} poses for {len(every)} boxes in {len(results)} images: {json_out}", soft_wrap=True)
    if depth or size or plane:
        out.print(f"{sum(bool(pose.scale_source) for pose in every)} of them are metric", highlight=False)


def _metric_inputs(
    depth: Path | None, size: float | None, size_std: float | None, plane: tuple[float, float, float, float] | None
) -> MetricInputs:
    import numpy as np

    from uop3d_core.pipeline.inference import MetricInputs
    from uop3d_core.pose.scale import KnownSize, SupportPlane

    if depth is not None and not depth.exists():
        raise FileNotFoundError(f"{depth}: no such depth file or folder")
    if size_std is not None and size is None:
        raise ValueError("--size-std is the spread of --size, which is missing: give both")
    try:
        known = None if size is None else KnownSize(size, std=KnownSize.std if size_std is None else size_std)
    except ValueError as error:
        raise ValueError(f"--size: {error}") from error
    try:
        stand = None if plane is None else SupportPlane(np.array(plane[:3]), plane[3])
    except ValueError as error:
        raise ValueError(f"--plane: {error}") from error
    return MetricInputs(depth, known, stand)
