"""How values show themselves on screens and in notebooks.

In: vectors, counts, pictures. Out: short texts, PNG.
"""

from __future__ import annotations

from io import BytesIO

from uop3d_core.types.checks import Array


def vector_text(vector: Array) -> str:
    """A vector with two decimals, as ``(0.00, 0.50, -1.00)``."""
    return f"({', '.join(f'{value:.2f}' for value in vector.tolist())})"


def plural(count: int, noun: str) -> str:
    """How many there are, as ``1 frame`` or ``2,000 frames``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def png(image: Array, side: int) -> bytes:
    """A picture (H, W, 3) uint8 as PNG, its longer side at most `side` pixels."""
    from PIL import Image

    small, file = Image.fromarray(image), BytesIO()
    small.thumbnail((side, side))
    small.save(file, "png")
    return file.getvalue()
