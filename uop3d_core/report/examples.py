"""An estimate beside the truth, cut out of its image, small enough to be shown with others.

In: a Frame, a PoseEstimate and the true cam_T_obj. Out: a picture (SIDE, 3 SIDE + 2 GAP, 3) uint8.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from uop3d_core.geometry import Array
from uop3d_core.report.overlay import Overlay
from uop3d_core.types import Frame, PoseEstimate

SIDE, GAP, MARGIN = 224, 4, 1.5
DETAIL, BOLD = 2, 1.8
"""Lines are drawn this many times as large and then shrunk, which makes them smooth; and bolder, to be seen then."""


def draw_example(painter: Overlay, frame: Frame, estimate: PoseEstimate, true_cam_T_obj: Array) -> Array:
    """The photograph around the box, with the pose that was estimated (none: as it is), and with the true one."""
    size = DETAIL * SIDE
    photo, cut_T_image = cut_square(frame.image, np.asarray(estimate.detection.bbox_xyxy), MARGIN, size)
    camera = replace(frame.camera, K=cut_T_image @ frame.camera.K, width=size, height=size)
    estimated = painter.draw_pose(photo, camera, estimate.cam_T_obj, BOLD) if estimate.found else photo
    tiles = [cv2.resize(tile, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for tile in
             (photo, estimated, painter.draw_pose(photo, camera, true_cam_T_obj, BOLD))]  # fmt: skip
    gap = np.full((SIDE, GAP, 3), 255, np.uint8)
    return np.concatenate([tiles[0], gap, tiles[1], gap, tiles[2]], axis=1)


def cut_square(image: Array, box: Array, margin: float, side: int) -> tuple[Array, Array]:
    """The square around the middle of a box (4,) xyxy, `margin` times its longer side; the border is repeated.

    Returns:
        (side, side, 3) uint8, and cut_T_image (3, 3), which takes pixels of the image to pixels of the cut.
    """
    half = max(1, round(margin * float(max(box[2:] - box[:2])) / 2))
    x, y = np.round((box[:2] + box[2:]) / 2).astype(int)
    padded = cv2.copyMakeBorder(image, half, half, half, half, cv2.BORDER_REPLICATE)
    x, y = np.clip([x, y], 0, np.array(image.shape[1::-1]) - 1)
    cut = padded[y : y + 2 * half, x : x + 2 * half]
    scale = side / (2 * half)
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    offset = scale * (half + 0.5 - np.array([x, y])) - 0.5
    cut_T_image = np.array([[scale, 0, offset[0]], [0, scale, offset[1]], [0, 0, 1]])
    return cv2.resize(cut, (side, side), interpolation=how), cut_T_image


def best_median_worst(errors: Sequence[float], counts: tuple[int, int, int]) -> list[tuple[str, int]]:
    """Indices of the smallest, the middle and the largest errors, each once; of few, the worst come first.

    Returns:
        ("best" | "median" | "worst", index), best first, in the order of their errors.
    """
    order = np.argsort(np.asarray(errors, dtype=np.float64), kind="stable").tolist()
    worst = order[max(0, len(order) - counts[2]) :]
    rest = order[: len(order) - len(worst)]
    best = rest[: counts[0]]
    middle = [index for index in rest if index not in best]
    start = min(max(0, len(order) // 2 - counts[1] // 2 - len(best)), max(0, len(middle) - counts[1]))
    median = middle[start : start + counts[1]]
    named = {"best": best, "median": median, "worst": worst}
    return [(name, index) for name, indices in named.items() for index in indices]
