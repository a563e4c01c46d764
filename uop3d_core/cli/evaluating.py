"""Comparison with labels: evaluate alignment, evaluate pose; and tables of figures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from uop3d_core.cli.console import out, progress_bars
from uop3d_core.cli.options import (
    Device,
    Labels,
    ModelArgument,
    Only,
    OtherBackbone,
    RunArgument,
    Set,
    names_in,
    pose_settings,
)

SHEET_PER_CAPTURE, SHEET_COLUMNS = 8, 8
PLAIN_FIGURES = 6
"""More columns of figures than this stand closer together."""


KeptJson = Annotated[
    Path | None,
    typer.Option("--json", metavar="OUT", help="file to write (default: in RUN/evaluation, for uop3d report)"),
]


def evaluate_alignment(run: RunArgument, labels: Labels, json_out: KeptJson = None) -> None:
    """Errors of the relative rotations of all pairs of captures."""
    from uop3d_core.pipeline.evaluations import keep_alignment
    from uop3d_core.pipeline.inference import evaluate_run

    report = evaluate_run(run, labels)
    written = keep_alignment(report, run, json_out)
    out.print(
        figures_table(f"alignment of {report['category']}", {"all": report["all"], "accepted": report["accepted"]})
    )
    out.print(f"figures: {written}", soft_wrap=True, highlight=False)


def evaluate_pose(
    model: ModelArgument,
    captures: Annotated[Path, typer.Option(metavar="DIR", help="captures, some of them not trained on")],
    labels: Labels,
    run: Annotated[Path, typer.Option(metavar="RUN", help="run directory that the model was trained in")],
    json_out: KeptJson = None,
    only: Only = "",
    only_frames: Annotated[
        Path | None, typer.Option("--only-frames", metavar="FILE", help="JSON {capture: [frames]} to test on")
    ] = None,
    jitter: Annotated[float, typer.Option(min=0, max=0.5, help="move and scale boxes by up to this share")] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="seed of the jitter")] = 0,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE.jpg", help="some of the images with the poses drawn in")
    ] = None,
    reliability: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="diagrams of what score and covariance are worth")
    ] = None,
    into_model: Annotated[
        bool, typer.Option("--into-model", help="note the main figures in the model file, for uop3d info and its card")
    ] = False,
    device: Device = "cpu",
    backbone: OtherBackbone = None,
    changes: Set = None,
) -> None:
    """Errors of poses in single images of captures that were not trained on."""
    from uop3d_core.pipeline.evaluations import keep_pose
    from uop3d_core.pipeline.inference import evaluate_model, evaluation_sheet, reliability_picture
    from uop3d_core.report.sheets import write_image
    from uop3d_core.sharing.facts import FIGURES, check_notable, figures_of, note

    if into_model:
        check_notable(model)
    with progress_bars() as progress:
        outcome = evaluate_model(
            model,
            captures,
            labels,
            run,
            only=names_in(only),
            only_frames=only_frames,
            jitter=jitter,
            seed=seed,
            backbone=backbone,
            settings=pose_settings(changes),
            device=device,
            progress=progress,
        )
    written = keep_pose(outcome, run, json_out)
    rows = {**outcome.report["captures"], "overall": outcome.report["overall"]}
    out.print(figures_table(f"pose of unseen {outcome.report['category']}", rows))
    out.print(worth_table("what the estimates say of themselves", rows))
    out.print(f"figures: {written}", soft_wrap=True, highlight=False)
    if picture:
        write_image(picture, evaluation_sheet(outcome, SHEET_PER_CAPTURE, SHEET_COLUMNS))
    if reliability:
        write_image(reliability, reliability_picture(outcome))
    if into_model:
        note(model, **{FIGURES: figures_of(outcome.report)})
        out.print(f"noted in {model}", soft_wrap=True, highlight=False)


def figures_table(title: str, rows: dict[str, dict[str, Any] | None]) -> Table:
    """Rows of figures as `metrics.summary` makes them; those modulo a symmetry where there is one."""
    columns = {
        "acc30": "acc30 %", "acc15": "acc15 %", "acc10": "acc10 %", "median_deg": "median °",
        "up_acc10": "up acc10 %", "up_median_deg": "up median °",
        "sym_acc10": "sym acc10 %", "sym_median_deg": "sym median °",
        "label_sym_acc10": "label sym acc10 %", "label_sym_median_deg": "label sym median °",
    }  # fmt: skip
    columns = {key: title for key, title in columns.items() if any(row and key in row for row in rows.values())}
    narrow = (0, 0) if len(columns) > PLAIN_FIGURES else (0, 1)
    table = Table(title=escape(title), title_justify="left", padding=narrow)
    for column in ("", "n", *columns.values()):
        table.add_column(column, justify="right" if column else "left")
    for name, row in rows.items():
        if row is None:
            table.add_row(escape(name), "0")
            continue
        count = row.get("frames", row.get("pairs"))
        table.add_row(escape(name), str(count), *(f"{row[key]:.1f}" for key in columns))
    return table


def worth_table(title: str, rows: dict[str, dict[str, Any] | None]) -> Table:
    """Rows of `evaluation.results.summarise`: score, hypotheses, and true poses inside the 90 % ellipsoids."""
    from uop3d_core.evaluation.probabilities import PARTS

    table = Table(title=escape(title), title_justify="left", padding=(0, 0))
    table.add_column(no_wrap=True)
    for column in (
        "right %",
        "ECE",
        "AUROC",
        "Brier",
        "best %",
        "inside R/t/both",
        "right R/t/both",
        "own box R/t/both",
    ):
        table.add_column(column, justify="right")
    for name, row in rows.items():
        if row is None:
            table.add_row(escape(name))
            continue
        score, worth = row["score"], row["covariance"]
        spreads = worth["all"], worth["within30"], row["covariance_own_box"]["within30"]
        ranked = "-" if score["auroc"] is None else f"{score['auroc']:.2f}"
        inside = ["/".join(f"{part['inside90'][kind]:.0f}" for kind in PARTS) if part else "-" for part in spreads]
        right = f"{100 * score['right']:.1f}"
        best = f"{row['hypotheses']['best_acc30']:.1f}"
        table.add_row(escape(name), right, f"{score['ece']:.3f}", ranked, f"{score['brier']:.3f}", best, *inside)
    return table
