"""The transform between frames that differ in unit: rotation, translation and scale."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from uop3d_core.types.checks import Array, finite, rotation
from uop3d_core.types.showing import vector_text


@dataclass(frozen=True, eq=False)
class Sim3:
    """Similarity transform x -> scale * R @ x + t.

    Attributes:
        scale: positive factor.
        R: (3, 3) rotation.
        t: (3,) translation, in the unit of the target frame.
    """

    scale: float
    R: Array
    t: Array

    def __post_init__(self) -> None:
        if not (np.isfinite(self.scale) and self.scale > 0):
            raise ValueError(f"Sim3.scale must be positive and finite, got {self.scale}")
        object.__setattr__(self, "scale", float(self.scale))
        object.__setattr__(self, "R", rotation(self.R, "Sim3.R"))
        object.__setattr__(self, "t", finite(self.t, (3,), "Sim3.t"))

    def __repr__(self) -> str:
        angle = np.degrees(np.arccos(np.clip((np.trace(self.R) - 1) / 2, -1, 1)))
        return f"<Sim3: scale {self.scale:.3g}, turned by {angle:.1f}°, moved by {vector_text(self.t)}>"

    @classmethod
    def identity(cls) -> Sim3:
        """The transform that changes nothing."""
        return cls(1.0, np.eye(3), np.zeros(3))

    @classmethod
    def from_matrix(cls, matrix: Array) -> Sim3:
        """Read a (4, 4) similarity matrix.

        Raises:
            ValueError: if the upper left block is not a positive multiple of a rotation.
        """
        matrix = finite(matrix, (4, 4), "similarity matrix")
        det = float(np.linalg.det(matrix[:3, :3]))
        if det <= 0:
            raise ValueError(f"similarity matrix has determinant {det:.3g}: it mirrors or collapses space")
        scale = det ** (1 / 3)
        return cls(scale, matrix[:3, :3] / scale, matrix[:3, 3])

    @property
    def matrix(self) -> Array:
        """The (4, 4) matrix."""
        matrix = np.eye(4)
        matrix[:3, :3] = self.scale * self.R
        matrix[:3, 3] = self.t
        return matrix

    def inverse(self) -> Sim3:
        """The transform back: ``T.inverse() @ T`` is the identity."""
        return Sim3(1 / self.scale, self.R.T, -self.R.T @ self.t / self.scale)

    def __matmul__(self, other: Sim3) -> Sim3:
        """Composition: ``(a_T_b @ b_T_c)`` maps c to a."""
        return Sim3(self.scale * other.scale, self.R @ other.R, self.scale * self.R @ other.t + self.t)

    def apply(self, points: Array) -> Array:
        """Map (..., 3) points."""
        return self.scale * points @ self.R.T + self.t
