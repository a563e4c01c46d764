"""JSON files, read with errors that name the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not JSON.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not valid JSON ({error})") from error


def read_json_object(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not JSON, or no object.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path}: must hold a JSON object, not {type(content).__name__}")
    return content
