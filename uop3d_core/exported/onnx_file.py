"""Exported models in one ONNX file, run by ONNX Runtime.

In: FILE.onnx, with the texts of `exported.content` in its metadata. Out: an `Exported`; crops to logits and offsets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uop3d_core.exported.content import (
    FEATURES,
    IMAGES,
    Exported,
    checked,
    threads,
    unpack,
)
from uop3d_core.geometry import Array
from uop3d_core.stopwatch import Watch, unwatched

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}


@dataclass(frozen=True, eq=False)
class OnnxModel(Exported):
    """See Exported."""

    def runner(self, device: str, precision: str) -> OnnxNetwork:
        """A session; "half" is for other kinds of model, as ONNX Runtime computes in the types of the file."""
        if precision == "half":
            raise ValueError(
                f"{self.path}: ONNX Runtime computes in the precision of the file: export with --int8 instead"
            )
        return OnnxNetwork(self, _session(str(self.path), device, self.path), device)


class OnnxNetwork:
    """See CropNetwork."""

    def __init__(self, model: OnnxModel, session: Any, device: str) -> None:
        """Take a session of an exported file."""
        self._session, self._facts, self._path, self._device = session, model.facts, model.path, device
        self._outputs = list(model.outputs)
        self.stride, self.shares = model.facts.stride, str(model.path)

    def __call__(self, images: Array, watch: Watch = unwatched) -> tuple[Array, ...]:
        """The outputs; one lap "network"."""
        with watch("network"):
            return tuple(self._session.run(self._outputs, {IMAGES: checked(images, self._facts)}))

    def features(self, images: Array, watch: Watch = unwatched) -> Array:
        """The crops themselves: the graph does everything at once."""
        return images

    def decode(self, features: Array, watch: Watch = unwatched) -> tuple[Array, ...]:
        """The outputs of the crops."""
        return self(features, watch)

    def backbone_alone(self) -> Callable[[Array], object] | None:
        """The graph as far as the features, where it still has them by name; needs the package onnx."""
        import onnx

        proto = onnx.load(str(self._path))
        if not any(FEATURES in node.output for node in proto.graph.node):
            return None
        _cut(proto, FEATURES)
        session = _session(proto.SerializeToString(), self._device, self._path)
        return lambda images: session.run([FEATURES], {IMAGES: checked(images, self._facts)})


def _cut(proto: Any, tensor: str) -> None:
    """Make a tensor the only output of a ModelProto, and remove what it does not need."""
    import onnx

    needed, kept = {tensor}, []
    for node in reversed(proto.graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            kept.append(node)
    del proto.graph.node[:], proto.graph.output[:]
    proto.graph.node.extend(reversed(kept))
    proto.graph.output.append(onnx.helper.make_tensor_value_info(tensor, onnx.TensorProto.FLOAT, None))


def read(path: Path) -> OnnxModel:
    """Read an exported file.

    Raises:
        FileNotFoundError: there is none.
        ModuleNotFoundError: ONNX Runtime is not installed.
        ValueError: damaged, not a uop3d model, or of another format.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such model file; `uop3d export` writes it")
    session = _session(str(path), "cpu", path, optimised=False)
    return OnnxModel(**unpack(session.get_modelmeta().custom_metadata_map, path))


def _session(model: str | bytes, device: str, path: Path, optimised: bool = True) -> Any:
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise ModuleNotFoundError(f"{path} needs ONNX Runtime: pip install 'uop3d[deploy]'") from error
    kind = device.partition(":")[0]
    if PROVIDERS.get(kind) not in ort.get_available_providers():
        can = ", ".join(name for name, provider in PROVIDERS.items() if provider in ort.get_available_providers())
        raise ValueError(f"{path}: the ONNX Runtime that is installed has no device {device!r}; it has {can}")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads()
    options.log_severity_level = 3
    if not optimised:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return ort.InferenceSession(model, options, providers=[PROVIDERS[kind]])
    except Exception as error:  # ONNX Runtime has a class of its own for every kind of damage
        raise ValueError(f"{path}: damaged or not an ONNX file ({error}); copy it again or export anew") from error
