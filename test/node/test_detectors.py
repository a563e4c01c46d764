"""Detectors of both forms of output, made of constants, so that every box is known."""

from pathlib import Path

import numpy as np
import pytest

from uop3d_ros.detectors import OnnxDetector, Thresholds, letterbox, open_detector

onnx = pytest.importorskip("onnx", reason="pip install 'uop3d[deploy]'")
pytest.importorskip("onnxruntime", reason="pip install 'uop3d[deploy]'")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

IMAGE = np.zeros((240, 320, 3), np.uint8)
"""Fitted into 160 x 160 it is half as large and 20 pixels below the upper edge."""


def write(path: Path, rows: np.ndarray, names: str = "", size: tuple = (160, 160)) -> Path:
    """A graph that gives `rows` whatever it sees."""
    constant = numpy_helper.from_array(rows.astype(np.float32), "rows")
    nodes = [
        helper.make_node("ReduceMax", ["image"], ["most"], keepdims=0),
        helper.make_node("Mul", ["most", "zero"], ["nothing"]),
        helper.make_node("Add", ["rows", "nothing"], ["output"]),
    ]
    zero = numpy_helper.from_array(np.zeros((), np.float32), "zero")
    graph = helper.make_graph(
        nodes, "constant",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, *size])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, list(rows.shape))],
        [constant, zero],
    )  # fmt: skip
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if names:
        helper.set_model_props(proto, {"names": names})
    path.write_bytes(proto.SerializeToString())
    return path


def yolo(*boxes: tuple) -> np.ndarray:
    """(1, 4 + 2, 12): middle, size, scores of two classes."""
    rows = np.zeros((12, 6))
    for row, box in zip(rows, boxes, strict=False):
        row[:] = box
    return rows.T[None]


def test_letterbox():
    image = np.full((100, 200, 3), 255, np.uint8)
    picture, scale, shift = letterbox(image, (160, 160))
    assert scale == 0.8 and shift.tolist() == [0, 40]
    assert (picture[:40] == 114).all() and (picture[40:120] == 255).all() and (picture[120:] == 114).all()


def test_yolo(tmp_path: Path) -> None:
    rows = yolo(
        (80, 80, 40, 20, 0.9, 0.1), (81, 80, 40, 20, 0.8, 0.1), (80, 80, 40, 20, 0, 0.7), (20, 40, 8, 8, 0.3, 0)
    )
    found = open_detector(str(write(tmp_path / "d.onnx", rows, "{0: 'cup', 1: 'bowl'}")))(IMAGE)
    assert [(d.label, round(d.score, 2)) for d in found] == [("cup", 0.9), ("bowl", 0.7)]
    np.testing.assert_allclose(found[0].bbox_xyxy, [119.5, 99.5, 199.5, 139.5])


def test_end_to_end(tmp_path: Path) -> None:
    rows = np.array([[[60, 70, 100, 90, 0.9, 1], [0, 0, 0, 0, 0.0, 0], [10, 30, 10, 30, 0.9, 0]]])
    [found] = open_detector(str(write(tmp_path / "d.onnx", rows)), labels=["a", "b"])(IMAGE)
    assert found.label == "b"
    np.testing.assert_allclose(found.bbox_xyxy, [119.5, 99.5, 199.5, 139.5])


def test_nothing_found(tmp_path: Path) -> None:
    assert open_detector(str(write(tmp_path / "d.onnx", yolo())))(IMAGE) == []


def test_without_labels_numbers(tmp_path: Path) -> None:
    [found] = OnnxDetector(write(tmp_path / "d.onnx", yolo((80, 80, 40, 20, 0.1, 0.9))), "cpu", Thresholds())(IMAGE)
    assert found.label == "1"


def test_what_is_no_detector(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such file"):
        open_detector(str(tmp_path / "none.onnx"))
    (tmp_path / "bad.onnx").write_text("bad")
    with pytest.raises(ValueError, match="cannot be opened"):
        open_detector(str(tmp_path / "bad.onnx"))
    flat = write(tmp_path / "flat.onnx", np.zeros((1, 4)))
    with pytest.raises(ValueError, match="shape"):
        open_detector(str(flat))(IMAGE)
    with pytest.raises(ValueError, match="in numbers"):
        open_detector(str(write(tmp_path / "free.onnx", yolo(), size=("h", "w"))))


def test_torchvision_is_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torchvision", None)
    with pytest.raises(ImportError, match="torchvision is not installed"):
        open_detector("torchvision")
