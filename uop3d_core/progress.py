"""How long jobs tell how far they are.

What: the `Progress` protocol, a function that stages call; one that ignores the calls, and one that writes lines.
In / out: name of the stage, pieces done, pieces in all; nothing comes back.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from uop3d_core.stopwatch import spoken

EVERY_S = 30.0


class Progress(Protocol):
    """Called when a stage starts (done = 0) and after each piece of work."""

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Note that `done` of `total` pieces of `stage` are finished."""


def silent(stage: str, done: int, total: int) -> None:
    """Tell nobody."""


@dataclass
class _Stage:
    """When a stage was heard of for the first and the last time, and what was done at first."""

    started: float
    told: float
    first: int
    finished: bool = False


class ProgressLines:
    """Progress for log files: a line when a stage starts, then now and then, and one when it ends.

    Examples:
        >>> progress = ProgressLines(print)
        >>> progress("masks", 0, 20)
        masks: 0 of 20
    """

    def __init__(
        self, write: Callable[[str], object], every_s: float = EVERY_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Args: what takes a line, how far apart lines of one stage are at least, and the seconds that have gone by."""
        self._write, self._every_s, self._clock = write, every_s, clock
        self._stages: dict[str, _Stage] = {}

    def __call__(self, stage: str, done: int, total: int) -> None:
        """See `Progress`."""
        now, known = self._clock(), self._stages.get(stage)
        if known is None or (known.finished and done < total):
            self._stages[stage] = _Stage(now, now, done, done >= total)
            self._write(f"{stage}: {done} of {total}")
            return
        spent, known.finished, before = now - known.started, done >= total, known.finished
        if known.finished and not before:
            self._write(f"{stage}: {done} of {total}, finished in {spoken(spent)}")
        elif not known.finished and now - known.told >= self._every_s:
            known.told = now
            left = f", about {spoken(spent / (done - known.first) * (total - done))} left" if done > known.first else ""
            self._write(f"{stage}: {done} of {total} ({done / total:.0%}){left}")
