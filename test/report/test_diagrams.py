"""Diagrams show the numbers where they belong."""

import numpy as np
import pytest

from uop3d_core.report.diagrams import COLOURS, MARGIN, SIDE, Axes, beside, draw_curves, draw_reliability

AXES = Axes("strength", "share")


def test_a_disc_lies_where_its_bin_is():
    picture = draw_reliability([(0.25, 0.75, 10)])
    assert picture.shape == (520, 520, 3) and picture.dtype == np.uint8
    assert tuple(picture[round(MARGIN + 0.25 * SIDE), round(MARGIN + 0.25 * SIDE)]) == (200, 40, 40)


def test_curves_pass_through_their_points_and_have_their_own_colours():
    curves = {"a": ([0, 0.5, 1], [1, 1, 0.5]), "b": ([0, 1], [0.3, 0.3])}
    picture = draw_curves(curves, AXES)
    for (x, y), colour in (((0.5, 1.0), 0), ((0.25, 1.0), 0), ((0.75, 0.75), 0), ((0.5, 0.3), 1)):
        pixel = picture[round(MARGIN + (1 - y) * SIDE), round(MARGIN + x * SIDE)]
        assert tuple(pixel) == COLOURS[colour]


def test_what_is_not_known_is_not_drawn():
    picture = draw_curves({"a": ([0, 0.5, 1], [0.9, np.nan, np.nan])}, AXES)
    assert tuple(picture[round(MARGIN + 0.1 * SIDE), MARGIN]) == COLOURS[0]
    with pytest.raises(ValueError, match="'a' has 2 x and 1 y"):
        draw_curves({"a": ([0, 1], [1])}, AXES)


def test_pictures_stand_in_a_row():
    picture = draw_curves({}, AXES, side=100)
    assert picture.shape == (200, 240, 3) and beside([picture, picture]).shape == (200, 480, 3)
