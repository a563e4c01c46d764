"""Aligned surfaces in 3-D, and the template with its axes and symmetry.

In: `Content`. Out: HTML, which page.js brings to life.
"""

from __future__ import annotations

from html import escape

from uop3d_core.report.content import Content
from uop3d_core.report.findings import symmetry_words
from uop3d_core.report.markup import folded, image, jpeg, number, scrolled, two_columns

AXES = ("x, front to back", "y, left to right", "z, height")


def shapes(content: Content) -> str:
    """The 3-D view with its buttons."""
    axis = ", the symmetry's axis purple" if content.template.symmetry.fold != 1 else ""
    other = [] if content.other is None or content.other.template is None else [f"template of {content.other.name}"]
    boxes = "".join(
        f'<label><input type="checkbox" checked data-shape><i></i>{escape(name)}{_mark(content, name)}</label>'
        for name in ("template", *other, *content.meshes)
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
<div class="tools" id="pages" role="group" aria-label="Pages of shapes" hidden>
<button type="button" data-do="page-back">page back</button><span id="page" role="status"></span>
<button type="button" data-do="page-on">page on</button></div>
<div class="tools" role="group" aria-label="What is shown">{actions}</div>
<fieldset class="tools names" tabindex="0"><legend>Shown</legend>{boxes}</fieldset>
{_stills(content)}"""


def _mark(content: Content, name: str) -> str:
    entry = content.record.alignment.captures.get(name)
    return "" if entry is None or entry.accepted else ' <span class="bad">(rejected)</span>'


def _stills(content: Content) -> str:
    pictures = "".join(image(png, "png", title, "still") for title, png in content.stills.items())
    return folded("The same as still pictures", pictures) if pictures else ""


def template(content: Content) -> str:
    """The template from some sides, what its axes mean, and how objects may be turned."""
    mesh = content.template.mesh
    extents = (mesh.vertices.max(0) - mesh.vertices.min(0)).tolist()
    chosen = "chosen by hand" if content.record.axes_by_hand else "found, not chosen by hand"
    rows = [
        ("symmetry", symmetry_words(content.template.symmetry)),
        ("front and up", f"{chosen}; uop3d orient changes them"),
        *((f"extent along {axis}", f"{number(size)} object units") for axis, size in zip(AXES, extents, strict=True)),
        ("shape", f"{len(mesh.vertices)} vertices, {len(mesh.faces)} faces"),
    ]
    picture = ""
    if content.template_picture is not None:
        alt = "the template from the front, from its left side, from above, and from the front left, with its axes"
        picture = scrolled(image(jpeg(content.template_picture, 88), "jpeg", alt, "still wide"), "the template")
    text = "<p>The mean shape of the accepted captures. An object unit is the diagonal of its box.</p>"
    return text + picture + two_columns(rows)
