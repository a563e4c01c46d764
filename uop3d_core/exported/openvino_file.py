"""Exported models as OpenVINO files, NAME.xml and NAME.bin side by side, run by OpenVINO.

In: the .xml, with the texts of `exported.content` under `uop3d` in its rt_info, and the .bin, whose hash stands there.
Out: an `Exported`; crops to logits and offsets.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from uop3d_core.exported.content import (
    FEATURES,
    IMAGES,
    TEMPLATE_KEY,
    Exported,
    checked,
    threads,
    unpack,
)
from uop3d_core.geometry import Array
from uop3d_core.learned import METADATA_KEY
from uop3d_core.stopwatch import Watch, unwatched

SECTION, HASH_KEY = "uop3d", "weights_sha256"
KEYS = {METADATA_KEY: "about", TEMPLATE_KEY: "template"}
"""Names in the section of the rt_info, by key of the texts."""
DEVICES = {"cpu": "CPU", "gpu": "GPU", "npu": "NPU", "auto": "AUTO"}


@dataclass(frozen=True, eq=False)
class OpenvinoModel(Exported):
    """See Exported."""

    graph: Any

    def runner(self, device: str, precision: str) -> OpenvinoNetwork:
        """A compiled model; "half" is bfloat16 or float16, whichever the device has."""
        return OpenvinoNetwork(self, device, precision)


class OpenvinoNetwork:
    """See CropNetwork."""

    def __init__(self, model: OpenvinoModel, device: str, precision: str) -> None:
        """Compile the graph.

        Raises:
            ValueError: OpenVINO has no such device.
        """
        self._graph, self._facts, self._path, self._outputs = model.graph, model.facts, model.path, model.outputs
        self._device, self._precision = device, precision
        self._compiled, self._lock = self._compile(model.graph), Lock()
        self.stride, self.shares = model.facts.stride, str(model.path)

    def __call__(self, images: Array, watch: Watch = unwatched) -> tuple[Array, ...]:
        """The outputs; one lap "network"."""
        with watch("network"):
            with self._lock:  # a compiled model has one place for inputs and outputs
                found = self._compiled({IMAGES: checked(images, self._facts)})
        return tuple(found[name] for name in self._outputs)

    def features(self, images: Array, watch: Watch = unwatched) -> Array:
        """The crops themselves: the graph does everything at once."""
        return images

    def decode(self, features: Array, watch: Watch = unwatched) -> tuple[Array, ...]:
        """The outputs of the crops."""
        return self(features, watch)

    def backbone_alone(self) -> Callable[[Array], object] | None:
        """The graph as far as the features, where it still has them by name."""
        import openvino as ov

        for operation in self._graph.get_ordered_ops():
            for output in operation.outputs():
                if FEATURES in output.get_names():
                    compiled = self._compile(ov.Model([output], self._graph.get_parameters()))
                    return lambda images: compiled({IMAGES: checked(images, self._facts)})
        return None

    def _compile(self, graph: Any) -> Any:
        core = _openvino(self._path).Core()
        device = DEVICES.get(self._device.lower(), self._device)
        if device != "AUTO" and device.partition(".")[0] not in {
            name.partition(".")[0] for name in core.available_devices
        }:
            can = ", ".join(name.lower() for name in core.available_devices)
            raise ValueError(f"{self._path}: OpenVINO has no device {self._device!r} here; it has {can}")
        settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
        if self._precision == "half":
            settings["EXECUTION_MODE_HINT"] = "PERFORMANCE"
        elif self._precision == "full" or device == "CPU":
            settings["INFERENCE_PRECISION_HINT"] = "f32"
        if device == "CPU" and threads():
            settings["INFERENCE_NUM_THREADS"] = threads()
        return core.compile_model(graph, device, settings)


def read(path: Path) -> OpenvinoModel:
    """Read an exported file.

    Raises:
        FileNotFoundError: the .xml or the .bin is missing.
        ModuleNotFoundError: OpenVINO is not installed.
        ValueError: damaged, two files that do not belong together, not a uop3d model, or of another format.
    """
    weights = path.with_suffix(".bin")
    for file in (path, weights):
        if not file.is_file():
            raise FileNotFoundError(
                f"{file}: no such model file; `uop3d export --format openvino` writes .xml and .bin"
            )
    try:
        graph = _openvino(path).Core().read_model(str(path))
    except RuntimeError as error:
        raise ValueError(f"{path}: damaged or not an OpenVINO file ({error}); copy it again or export anew") from error
    texts = {key: _text(graph, name) for key, name in KEYS.items()}
    fields = unpack({key: text for key, text in texts.items() if text is not None}, path)
    if _text(graph, HASH_KEY) != digest(weights):
        raise ValueError(f"{weights} does not belong to {path.name}, or is damaged: copy both again or export anew")
    return OpenvinoModel(**fields, graph=graph)


def digest(weights: Path) -> str:
    """Hash of the .bin."""
    return hashlib.sha256(weights.read_bytes()).hexdigest()


def _text(graph: Any, name: str) -> str | None:
    return graph.get_rt_info([SECTION, name]).astype(str) if graph.has_rt_info([SECTION, name]) else None


def _openvino(path: Path) -> Any:
    try:
        import openvino
    except ImportError as error:
        raise ModuleNotFoundError(f"{path} needs OpenVINO: pip install 'uop3d[openvino]'") from error
    return openvino
