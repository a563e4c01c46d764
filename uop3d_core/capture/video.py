"""Video to pictures: sharp ones, evenly along the path of the camera.

In: a video file (MP4, MOV, MKV, WebM, AVI). Out: `Pictures`, with the files in the capture's folder of images.
Frames are turned upright as the file says, and have the times of the file, so a variable rate does no harm.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from uop3d_core.capture.pictures import (
    Picture,
    Pictures,
    movement,
    scaled_down,
    sharpness,
    well_spread,
    write_picture,
)
from uop3d_core.config import FrameSettings
from uop3d_core.geometry import Array
from uop3d_core.progress import Progress, silent

BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
"""First boxes of MP4 and MOV files."""
SHORTEST_S = 2.0


@dataclass(frozen=True, eq=False)
class _Look:
    """What is remembered of a frame: its number, time in seconds, small grey picture."""

    number: int
    time_s: float
    grey: Array


def is_video(path: Path) -> bool:
    """Whether a file begins as the videos do that are read here."""
    with path.open("rb") as file:
        head = file.read(12)
    riff = head[:4] == b"RIFF" and head[8:12] == b"AVI "
    return head[4:8] in BOXES or head[:4] == b"\x1aE\xdf\xa3" or riff


def pictures_of_video(path: Path, folder: Path, settings: FrameSettings, progress: Progress = silent) -> Pictures:
    """Choose frames of a video and write them to `folder`/images.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a video, damaged from the start, or too short.
    """
    looks = list(_looks(path, settings, progress))
    if len(looks) < 2 or looks[-1].time_s - looks[0].time_s < SHORTEST_S:
        length = looks[-1].time_s - looks[0].time_s if looks else 0.0
        raise ValueError(
            f"{path}: only {length:.1f} s can be read; film the object from all around, slowly, for 20 to 40 s"
        )
    sharp = np.array([sharpness(look.grey) for look in looks])
    moved = [0.0, *(movement(a.grey, b.grey) for a, b in zip(looks, looks[1:], strict=False))]
    chosen = [looks[index] for index in well_spread(sharp, moved, settings.count, settings.motion)]
    notes = _notes(path, looks)
    return Pictures(tuple(_write(path, folder, chosen, settings, progress)), True, tuple(notes))


def _open(path: Path) -> cv2.VideoCapture:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such video file")
    if path.stat().st_size == 0:
        raise ValueError(f"{path}: the file is empty; copy it from the phone again")
    if not is_video(path):
        raise ValueError(f"{path}: not a video file that is read here (MP4, MOV, MKV, WebM, AVI); convert it")
    video = cv2.VideoCapture(str(path.resolve()), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    if not video.isOpened():
        raise ValueError(f"{path}: the video cannot be decoded; it is damaged or of an unknown kind: copy it again")
    video.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
    return video


def _frames(path: Path, wanted: set[int] | None, step: int) -> Iterator[tuple[int, float, Array]]:
    """Number, time in seconds and BGR pixels of the wanted frames, or of every `step`-th one."""
    video = _open(path)
    try:
        number = 0
        while video.grab():
            if (number in wanted) if wanted is not None else number % step == 0:
                time_s = video.get(cv2.CAP_PROP_POS_MSEC) / 1000
                read, pixels = video.retrieve()
                if read and pixels is not None:
                    yield number, time_s, pixels
            number += 1
    finally:
        video.release()


def _rate_and_length(path: Path) -> tuple[float, int]:
    """Frames per second and number of frames, as the file says (0 where it does not)."""
    video = _open(path)
    rate, length = video.get(cv2.CAP_PROP_FPS), video.get(cv2.CAP_PROP_FRAME_COUNT)
    video.release()
    return (rate if 0 < rate < 1000 else 30.0), max(0, int(length))


def _looks(path: Path, settings: FrameSettings, progress: Progress) -> Iterator[_Look]:
    rate, length = _rate_and_length(path)
    step = max(1, round(rate / settings.sampling))
    progress("looking", 0, length)
    for number, time_s, pixels in _frames(path, None, step):
        yield _Look(number, time_s, cv2.cvtColor(scaled_down(pixels, 320)[0], cv2.COLOR_BGR2GRAY))
        progress("looking", min(number + step, length), length)


def _write(
    path: Path, folder: Path, chosen: list[_Look], settings: FrameSettings, progress: Progress
) -> Iterator[Picture]:
    progress("frames", 0, len(chosen))
    for index, (_, time_s, pixels) in enumerate(_frames(path, {look.number for look in chosen}, 1)):
        image, _ = scaled_down(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), settings.size)
        yield write_picture(folder, Picture(f"{index:04d}", f"{path.name} at {time_s:.2f} s", 0, 0, 0.0), image)
        progress("frames", index + 1, len(chosen))


def _notes(path: Path, looks: list[_Look]) -> list[str]:
    rate, length = _rate_and_length(path)
    read = looks[-1].number + 1
    if length and read < 0.9 * length:
        return [f"{path.name} is damaged: only the first {read / rate:.1f} s of {length / rate:.1f} s can be read"]
    return []
