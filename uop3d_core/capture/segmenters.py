"""Masks by a segmentation model from a file: a plug-in point with two adapters.

In: an image and where the object is in it. Out: how likely each pixel is the object. A third party adds a segmenter by
an entry point of the group ``uop3d.segmenters``: a factory that takes what stands behind the colon.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from uop3d_core.geometry import Array
from uop3d_core.plugins import load_factory

GROUP = "uop3d.segmenters"
BUILT_IN = {
    "onnx": "uop3d_core.capture.segmenters:OnnxSegmenter",
    "sam": "uop3d_core.capture.segmenters:SamSegmenter",
}
MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
"""Of ImageNet, by which such models are used to normalise."""
SIDE = 320
"""Input size of models that take any."""


class Segmenter(Protocol):
    """Cuts one object out of an image."""

    def __call__(self, image: Array, point: Array) -> Array:
        """Probabilities (H, W) in [0, 1] that pixels belong to the object.

        Args:
            image: (H, W, 3) uint8 RGB, mostly the object.
            point: (2,) pixel on the object, about its middle.
        """


def create_segmenter(choice: str) -> Segmenter:
    """A segmenter by ``NAME:FILE``, e.g. ``onnx:u2net.onnx`` or ``sam:FOLDER``.

    Raises:
        ValueError: unknown name, or not of this form; and what the segmenter raises about its file.
    """
    name, colon, where = choice.partition(":")
    if not colon or not where:
        raise ValueError(f"segmenter {choice!r}: write NAME:FILE, as in onnx:u2net.onnx or sam:FOLDER")
    segmenter: Segmenter = load_factory(name, "segmenter", BUILT_IN, GROUP)(where)
    return segmenter


class OnnxSegmenter:
    """Any ONNX model from an image (1, 3, h, w), normalised as for ImageNet, to one map (1, 1, h, w) or (1, h, w)."""

    def __init__(self, path: str) -> None:
        """Load the model.

        Raises:
            FileNotFoundError, ImportError, ValueError: no such file, no onnxruntime, or not such a model.
        """
        if not Path(path).is_file():
            raise FileNotFoundError(f"{path}: no such segmentation model")
        try:
            import onnxruntime
        except ImportError as error:
            raise ImportError(f"segmentation by ONNX needs onnxruntime: pip install onnxruntime ({error})") from error
        try:
            self._session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime has exceptions of its own for broken files
            raise ValueError(f"{path}: not a readable ONNX model ({error})") from error
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or len(inputs[0].shape) != 4:
            raise ValueError(f"{path}: the model must take one image (1, 3, h, w), not {[i.shape for i in inputs]}")
        self._path, self._input = path, inputs[0].name
        self._size = tuple(n if isinstance(n, int) and n > 0 else SIDE for n in inputs[0].shape[2:])

    def __call__(self, image: Array, point: Array) -> Array:
        """See Segmenter; the point is not used."""
        resized = cv2.resize(image, self._size[::-1], interpolation=cv2.INTER_AREA)
        batch = ((resized / 255 - MEAN) / DEVIATION).transpose(2, 0, 1)[None].astype(np.float32)
        output: Array = np.asarray(self._session.run(None, {self._input: batch})[0], dtype=np.float32).squeeze()
        if output.ndim != 2 or not np.isfinite(output).all():
            raise ValueError(f"{self._path}: the model must give one finite map, it gave {output.shape}")
        if output.min() < 0 or output.max() > 1:
            output = 1 / (1 + np.exp(-np.clip(output, -50, 50)))
        return cv2.resize(output, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_LINEAR)


class SamSegmenter:
    """A Segment Anything model of transformers from a local folder, asked about one point."""

    def __init__(self, folder: str) -> None:
        """Load the model; nothing is downloaded.

        Raises:
            FileNotFoundError, ImportError, ValueError: no such folder, no transformers, or not such a model.
        """
        if not Path(folder).is_dir():
            raise FileNotFoundError(f"{folder}: no such folder; it must hold a SAM model of transformers")
        try:
            from transformers import SamModel
        except ImportError as error:
            raise ImportError(f"SAM needs transformers: pip install 'uop3d[dinov2]' ({error})") from error
        try:
            self._model = SamModel.from_pretrained(folder, local_files_only=True).eval()
        except (OSError, ValueError, RuntimeError) as error:
            raise ValueError(f"{folder}: not a SAM model of transformers ({error})") from error
        self._side = int(self._model.config.vision_config.image_size)

    def __call__(self, image: Array, point: Array) -> Array:
        """See Segmenter."""
        import torch

        factor = self._side / max(image.shape[:2])
        size = (round(image.shape[1] * factor), round(image.shape[0] * factor))
        padded = np.zeros((self._side, self._side, 3))
        padded[: size[1], : size[0]] = (cv2.resize(image, size, interpolation=cv2.INTER_AREA) / 255 - MEAN) / DEVIATION
        pixels = torch.from_numpy(padded.transpose(2, 0, 1)[None]).float()
        points = torch.tensor(point * factor, dtype=torch.float32).reshape(1, 1, 1, 2)
        with torch.inference_mode():
            answer: Any = self._model(pixel_values=pixels, input_points=points)
        best = int(answer.iou_scores[0, 0].argmax())
        logits = answer.pred_masks[0, 0, best].numpy()
        whole = cv2.resize(logits, (self._side, self._side), interpolation=cv2.INTER_LINEAR)[: size[1], : size[0]]
        probability = 1 / (1 + np.exp(-np.clip(whole, -50, 50)))
        return cv2.resize(probability, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_LINEAR)
