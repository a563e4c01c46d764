"""What MP4 and MOV files say of themselves that OpenCV does not tell.

In: a file. Out: whether it has an index, and the transfer characteristics of its pictures.
Format: ISO/IEC 14496-12 (boxes), QuickTime File Format ("colr"); codes of ITU-T H.273, table 3.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal

Transfer = Literal["sdr", "pq", "hlg"]
CODES: dict[int, Transfer] = {16: "pq", 18: "hlg"}
HOLDERS = (b"moov", b"trak", b"mdia", b"minf", b"stbl")
"""Boxes of boxes, on the way to the descriptions of samples."""
SAMPLE_ENTRY = 78
"""Bytes of a description of pictures before the boxes in it."""
BOXES = 1000
"""Most boxes that are looked at; a damaged file may claim any number."""


def is_mp4(path: Path) -> bool:
    """Whether a file begins with a box of MP4 or MOV."""
    with path.open("rb") as file:
        return file.read(8)[4:] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")


def has_index(path: Path) -> bool:
    """Whether the index is there, without which nothing can be decoded; phones write it last of all.

    Files in fragments have an index, too, though most of it is elsewhere.
    """
    with path.open("rb") as file:
        size = path.stat().st_size
        return any(kind == b"moov" and end <= size for kind, _, end in _boxes(file, 0, size))


def transfer_of(path: Path) -> Transfer:
    """By which curve pixel values stand for light: "pq" and "hlg" are high dynamic range."""
    with path.open("rb") as file:
        return next((CODES[code] for code in _codes(file, 0, path.stat().st_size) if code in CODES), "sdr")


def _boxes(file: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind of every box between two places, and where its content begins and ends."""
    for _ in range(BOXES):
        file.seek(start)
        head = file.read(16)
        if len(head) < 8 or start >= end:
            return
        size, kind, begin = int.from_bytes(head[:4], "big"), head[4:8], start + 8
        if size == 1:
            size, begin = int.from_bytes(head[8:16], "big"), start + 16
        stop = end if size == 0 else start + size
        if stop < begin:
            return
        yield kind, begin, stop
        start = stop


def _codes(file: BinaryIO, start: int, end: int) -> Iterator[int]:
    """Transfer characteristics of all pictures described between two places."""
    for kind, begin, stop in _boxes(file, start, end):
        if kind in HOLDERS:
            yield from _codes(file, begin, min(stop, end))
        elif kind == b"stsd":
            for _, entry, entry_end in _boxes(file, begin + 8, min(stop, end)):
                for inner, at, _ in _boxes(file, entry + SAMPLE_ENTRY, min(entry_end, end)):
                    file.seek(at)
                    content = file.read(8)
                    if inner == b"colr" and content[:4] in (b"nclx", b"nclc"):
                        yield int.from_bytes(content[6:8], "big")
