"""Functions that the tests of executors call in other processes."""

import os
import signal
import time

import numpy as np
import torch


def scaled(shared, item):
    return shared["factor"] * item


def product(shared, item):
    """Sums whose order, and so the last bits, would depend on the number of threads."""
    a, b = shared[item[0]], shared[item[1]]
    return (a @ b).sum(), np.linalg.svd(a.numpy())[1].sum(), torch.get_num_threads()


def fails(shared, item):
    if item == 2:
        raise ValueError("two is wrong")
    return item


def unpicklable(shared, item):
    class Strange(Exception):
        pass

    raise Strange("odd")


def dies(shared, item):
    if item == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def sleeps(shared, item):
    time.sleep(item)
    return item


def who(shared, item):
    time.sleep(0.05)
    return os.getpid()


def which_node(shared, item):
    import ray

    assert (shared[item[0]] * shared[item[1]]).isfinite().all()
    time.sleep(0.3)
    return ray.get_runtime_context().get_node_id()
