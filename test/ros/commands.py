"""The commands of ROS, as a person would give them."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def launched(log: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """`ros2 launch`, interrupted at the end as by Ctrl-C."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            ["ros2", "launch", "uop3d_ros", *arguments], stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            yield process
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ctrl-C, and again where a node that was just being started again missed it."""
    for _ in range(3):
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(20)
            return
        except subprocess.TimeoutExpired:
            continue
    os.killpg(process.pid, signal.SIGKILL)
    raise AssertionError("ros2 launch does not end")


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=120)
