"""Laps add up by step, and a lap that fails does not count."""

import pytest

from uop3d_core.stopwatch import Stopwatch, spoken, unwatched


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


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (0.123, "0.12 s"), (59.6, "60 s"), (99.6, "2 min"), (7170, "2 h 0 min"), (9000, "2 h 30 min")],
)
def test_times_in_words(seconds, words):
    assert spoken(seconds) == words
