"""The report in a real browser: it draws, complains of nothing, and works by keyboard, narrow and wide, light and dark.

Needs playwright (pip install 'uop3d[browser]') and a Chromium: playwright's own, or what UOP3D_CHROMIUM names.
"""

import base64
import io
import os
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from pages import PNG, content
from PIL import Image
from scenes import sphere

from uop3d_core.report.page import render
from uop3d_core.runs import AlignmentRecord
from uop3d_core.types import Alignment, CaptureAlignment, Sim3

playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install 'uop3d[browser]'")

SOFTWARE_3D = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
WIDTHS = {"phone": 390, "desktop": 1280}
PROBES = Path(__file__).with_name("probes.js").read_text()
LEAST_CONTRAST = 4.5
"""Of WCAG 2, AA."""
PATIENCE_MS = 120_000


@pytest.fixture(scope="module")
def chromium():
    """A function that starts a browser with given arguments; skips where there is none."""
    with playwright.sync_playwright() as tools:
        path = os.environ.get("UOP3D_CHROMIUM", tools.chromium.executable_path)
        if not Path(path).is_file():
            pytest.skip(f"no Chromium at {path}: playwright install chromium, or set UOP3D_CHROMIUM")
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        yield lambda *more: tools.chromium.launch(executable_path=path, args=[*arguments, *more])


@pytest.fixture(scope="module")
def browser(chromium):
    started = chromium(*SOFTWARE_3D)
    yield started
    started.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A page with all its sections."""
    curves = {"loss": {"training": [(1.0, 3.0), (2.0, 1.5)], "rehearsal": [(1.0, 3.5)]}}
    file = tmp_path_factory.mktemp("report") / "report.html"
    file.write_text(render(content(stills={"a picture": PNG}, curves=curves)))
    return file


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A page with 60 captures."""
    names = [f"capture_{i:02d}" for i in range(60)]
    captures = {name: CaptureAlignment(Sim3.identity(), 0.5, True) for name in names}
    record = AlignmentRecord(Alignment("c", names[0], captures), {})
    meshes = {name: sphere(0.2 + 0.004 * i, 1) for i, name in enumerate(names)}
    file = tmp_path_factory.mktemp("report") / "many.html"
    file.write_text(render(content(record=record, meshes=meshes, sheets={}, pairs={}, pose=None, other=None)))
    return file


@contextmanager
def opened(browser, file, width, scheme="light"):
    """The page without a network; what it complains of or asks for is an error at the end."""
    context = browser.new_context(
        viewport={"width": width, "height": 844}, color_scheme=scheme, reduced_motion="reduce", offline=True
    )
    page, trouble = context.new_page(), []
    page.set_default_timeout(PATIENCE_MS)
    page.on("console", lambda message: trouble.append(message.text) if message.type != "log" else None)
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("request", lambda request: None if request.url.startswith("data:") else trouble.append(request.url))
    page.goto(file.as_uri())
    page.evaluate(PROBES)
    page.evaluate("probes.settled()")
    yield page
    context.close()
    own = [text for text in trouble if text != file.as_uri() and "GPU stall due to ReadPixels" not in text]
    assert own == []


def drawn(page):
    """(H, W, 4) of the 3-D view, once it has been drawn anew."""
    page.evaluate("probes.settled()")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(page.evaluate("probes.picture()")))).convert("RGBA"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_the_page_is_whole(browser, report, width, scheme):
    with opened(browser, report, width, scheme) as page:
        assert page.evaluate("probes.fits()")
        assert page.evaluate("[...document.images].every((image) => image.naturalWidth > 0)")
        page.evaluate("probes.unfold()")
        assert page.evaluate("probes.fits()")
        assert page.evaluate(f"probes.faint({LEAST_CONTRAST})") == []
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, paper[4:-1].split(","))) < 300) == (scheme == "dark")


def test_shapes_are_drawn_in_their_cells(browser, report):
    """Four shapes with axes in four cells, the first one grey, the captures in colours."""
    with opened(browser, report, 1280) as page:
        picture = drawn(page)
        lefts, bottoms = (len(set(places)) for places in zip(*page.evaluate("probes.cells()"), strict=True))
        cells = [cell for row in np.array_split(picture, bottoms) for cell in np.array_split(row, lefts, axis=1)]
        assert [(cell[..., 3] > 0).mean() > 0.05 for cell in cells] == [True] * 4 + [False] * (len(cells) - 4)
        middles = [np.split(cell, [cell.shape[0] // 4, -cell.shape[0] // 4])[1] for cell in cells[:4]]
        colours = [np.median(middle[middle[..., 3] > 250][:, :3], axis=0) for middle in middles]
        assert np.ptp(colours[0]) < 40 and all(np.ptp(colour) > 60 for colour in colours[2:])
        page.check("input[value=over]")
        over = drawn(page)
        assert over.shape != picture.shape and (over[..., 3] > 0).mean() > 0.02


def test_keys_turn_and_enlarge(browser, report):
    with opened(browser, report, 1280) as page:
        before = drawn(page)
        page.focus("canvas")
        for key in ("ArrowLeft", "ArrowUp", "+"):
            page.keyboard.press(key)
            after = drawn(page)
            assert (before != after).any(), key
            before = after
        page.keyboard.press("Home")
        page.focus("[data-do=next]")
        page.keyboard.press("Enter")
        assert page.inner_text("#view-message") == "template alone"
        assert page.evaluate("probes.shown()") == [True, False, False, False]


@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_the_keyboard_reaches_everything_and_shows_where_it_is(browser, report, width):
    with opened(browser, report, width) as page:
        wanted, stops = page.evaluate("probes.numberStops()"), []
        for _ in range(wanted):
            page.keyboard.press("Tab")
            stops.append(page.evaluate("document.activeElement.dataset.stop"))
            assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
        assert stops == [str(index) for index in range(wanted)] and wanted > 30
        page.focus("summary")
        page.keyboard.press("Enter")
        assert page.evaluate("document.querySelector('summary').parentElement.open")


def test_everything_has_a_name(browser, report):
    with opened(browser, report, 1280) as page:
        assert page.evaluate("probes.nameless()") == []
        levels = page.evaluate("probes.levels()")
        assert levels[0] == 1 and levels.count(1) == 1 and max(np.diff(levels)) <= 1


def test_of_many_shapes_a_page_is_shown(browser, many):
    with opened(browser, many, 390) as page:
        assert page.inner_text("#page") == "page 1 of 3" and len(page.evaluate("probes.cells()")) == 24
        page.click("[data-do=page-on]")
        page.click("[data-do=page-on]")
        page.evaluate("probes.settled()")
        assert page.inner_text("#page") == "page 3 of 3" and len(page.evaluate("probes.cells()")) == 13
        assert page.inner_text("#labels span:nth-child(13)") == "capture_59"
        page.click("[data-do=template]")
        page.evaluate("probes.settled()")
        assert not page.is_visible("#pages")


def test_without_3d_there_are_still_pictures(chromium, report):
    plain = chromium("--disable-3d-apis")
    with opened(plain, report, 390) as page:
        assert "cannot draw in 3-D" in page.inner_text("#view-message")
        assert not page.is_visible("#view") and page.is_visible("#surfaces .still") and not page.is_visible("#spin")
    plain.close()
