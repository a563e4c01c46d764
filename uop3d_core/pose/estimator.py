"""The facade: an image and boxes in, poses out; stateless and safe to share between threads.

In: Frame (image and camera), Detections. Out: one PoseEstimate per detection, in the camera of the full image.
Nothing but the box is known of the object: no translation, scale, mask or crop centre.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from uop3d_core.config import PoseSettings
from uop3d_core.crops import Crop
from uop3d_core.geometry import Array, transform
from uop3d_core.learned import Learned
from uop3d_core.models import read_model
from uop3d_core.pose.beliefs import PixelBeliefs, TemplateShape
from uop3d_core.pose.calibration import NOTHING_SAID, Calibration, Solution
from uop3d_core.pose.candidates import StoredViews, box_in_crop, distinct, keypoint_pnp, pnp
from uop3d_core.pose.direct import READINGS, DirectReading
from uop3d_core.pose.refine import normal_equations, refine
from uop3d_core.stopwatch import Watch, unwatched
from uop3d_core.types import Camera, Detection, Frame, PoseEstimate, PoseHypothesis

BATCH = 8
MIN_FOREGROUND = 12
DISTINCT = np.deg2rad(30.0)

Reading = PixelBeliefs | DirectReading
"""What a network says of one crop: of its pixels, or, from another head than the dense one, of the object."""


class PoseEstimator:
    """Estimates poses of one learned category.

    Examples:
        >>> from uop3d_core import Camera, Detection, Frame, PoseEstimator, read_rgb
        >>> estimator = PoseEstimator.load("runs/mug/model.safetensors")
        >>> camera = Camera(K=[[115, 0, 47.5], [0, 115, 47.5], [0, 0, 1]], width=96, height=96)
        >>> frame = Frame("photo", camera, read_rgb("photo.jpg"))
        >>> [estimate] = estimator(frame, [Detection([20, 15, 75, 80])])
        >>> estimate.cam_T_obj.shape, 0 <= estimate.score <= 1
        ((4, 4), True)
        >>> estimate.scale  # one image does not tell the size
        nan
    """

    def __init__(
        self,
        model: Learned,
        backbone: Any = None,
        device: str = "cpu",
        settings: PoseSettings | None = None,
        watch: Watch = unwatched,
    ) -> None:
        """Prepare a model.

        Args:
            model: from a file of any kind.
            backbone: a FeatureBackbone, or NAME[:WEIGHTS], or None for the one of the training.
            device: where the network runs: "cpu", "cuda" or what else the kind of model knows.
            settings: see PoseSettings.
            watch: is told about the steps crop, backbone, head, beliefs, hypotheses and refinement.

        Raises:
            ValueError: the backbone is not the one that the model was trained with, or an unknown device.
            OSError, ImportError: something that the model needs is not there.
        """
        self.model, self.settings, self.device = model, settings or PoseSettings(), device
        self.calibration = Calibration.from_json(model.metadata.get("calibration", {"views": 0}))
        self.network = model.ready(backbone, device, self.settings.precision)
        self._watch = watch
        own = model.settings
        self._template = TemplateShape.of(model.template.mesh, own.neighbourhood, self.settings.guide, own.keypoints)
        self._reading = READINGS.get(own.head, PixelBeliefs.from_network)
        self._views = StoredViews(self._template, self.settings.grid if own.dense else 1)

    @classmethod
    def load(
        cls,
        path: Path | str,
        backbone_spec: str | None = None,
        device: str = "cpu",
        settings: PoseSettings | None = None,
        watch: Watch = unwatched,
    ) -> PoseEstimator:
        """Read a model file.

        Args:
            path: RUN/model.safetensors, or an exported model (.onnx, or .xml with its .bin).
            backbone_spec: NAME[:WEIGHTS], where the weights lie elsewhere than in training.
            device: see above; a GPU computes in half precision unless the settings say otherwise.
            settings: see PoseSettings.
            watch: see above.

        Raises:
            FileNotFoundError: no model, or no backbone weights.
            ImportError: what runs such a file is not installed.
            ValueError: a damaged or foreign model, or another backbone.
        """
        return cls(read_model(Path(path)), backbone_spec, device, settings, watch)

    def __repr__(self) -> str:
        """Category, backbone and what it was learned from."""
        model = self.model
        taught = f"learned from {len(model.metadata['captures'])} captures, " if "captures" in model.metadata else ""
        return f"<PoseEstimator {model.category}: {taught}{model.backbone_spec} on {self.device}, {model.symmetry!r}>"

    def __call__(self, frame: Frame, detections: Sequence[Detection]) -> list[PoseEstimate]:
        """Poses of all detections, in their order; the frame's image is read once."""
        if not detections:
            return []
        image = frame.image
        estimates: list[PoseEstimate] = []
        for start in range(0, len(detections), BATCH):
            batch = detections[start : start + BATCH]
            with self._watch("crop"):
                crops = [self.crop(frame.camera, detection.bbox_xyxy) for detection in batch]
                pixels = [crop.sample(image) for crop in crops]
            found = self.beliefs(pixels, crops)
            estimates += [self.estimate(detection, beliefs) for detection, beliefs in zip(batch, found, strict=True)]
        return estimates

    def estimate(self, detection: Detection, beliefs: Reading) -> PoseEstimate:
        """The pose of one detection from what the network says of its crop."""
        solution = self.solve(beliefs, box_in_crop(beliefs.crop, detection.bbox_xyxy))
        return self.stated(detection, beliefs.crop, solution)

    def crop(self, camera: Camera, box: Array) -> Crop:
        """What the network is shown of an xyxy box (4,) in pixels."""
        settings = self.model.settings
        return Crop.around(camera, box, settings.cells * self.network.stride, settings.margin)

    def framed(self, crop: Crop) -> Array:
        """Box (4,) xyxy in the pixels of a crop, as `crop` was made around it."""
        half = crop.pixels / self.model.settings.margin / 2
        middle = (crop.pixels - 1) / 2
        return np.array([middle - half, middle - half, middle + half, middle + half])

    def beliefs(self, images: Sequence[Array], crops: Sequence[Crop]) -> list[Reading]:
        """What the network says of crops, given with their pixels (S, S, 3) uint8, in one pass."""
        return self.read(self.network.features(np.stack(images), self._watch), crops)

    def read(self, features: Any, crops: Sequence[Crop]) -> list[Reading]:
        """The same, given the network's features of the pixels."""
        outputs = self.network.decode(features, self._watch)
        with self._watch("beliefs"):
            return [self._reading(*parts) for parts in zip(crops, *outputs, strict=True)]

    def solve(self, beliefs: Reading, box: Array) -> Solution | None:
        """Distinct poses that explain a crop, given the object's box in it; None where nothing is to be seen."""
        settings, template = self.settings, self._template
        if not isinstance(beliefs, PixelBeliefs):
            with self._watch("hypotheses"):
                return beliefs.solution(template, box, settings)
        objects = beliefs.take(np.flatnonzero(beliefs.foreground > settings.foreground))
        if len(objects.pixels) < MIN_FOREGROUND:
            return None
        objects = objects.spread(settings.max_correspondences)
        threshold = settings.reprojection * float(np.max(box[2:] - box[:2]))
        with self._watch("hypotheses"):
            starts = [
                pnp(objects.spread(settings.guided), template, threshold, settings),
                keypoint_pnp(objects, template, threshold, settings),
                self._views.best(beliefs, box, settings.refined, DISTINCT),
            ]
        scale = threshold / beliefs.crop.focal / 2
        with self._watch("refinement"):
            poses, agreement = self._refined(np.concatenate(starts), objects, beliefs.spread(settings.judged), scale)
        if len(poses) == 0 or agreement[0] <= 0:
            return None
        clear = objects.support(template.near, objects.vertices[None, :, 0])[0]
        beside = NOTHING_SAID if beliefs.keypoints is None else beliefs.keypoints.clarity
        return Solution(poses, agreement, float(clear.mean()), self._covariance(objects, poses[:1], scale), beside)

    def _covariance(self, objects: PixelBeliefs, pose: Array, scale: float) -> Array:
        """(6, 6) of a refined pose (1, 4, 4) as if all pixels erred independently."""
        points, rays, given = self._constraints(objects, pose)
        matrices, _, weights = normal_equations(pose, points, rays, given, scale)
        seen = transform(pose[0], points[0])
        residual = ((seen[:, :2] / np.maximum(seen[:, 2:], 1e-6) - rays[:, :2]) ** 2).sum(1)
        variance = float((weights[0] * residual).sum() / max(2 * float(weights[0].sum()), 1e-12))
        regular = matrices[0] + 1e-9 * np.trace(matrices[0]) * np.eye(6) + 1e-12 * np.eye(6)
        return variance * np.linalg.inv(regular)

    def stated(self, detection: Detection, crop: Crop, solution: Solution | None) -> PoseEstimate:
        """A solution as an estimate in the camera of the image, with probabilities and covariance."""
        size, category = np.ptp(self._template.vertices, axis=0), self.model.category
        if solution is None:
            return PoseEstimate(detection, np.eye(4), 0.0, found=False, category=category, size=size, other=1.0)
        probabilities, other = self.calibration.probabilities(solution)
        poses = crop.cam_T_crop @ solution.crop_T_obj
        turn = np.kron(np.eye(2), crop.cam_R_crop)
        return PoseEstimate(
            detection,
            poses[0],
            float(probabilities[0]),
            category=category,
            size=size,
            covariance=turn @ self.calibration.covariance(solution) @ turn.T,
            hypotheses=tuple(PoseHypothesis(T, float(p)) for T, p in zip(poses, probabilities, strict=True)),
            other=other,
        )

    def _refined(self, poses: Array, objects: PixelBeliefs, judged: PixelBeliefs, scale: float) -> tuple[Array, Array]:
        """Distinct poses (H, 4, 4), the most agreeing first, and their agreement (H,)."""
        settings, few = self.settings, objects.spread(self.settings.guided)
        for step in range(settings.rounds):
            found = few if step + 1 < settings.rounds else objects
            poses = refine(poses, *self._constraints(found, poses), scale)
            scores = self._agreement(judged, poses)
            count = max(settings.refined >> (step + 1), settings.hypotheses)
            keep = distinct(poses[:, :3, :3], scores, count, DISTINCT)
            poses, scores = poses[keep], scores[keep]
        return poses, scores

    def _constraints(self, objects: PixelBeliefs, poses: Array) -> tuple[Array, Array, Array]:
        """What poses (H, 4, 4) are fitted to: points (H, N, 3) in obj, rays (N, 3) that show them, weights (H, N).

        Points are those of the pixels, guided by each pose, and the keypoints, which together weigh
        `PoseSettings.keypoints` times as much as all pixels, each by its own precision. A pixel beside the outline that
        a pose gives the object is guided by its own likeliest vertex: without it nothing would pull the outline there.
        """
        template, keypoints = self._template, objects.keypoints
        centres = template.shown(objects.rays, poses)
        centres = np.where(centres < len(template.vertices), centres, objects.vertices[None, :, 0])
        points, weights = objects.points(template.guide, centres, template.vertices)
        if keypoints is None:
            return points, objects.rays, weights
        share = self.settings.keypoints * keypoints.precision / keypoints.precision.sum()
        beside = np.broadcast_to(template.keypoints, (len(poses), *template.keypoints.shape))
        return (
            np.concatenate([points, beside], axis=1),
            np.concatenate([objects.rays, keypoints.rays]),
            np.concatenate([weights, share * np.maximum(weights.sum(1, keepdims=True), 1)], axis=1),
        )

    def _agreement(self, judged: PixelBeliefs, poses: Array) -> Array:
        """(H,) of poses (H, 4, 4) with the pixels, and less where keypoints are far from their places."""
        agreement = judged.agreement(self._template, poses)
        if judged.keypoints is None:
            return agreement
        return agreement * np.exp(-self.settings.misfit * judged.keypoints.misfit(self._template.keypoints, poses))
