"""Images: reading from and writing to disk, boxes of masks.

Pixels have integer centres: the first pixel covers [-0.5, 0.5]. Images are uint8 RGB (H, W, 3), masks bool (H, W).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from uop3d_core.geometry import Array


def _open(path: Path, mode: str) -> Array:
    try:
        with Image.open(path) as image:
            return np.array(image.convert(mode))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: no such image file") from error
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: not a readable image ({error}); replace the file") from error


def read_rgb(path: Path) -> Array:
    """Read an image as (H, W, 3) uint8 RGB; grey images are repeated, alpha is dropped.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a readable image.
    """
    return _open(path, "RGB")


def read_mask(path: Path) -> Array:
    """Read a mask as (H, W) bool: True where the grey value is at least 128.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a readable image.
    """
    return _open(path, "L") >= 128


def write_rgb(path: Path, image: Array) -> None:
    """Write (H, W, 3) uint8 RGB as PNG or JPEG, by the file's ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


def mask_box(mask: Array) -> Array:
    """Bounding box (4,) xyxy of a mask, along the outer edges of its pixels.

    Raises:
        ValueError: the mask is empty.
    """
    ys, xs = np.nonzero(mask)
    if len(xs) == 0:
        raise ValueError("the mask is empty")
    return np.array([xs.min() - 0.5, ys.min() - 0.5, xs.max() + 0.5, ys.max() + 0.5])
