"""From a video or photos to a capture, in stages that go on where they were interrupted.

In: a video file or a folder of photos. Out: a capture folder, and whether it is good enough to learn from.
What is being worked on lies in the hidden folder ``.work`` of the capture; ``transforms.json`` is written last of all.
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from uop3d_core.atomic import remove_drafts, write_json
from uop3d_core.capture.checking import AGREEMENT, SOFT, FrameFigures, Record, Verdict, check_capture, seen_around
from uop3d_core.capture.features import create_features
from uop3d_core.capture.finishing import write_capture
from uop3d_core.capture.gravity import up_of_world
from uop3d_core.capture.nerfstudio import TRANSFORMS, read_nerfstudio
from uop3d_core.capture.photos import photo_files, pictures_of_folder
from uop3d_core.capture.pictures import Pictures
from uop3d_core.capture.sfm import DATABASE, Reconstruction, read_reconstruction, reconstruct
from uop3d_core.capture.video import pictures_of_video
from uop3d_core.config import CaptureSettings, QualitySettings, SurfaceSettings
from uop3d_core.images import read_rgb
from uop3d_core.pipeline.cutting import Cut, Cutting, cut_object
from uop3d_core.progress import Progress, silent
from uop3d_core.report.filmed import FilmedFrame, draw_capture
from uop3d_core.report.sheets import write_image
from uop3d_core.runs import fingerprint, read_json_object
from uop3d_core.surface import upward
from uop3d_core.surface.mesh import coarse_mesh
from uop3d_core.types import Capture, Frame, Mesh

RECORD, SHEET, WORK = "capture.json", "check.jpg", ".work"
LEAN = 0.5
"""Cosine of the angle to how the cameras are held, below which photos that tell of gravity are not believed."""
NUMBERS = ("taken", "placed", "trusted", "error", "still")
"""Of the record."""


@dataclass(frozen=True)
class Filmed:
    """What a capture is made from.

    Attributes:
        source: video file or folder of photos.
        masks: folder of masks of the photos, or None.
        segmenter: ``NAME:FILE`` of a segmentation model, or None to go by colour and geometry.
        features: ``NAME:FILE`` of a plug-in for local features, or None for COLMAP's.
        K: known (fx, fy, cx, cy) in pixels of the pictures as they are written, or None.
    """

    source: Path
    masks: Path | None = None
    segmenter: str | None = None
    features: str | None = None
    K: tuple[float, float, float, float] | None = None

    def mark(self) -> str:
        """Changes where files do."""
        return fingerprint(source=_listing(self.source), masks=_listing(self.masks) if self.masks else [], K=self.K)


def make_capture(
    filmed: Filmed, folder: Path, settings: CaptureSettings, accept: bool = False, progress: Progress = silent
) -> Verdict:
    """Make a capture, or go on with one; what is finished and still valid is not done again.

    Args:
        filmed: video or photos.
        folder: of the capture; made, or one that this function began.
        settings: of all steps.
        accept: whether it becomes a capture even if it fails a check.
        progress: told of all steps.

    Returns:
        What was checked. transforms.json is only there where it passed, or `accept`.

    Raises:
        FileNotFoundError: there is no such video or folder.
        FileExistsError: `folder` holds something else.
        ImportError: pycolmap is not installed.
        ValueError: no capture can be made of this; the message says why and how to film better.
    """
    if not filmed.source.exists():
        raise FileNotFoundError(f"{filmed.source}: no such video or folder of photos")
    with _at_work(folder) as work:
        pictures, mark = _pictures(filmed, folder, work, settings, progress)
        found, mark = _cameras(pictures, mark, filmed, folder, work, settings, progress)
        (folder / TRANSFORMS).unlink(missing_ok=True)
        cut = _cut(found, pictures, mark, filmed, folder, work, settings, progress)
        return _finished(pictures, found, cut, folder, settings, accept)


def check_folder(folder: Path, settings: QualitySettings) -> tuple[Capture, Verdict]:
    """Check any capture folder.

    Raises:
        FileNotFoundError, ValueError: as `read_nerfstudio`.
    """
    capture = read_nerfstudio(folder)
    record = _record(folder / RECORD)
    mesh, why = _mesh(capture)
    return capture, check_capture(capture, upward(capture), mesh, why, record, settings)


def write_sheet(path: Path, capture: Capture, verdict: Verdict) -> None:
    """Write the picture of a checked capture."""
    frames = [FilmedFrame(f.azimuth, f.elevation, _remark(f)) for f in verdict.frames]
    lines = [(f"{g.name}: {g.value}   ({g.limit})", g.passed) for g in verdict.gates]
    write_image(path, draw_capture(capture, frames, seen_around(verdict.frames), lines))


def _remark(figures: FrameFigures) -> str:
    """What is wrong with a frame, in a word."""
    if figures.agreement < AGREEMENT:
        return "mask differs"
    if figures.cut:
        return "cut"
    return "blurred" if figures.sharpness < SOFT else ""


def _listing(path: Path) -> list[Any]:
    files = [path] if path.is_file() else photo_files(path)
    return [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files]


@contextmanager
def _at_work(folder: Path) -> Iterator[Path]:
    """The working folder of a capture, for one process at a time.

    Raises:
        FileExistsError: the folder holds something else.
        BlockingIOError: another process is at work here.
    """
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file; a capture is a folder")
    begun, new = (folder / WORK).is_dir(), not folder.exists()
    if folder.is_dir() and not begun and any(folder.iterdir()):
        raise FileExistsError(
            f"{folder} holds something else than a capture that was begun here: choose another folder"
        )
    (folder / WORK).mkdir(parents=True, exist_ok=True)
    with (folder / WORK / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BlockingIOError(f"{folder}: another uop3d is at work here; wait for it") from None
        remove_drafts(folder)
        try:
            yield folder / WORK
        except ValueError:
            if new and [path.name for path in folder.rglob("*")] == [WORK, "lock"]:
                shutil.rmtree(folder)  # nothing could be read
            raise


def _stored(path: Path, mark: str) -> dict[str, Any] | None:
    """The content of a JSON file that a finished step left, or None where it is not there or of something else."""
    try:
        content = read_json_object(path)
    except (FileNotFoundError, ValueError):
        return None
    return content if content.get("mark") == mark else None


def _pictures(
    filmed: Filmed, folder: Path, work: Path, settings: CaptureSettings, progress: Progress
) -> tuple[Pictures, str]:
    mark = fingerprint(filmed=filmed.mark(), frames=settings.frames)
    stored = _stored(work / "pictures.json", mark)
    if stored is not None:
        with suppress(KeyError, TypeError):  # another version may have written it
            return Pictures.from_json(stored), mark
    _clear(folder)
    if filmed.source.is_dir():
        pictures = pictures_of_folder(filmed.source, folder, settings.frames, filmed.masks, progress)
    elif filmed.masks is not None:
        raise ValueError("--masks belongs to a folder of photos; frames of a video have no names that masks could have")
    else:
        pictures = pictures_of_video(filmed.source, folder, settings.frames, progress)
    write_json(work / "pictures.json", {"mark": mark, **pictures.to_json()})
    return pictures, mark


def _clear(folder: Path) -> None:
    """Remove what was made from other pictures or with other settings."""
    (folder / TRANSFORMS).unlink(missing_ok=True)
    for name in ("images", "masks", "given"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for path in (folder / WORK).iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != "lock":
            path.unlink()


def _cameras(
    pictures: Pictures,
    mark: str,
    filmed: Filmed,
    folder: Path,
    work: Path,
    settings: CaptureSettings,
    progress: Progress,
) -> tuple[Reconstruction, str]:
    by = {"features": filmed.features} if filmed.features else {}
    mark = fingerprint(pictures=mark, cameras=settings.cameras.model_dump(exclude={"threads"}), **by)
    if _stored(work / "cameras.json", mark) is None:
        shutil.rmtree(work / "model", ignore_errors=True)
        if _stored(work / "features.json", mark) is None:
            for database in work.glob("features*.db*"):
                database.unlink()
            shutil.rmtree(work / "found", ignore_errors=True)
            write_json(work / "features.json", {"mark": mark})
        features = create_features(filmed.features) if filmed.features else None
        reconstruct(pictures, folder, work, settings.cameras, filmed.K, features, progress)
        write_json(work / "cameras.json", {"mark": mark})
    return read_reconstruction(work / "model"), mark


def _cut(
    found: Reconstruction,
    pictures: Pictures,
    mark: str,
    filmed: Filmed,
    folder: Path,
    work: Path,
    settings: CaptureSettings,
    progress: Progress,
) -> Cut:
    mark = fingerprint(cameras=mark, masks=settings.masks, segmenter=_segmenter_mark(filmed.segmenter))
    images = {name: partial(read_rgb, folder / "images" / f"{name}.jpg") for name in found.names}
    frames = tuple(Frame(name, found.cameras[name], images[name], found.cam_T_world[name]) for name in found.names)
    files = {name: folder / "given" / f"{name}.png" for name in found.names}
    ups = {picture.name: np.array(picture.up) for picture in pictures.chosen if picture.up}
    held = upward(Capture(folder.name, frames))
    gravity = up_of_world(ups, found.cam_T_world)
    gravity = gravity if gravity is not None and gravity @ held > LEAN else None
    cutting = Cutting(
        found,
        images,
        work / DATABASE,
        held if gravity is None else gravity,
        gravity is not None,
        {name: path for name, path in files.items() if path.is_file()},
        filmed.segmenter,
    )
    return cut_object(cutting, work / "cut", mark, settings.masks, progress)


def _segmenter_mark(segmenter: str | None) -> list[Any]:
    """Changes where the model's file does."""
    path = Path(segmenter.partition(":")[2]) if segmenter else Path()
    stat = path.stat() if segmenter and path.is_file() else None
    return [segmenter, stat.st_size if stat else 0, stat.st_mtime_ns if stat else 0]


def _finished(
    pictures: Pictures, found: Reconstruction, cut: Cut, folder: Path, settings: CaptureSettings, accept: bool
) -> Verdict:
    kept = [name for name in found.names if cut.confidence.get(name, 0.0) >= settings.masks.confidence]
    if len(kept) < 3:
        raise ValueError(
            f"{folder}: the object could be cut out of {len(kept)} of {len(found.names)} pictures only: "
            + (
                "put it on a ground of another colour, away from other things, or give masks by --masks"
                if cut.still.kept
                else f"{cut.still.reason}; film it again, and let nobody touch it"
            )
        )
    shutil.rmtree(folder / "masks", ignore_errors=True)
    write_capture(folder, found, {name: cut.mask(name) for name in kept}, cut.new_T_world, cut.confidence, cut.level)
    sources = {picture.name: picture.source for picture in pictures.chosen}
    record = Record(
        taken=len(pictures.chosen),
        placed=len(found.names),
        trusted=len(kept),
        error=round(1000 * found.error / max(pictures.chosen[0].width, pictures.chosen[0].height), 4),
        still=cut.still.share,
        notes=pictures.notes + found.notes,
    )
    write_json(folder / RECORD, _record_json(record, sources, cut.confidence))
    capture, verdict = check_folder(folder, settings.quality)
    write_sheet(folder / SHEET, capture, verdict)
    if not (verdict.passed or accept):
        (folder / TRANSFORMS).unlink()
    return verdict


def _record_json(record: Record, sources: Mapping[str, str], confidence: Mapping[str, float]) -> dict[str, Any]:
    frames = {name: {"source": sources[name], "mask_confidence": round(value, 4)} for name, value in confidence.items()}
    return {**vars(record), "notes": list(record.notes), "frames": frames}


def _record(path: Path) -> Record:
    """What making the capture told; nothing where it was made by something else."""
    if not path.is_file():
        return Record()
    content = read_json_object(path)
    known = {key: content.get(key) for key in NUMBERS}
    if not all(value is None or isinstance(value, int | float) for value in known.values()):
        raise ValueError(f"{path}: {', '.join(NUMBERS)} must be numbers; remove the file")
    return Record(**known, notes=tuple(str(note) for note in content.get("notes", ())))


def _mesh(capture: Capture) -> tuple[Mesh | None, str]:
    """The closed mesh of a capture's masks, or None and why there is none."""
    try:
        return coarse_mesh(replace(capture, points=None), SurfaceSettings(vertices=500)), ""
    except ValueError as error:
        return None, str(error)


__all__ = ["Filmed", "check_folder", "make_capture", "write_sheet"]
