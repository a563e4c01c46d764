"""Runs and captures to what the viewer shows.

In: a run directory, or capture folders. Out: a Scene; captures of a run in obj, single ones about as large.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from uop3d_core.alignment.comparison import evenly
from uop3d_core.capture.folder import list_captures
from uop3d_core.capture.nerfstudio import read_nerfstudio
from uop3d_core.config import SurfaceSettings
from uop3d_core.geometry import Array, inverse_rigid, rigid_through_similarity
from uop3d_core.pipeline.loops import make_mesh, unit_frame
from uop3d_core.pipeline.turning import check_colour, coloured_surface
from uop3d_core.pipeline.viewing import AlignedRun
from uop3d_core.progress import Progress, silent
from uop3d_core.report.colouring import photographed
from uop3d_core.surface import upward
from uop3d_core.types import Capture, Sim3
from uop3d_core.viewer.scene import Scene, ShownCamera, Thing

MOST_CAPTURES, MOST_CAMERAS, MOST_POINTS = 60, 24, 20_000
THUMBNAIL = 160
"""Longer side in pixels of the photographs in the scene."""


def scene_of_run(folder: Path, only: Sequence[str] = (), colour: str = "photo", progress: Progress = silent) -> Scene:
    """An alignment with its template.

    Args:
        folder: an aligned run.
        only: captures; all where it is empty, accepted ones first.
        colour: of surfaces; see `turning.COLOURS`.
        progress: is told "surfaces".

    Raises:
        FileNotFoundError, ValueError: this is no aligned run, it has no such capture, or an unknown colour.
    """
    check_colour(colour)
    aligned = AlignedRun(folder)
    names, notes, things = aligned.names(only, MOST_CAPTURES), list(aligned.aligned.alignment.warnings), []
    if not aligned.has_captures:
        notes.append(f"{aligned.record.captures_folder}: the captures are not there any more: no photographs are shown")
    left_out = len(aligned.names(only)) - len(names)
    if left_out:
        notes.append(f"{left_out} captures are not shown: name those to see, --only A,B")
    for done, name in enumerate(names):
        progress("surfaces", done, len(names))
        try:
            things.append(_aligned_thing(aligned, name, colour))
        except (OSError, ValueError) as error:
            notes.append(f"{name} is not shown: {error}")
    progress("surfaces", len(names), len(names))
    if not things:
        raise ValueError(f"{folder}: nothing of it can be shown: {' '.join(notes)}")
    title = aligned.aligned.alignment.category
    return Scene(title, tuple(things), aligned.template.mesh, True, tuple(notes))


def _aligned_thing(aligned: AlignedRun, name: str, colour: str) -> Thing:
    entry, capture = aligned.entry(name), aligned.capture(name) if aligned.has_captures else None
    mesh, colours = coloured_surface(aligned, name, "clay" if capture is None and colour == "photo" else colour)
    note = f"agreement {entry.score:.2f}" + ("" if entry.accepted or not entry.reason else f", {entry.reason}")
    at = entry.obj_T_world
    cameras, points = ((), None) if capture is None else (_cameras(capture, at), _points(capture, at))
    return Thing(name, mesh, colours, cameras, points, entry.accepted, note)


def scene_of_captures(folders: Sequence[Path], colour: str = "photo", progress: Progress = silent) -> Scene:
    """Captures on their own, each upright and about as large as the others; their surfaces are made for it.

    Args:
        folders: captures, or folders of captures.
        colour: photo or clay.
        progress: is told "surfaces".

    Raises:
        FileNotFoundError, ValueError: one cannot be read, or two have one name, or a colour that needs a template.
    """
    if check_colour(colour) == "place":
        raise ValueError("captures have no common template to colour their places by: take photo or clay, or a run")
    paths = [path for folder in folders for path in list_captures(folder)]
    names = [path.name for path in paths]
    if len(set(names)) < len(names):
        raise ValueError(f"two captures have the same name among {', '.join(sorted(names))}: view them one by one")
    if len(paths) > MOST_CAPTURES:
        raise ValueError(f"{len(paths)} captures are too many to view at once: at most {MOST_CAPTURES}")
    things = []
    for done, path in enumerate(paths):
        progress("surfaces", done, len(paths))
        things.append(_single_thing(read_nerfstudio(path), colour))
    progress("surfaces", len(paths), len(paths))
    return Scene("captures", tuple(things))


def _single_thing(capture: Capture, colour: str) -> Thing:
    mesh = make_mesh(capture, SurfaceSettings())
    up_R_world = _upright(upward(capture))
    unit = unit_frame(mesh.transformed(Sim3(1.0, up_R_world, np.zeros(3))))
    thing_T_world = Sim3(unit.scale, up_R_world, unit.t)
    fine, colours = photographed(mesh, capture) if colour == "photo" else (mesh, None)
    note = f"{len(capture.frames)} frames"
    surface, points = fine.transformed(thing_T_world), _points(capture, thing_T_world)
    return Thing(capture.name, surface, colours, _cameras(capture, thing_T_world), points, note=note)


def _upright(up: Array) -> Array:
    """A rotation (3, 3) that carries a unit vector onto z."""
    x = np.cross(up, np.eye(3)[np.abs(up).argmin()])
    x /= np.linalg.norm(x)
    return np.stack([x, np.cross(up, x), up])


def _cameras(capture: Capture, thing_T_world: Sim3) -> tuple[ShownCamera, ...]:
    shown = []
    for frame in evenly(capture.frames, MOST_CAMERAS):
        assert frame.cam_T_world is not None  # a Capture has them all
        at = thing_T_world
        cam_T_thing = rigid_through_similarity(frame.cam_T_world, at.scale, at.R, at.t)
        image = frame.image
        factor = THUMBNAIL / max(image.shape[:2])
        size = max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        shown.append(ShownCamera(frame.name, frame.camera, inverse_rigid(cam_T_thing), small))
    return tuple(shown)


def _points(capture: Capture, thing_T_world: Sim3) -> Array | None:
    if capture.points is None:
        return None
    step = max(1, len(capture.points) // MOST_POINTS)
    return thing_T_world.apply(capture.points[::step])
