"""What a model file says of itself, in plain words and numbers.

In: a model file of any kind. Out: ModelFacts; no path of the machine it was trained on is among them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from uop3d_core.learned import Learned
from uop3d_core.models import READERS, read_model

KINDS = {".safetensors": "trained, for torch", ".onnx": "exported, for ONNX Runtime", ".xml": "exported, for OpenVINO"}
FIGURES = "figures"
"""Key in a model's metadata: what an evaluation found, see `figures_of`."""
DATA = "data"
"""Key in a model's metadata: folder, frames and licence of what it was trained on."""


@dataclass(frozen=True)
class FileFacts:
    """A file: its name, size and digest."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class ModelFacts:
    """What there is to know of a model; None where it does not say.

    Attributes:
        files: the file; of OpenVINO two.
        kind: what runs it.
        category: that it finds.
        symmetry_axis, symmetry_fold: turns by 360 / fold degrees about the axis in obj change nothing; 0 any turn.
        vertices, faces: of the template.
        extents: (3,) of the template along x, y, z of obj, in object units.
        head: of the network.
        backbone: name of the image features.
        weights: name of the file or folder of their weights.
        backbone_fingerprint, backbone_licence: of these weights.
        captures: trained on.
        frames: that they have together.
        data_licence: of the captures.
        epochs: of the training.
        version: of uop3d that trained it.
        calibrated_on: trials by which scores became probabilities; 0: not calibrated.
        held_out: captures that were left out to calibrate.
        figures: of an evaluation on captures that it was not trained on.
        int8: whether an exported graph was quantised.
    """

    files: tuple[FileFacts, ...]
    kind: str
    category: str
    symmetry_axis: tuple[float, ...]
    symmetry_fold: int
    vertices: int
    faces: int
    extents: tuple[float, ...]
    head: str
    backbone: str
    weights: str | None
    backbone_fingerprint: str | None
    backbone_licence: str | None
    captures: tuple[str, ...]
    frames: int | None
    data_licence: str | None
    epochs: int | None
    version: str | None
    calibrated_on: int
    held_out: tuple[str, ...]
    figures: Mapping[str, Any] | None
    int8: bool | None

    def as_json(self) -> dict[str, Any]:
        """A JSON object."""
        return asdict(self)


def model_facts(path: Path) -> ModelFacts:
    """Read a model file, all of it, so that a damaged one is noticed.

    Raises:
        FileNotFoundError: there is none.
        ImportError: what reads it is not installed.
        ValueError: damaged, foreign, or of another format.
    """
    model = read_model(path)
    about, backbone = model.metadata, model.metadata.get("backbone", {})
    data, mesh = about.get(DATA, {}), model.template.mesh
    name, _, weights = model.backbone_spec.partition(":")
    graph = getattr(model, "facts", None)
    return ModelFacts(
        files=tuple(file_facts(file) for file in model_files(path)),
        kind=KINDS.get(path.suffix.lower(), KINDS[".safetensors"]),
        category=model.category,
        symmetry_axis=tuple(np.round(model.symmetry.axis, 4).tolist()),
        symmetry_fold=model.symmetry.fold,
        vertices=len(mesh.vertices),
        faces=len(mesh.faces),
        extents=tuple(np.round(np.ptp(mesh.vertices, axis=0), 4).tolist()),
        head=model.settings.head,
        backbone=name,
        weights=Path(weights).name or None,
        backbone_fingerprint=backbone.get("fingerprint"),
        backbone_licence=backbone.get("licence"),
        captures=tuple(about.get("captures", ())),
        frames=data.get("frames", about.get("views")),
        data_licence=data.get("licence"),
        epochs=about.get("epochs"),
        version=about.get("version"),
        calibrated_on=int(about.get("calibration", {}).get("views", 0)),
        held_out=tuple(about.get("held_out_in_rehearsal", ())),
        figures=about.get(FIGURES),
        int8=None if graph is None else graph.int8,
    )


def model_files(path: Path) -> list[Path]:
    """The files of a model: one, and for OpenVINO the weights beside it."""
    return [path, path.with_suffix(".bin")] if path.suffix.lower() == ".xml" else [path]


def file_facts(path: Path) -> FileFacts:
    """Name, size and digest of a file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256") if hasattr(hashlib, "file_digest") else _digest(file)
    return FileFacts(path.name, path.stat().st_size, digest.hexdigest())


def _digest(file: Any) -> Any:
    digest = hashlib.sha256()  # Python 3.10 has no file_digest
    while chunk := file.read(1 << 20):
        digest.update(chunk)
    return digest


def figures_of(report: Mapping[str, Any]) -> dict[str, Any]:
    """The main figures of a report of ``uop3d evaluate pose``, as they are kept in a model.

    Raises:
        ValueError: it is no such report.
    """
    try:
        overall, tested = report["overall"], sorted(report["captures"])
        figures = {key: float(overall[key]) for key in ("acc30", "acc15", "acc10", "median_deg")}
        modulo = {key: float(value) for key, value in overall.items() if key in ("sym_acc30", "sym_median_deg")}
        score = overall.get("score") or {}
        return {
            **figures,
            **modulo,
            "images": int(overall["frames"]),
            "not_found": int(overall["not_found"]),
            "captures": tested,
            "box_jitter": float(report.get("box_jitter", 0.0)),
            "calibration_error": score.get("ece"),
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"these are no figures of uop3d evaluate pose ({error!r})") from error


def with_figures(facts: ModelFacts, report: Mapping[str, Any], where: str) -> ModelFacts:
    """The facts with the figures of a report.

    Raises:
        ValueError: it is no such report, or one of another model.
    """
    try:
        figures = figures_of(report)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    if report.get("category") != facts.category or list(report.get("trained_on", facts.captures)) != list(
        facts.captures
    ):
        raise ValueError(f"{where}: these figures are of a model that was trained on other captures")
    return replace(facts, figures=figures)


def note(path: Path, **entries: Any) -> None:
    """Write entries into the metadata of a trained model, beside what is there; everything else stays as it is.

    Raises:
        FileNotFoundError, ValueError: there is no such model, it is damaged, or an exported one.
    """
    check_notable(path)
    from uop3d_core.correspondence.checkpoint import load_model, save_model

    model = load_model(path)
    save_model(path, replace(model, metadata={**model.metadata, **entries}))


def check_notable(path: Path) -> None:
    """Raise ValueError where nothing can be noted, in an exported model."""
    if path.suffix.lower() in READERS and path.suffix.lower() != ".safetensors":
        raise ValueError(f"{path} is an exported model: note it in the trained one, and export that again")


def note_licence(path: Path, licence: str) -> None:
    """Write the licence of the training data into a trained model; errors as in `note`."""
    data = dict(read_model(path).metadata.get(DATA, {}))
    if data.get("licence") != licence:
        note(path, **{DATA: {**data, "licence": licence}})


def without_folders(model: Learned) -> str:
    """NAME or NAME:WEIGHTS of the backbone, without the folder that the weights are in on this machine."""
    name, colon, weights = model.backbone_spec.partition(":")
    return f"{name}{colon}{Path(weights).name}"
