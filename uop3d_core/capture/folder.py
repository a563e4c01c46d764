"""Category folders: one sub-folder per capture.

In: a folder. Out: the capture folders in it, or the captures themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from uop3d_core.capture.nerfstudio import TRANSFORMS, read_nerfstudio
from uop3d_core.types import Capture


def list_captures(folder: Path, only: Sequence[str] = ()) -> list[Path]:
    """Capture folders of a category, sorted by name; a folder that is one capture itself stands for itself.

    Args:
        folder: holds one sub-folder with transforms.json per capture, or is one capture. Hidden sub-folders and
            sub-folders without transforms.json are skipped.
        only: names of the captures wanted; empty for all.

    Raises:
        FileNotFoundError: there is no such folder, or no capture in it.
        ValueError: `only` names captures that are not there; the message lists those that are.
    """
    folder = Path(folder).resolve()
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    candidates = [folder] if (folder / TRANSFORMS).is_file() else sorted(folder.iterdir())
    found = {path.name: path for path in candidates if path == folder or _is_capture(path)}
    if not found:
        raise FileNotFoundError(f"{folder}: no captures here; each is a sub-folder with {TRANSFORMS}, images and masks")
    missing = [name for name in only if name not in found]
    if missing:
        raise ValueError(f"{folder}: there is no capture {', '.join(missing)}; there are {', '.join(found)}")
    return [path for name, path in found.items() if not only or name in only]


def read_captures(folder: Path, only: Sequence[str] = ()) -> list[Capture]:
    """Read the captures that `list_captures` finds; pixels stay on disk.

    Raises:
        FileNotFoundError, ValueError: as `list_captures` and `read_nerfstudio`.
    """
    return [read_nerfstudio(path) for path in list_captures(folder, only)]


def _is_capture(path: Path) -> bool:
    return not path.name.startswith(".") and (path / TRANSFORMS).is_file()
