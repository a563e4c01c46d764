"""What the comparisons share: time and memory of a call, a table with ratios, files of results.

In: functions to be measured; rows of numbers. Out: seconds, MiB, text.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")


@dataclass(frozen=True)
class Cost:
    """What one call took.

    Attributes:
        wall_s: seconds on the clock.
        cpu_s: seconds of all threads together, which other work on the machine changes less.
        memory_mib: highest resident memory during the call, less that before it; NaN where the system does not tell.
    """

    wall_s: float
    cpu_s: float
    memory_mib: float


def measured(call: Callable[[], T]) -> tuple[T, Cost]:
    """Call and say what it took."""
    before = _resident_mib("VmRSS")
    _forget_peak()
    wall, cpu = time.perf_counter(), time.process_time()
    result = call()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return result, Cost(wall, cpu, _resident_mib("VmHWM") - before)


def _forget_peak() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pass


def _resident_mib(field: str) -> float:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return float("nan")
    return next(float(line.split()[1]) / 1024 for line in lines if line.startswith(field + ":"))


def mean_cost(costs: list[Cost]) -> dict[str, float]:
    """Mean seconds and highest memory of several calls."""
    return {
        "wall_s": float(np.mean([cost.wall_s for cost in costs])),
        "cpu_s": float(np.mean([cost.cpu_s for cost in costs])),
        "memory_mib": float(np.max([cost.memory_mib for cost in costs])),
    }


def table(rows: dict[str, dict[str, float]], reference: str) -> str:
    """Aligned text: one line per method, then per other method the ratio of its numbers to the reference's.

    The columns are those of the reference; what another method lacks is shown as "-".
    """
    columns = rows[reference]
    lines = [["", *columns]]
    lines += [[name, *(_text(row.get(key), "{:.4g}") for key in columns)] for name, row in rows.items()]
    for name, row in rows.items():
        if name != reference:
            ratios = [row[key] / value if key in row and value else None for key, value in columns.items()]
            lines.append([f"{name} / {reference}", *(_text(ratio, "{:.3f}") for ratio in ratios)])
    return aligned(lines)


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Lines of as many cells each as text, the cells of a column below each other."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True)) for line in lines)


def _text(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write results for later comparison."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
