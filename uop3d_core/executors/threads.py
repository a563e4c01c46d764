"""Threads of the numerical libraries: one alone, so that sums are taken in the same order everywhere; short waits.

In: a block of code, or a program that has just started. Out: how BLAS, OpenMP and torch use threads in it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import ThreadpoolController

ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}
"""Environment in which a new process makes no more threads than it needs."""
SPINS = "10000"
"""Rounds that a waiting thread looks again before it sleeps, some ten microseconds."""


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit this process to one thread per call of a numerical library, for the length of the block."""
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch else 1
    with ThreadpoolController().limit(limits=1):
        if torch:
            torch.set_num_threads(1)
        try:
            yield
        finally:
            if torch:
                torch.set_num_threads(before)


def short_waits() -> None:
    """Let OpenMP's threads sleep soon where they wait for each other; takes effect if torch is not loaded yet.

    By default each keeps its core busy for milliseconds, also where other work wants that core: then a training with
    two threads is many times slower than with one. What the environment asks for stays.
    """
    if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = SPINS
