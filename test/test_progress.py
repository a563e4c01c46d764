"""What a log shows of a long job, told by a clock that the test turns."""

from collections.abc import Callable

import pytest
from rich.console import Console

from uop3d_core.cli import console
from uop3d_core.progress import ProgressLines


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def progress(lines: list[str], clock: Clock) -> ProgressLines:
    return ProgressLines(lines.append, clock=clock)


def work(tell: Callable[[str, int, int], None], clock: Clock, stage: str, first: int, total: int, each_s: float):
    for done in range(first, total + 1):
        tell(stage, done, total)
        clock.now += each_s * (done < total)


def test_a_line_at_the_start_now_and_then_and_at_the_end(progress, lines, clock):
    work(progress, clock, "features", 0, 100, each_s=1.0)
    assert lines == [
        "features: 0 of 100",
        "features: 30 of 100 (30%), about 70 s left",
        "features: 60 of 100 (60%), about 40 s left",
        "features: 90 of 100 (90%), about 10 s left",
        "features: 100 of 100, finished in 2 min",
    ]


def test_what_was_done_before_does_not_count_for_the_time_left(progress, lines, clock):
    work(progress, clock, "training", 8, 12, each_s=60.0)
    assert lines[:2] == ["training: 8 of 12", "training: 9 of 12 (75%), about 3 min left"]
    assert lines[-1] == "training: 12 of 12, finished in 4 min" and len(lines) == 5


def test_short_stages_have_two_lines_and_finished_ones_one(progress, lines, clock):
    work(progress, clock, "masks", 0, 10, each_s=0.1)
    for _ in range(3):
        progress("pairs", 66, 66)
    progress("nothing", 0, 0)
    assert lines == ["masks: 0 of 10", "masks: 10 of 10, finished in 1 s", "pairs: 66 of 66", "nothing: 0 of 0"]


def test_stages_keep_their_own_time_and_may_come_again(progress, lines, clock):
    progress("a", 0, 4)
    clock.now += 40
    progress("b", 0, 2)
    progress("a", 1, 4)
    progress("a", 4, 4)
    progress("a", 0, 4)
    assert lines[1:] == [
        "b: 0 of 2",
        "a: 1 of 4 (25%), about 2 min left",
        "a: 4 of 4, finished in 40 s",
        "a: 0 of 4",
    ]


def test_the_clock_may_run_while_nothing_gets_done(progress, lines, clock):
    progress("import", 0, 5)
    clock.now += 31
    progress("import", 0, 5)
    assert lines == ["import: 0 of 5", "import: 0 of 5 (0%)"]


@pytest.mark.parametrize("terminal", [True, False])
def test_commands_show_bars_in_a_terminal_and_lines_elsewhere(monkeypatch, capsys, terminal):
    monkeypatch.setattr(console, "err", Console(stderr=True, force_terminal=terminal, width=40))
    with console.progress_bars() as progress:
        progress("[a] stage with a name that does not fit into forty columns", 0, 3)
        progress("[a] stage with a name that does not fit into forty columns", 3, 3)
    out, err = capsys.readouterr()
    lines = "[a] stage with a name that does not fit into forty columns: 0 of 3\n"
    assert err.startswith(lines) != terminal and ("\x1b[" in err) == terminal and out == ""
