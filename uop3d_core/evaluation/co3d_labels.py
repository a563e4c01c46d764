"""Human labels of CO3D sequences: which way is front and up in the world of each.

In: an .npz table (``category``, ``sequence``, ``label_R_world``), or the released folder with
CATEGORY/SEQUENCE/tform_obj.pt.
Out: Labels by sequence, rotations only.
Frames: the released rotations map the world of a sequence, as CO3D's annotations have it, to x left, y back, z up;
``label`` is x front, y left, z up. Scale and origin say nothing.
Source: https://github.com/GenIntel/uns-obj-pose3d, data/co3d/label3d
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from uop3d_core.evaluation.labels import Labels
from uop3d_core.geometry import Array, closest_rotation
from uop3d_core.types import Sim3

LABEL_R_RELEASED = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
"""Front is -y of the released axes, left is x, up is z."""
ARRAYS = ("category", "sequence", "label_R_world")
FILE = "tform_obj.pt"
TOLERANCE = 1e-3


def read_co3d_labels(path: Path, category: str) -> Labels:
    """Read the labels of one category.

    Raises:
        FileNotFoundError: no such file or folder.
        ValueError: it is something else, has no label of the category, or a label is no rotation.
    """
    path = Path(path)
    if path.is_dir():
        found = _folder(path, category)
    elif path.is_file():
        found = _table(path, category)
    else:
        raise FileNotFoundError(f"{path}: no such file or folder of CO3D labels")
    if not found:
        raise ValueError(f"{path}: holds no label of category {category!r}")
    zero = np.zeros(3)
    return Labels(category, {name: Sim3(1.0, LABEL_R_RELEASED @ R, zero) for name, R in sorted(found.items())})


def _table(path: Path, category: str) -> dict[str, Array]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
            missing = [name for name in ARRAYS if name not in content]
            categories, sequences, R = (None, None, None) if missing else (content[name] for name in ARRAYS)
    except (OSError, ValueError, EOFError, TypeError, AttributeError, BadZipFile) as error:
        raise ValueError(f"{path}: not a readable .npz file ({error})") from error
    if missing or categories is None or sequences is None or R is None:
        raise ValueError(f"{path}: has no {', '.join(missing)}; a table of labels has {', '.join(ARRAYS)}")
    if R.shape != (len(categories), 3, 3) or len(sequences) != len(categories):
        raise ValueError(f"{path}: label_R_world has shape {R.shape}, expected ({len(categories)}, 3, 3)")
    chosen = np.flatnonzero(categories == category)
    return {str(sequences[i]): _rotation(R[i], f"{path}: {category} {sequences[i]}") for i in chosen}


def _folder(path: Path, category: str) -> dict[str, Array]:
    """Of the released folder ``label3d/meta_mask/meta``, or one of those above it."""
    bases = (path, path / "meta", path / "meta_mask/meta", path / "label3d/meta_mask/meta")
    below = [folder for base in bases if base.is_dir() for folder in base.iterdir() if folder.name == category]
    files = sorted(below[0].glob(f"*/{FILE}")) if below else []
    return {file.parent.name: _rotation(_tensor(file), str(file)) for file in files}


def _tensor(file: Path) -> Array:
    import torch

    try:
        loaded: Any = torch.load(file, map_location="cpu", weights_only=True)
        return np.asarray(loaded, dtype=np.float64)[:3, :3]
    except Exception as error:  # the reader raises whatever a broken file leads to
        raise ValueError(f"{file}: not a readable tensor of 4 x 4 ({error})") from error


def _rotation(matrix: Array, what: str) -> Array:
    """The rotation that a matrix is but for rounding."""
    R = np.asarray(matrix, dtype=np.float64)
    if R.shape != (3, 3) or not np.isfinite(R).all() or np.abs(R @ R.T - np.eye(3)).max() > TOLERANCE:
        raise ValueError(f"{what}: the label is no rotation")
    if np.linalg.det(R) < 0:
        raise ValueError(f"{what}: the label mirrors space")
    return closest_rotation(R)
