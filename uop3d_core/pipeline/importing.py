"""Captures of other programs into capture folders, and capture folders to other programs.

In: a file or folder in some format. Out: capture folders that hold everything they need, or the other way round.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from uop3d_core.capture.formats import detect_format, load_exporter, load_importer
from uop3d_core.capture.nerfstudio import TRANSFORMS, read_recording, write_recording
from uop3d_core.capture.recordings import ImportOptions, Recording, evenly_chosen, with_masks
from uop3d_core.config import CaptureSettings
from uop3d_core.pipeline.masking import with_cut_masks
from uop3d_core.progress import Progress, silent
from uop3d_core.runs import check_capture_name

NO_MASKS = (
    "learning needs a mask of the object in every frame: --masks DIR takes yours, --cut-out makes them by the cameras "
    "as they are, and `uop3d capture DIR/images --out NEW` with cameras of its own"
)


@dataclass(frozen=True)
class Imported:
    """One capture folder.

    Attributes:
        folder: where it is.
        frames: how many it has.
        unmasked: how many of them have no mask.
        points: how many points it has.
        notes: what a person should know, one sentence each.
        reused: whether it was there already.
    """

    folder: Path
    frames: int
    unmasked: int
    points: int
    notes: tuple[str, ...] = ()
    reused: bool = False


def import_captures(
    source: Path,
    out: Path,
    format: str = "auto",
    *,
    options: ImportOptions | None = None,
    masks: Path | None = None,
    cut: CaptureSettings | None = None,
    segmenter: str | None = None,
    link: bool = False,
    progress: Progress = silent,
) -> list[Imported]:
    """Make capture folders: `out` itself, or folders in it where the format holds many captures.

    Where there are many, those that are finished already are left as they are, so that an interrupted import goes on.

    Args:
        source: file or folder.
        out: what to make.
        format: name of the format, or "auto" to look which one it is.
        options: which images and captures.
        masks: folder with a mask of every image, NAME.png or FILE.png.
        cut: how to cut the object out of the images, with the cameras as they are; None to leave it.
        segmenter: ``NAME:FILE`` of a model that cuts it out, or None to go by colour and geometry.
        link: hard links instead of copies where possible.
        progress: is told "import", and of the steps of cutting out.

    Raises:
        FileNotFoundError, ValueError: the source cannot be read; nothing is left of the capture it happened in.
        FileExistsError: `out` is one capture and not empty.
    """
    if not source.exists():
        raise FileNotFoundError(f"{source}: no such file or folder")
    if out.resolve() == source.resolve() or out.resolve().is_relative_to(source.resolve()):
        raise ValueError(f"{out}: lies inside of what is imported; choose another folder")
    options = options or ImportOptions()
    importer = load_importer(detect_format(source) if format == "auto" else format)
    done: list[Imported] = []
    for recording in importer.recordings(source, options):
        progress("import", len(done), len(done) + 1)
        folder = out / check_capture_name(recording.name) if importer.many else out
        reused = importer.many and (folder / TRANSFORMS).is_file()
        if reused:
            recording = read_recording(folder)
        else:
            recording = evenly_chosen(with_masks(recording, masks) if masks else recording, options.frames)
            if options.up is not None:
                recording = replace(recording, up=np.array(options.up) / np.linalg.norm(options.up))
            recording = _written(recording, folder, cut, segmenter, link, progress)
        points = 0 if recording.points is None else len(recording.points)
        done.append(Imported(folder, len(recording.shots), recording.unmasked, points, recording.notes, reused))
        progress("import", len(done), len(done))
    if not done:
        raise ValueError(f"{source}: holds no capture")
    return done


def _written(
    recording: Recording,
    folder: Path,
    cut: CaptureSettings | None,
    segmenter: str | None,
    link: bool,
    progress: Progress,
) -> Recording:
    """Write a recording as a capture folder, cut out before if that is asked for; as it was written."""
    if cut is None:
        write_recording(recording, folder, link)
        return recording
    work = folder.absolute().with_name(f".{folder.name}.work")
    work.mkdir(parents=True, exist_ok=True)
    recording = with_cut_masks(recording, work, cut, segmenter, progress)
    write_recording(recording, folder, link)
    shutil.rmtree(work)
    return recording


def export_capture(capture: Path, out: Path, format: str) -> None:
    """Write one capture folder in another format; masks may be missing.

    Raises:
        FileNotFoundError, ValueError: it is not a capture, or the format cannot hold it.
        FileExistsError: `out` is not empty.
    """
    exporter = load_exporter(format)
    if out.resolve().is_relative_to(capture.resolve()):
        raise ValueError(f"{out}: lies inside of what is exported; choose another folder")
    exporter.write(read_recording(capture), out)
