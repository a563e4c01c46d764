"""The loop in this process: one call after the other.

In / out: see `uop3d_core.executors`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import TracebackType

from uop3d_core.executors import Function, Item, Result, Shared
from uop3d_core.executors.threads import one_thread


class SerialExecutor:
    """Calls in order, in the calling process."""

    workers = 1

    def map(
        self, function: Function[Item, Result], shared: Shared, items: Mapping[str, Item]
    ) -> Iterator[tuple[str, Result]]:
        """See `Executor.map`."""
        for name, item in items.items():
            with one_thread():
                result = function(shared, item)
            yield name, result

    def __enter__(self) -> SerialExecutor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


def create(workers: int | None, address: str) -> SerialExecutor:
    """Factory for `load_executor`.

    Raises:
        ValueError: more than one worker was asked for.
    """
    if workers not in (None, 1) or address:
        raise ValueError("the engine serial works alone: leave --workers away, or take --engine processes")
    return SerialExecutor()
