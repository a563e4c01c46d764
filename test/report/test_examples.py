"""Examples are cut out where the object is, drawn where the poses say, and chosen by their errors."""

import numpy as np
import pytest
from scenes import sphere

from uop3d_core.cameras import pixels_of
from uop3d_core.report.examples import GAP, SIDE, best_median_worst, cut_square, draw_example
from uop3d_core.report.overlay import Overlay
from uop3d_core.types import Camera, Detection, Frame, PoseEstimate, Template

CAMERA = Camera(np.array([[300.0, 0, 79.5], [0, 300, 59.5], [0, 0, 1]]), 160, 120)


def at(x, y, z):
    pose = np.eye(4)
    pose[:3, 3] = x, y, z
    return pose


@pytest.mark.parametrize("side", [40, 333])
def test_pixels_of_the_cut_are_those_of_the_image(side):
    """A dot of 3 x 3 pixels lands where cut_T_image says, also when the square reaches beyond the image."""
    image = np.zeros((120, 160, 3), np.uint8)
    image[20:23, 10:13] = 255
    cut, cut_T_image = cut_square(image, np.array([2.0, 12, 40, 45]), 1.5, side)
    assert cut.shape == (side, side, 3)
    rows, columns = np.nonzero(cut[..., 0] > 100)
    x, y, _ = cut_T_image @ [11, 21, 1]
    assert columns.mean() == pytest.approx(x, abs=1) and rows.mean() == pytest.approx(y, abs=1)


def test_a_box_outside_the_image():
    cut, _ = cut_square(np.zeros((20, 30, 3), np.uint8), np.array([500.0, 500, 520, 540]), 1.5, 16)
    assert cut.shape == (16, 16, 3)


def test_estimate_and_truth_are_drawn_where_they_are():
    """A ball of diameter 1 at distance 5, estimated a little to the left of where it is."""
    frame = Frame("f", CAMERA, np.full((120, 160, 3), 40, np.uint8))
    estimated, true = at(-0.5, 0, 5), at(0.4, 0, 5)
    painter = Overlay(Template("ball", sphere(0.5, 2)))
    found = PoseEstimate(Detection([49.5, 29.5, 109.5, 89.5], "ball", 1.0), estimated, 0.5)
    picture = draw_example(painter, frame, found, true)
    assert picture.shape == (SIDE, 3 * SIDE + 2 * GAP, 3)
    photo, left, right = (picture[:, start : start + SIDE] for start in (0, SIDE + GAP, 2 * (SIDE + GAP)))
    assert np.abs(photo.astype(int) - 40).max() <= 1
    for tile, pose in ((left, estimated), (right, true)):
        [[x, _]] = pixels_of(CAMERA, pose[None, :3, 3])
        changed = np.nonzero(np.abs(tile.astype(int) - 40).max(-1) > 30)[1]
        expected = (x - 79.5) / 90 * SIDE + SIDE / 2
        assert (changed.min() + changed.max()) / 2 == pytest.approx(expected, abs=0.2 * SIDE)
        assert np.median(changed) == pytest.approx(expected, abs=0.05 * SIDE)
    lost = PoseEstimate(found.detection, estimated, 0.0, found=False)
    middle = draw_example(painter, frame, lost, true)[:, SIDE + GAP : 2 * SIDE + GAP]
    assert np.abs(middle.astype(int) - 40).max() <= 1


def test_best_middle_and_worst():
    errors = [9, 1, 180, 2, 5, 4, 3, 6, 7, 8]
    assert best_median_worst(errors, (2, 2, 3)) == [
        ("best", 1), ("best", 3), ("median", 4), ("median", 7), ("worst", 9), ("worst", 0), ("worst", 2),
    ]  # fmt: skip


@pytest.mark.parametrize("count", [0, 1, 4, 7, 12])
def test_of_few_each_is_chosen_once(count):
    chosen = best_median_worst(np.arange(count)[::-1].tolist(), (3, 3, 6))
    assert sorted(index for _, index in chosen) == list(range(count))
    assert [index for _, index in chosen] == list(range(count))[::-1]
    if count:
        assert chosen[-1] == ("worst", 0)
