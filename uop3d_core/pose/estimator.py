"""The facade: an image and boxes in, poses out; stateless and safe to share between threads.

In: Frame (image and camera), Detections. Out: one PoseEstimate per detection, in the camera of the full image.
Nothing but the box is known of the object: no translation, scale, mask or crop centre.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from uop3d_core.backbones import FeatureBackbone, load_backbone
from uop3d_core.config import PoseSettings
from uop3d_core.correspondence.checkpoint import Model, load_model
from uop3d_core.geometry import Array
from uop3d_core.images import Crop
from uop3d_core.pose.candidates import PixelBeliefs, hypotheses
from uop3d_core.pose.scoring import agreement
from uop3d_core.raycast import RayCaster
from uop3d_core.types import Camera, Detection, Frame, PoseEstimate

BATCH = 8


class PoseEstimator:
    """Estimates poses of one learned category."""

    def __init__(
        self, model: Model, backbone: FeatureBackbone, device: str = "cpu", settings: PoseSettings | None = None
    ) -> None:
        """Prepare a model.

        Raises:
            ValueError: the backbone is not the one that the model was trained with.
        """
        trained_with = model.metadata["backbone"]["fingerprint"]
        if backbone.fingerprint != trained_with:
            raise ValueError(
                f"model {model.category!r} was trained with backbone {model.backbone_spec!r} ({trained_with}), "
                f"but got {backbone.fingerprint}: pass the same weights"
            )
        self.model, self.settings, self.device = model, settings or PoseSettings(), device
        self._backbone = backbone.to(device)
        self._network = model.network.to(device)
        self._vertices = model.template.mesh.vertices
        apart = np.linalg.norm(self._vertices[:, None] - self._vertices[None], axis=-1)
        self._near = apart < self.settings.neighbourhood
        self._template = RayCaster(model.template.mesh)

    @classmethod
    def load(
        cls,
        path: Path | str,
        backbone_spec: str | None = None,
        device: str = "cpu",
        settings: PoseSettings | None = None,
    ) -> PoseEstimator:
        """Read a model file.

        Args:
            path: RUN/model.safetensors.
            backbone_spec: NAME[:WEIGHTS], where the weights lie elsewhere than in training.
            device: torch device.
            settings: see PoseSettings.

        Raises:
            FileNotFoundError: no model, or no backbone weights.
            ValueError: a damaged or foreign model, or another backbone.
        """
        model = load_model(Path(path))
        return cls(model, load_backbone(backbone_spec or model.backbone_spec, device), device, settings)

    def __call__(self, frame: Frame, detections: Sequence[Detection]) -> list[PoseEstimate]:
        """Poses of all detections, in their order; the frame's image is read once."""
        if not detections:
            return []
        image = frame.image
        estimates: list[PoseEstimate] = []
        for start in range(0, len(detections), BATCH):
            batch = detections[start : start + BATCH]
            beliefs = self._beliefs(image, batch)
            estimates += [self._pose(frame.camera, detection, b) for detection, b in zip(batch, beliefs, strict=True)]
        return estimates

    @torch.no_grad()
    def _beliefs(self, image: Array, detections: Sequence[Detection]) -> list[PixelBeliefs]:
        """Per-pixel vertex probabilities of the crops around all boxes, in one pass."""
        settings = self.model.settings
        pixels = settings.cells * self._backbone.stride
        crops = [Crop.around(detection.bbox_xyxy, pixels, settings.margin) for detection in detections]
        stacked = np.stack([crop.sample(image) for crop in crops])
        features = self._backbone(torch.from_numpy(stacked).to(self.device).permute(0, 3, 1, 2).float() / 255)
        probabilities = self._network(features.float()).softmax(-1).cpu().numpy()
        side = probabilities.shape[1]
        ys, xs = np.mgrid[:side, :side]
        grid = (np.stack([xs.ravel(), ys.ravel()], -1) + 0.5) * (pixels / side) - 0.5
        inside = [self._within(crop.to_image(grid), image) for crop in crops]
        flat = probabilities.reshape(len(crops), side * side, -1)
        return [PixelBeliefs(crop.to_image(grid)[ok], p[ok]) for crop, p, ok in zip(crops, flat, inside, strict=True)]

    @staticmethod
    def _within(pixels: Array, image: Array) -> Array:
        """(N,) bool: which pixels lie inside the image; what lies outside says nothing."""
        inside: Array = (pixels > -0.5) & (pixels < [image.shape[1] - 0.5, image.shape[0] - 0.5])
        return inside[:, 0] & inside[:, 1]

    def _pose(self, camera: Camera, detection: Detection, beliefs: PixelBeliefs) -> PoseEstimate:
        box = detection.bbox_xyxy
        size = float(max(box[2] - box[0], box[3] - box[1]))
        best, best_score = np.eye(4), 0.0
        for T in hypotheses(beliefs, self._vertices, self._near, camera, size, self.settings):
            score = agreement(beliefs, self._template, self._near, camera.K, T)
            if score > best_score:
                best, best_score = T, score
        return PoseEstimate(detection, best, best_score, found=best_score > 0)
