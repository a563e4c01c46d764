"""Laps add up by step, and a lap that fails does not count."""

import pytest

from uop3d_core.stopwatch import Stopwatch, unwatched


def test_laps_by_step_in_order():
    watch = Stopwatch()
    for step in ("crop", "head", "crop"):
        with watch(step):
            pass
    assert {step: len(laps) for step, laps in watch.laps.items()} == {"crop": 2, "head": 1}
    taken = watch.taken()
    assert list(taken) == ["crop", "head"] and min(taken.values()) >= 0
    assert watch.taken() == {}


def test_a_failed_lap_does_not_count():
    watch = Stopwatch()
    with pytest.raises(ValueError), watch("crop"):
        raise ValueError
    assert watch.taken() == {}


def test_unwatched_steps_run():
    with unwatched("crop"):
        done = True
    assert done
