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
from uop3d_core.geometry import Array, rotation_error
from uop3d_core.images import Crop
from uop3d_core.pose.candidates import correspondences, grid_poses, local_means, pnp, polish, rotation_grid
from uop3d_core.pose.scoring import Judge, PixelBeliefs
from uop3d_core.raycast import RayCaster
from uop3d_core.types import Camera, Detection, Frame, PoseEstimate

BATCH = 8
MIN_FOREGROUND = 12
THINNING = 11
GUIDED_STEPS = 3
BEAM = 6
DISTINCT_DEG = 30.0


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
        self._guide = apart < self.settings.guide
        self._grid = rotation_grid(self.settings.grid)
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
        judge = Judge(beliefs, self._template, self._near, camera.K)
        poses = self._hypotheses(camera, detection.bbox_xyxy, beliefs)
        if len(poses) == 0:
            return PoseEstimate(detection, np.eye(4), 0.0, found=False)
        threshold = self.settings.reprojection * _size(detection.bbox_xyxy)
        for _ in range(GUIDED_STEPS):
            poses = np.concatenate([poses, *(self._guided(judge, camera, T, threshold) for T in poses)])
            scores = judge.agreement(poses)
            poses = poses[np.argsort(-scores, kind="stable")[:BEAM]]
        return PoseEstimate(detection, poses[0], float(scores.max()), found=bool(scores.max() > 0))

    def _hypotheses(self, camera: Camera, box: Array, beliefs: PixelBeliefs) -> Array:
        """(H, 4, 4): PnP-RANSAC on the best correspondences, and the best distinct poses of the grid."""
        settings = self.settings
        if (beliefs.foreground > settings.foreground).sum() < MIN_FOREGROUND:
            return np.zeros((0, 4, 4))
        best = correspondences(beliefs, self._vertices, self._near, settings)
        exact = pnp(best, camera, settings.reprojection * _size(box), settings.iterations)
        grid = grid_poses(self._grid, self._vertices, camera, box)
        coarse = Judge(beliefs.thinned(THINNING), self._template, self._guide, camera.K).agreement(grid)
        return np.concatenate([exact, _distinct(grid, coarse, settings.refined)])

    def _guided(self, judge: Judge, camera: Camera, cam_T_obj: Array, threshold: float) -> Array:
        """One pose (4, 4) refined on what its pixels say in the neighbourhood of what it predicts: (0 or 1, 4, 4)."""
        vertex = judge.shown(cam_T_obj[None])[0]
        shown = vertex < len(self._vertices)
        rows = np.flatnonzero(shown & (judge.beliefs.foreground > self.settings.foreground))
        found = local_means(judge.beliefs, rows, vertex[rows], self._vertices, self._guide)
        return polish(found, camera, cam_T_obj, threshold)


def _size(box: Array) -> float:
    """Longer side of an xyxy box."""
    return float(max(box[2] - box[0], box[3] - box[1]))


def _distinct(poses: Array, scores: Array, count: int) -> Array:
    """The best `count` poses (count, 4, 4) whose rotations are at least DISTINCT_DEG apart."""
    kept: list[Array] = []
    for T in poses[np.argsort(-scores, kind="stable")[: 20 * count]]:
        if len(kept) == count:
            break
        if not kept or np.rad2deg(rotation_error(np.stack(kept)[:, :3, :3], T[:3, :3])).min() > DISTINCT_DEG:
            kept.append(T)
    return np.stack(kept) if kept else np.zeros((0, 4, 4))
