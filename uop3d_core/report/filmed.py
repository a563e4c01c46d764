"""The picture of a capture: from where it was filmed, and its frames with their masks.

In: numbers of the frames (camera directions as seen from the object) and the frames. Out: (H, W, 3) uint8.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from uop3d_core.geometry import Array
from uop3d_core.report.sheets import contact_sheet
from uop3d_core.report.tiles import FAINT, INK, PAPER, WRONG, write
from uop3d_core.types import Capture

SHEET_TILE, SHEET_COLUMNS, MOST = 220, 6, 30
GOOD = (40, 140, 70)
DARKER = 0.45
"""What is left of the brightness outside of masks."""


@dataclass(frozen=True, eq=False)
class FilmedFrame:
    """What is drawn of a frame.

    Attributes:
        azimuth, elevation: of the camera as seen from the object, radians.
        remark: what is wrong with it, or "".
    """

    azimuth: float
    elevation: float
    remark: str = ""


def draw_directions(frames: Sequence[FilmedFrame], seen: Array, side: int = 460) -> Array:
    """The hemisphere over the object from above: cameras as dots, and a ring of the directions that are covered.

    The middle is straight above, the inner circle 45 degrees up, the outer one level with the object.

    Args:
        frames: with their directions.
        seen: (S,) bool, sectors of azimuth that are covered, the first from azimuth 0.
        side: of the picture, in pixels.
    """
    picture = np.full((side, side, 3), PAPER, np.uint8)
    middle, radius = side / 2, 0.36 * side
    point = (round(middle), round(middle))
    step = 360 / len(seen)
    for index, covered in enumerate(seen):
        colour = GOOD if covered else WRONG
        end = -(index + 1) * step
        cv2.ellipse(picture, point, (round(1.17 * radius),) * 2, 0, end + 1, end + step - 1, colour, 8, cv2.LINE_AA)
    for share in (0.5, 1.0):
        cv2.circle(picture, point, round(share * radius), FAINT, 1, cv2.LINE_AA)
    cv2.circle(picture, point, 4, INK, -1, cv2.LINE_AA)
    for frame in frames:
        away = radius * (1 - frame.elevation / (np.pi / 2))
        at = middle + away * np.array([np.cos(frame.azimuth), -np.sin(frame.azimuth)])
        colour = WRONG if frame.remark else INK
        cv2.circle(picture, (round(at[0]), round(at[1])), 4, colour, -1, cv2.LINE_AA)
    picture = write(picture, "from where it was filmed, seen from above", (side // 2, 16), 15, INK, "mm")
    picture = write(picture, "45°", (round(middle + 0.5 * radius), point[1]), 12, FAINT, "lm")
    return write(picture, "level", (round(middle + radius) - 4, point[1]), 12, FAINT, "rm")


def draw_frames(capture: Capture, frames: Sequence[FilmedFrame]) -> Array:
    """Some frames with their masks; what is not object is darkened, remarks are red."""
    chosen = np.unique(np.linspace(0, len(frames) - 1, min(MOST, len(frames))).round().astype(int))
    tiles = []
    for index in chosen:
        frame, remark = capture.frames[index], frames[index].remark
        image = frame.image.copy()
        mask = frame.mask
        image[~mask] = (image[~mask] * DARKER).astype(np.uint8)
        factor = SHEET_TILE / max(image.shape[:2])
        size = (max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor)))
        tile = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        small = cv2.resize(mask.astype(np.uint8) * 255, size, interpolation=cv2.INTER_AREA) >= 128
        outlines, _ = cv2.findContours(small.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(tile, outlines, -1, WRONG if remark else (90, 230, 120), 1)
        tile = np.pad(tile, ((0, 18), (0, 0), (0, 0)), constant_values=PAPER[0])
        text = f"{frame.name}  {remark}"
        tiles.append(write(tile, text, (2, tile.shape[0] - 9), 12, WRONG if remark else INK, "lm"))
    return contact_sheet(tiles, SHEET_COLUMNS)


def draw_capture(
    capture: Capture, frames: Sequence[FilmedFrame], seen: Array, lines: Sequence[tuple[str, bool]]
) -> Array:
    """Directions and what was checked (text, whether it is good) above the frames."""
    sheet = draw_frames(capture, frames)
    directions = draw_directions(frames, seen)
    width = max(sheet.shape[1], directions.shape[1] + 460)
    head = np.full((directions.shape[0], width, 3), PAPER, np.uint8)
    head[:, : directions.shape[1]] = directions
    for index, (text, good) in enumerate(lines):
        at = (directions.shape[1] + 10, 40 + 24 * index)
        head = write(head, text, at, 15, INK if good else WRONG, "lm")
    body = np.full((sheet.shape[0], width, 3), PAPER, np.uint8)
    body[:, : sheet.shape[1]] = sheet
    return np.concatenate([head, body])
