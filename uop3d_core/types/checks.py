"""What arrays in the dataclasses must be.

In: any value, and what it is called. Out: a read-only array of that shape, or a ValueError that names it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def finite(value: Any, shape: tuple[int | None, ...], what: str, dtype: Any = np.float64) -> Array:
    """Return `value` as a finite read-only array of `shape` (None = any length); raise ValueError naming `what`."""
    array = np.array(value, dtype=dtype)
    if array.ndim != len(shape) or any(
        want is not None and want != got for want, got in zip(shape, array.shape, strict=True)
    ):
        raise ValueError(f"{what} has shape {array.shape}, expected {tuple('any' if n is None else n for n in shape)}")
    if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
        raise ValueError(f"{what} contains NaN or infinite values")
    array.setflags(write=False)
    return array


def rotation(value: Any, what: str) -> Array:
    """Return `value` as a (3, 3) rotation; raise ValueError naming `what`."""
    R = finite(value, (3, 3), what)
    if np.abs(R @ R.T - np.eye(3)).max() > 1e-4 or np.linalg.det(R) < 0:
        raise ValueError(f"{what} is not a rotation matrix (orthonormal, determinant +1)")
    return R


def rigid(value: Any, what: str) -> Array:
    """Return `value` as a (4, 4) rigid transform; raise ValueError naming `what`."""
    T = finite(value, (4, 4), what)
    if not np.allclose(T[3], [0, 0, 0, 1]):
        raise ValueError(f"{what} has last row {T[3].tolist()}, expected [0, 0, 0, 1]")
    rotation(T[:3, :3], f"the rotation part of {what}")
    return T
