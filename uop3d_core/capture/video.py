"""Video to pictures: sharp ones, evenly along the path of the camera.

In: a video file (MP4, MOV, MKV, WebM, AVI). Out: `Pictures`, with the files in the capture's folder of images.
Frames are turned upright as the file says, and have the times of the file, so a variable rate does no harm. High
dynamic range (10 bits by PQ or HLG) is toned down to usual pictures by the decoder of OpenCV 5.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from uop3d_core.capture.mp4 import has_index, is_mp4, transfer_of
from uop3d_core.capture.pictures import (
    ANALYSED,
    Picture,
    Pictures,
    movement,
    scaled_down,
    sharp_enough,
    sharpness,
    well_spread,
    write_picture,
)
from uop3d_core.config import FrameSettings
from uop3d_core.geometry import Array
from uop3d_core.progress import Progress, silent

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
    return is_mp4(path) or head[:4] == b"\x1aE\xdf\xa3" or riff


def pictures_of_video(path: Path, folder: Path, settings: FrameSettings, progress: Progress = silent) -> Pictures:
    """Choose frames of a video and write them to `folder`/images.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a video, damaged from the start, or too short.
    """
    sampled = _Sampled(1 / settings.sampling)
    looks = list(_looks(path, sampled, progress))
    if len(looks) < 2 or looks[-1].time_s - looks[0].time_s < SHORTEST_S:
        length_s = looks[-1].time_s - looks[0].time_s if looks else 0.0
        raise ValueError(
            f"{path}: only {length_s:.1f} s can be read; film the object from all around, slowly, for 20 to 40 s"
        )
    sharp = np.array([sharpness(look.grey) for look in looks])
    moved = [0.0, *(movement(a.grey, b.grey) for a, b in zip(looks, looks[1:], strict=False))]
    spread = np.array(well_spread(sharp, moved, settings.count, settings.motion))
    chosen = [looks[index] for index in spread[sharp_enough(sharp[spread], settings.blur)]]
    notes = tuple(_notes(path, sampled.count, looks[-1].time_s))
    return Pictures(tuple(_write(path, folder, chosen, settings, progress)), True, notes)


def _open(path: Path) -> cv2.VideoCapture:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such video file")
    if path.stat().st_size == 0:
        raise ValueError(f"{path}: the file is empty; copy it from the phone again")
    if not is_video(path):
        raise ValueError(f"{path}: not a video file that is read here (MP4, MOV, MKV, WebM, AVI); convert it")
    if is_mp4(path) and not has_index(path):
        raise ValueError(f"{path}: the file is cut off: its end, which says what is where, is missing; copy it again")
    video = cv2.VideoCapture(str(path.resolve()), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    if not video.isOpened():
        raise ValueError(f"{path}: the video cannot be decoded; it is damaged or of an unknown kind: copy it again")
    video.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
    return video


def _frames(path: Path, wanted: Callable[[int, float], bool]) -> Iterator[tuple[int, float, Array]]:
    """Number, time in seconds and BGR pixels of the frames that are wanted, by number and time."""
    video = _open(path)
    try:
        rate, number, time_s = _rate(video), 0, -1.0
        while video.grab():
            told = video.get(cv2.CAP_PROP_POS_MSEC) / 1000
            time_s = told if told > time_s else time_s + 1 / rate  # some files have no times
            if wanted(number, time_s):
                read, pixels = video.retrieve()
                if read and pixels is not None:
                    yield number, time_s, pixels
            number += 1
    finally:
        video.release()


def _rate(video: cv2.VideoCapture) -> float:
    rate = float(video.get(cv2.CAP_PROP_FPS))
    return rate if 0 < rate < 1000 else 30.0


class _Sampled:
    """Whether a frame comes so long after the last one that was wanted; counts those that came by."""

    def __init__(self, step_s: float) -> None:
        self.count, self._step_s, self._due = 0, step_s, -np.inf

    def __call__(self, number: int, time_s: float) -> bool:
        """Ask about the next frame."""
        self.count = number + 1
        if time_s < self._due - 1e-3:
            return False
        self._due = max(self._due + self._step_s, time_s + self._step_s / 2)
        return True


def _length(path: Path) -> int:
    """Number of frames, as the file says (0 where it does not)."""
    video = _open(path)
    length = video.get(cv2.CAP_PROP_FRAME_COUNT)
    video.release()
    return max(0, int(length)) if np.isfinite(length) else 0


def _looks(path: Path, sampled: _Sampled, progress: Progress) -> Iterator[_Look]:
    length = _length(path)
    progress("looking", 0, length)
    for number, time_s, pixels in _frames(path, sampled):
        yield _Look(number, time_s, cv2.cvtColor(scaled_down(pixels, ANALYSED)[0], cv2.COLOR_BGR2GRAY))
        progress("looking", min(number + 1, length), length)


def _write(
    path: Path, folder: Path, chosen: list[_Look], settings: FrameSettings, progress: Progress
) -> Iterator[Picture]:
    progress("frames", 0, len(chosen))
    wanted = {look.number for look in chosen}
    for index, (_, time_s, pixels) in enumerate(_frames(path, lambda number, _: number in wanted)):
        image, _ = scaled_down(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), settings.size)
        yield write_picture(folder, Picture(f"{index:04d}", f"{path.name} at {time_s:.2f} s", 0, 0, 0.0), image)
        progress("frames", index + 1, len(chosen))


def _notes(path: Path, read: int, last_s: float) -> Iterator[str]:
    length = _length(path)
    if length and read < 0.95 * length:
        whole_s = last_s * length / max(read, 1)
        yield f"{path.name} is damaged or cut off: only the first {last_s:.1f} s of {whole_s:.1f} s can be read"
    if is_mp4(path) and (transfer := transfer_of(path)) != "sdr":
        yield (
            f"{path.name} is of high dynamic range ({transfer.upper()}): OpenCV 5 tones it down to usual pictures, "
            "older ones leave it pale"
        )
