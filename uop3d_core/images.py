"""Images: reading from and writing to disk, boxes of masks.

Pixels have integer centres: the first pixel covers [-0.5, 0.5]. Images are uint8 RGB (H, W, 3), masks bool (H, W).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from uop3d_core.geometry import Array

DEPTH_ENDINGS = (".npy", ".png")


def _open(path: Path, mode: str) -> Array:
    try:
        with Image.open(path) as image:
            return np.array(image.convert(mode))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: no such image file") from error
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: not a readable image ({error}); replace the file") from error


def read_rgb(path: Path | str) -> Array:
    """Read an image as (H, W, 3) uint8 RGB; grey images are repeated, alpha is dropped.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a readable image.

    Examples:
        >>> image = read_rgb("photo.jpg")
        >>> image.shape, image.dtype
        ((96, 96, 3), dtype('uint8'))
    """
    return _open(Path(path), "RGB")


def read_mask(path: Path) -> Array:
    """Read a mask as (H, W) bool: True where the grey value is at least 128.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a readable image.
    """
    return _open(path, "L") >= 128


def depth_from_millimetres(depth_mm: Array) -> Array:
    """Depth (H, W) uint16 millimetres, 0 unknown, as (H, W) float32 metres, NaN unknown.

    Raises:
        ValueError: not uint16 (H, W).
    """
    if depth_mm.dtype != np.uint16 or depth_mm.ndim != 2:
        raise ValueError(f"depth in millimetres must be uint16 (H, W), got {depth_mm.dtype} {depth_mm.shape}")
    return np.where(depth_mm > 0, depth_mm / np.float32(1000), np.float32(np.nan))


def read_depth(path: Path) -> Array:
    """Read a depth image as (H, W) float metres: a 16-bit grey PNG in millimetres, or a float .npy in metres.

    Unknown is 0 in a PNG, and 0 or NaN in an .npy file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: another format, type or shape, or no pixel with a depth.
    """
    if path.suffix.lower() not in DEPTH_ENDINGS:
        raise ValueError(f"{path}: depth must be a 16-bit PNG in millimetres or an .npy file of floats in metres")
    depth = _depth_array(path) if path.suffix.lower() == ".npy" else _depth_png(path)
    if not (np.isfinite(depth) & (depth > 0)).any():
        raise ValueError(f"{path}: no pixel has a depth: all are 0, negative or NaN; give another file or none")
    return depth


def _depth_png(path: Path) -> Array:
    try:
        with Image.open(path) as image:
            pixels = np.array(image)
            mode = image.mode
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: no such depth file") from error
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: not a readable image ({error}); replace the file") from error
    if not mode.startswith("I") or pixels.ndim != 2 or pixels.min() < 0 or pixels.max() > 65535:
        raise ValueError(f"{path}: depth must be 16-bit grey in millimetres, this PNG is {mode}: save it as uint16")
    return depth_from_millimetres(pixels.astype(np.uint16))


def _depth_array(path: Path) -> Array:
    try:
        depth = np.load(path, allow_pickle=False)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: no such depth file") from error
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(f"{path}: not a readable .npy file ({error}); replace the file") from error
    if not isinstance(depth, np.ndarray) or depth.ndim != 2 or not np.issubdtype(depth.dtype, np.floating):
        what = f"{depth.dtype} {depth.shape}" if isinstance(depth, np.ndarray) else "an archive of arrays"
        raise ValueError(f"{path}: depth must be float metres of shape (height, width), got {what}: convert it")
    return depth


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
