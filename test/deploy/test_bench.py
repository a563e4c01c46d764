"""Times of steps, and threads that are limited only while they are."""

import os

import pytest

from uop3d_core.cli.deploying import counts_in
from uop3d_core.deploy.bench import limited


def test_threads_are_limited_inside_only(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    with limited(2):
        assert os.environ["OMP_NUM_THREADS"] == "2"
    assert os.environ["OMP_NUM_THREADS"] == "5"
    monkeypatch.delenv("OMP_NUM_THREADS")
    with limited(2):
        pass
    assert "OMP_NUM_THREADS" not in os.environ
    with limited(None):
        assert "OMP_NUM_THREADS" not in os.environ


@pytest.mark.parametrize("text", ["", "0", "1,x", "-1"])
def test_objects_that_are_no_counts(text):
    with pytest.raises(ValueError, match="write numbers with commas"):
        counts_in(text)


def test_objects():
    assert counts_in("1, 8") == [1, 8]
