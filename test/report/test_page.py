"""The report as a page: complete by itself, and whatever stands in files is text on it and nothing else."""

import base64
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from scenes import sphere

from uop3d_core.report import page as pages
from uop3d_core.report.charts import line_chart, ticks
from uop3d_core.report.content import CaptureSheet, Content, PairTurn
from uop3d_core.report.page import render, simplified
from uop3d_core.runs import AlignmentRecord
from uop3d_core.types import Alignment, CaptureAlignment, Mesh, Sim3, Symmetry, Template

EVIL = "<b>x</b></script><script>alert(1)</script>\"'&"


def content(**changes):
    captures = {
        "good": CaptureAlignment(Sim3.identity(), 0.91, True, "", 0.97),
        EVIL: CaptureAlignment(Sim3.identity(), 0.12, False, f"too far off {EVIL}", None),
    }
    alignment = Alignment(EVIL, "good", captures, (f"warning {EVIL}",))
    fields = {
        "record": AlignmentRecord(alignment, {f"gone {EVIL}": f"no masks {EVIL}"}),
        "template": Template(EVIL, sphere(0.5, 1)),
        "meshes": {"good": sphere(0.4, 1), EVIL: sphere(0.3, 1)},
        "sheets": {EVIL: CaptureSheet(np.full((8, 48, 3), 200, np.uint8), 24, 315.0)},
        "pairs": {("good", EVIL): PairTurn(120.0, 5.0, 3, -0.02)},
        "settings": {EVIL: {EVIL: EVIL, "k": 2}},
        "defaults": {EVIL: {"k": 1}},
        "facts": [(EVIL, EVIL)],
        "notes": [EVIL],
    }
    return Content(**{**fields, **changes})


class Elements(HTMLParser):
    """Names and attributes of all elements, and the scene."""

    def __init__(self, page):
        super().__init__()
        self.found, self.scene, self.open = [], "", []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        self.open = dict(attrs)

    def handle_data(self, data):
        if self.open and self.open.get("id") == "scene":
            self.scene += data


def test_what_files_say_is_text():
    page = render(content())
    elements = Elements(page)
    tags = [tag for tag, _ in elements.found]
    assert "b" not in tags and tags.count("script") == 2
    assert "&lt;b&gt;x" in page and "<b>x" not in page
    shapes = [(shape["name"], shape["kind"]) for shape in json.loads(elements.scene)["shapes"]]
    assert shapes == [("template", "template"), ("good", "accepted"), (EVIL, "rejected")]


def test_nothing_is_loaded_from_elsewhere():
    page = render(content(stills={"a picture": b"\x89PNG"}))
    assert not re.search(r"https?:|//[a-z]+\.|@import|url\(", page)
    for _, attributes in Elements(page).found:
        for key in ("src", "href"):
            assert attributes.get(key, "#").startswith(("#", "data:"))
    assert "default-src 'none'" in page


def test_every_picture_and_chart_says_what_it_shows():
    page = render(content(stills={"a picture": b"\x89PNG"}, curves={"training": [(1.0, 3.0), (2.0, 1.5)]}))
    found = Elements(page).found
    assert all(attributes.get("alt") for tag, attributes in found if tag == "img")
    assert all(attributes.get("aria-label") for _, attributes in found if attributes.get("role") == "img")
    assert "from 3 to 1.5" in page


def test_what_was_learned_stands_at_the_top():
    top = render(content()).split('<section id="surfaces"')[0]
    for words in ("1 of 3", "1 rejected, 1 unusable", "0.91", "97 %", "none found", "none yet", "warning &lt;b&gt;"):
        assert words in top
    turning = replace(content().record, symmetry=Symmetry([0, 0, 1], 4))
    assert "turns by 90°" in render(content(record=turning))


def test_the_symmetry_is_in_the_view():
    template = Template("bowl", sphere(0.5, 1), Symmetry([0, 0, 1], 0))
    assert json.loads(Elements(render(content(template=template))).scene)["symmetry"] == [0, 0, 1]
    assert json.loads(Elements(render(content())).scene)["symmetry"] is None


def test_shapes_come_through_as_they_are():
    mesh = sphere(0.4, 1)
    shape = json.loads(Elements(render(content())).scene)["shapes"][1]
    vertices = np.frombuffer(base64.b64decode(shape["vertices"]), "<f4").reshape(-1, 3)
    faces = np.frombuffer(base64.b64decode(shape["faces"]), "<u2").reshape(-1, 3)
    np.testing.assert_allclose(vertices, mesh.vertices, atol=1e-6)
    np.testing.assert_array_equal(faces, mesh.faces)


def test_large_meshes_are_simplified():
    mesh = sphere(0.5, 5)
    small = simplified(mesh, 500)
    assert len(mesh.vertices) > 5000 and 100 < len(small.vertices) < 700
    np.testing.assert_allclose(np.linalg.norm(small.vertices, axis=1), 0.5, atol=0.02)


def test_a_page_that_is_too_large_is_refused(monkeypatch):
    monkeypatch.setattr(pages, "MAX_BYTES", 1000)
    with pytest.raises(ValueError, match="would be"):
        render(content())


def test_a_full_page_stays_below_the_limit():
    """120 captures with photographs of noise and surfaces of as many vertices as are let through."""
    mesh = sphere(0.5, 5)
    small = simplified(mesh)
    noise = np.random.default_rng(0).integers(0, 255, (112, 672, 3), dtype=np.uint8)
    names = [f"c{i:03d}" for i in range(120)]
    captures = {name: CaptureAlignment(Sim3.identity(), 0.9, True) for name in names}
    record = AlignmentRecord(Alignment("c", names[0], captures), {})
    page = render(
        content(
            record=record, meshes=dict.fromkeys(names, small), sheets=dict.fromkeys(names, CaptureSheet(noise, 9, 90.0))
        )
    )
    assert len(page) < 25_000_000


def test_settings_that_were_changed_are_marked():
    page = render(content())
    assert '<td class="changed">2 (default 1)</td>' in page and "1 of 2 changed" in page


def test_pairs_are_shown_both_ways():
    page = render(content())
    assert page.count('class="p3" title="good and') == 1 and page.count('class="p3"') == 3  # two cells and the key
    assert "no alignments of pairs" in render(content(pairs={}))


def test_charts():
    chart = line_chart({"<a>": [(0, 0), (1, 1), (2, np.nan)]}, "x", "y", "words", (0, 1))
    assert "&quot;" not in chart and "nan" not in chart and chart.count("<circle") == 2
    assert "&lt;a&gt;" in line_chart({"<a>": [(0, 0)], "b": [(1, 1)]}, "x", "y", "words", (0, 1))
    with pytest.raises(ValueError, match="nothing to draw"):
        line_chart({"a": [(np.nan, 1)]}, "x", "y", "words", (0, 1))


def test_a_card_tells_how_a_capture_was_filmed():
    assert "24 frames from 315° around it" in render(content())


def test_ticks_are_round_numbers():
    assert ticks(1, 12) == [5, 10]
    assert ticks(0, 100) == [0, 20, 40, 60, 80, 100]
    assert ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1]


def test_mesh_with_loose_vertices():
    mesh = Mesh(np.vstack([sphere(0.5, 4).vertices, [[9.0, 9, 9]]]), sphere(0.5, 4).faces)
    assert simplified(mesh, 300).vertices.max() < 1
