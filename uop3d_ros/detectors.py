"""Object detectors for robots without one: any ONNX file of a known form of output, or one of torchvision. No ROS.

In: (H, W, 3) uint8 RGB. Out: Detections with boxes in pixels of the image (integer centres).

An ONNX file has one input (1, 3, height, width), RGB in 0..1, and its first output is one of
    (1, 4 + C, N)   YOLOv8 and 11: middle x, middle y, width, height, then a score per class; overlaps are removed here
    (1, N, 6)       YOLOv10 and others, end to end: left, top, right, bottom, score, class
both in pixels of the input, into which the image is fitted with its proportions, in the middle, on grey.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from uop3d_core.geometry import Array
from uop3d_core.types import Detection

Detector = Callable[[Array], list[Detection]]
GREY = 114
TORCHVISION = "torchvision"
ARCHITECTURE = "fasterrcnn_mobilenet_v3_large_320_fpn"
ROW = 6
"""Numbers of a box from an end-to-end detector."""


@dataclass(frozen=True)
class Thresholds:
    """What counts as a detection.

    Attributes:
        score: least.
        overlap: boxes of one class that overlap more (intersection over union) are one.
    """

    score: float = 0.4
    overlap: float = 0.5


def open_detector(
    model: str, device: str = "cpu", thresholds: Thresholds | None = None, labels: Sequence[str] = ()
) -> Detector:
    """A detector by name.

    Args:
        model: an .onnx file, or torchvision, or torchvision:ARCHITECTURE with its default weights.
        device: where it runs.
        thresholds: see Thresholds.
        labels: of the classes; without them those that the file carries, else their numbers.

    Raises:
        OSError: no such file, or weights that cannot be downloaded.
        ImportError: what runs it is not installed.
        ValueError: the file is no detector of a known form; or torchvision has no such one, or the device is not there.
    """
    thresholds = thresholds or Thresholds()
    name, _, architecture = model.partition(":")
    if name == TORCHVISION:
        return TorchvisionDetector(architecture or ARCHITECTURE, device, thresholds, labels)
    path = Path(model)
    if not path.is_file():
        raise FileNotFoundError(f"{model}: no such file; a detector is an .onnx file or {TORCHVISION}")
    return OnnxDetector(path, device, thresholds, labels)


class OnnxDetector:
    """A detector in one ONNX file."""

    def __init__(self, path: Path, device: str, thresholds: Thresholds, labels: Sequence[str] = ()) -> None:
        """Open the file; errors as in `open_detector`."""
        try:
            import onnxruntime
        except ImportError as error:
            raise ImportError(f"{path}: running it needs onnxruntime: pip install onnxruntime") from error
        providers = ["CUDAExecutionProvider"] * (device == "cuda") + ["CPUExecutionProvider"]
        try:
            self._session = onnxruntime.InferenceSession(str(path), providers=providers)
        except Exception as error:  # onnxruntime has many kinds of its own
            raise ValueError(f"{path}: cannot be opened as an ONNX model ({error})") from error
        entrance = self._session.get_inputs()[0]
        size = entrance.shape[2:]
        if len(entrance.shape) != 4 or not all(isinstance(length, int) for length in size):
            raise ValueError(
                f"{path}: its input has shape {entrance.shape}; it must be (1, 3, height, width) in numbers"
            )
        self._path, self._thresholds = path, thresholds
        self._input, self._size = entrance.name, (int(size[0]), int(size[1]))
        self._labels = list(labels) or _labels_of(self._session)

    def __call__(self, image: Array) -> list[Detection]:
        """Detections in an image; raises ValueError where the output is of no known form."""
        pixels, scale, shift = letterbox(image, self._size)
        batch = np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], np.float32) / 255
        [rows, *_] = self._session.run(None, {self._input: batch})
        if rows.ndim != 3 or len(rows) != 1:
            raise ValueError(f"{self._path}: its output has shape {rows.shape}; known are (1, 4 + C, N) and (1, N, 6)")
        read = read_end_to_end if rows.shape[2] == ROW else read_yolo
        boxes, scores, classes = read(rows[0], self._thresholds)
        boxes = (boxes - [*shift, *shift]) / scale - 0.5  # edges of pixels to centres at integers
        return [
            Detection(box, _label(self._labels, int(number)), float(score))
            for box, score, number in zip(boxes, scores, classes, strict=True)
            if (box[2:] > box[:2]).all()
        ]


class TorchvisionDetector:
    """A detection model of torchvision with its default weights, which it downloads once."""

    def __init__(self, architecture: str, device: str, thresholds: Thresholds, labels: Sequence[str] = ()) -> None:
        """Load the model; errors as in `open_detector`."""
        try:
            import torch
            from torchvision import models
        except ImportError as error:
            raise ImportError("torchvision is not installed: pip install torchvision, or give an ONNX file") from error
        except RuntimeError as error:  # its operators are not there
            raise ImportError(
                f"this torchvision was not built for torch {torch.__version__} ({error}): install both from one place"
            ) from error
        known = models.list_models(module=models.detection)
        if architecture not in known:
            raise ValueError(f"torchvision has no detector {architecture!r}; it has {', '.join(known)}")
        if device.startswith("cuda") and not torch.cuda.is_available():
            raise ValueError(f"device {device}: torch {torch.__version__} finds no such device here; use cpu")
        weights = models.get_model_weights(architecture).DEFAULT
        self._torch, self._thresholds, self._device = torch, thresholds, device
        self._model = self._load(architecture, weights).eval().to(device)
        self._labels = list(labels) or weights.meta["categories"]

    def _load(self, architecture: str, weights: Any) -> Any:
        from torchvision.models import get_model

        folder = Path(self._torch.hub.get_dir()) / "checkpoints"
        os.environ.setdefault("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "1")  # such files hold tensors: nothing in them is run
        try:
            return get_model(architecture, weights=weights)
        except OSError as error:
            raise OSError(
                f"the weights of {architecture} cannot be had ({error}): put {weights.url} into {folder} yourself"
            ) from error
        except Exception as error:  # unpickling has many kinds
            path = folder / Path(weights.url).name
            raise ValueError(f"{path}: not the weights of {architecture} ({error}); delete it") from error

    def __call__(self, image: Array) -> list[Detection]:
        """Detections in an image, best first."""
        from torchvision.ops import batched_nms

        tensor = self._torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).to(self._device) / 255
        with self._torch.inference_mode():
            [found] = self._model([tensor])
            sure = found["scores"] >= self._thresholds.score
            columns = [found[key][sure] for key in ("boxes", "scores", "labels")]
            kept = batched_nms(*columns, self._thresholds.overlap)
        rows = zip(*(column[kept].cpu().numpy() for column in columns), strict=True)
        return [
            Detection(box - 0.5, _label(self._labels, int(number)), float(score))  # edges of pixels to centres
            for box, score, number in rows
            if (box[2:] > box[:2]).all()
        ]


def _label(labels: Sequence[str], number: int) -> str:
    return labels[number] if 0 <= number < len(labels) else str(number)


def letterbox(image: Array, size: tuple[int, int]) -> tuple[Array, float, Array]:
    """An image fitted into (height, width) with its proportions, on grey.

    Returns:
        The picture, its scale, and where its top left corner lies (2,): x and y.
    """
    import cv2

    height, width = image.shape[:2]
    scale = min(size[0] / height, size[1] / width)
    inner = max(1, round(width * scale)), max(1, round(height * scale))
    x, y = (size[1] - inner[0]) // 2, (size[0] - inner[1]) // 2
    picture = np.full((*size, 3), GREY, np.uint8)
    picture[y : y + inner[1], x : x + inner[0]] = cv2.resize(image, inner, interpolation=cv2.INTER_LINEAR)
    return picture, scale, np.array([x, y], dtype=np.float64)


def read_yolo(rows: Array, thresholds: Thresholds) -> tuple[Array, Array, Array]:
    """Boxes (K, 4) xyxy, scores (K,) and classes (K,) of (4 + C, N) rows, without overlaps."""
    import cv2

    scores = rows[4:].max(0)
    keep = scores >= thresholds.score
    middle, size = rows[:2, keep].T, rows[2:4, keep].T
    scores, classes = scores[keep], rows[4:, keep].argmax(0)
    boxes = np.concatenate([middle - size / 2, middle + size / 2], axis=1)
    if len(boxes) == 0:
        return boxes, scores, classes
    apart = np.concatenate([boxes[:, :2], size], axis=1).tolist()
    kept = cv2.dnn.NMSBoxesBatched(apart, scores.tolist(), classes.tolist(), thresholds.score, thresholds.overlap)
    chosen = np.asarray(kept, dtype=np.int64).reshape(-1)
    return boxes[chosen], scores[chosen], classes[chosen]


def read_end_to_end(rows: Array, thresholds: Thresholds) -> tuple[Array, Array, Array]:
    """The same of (N, 6) rows."""
    kept = rows[rows[:, 4] >= thresholds.score]
    return kept[:, :4], kept[:, 4], kept[:, 5]


def _labels_of(session: Any) -> list[str]:
    """Labels from the metadata, where YOLO's exporters put them as a literal {number: name}."""
    text = session.get_modelmeta().custom_metadata_map.get("names", "")
    try:
        names = ast.literal_eval(text) if text else {}
    except (ValueError, SyntaxError):
        return []
    return [str(names.get(i, i)) for i in range(max(names) + 1)] if isinstance(names, dict) and names else []
