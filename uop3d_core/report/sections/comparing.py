"""This run beside another one.

In: `Comparison`. Out: HTML.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from uop3d_core.report.charts import Axes, line_chart
from uop3d_core.report.content import Comparison, Content, Contrast
from uop3d_core.report.markup import folded, items, number, scrolled, table

JUDGED = {1: ("good", "better here"), -1: ("bad", "better there"), 0: ("", "")}
ERROR_RANGE_DEG, STEPS = 60.0, 61
FAR_DEG = 10.0


def comparing(content: Content, other: Comparison) -> str:
    """Figures of both, where they put captures differently, poses in the same images, settings that differ."""
    parts = [f"<p>“{escape(content.name)}” (this run) beside “{escape(other.name)}”.</p>"]
    parts.append(_contrasts(content.name, other.name, other.contrasts, "figures of both runs"))
    parts += [items(other.remarks)] if other.remarks else []
    parts += [_turns(other)] if other.turns_deg else []
    charts = _curves(other) + _errors(content.name, other)
    if charts:
        parts.append(f"<p>{escape(other.verdict)}</p>" if other.verdict else "")
        parts.append(f'<div class="charts">{charts}</div>')
    if other.settings:
        differing = _contrasts(content.name, other.name, other.settings, "settings that differ")
        parts.append(folded(f"Settings that differ: {len(other.settings)}", differing))
    else:
        parts.append("<p>All settings are the same.</p>")
    return "".join(parts)


def _contrasts(here: str, there: str, contrasts: Sequence[Contrast], name: str) -> str:
    rows = ""
    for each in contrasts:
        style, words = JUDGED[each.better]
        rows += (
            f'<tr><th scope="row">{escape(each.what)}</th><td>{escape(each.here)}</td><td>{escape(each.there)}</td>'
            f'<td class="{style}">{words}</td></tr>'
        )
    head = f'<tr><td></td><th scope="col">{escape(here)}</th><th scope="col">{escape(there)}</th><td></td></tr>'
    return scrolled(f"<table><thead>{head}</thead><tbody>{rows}</tbody></table>", name)


def _turns(other: Comparison) -> str:
    turns = sorted(other.turns_deg.items(), key=lambda item: -item[1])
    median = number(float(np.median([turn for _, turn in turns])), 2)
    far = [(name, [f"{turn:.1f}"]) for name, turn in turns if turn > FAR_DEG]
    words = f"<p>The same captures are turned differently by {median}° in the median"
    if not far:
        return words + f", none by more than {FAR_DEG:.0f}°.</p>"
    return words + f"; by more than {FAR_DEG:.0f}°:</p>" + table(("turned by °",), far, "captures turned differently")


def _curves(other: Comparison) -> str:
    if len(other.curves) < 2:
        return ""
    ends = "; ".join(f"{name} ends with {curve[-1][1]:.3g}" for name, curve in other.curves.items())
    alt = f"loss of both trainings. {ends}"
    return line_chart(other.curves, Axes("Loss of the training", "epoch", "loss", alt, (0.0, 0.0)))


def _errors(here: str, other: Comparison) -> str:
    if not other.errors_deg:
        return ""
    steps, curves = np.linspace(0, ERROR_RANGE_DEG, STEPS), {}
    for name, errors in zip((here, other.name), np.array(other.errors_deg).T, strict=True):
        shares = 100 * np.searchsorted(np.sort(errors), steps, side="right") / len(errors)
        curves[name] = list(zip(steps.tolist(), shares.tolist(), strict=True))
    alt = "share of the same images within an error. " + "; ".join(
        f"{name}: {curve[10][1]:.0f} % within 10 degrees, {curve[30][1]:.0f} % within 30"
        for name, curve in curves.items()
    )
    title = "Errors in the same images"
    return line_chart(curves, Axes(title, "rotation error, degrees", "images within, %", alt, (0, 100)))
