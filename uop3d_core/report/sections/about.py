"""How a run was made: versions, files, times of the stages, settings.

In: `Content`. Out: HTML.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from uop3d_core.report.content import Content
from uop3d_core.report.markup import folded, two_columns
from uop3d_core.stopwatch import spoken


def about(content: Content) -> str:
    """Versions and files, then times, then settings."""
    return two_columns(content.facts) + times(content.timings.seconds) + settings_tables(content)


def times(spent: Mapping[str, float]) -> str:
    """How long stages took, as bars."""
    if not spent:
        return "<p>This run did not keep how long its stages took.</p>"
    longest = max(spent.values()) or 1.0
    rows = "".join(
        f'<li><span class="what">{escape(stage)}</span><span class="bar"><i class="c0" '
        f'style="width:{100 * value / longest:.1f}%"></i></span><span>{spoken(value)}</span></li>'
        for stage, value in spent.items()
    )
    return (
        f"<h3>Times</h3><p>{spoken(sum(spent.values()))} over all calls that worked on this run, by stage:</p>"
        f'<ul class="shares">{rows}</ul>'
    )


def settings_tables(content: Content) -> str:
    """One table per stage, folded; what differs from the defaults is bold and says the default."""
    parts = ["<h3>Settings</h3>"] if content.settings else []
    for stage, values in content.settings.items():
        usual, rows, changed = content.defaults.get(stage, {}), "", 0
        for key, value in values.items():
            differs = key in usual and usual[key] != value
            changed += differs
            style, note = (' class="changed"', f" (default {usual[key]})") if differs else ("", "")
            rows += f'<tr><th scope="row">{escape(key)}</th><td{style}>{escape(f"{value}{note}")}</td></tr>'
        words = f"{stage}: {changed or 'none'} of {len(values)} changed"
        parts.append(folded(words, f"<table><tbody>{rows}</tbody></table>"))
    return "".join(parts)
