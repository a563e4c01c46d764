"""Loops over captures and pairs behind one small contract: in this process, in several, or on a Ray cluster.

In: a function, the items it is called with, and what all calls share. Out: named results, as they come.

The result of a call depends on neither the engine nor the number of workers: each call runs on one thread, wherever it
runs. Third parties add engines by a Python entry point.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol, TypeAlias, TypeVar

from uop3d_core.plugins import known_names, load_factory

Item = TypeVar("Item")
Result = TypeVar("Result")

Shared: TypeAlias = Mapping[str, Any]
Function: TypeAlias = Callable[[Shared, Item], Result]

ENTRY_POINT_GROUP = "uop3d.executors"
BUILT_IN = {
    "serial": "uop3d_core.executors.serial:create",
    "processes": "uop3d_core.executors.processes:create",
    "ray": "uop3d_core.executors.on_ray:create",
}
DEFAULT_ENGINE = "processes"
QUOTA = Path("/sys/fs/cgroup/cpu.max")


class Executor(AbstractContextManager["Executor"], Protocol):
    """Calls a function for every item; workers are started when there is need and end with the context.

    Attributes:
        workers: how many calls run at once.
    """

    workers: int

    def map(
        self, function: Function[Item, Result], shared: Shared, items: Mapping[str, Item]
    ) -> Iterator[tuple[str, Result]]:
        """Yield (name, ``function(shared, item)``) in the order in which the calls end.

        Args:
            function: importable by its name in its module, or a `functools.partial` of such; it changes nothing shared.
            shared: large inputs by name; they reach a worker once, not with every item.
            items: by the name that progress and errors use; an item is asked for when its turn has come.

        Raises:
            ChildProcessError: a worker died; the message names the item it worked on.
            Exception: what a call raised; calls that have not ended yet are given up.
        """
        ...


def usable_cores() -> int:
    """Processor cores that this process may use: those it may run on, or fewer where a container grants less time."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = map(int, QUOTA.read_text().split())
    except (OSError, ValueError):  # none, or "max"
        return cores
    return max(1, min(cores, quota // period))


def executor_names() -> list[str]:
    """All names that `load_executor` knows, built in or installed."""
    return known_names(BUILT_IN, ENTRY_POINT_GROUP)


def load_executor(spec: str, workers: int | None = None) -> Executor:
    """Make an executor from ``NAME`` or ``NAME:ADDRESS``; to be used as a context.

    An installed entry point of group ``uop3d.executors`` names a factory ``create(workers: int | None, address: str)``
    that returns an Executor.

    Args:
        spec: e.g. ``processes``, ``ray`` or ``ray:10.0.0.1:6379``.
        workers: how many calls at once; None for as many as there are cores.

    Raises:
        ValueError: unknown name (the message lists the known ones), or fewer than one worker.
        ImportError: the engine is not installed.
        OSError: the cluster cannot be reached.
    """
    if workers is not None and workers < 1:
        raise ValueError(f"at least 1 worker is needed, not {workers}")
    name, _, address = spec.partition(":")
    executor: Executor = load_factory(name, "engine", BUILT_IN, ENTRY_POINT_GROUP)(workers, address)
    return executor
