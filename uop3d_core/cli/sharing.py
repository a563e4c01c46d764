"""Models to hand on: info, card, push, pull."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from uop3d_core.cli.console import out, progress_bars
from uop3d_core.cli.options import ModelArgument

if TYPE_CHECKING:
    from collections.abc import Mapping

    from uop3d_core.sharing.facts import ModelFacts

Licence = Annotated[str | None, typer.Option(metavar="TEXT", help="of the model, e.g. Apache-2.0, for the card")]
FiguresFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="of uop3d evaluate pose --json [those noted in the model]")
]


def info(
    model: ModelArgument, as_json: Annotated[bool, typer.Option("--json", help="as JSON, for programs")] = False
) -> None:
    """Show what a model file is: category, data, figures, licences, digest."""
    from uop3d_core.sharing.facts import model_facts

    facts = model_facts(model)
    if as_json:
        print(json.dumps(facts.as_json(), indent=1, allow_nan=False))
    else:
        out.print(_facts_table(facts))


def card(
    model: Annotated[list[Path], typer.Argument(metavar="MODEL...", help="trained, and exported ones of it")],
    out_file: Annotated[
        Path | None, typer.Option("--out", metavar="FILE.md", help="file to write (default: on the screen)")
    ] = None,
    licence: Licence = None,
    figures: FiguresFile = None,
) -> None:
    """Write the model card, in Markdown."""
    from uop3d_core.atomic import write_text
    from uop3d_core.sharing.card import model_card
    from uop3d_core.sharing.facts import model_facts, with_figures

    facts = [model_facts(path) for path in model]
    given = _read_figures(figures)
    if given is not None:
        facts = [with_figures(each, *given) for each in facts]
    text = model_card(facts, licence)
    if out_file is None:
        print(text, end="")
    else:
        write_text(out_file, text)
        out.print(f"card: {out_file}", soft_wrap=True, highlight=False)


def push(
    model: Annotated[list[Path], typer.Argument(metavar="MODEL...", help="trained, and exported ones of it")],
    to: Annotated[str, typer.Option(metavar="PLACE", help="a folder, or hf://USER/NAME")],
    licence: Licence = None,
    figures: FiguresFile = None,
    private: Annotated[bool, typer.Option("--private", help="if a repository has to be made")] = False,
) -> None:
    """Share models of a category: files, card and digests, in a folder or on the Hugging Face hub."""
    from uop3d_core.sharing.exchange import push as run_push
    from uop3d_core.sharing.shelves import shelf_at

    where = run_push(model, shelf_at(to, private=private), licence=licence, figures=_read_figures(figures))
    out.print(f"pushed: {where}", soft_wrap=True, highlight=False)


def pull(
    source: Annotated[str, typer.Argument(metavar="PLACE", help="a folder, or hf://USER/NAME[@REVISION]")],
    out_folder: Annotated[Path, typer.Option("--out", metavar="DIR", help="a new folder")],
    sha256: Annotated[
        str | None, typer.Option("--sha256", metavar="HEX", help="digest of the model file, as you expect it")
    ] = None,
) -> None:
    """Take a shared model, and check every byte of it."""
    from uop3d_core.sharing.exchange import pull as run_pull
    from uop3d_core.sharing.shelves import shelf_at

    with progress_bars() as progress:
        pulled = run_pull(shelf_at(source), out_folder, sha256=sha256, progress=progress)
    for path in pulled.models:
        out.print(f"model: {path} (sha256 {pulled.sha256[path.name]})", soft_wrap=True, highlight=False)


def _read_figures(file: Path | None) -> tuple[Mapping[str, Any], str] | None:
    from uop3d_core.runs import read_json_object

    return None if file is None else (read_json_object(file), str(file))


def _facts_table(facts: ModelFacts) -> Table:
    from uop3d_core.sharing.card import symmetry_text

    table = Table(title=f"model of {escape(facts.category)}", title_justify="left", show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    figures = facts.figures
    quality = "not evaluated, or not noted"
    if figures is not None:
        quality = (
            f"{figures['acc30']:.1f} % within 30°, {figures['acc10']:.1f} % within 10°, "
            f"median {figures['median_deg']:.1f}° in {figures['images']} images of {', '.join(figures['captures'])}"
        )
    weights = f", weights {facts.weights}" if facts.weights else ""
    frames = "" if facts.frames is None else f", {facts.frames} frames"
    rows = {
        "kind": facts.kind + (", int8" if facts.int8 else ""),
        "template": f"{facts.vertices} vertices, {facts.faces} faces, {' x '.join(f'{v:.2f}' for v in facts.extents)}",
        "symmetry": symmetry_text(facts),
        "head": facts.head,
        "features": f"{facts.backbone}{weights} ({facts.backbone_fingerprint}), licence {facts.backbone_licence}",
        "trained on": f"{len(facts.captures)} captures{frames}, {facts.epochs} epochs, uop3d {facts.version}",
        "captures": ", ".join(facts.captures),
        "licence of the data": facts.data_licence or "not stated",
        "scores": f"calibrated on {facts.calibrated_on} trials" if facts.calibrated_on else "not calibrated",
        "figures": quality,
    }
    for file in facts.files:
        rows[file.name] = f"{file.bytes / 1e6:.1f} MB, sha256 {file.sha256}"
    for what, text in rows.items():
        table.add_row(escape(what), escape(text))
    return table
