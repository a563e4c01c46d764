"""Graphs in 8 bits: static quantisation by ONNX Runtime, with ranges from crops.

In: an ONNX graph as `graph.onnx_graph` makes it, and crops. Out: the same with the backbone's convolutions and matrix
products in int8. The network behind the features is small and stays in float32.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

from uop3d_core.exported.content import FEATURES, IMAGES
from uop3d_core.geometry import Array

OPERATIONS = ("Conv", "Gemm", "MatMul")


class Crops:
    """Feeds crops one by one."""

    def __init__(self, images: Sequence[Array]) -> None:
        """Take crops (S, S, 3) uint8."""
        self._inputs: Iterator[dict[str, Array]] = iter([{IMAGES: image[None]} for image in images])

    def get_next(self) -> dict[str, Array] | None:
        """The inputs of the next run, or None after the last."""
        return next(self._inputs, None)


def quantised(proto: Any, images: Sequence[Array]) -> Any:
    """A ModelProto in int8.

    Args:
        proto: in float32.
        images: crops (S, S, 3) uint8 that activations get their ranges from.

    Raises:
        ValueError: the backbone has nothing that can be quantised.
    """
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder:
        plain, prepared, small = (Path(folder) / name for name in ("plain.onnx", "prepared.onnx", "small.onnx"))
        onnx.save(proto, str(plain))
        quant_pre_process(str(plain), str(prepared), skip_symbolic_shape=True)
        graph = onnx.load(str(prepared)).graph
        behind = names_behind(graph, FEATURES)
        wanted = [node.name for node in graph.node if node.op_type in OPERATIONS and node.name not in behind]
        if not wanted:
            raise ValueError(
                "--int8: this backbone has no convolutions or matrix products, so int8 has nothing to offer"
            )
        with redirect_stderr(StringIO()):
            quantize_static(
                str(prepared), str(small), Crops(images),
                quant_format=QuantFormat.QDQ, op_types_to_quantize=list(OPERATIONS), nodes_to_quantize=wanted,
                per_channel=True, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax, extra_options={"WeightSymmetric": True},
            )  # fmt: skip
        return onnx.load(str(small))


def names_behind(graph: Any, tensor: str) -> set[str]:
    """Names of the nodes whose results depend on a tensor; nodes stand in the order of computation."""
    reached, names = {tensor}, set()
    for node in graph.node:
        if reached.intersection(node.input):
            reached.update(node.output)
            names.add(node.name)
    return names
