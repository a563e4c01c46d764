"""Where the time goes: the `Watch` protocol that steps report to, one that ignores them, and one that measures.

In: the name of a step, as a context. Out: seconds of every lap, by step; times in words.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol


class Watch(Protocol):
    """``with watch("crop"): ...`` is one lap of the step "crop"."""

    def __call__(self, step: str) -> AbstractContextManager[None]:
        """Enter when the step begins, leave when it ends."""


def unwatched(step: str) -> AbstractContextManager[None]:
    """Measure nothing."""
    return nullcontext()


class Stopwatch:
    """Seconds of every lap; for one thread.

    Attributes:
        laps: seconds by step, in the order in which laps ended.
    """

    def __init__(self) -> None:
        """Nothing measured yet."""
        self.laps: dict[str, list[float]] = {}

    @contextmanager
    def __call__(self, step: str) -> Iterator[None]:
        """Measure one lap; one that fails does not count."""
        start = time.perf_counter()
        yield
        self.laps.setdefault(step, []).append(time.perf_counter() - start)

    def taken(self) -> dict[str, float]:
        """Seconds by step over all laps since the last call."""
        totals = {step: sum(laps) for step, laps in self.laps.items()}
        self.laps = {}
        return totals


def spoken(seconds: float) -> str:
    """A time as a person says it."""
    if seconds < 99.5:
        return f"{seconds:.2g} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
