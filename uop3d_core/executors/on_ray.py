"""The loop on a Ray cluster, or on a Ray of its own on this machine (``pip install 'uop3d[ray]'``).

In / out: see `uop3d_core.executors`. Every node needs uop3d of the same version, and sees the captures under the same
path; nodes of one kind give the same bits as this machine. What is shared goes through Ray's object store.
"""

from __future__ import annotations

import os
import pickle
import socket
import sys
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any

import numpy as np

from uop3d_core.executors import Function, Item, Result, Shared, usable_cores
from uop3d_core.executors.parcel import dumps, pack, unpack
from uop3d_core.executors.threads import ONE_THREAD, one_thread

IN_FLIGHT = 2
"""Calls handed to Ray for each worker, so that none waits for the next."""


KNOCK_S = 10.0


class _Stored(Mapping[str, Any]):
    """What is shared: objects in Ray's store by name, fetched when they are asked for."""

    def __init__(self, references: Mapping[str, Any]) -> None:
        self._references = references

    def __getitem__(self, name: str) -> Any:
        import ray

        head, references = self._references[name]
        return unpack(head, ray.get(references))

    def __iter__(self) -> Iterator[str]:
        return iter(self._references)

    def __len__(self) -> int:
        return len(self._references)


def _call(function: Any, references: Mapping[str, Any], item: bytes) -> bytes:
    """What a Ray worker does."""
    with one_thread():
        return dumps(function(_Stored(references), pickle.loads(item)))


class RayExecutor:
    """Calls as Ray tasks of one core each."""

    def __init__(self, workers: int | None, address: str) -> None:
        """Connect to a cluster, or start Ray here; a connection that the program already has is used as it is.

        Args:
            workers: how many calls at once; None for as many as the cluster has cores.
            address: of the cluster's head; empty for what RAY_ADDRESS names, or else a new Ray on this machine.

        Raises:
            ImportError: Ray is not installed.
            ConnectionError: there is no cluster at the address.
        """
        try:
            import ray
        except ImportError as error:
            hint = "pip install 'uop3d[ray]', or take --engine processes"
            raise ImportError(f"the engine ray needs Ray: {hint}") from error
        self._ray: Any = ray
        self._connected = not ray.is_initialized()
        if self._connected:
            _connect(ray, workers, address or os.environ.get("RAY_ADDRESS", "local"))
        self.workers = workers or max(int(ray.cluster_resources().get("CPU", 1)), 1)

    def map(
        self, function: Function[Item, Result], shared: Shared, items: Mapping[str, Item]
    ) -> Iterator[tuple[str, Result]]:
        """See `Executor.map`."""
        ray, todo = self._ray, iter(items)
        call = ray.remote(num_cpus=1, max_retries=0)(_call)
        references = ray.put({name: self._put(value) for name, value in shared.items()})
        busy: dict[Any, str] = {}
        try:
            while True:
                while len(busy) < IN_FLIGHT * self.workers and (name := next(todo, None)) is not None:
                    busy[call.remote(function, references, dumps(items[name]))] = name
                if not busy:
                    return
                (done,), _ = ray.wait(list(busy), num_returns=1)
                name = busy.pop(done)
                yield name, pickle.loads(self._result(done, name))
        finally:
            for reference in busy:
                ray.cancel(reference, force=True)

    def _put(self, value: Any) -> tuple[bytes, list[Any]]:
        head, buffers = pack(value)
        return head, [self._ray.put(np.frombuffer(buffer.raw(), np.uint8)) for buffer in buffers]

    def _result(self, reference: Any, name: str) -> Any:
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            cause = getattr(error, "cause", None)
            raise cause or error from RuntimeError(f"in a Ray worker, at {name}:\n{error}")
        except self._ray.exceptions.RayError as error:
            raise ChildProcessError(
                f"a Ray worker was lost while it worked on {name}. Run the same command again to go on\n{error}"
            ) from error

    def __enter__(self) -> RayExecutor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._connected:
            self._ray.shutdown()


def _connect(ray: Any, workers: int | None, address: str) -> None:
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        if address == "local":
            environment = {**ONE_THREAD, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
            cores = workers or usable_cores()
            ray.init("local", num_cpus=cores, include_dashboard=False, runtime_env={"env_vars": environment}, **quiet)
        else:
            _knock(address)
            ray.init(address, runtime_env={"env_vars": ONE_THREAD}, **quiet)
    except (ConnectionError, TimeoutError) as error:
        raise ConnectionError(f"no Ray cluster answers at {address}: {error}") from error


def _knock(address: str) -> None:
    """Raise an OSError where nobody listens: Ray would wait for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=KNOCK_S).close()


def create(workers: int | None, address: str) -> RayExecutor:
    """Factory for `load_executor`."""
    return RayExecutor(workers, address)
