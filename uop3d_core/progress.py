"""How long jobs tell how far they are.

What: the `Progress` protocol, a function that stages call, and one that ignores the calls.
In / out: name of the stage, pieces done, pieces in all; nothing comes back.
"""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called when a stage starts (done = 0) and after each piece of work."""

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Note that `done` of `total` pieces of `stage` are finished."""


def silent(stage: str, done: int, total: int) -> None:
    """Tell nobody."""
