"""Files and folders that appear whole or not at all, however the process ends.

In: where something is to stand. Out: a temporary place beside it, which takes its name when the writing is done.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from torch import Tensor

DRAFT = ".draft-"
"""Files whose names begin like this were left by a process that was killed."""


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Give a path to write to, which replaces `path` when the block ends and vanishes when it fails.

    Missing folders are made; the temporary file has the ending of `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{DRAFT}{secrets.token_hex(6)}-{path.name}")
    try:
        draft.touch()
        mode = draft.stat().st_mode
        yield draft
        draft.chmod(mode)  # some writers make files that others may not read
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file at once."""
    with replaced(path) as draft:
        draft.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file at once."""
    write_bytes(path, text.encode())


def write_json(path: Path, content: Any) -> None:
    """Write JSON at once, indented.

    Raises:
        ValueError: the content holds NaN or infinite numbers, which JSON does not know.
    """
    write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file at once by a function that gets it open for binary writing."""
    with replaced(path) as draft, draft.open("wb") as file:
        write(file)


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write torch tensors as a safetensors file at once."""
    from safetensors.torch import save_file

    with replaced(path) as draft:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, draft, dict(metadata))


def remove_drafts(folder: Path) -> None:
    """Remove what killed processes left in a folder and below; nobody else may be writing there."""
    for path in folder.rglob(f"{DRAFT}*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


@contextmanager
def replaced_when_complete(folder: Path) -> Iterator[Path]:
    """Give an empty folder to write to, which becomes `folder` when the block ends and vanishes when it fails.

    Raises:
        FileExistsError: `folder` exists and is not an empty folder.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise FileExistsError(f"{folder} exists and is not an empty folder: remove it or choose another one")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as scratch:
        draft = Path(scratch) / folder.name
        draft.mkdir()
        yield draft
        os.replace(draft, folder)
