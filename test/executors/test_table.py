"""Engines by name: built in, installed, unknown."""

import os
import sys
from importlib.metadata import EntryPoint

import calls
import pytest

from uop3d_core import executors, plugins
from uop3d_core.executors import executor_names, load_executor, usable_cores
from uop3d_core.executors.serial import SerialExecutor


def test_names():
    assert executor_names() == ["processes", "ray", "serial"]


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match="unknown engine 'threads'; known are processes, ray, serial"):
        load_executor("threads")


@pytest.mark.parametrize("workers", [0, -1])
def test_too_few_workers(workers):
    with pytest.raises(ValueError, match="at least 1 worker"):
        load_executor("processes", workers)


def test_serial():
    with load_executor("serial") as executor:
        assert executor.workers == 1
        assert list(executor.map(calls.who, {}, {"b": 0, "a": 0})) == [("b", os.getpid()), ("a", os.getpid())]
    with pytest.raises(ValueError, match="works alone"):
        load_executor("serial", 2)


def test_default_is_one_process_per_core():
    with load_executor("processes") as executor:
        assert executor.workers == usable_cores() >= 1


@pytest.mark.parametrize(("quota", "cores"), [("100000 100000", 1), ("50000 100000", 1), ("max 100000", 8), ("", 8)])
def test_cores_of_a_container(tmp_path, monkeypatch, quota, cores):
    (tmp_path / "cpu.max").write_text(quota)
    monkeypatch.setattr(executors, "QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)))
    assert usable_cores() == cores


def test_ray_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"pip install 'uop3d\[ray\]'"):
        load_executor("ray")


def installed(workers, address):
    executor = SerialExecutor()
    executor.given = workers, address
    return executor


def test_installed_engine(monkeypatch):
    point = EntryPoint("farm", "test_table:installed", executors.ENTRY_POINT_GROUP)
    monkeypatch.setattr(EntryPoint, "load", lambda self: installed)
    monkeypatch.setattr(plugins, "entry_points", lambda group: [point])
    assert "farm" in executor_names()
    assert load_executor("farm:here:7", 3).given == (3, "here:7")
