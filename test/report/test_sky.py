"""Directions come to where a person looks for them, and what was not seen is known."""

import re

import numpy as np
import pytest

from uop3d_core.report.markup import seen_from
from uop3d_core.report.sky import LEVEL, places, share_seen, sky


def test_front_is_up_and_left_is_left():
    front, left, back, above, below = places(np.array([[0, 0], [90, 0], [180, 0], [33, 90], [0, -90]]))
    np.testing.assert_allclose(front, [0, -LEVEL], atol=1e-9)
    np.testing.assert_allclose(left, [-LEVEL, 0], atol=1e-9)
    np.testing.assert_allclose(back, [0, LEVEL], atol=1e-9)
    np.testing.assert_allclose(above, [0, 0], atol=1e-9)
    assert np.linalg.norm(below) == pytest.approx(1)


def test_areas_are_true():
    """As many of evenly spread directions lie in a ring of the disc as it has of its area."""
    rng = np.random.default_rng(0)
    units = rng.normal(size=(20000, 3))
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    angles = np.rad2deg(np.stack([np.arctan2(units[:, 1], units[:, 0]), np.arcsin(units[:, 2])], axis=1))
    radius = np.linalg.norm(places(angles), axis=1)
    for limit in (0.3, 0.6, 0.9):
        assert (radius < limit).mean() == pytest.approx(limit**2, abs=0.015)


def test_share_of_directions_that_were_seen():
    assert share_seen(np.zeros((0, 2))) == 0
    assert share_seen(np.array([[0.0, 90]])) == pytest.approx(1 - np.cos(np.deg2rad(20)), abs=0.01)
    ring = np.stack([np.arange(0, 360, 5), np.zeros(72)], axis=1)
    assert share_seen(ring) == pytest.approx(np.sin(np.deg2rad(20)), abs=0.03)
    assert share_seen(ring, -90) == pytest.approx(np.sin(np.deg2rad(20)), abs=0.03)
    every = np.stack(np.meshgrid(np.arange(0, 360, 10), np.arange(0, 91, 10)), axis=-1).reshape(-1, 2)
    assert share_seen(every) == 1


def test_a_map_has_a_dot_per_direction():
    svg = sky({"p0": [(0.0, 0.0), (90.0, 0.0)], "p3": [(180.0, 90.0)], "p1": []}, "words & <more>")
    assert len(re.findall(r"M[-\d.]+ [-\d.]+h0", svg)) == 2 and svg.count("m-3-3l6 6") == 1
    assert 'aria-label="words &amp; &lt;more&gt;"' in svg and "p1" not in svg and "front" in svg
    assert "front" not in sky({}, "words", small=True)


@pytest.mark.parametrize(
    ("azimuth", "elevation", "words"),
    [(0, 0, "the front"), (-179, 0, "the back"), (95, 30, "the left, slightly above"),
     (-45, 60, "the front right, above"),
     (10, 80, "straight above"), (10, -80, "straight below"), (-90, -30, "the right, below")],
)  # fmt: skip
def test_directions_in_words(azimuth, elevation, words):
    assert seen_from(azimuth, elevation) == words
