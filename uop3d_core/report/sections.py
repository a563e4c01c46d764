"""The parts of the report: tables, cards and charts as HTML.

In: `Content`. Out: HTML, with whatever comes from files escaped.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from PIL import Image

from uop3d_core.geometry import Array
from uop3d_core.report.charts import line_chart
from uop3d_core.report.content import Content, ModelFacts, PairTurn
from uop3d_core.types import CaptureAlignment, Symmetry

MAX_PAIR_NAMES = 40
TURNS = ((10.0, "p0", "up to 10°"), (30.0, "p1", "up to 30°"), (90.0, "p2", "up to 90°"), (181.0, "p3", "more"))
ERROR_RANGE = 60.0
"""Degrees that the curve of errors shows."""


def summary(content: Content) -> str:
    """What was learned and whether to trust it, as tiles, with what a person should look at."""
    record = content.record
    entries = record.alignment.captures.values()
    accepted = [entry for entry in entries if entry.accepted]
    rejected, failed = len(entries) - len(accepted), len(record.failed)
    likely = [entry.probability for entry in accepted if entry.probability is not None]
    tiles = [
        _tile("category", record.alignment.category, f"reference: {record.alignment.reference}"),
        _tile("captures accepted", f"{len(accepted)} of {len(entries) + failed}",
              f"{rejected} rejected, {failed} unusable"),
        _tile("agreement", f"{np.median([e.score for e in accepted]):.2f}" if accepted else "none",
              "median of the accepted captures; 1 is best"),
        _tile("likely right", _share(likely) if likely else "not estimated",
              "accepted captures expected within 30° of the truth"),
        _tile("symmetry", symmetry_words(record.symmetry), "turns of its objects that change nothing"),
        _model_tile(content.model),
    ]  # fmt: skip
    if content.pose:
        overall = content.pose["overall"]
        words = f"of {overall['frames']} images; median error {_number(overall['median_deg'])}°"
        tiles.append(_tile("poses within 30°", f"{_number(overall['acc30'])} %", words))
    return f'<dl class="tiles">{"".join(tiles)}</dl>' + _warnings(content)


def symmetry_words(symmetry: Symmetry) -> str:
    """A symmetry in a few words."""
    if symmetry.fold == 1:
        return "none found"
    axis = ", ".join(f"{x:.2f}" for x in symmetry.axis)
    return f"turns by {'any angle' if symmetry.fold == 0 else f'{360 / symmetry.fold:g}°'} about ({axis})"


def _tile(title: str, value: str, note: str) -> str:
    small = f'<dd class="small">{escape(note)}</dd>'
    return f'<div class="tile"><dt>{escape(title)}</dt><dd>{escape(value)}</dd>{small}</div>'


def _share(probabilities: Sequence[float]) -> str:
    mean = float(np.mean(probabilities))
    return "over 99 %" if mean > 0.99 else f"{100 * mean:.0f} %"


def _model_tile(model: ModelFacts | None) -> str:
    if model is None:
        return _tile("model", "none yet", "uop3d train makes it")
    metadata = model.about["metadata"]
    calibrated = "scores are calibrated" if metadata.get("calibration") else "scores are a guess: no rehearsal"
    note = f"{metadata.get('views', '?')} views of {len(metadata.get('captures', ()))} captures; {calibrated}"
    return _tile("model", f"{model.megabytes:.1f} MB" if model.belongs else "outdated", note)


def _warnings(content: Content) -> str:
    notes = [*content.record.alignment.warnings]
    if content.model is not None and not content.model.belongs:
        notes.append("The model was trained on another alignment than the one shown: uop3d train makes a new one.")
    parts = ""
    if notes:
        items = "".join(f"<li>{escape(note)}</li>" for note in notes)
        parts += f'<div class="warnings" role="note"><strong>To look at</strong><ul>{items}</ul></div>'
    else:
        parts += '<p class="good">No warnings.</p>'
    if content.notes:
        items = "".join(f"<li>{escape(note)}</li>" for note in content.notes)
        parts += f'<div class="faint"><p>Not in this report:</p><ul>{items}</ul></div>'
    return parts


def view_section(content: Content) -> str:
    """The 3-D view with its buttons; `page.js` brings it to life."""
    axis = ", the symmetry's axis purple" if content.template.symmetry.fold != 1 else ""
    boxes = "".join(
        f'<label><input type="checkbox" checked data-shape><i></i>{escape(name)}{_mark(content, name)}</label>'
        for name in ("template", *content.meshes)
    )
    buttons = {"all": "all", "none": "none", "template": "template alone", "back": "previous", "next": "next",
               "larger": "larger", "smaller": "smaller", "reset": "as at first"}  # fmt: skip
    actions = "".join(f'<button type="button" data-do="{key}">{text}</button>' for key, text in buttons.items())
    words = f"3-D view of the template and {len(content.meshes)} captures in their common frame"
    return f"""<p>Every shape in the common frame of the category: <span class="ax x">x</span> (red) is the front,
<span class="ax y">y</span> (green) left, <span class="ax z">z</span> (blue) up{axis}. What is aligned turns alike.
Drag, or use the arrow keys, + and - on the picture.</p>
<p id="view-message" role="status"></p>
<fieldset class="tools"><legend>Layout</legend>
<label><input type="radio" name="layout" value="beside" checked>side by side</label>
<label><input type="radio" name="layout" value="over">laid over each other</label>
<label><input type="checkbox" id="spin">turning</label></fieldset>
<div id="view"><canvas tabindex="0" role="img" aria-label="{escape(words)}; arrow keys turn it"></canvas>
<div id="labels" aria-hidden="true"></div></div>
<div class="tools" role="group" aria-label="What is shown">{actions}</div>
<fieldset class="tools names"><legend>Shown</legend>{boxes}</fieldset>
{_stills(content.stills)}"""


def _mark(content: Content, name: str) -> str:
    entry = content.record.alignment.captures.get(name)
    return "" if entry is None or entry.accepted else ' <span class="bad">(rejected)</span>'


def _stills(stills: Mapping[str, bytes]) -> str:
    pictures = "".join(
        f'<img class="still" alt="{escape(title)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'
        for title, png in stills.items()
    )
    return f"<details><summary>The same as still pictures</summary>{pictures}</details>" if pictures else ""


def capture_cards(content: Content) -> str:
    """A card per capture: photographs, how well it agrees, why it was rejected; rejected ones first."""
    captures = content.record.alignment.captures
    order = sorted(captures, key=lambda name: (captures[name].accepted, captures[name].score))
    cards = [_failed_card(name, reason) for name, reason in content.record.failed.items()]
    cards += [_card(content, name, captures[name]) for name in order]
    return (
        "<p>Unusable and rejected ones first, then those that agree least with the others. Agreement is between 0 and"
        " 1; the probability is that of being within 30° of the truth.</p>"
        f'<ul class="cards">{"".join(cards)}</ul>'
    )


def _failed_card(name: str, reason: str) -> str:
    state = '<p class="state bad">unusable</p>'
    return f'<li class="card rejected"><h3>{escape(name)}</h3>{state}<p>{escape(reason)}</p></li>'


def _card(content: Content, name: str, entry: CaptureAlignment) -> str:
    sheet, picture, seen = content.sheets.get(name), "", ""
    if sheet is not None:
        alt = f"photographs of {name}, some of its {sheet.frames} frames"
        picture = f'<img loading="lazy" alt="{escape(alt)}" src="{_jpeg(sheet.picture)}">'
        seen = f", {sheet.frames} frames from {sheet.around_deg:.0f}° around it"
    likely = "" if entry.probability is None else f", probability {entry.probability:.2f}"
    state = '<span class="good">accepted</span>' if entry.accepted else '<span class="bad">rejected</span>'
    reference = ", the reference" if name == content.record.alignment.reference else ""
    reason = f"<p>{escape(entry.reason)}</p>" if entry.reason else ""
    kind = "card" if entry.accepted else "card rejected"
    return (
        f'<li class="{kind}"><h3>{escape(name)}</h3>{picture}<p class="state">{state}{reference}</p>'
        f"<p>agreement {entry.score:.2f}{likely}{seen}</p>{reason}</li>"
    )


def _jpeg(picture: Array) -> str:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def pair_table(content: Content) -> str:
    """Who agrees with whom: how far each pair alone is from the common frame."""
    if not content.pairs:
        return "<p>There are no alignments of pairs in the run.</p>"
    captures = content.record.alignment.captures
    names = sorted(captures, key=lambda name: (captures[name].accepted, captures[name].score))[:MAX_PAIR_NAMES]
    names.sort()
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    rows = "".join(
        f'<tr><th scope="row">{escape(a)}</th>{"".join(_pair_cell(content.pairs, a, b) for b in names)}</tr>'
        for a in names
    )
    part = f" The {len(names)} captures that agree least are shown." if len(names) < len(captures) else ""
    key = "".join(f'<span class="{style}">{text}</span>' for _, style, text in TURNS)
    return (
        "<p>By how many degrees two captures, aligned by themselves, are turned against where all captures together "
        f"put them. A row of large angles is a capture that fits nowhere.{part}</p>"
        f'<p class="key">{key}</p><div class="scroll" tabindex="0" role="group" aria-label="table of pairs">'
        f'<table class="pairs"><thead><tr><td></td>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _pair_cell(pairs: Mapping[tuple[str, str], PairTurn], a: str, b: str) -> str:
    turn = pairs.get((a, b)) or pairs.get((b, a))
    if turn is None:
        return '<td class="none">·</td>'
    style = next(style for limit, style, _ in TURNS if turn.best_deg <= limit)
    words = f"{a} and {b}: {turn.best_deg:.1f}°; nearest of {turn.modes} alignments {turn.nearest_deg:.1f}°; "
    return f'<td class="{style}" title="{escape(words)}score {turn.score:.3f}">{turn.best_deg:.0f}</td>'


def training_section(content: Content) -> str:
    """Curves of the loss, and what the model says of its training."""
    if content.model is None and not content.curves:
        return "<p>Nothing was trained yet.</p>"
    chart = ""
    if content.curves:
        ends = "; ".join(
            f"{name}: from {curve[0][1]:.3g} to {curve[-1][1]:.3g}" for name, curve in content.curves.items()
        )
        chart = line_chart(content.curves, "epoch", "loss", f"loss over epochs. {ends}", (math.inf, -math.inf))
        chart += f'<p class="faint">Mean loss per epoch. {escape(ends)}. The rehearsal is a second, shorter training'
        chart += " without every third capture, which calibrates the scores.</p>"
    if content.model is None:
        return chart + "<p>There is no model yet.</p>"
    about, metadata = content.model.about, content.model.about["metadata"]
    backbone = metadata.get("backbone", {})
    rows = {
        "head": about["settings"].get("head", "dense"),
        "views, crops": f"{metadata.get('views')}, {metadata.get('crops')}",
        "epochs, last loss": f"{metadata.get('epochs')}, {_number(metadata.get('loss'))}",
        "captures trained on": ", ".join(metadata.get("captures", ())),
        "held out in the rehearsal": ", ".join(metadata.get("held_out_in_rehearsal", ())) or "none",
        "backbone": f"{backbone.get('fingerprint')}, {backbone.get('licence')}",
    }
    return chart + facts_table([(key, str(value)) for key, value in rows.items()])


def pose_section(pose: Mapping[str, Any], model: ModelFacts | None) -> str:
    """Figures of ``uop3d evaluate pose``, the distribution of errors, and whether scores came true."""
    rows = {"all": pose["overall"], **pose.get("captures", {})}
    columns = {"frames": "images", "not_found": "not found", "acc30": "30°", "acc15": "15°", "acc10": "10°",
               "median_deg": "median °", "up_median_deg": "median of up °"}  # fmt: skip
    head = "".join(f'<th scope="col">{title}</th>' for title in columns.values())
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th>'
        + "".join(f'<td class="number">{escape(_number(figures.get(key)))}</td>' for key in columns)
        + "</tr>"
        for name, figures in rows.items()
    )
    parts = [
        "<p>Images of captures that were not trained on; per cent of rotation errors below so many degrees.</p>",
        f'<div class="scroll"><table><thead><tr><td></td>{head}</tr></thead><tbody>{body}</tbody></table></div>',
    ]
    trained = list(model.about["metadata"].get("captures", ())) if model else None
    if trained != list(pose.get("trained_on", ())):
        parts.insert(0, '<p class="bad">These figures are not of the model in this run: it was trained on others.</p>')
    errors = np.sort([frame["error_deg"] if frame["found"] else 180.0 for frame in pose["frames"]])
    steps = np.linspace(0, ERROR_RANGE, 61)
    shares = 100 * np.searchsorted(errors, steps, side="right") / len(errors)
    alt = f"share of images over rotation error: {shares[30]:.0f} % within 30 degrees"
    curve = list(zip(steps.tolist(), shares.tolist(), strict=True))
    parts.append(line_chart({"all": curve}, "rotation error, degrees", "images within, %", alt, (0, 100)))
    bins = [(bin["score"], bin["right"]) for bin in pose.get("reliability", ())]
    if bins:
        curves = {"came true": bins, "as promised": [(0.0, 0.0), (1.0, 1.0)]}
        alt = "share of estimates that came true over their score"
        parts.append(line_chart(curves, "score", "share that came true", alt, (0, 1)))
    return "".join(parts)


def _number(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return "–"
    return f"{value:.4g}"


def facts_table(facts: Sequence[tuple[str, str]]) -> str:
    """Two columns: what, and its value."""
    rows = "".join(f'<tr><th scope="row">{escape(key)}</th><td>{escape(value)}</td></tr>' for key, value in facts)
    return f'<div class="scroll"><table><tbody>{rows}</tbody></table></div>' if rows else ""


def settings_tables(content: Content) -> str:
    """One table per stage, folded; what differs from the defaults is bold and says the default."""
    parts = []
    for stage, values in content.settings.items():
        usual, rows, changed = content.defaults.get(stage, {}), "", 0
        for key, value in values.items():
            differs = key in usual and usual[key] != value
            changed += differs
            style, note = (' class="changed"', f" (default {usual[key]})") if differs else ("", "")
            rows += f'<tr><th scope="row">{escape(key)}</th><td{style}>{escape(f"{value}{note}")}</td></tr>'
        words = f"{stage}: {changed or 'none'} of {len(values)} changed"
        parts.append(f"<details><summary>{escape(words)}</summary><table><tbody>{rows}</tbody></table></details>")
    return "".join(parts)
