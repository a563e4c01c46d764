"""What an exported file carries besides its graph: texts by key, the same in every format.

In / out: a `Learned` and the facts of its graph, as texts: METADATA_KEY is the JSON object of all model files with one
more entry, "graph"; TEMPLATE_KEY is a safetensors file in base64 with `template.vertices` and `template.faces`.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from uop3d_core.config import TrainSettings
from uop3d_core.geometry import Array
from uop3d_core.learned import METADATA_KEY, CropNetwork, Learned, describe, fitting, read_about
from uop3d_core.types import Template

TEMPLATE_KEY = "uop3d.template"
GRAPH_FORMAT = 1
IMAGES, FEATURES, LOGITS, OFFSETS = "images", "features", "logits", "offsets"
"""Names in the graph: its input, the backbone's features inside, its outputs."""


@dataclass(frozen=True)
class GraphFacts:
    """What there is to know of a graph.

    Attributes:
        stride: pixels of a crop per cell of the backbone's grid.
        side: S, of the crops that it takes.
        int8: whether it was quantised.
        format: version of the graph's inputs and outputs.
    """

    stride: int
    side: int
    int8: bool = False
    format: int = GRAPH_FORMAT


@dataclass(frozen=True, eq=False)
class Exported(Learned, ABC):
    """A category with a graph that needs no torch; the other attributes are those of `Learned`.

    Attributes:
        path: its file.
        facts: of its graph.
    """

    backbone_spec: str
    template: Template
    settings: TrainSettings
    metadata: dict[str, Any]
    path: Path
    facts: GraphFacts

    def ready(self, backbone: Any = None, device: str = "cpu", precision: str = "auto") -> CropNetwork:
        """Set up the runtime; see `Learned`."""
        if backbone is not None:
            raise ValueError(f"{self.path}: an exported model brings its backbone along: give none")
        return self.runner(device, precision)

    @abstractmethod
    def runner(self, device: str, precision: str) -> CropNetwork:
        """The graph, set up on a device.

        Raises:
            ValueError: a device or precision that the runtime lacks.
        """


def pack(model: Learned, facts: GraphFacts) -> dict[str, str]:
    """A model without its network, as texts."""
    name, colon, weights = model.backbone_spec.partition(":")
    spec = f"{name}{colon}{Path(weights).name}"  # the graph has them in it: where they were is nobody's business
    about = {**model.about(), "backbone": spec, "graph": asdict(facts)}
    mesh = model.template.mesh
    arrays = {
        "template.vertices": np.ascontiguousarray(mesh.vertices, dtype=np.float64),
        "template.faces": np.ascontiguousarray(mesh.faces, dtype=np.int64),
    }
    return {METADATA_KEY: json.dumps(about, allow_nan=False), TEMPLATE_KEY: base64.b64encode(save(arrays)).decode()}


def unpack(texts: Mapping[str, str], path: Path) -> dict[str, Any]:
    """The fields of an `Exported`.

    Raises:
        ValueError: not a uop3d model, damaged, or of another format.
    """
    about = read_about(texts.get(METADATA_KEY), str(path))
    with fitting(str(path)):
        if about.get("graph", {}).get("format") != GRAPH_FORMAT:
            raise ValueError(f"its graph is not of format {GRAPH_FORMAT}: export the model again")
        try:
            arrays = load(base64.b64decode(texts[TEMPLATE_KEY], validate=True))
        except (SafetensorError, binascii.Error) as error:
            raise ValueError(f"its template is damaged: {error}") from error
        known = describe(about, arrays["template.vertices"], arrays["template.faces"], str(path))
        facts = GraphFacts(**about["graph"])
    return {**vars(known), "path": path, "facts": facts}


def threads() -> int:
    """How many threads a runtime may take: what OMP_NUM_THREADS says, as for torch; 0 where it says nothing."""
    text = os.environ.get("OMP_NUM_THREADS", "")
    return int(text) if text.isdecimal() else 0


def checked(images: Array, facts: GraphFacts) -> Array:
    """Crops (B, S, S, 3) uint8 as a graph takes them.

    Raises:
        ValueError: another shape or type.
    """
    if images.dtype != np.uint8 or images.shape[1:] != (facts.side, facts.side, 3):
        raise ValueError(f"expected uint8 crops (B, {facts.side}, {facts.side}, 3), got {images.dtype} {images.shape}")
    return np.ascontiguousarray(images)
