"""The captures: photographs, from where they were filmed, how well they agree, why some were rejected.

In: `Content`. Out: HTML.
"""

from __future__ import annotations

from html import escape

import numpy as np

from uop3d_core.report.content import CaptureSheet, Content
from uop3d_core.report.markup import count, image, jpeg, percent
from uop3d_core.report.sky import NEAR_DEG, share_seen, sky
from uop3d_core.types import CaptureAlignment

QUALITY = 78


def captures(content: Content) -> str:
    """All viewing directions on one map, then a card per capture; those that took no part come first."""
    entries = content.record.alignment.captures
    cards = [_failed_card(name, reason) for name, reason in content.record.failed.items()]
    cards += [_card(content, name, entries[name]) for name in content.by_trust]
    return (
        _coverage(content)
        + "<p>Unusable and rejected ones first, then those that agree least with the others. Agreement is between 0 and"
        " 1; the probability is that of lying within 30° of the truth.</p>"
        f'<ul class="cards">{"".join(cards)}</ul>'
    )


def _coverage(content: Content) -> str:
    entries = content.record.alignment.captures
    accepted = [sheet.directions_deg for name, sheet in content.sheets.items() if entries[name].accepted]
    if not accepted:
        return ""
    every = np.concatenate(accepted)
    share = percent(share_seen(every))
    alt = (
        f"map of the directions from which the accepted captures were filmed: {share} of those from level to straight "
        f"above are within {NEAR_DEG:.0f} degrees of one"
    )
    words = (
        f"<p>From where the objects of {count(len(accepted), 'accepted capture')} were filmed, {len(every)} frames: "
        f"looked at from above, the middle is straight above the object, the inner circle level with it, the rim below "
        f"it. {share} of the directions from level to straight above are within {NEAR_DEG:.0f}° of a frame. From other "
        "directions poses are a guess.</p>"
    )
    return f'<div class="beside">{sky({"seen-all": every}, alt)}<div>{words}</div></div>'


def _failed_card(name: str, reason: str) -> str:
    state = '<p class="state bad">unusable</p>'
    return f'<li class="card rejected"><h3>{escape(name)}</h3>{state}<p>{escape(reason)}</p></li>'


def _card(content: Content, name: str, entry: CaptureAlignment) -> str:
    sheet = content.sheets.get(name)
    likely = "" if entry.probability is None else f", probability {entry.probability:.2f}"
    state = '<span class="good">accepted</span>' if entry.accepted else '<span class="bad">rejected</span>'
    reference = ", the reference" if name == content.record.alignment.reference else ""
    reason = f"<p>{escape(entry.reason)}</p>" if entry.reason else ""
    kind = "card" if entry.accepted else "card rejected"
    measured = content.labelled["captures"].get(name) if content.labelled else None
    off = "" if measured is None else f"; {measured['mean_error_deg']:.1f}° off by the labels"
    return (
        f'<li class="{kind}"><h3>{escape(name)}</h3>{_photographs(name, sheet)}<div class="facts">'
        f'<div><p class="state">{state}{reference}</p><p>agreement {entry.score:.2f}{likely}{off}</p>'
        f"{_filmed(sheet)}{reason}</div>{_map(name, sheet)}</div></li>"
    )


def _photographs(name: str, sheet: CaptureSheet | None) -> str:
    if sheet is None:
        return ""
    return image(jpeg(sheet.picture, QUALITY), "jpeg", f"photographs of {name}, some of its {sheet.frames} frames")


def _filmed(sheet: CaptureSheet | None) -> str:
    return "" if sheet is None else f"<p>{sheet.frames} frames from {sheet.around_deg:.0f}° around it</p>"


def _map(name: str, sheet: CaptureSheet | None) -> str:
    if sheet is None:
        return ""
    low, high = sheet.directions_deg[:, 1].min(), sheet.directions_deg[:, 1].max()
    alt = f"map of the directions from which {name} was filmed: {sheet.around_deg:.0f} degrees around it, from "
    return sky({"seen-one": sheet.directions_deg}, alt + f"{low:.0f} to {high:.0f} degrees above level", small=True)
