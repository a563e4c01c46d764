"""One thread for the mathematics, so that sums are taken in the same order everywhere.

In: a function. Out: the same function, during which BLAS, OpenMP and torch use one thread.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import ThreadpoolController

ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}
"""Environment in which a new process makes no more threads than it needs."""


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
