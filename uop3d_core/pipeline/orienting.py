"""Front and up of an aligned run, chosen by hand.

In: a run directory. Out: a picture to choose from; or alignment.json and template.ply with other axes.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from uop3d_core.alignment.template import oriented
from uop3d_core.capture.folder import list_captures
from uop3d_core.capture.nerfstudio import read_nerfstudio
from uop3d_core.correspondence.checkpoint import load_model
from uop3d_core.geometry import Array, inverse_rigid
from uop3d_core.images import mask_box
from uop3d_core.pipeline.aligning import draw_pictures
from uop3d_core.report.orientation import draw_orientation, side_view
from uop3d_core.report.sheets import write_image
from uop3d_core.runs import MESH, AlignmentRecord, Run, load
from uop3d_core.types import Frame

DIRECTIONS = {
    f"{sign}{name}": (1 if sign == "+" else -1) * np.eye(3)[axis] for axis, name in enumerate("xyz") for sign in "+-"
}
FRONTS = ("+x", "45", "+y", "135", "-x", "-135", "-y", "-45")
UPS = ("+z", "-z", "+x", "-x", "+y", "-y")
ORIENT_PICTURE = "orient.png"
PHOTO_SIDE, PHOTO_MARGIN, PHOTO_WITHIN = 400, 1.2, np.deg2rad(30.0)
"""Pixels; side of the cut over that of the mask's box; how far a photograph may be beside the side it stands for."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class OrientResult:
    """What `orient` did.

    Attributes:
        run: the run directory.
        outdated: whether model.safetensors was trained on other axes.
    """

    run: Run
    outdated: bool


def chosen_axes(front: str | None, up: str | None) -> Array:
    """Rotation (3, 3) to new axes.

    Args:
        front: present direction that becomes +x: "+x", "-y", ..., or degrees from +x towards +y; None to keep +x, as
            far as `up` allows.
        up: present direction that becomes +z; None to keep it.

    Raises:
        ValueError: neither a direction nor an angle, or front is not at right angles to up.
    """
    z = _direction(up or "+z", "--up")
    if front is None:
        x = np.array([1.0, 0, 0]) if abs(z[0]) < 0.5 else np.array([0, 0, -z[0]])
    else:
        x = _direction(front, "--front", angles=True)
    if abs(x @ z) > 1e-6:
        raise ValueError(
            f"--front {front} and --up {up or '+z'} contradict each other: the front must be at right angles to up"
        )
    return np.stack([x, np.cross(z, x), z])


def _direction(text: str, option: str, angles: bool = False) -> Array:
    if text in DIRECTIONS:
        return DIRECTIONS[text]
    known = ", ".join(DIRECTIONS) + (", or an angle in degrees from +x towards +y" if angles else "")
    try:
        angle = np.deg2rad(float(text)) if angles else np.nan
    except ValueError:
        angle = np.nan
    if not np.isfinite(angle):
        raise ValueError(f"{option} {text} is no direction: give {known}")
    return np.array([np.cos(angle), np.sin(angle), 0])


def draw_choices(run_folder: Path) -> Run:
    """Draw pictures/orient.png: what every choice of front and up would mean.

    Raises:
        FileNotFoundError: this is no run, or it is not aligned.
        ValueError: something in it is damaged.
    """
    run = Run(run_folder)
    captures_folder = run.read_record().captures_folder
    with run.locked():
        record = run.read_alignment()
        template = run.read_template(record)
        fronts = {name: _direction(name, "--front", angles=True) for name in FRONTS}
        photos = _photos(captures_folder, record, fronts)
        sheet = draw_orientation(template, fronts, {name: chosen_axes(None, name) for name in UPS}, photos)
        write_image(run.pictures / ORIENT_PICTURE, sheet)
    return run


def orient(run_folder: Path, front: str | None, up: str | None) -> OrientResult:
    """Give the aligned captures and the template other axes; see `chosen_axes`. Choosing the present ones keeps these.

    Raises:
        FileNotFoundError: this is no run, or it is not aligned.
        ValueError: something in it is damaged, or front and up are no directions or contradict each other.
    """
    run, new_R_obj = Run(run_folder), chosen_axes(front, up)
    run.read_record()
    with run.locked():
        record = run.read_alignment()
        template, alignment = oriented(run.read_template(record), record.alignment, new_R_obj)
        if np.allclose(new_R_obj, np.eye(3)):
            kept = replace(record.alignment, warnings=alignment.warnings)
            record = run.write_alignment(replace(record, alignment=kept, axes_by_hand=True))
        else:
            record = run.write_alignment(replace(record, alignment=alignment, axes_by_hand=True), template)
        for picture in run.pictures.glob("*.png"):
            picture.unlink()
        meshes = {name: load(run.mesh(name), record.inputs.get(name, ""), MESH) for name in record.alignment.captures}
        found = {name: mesh for name, mesh in meshes.items() if mesh is not None}
        if len(found) == len(meshes):
            draw_pictures(run, found, record)
        return OrientResult(run, _is_outdated(run, record))


def _is_outdated(run: Run, record: AlignmentRecord) -> bool:
    if not run.model.is_file():
        return False
    try:
        return load_model(run.model).metadata.get("alignment") != record.digest
    except ValueError:
        return True


def _photos(captures_folder: Path, record: AlignmentRecord, fronts: Mapping[str, Array]) -> dict[str, Array]:
    """Pictures of the reference from about every side, as far as its capture can be read and has any."""
    name = record.alignment.reference
    try:
        capture = read_nerfstudio(list_captures(captures_folder, [name])[0])
        sides = {side: _nearest(capture.frames, direction, record) for side, direction in fronts.items()}
        return {side: _cut_out(frame) for side, frame in sides.items() if frame is not None}
    except (OSError, ValueError) as error:
        logger.warning("no photographs of %s beside the template: %s", name, error)
        return {}


def _nearest(frames: Sequence[Frame], direction: Array, record: AlignmentRecord) -> Frame | None:
    """The frame whose camera stands nearest to a horizontal direction of obj; None where none is near."""
    obj_T_world = record.alignment.captures[record.alignment.reference].obj_T_world
    worlds_T_cam = [inverse_rigid(frame.cam_T_world) for frame in frames if frame.cam_T_world is not None]
    centres = [obj_T_world.apply(world_T_cam[:3, 3]) for world_T_cam in worlds_T_cam]
    wanted = -side_view(direction)[2, :3]
    cosines = [float(centre @ wanted / np.linalg.norm(centre)) for centre in centres]
    best = int(np.argmax(cosines))
    return frames[best] if cosines[best] > np.cos(PHOTO_WITHIN) else None


def _cut_out(frame: Frame) -> Array:
    """A square picture (PHOTO_SIDE, PHOTO_SIDE, 3) of the object."""
    box = mask_box(frame.mask)
    scale = PHOTO_SIDE / (PHOTO_MARGIN * max(box[2:] - box[:2]))
    shift = (PHOTO_SIDE - 1) / 2 - scale * (box[:2] + box[2:]) / 2
    matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    return cv2.warpAffine(frame.image, matrix, (PHOTO_SIDE, PHOTO_SIDE), flags=cv2.INTER_AREA)
