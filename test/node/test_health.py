"""Rates and problems over time, with a clock that the tests turn."""

import pytest

from uop3d_ros.health import QUIET_S, WINDOW_S, Health, Rate


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def test_rates():
    clock = Clock()
    rate = Rate(clock)
    assert rate.hz == 0 and rate.age_s == float("inf")
    for _ in range(21):
        rate.tick()
        clock.now += 0.1
    assert rate.hz == pytest.approx(10) and rate.age_s == pytest.approx(0.1)
    clock.now += WINDOW_S
    assert rate.hz == 0


def test_problems_are_counted_and_logged_now_and_then():
    clock, log = Clock(), []
    health = Health(log.append, clock)
    for _ in range(10):
        health.problem("images", "bad image")
        health.problem("depth", "bad depth")
    assert log == ["bad image", "bad depth"] and health.counts["images"] == 10
    assert health.present("images") == "bad image" and health.present("qos") == ""
    clock.now += QUIET_S
    health.problem("images", "bad image")
    assert log[-1] == "bad image (11 times so far)"
    clock.now += WINDOW_S
    assert health.present("images") == ""


def test_times_are_smoothed():
    health = Health(lambda text: None, Clock())
    health.took({"crop": 0.010})
    assert health.stages_ms["crop"] == pytest.approx(10)
    for _ in range(100):
        health.took({"crop": 0.020})
    assert health.stages_ms["crop"] == pytest.approx(20, abs=0.01)
    health.clear()
    assert health.stages_ms == {}


def test_silence_needs_time_to_be_one():
    clock = Clock()
    health = Health(lambda text: None, clock)
    assert not health.silent("images", 2)
    clock.now += 3
    assert health.silent("images", 2)
    health.rates["images"].tick()
    assert not health.silent("images", 2)
