"""Arguments and options that several commands share, and what their texts mean."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from uop3d_core.config import InferenceSettings, PoseSettings, RunSettings

Captures = Annotated[
    Path, typer.Argument(metavar="CAPTURES", help="folder with one capture per sub-folder", show_default=False)
]
RunOut = Annotated[Path, typer.Option("--out", metavar="RUN", help="run directory; an unfinished one is continued")]
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="run directory", show_default=False)]
ModelArgument = Annotated[
    Path, typer.Argument(metavar="MODEL", help="model file: RUN/model.safetensors, or exported", show_default=False)
]
BackboneOption = Annotated[
    str, typer.Option("--backbone", metavar="NAME[:WEIGHTS]", help="image features; hog needs no download")
]
OtherBackbone = Annotated[
    str | None,
    typer.Option("--backbone", metavar="NAME:WEIGHTS", help="the weights, if they lie elsewhere than in training"),
]
Device = Annotated[str, typer.Option("--device", help="where the network runs: cpu, cuda, ...")]
Only = Annotated[str, typer.Option("--only", metavar="A,B,...", help="captures to use (default: all)")]
Category = Annotated[str | None, typer.Option(help="name of the category (default: name of the folder)")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="STAGE.KEY=VALUE", help="change a setting, e.g. pair.modes=3; may be repeated"),
]
Engine = Annotated[
    str, typer.Option("--engine", metavar="NAME[:ADDRESS]", help="what runs the loops: serial, processes or ray")
]
Workers = Annotated[
    int | None, typer.Option(min=1, help="captures or pairs at once (default: one per core)", show_default=False)
]
Afresh = Annotated[bool, typer.Option("--afresh", help="align all captures again even if only some were added")]
Without = Annotated[
    Path | None,
    typer.Option("--without", metavar="FILE", help="JSON {capture: [frames]} that the training must not see"),
]
DataLicence = Annotated[
    str | None,
    typer.Option("--data-licence", metavar="TEXT", help="of the captures, e.g. CC-BY-4.0; noted in the model"),
]
Labels = Annotated[Path, typer.Option("--labels", metavar="FILE", help="labels.json of the category")]
JsonOut = Annotated[Path, typer.Option("--json", metavar="OUT", help="file to write")]


def names_in(text: str) -> list[str]:
    """Names, separated by commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def changes_in(changes: Sequence[str] | None) -> dict[str, dict[str, Any]]:
    """``["a.b=1"]`` as ``{"a": {"b": 1}}``; values are JSON, or text where they are not."""
    nested: dict[str, dict[str, Any]] = {}
    for change in changes or ():
        path, equals, text = change.partition("=")
        stage, dot, key = path.partition(".")
        if not (equals and dot and stage and key):
            raise ValueError(f"--set {change}: write it as STAGE.KEY=VALUE, e.g. pair.modes=3")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        nested.setdefault(stage, {})[key] = value
    return nested


def run_settings(changes: Sequence[str] | None) -> RunSettings:
    """Settings of all stages, with the changes of ``--set``."""
    from uop3d_core.config import RunSettings, parse_settings

    return parse_settings(RunSettings, changes_in(changes), "--set")


def inference_settings(changes: Sequence[str] | None) -> InferenceSettings:
    """Settings of estimates, tracks and replays, with the changes of ``--set``."""
    from uop3d_core.config import InferenceSettings, parse_settings

    return parse_settings(InferenceSettings, changes_in(changes), "--set")


def pose_settings(changes: Sequence[str] | None) -> PoseSettings:
    """Settings of estimates, with the changes of ``--set``."""
    return inference_settings(changes).pose


def only_stage(changes: Sequence[str] | None, stage: str) -> None:
    """Raise ValueError where ``--set`` names another stage."""
    others = [name for name in changes_in(changes) if name != stage]
    if others:
        raise ValueError(f"--set: this command takes settings of {stage}.* only, not of {', '.join(others)}; see align")
