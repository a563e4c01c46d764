"""The model file: one safetensors file with network, template and everything needed to use and trust it.

Tensors: ``network.*``, ``template.vertices``, ``template.faces``. Metadata key ``uop3d``: one JSON object.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from uop3d_core.atomic import write_tensors
from uop3d_core.backbones import FeatureBackbone, load_backbone
from uop3d_core.config import TrainSettings
from uop3d_core.correspondence.heads import build_network
from uop3d_core.correspondence.model import Trunk
from uop3d_core.correspondence.running import TorchNetwork
from uop3d_core.learned import METADATA_KEY, Learned, describe, fitting, read_about
from uop3d_core.types import Template


@dataclass(frozen=True, eq=False)
class Model(Learned):
    """A learned category with its network; the other attributes are those of `Learned`.

    Attributes:
        network: the trained one with the head that the settings name, in evaluation mode.
    """

    backbone_spec: str
    template: Template
    settings: TrainSettings
    network: Trunk
    metadata: dict[str, Any]

    def ready(
        self, backbone: FeatureBackbone | str | None = None, device: str = "cpu", precision: str = "auto"
    ) -> TorchNetwork:
        """Load the backbone if need be, and move it and the network to a torch device; see `Learned`."""
        if backbone is None or isinstance(backbone, str):
            backbone = load_backbone(backbone or self.backbone_spec, device)
        trained_with = self.metadata["backbone"]["fingerprint"]
        if backbone.fingerprint != trained_with:
            raise ValueError(
                f"model {self.category!r} was trained with backbone {self.backbone_spec!r} ({trained_with}), "
                f"but got {backbone.fingerprint}: pass the same weights"
            )
        return TorchNetwork(backbone, self.network, device, precision)


def save_model(path: Path, model: Model) -> None:
    """Write the model file; an old one stays in place until the new one is complete."""
    tensors = {f"network.{name}": value for name, value in model.network.state_dict().items()}
    tensors["template.vertices"] = torch.tensor(model.template.mesh.vertices)
    tensors["template.faces"] = torch.tensor(model.template.mesh.faces)
    write_tensors(path, tensors, {METADATA_KEY: json.dumps(model.about(), allow_nan=False)})


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
    about = read_about(text, str(path))
    with fitting(str(path)):
        vertices = tensors["template.vertices"]
        known = describe(about, vertices.numpy(), tensors["template.faces"].numpy(), str(path))
        channels = int(known.metadata["backbone"]["channels"])
        network = build_network(channels, known.template, known.settings)
        network.load_state_dict({n.removeprefix("network."): t for n, t in tensors.items() if n.startswith("network.")})
    return Model(known.backbone_spec, known.template, known.settings, network.eval(), known.metadata)
