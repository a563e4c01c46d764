"""What goes well and what goes wrong in a running node: rates, times of the stages, problems by kind. No ROS.

In: events. Out: figures for the diagnostics and lines for the log, of every kind of problem one in a while.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable

WINDOW_S = 5.0
"""Rates and times are over so long; a problem counts as present for so long."""
QUIET_S = 5.0
"""Lines of one kind of problem in the log are at least so far apart."""
SMOOTHING = 0.1


class Rate:
    """Events per second over the last seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing yet."""
        self._clock = clock
        self._times: deque[float] = deque()

    def tick(self) -> None:
        """Something came."""
        now = self._clock()
        self._times.append(now)
        while self._times[0] < now - WINDOW_S:
            self._times.popleft()

    @property
    def hz(self) -> float:
        """How often; 0 when nothing came for long."""
        times = [t for t in tuple(self._times) if t > self._clock() - WINDOW_S]
        if not times:
            return 0.0
        span = times[-1] - times[0]
        return (len(times) - 1) / span if span > 0 else 1 / WINDOW_S

    @property
    def age_s(self) -> float:
        """Seconds since the last one; infinite where there was none."""
        return self._clock() - self._times[-1] if self._times else float("inf")


class Health:
    """Rates, stage times and problems of one node.

    Attributes:
        rates: by input or output.
        counts: problems by kind since the node was activated.
        stages_ms: smoothed milliseconds by stage of the pipeline.
    """

    def __init__(self, warn: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        """Begin healthy.

        Args:
            warn: writes to the log.
            clock: seconds.
        """
        self._warn, self._clock = warn, clock
        self.clear()

    def clear(self) -> None:
        """Begin anew."""
        self.rates = {name: Rate(self._clock) for name in ("images", "camera_info", "detections", "depth", "results")}
        self.counts: Counter[str] = Counter()
        self.stages_ms: dict[str, float] = {}
        self._latest: dict[str, tuple[float, str]] = {}
        self._logged: dict[str, float] = {}
        self._since = self._clock()

    def silent(self, name: str, seconds: float) -> bool:
        """Whether nothing came on an input for so long, although there was so much time."""
        return min(self.rates[name].age_s, self._clock() - self._since) > seconds

    def problem(self, kind: str, text: str) -> None:
        """Note a problem, and log it unless one of its kind was logged a moment ago."""
        now = self._clock()
        self.counts[kind] += 1
        self._latest[kind] = now, text
        if now - self._logged.get(kind, -QUIET_S) >= QUIET_S:
            self._logged[kind] = now
            count = self.counts[kind]
            self._warn(text if count == 1 else f"{text} ({count} times so far)")

    def present(self, kind: str) -> str:
        """The last problem of a kind if it is recent, else ""."""
        when, text = self._latest.get(kind, (-WINDOW_S, ""))
        return text if self._clock() - when < WINDOW_S else ""

    def took(self, seconds: dict[str, float]) -> None:
        """Note the times of the stages of one image."""
        for stage, value in seconds.items():
            before = self.stages_ms.get(stage, value * 1000)
            self.stages_ms[stage] = before + SMOOTHING * (value * 1000 - before)
