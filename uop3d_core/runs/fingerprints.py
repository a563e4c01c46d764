"""What tells inputs apart: digests of settings and captures, names that can stand in paths, seeds made of names.

In: settings, folders, names. Out: hex digests, random generators.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from uop3d_core.config import Settings

FORMAT = 2
"""Of run.json and all artefacts; raised when older ones can no longer be used, as after a change of an algorithm."""
CAPTURE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


def fingerprint(**parts: Any) -> str:
    """Hex digest of settings, names and other fingerprints; the same parts give the same digest everywhere."""
    plain = {key: value.model_dump() if isinstance(value, Settings) else value for key, value in parts.items()}
    text = json.dumps({"format": FORMAT, **plain}, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def capture_fingerprint(folder: Path) -> str:
    """Digest of a capture folder: content of its JSON files; name, size and time of change of all others."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    listing = []
    for path in files:
        stat = path.stat()
        is_json = path.suffix == ".json"
        listing.append([path.relative_to(folder).as_posix(), stat.st_size, 0 if is_json else stat.st_mtime_ns])
    content = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files if path.suffix == ".json"]
    return fingerprint(listing=listing, content=content)


def check_capture_name(name: str) -> str:
    """Return the name if it can serve as a file name.

    Raises:
        ValueError: it holds other characters than letters, digits, ``.``, ``_``, ``-``, or starts with ``.`` or ``-``.
    """
    if not CAPTURE_NAME.fullmatch(name):
        raise ValueError(
            f"capture name {name!r} cannot be used: rename its folder to letters, digits, '.', '_' and '-' "
            "(neither '.' nor '-' in front)"
        )
    return name


def pair_generator(seed: int, names: Sequence[str]) -> np.random.Generator:
    """Random generator that depends on the seed and the names alone, not on the order of the work."""
    digest = hashlib.sha256("\0".join(names).encode()).digest()
    return np.random.default_rng([seed, *np.frombuffer(digest, np.uint32).tolist()])
