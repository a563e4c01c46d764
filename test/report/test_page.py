"""The report as a page: complete by itself, and whatever stands in files is text on it and nothing else."""

import base64
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from pages import EVIL, PNG, content, posed
from scenes import sphere

from uop3d_core.report import page as pages
from uop3d_core.report.charts import Axes, line_chart, ticks
from uop3d_core.report.content import CaptureSheet, PairTurn, PoseImage
from uop3d_core.report.findings import FAILED, findings, symmetry_words
from uop3d_core.report.markup import jpeg
from uop3d_core.report.page import STEPS, render, simplified
from uop3d_core.runs import AlignmentRecord
from uop3d_core.timings import Timings
from uop3d_core.types import Alignment, CaptureAlignment, Mesh, Sim3, Symmetry, Template


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
    other = (f"template of {EVIL}", "other")
    assert shapes == [("template", "template"), other, ("good", "accepted"), (EVIL, "rejected")]


def test_nothing_is_loaded_from_elsewhere():
    page = render(content(stills={"a picture": PNG}))
    assert not re.search(r"https?:|//[a-z]+\.|@import|url\(", page)
    for _, attributes in Elements(page).found:
        for key in ("src", "href"):
            assert attributes.get(key, "#").startswith(("#", "data:"))
    assert "default-src 'none'" in page


def test_every_picture_and_chart_says_what_it_shows():
    page = render(content(stills={"a picture": PNG}, curves={"loss": {"training": [(1.0, 3.0), (2.0, 1.5)]}}))
    found = Elements(page).found
    assert all(attributes.get("alt") for tag, attributes in found if tag == "img")
    assert all(attributes.get("aria-label") for _, attributes in found if attributes.get("role") == "img")
    assert "from 3 to 1.5" in page


def test_what_was_learned_stands_at_the_top():
    top = render(content(other=None)).split('<section id="surfaces"')[0]
    for words in ("1 of 3", "1 rejected, 1 unusable", "0.91", "97 %", "none found", "none yet", "33 %",
                  "No pose was found in 1 of 3 images", "1 of 3 poses are turned by more than 90°",
                  "seen from the back", "warning &lt;b&gt;"):  # fmt: skip
        assert words in top
    assert "no masks &lt;b&gt;" in top and "is rejected: too far off" in top
    turning = replace(content().record, symmetry=Symmetry([0, 0, 1], 4))
    assert "turns by 90° about z" in render(content(record=turning))
    assert symmetry_words(Symmetry([0, 0.6, 0.8], 0)) == "turns by any angle about (0.00, 0.60, 0.80)"


def test_wrong_poses_are_counted():
    images = [PoseImage("c", str(i), 0.5, True, error) for i, error in enumerate((5.0, 40.0, 170.0))]
    failed = findings(content(pose=posed(images=images)))[FAILED]
    assert "2 of 3 poses are off by more than 30°." in failed
    assert any(sentence.startswith("1 of 3 poses are turned by more than 90°") for sentence in failed)


def test_captures_rejected_for_the_same_reason_share_a_sentence():
    reasons = {"a": "off by 90°", "b": "off by 80°", "c": "a hole", **{f"d{i}": "no masks" for i in range(9)}}
    captures = {n: CaptureAlignment(Sim3.identity(), 0.1, False, r) for n, r in reasons.items()}
    captures["good"] = CaptureAlignment(Sim3.identity(), 0.9, True)
    record = AlignmentRecord(Alignment("c", "good", captures), {})
    failed = findings(content(record=record, pose=None))[FAILED]
    assert failed == [
        "a, b are rejected: a off by 90°",
        "c is rejected: a hole",
        "d0, d1, d2, d3, d4, d5 and 3 more are rejected: no masks",
    ]


def test_a_run_without_failures_says_so():
    alignment = Alignment("c", "good", {"good": CaptureAlignment(Sim3.identity(), 0.9, True, "", 0.97)})
    fields = dict.fromkeys(("meshes", "sheets", "pairs"), {})
    page = render(content(record=AlignmentRecord(alignment, {}), pose=None, other=None, **fields))
    assert "Nothing that the run knows of." in page and 'id="poses"' not in page and 'id="comparison"' not in page


def test_the_symmetry_is_in_the_view():
    template = Template("bowl", sphere(0.5, 1), Symmetry([0, 0, 1], 0))
    assert json.loads(Elements(render(content(template=template))).scene)["symmetry"] == [0, 0, 1]
    assert json.loads(Elements(render(content())).scene)["symmetry"] is None


def test_shapes_come_through_as_they_are():
    mesh = sphere(0.4, 1)
    shape = json.loads(Elements(render(content(other=None))).scene)["shapes"][1]
    steps = np.frombuffer(base64.b64decode(shape["vertices"]), "<u2").reshape(-1, 3)
    faces = np.frombuffer(base64.b64decode(shape["faces"]), "<u2").reshape(-1, 3)
    np.testing.assert_allclose(steps * shape["unit"] + shape["low"], mesh.vertices, atol=0.8 / STEPS)
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
    """200 captures of 150 frames with photographs of noise, surfaces of very many vertices, and all their pairs."""
    mesh = sphere(0.5, 5)
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (112, 672, 3), dtype=np.uint8)
    names = [f"capture_{i:03d}" for i in range(200)]
    captures = {name: CaptureAlignment(Sim3.identity(), 0.5, True) for name in names}
    sheet = CaptureSheet(noise, rng.uniform(-80, 80, (150, 2)), 90.0)
    turns = {(a, b): PairTurn(5.0, 5.0, 3, -0.02) for k, a in enumerate(names) for b in names[:k]}
    example = jpeg(rng.integers(0, 255, (224, 680, 3), dtype=np.uint8))
    page = render(
        content(
            record=AlignmentRecord(Alignment("c", names[0], captures), {}), pairs=turns,
            meshes=dict.fromkeys(names, mesh), sheets=dict.fromkeys(names, sheet),
            pose=posed(examples=[("worst", 1, example)] * 12),
        )
    )  # fmt: skip
    assert 5_000_000 < len(page.encode()) < 25_000_000


def test_settings_that_were_changed_are_marked():
    page = render(content())
    assert '<td class="changed">2 (default 1)</td>' in page and "1 of 2 changed" in page


def test_pairs_are_shown_with_their_scores():
    page = render(content(pose=None))
    assert page.count('<td class="p3">120</td>') == 2 and page.count('class="edge p3"') == 1
    assert '<td class="number">-0.020</td><td class="number">120.0</td><td class="number">5.0</td>' in page
    assert "no alignments of pairs" in render(content(pairs={}))


def test_charts():
    axes = Axes("title", "x", "y", "words", (0, 1))
    chart = line_chart({"<a>": [(0, 0), (1, 1), (2, np.nan)]}, axes)
    assert "&quot;" not in chart and "nan" not in chart and chart.count("<circle") == 2 and "guide" not in chart
    assert "&lt;a&gt;" in line_chart({"<a>": [(0, 0)], "b": [(1, 1)]}, axes)
    sized = line_chart({"a": [(0, 0), (1, 1)]}, replace(axes, diagonal=True), [1, 4])
    assert 'r="6.0"' in sized and 'r="9.0"' in sized and "as promised" in sized
    with pytest.raises(ValueError, match="nothing to draw"):
        line_chart({"a": [(np.nan, 1)]}, axes)


def test_examples_are_with_their_errors():
    page = render(content(pose=posed()))
    worst = page.split("<h3>The worst</h3>")[1]
    assert "no pose found</strong> car car, score 0.00, seen from straight above" in worst
    assert "off by 4.0°</strong> car 0, score 0.90, seen from the front, slightly above" in page
    assert "The worst" not in render(content(pose=posed(examples=())))
    assert "not of the model in this run" in render(content(pose=posed(belongs=False)))


def test_times_and_versions():
    page = render(content(timings=Timings({"meshes": 12.0, "training": 8000.0}, {}, {})))
    assert "2 h 14 min over all calls" in page and ">12 s<" in page and "did not keep" not in page
    assert "did not keep" in render(content(timings=Timings()))


def test_a_comparison_says_which_is_better():
    page = render(content(name="here"))
    assert '<td class="good">better here</td>' in page and "by more than 10°" in page
    assert "template of" in page.split('id="surfaces"')[1]


def test_a_card_tells_how_a_capture_was_filmed():
    assert "24 frames from 315° around it" in render(content())


def test_ticks_are_round_numbers():
    assert ticks(1, 12) == [5, 10]
    assert ticks(0, 100) == [0, 20, 40, 60, 80, 100]
    assert ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1]


def test_mesh_with_loose_vertices():
    mesh = Mesh(np.vstack([sphere(0.5, 4).vertices, [[9.0, 9, 9]]]), sphere(0.5, 4).faces)
    assert simplified(mesh, 300).vertices.max() < 1
