"""One thread inside the block, as many as before after it; waits are short unless somebody wants them otherwise."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info

from uop3d_core.executors.threads import SPINS, one_thread, short_waits


def test_one_thread():
    before = torch.get_num_threads(), [pool["num_threads"] for pool in threadpool_info()]
    torch.set_num_threads(2)
    with one_thread():
        assert torch.get_num_threads() == 1
        assert {pool["num_threads"] for pool in threadpool_info()} == {1}
        np.ones((300, 300)) @ np.ones((300, 300))
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before[0])
    assert [pool["num_threads"] for pool in threadpool_info()] == before[1]


def test_restored_after_an_error():
    before = torch.get_num_threads()
    with pytest.raises(RuntimeError), one_thread():
        raise RuntimeError
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("name", ["GOMP_SPINCOUNT", "OMP_WAIT_POLICY"])
def test_waits_that_the_environment_asks_for_stay(monkeypatch, name):
    for other in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(name, "active")
    before = dict(os.environ)
    short_waits()
    assert dict(os.environ) == before


def test_the_command_waits_shortly_before_torch_is_there():
    environment = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    code = """if True:
        import os, sys
        from uop3d_core import cli
        cli.app = lambda: print("torch" in sys.modules, os.environ["GOMP_SPINCOUNT"])
        cli.main()
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.split() == ["False", SPINS]
