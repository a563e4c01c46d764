"""The model file: one safetensors file with network, template and everything needed to use and trust it.

Tensors: ``network.*``, ``template.vertices``, ``template.faces``. Metadata key ``uop3d``: one JSON object.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from uop3d_core.atomic import write_tensors
from uop3d_core.config import TrainSettings, parse_settings
from uop3d_core.correspondence.model import CorrespondenceNet
from uop3d_core.types import Mesh, Symmetry, Template

FORMAT = 2
METADATA_KEY = "uop3d"


@dataclass(frozen=True, eq=False)
class Model:
    """A learned category.

    Attributes:
        backbone_spec: NAME or NAME:WEIGHTS, as it was given in training.
        template: shape in obj with its symmetry; `template.category` names the category.
        settings: of the training.
        network: the trained head, in evaluation mode.
        metadata: JSON object: backbone (fingerprint, licence, channels), training provenance, version.
    """

    backbone_spec: str
    template: Template
    settings: TrainSettings
    network: CorrespondenceNet
    metadata: dict[str, Any]

    @property
    def category(self) -> str:
        """Name of the category."""
        return self.template.category

    @property
    def symmetry(self) -> Symmetry:
        """Rotations in obj that change nothing."""
        return self.template.symmetry


def save_model(path: Path, model: Model) -> None:
    """Write the model file; an old one stays in place until the new one is complete."""
    tensors = {f"network.{name}": value for name, value in model.network.state_dict().items()}
    tensors["template.vertices"] = torch.tensor(model.template.mesh.vertices)
    tensors["template.faces"] = torch.tensor(model.template.mesh.faces)
    about = {
        "format": FORMAT,
        "category": model.category,
        "backbone": model.backbone_spec,
        "symmetry": {"axis": model.template.symmetry.axis.tolist(), "fold": model.template.symmetry.fold},
        "settings": model.settings.model_dump(),
        "metadata": model.metadata,
    }
    write_tensors(path, tensors, {METADATA_KEY: json.dumps(about, allow_nan=False)})


def load_model(path: Path) -> Model:
    """Read a model file.

    Raises:
        FileNotFoundError: there is none.
        ValueError: truncated, not a uop3d model, of another format version, or with tensors that do not fit.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such model file; `uop3d learn` writes RUN/model.safetensors")
    try:
        with safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get(METADATA_KEY)
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: damaged or not a safetensors file ({error}); copy it again or train anew") from error
    if text is None:
        raise ValueError(f"{path}: a safetensors file, but not a uop3d model (no {METADATA_KEY!r} in its metadata)")
    try:
        about = json.loads(text)
        version = about["format"]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path}: the model's metadata cannot be read ({error!r})") from error
    if version != FORMAT:
        raise ValueError(
            f"{path}: model format {version}, this version of uop3d reads format {FORMAT}; "
            "use the version it was trained with, or train anew"
        )
    try:
        settings = parse_settings(TrainSettings, about["settings"], str(path))
        mesh = Mesh(tensors["template.vertices"].numpy(), tensors["template.faces"].numpy())
        turns = about.get("symmetry", {"axis": [0, 0, 1], "fold": 1})
        symmetry = Symmetry(np.array(turns["axis"], dtype=np.float64), int(turns["fold"]))
        template = Template(about["category"], mesh, symmetry)
        channels = int(about["metadata"]["backbone"]["channels"])
        network = CorrespondenceNet(channels, tensors["template.vertices"], **settings.network_arguments())
        network.load_state_dict({n.removeprefix("network."): t for n, t in tensors.items() if n.startswith("network.")})
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path}: the model's content does not fit together ({error})") from error
    return Model(about["backbone"], template, settings, network.eval(), about["metadata"])
