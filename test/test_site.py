"""The documentation as a site: it builds strictly, every link leads somewhere, and nothing comes from the network."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import uop3d_core as uop3d
from uop3d_core.config import CaptureSettings, InferenceSettings, RunSettings

ROOT = Path(__file__).resolve().parent.parent
LOADED = {("script", "src"), ("img", "src"), ("link", "href"), ("iframe", "src"), ("source", "src"), ("object", "data")}
SETTINGS = [
    f"{stage}.{key}"
    for owner in (CaptureSettings, RunSettings, InferenceSettings)
    for stage, part in owner.model_fields.items()
    for key in part.annotation.model_fields
]


class Parsed(HTMLParser):
    """Anchors of a page, where its links lead, and what it loads."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors, self.links, self.loaded = {""}, [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        if given.get("rel") == "canonical":
            return
        self.anchors |= {given[key] for key in ("id", "name") if given.get(key)}
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        self.loaded += [value for key, value in given.items() if (tag, key) in LOADED and value]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs") / "site"
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Parsed]:
    return {path: Parsed(path) for path in sorted(site.rglob("*.html"))}


def missing(link: str, page: Path, pages: dict[Path, Parsed]) -> bool:
    """Whether a relative link leads nowhere."""
    parts = urlsplit(link)
    target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    known = pages.get(target)
    return not target.is_file() or (known is not None and unquote(parts.fragment) not in known.anchors)


def test_every_link_and_anchor_leads_somewhere(pages: dict[Path, Parsed]):
    assert len(pages) > 15
    local = [(page, link) for page, parsed in pages.items() for link in parsed.links if not urlsplit(link).scheme]
    assert len(local) > 500
    assert [(page.name, link) for page, link in local if missing(link, page, pages)] == []


def test_nothing_is_loaded_from_the_network(site: Path, pages: dict[Path, Parsed]):
    loaded = [(page, link) for page, parsed in pages.items() for link in parsed.loaded]
    assert [link for _, link in loaded if urlsplit(link).netloc] == []
    assert [(p.name, link) for p, link in loaded if missing(link, p, pages)] == []
    for style in site.rglob("*.css"):
        assert re.search(r"url\(['\"]?(https?:)?//", style.read_text(encoding="utf-8")) is None


def test_every_setting_and_every_name_is_there(site: Path, pages: dict[Path, Parsed]):
    stages = (site / "stages.html").read_text(encoding="utf-8")
    assert len(SETTINGS) > 100
    assert [name for name in SETTINGS if f"<td><code>{name}</code></td>" not in stages] == []
    assert uop3d._WHERE.keys() == set(uop3d.__all__)
    expected = {f"uop3d_core.{where.replace(':', '.')}" for where in uop3d._WHERE.values()}
    assert expected - pages[site / "api.html"].anchors == set()


def test_defaults_and_ranges_are_told(site: Path):
    stages = (site / "stages.html").read_text(encoding="utf-8")
    row = stages[stages.index("<td><code>surface.mask_tolerance</code>") :].split("</tr>")[0]
    assert "<code>0.03</code>" in row and "≥ 0, &lt; 0.5" in row and "wrongly exclude" in row


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_of_the_front_pages(name: str, site: Path, pages: dict[Path, Parsed]):
    text = re.sub(r"```.*?```", "", (ROOT / name).read_text(encoding="utf-8"), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if urlsplit(link).scheme:
            continue
        path, _, anchor = link.partition("#")
        assert (ROOT / path).exists(), link
        if anchor:
            assert anchor in pages[site / Path(path).with_suffix(".html").name].anchors, link
