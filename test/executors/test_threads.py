"""One thread inside the block, as many as before after it."""

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info

from uop3d_core.executors.threads import one_thread


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
