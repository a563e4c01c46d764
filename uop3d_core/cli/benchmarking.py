"""Datasets of the literature: evaluate pascal3d, evaluate objectnet3d, evaluate co3d."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from uop3d_core.cli.console import out, progress_bars
from uop3d_core.cli.evaluating import figures_table
from uop3d_core.cli.options import ModelArgument, Only, OtherBackbone, Set, names_in, pose_settings

SHEET, SHEET_COLUMNS = 24, 6

Root = Annotated[Path, typer.Option(metavar="DIR", help="folder of the dataset")]
Category = Annotated[str, typer.Option(metavar="NAME", help="the dataset's name of the category")]
RunOption = Annotated[Path, typer.Option(metavar="RUN", help="run directory that the model was trained in")]
TrainingLabels = Annotated[
    Path | None,
    typer.Option("--labels", metavar="FILE", help="labels of captures trained on (default: the axes of obj count)"),
]
Link = Annotated[str, typer.Option(metavar="all|reference", help="labelled captures that link the frames")]
Boxes = Annotated[str, typer.Option(metavar="annotated|cad", help="boxes; cad: the published crop")]
Jitter = Annotated[float, typer.Option(min=0, max=0.5, help="move and scale boxes by up to this share")]
Seed = Annotated[int, typer.Option(min=0, help="seed of the jitter")]
JsonOut = Annotated[Path | None, typer.Option("--json", metavar="OUT", help="file for the report")]
Picture = Annotated[Path | None, typer.Option(metavar="FILE.jpg", help="some of the images with the poses drawn in")]


def evaluate_pascal3d(
    model: ModelArgument,
    root: Root,
    category: Category,
    run: RunOption,
    labels: TrainingLabels = None,
    link: Link = "all",
    boxes: Boxes = "annotated",
    subset: Annotated[str, typer.Option(metavar="val|train", help="which images")] = "val",
    jitter: Jitter = 0.0,
    seed: Seed = 0,
    picture: Picture = None,
    backbone: OtherBackbone = None,
    json_out: JsonOut = None,
    changes: Set = None,
) -> None:
    """Rotations in the images of PASCAL3D+, as published."""
    options = _options(labels, link, boxes, jitter, seed) | {"backbone": backbone, "settings": pose_settings(changes)}
    _evaluate("pascal3d", "PASCAL3D+", (root, category, subset), model, run, json_out, picture, options)


def evaluate_objectnet3d(
    model: ModelArgument,
    root: Root,
    category: Category,
    run: RunOption,
    labels: TrainingLabels = None,
    link: Link = "all",
    boxes: Boxes = "annotated",
    subset: Annotated[str, typer.Option(metavar="test|val|train", help="which images")] = "test",
    jitter: Jitter = 0.0,
    seed: Seed = 0,
    picture: Picture = None,
    backbone: OtherBackbone = None,
    json_out: JsonOut = None,
    changes: Set = None,
) -> None:
    """Rotations in the images of ObjectNet3D, as published."""
    options = _options(labels, link, boxes, jitter, seed) | {"backbone": backbone, "settings": pose_settings(changes)}
    _evaluate("objectnet3d", "ObjectNet3D", (root, category, subset), model, run, json_out, picture, options)


def evaluate_co3d(
    model: ModelArgument,
    root: Root,
    category: Category,
    run: RunOption,
    labels: Annotated[Path, typer.Option(metavar="FILE|DIR", help="CO3D's human labels, or a labels.json")],
    only: Only = "",
    views: Annotated[int, typer.Option(min=2, help="images per sequence")] = 6,
    link: Link = "all",
    jitter: Jitter = 0.0,
    seed: Seed = 0,
    backbone: OtherBackbone = None,
    json_out: JsonOut = None,
    changes: Set = None,
) -> None:
    """Alignment and poses on labelled sequences of CO3D."""
    from uop3d_core.atomic import write_json
    from uop3d_core.pipeline.benchmarks import evaluate_co3d as run_evaluation

    with progress_bars() as progress:
        report = run_evaluation(
            root,
            category,
            labels,
            model,
            run,
            only=names_in(only),
            views=views,
            link=link,
            jitter=jitter,
            seed=seed,
            backbone=backbone,
            settings=pose_settings(changes),
            progress=progress,
        ).report
    if json_out is not None:
        write_json(json_out, report)
    rows: dict[str, dict[str, Any] | None] = {}
    if report["alignment"] is not None:
        rows |= {"alignment": report["alignment"]["all"], "of the accepted": report["alignment"]["accepted"]}
    rows |= {"single images": report["pose"]["overall"], f"{views} images": report["several_views"]}
    out.print(figures_table(f"CO3D {category}", rows))


def _options(labels: Path | None, link: str, boxes: str, jitter: float, seed: int) -> dict[str, Any]:
    if labels is None and link != "all":
        raise ValueError(f"--link {link} chooses among labelled captures: give --labels with it")
    return {"labels": labels, "link": link, "boxes": boxes, "jitter": jitter, "seed": seed}


def _evaluate(
    name: str,
    title: str,
    which: tuple[Path, str, str],
    model: Path,
    run: Path,
    json_out: Path | None,
    picture: Path | None,
    options: dict[str, Any],
) -> None:
    from uop3d_core.atomic import write_json
    from uop3d_core.pipeline.benchmarks import evaluate_dataset, images_sheet, read_dataset
    from uop3d_core.report.sheets import write_image

    root, category, subset = which
    with progress_bars() as progress:
        labelled = read_dataset(name, root, category, subset, progress)
        outcome = evaluate_dataset(labelled, model, run, progress=progress, **options)
    report = {"dataset": title, "dataset_category": category, "subset": subset, **outcome.report}
    if json_out is not None:
        write_json(json_out, report)
    rows = {"all": report["all"], "clear": report["clear"], "fitted": report["fitted_frame"]}
    out.print(figures_table(f"{title} {category}, {subset}", rows))
    if report["skipped"]:
        out.print(f"{len(report['skipped'])} images of the list are left out; the report says why", highlight=False)
    if picture:
        write_image(picture, images_sheet(outcome, SHEET, SHEET_COLUMNS))
