"""Memory of large messages: kept for the next one while the node works, given back when it does not. No ROS.

The C library gives a freed picture of 6 MB back to the kernel and fetches it anew, page by page, for every copy that
the middleware makes: at 1920 x 1080 that is half of the time from one process to the next. Elsewhere than in glibc
nothing of this is done.
"""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of mallopt(3)
LARGEST = 32 * 2**20
"""Bytes of the largest block that is kept: a picture of 3840 x 2160; glibc takes no more."""
MOST = 256 * 2**20
"""So many bytes may lie idle."""


def keep() -> None:
    """Keep what is freed for what comes next."""
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(M_MMAP_THRESHOLD, LARGEST)
        library.mallopt(M_TRIM_THRESHOLD, MOST)


def give_back() -> None:
    """Free what nobody uses, and let the kernel have it."""
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
