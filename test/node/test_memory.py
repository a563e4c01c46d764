"""Large blocks come back without new pages once they are kept."""

import platform
import subprocess
import sys

import pytest

CHURN = """
import resource, sys
import numpy as np
from uop3d_ros import memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(50):
        pictures = [np.full(6_000_000, 1, np.uint8) for _ in range(8)]
        del pictures
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
given_back = faults()
memory.keep()
faults()
kept = faults()
memory.give_back()
print(given_back, kept)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told")
def test_pages_are_fetched_once():
    result = subprocess.run([sys.executable, "-c", CHURN], capture_output=True, text=True, check=True)
    given_back, kept = map(int, result.stdout.split())
    assert kept < given_back / 5
