"""A worker process: calls the function it was sent for each item it is sent, until its socket is closed.

In: messages on a socket, by its file descriptor. Out: answers on it, one for each item.

It is started as a program of its own: nothing is inherited from threads of the parent, and the parent's main module is
not run again.
"""

from __future__ import annotations

import os
import pickle
import queue
import threading
import traceback
from multiprocessing.connection import Connection
from typing import Any

from uop3d_core.executors.parcel import dumps
from uop3d_core.executors.threads import one_thread


def main(descriptor: int) -> None:
    """Work until the parent closes the socket, or dies."""
    connection = Connection(descriptor)
    inbox: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(connection, inbox), daemon=True).start()
    function: Any = None
    shared: Any = None
    while True:
        kind, content = pickle.loads(inbox.get())
        try:
            if kind == "job":
                function, shared = pickle.loads(content)
                continue
            with one_thread():
                answer = dumps((True, function(shared, pickle.loads(content))))
        except Exception as error:
            answer = _failure(error)
        connection.send_bytes(answer)


def _listen(connection: Connection, inbox: queue.SimpleQueue[bytes]) -> None:
    """Hand on messages; end the process at once, even amid work, when there will be no more."""
    try:
        while True:
            inbox.put(connection.recv_bytes())
    except (EOFError, OSError):
        os._exit(0)


def _failure(error: Exception) -> bytes:
    """The error and its traceback; an error that cannot be sent becomes a RuntimeError with the same message."""
    trace = traceback.format_exc()
    try:
        answer = dumps((False, (error, trace)))
        pickle.loads(answer)
    except Exception:
        answer = dumps((False, (RuntimeError(f"{type(error).__name__}: {error}"), trace)))
    return answer
