"""Worker processes: same results, clear errors, no process left behind."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import calls
import psutil
import pytest
import torch

from uop3d_core.executors import processes
from uop3d_core.executors.processes import ProcessExecutor
from uop3d_core.executors.serial import SerialExecutor

NUMBERS = {f"n{i}": i for i in range(6)}


def children():
    return psutil.Process().children()


@pytest.fixture(scope="module")
def pool():
    with ProcessExecutor(2, start_s=0) as pool:
        yield pool
    assert children() == []


def test_results_by_name(pool):
    assert dict(pool.map(calls.scaled, {"factor": 3}, NUMBERS)) == {f"n{i}": 3 * i for i in range(6)}


def test_same_bits_as_in_this_process(pool):
    torch.manual_seed(0)
    shared = {name: torch.randn(257, 257) for name in "abc"}
    items = {"a+b": "ab", "a+c": "ac", "b+c": "bc"}
    here = dict(SerialExecutor().map(calls.product, shared, items))
    there = dict(pool.map(calls.product, shared, items))
    assert here == there
    assert {threads for _, _, threads in there.values()} == {1}


def test_several_workers_that_stay(pool):
    first, second = (set(dict(pool.map(calls.who, {}, NUMBERS)).values()) for _ in range(2))
    assert len(first) == 2 and first == second and os.getpid() not in first


def test_little_work_starts_nobody():
    with ProcessExecutor(2) as pool:
        assert set(dict(pool.map(calls.who, {}, NUMBERS)).values()) == {os.getpid()}


def test_workers_start_once_they_save_time():
    with ProcessExecutor(2, start_s=0.1) as pool:
        owners = list(dict(pool.map(calls.who, {}, NUMBERS)).values())
    assert owners[0] == os.getpid() and len(set(owners)) == 3


def test_one_worker_is_this_process():
    with ProcessExecutor(1, start_s=0) as pool:
        assert set(dict(pool.map(calls.who, {}, NUMBERS)).values()) == {os.getpid()}


def test_error_of_a_call(pool):
    with pytest.raises(ValueError, match="two is wrong") as caught:
        list(pool.map(calls.fails, {}, NUMBERS))
    assert "at n2" in str(caught.value.__cause__) and "calls.py" in str(caught.value.__cause__)
    assert children() == []
    assert dict(pool.map(calls.scaled, {"factor": 1}, NUMBERS)) == NUMBERS, "the pool can be used again"


def test_error_that_cannot_be_sent(pool):
    with pytest.raises(RuntimeError, match="Strange: odd"):
        list(pool.map(calls.unpicklable, {}, NUMBERS))


def test_death_of_a_worker_names_the_item(pool):
    with pytest.raises(ChildProcessError, match="signal 9 while it worked on n2.*memory.*again to go on"):
        list(pool.map(calls.dies, {}, NUMBERS))
    assert children() == []


def test_worker_that_died_between_loops(pool):
    dict(pool.map(calls.who, {}, NUMBERS))
    victim = children()[0]
    victim.kill()
    os.waitid(os.P_PID, victim.pid, os.WEXITED | os.WNOWAIT)  # until all of its threads are gone
    assert len(dict(pool.map(calls.who, {}, NUMBERS))) == 6 and len(children()) == 2


def test_function_that_cannot_be_found(pool):
    with pytest.raises((AttributeError, pickle_error())):
        list(pool.map(lambda shared, item: item, {}, NUMBERS))


def pickle_error():
    import pickle

    return pickle.PicklingError


def test_consumer_that_stops_listening():
    others = children()
    with ProcessExecutor(2, start_s=0) as pool:
        results = pool.map(calls.sleeps, {}, {"short": 0, "long": 60, "longer": 61})
        assert next(results) == ("short", 0)
        results.close()
        assert children() == others


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_workers_do_not_outlive_a_killed_or_interrupted_parent(end):
    code = """
        import calls, signal
        from uop3d_core.executors.processes import ProcessExecutor
        signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background ignores it
        with ProcessExecutor(2, start_s=0) as pool:
            for name, pid in pool.map(calls.who, {}, {"a": 0, "b": 0}):
                print(pid, flush=True)
            list(pool.map(calls.sleeps, {}, {"a": 60, "b": 60}))
    """
    environment = {**os.environ, "PYTHONPATH": os.path.dirname(calls.__file__)}
    command = [sys.executable, "-c", textwrap.dedent(code)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as parent:
        workers = [int(parent.stdout.readline()) for _ in range(2)]
        parent.send_signal(end)
        assert ("KeyboardInterrupt" in parent.stderr.read()) == (end == signal.SIGINT)
    deadline = time.monotonic() + 10
    while any(psutil.pid_exists(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(psutil.pid_exists(pid) for pid in workers)


def test_script_without_main_guard():
    """Workers do not run the caller's script again."""
    code = "import calls\nfrom uop3d_core.executors.processes import ProcessExecutor\n"
    code += "with ProcessExecutor(2, start_s=0) as pool: print(len(dict(pool.map(calls.who, {}, {'a': 0, 'b': 1}))))"
    environment = {**os.environ, "PYTHONPATH": os.path.dirname(calls.__file__)}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert result.stdout == "2\n"


def test_modules_of_the_working_folder_do_not_disturb(tmp_path):
    (tmp_path / "queue.py").write_text("raise RuntimeError('not this one')")
    code = "import sys; sys.path.pop(0); import calls; from uop3d_core.executors.processes import ProcessExecutor\n"
    code += "with ProcessExecutor(2, start_s=0) as pool: print(len(dict(pool.map(calls.who, {}, {'a': 0, 'b': 1}))))"
    environment = {**os.environ, "PYTHONPATH": os.path.dirname(calls.__file__)}
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=True, cwd=tmp_path)
    assert result.stdout == "2\n"


def test_no_address():
    with pytest.raises(ValueError, match="this machine only"):
        processes.create(2, "10.0.0.1")
