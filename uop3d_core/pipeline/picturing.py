"""Models and runs to figures for papers: poses, and places on the template as colours.

In: a model with images, or a run with names of captures. Out: (H, W, 3) uint8 at print resolution.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from uop3d_core.alignment.comparison import evenly
from uop3d_core.config import PictureSettings
from uop3d_core.geometry import Array, rigid_through_similarity
from uop3d_core.images import mask_box
from uop3d_core.pipeline.inference import Query, is_capture, queries_of_capture, queries_of_images
from uop3d_core.pipeline.viewing import AlignedRun
from uop3d_core.pose.estimator import PoseEstimator
from uop3d_core.pose.places import Places, places
from uop3d_core.progress import Progress, silent
from uop3d_core.report.colouring import PlaceColours, divided, in_picture
from uop3d_core.report.figures import (
    AXIS_KEYS,
    Key,
    Panel,
    compose,
    draw_poses,
    panel_width,
    point,
    pose_keys,
    print_width,
    windowed,
)
from uop3d_core.report.overlay import draw_axes
from uop3d_core.report.shading import ShadedMesh, blend
from uop3d_core.report.sheets import CORNER
from uop3d_core.report.tiles import look, tile_camera
from uop3d_core.types import Camera, Detection, Frame, PoseEstimate, Template

CROP_MARGIN = 1.5
FLAT = 0.85
"""Share of the light that comes from everywhere where colours mean places: shapes are hinted at, colours kept."""
FADED = 0.45
"""How much of an image is left around coloured objects."""
BACK = look([1, -2, 0], [-0.4, -0.2, -1])
"""From the back right, above: opposite to CORNER."""
DENSE = 4_000
"""Vertices of a template whose colours are legible."""


@dataclass(frozen=True, eq=False)
class Shot:
    """An image of a capture that a run has aligned.

    Attributes:
        capture: its name.
        frame: with its mask.
        cam_T_obj: (4, 4) by the alignment, translation in object units.
        caption: below its picture.
        accepted: whether the run accepts the capture.
    """

    capture: str
    frame: Frame
    cam_T_obj: Array
    caption: str
    accepted: bool


def model_queries(
    inputs: Sequence[Path], detections: Path | None, camera: Path | None, category: str, frames: int
) -> list[Query]:
    """Images with boxes, at most `frames` of them, evenly chosen: of a capture, or with files of boxes and a camera.

    Raises:
        FileNotFoundError, ValueError: as `queries_of_capture` and `queries_of_images`, and where files are missing.
    """
    if not inputs:
        raise ValueError("give a capture folder, or images with --detections and --camera, to try the model on")
    if len(inputs) == 1 and is_capture(inputs[0]):
        if detections or camera:
            raise ValueError(f"{inputs[0]} is a capture: boxes and cameras come from it: no --detections, no --camera")
        return evenly(queries_of_capture(inputs[0], category), frames)
    if detections is None or camera is None:
        raise ValueError(f"{inputs[0]} is no capture folder, so --detections FILE and --camera FILE are needed")
    queries = [query for query in queries_of_images(inputs, detections, camera) if query.detections]
    if not queries:
        raise ValueError(f"{detections}: no image has a box, so there is nothing to draw")
    return evenly(queries, frames)


def run_shots(aligned: AlignedRun, captures: Sequence[str], frames: int) -> list[Shot]:
    """Images of captures, evenly chosen, as many of each: some of all captures where none are named.

    Raises:
        FileNotFoundError, ValueError: there is no such capture, or it cannot be read.
    """
    chosen = evenly(aligned.names(captures), frames)
    each, shots = max(1, frames // len(chosen)), []
    for name in chosen:
        shown = [frame for frame in aligned.capture(name).frames if frame.mask.any()]
        if not shown:
            raise ValueError(f"all masks of capture {name} are empty: choose others")
        at, entry = aligned.entry(name).obj_T_world, aligned.entry(name)
        for frame in evenly(shown, each + 2)[1:-1] if len(shown) > each + 1 else evenly(shown, each):
            assert frame.cam_T_world is not None  # a Capture has them all
            cam_T_obj = rigid_through_similarity(frame.cam_T_world, at.scale, at.R, at.t)
            caption = f"{name}, {frame.name}" if entry.accepted else f"{name}, {frame.name} (rejected)"
            shots.append(Shot(name, frame, cam_T_obj, caption, entry.accepted))
    return shots


def overlay_of_model(
    estimator: PoseEstimator, queries: Sequence[Query], settings: PictureSettings, progress: Progress = silent
) -> Array:
    """Estimated poses drawn into images; errors as in `estimate`."""
    shape, panels = ShadedMesh(estimator.model.template.mesh), []
    for done, query in enumerate(queries):
        progress("pictures", done, len(queries))
        found = estimator(query.frame, query.detections)
        boxes = [np.asarray(detection.bbox_xyxy) for detection in query.detections]
        panels.append(_posed(query.frame, shape, found, boxes, query.name, len(queries), settings))
    progress("pictures", len(queries), len(queries))
    return compose(panels, pose_keys(True, settings.fill), settings)


def overlay_of_run(
    aligned: AlignedRun, shots: Sequence[Shot], settings: PictureSettings, progress: Progress = silent
) -> Array:
    """The template where the alignment puts it, drawn into the images of captures."""
    shape, panels = ShadedMesh(aligned.template.mesh), []
    for done, shot in enumerate(shots):
        progress("pictures", done, len(shots))
        box = mask_box(shot.frame.mask)
        pose = PoseEstimate(Detection(box), shot.cam_T_obj, float("nan"))
        panel = _posed(shot.frame, shape, [pose], [box], shot.caption, len(shots), settings)
        panels.append(Panel(panel.picture, shot.caption, not shot.accepted))
    progress("pictures", len(shots), len(shots))
    return compose(panels, pose_keys(False, settings.fill), settings)


def _posed(
    frame: Frame,
    shape: ShadedMesh,
    estimates: Sequence[PoseEstimate],
    boxes: Sequence[Array],
    caption: str,
    panels: int,
    settings: PictureSettings,
) -> Panel:
    picture, camera = windowed(frame.image, frame.camera, _around(boxes, settings), panel_width(settings, panels))
    moved = [_box_in(box, frame.camera, camera) for box in boxes]
    picture = draw_poses(picture, camera, shape, estimates, moved, point(settings), settings.fill)
    return Panel(picture, caption)


def _around(boxes: Sequence[Array], settings: PictureSettings) -> Array | None:
    """The square that the picture shows, as box; None for all of the image."""
    if not settings.crop:
        return None
    every = np.stack(boxes)
    low, high = every[:, :2].min(0), every[:, 2:].max(0)
    return np.concatenate([(low + high) / 2 - s * CROP_MARGIN * (high - low).max() / 2 for s in (1, -1)])


def _box_in(box: Array, camera: Camera, window: Camera) -> Array:
    """A box in an image as one in a window onto the image."""
    change = window.K @ np.linalg.inv(camera.K)
    return np.concatenate([box[i : i + 2] * np.diag(change)[:2] + change[:2, 2] for i in (0, 2)])


def correspondence_of_model(
    estimator: PoseEstimator, queries: Sequence[Query], settings: PictureSettings, progress: Progress = silent
) -> Array:
    """Places on the template as the network says them, pixel by pixel, below each image; errors as in `places`."""
    template, panels = estimator.model.template, []
    paint = PlaceColours(template)
    for done, query in enumerate(queries):
        progress("pictures", done, len(queries))
        boxes = [np.asarray(detection.bbox_xyxy) for detection in query.detections]
        picture, camera = windowed(
            query.frame.image, query.frame.camera, _around(boxes, settings), panel_width(settings, len(queries))
        )
        coloured = _faded(picture)
        for found in places(estimator, query.frame, query.detections):
            coloured = _laid_over(coloured, camera, found, paint)
        panels.append(Panel(np.concatenate([picture, coloured]), query.name))
    progress("pictures", len(queries), len(queries))
    return compose(panels, place_keys(template, settings), settings)


def correspondence_of_run(
    aligned: AlignedRun, shots: Sequence[Shot], settings: PictureSettings, progress: Progress = silent
) -> Array:
    """Places in obj on the captures' own surfaces, where the alignment puts them, below each image."""
    paint, panels = PlaceColours(aligned.template), []
    for done, (shot, shape, colours) in enumerate(_coloured_shapes(aligned, shots, paint)):
        progress("pictures", done, len(shots))
        box = _around([mask_box(shot.frame.mask)], settings)
        picture, camera = windowed(shot.frame.image, shot.frame.camera, box, panel_width(settings, len(shots)))
        drawn, coverage = shape.paint(camera, shot.cam_T_obj, colours, FLAT)
        coloured = blend(_faded(picture), drawn, coverage)
        panels.append(Panel(np.concatenate([picture, coloured]), shot.caption, not shot.accepted))
    progress("pictures", len(shots), len(shots))
    return compose(panels, place_keys(aligned.template, settings), settings)


def _coloured_shapes(
    aligned: AlignedRun, shots: Sequence[Shot], paint: PlaceColours
) -> Iterator[tuple[Shot, ShadedMesh, Array]]:
    """Shots with the surface of their capture in obj, made ready once per capture, and its colours."""
    ready: dict[str, tuple[ShadedMesh, Array]] = {}
    for shot in shots:
        if shot.capture not in ready:
            mesh = aligned.mesh(shot.capture).transformed(aligned.entry(shot.capture).obj_T_world)
            fine = divided(mesh, DENSE)
            ready[shot.capture] = ShadedMesh(fine), paint(fine.vertices)
        yield shot, *ready[shot.capture]


def _faded(picture: Array) -> Array:
    grey = picture.mean(-1, keepdims=True)
    return np.rint(255 - FADED * (255 - np.repeat(grey, 3, axis=-1))).astype(np.uint8)


def _laid_over(picture: Array, camera: Camera, found: Places, paint: PlaceColours) -> Array:
    """The picture with the colours of one detection's pixels, as far as they are object."""
    weight = found.foreground[..., None]
    spread = in_picture(found.crop, np.concatenate([paint(found.points) * weight, weight], axis=-1), camera)
    colour = spread[..., :3] / np.maximum(spread[..., 3:], 1e-6)
    return blend(picture, colour, np.clip((spread[..., 3] - 0.35) / 0.3, 0, 1))


def place_keys(template: Template, settings: PictureSettings) -> list[Key]:
    """The legend: the template from two sides in the colours of its places."""
    side = min(round(1.1 * 72 * point(settings)), print_width(settings) // 3)
    fine = divided(template.mesh, DENSE)
    shape, colours = ShadedMesh(fine), PlaceColours(template)(fine.vertices)
    tiles = []
    for view in (CORNER, BACK):
        drawn, coverage = shape.paint(tile_camera(side), view, colours, FLAT)
        tile = blend(np.full((side, side, 3), 255, np.uint8), drawn, coverage)
        tiles.append(_trimmed(draw_axes(tile, tile_camera(side), view, 1.1 * point(settings))))
    return [
        Key("from the front left", picture=tiles[0]),
        Key("from the back right", picture=tiles[1]),
        *AXIS_KEYS,
        Key("one colour, one place on the template"),
    ]


def _trimmed(tile: Array) -> Array:
    """A tile without the white left and right of what it shows."""
    used = np.flatnonzero((tile < 255).any((0, 2)))
    return tile[:, used[0] : used[-1] + 1]
