"""One thread that does the slow work: of the frames that wait only the newest counts. No ROS.

In: frames for one function, and tasks of other kinds. Out: their effects; results of tasks as futures.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

logger = logging.getLogger(__name__)


class Worker:
    """Runs a function on the newest frame, and tasks in between, in a thread of its own.

    Attributes:
        done: frames that were worked on.
        dropped: frames that a newer one replaced while they waited.
    """

    def __init__(self, work: Callable[[Any], None]) -> None:
        """Start the thread.

        Args:
            work: is given frames; handles its own errors.
        """
        self.done = self.dropped = 0
        self._work = work
        self._frame: Any = None
        self._tasks: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._changed, self._closed = threading.Condition(), False
        self._thread = threading.Thread(target=self._run, name="uop3d worker", daemon=True)
        self._thread.start()

    def submit(self, frame: Any) -> None:
        """Hand over a frame; it replaces one that still waits."""
        with self._changed:
            self.dropped += self._frame is not None
            self._frame = frame
            self._changed.notify()

    def call(self, task: Callable[[], Any]) -> Future[Any]:
        """Run a task after what runs now, unless its future is cancelled before; `close` cancels those that wait."""
        future: Future[Any] = Future()
        with self._changed:
            if self._closed:
                future.cancel()
                return future
            self._tasks.append((task, future))
            self._changed.notify()
        return future

    def forget(self) -> None:
        """Let go of the frame that waits."""
        with self._changed:
            self._frame = None

    def close(self) -> None:
        """Finish what runs, let go of the rest, end the thread. A second call does nothing."""
        with self._changed:
            self._closed, self._frame = True, None
            for _, future in self._tasks:
                future.cancel()
            self._tasks.clear()
            self._changed.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._tasks or self._frame is not None)
                if self._closed:
                    return
                task, future = self._tasks.popleft() if self._tasks else (None, None)
                frame = None
                if task is None:
                    frame, self._frame = self._frame, None
            if task is not None and future is not None:
                _fulfil(task, future)
            else:
                self._work_on(frame)

    def _work_on(self, frame: Any) -> None:
        try:
            self._work(frame)
        except Exception:  # the thread outlives whatever a frame does
            logger.exception("a frame could not be worked on")
        self.done += 1


def _fulfil(task: Callable[[], Any], future: Future[Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(task())
    except Exception as error:
        future.set_exception(error)
