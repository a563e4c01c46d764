"""The loop in several processes of this machine.

In / out: see `uop3d_core.executors`. Workers are programs of their own (see `worker`), started when the work left is
worth it and kept for the next loop. What is shared lies in one file that all of them map into memory.
"""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any

from uop3d_core.executors import Function, Item, Result, Shared, usable_cores
from uop3d_core.executors.parcel import Parcel, dumps
from uop3d_core.executors.serial import SerialExecutor
from uop3d_core.executors.threads import ONE_THREAD

START_S = 4.0
"""About what starting workers costs, most of it for loading torch."""
GRACE_S = 2.0
PROGRAM = """
import sys
sys.path = [path for path in sys.path if path]  # the working folder may hold anything
from uop3d_core.executors.worker import main
main(int(sys.argv[1]))
"""


class _Worker:
    """A worker process and what it works on."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=_environment(),
                start_new_session=True,  # Ctrl-C is for the parent, which ends its workers
            )
        self.connection = Connection(ours.detach())
        self.item: str | None = None

    def send(self, kind: str, content: bytes) -> None:
        """Send a message; that the worker is gone shows when its answer is read."""
        try:
            self.connection.send_bytes(pickle.dumps((kind, content)))
        except OSError:
            pass

    def answer(self) -> Any:
        """What the call returned.

        Raises:
            ChildProcessError: the worker is gone.
            Exception: what the call raised.
        """
        try:
            good, content = pickle.loads(self.connection.recv_bytes())
        except (EOFError, OSError):
            raise ChildProcessError(self._epitaph()) from None
        if good:
            return content
        error, trace = content
        raise error from RuntimeError(f"in a worker, at {self.item}:\n{trace}")

    def _epitaph(self) -> str:
        try:
            code = self.process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            code = 0
        end = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        hint = "; has the memory run out? fewer --workers need less" if code == -9 else ""
        return f"a worker process {end} while it worked on {self.item}{hint}. Run the same command again to go on"

    def end(self) -> None:
        """End the process, even amid work."""
        self.connection.close()
        try:
            self.process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class ProcessExecutor:
    """Calls in worker processes; little work is done in the calling process."""

    def __init__(self, workers: int, start_s: float | None = None) -> None:
        """No process is started yet.

        Args:
            workers: how many.
            start_s: they are started once that many seconds are saved by it; by default what starting takes.
        """
        self.workers, self.start_s = workers, START_S if start_s is None else start_s
        self._crew: list[_Worker] = []

    def map(
        self, function: Function[Item, Result], shared: Shared, items: Mapping[str, Item]
    ) -> Iterator[tuple[str, Result]]:
        """See `Executor.map`."""
        names = list(items)
        here, spent = SerialExecutor(), 0.0
        while names and not self._worth(spent, len(items) - len(names), len(names)):
            start = time.monotonic()
            results = list(here.map(function, shared, {names[0]: items[names.pop(0)]}))
            spent += time.monotonic() - start
            yield from results
        if names:
            yield from self._spread(function, shared, items, names)

    def _worth(self, spent: float, done: int, left: int) -> bool:
        """Whether workers save more time than starting them takes, judged by the calls so far."""
        if self.workers == 1 or left < 2:
            return False
        if self._crew or not self.start_s:
            return True
        return done > 0 and spent / done * left * (1 - 1 / self.workers) > self.start_s

    def _spread(
        self, function: Function[Item, Result], shared: Shared, items: Mapping[str, Item], names: list[str]
    ) -> Iterator[tuple[str, Result]]:
        with Parcel() as own:
            try:
                parcel = shared if isinstance(shared, Parcel) else _filled(own, shared)
                job, todo = dumps((function, parcel)), iter(names)
                self._bury()
                while len(self._crew) < min(self.workers, len(names)):
                    self._crew.append(_Worker())
                for worker in self._crew:
                    worker.send("job", job)
                    _give(worker, items, todo)
                while busy := {w.connection: w for w in self._crew if w.item is not None}:
                    for connection in wait(list(busy)):
                        worker = busy[connection]  # type: ignore[index]
                        result, name = worker.answer(), worker.item
                        _give(worker, items, todo)
                        assert name is not None
                        yield name, result
            except BaseException:  # Ctrl-C and a consumer that stops listening, too
                self._dismiss()
                raise

    def _bury(self) -> None:
        """Forget workers that died since the last loop."""
        for worker in [worker for worker in self._crew if worker.process.poll() is not None]:
            worker.end()
            self._crew.remove(worker)

    def _dismiss(self) -> None:
        for worker in self._crew:
            worker.connection.close()
        while self._crew:
            self._crew.pop().end()

    def __enter__(self) -> ProcessExecutor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._dismiss()


def _environment() -> dict[str, str]:
    """That of this process, with one thread and the same places to import from."""
    places = os.pathsep.join(path or os.getcwd() for path in sys.path)
    return {**os.environ, **ONE_THREAD, "PYTHONPATH": places}


def _filled(parcel: Parcel, shared: Shared) -> Parcel:
    for name, value in shared.items():
        parcel.add(name, value)
    return parcel


def _give(worker: _Worker, items: Mapping[str, Any], todo: Iterator[str]) -> None:
    """Send the next item, if there is one."""
    worker.item = next(todo, None)
    if worker.item is not None:
        worker.send("item", dumps(items[worker.item]))


def create(workers: int | None, address: str) -> ProcessExecutor:
    """Factory for `load_executor`.

    Raises:
        ValueError: an address was given.
    """
    if address:
        raise ValueError(f"the engine processes works on this machine only, not at {address}")
    return ProcessExecutor(workers or usable_cores())
