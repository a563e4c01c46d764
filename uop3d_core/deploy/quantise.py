"""Graphs in 8 bits: static quantisation by ONNX Runtime, with ranges from crops.

In: an ONNX graph as `graph.onnx_graph` makes it, and crops. Out: the same with convolutions and matrix products in
int8, of the backbone and of the network; hog has them in the network only.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

from uop3d_core.exported.content import IMAGES
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
    """
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder:
        plain, prepared, small = (Path(folder) / name for name in ("plain.onnx", "prepared.onnx", "small.onnx"))
        onnx.save(proto, str(plain))
        quant_pre_process(str(plain), str(prepared), skip_symbolic_shape=True)
        with redirect_stderr(StringIO()):
            quantize_static(
                str(prepared), str(small), Crops(images),
                quant_format=QuantFormat.QDQ, op_types_to_quantize=list(OPERATIONS),
                per_channel=True, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax, extra_options={"WeightSymmetric": True},
            )  # fmt: skip
        return onnx.load(str(small))
