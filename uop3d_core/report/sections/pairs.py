"""Who agrees with whom: the graph of pairs, a matrix of their turns, and all their scores.

In: `Content`. Out: HTML.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from uop3d_core.report.content import Content, PairTurn
from uop3d_core.report.graph import pair_graph
from uop3d_core.report.markup import CLASSES_DEG, angle_class, count, folded, listed, scrolled, shares, table

MOST_IN_GRAPH, MOST_IN_MATRIX, MOST_IN_LIST = 60, 40, 400

Pairs = Mapping[tuple[str, str], PairTurn]


def pairs(content: Content) -> str:
    """How far every pair alone is from the common frame."""
    if not content.pairs:
        return "<p>There are no alignments of pairs in the run.</p>"
    rejected = [name for name, entry in content.record.alignment.captures.items() if not entry.accepted]
    words = (
        "<p>Two captures, aligned by themselves, are turned against where all captures together put them by so many "
        "degrees. A capture with many large angles fits nowhere; two clusters with large angles between them might as "
        f"well be turned against each other. {escape(_about(rejected))}</p>"
    )
    legend = (
        '<p class="faint">A line per pair, coloured as in the list and thicker the better its score. Rejected captures '
        "are crosses.</p>"
    )
    return (
        words
        + f'<div class="beside">{_graph(content)}<div>{_classes(content.pairs)}{legend}</div></div>'
        + folded("The turn of every pair as a table", _matrix(content))
        + folded("All pairs with their scores, worst first", _list(content.pairs))
    )


def _about(rejected: list[str]) -> str:
    if not rejected:
        return "No capture was rejected."
    return f"Rejected, for the reasons told above: {listed(rejected)}."


def _classes(pairs: Pairs) -> str:
    styles = [angle_class(turn.best_deg) for turn in pairs.values()]
    parts = [(f"turned by {words}", style, styles.count(style)) for _, style, words in CLASSES_DEG]
    return shares(parts, "pairs by how far they are turned against the common frame")


def _graph(content: Content) -> str:
    entries = content.record.alignment.captures
    names = sorted(content.by_trust[:MOST_IN_GRAPH], key=lambda name: (not entries[name].accepted, name))
    shown = {pair: turn for pair, turn in content.pairs.items() if set(pair) <= set(names)}
    off = sum(turn.best_deg > 30 for turn in shown.values())
    part = f" the {len(names)} captures that agree least," if len(names) < len(entries) else ""
    alt = f"graph of the pairs:{part} {count(len(names), 'capture')}, {count(len(shown), 'pair')}, {off} of these off"
    return pair_graph({name: entries[name].accepted for name in names}, shown, f"{alt} by more than 30 degrees")


def _matrix(content: Content) -> str:
    names = sorted(content.by_trust[:MOST_IN_MATRIX])
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    rows = "".join(
        f'<tr><th scope="row">{escape(a)}</th>{"".join(_cell(content.pairs, a, b) for b in names)}</tr>' for a in names
    )
    every = len(content.record.alignment.captures)
    part = f"<p>The {len(names)} captures that agree least.</p>" if len(names) < every else ""
    body = f'<table class="pairs"><thead><tr><td></td>{head}</tr></thead><tbody>{rows}</tbody></table>'
    return part + scrolled(body, "table of the turns of pairs, degrees")


def _cell(pairs: Pairs, a: str, b: str) -> str:
    turn = pairs.get((a, b)) or pairs.get((b, a))
    if turn is None:
        return '<td class="none">·</td>'
    return f'<td class="{angle_class(turn.best_deg)}">{turn.best_deg:.0f}</td>'


def _list(pairs: Pairs) -> str:
    worst = sorted(pairs.items(), key=lambda item: (-item[1].best_deg, item[0]))[:MOST_IN_LIST]
    rows = [
        (f"{a} – {b}", [f"{t.score:.3f}", f"{t.best_deg:.1f}", f"{t.nearest_deg:.1f}", str(t.modes)])
        for (a, b), t in worst
    ]
    part = f"<p>{len(worst)} of {len(pairs)} pairs.</p>" if len(worst) < len(pairs) else ""
    words = (
        "<p>The score is at most 0, which would be a perfect fit. A pair keeps several alignments, as a car may fit "
        "back to front as well; the turns of the best one and of the one nearest to the common frame are told.</p>"
    )
    head = ("score", "turn °", "nearest °", "alignments")
    return words + part + table(head, rows, "pairs with their scores")
