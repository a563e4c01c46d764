"""Several categories at once: one estimator for all detections of an image, with one pass of what models share.

In: Frame, Detections with labels, or without. Out: one PoseEstimate per detection, of the category that its label names
or, without a label, of the one that it most probably is.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from uop3d_core.config import PoseSettings
from uop3d_core.pose.estimator import BATCH, PoseEstimator
from uop3d_core.stopwatch import Watch, unwatched
from uop3d_core.types import Detection, Frame, PoseEstimate


class CategoryEstimator:
    """Estimates poses of several learned categories; stateless and safe to share between threads."""

    def __init__(self, estimators: Sequence[PoseEstimator], watch: Watch = unwatched) -> None:
        """Put estimators of different categories together.

        Args:
            estimators: of different categories.
            watch: is told about the steps that categories share, crop and backbone; `load` gives it to all.

        Raises:
            ValueError: there are none, or two of one category.
        """
        self._watch = watch
        self.estimators = {estimator.model.category: estimator for estimator in estimators}
        if len(self.estimators) < max(1, len(estimators)):
            names = ", ".join(estimator.model.category for estimator in estimators)
            raise ValueError(f"one model per category is needed, got {names or 'none'}")
        groups: dict[tuple[str, int, float], list[PoseEstimator]] = {}
        for estimator in estimators:
            settings = estimator.model.settings
            groups.setdefault((estimator.network.shares, settings.cells, settings.margin), []).append(estimator)
        self._groups = list(groups.values())

    @classmethod
    def load(
        cls,
        paths: Sequence[Path | str],
        device: str = "cpu",
        settings: PoseSettings | None = None,
        watch: Watch = unwatched,
    ) -> CategoryEstimator:
        """Read model files; see `PoseEstimator.load`."""
        return cls([PoseEstimator.load(path, None, device, settings, watch) for path in paths], watch)

    def __call__(self, frame: Frame, detections: Sequence[Detection]) -> list[PoseEstimate]:
        """Poses of all detections, in their order.

        A detection with the label of one of the categories is taken for that; without a label all categories are tried,
        and the most probable is kept. One with another label is none of them: not found, with `other` 1.
        """
        if not detections:
            return []
        found: list[list[PoseEstimate]] = [[] for _ in detections]
        image = frame.image
        for group in self._groups:
            rows = [i for i, d in enumerate(detections) if any(_concerns(estimator, d) for estimator in group)]
            for start in range(0, len(rows), BATCH):
                batch, first = rows[start : start + BATCH], group[0]
                with self._watch("crop"):
                    crops = [first.crop(frame.camera, detections[i].bbox_xyxy) for i in batch]
                    pixels = np.stack([crop.sample(image) for crop in crops])
                features = first.network.features(pixels, self._watch)
                for estimator in group:
                    chosen = [k for k, i in enumerate(batch) if _concerns(estimator, detections[i])]
                    if chosen:
                        beliefs = estimator.read(features[chosen], [crops[k] for k in chosen])
                        for k, each in zip(chosen, beliefs, strict=True):
                            found[batch[k]].append(estimator.estimate(detections[batch[k]], each))
        return [_most_probable(d, estimates) for d, estimates in zip(detections, found, strict=True)]


def _concerns(estimator: PoseEstimator, detection: Detection) -> bool:
    return detection.label in ("", estimator.model.category)


def _most_probable(detection: Detection, estimates: Sequence[PoseEstimate]) -> PoseEstimate:
    """The estimate whose category and then whose pose is the most probable."""
    if not estimates:
        return PoseEstimate(detection, np.eye(4), 0.0, found=False, other=1.0)
    return max(estimates, key=lambda estimate: (1 - estimate.other, estimate.score))
