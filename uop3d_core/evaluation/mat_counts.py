"""MATLAB files looked through before they are read: no array may say that it is larger than its bytes.

In: the bytes of a file of version 5 to 7. Out: nothing, or an error. scipy makes arrays as large as a file announces
before it looks for their content.
Format: MathWorks, "MAT-File Format", level 5.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator

HEADER = 128
MATRIX, COMPRESSED = 14, 15
LARGEST = 64 * 2**20
"""Bytes that a compressed variable may unpack to; annotations take some kilobytes."""
DEEPEST = 32
"""Structs within structs."""


def check_counts(content: bytes) -> None:
    """Look through all arrays of a file.

    Raises:
        ValueError: one announces more elements than it has bytes, or the file is cut off or nested without end.
    """
    order = "<" if content[HEADER - 2 : HEADER] == b"IM" else ">"
    for kind, data in _elements(content[HEADER:], order):
        if kind == COMPRESSED:
            for inner, unpacked in _elements(_unpacked(data), order):
                _check(inner, unpacked, order, 0)
        else:
            _check(kind, data, order, 0)


def _check(kind: int, data: bytes, order: str, depth: int) -> None:
    """A matrix is a list of elements: flags, dimensions, name, content, which may be matrices again."""
    if kind != MATRIX or not data:
        return
    if depth > DEEPEST:
        raise ValueError("structs are nested without end")
    for place, (inner, part) in enumerate(_elements(data, order)):
        if place == 1:
            count = math.prod(struct.unpack(f"{order}{len(part) // 4}i", part[: len(part) // 4 * 4]))
            if not 0 <= count <= len(data):
                raise ValueError(f"an array of {len(data)} bytes announces {count} elements")
        _check(inner, part, order, depth + 1)


def _elements(data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Type and content of the elements that follow each other; small ones have both in eight bytes."""
    at = 0
    while at + 8 <= len(data):
        kind, size = struct.unpack_from(f"{order}II", data, at)
        if kind >> 16:
            kind, size = kind & 0xFFFF, kind >> 16
            start, end = at + 4, at + 8
        else:
            start = at + 8
            end = start + size + (0 if kind == COMPRESSED else -size % 8)
        if start + size > len(data):
            raise ValueError("could not read bytes: the file is cut off")
        yield kind, data[start : start + size]
        at = end


def _unpacked(data: bytes) -> bytes:
    machine = zlib.decompressobj()
    try:
        unpacked = machine.decompress(data, LARGEST)
    except zlib.error as error:
        raise ValueError(f"a compressed variable is damaged ({error})") from error
    if machine.unconsumed_tail:
        raise ValueError(f"a variable unpacks to more than {LARGEST // 2**20} MB")
    return unpacked
