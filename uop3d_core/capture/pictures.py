"""Pictures that a capture is made of: decoded, upright, at most so large, on disk, with what is known of them.

In: pixels as a camera or video file gives them. Out: JPEG files ``images/NAME.jpg`` and a `Picture` for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from uop3d_core.atomic import replaced
from uop3d_core.geometry import Array

JPEG_QUALITY = 95
FARTHEST = 0.25
"""Movement beyond which it is not measured: a jump in the film takes no more of the path than that."""
ANALYSED = 320
"""Longer side at which sharpness and movement are measured, in pixels."""


@dataclass(frozen=True)
class Picture:
    """One picture of a capture.

    Attributes:
        name: of the frame; the file is images/NAME.jpg.
        source: where it comes from: a file name, or the time in the video.
        width, height: in pixels, as written.
        sharpness: as `sharpness` measures it, comparable within one capture.
        focal: focal length in pixels as the file says, or None.
        up: (x, y, z) against gravity in the frame of its camera, as the file says, or None.
    """

    name: str
    source: str
    width: int
    height: int
    sharpness: float
    focal: float | None = None
    up: tuple[float, float, float] | None = None

    @property
    def file(self) -> str:
        """Name of the file in the folder of images."""
        return f"{self.name}.jpg"


@dataclass(frozen=True)
class Pictures:
    """All pictures of a capture, in the order they were taken.

    Attributes:
        chosen: what was kept.
        ordered: whether neighbours in the list were taken one after the other, as in a video.
        notes: what a person should know, one sentence each.
    """

    chosen: tuple[Picture, ...]
    ordered: bool
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return {"chosen": [asdict(p) for p in self.chosen], "ordered": self.ordered, "notes": list(self.notes)}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Pictures:
        """The way back."""
        entries = ({**entry, "up": entry["up"] and tuple(entry["up"])} for entry in content["chosen"])
        chosen = tuple(Picture(**entry) for entry in entries)
        return cls(chosen, bool(content["ordered"]), tuple(content["notes"]))


def write_picture(folder: Path, picture: Picture, image: Array, mask: Array | None = None) -> Picture:
    """Write (H, W, 3) uint8 RGB as images/NAME.jpg, and the mask that came with it, if any, as given/NAME.png.

    Returns:
        The picture with the size and sharpness of what was written.
    """
    from PIL import Image

    with replaced(folder / "images" / picture.file) as draft:
        Image.fromarray(image).save(draft, quality=JPEG_QUALITY)
    if mask is not None:
        with replaced(folder / "given" / f"{picture.name}.png") as draft:
            Image.fromarray(mask.astype(np.uint8) * 255).save(draft)
    return replace(picture, width=image.shape[1], height=image.shape[0], sharpness=sharpness(small_grey(image)))


def scaled_down(image: Array, size: int) -> tuple[Array, float]:
    """The image with its longer side at most `size`, and the factor that its lengths were multiplied with."""
    factor = min(1.0, size / max(image.shape[:2]))
    if factor == 1:
        return image, 1.0
    shape = (max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor)))
    return cv2.resize(image, shape, interpolation=cv2.INTER_AREA), factor


def small_grey(image: Array) -> Array:
    """(h, w) uint8 with a longer side of at most ANALYSED pixels."""
    return cv2.cvtColor(scaled_down(image, ANALYSED)[0], cv2.COLOR_RGB2GRAY)


def sharpness(grey: Array) -> float:
    """How sharp a small picture is: the largest gradients (their 95th percentile) over the usual contrast.

    Blur lowers fine gradients much and the spread of grey levels little, so that bright and dark pictures compare.
    """
    values = grey.astype(np.float32)
    gradient = np.hypot(
        cv2.Sobel(values, cv2.CV_32F, 1, 0, scale=0.25), cv2.Sobel(values, cv2.CV_32F, 0, 1, scale=0.25)
    )
    return float(np.percentile(gradient, 95) / (values.std() + 4.0))


def movement(first: Array, second: Array) -> float:
    """Median shift of what two small grey pictures show, as a share of the width; 1 where nothing is found again."""
    corners = cv2.goodFeaturesToTrack(first, 200, 0.01, 6)
    if corners is None or len(corners) < 8:
        return 1.0 if np.abs(first.astype(int) - second).mean() > 8 else 0.0
    moved, found, _ = cv2.calcOpticalFlowPyrLK(first, second, corners, None, winSize=(15, 15), maxLevel=4)
    back, _, _ = cv2.calcOpticalFlowPyrLK(second, first, moved, None, winSize=(15, 15), maxLevel=4)
    good = (found[:, 0] > 0) & (np.linalg.norm((back - corners).reshape(-1, 2), axis=1) < 1.5)
    if good.sum() < 8:
        return 1.0
    return float(np.median(np.linalg.norm((moved - corners).reshape(-1, 2)[good], axis=1)) / first.shape[1])


def well_spread(sharp: Sequence[float] | Array, moved: Sequence[float], count: int, least: float) -> list[int]:
    """Choose sharp frames that lie evenly along the path of the camera.

    The path is cut into pieces of equal movement, however long that took, and the sharpest frame of each is taken;
    where the camera rests nothing is taken twice.

    Args:
        sharp: (N,) sharpness of the frames.
        moved: (N,) movement since the frame before; the first is ignored.
        count: most frames that are taken.
        least: movement between neighbours that are worth having both.

    Returns:
        Indices in ascending order.
    """
    steps = np.minimum(np.asarray(moved, dtype=np.float64)[1:], FARTHEST)
    path = np.concatenate([[0.0], np.cumsum(steps)])
    pieces = int(np.clip(path[-1] / least + 1, 1, count))
    piece = np.minimum((path / max(path[-1], 1e-9) * pieces).astype(int), pieces - 1)
    order = np.lexsort((-np.asarray(sharp), piece))
    first = np.unique(piece[order], return_index=True)[1]
    return sorted(int(index) for index in order[first])


def sharp_enough(sharp: Sequence[float] | Array, share: float) -> Array:
    """(N,) bool: not blurred, that is at least `share` as sharp as the median."""
    values = np.asarray(sharp, dtype=np.float64)
    return np.asarray(values >= share * np.median(values)) if len(values) else np.zeros(0, bool)
