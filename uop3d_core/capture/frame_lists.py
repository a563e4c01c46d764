"""Lists of frames by capture: which ones a training does without, or a test is made of.

In: a JSON file ``{capture: [frame names]}``. Out: the same, checked; captures without these frames.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path

from uop3d_core.runs import read_json_object
from uop3d_core.types import Capture

FrameLists = dict[str, list[str]]


def read_frame_lists(path: Path, captures: Collection[str]) -> FrameLists:
    """Read a file of frame lists.

    Args:
        path: the file.
        captures: names of all captures that there are; the file may name any of them.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not of this form, a name is there twice, nothing is listed, or a capture is unknown.
    """
    content = read_json_object(path)
    for name, frames in content.items():
        if not isinstance(frames, list) or not all(isinstance(frame, str) for frame in frames):
            raise ValueError(f'{path}: {name} must have a list of frame names, as in {{"capture": ["0001", "0002"]}}')
        if len(set(frames)) != len(frames):
            raise ValueError(f"{path}: {name} has a frame twice")
    unknown = [name for name in content if name not in captures]
    if unknown:
        raise ValueError(f"{path}: there is no capture {', '.join(unknown)}; there are {', '.join(sorted(captures))}")
    if not any(content.values()):
        raise ValueError(f"{path}: no frame is listed")
    return {name: list(frames) for name, frames in content.items()}


def check_frames(lists: FrameLists, captures: Iterable[Capture]) -> None:
    """Refuse lists that name frames which these captures do not have.

    Raises:
        ValueError: there is such a frame.
    """
    for capture in captures:
        known = {frame.name for frame in capture.frames}
        unknown = [name for name in lists.get(capture.name, ()) if name not in known]
        if unknown:
            some = ", ".join(sorted(known)[:5])
            raise ValueError(f"capture {capture.name} has no frame {', '.join(unknown)}; it has {some} ...")


def without_frames(capture: Capture, names: Collection[str]) -> Capture:
    """The capture without some of its frames.

    Raises:
        ValueError: fewer than two frames are left.
    """
    left = tuple(frame for frame in capture.frames if frame.name not in names)
    if len(left) < 2:
        raise ValueError(f"capture {capture.name} has {len(left)} frame(s) left without those listed; 2 are needed")
    return replace(capture, frames=left)
