"""Pieces of HTML that the sections of the report share; whatever is given to them as text is escaped.

In: texts, numbers, pictures. Out: HTML.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from PIL import Image

from uop3d_core.geometry import Array

CLASSES_DEG = ((10.0, "p0", "up to 10°"), (30.0, "p1", "up to 30°"), (90.0, "p2", "up to 90°"), (181.0, "p3", "more"))
"""Classes of angles: upper end, style, words."""
DIRECTIONS = ("front", "front left", "left", "back left", "back", "back right", "right", "front right")


def number(value: Any, digits: int = 3) -> str:
    """A number with so many digits that count; a dash for what is no finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return "–"
    return f"{value:.{digits}g}" if abs(value) < 10**digits else f"{value:,.0f}"


def percent(share: float) -> str:
    """A share in [0, 1] in whole per cent that says neither none nor all of what is only nearly so."""
    if 0.995 <= share < 1:
        return "over 99 %"
    return f"{100 * share:.0f} %" if share == 0 or share >= 0.005 else "under 1 %"


def count(amount: int, singular: str, plural: str = "") -> str:
    """``3 captures``, ``1 capture``."""
    return f"{amount} {singular if amount == 1 else plural or singular + 's'}"


def listed(names: Sequence[str], most: int = 6) -> str:
    """Names with commas; of many, the first ones and how many more there are."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def seen_from(azimuth_deg: float, elevation_deg: float) -> str:
    """A viewing direction in words."""
    if elevation_deg > 75:
        return "straight above"
    if elevation_deg < -75:
        return "straight below"
    side = DIRECTIONS[round(azimuth_deg / 45) % 8]
    height = "above" if elevation_deg > 50 else "slightly above" if elevation_deg > 15 else ""
    height = "below" if elevation_deg < -15 else height
    return f"the {side}{', ' if height else ''}{height}"


def angle_class(angle_deg: float) -> str:
    """The style of an angle's class."""
    return next(style for limit, style, _ in CLASSES_DEG if angle_deg <= limit)


def tile(title: str, value: str, note: str) -> str:
    """A figure with its name above and a remark below."""
    small = f'<dd class="small">{escape(note)}</dd>'
    return f'<div class="tile"><dt>{escape(title)}</dt><dd>{escape(value)}</dd>{small}</div>'


def items(texts: Sequence[str]) -> str:
    """A list of texts."""
    return "<ul>" + "".join(f"<li>{escape(text)}</li>" for text in texts) + "</ul>"


def two_columns(rows: Sequence[tuple[str, str]]) -> str:
    """A table of what, and its value."""
    body = "".join(f'<tr><th scope="row">{escape(key)}</th><td>{escape(value)}</td></tr>' for key, value in rows)
    return scrolled(f"<table><tbody>{body}</tbody></table>", "table") if rows else ""


Rows = Mapping[str, Sequence[str]] | Sequence[tuple[str, Sequence[str]]]


def table(head: Sequence[str], rows: Rows, name: str) -> str:
    """Rows of numbers under titles, the first column of which names the row; `name` says what the table is."""
    titles = "".join(f'<th scope="col">{escape(title)}</th>' for title in head)
    every = rows.items() if isinstance(rows, Mapping) else rows
    body = "".join(
        f'<tr><th scope="row">{escape(key)}</th>'
        + "".join(f'<td class="number">{escape(value)}</td>' for value in values)
        + "</tr>"
        for key, values in every
    )
    return scrolled(f"<table><thead><tr><td></td>{titles}</tr></thead><tbody>{body}</tbody></table>", name)


def scrolled(content: str, name: str) -> str:
    """What may be wider than the page, to be moved by keyboard as well."""
    return f'<div class="scroll" tabindex="0" role="group" aria-label="{escape(name)}">{content}</div>'


def folded(title: str, content: str) -> str:
    """What is shown on demand."""
    return f"<details><summary>{escape(title)}</summary>{content}</details>"


def shares(parts: Sequence[tuple[str, str, int]], name: str) -> str:
    """How a whole falls into parts (words, style, number), as bars with their numbers."""
    total = sum(part for _, _, part in parts) or 1
    rows = "".join(
        f'<li><span class="what">{escape(words)}</span><span class="bar"><i class="{style}" '
        f'style="width:{100 * part / total:.1f}%"></i></span><span>{part} ({percent(part / total)})</span></li>'
        for words, style, part in parts
    )
    return f'<ul class="shares" aria-label="{escape(name)}">{rows}</ul>'


def jpeg(picture: Array, quality: int = 80) -> bytes:
    """A picture as a JPEG file."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def image(content: bytes, kind: str, alt: str, style: str = "") -> str:
    """A picture, in the page itself, with its size, so that nothing moves when it appears."""
    data = base64.b64encode(content).decode()
    with Image.open(io.BytesIO(content)) as picture:
        size = f'width="{picture.width}" height="{picture.height}"'
    styled = f' class="{style}"' if style else ""
    return f'<img{styled} {size} decoding="async" alt="{escape(alt)}" src="data:image/{kind};base64,{data}">'
