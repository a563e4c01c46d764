"""What the site shows besides docs/*.md: tables of settings, files of the repository, pages that stand elsewhere.

In: the pages of mkdocs. Out: the same, with ``<!-- settings: NAME [STAGE] -->`` replaced by a table made from the class
in `uop3d_core.config`, and links that lead out of docs/ to copies of those files under repository/.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from pydantic.fields import FieldInfo

from uop3d_core import config as settings

ROOT = Path(__file__).resolve().parents[2]
PAGES = {"contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}
OUTSIDE = re.compile(r"(?<=\]\()\.\./([^)#\s]+)")
INSIDE = re.compile(r"(?<=\]\()docs/")
MARK = re.compile(r"<!-- settings: (\w+)(?: (\w+))? -->")
SIGNS = (("gt", "> {}"), ("ge", "≥ {}"), ("lt", "< {}"), ("le", "≤ {}"))


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put pages that the navigation does not name into a section of their own, so that none is out of reach."""
    named = set(re.findall(r"[\w-]+\.md", str(config.nav)))
    others = sorted(path.name for path in Path(config.docs_dir).glob("*.md") if path.name not in named)
    if others and config.nav:
        config.nav.append({"More": others})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that stand elsewhere, and the files that pages link to."""
    for name, source in PAGES.items():
        text = INSIDE.sub("", (ROOT / source).read_text(encoding="utf-8"))
        for page, stands_at in PAGES.items():
            text = text.replace(f"]({stands_at})", f"]({page})")
        files.append(File.generated(config, name, content=text))
    for path in sorted(set(linked(files))):
        files.append(File.generated(config, f"repository/{path}", abs_src_path=str(ROOT / path)))
    return files


def linked(files: Files) -> Iterator[str]:
    """Files outside docs/ that pages link to.

    Raises:
        FileNotFoundError: there is no such file.
    """
    for page in files.documentation_pages():
        for path in OUTSIDE.findall(page.content_string):
            if not (ROOT / path).is_file():
                raise FileNotFoundError(f"{page.src_uri} links to ../{path}, which is no file of the repository")
            yield path


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Fill in tables of settings, and turn links to the repository's files to their copies."""
    markdown = MARK.sub(lambda mark: settings_table(mark[1], mark[2]), markdown)
    return OUTSIDE.sub(r"repository/\1", markdown)


def on_post_build(config: MkDocsConfig) -> None:
    """Leave out the page for addresses that do not exist, which only a server can show."""
    (Path(config.site_dir) / "404.html").unlink(missing_ok=True)


def settings_table(name: str, stage: str | None) -> str:
    """Markdown table of a settings class.

    Args:
        name: of the class.
        stage: what its keys begin with on the command line, as in ``pair.modes``; None for a class by itself.

    Raises:
        ValueError: there is no such class.
    """
    owner = getattr(settings, name, None)
    if not (isinstance(owner, type) and issubclass(owner, settings.Settings)):
        raise ValueError(f"uop3d_core.config has no settings class {name!r}")
    rows = ["| setting | default | allowed | what |", "|---|---|---|---|"]
    for key, field in owner.model_fields.items():
        label = f"{stage}.{key}" if stage else key
        rows.append(f"| `{label}` | `{shown(field.default)}` | {allowed(field)} | {field.description} |")
    return "\n".join(rows)


def shown(value: Any) -> str:
    """A default, as it is written after ``--set``."""
    return str(list(value)) if isinstance(value, tuple) else f"{value:g}" if isinstance(value, float) else str(value)


def allowed(field: FieldInfo) -> str:
    """Range or choices of a setting."""
    if choices := [f"`{choice}`" for choice in get_args(field.annotation) if isinstance(choice, str)]:
        return ", ".join(choices)
    limits = (
        text.format(f"{getattr(limit, sign):g}")
        for sign, text in SIGNS
        for limit in field.metadata
        if getattr(limit, sign, None) is not None
    )
    kinds = ["list of numbers"] if get_origin(field.annotation) is tuple else []
    return ", ".join([*kinds, *(["whole"] if field.annotation is int else []), *limits])
