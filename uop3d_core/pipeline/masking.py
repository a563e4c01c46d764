"""Masks for captures that came with cameras but without masks: cut out by geometry and colour, or by a model.

In: a `Recording` with its own cameras (world of the source). Out: the same with masks, those frames left out whose mask
cannot be trusted. Features are triangulated with the cameras as they are; the world stays that of the source.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from uop3d_core.atomic import replaced, write_text
from uop3d_core.capture.pictures import Picture, Pictures, scaled_down, write_picture
from uop3d_core.capture.recordings import Recording, Shot, capture_of
from uop3d_core.capture.sfm import DATABASE, Reconstruction
from uop3d_core.capture.triangulation import triangulate
from uop3d_core.config import CaptureSettings
from uop3d_core.geometry import Array
from uop3d_core.images import read_mask, read_rgb
from uop3d_core.pipeline.cutting import Cutting, cut_object
from uop3d_core.progress import Progress, silent
from uop3d_core.runs import fingerprint
from uop3d_core.surface import upward
from uop3d_core.types import Camera


def with_cut_masks(
    recording: Recording,
    work: Path,
    settings: CaptureSettings,
    segmenter: str | None = None,
    progress: Progress = silent,
) -> Recording:
    """Cut the object out of all images of a recording.

    Args:
        recording: its masks, if any, are not used.
        work: folder for pictures, features and masks; must be kept as long as the result is used.
        settings: of pictures, matching and masks.
        segmenter: ``NAME:FILE`` of a segmentation model, or None to go by colour and geometry.
        progress: told of all steps.

    Raises:
        ImportError: pycolmap is not installed.
        ValueError: cameras do not fit the images, or no object can be cut out.
    """
    _of_this(recording, work, settings)
    numbered = {f"{index:06d}": shot for index, shot in enumerate(recording.shots)}
    cameras = {name: _prepared(shot, name, work, settings.frames.size) for name, shot in numbered.items()}
    images = {name: partial(read_rgb, work / "images" / f"{name}.jpg") for name in numbered}
    chosen = [Picture(name, numbered[name].name, c.width, c.height, 0.0) for name, c in cameras.items()]
    poses = {name: shot.cam_T_world for name, shot in numbered.items()}
    found = triangulate(Pictures(tuple(chosen), False), cameras, poses, work, settings.cameras, progress)
    up = upward(capture_of(recording))
    cutting = Cutting(found, images, work / DATABASE, up, recording.up is not None, {}, segmenter)
    mark = fingerprint(masks=settings.masks, segmenter=segmenter)
    cut = cut_object(cutting, work / "cut", mark, settings.masks, progress)
    kept = {name for name, value in cut.confidence.items() if value >= settings.masks.confidence}
    if len(kept) < 3:
        raise ValueError(
            f"capture {recording.name}: the object could be cut out of {len(kept)} of {len(cameras)} images only"
            f"{'' if cut.still.kept else ': ' + cut.still.reason}; give masks by --masks or a model by --segmenter"
        )
    shots = tuple(_masked(shot, cut.mask(name)) for name, shot in numbered.items() if name in kept)
    left = [shot.name for name, shot in numbered.items() if name not in kept]
    return replace(recording, shots=shots, notes=(*recording.notes, *_notes(left, found)))


def _of_this(recording: Recording, work: Path, settings: CaptureSettings) -> None:
    """Empty the folder where it was begun with something else."""
    stats = [(shot.name, str(shot.image), shot.image.stat()) for shot in recording.shots]
    mark = fingerprint(
        images=[[name, path, stat.st_size, stat.st_mtime_ns] for name, path, stat in stats],
        cameras=[
            [*shot.camera.K.ravel(), *shot.camera.distortion, *shot.cam_T_world.ravel()] for shot in recording.shots
        ],
        settings=[settings.frames.model_dump(), settings.cameras.model_dump(exclude={"threads"})],
    )
    path = work / "mark"
    if not path.is_file() or path.read_text(encoding="utf-8") != mark:
        shutil.rmtree(work, ignore_errors=True)
        write_text(path, mark)


def _prepared(shot: Shot, name: str, work: Path, size: int) -> Camera:
    """Write the image of a shot, scaled down, to `work`/images; its camera there."""
    camera = shot.camera
    if not (work / "images" / f"{name}.jpg").is_file():
        image, _ = scaled_down(read_rgb(shot.image), size)
        write_picture(work, Picture(name, shot.name, 0, 0, 0.0), image)
    factor = min(1.0, size / max(camera.width, camera.height))
    width, height = (max(1, round(side * factor)) for side in (camera.width, camera.height))
    corner = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])  # from pixel centres at integers to edges
    K = np.linalg.inv(corner) @ np.diag([width / camera.width, height / camera.height, 1.0]) @ corner @ camera.K
    return replace(camera, K=K, width=width, height=height)


def _masked(shot: Shot, mask: Path) -> Shot:
    """The shot with a mask of the size of its image."""
    size = (shot.camera.width, shot.camera.height)
    small: Array = read_mask(mask).astype(np.uint8) * 255
    if small.shape[::-1] != size:
        large = cv2.resize(small, size, interpolation=cv2.INTER_LINEAR) >= 128
        mask = mask.with_name(f"{shot.name}.full.png")
        with replaced(mask) as draft:
            Image.fromarray(large.astype(np.uint8) * 255).save(draft)
    return replace(shot, mask=mask)


def _notes(left: list[str], found: Reconstruction) -> list[str]:
    notes = [f"the given cameras see {len(found.points)} points, with an error of {found.error:.1f} px"]
    if left:
        notes.append(
            f"{len(left)} frames were left out, whose masks do not agree with the others: {', '.join(left[:5])}"
        )
    return notes
