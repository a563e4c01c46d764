"""What a learned category is, whatever runs its network: the part of a model that needs no torch.

In / out: the JSON object that every model file carries, and the template's arrays. A model file of any kind becomes a
`Learned`; asked to be ready it gives a `CropNetwork`, which turns crops into what its head says.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from uop3d_core.config import TrainSettings, parse_settings
from uop3d_core.geometry import Array
from uop3d_core.stopwatch import Watch, unwatched
from uop3d_core.types import Mesh, Symmetry, Template

FORMAT = 2
METADATA_KEY = "uop3d"


class CropNetwork(Protocol):
    """Backbone and network, ready to run somewhere.

    Attributes:
        stride: pixels of a crop per cell of the backbone's grid.
        shares: networks of which this is equal have equal features of equal crops.
    """

    stride: int
    shares: str

    def __call__(self, images: Array, watch: Watch = unwatched) -> tuple[Array, ...]:
        """What the head says of crops (B, S, S, 3) uint8, float32.

        A dense one says logits (B, G, G, V + 1) and offsets (B, G, G, 3), a hybrid one beside them places (B, K, 2) and
        spreads (B, K) of keypoints; `pose.direct` names what others say.
        """
        ...

    def features(self, images: Array, watch: Watch = unwatched) -> Any:
        """What the network makes of crops before it looks for its category, to be given to `decode`; can be indexed."""
        ...

    def decode(self, features: Any, watch: Watch = unwatched) -> tuple[Array, ...]:
        """The same from features."""
        ...

    def backbone_alone(self) -> Callable[[Array], object] | None:
        """What computes the backbone's features and nothing else, to be timed; None where it cannot be told apart."""
        ...


class Learned(ABC):
    """A learned category.

    Attributes:
        backbone_spec: NAME or NAME:WEIGHTS, as it was given in training.
        template: shape in obj with its symmetry; `template.category` names the category.
        settings: of the training.
        metadata: JSON object: backbone (fingerprint, licence, channels), training provenance, calibration, version.
    """

    backbone_spec: str
    template: Template
    settings: TrainSettings
    metadata: dict[str, Any]

    @property
    def category(self) -> str:
        """Name of the category."""
        return self.template.category

    @property
    def symmetry(self) -> Symmetry:
        """Rotations in obj that change nothing."""
        return self.template.symmetry

    @abstractmethod
    def ready(self, backbone: Any = None, device: str = "cpu", precision: str = "auto") -> CropNetwork:
        """Set up what runs the network.

        Args:
            backbone: a FeatureBackbone, or NAME[:WEIGHTS], or None for the one of the training.
            device: "cpu", "cuda" or what else the kind of model knows.
            precision: see PoseSettings.

        Raises:
            ValueError: another backbone than in training, or a device or precision that this kind of model lacks.
            OSError, ImportError: something that it needs is not there.
        """

    def about(self) -> dict[str, Any]:
        """The JSON object of model files."""
        return {
            "format": FORMAT,
            "category": self.category,
            "backbone": self.backbone_spec,
            "symmetry": self.symmetry.to_json(),
            "settings": self.settings.model_dump(),
            "metadata": self.metadata,
        }


@dataclass(frozen=True, eq=False)
class Description:
    """The fields of a `Learned`, as they were read."""

    backbone_spec: str
    template: Template
    settings: TrainSettings
    metadata: dict[str, Any]


def read_about(text: str | None, where: str) -> dict[str, Any]:
    """The JSON object of a model file.

    Args:
        text: the value of METADATA_KEY, or None where there is none.
        where: the file, for errors.

    Raises:
        ValueError: not a uop3d model, damaged, or of another format.
    """
    if text is None:
        raise ValueError(f"{where}: not a uop3d model (no {METADATA_KEY!r} in its metadata)")
    try:
        about: dict[str, Any] = json.loads(text)
        version = about["format"]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{where}: the model's metadata cannot be read ({error!r})") from error
    if version != FORMAT:
        raise ValueError(
            f"{where}: model format {version}, this version of uop3d reads format {FORMAT}; "
            "use the version it was trained with, or train anew"
        )
    return about


def describe(about: dict[str, Any], vertices: Array, faces: Array, where: str) -> Description:
    """What the JSON object and the template's arrays (V, 3) and (F, 3) say; errors as in `fitting`."""
    settings = parse_settings(TrainSettings, {"head": "dense", **about["settings"]}, where)  # once the only one
    symmetry = Symmetry.from_json(about["symmetry"], "symmetry") if "symmetry" in about else Symmetry.none()
    template = Template(about["category"], Mesh(vertices, faces), symmetry)
    return Description(about["backbone"], template, settings, about["metadata"])


@contextmanager
def fitting(where: str) -> Iterator[None]:
    """Whatever does not fit while a model is put together becomes one kind of error.

    Raises:
        ValueError: with the file and what did not fit.
    """
    try:
        yield
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{where}: the model's content does not fit together ({error})") from error
