"""Times of stages add up over calls with the same settings, and are in the file however a call ends."""

import json

import pytest

from uop3d_core.progress import silent
from uop3d_core.timings import WRITE_AFTER_S, StageClock, Timings, read_timings


class Hands:
    """A clock that is turned by hand."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def hands():
    return Hands()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "timings.json"


def spend(hands, path, mark, **stages):
    clock = StageClock(path, dict.fromkeys(stages, mark), hands)
    for stage, seconds in stages.items():
        with clock(stage):
            hands.now += seconds
        hands.now += 1000  # between stages nothing is counted
    return clock


def test_calls_add_up_as_long_as_settings_are_the_same(hands, path):
    assert spend(hands, path, "a", meshes=3, pairs=40).seconds == {"meshes": 3, "pairs": 40}
    spend(hands, path, "a", pairs=2)
    assert read_timings(path).seconds == {"meshes": 3, "pairs": 42}
    spend(hands, path, "b", pairs=7)
    assert read_timings(path).seconds == {"meshes": 3, "pairs": 7}
    assert read_timings(path).marks == {"meshes": "a", "pairs": "b"}
    assert read_timings(path).made_with.keys() == {"uop3d", "numpy", "torch", "python", "cores"}


def test_a_stage_inside_another_counts_once(hands, path):
    clock = StageClock(path, {}, hands)
    with clock("pairs"):
        hands.now += 1
        with clock("fields"):
            hands.now += 10
        hands.now += 2
    assert read_timings(path).seconds == {"pairs": 3, "fields": 10}


def test_a_stage_that_fails_counts(hands, path):
    clock = StageClock(path, {}, hands)
    with pytest.raises(KeyboardInterrupt), clock("pairs"):
        hands.now += 5
        raise KeyboardInterrupt
    assert read_timings(path).seconds == {"pairs": 5}


def test_a_killed_process_loses_the_last_seconds_only(hands, path):
    clock = StageClock(path, {}, hands)
    progress = clock.told(silent)
    with clock("pairs"):
        progress("pairs", 0, 9)
        assert not path.exists()
        hands.now += WRITE_AFTER_S + 1
        progress("pairs", 1, 9)
        assert read_timings(path).seconds == {"pairs": WRITE_AFTER_S + 1}
        hands.now += 1
        progress("pairs", 2, 9)
        assert read_timings(path).seconds == {"pairs": WRITE_AFTER_S + 1}


def test_progress_is_passed_on(hands, path):
    calls = []
    StageClock(path, {}, hands).told(lambda *call: calls.append(call))("pairs", 1, 2)
    assert calls == [("pairs", 1, 2)] and not path.exists()


ENTRIES = ("3", '{"a": 3}', '{"a": {"seconds": -1, "fingerprint": ""}}', '{"a": {"seconds": "x", "fingerprint": ""}}',
           '{"a": {"seconds": 1e999, "fingerprint": ""}}', '{}, "made_with": 3')  # fmt: skip


@pytest.mark.parametrize("content", ["{", "[]", "{}", *(f'{{"stages": {entries}}}' for entries in ENTRIES)])
def test_damaged_times(content, path, hands, caplog):
    path.write_text(content)
    with pytest.raises(ValueError, match=r"timings\.json"):
        read_timings(path)
    spend(hands, path, "a", pairs=1)
    assert read_timings(path).seconds == {"pairs": 1} and "started anew" in caplog.text


def test_no_times(path):
    assert read_timings(path) == Timings()
    assert json.loads(json.dumps(read_timings(path).seconds)) == {}
