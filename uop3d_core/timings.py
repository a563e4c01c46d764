"""How long the stages of a run took, over all calls that worked on it: what stands in ``timings.json`` of a run.

In: stages as contexts, with fingerprints of their settings. Out: seconds by stage, kept in the file.
A stage that was stopped and goes on keeps the sum; one with other settings starts anew. What a killed process spent is
lost but for the last seconds, as the file is written while stages report how far they are.
"""

from __future__ import annotations

import logging
import math
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version as distribution_version
from pathlib import Path

from uop3d_core.atomic import write_json
from uop3d_core.progress import Progress
from uop3d_core.runs import FORMAT, read_json_object

WRITE_AFTER_S = 5.0
VERSIONS = ("uop3d", "numpy", "torch")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Timings:
    """The content of timings.json.

    Attributes:
        seconds: by stage, in the order in which they were first worked on.
        marks: fingerprints of the settings that they were spent with.
        made_with: versions and the number of cores of the last call.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    marks: dict[str, str] = field(default_factory=dict)
    made_with: dict[str, str] = field(default_factory=dict)


class StageClock:
    """A `Watch` over the stages of one call; the time of stages inside others counts for the inner ones alone."""

    def __init__(self, path: Path, marks: Mapping[str, str], clock: Callable[[], float] = time.monotonic) -> None:
        """Go on with the file, whose stages count as long as they have these fingerprints.

        Args:
            path: of timings.json.
            marks: fingerprints of the settings of the stages that are worked on.
            clock: seconds.
        """
        self._path, self._clock, self._marks = path, clock, dict(marks)
        self._open: list[str] = []
        self._since = self._written = clock()
        self._own: dict[str, float] = {}
        before = _read_or_nothing(path)
        kept = [stage for stage in before.seconds if marks.get(stage, before.marks[stage]) == before.marks[stage]]
        self._before = {stage: before.seconds[stage] for stage in kept}
        self._before_marks = {stage: before.marks[stage] for stage in kept}

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds by stage of this call."""
        return {stage: round(value, 2) for stage, value in self._own.items()}

    @contextmanager
    def __call__(self, step: str) -> Iterator[None]:
        """Measure a stage, also one that fails."""
        self._account()
        self._open.append(step)
        try:
            yield
        finally:
            self._account()
            self._open.pop()
            self._write()

    def told(self, progress: Progress) -> Progress:
        """The same progress, which makes the file be written now and then."""

        def tell(stage: str, done: int, total: int) -> None:
            progress(stage, done, total)
            if self._open and self._clock() - self._written > WRITE_AFTER_S:
                self._account()
                self._write()

        return tell

    def _account(self) -> None:
        now = self._clock()
        if self._open:
            stage = self._open[-1]
            self._own[stage] = self._own.get(stage, 0.0) + now - self._since
        self._since = now

    def _write(self) -> None:
        stages = list(dict.fromkeys([*self._before, *self._own]))
        content = {
            "format": FORMAT,
            "stages": {
                stage: {
                    "seconds": round(self._before.get(stage, 0.0) + self._own.get(stage, 0.0), 2),
                    "fingerprint": self._marks.get(stage, self._before_marks.get(stage, "")),
                }
                for stage in stages
            },
            "made_with": _versions(),
        }
        write_json(self._path, content)
        self._written = self._clock()


def read_timings(path: Path) -> Timings:
    """Read timings.json; nothing where there is none.

    Raises:
        ValueError: it is damaged.
    """
    if not path.is_file():
        return Timings()
    content = read_json_object(path)
    try:
        seconds = {str(stage): float(entry["seconds"]) for stage, entry in content["stages"].items()}
        marks = {str(stage): str(entry["fingerprint"]) for stage, entry in content["stages"].items()}
        made_with = {str(key): str(value) for key, value in dict(content.get("made_with", {})).items()}
        if not all(math.isfinite(value) and value >= 0 for value in seconds.values()):
            raise ValueError("seconds must not be negative")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged ({error!r}): delete it, times are then counted from now on") from error
    return Timings(seconds, marks, made_with)


def _read_or_nothing(path: Path) -> Timings:
    try:
        return read_timings(path)
    except (OSError, ValueError) as error:
        logger.warning("%s; it is started anew", error)
        return Timings()


def _versions() -> dict[str, str]:
    versions = {name: distribution_version(name) for name in VERSIONS}
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {**versions, "python": platform.python_version(), "cores": str(cores)}
