"""Figures of tracks in cases that can be worked out by hand."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from uop3d_core.evaluation.tracking import id_switches, jitter, lag_s, match_centres, pose_errors
from uop3d_core.geometry import rigid

NAN = np.full((4, 4), np.nan)


def spun(degrees, x=0.0):
    """(N, 4, 4) poses turned about y, at x."""
    degrees = np.atleast_1d(np.asarray(degrees, float))
    R = Rotation.from_rotvec(np.deg2rad(degrees)[:, None] * [0, 1, 0]).as_matrix()
    return rigid(R, np.stack([np.zeros(len(degrees)) + x, np.zeros(len(degrees)), np.full(len(degrees), 5.0)], axis=1))


def test_id_switches():
    assert id_switches([]) == id_switches([{}, {}]) == 0
    assert id_switches([{"a": 1, "b": 2}, {"a": 1}, {"a": 1, "b": 2}]) == 0
    assert id_switches([{"a": 1, "b": 2}, {"a": 2, "b": 1}]) == 2
    assert id_switches([{"a": 1}, {}, {"a": 3}, {"a": 1}]) == 2


def test_matches_are_optimal_and_within_the_limit():
    true, found = np.array([[0, 0, 5], [1, 0, 5.0]]), np.array([[0.6, 0, 5], [-0.5, 0, 5], [9, 9, 9]])
    assert match_centres(true, found, 0.7) == [(0, 1), (1, 0)]
    assert match_centres(true, found, 0.45) == [(1, 0)]
    assert match_centres(true, np.zeros((0, 3)), 1) == match_centres(np.zeros((0, 3)), true, 1) == []


def test_pose_errors():
    errors = pose_errors(np.array([spun(30, 0.5)[0], NAN]), spun([10, 10]))
    np.testing.assert_allclose(errors[0], [0.5, 0, 0, 0, np.deg2rad(20), 0], atol=1e-12)
    assert np.isnan(errors[1]).all()


def test_jitter():
    assert jitter(spun([0, 3, 0, 3], [0, 0.1, 0, 0.1])) == pytest.approx((3, 0.1))
    true = spun(np.arange(5) * 20.0, np.arange(5))
    assert jitter(true, true) == pytest.approx((0, 0), abs=1e-6)
    assert jitter(true) == pytest.approx((20, 1))
    apart = spun(np.arange(5) * 20.0 + [0, 3, 0, 3, 0], np.arange(5))
    assert jitter(apart, true) == pytest.approx((3, 0), abs=1e-9)


def test_jitter_leaves_out_what_is_missing():
    poses = spun([0, 3, 90, 0, 3])
    poses[2] = np.nan
    assert jitter(poses) == pytest.approx((3, 0))
    assert np.isnan(jitter(poses[1:4])).all() and np.isnan(jitter(poses[:0])).all()


@pytest.mark.parametrize("delay", [-0.05, 0.0, 0.1])
def test_lag(delay):
    stamps = (np.arange(200) * 1e9 / 30).astype(np.int64) + 5_000_000_000
    seconds = stamps / 1e9
    true = spun(40 * np.sin(seconds), np.cos(seconds))
    late = spun(40 * np.sin(seconds - delay), np.cos(seconds - delay))
    late[20:30] = np.nan
    assert lag_s(late, true, stamps) == pytest.approx((delay, delay), abs=0.004)
    resting = spun(np.zeros(200))
    assert np.isnan(lag_s(resting, resting, stamps)).all()
