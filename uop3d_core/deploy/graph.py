"""Backbone and network of a model as one ONNX graph.

In: a trained Model and its backbone. Out: an onnx ModelProto: crops (B, S, S, 3) uint8 RGB, any B, to logits
(B, G, G, V + 1) and offsets (B, G, G, 3), of a hybrid one keypoints, too; the backbone's features keep their name
inside.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from uop3d_core.backbones import FeatureBackbone
from uop3d_core.correspondence.checkpoint import Model
from uop3d_core.exported.content import FEATURES, IMAGES, OUTPUTS, GraphFacts, pack

MOST_CROPS = 4096
OPSET = 20


class CropGraph(nn.Module):
    """What a TorchNetwork computes, as one module."""

    def __init__(self, backbone: FeatureBackbone, network: nn.Module) -> None:
        """A backbone need not be a module; those that it holds are registered, so that their weights are found."""
        super().__init__()
        self._backbone = (backbone,)
        self.held = nn.ModuleList(value for value in vars(backbone).values() if isinstance(value, nn.Module))
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(B, S, S, 3) uint8 to features and what the network says."""
        features = self._backbone[0](images.permute(0, 3, 1, 2).float() / 255).float()
        return features, *self.network(features)


def onnx_graph(model: Model, backbone: FeatureBackbone) -> Any:
    """A model as an onnx ModelProto that carries everything in its metadata.

    Raises:
        ModuleNotFoundError: the packages for exporting are not installed.
        ValueError: the backbone computes something that a graph cannot hold.
    """
    need_packages()
    side = model.settings.cells * backbone.stride
    module = CropGraph(backbone.to("cpu"), model.network.to("cpu")).eval()
    example = torch.zeros((2, side, side, 3), dtype=torch.uint8)
    batch = {0: torch.export.Dim("batch", min=1, max=MOST_CROPS)}
    try:
        with torch.no_grad(), _quiet():
            program = torch.onnx.export(
                module,
                (example,),
                input_names=[IMAGES],
                output_names=[FEATURES, *OUTPUTS[model.settings.head]],
                dynamic_shapes={"images": batch},
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
    except Exception as error:  # whatever the backbone does may fail in its own way
        raise ValueError(_not_exportable(model, error)) from error
    if program is None:
        raise ValueError(_not_exportable(model, RuntimeError("torch.onnx gave no graph")))
    proto = program.model_proto
    _hide(proto, FEATURES)
    attach(proto, pack(model, GraphFacts(backbone.stride, side)))
    return proto


def attach(proto: Any, texts: dict[str, str]) -> None:
    """Put texts into the metadata of a ModelProto, in place of what is there."""
    del proto.metadata_props[:]
    for key, text in texts.items():
        entry = proto.metadata_props.add()
        entry.key, entry.value = key, text


def need_packages() -> None:
    """Raise ModuleNotFoundError where the packages for exporting are not installed."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ModuleNotFoundError(f"exporting needs {error.name}: pip install 'uop3d[deploy]'") from error


def _hide(proto: Any, name: str) -> None:
    """An output becomes a tensor inside the graph."""
    [output] = [output for output in proto.graph.output if output.name == name]
    proto.graph.output.remove(output)


def _not_exportable(model: Model, error: BaseException) -> str:
    while error.__cause__ is not None:  # the innermost one tells what it was
        error = error.__cause__
    reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return (
        f"backbone {model.backbone_spec!r} cannot be exported: {type(error).__name__}: {reason[:300]}. Its "
        "__call__ has to consist of torch operations that ONNX has, the same ones whatever the number of images"
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """No remarks of the exporter about its own workings."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
