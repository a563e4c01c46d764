"""The worker serves the newest frame, keeps every task, and outlives errors."""

import threading
from concurrent.futures import CancelledError

import pytest

from uop3d_ros.worker import Worker

PATIENCE_S = 10


class Gate:
    """Work that waits until it is let go on."""

    def __init__(self):
        self.seen, self.entered, self.open = [], threading.Semaphore(0), threading.Semaphore(0)

    def __call__(self, frame):
        self.entered.release()
        assert self.open.acquire(timeout=PATIENCE_S)
        self.seen.append(frame)


@pytest.fixture
def gate():
    return Gate()


@pytest.fixture
def worker(gate):
    worker = Worker(gate)
    yield worker
    gate.open.release(100)
    worker.close()


def settle(worker):
    worker.call(lambda: None).result(PATIENCE_S)


def test_the_newest_frame_wins(worker, gate):
    worker.submit(0)
    assert gate.entered.acquire(timeout=PATIENCE_S)
    for frame in (1, 2, 3):
        worker.submit(frame)
    gate.open.release(2)
    assert gate.entered.acquire(timeout=PATIENCE_S)
    settle(worker)
    assert gate.seen == [0, 3]
    assert (worker.done, worker.dropped) == (2, 2)


def test_tasks_come_between_frames_and_are_never_dropped(worker, gate):
    worker.submit(0)
    assert gate.entered.acquire(timeout=PATIENCE_S)
    results = [worker.call(lambda i=i: gate.seen.append(f"t{i}")) for i in range(3)]
    worker.submit(1)
    gate.open.release(2)
    for result in results:
        result.result(PATIENCE_S)
    assert gate.seen[:4] == [0, "t0", "t1", "t2"]


def test_a_cancelled_task_does_not_run(worker, gate):
    worker.submit(0)
    assert gate.entered.acquire(timeout=PATIENCE_S)
    given_up, kept = worker.call(lambda: gate.seen.append("no")), worker.call(lambda: gate.seen.append("yes"))
    assert given_up.cancel()
    gate.open.release()
    kept.result(PATIENCE_S)
    assert gate.seen == [0, "yes"]


def test_errors_of_tasks_reach_who_asked(worker):
    with pytest.raises(ZeroDivisionError):
        worker.call(lambda: 1 // 0).result(PATIENCE_S)
    assert worker.call(lambda: 5).result(PATIENCE_S) == 5


def test_errors_of_frames_do_not_end_the_thread(caplog):
    seen = []

    def work(frame):
        seen.append(frame)
        raise RuntimeError("boom")

    worker = Worker(work)
    for frame in range(3):
        worker.submit(frame)
        settle(worker)
    worker.close()
    assert len(seen) >= 1 and "boom" in caplog.text


def test_forget_and_close(gate):
    worker = Worker(gate)
    worker.submit(0)
    assert gate.entered.acquire(timeout=PATIENCE_S)
    worker.submit(1)
    worker.forget()
    waiting = worker.call(lambda: 1)
    closer = threading.Thread(target=worker.close)
    closer.start()
    with pytest.raises(CancelledError):
        waiting.result(PATIENCE_S)
    gate.open.release()
    closer.join(PATIENCE_S)
    assert gate.seen == [0] and not closer.is_alive()
    worker.close()
    assert worker.call(lambda: 1).cancelled()
