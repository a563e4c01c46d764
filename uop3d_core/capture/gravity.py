"""Which way is up, by what a phone noted in its photos.

In: an image's EXIF data. Out: the direction against gravity in the frame of its camera, where it is told.
Frames: Apple's phones note what their accelerometer measured (maker note, tag 8): gravity in units of g along the
phone's axes (x right, y towards its top, z out of its screen). Pixels as they lie in the file have x towards the
phone's bottom and y towards its left; the camera behind looks along -z.
Format: https://exiftool.org/TagNames/Apple.html; EXIF 2.32, sections 4.6.2 (entries) and 4.6.4 (orientation).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

import numpy as np
from PIL import ExifTags, Image

from uop3d_core.geometry import Array

HEADER = b"Apple iOS\x00"
ACCELERATION, SIGNED_RATIONAL = 8, 10
ENTRIES = 200
"""Most entries of a maker note that are looked at."""
CAM_R_PHONE = np.array([[0.0, -1, 0], [-1, 0, 0], [0, 0, -1]])
UPRIGHT = {3: np.diag([-1.0, -1, 1]), 6: np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])}
UPRIGHT[8] = UPRIGHT[6].T
"""By EXIF orientation, cam as it is when turned upright from cam as in the file."""
STEADY = (0.9, 1.1)
"""Lengths in g that are gravity, and not a movement of the hand."""
AGREE = np.cos(np.deg2rad(12.0))
"""Photos whose up is nearer than this to that of most tell it."""
LEAST = 3


def up_of_photo(photo: Image.Image) -> Array | None:
    """Unit vector (3,) against gravity in the frame of the camera, the photo turned upright; None where not told."""
    exif = photo.getexif()
    note = exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.MakerNote)
    gravity = _acceleration(note) if isinstance(note, bytes) and note.startswith(HEADER) else None
    turn = UPRIGHT.get(int(exif.get(ExifTags.Base.Orientation, 1)), np.eye(3))
    if gravity is None or not STEADY[0] < np.linalg.norm(gravity) < STEADY[1]:
        return None
    up: Array = -turn @ CAM_R_PHONE @ gravity
    return up / np.linalg.norm(up)


def up_of_world(ups: Mapping[str, Array], cam_T_world: Mapping[str, Array]) -> Array | None:
    """Unit vector (3,) against gravity in the world, by those of cameras; None where they do not agree.

    Args:
        ups: (3,) by name, in the frames of the cameras.
        cam_T_world: (4, 4) by name.
    """
    told = [cam_T_world[name][:3, :3].T @ up for name, up in ups.items() if name in cam_T_world]
    if len(told) < LEAST:
        return None
    directions = np.array(told)
    agree = directions @ directions.T > AGREE
    near = directions[agree[agree.sum(1).argmax()]]
    if len(near) < max(LEAST, 0.6 * len(told)):
        return None
    mean = near.mean(0)
    return np.asarray(mean / np.linalg.norm(mean))


def _acceleration(note: bytes) -> Array | None:
    """The three numbers of tag 8; a damaged note has none."""
    order = {b"MM": ">", b"II": "<"}.get(note[12:14])
    try:
        if order is None:
            return None
        [count] = struct.unpack_from(f"{order}H", note, 14)
        for entry in range(16, 16 + 12 * min(count, ENTRIES), 12):
            tag, kind, number, offset = struct.unpack_from(f"{order}HHII", note, entry)
            if (tag, kind, number) == (ACCELERATION, SIGNED_RATIONAL, 3):
                values = struct.unpack_from(f"{order}6i", note, offset)
                return np.array([a / b for a, b in zip(values[::2], values[1::2], strict=True)])
    except (struct.error, ZeroDivisionError):
        return None
    return None
