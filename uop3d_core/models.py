"""Model files of all kinds, told apart by their endings: trained ones and exported ones.

In: a path. Out: a `Learned`. What reads a kind of file is imported when such a file is read.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

from uop3d_core.learned import Learned

READERS = {
    ".safetensors": "uop3d_core.correspondence.checkpoint:load_model",
    ".onnx": "uop3d_core.exported.onnx_file:read",
    ".xml": "uop3d_core.exported.openvino_file:read",
}


def read_model(path: Path) -> Learned:
    """Read a model file; one with an unknown ending is taken for a trained one.

    Raises:
        FileNotFoundError: there is none.
        ImportError: what reads it is not installed.
        ValueError: damaged, foreign, or of another format.
    """
    module, _, name = READERS.get(path.suffix.lower(), READERS[".safetensors"]).partition(":")
    reader: Callable[[Path], Learned] = getattr(importlib.import_module(module), name)
    return reader(path)
