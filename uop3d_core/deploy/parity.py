"""Do two ways to run a model agree? On the same crops: probabilities, likeliest vertices, poses.

In: two PoseEstimators of one category and images with boxes. Out: Parity, whose figures a person can read, and limits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from uop3d_core.config import PoseSettings
from uop3d_core.deploy.pictures import Trial, trials
from uop3d_core.geometry import Array, rotation_error
from uop3d_core.learned import Learned
from uop3d_core.pose.beliefs import PixelBeliefs
from uop3d_core.pose.candidates import box_in_crop
from uop3d_core.pose.estimator import PoseEstimator


@dataclass(frozen=True)
class Parity:
    """How far two ways to run a model differ.

    Attributes:
        images: how many were compared.
        foreground_max, foreground_mean: absolute difference of the probability of not being clutter, over all pixels.
        same_vertex: share of object pixels with the same likeliest vertex; 1 where there are none.
        vertex_distance: mean distance between the likeliest vertices of object pixels, in object units.
        poses: images in which both found a pose.
        found_by_one: images in which only one of them did.
        rotation_median_deg, rotation_max_deg: difference of the best poses; NaN without any.
        translation_median: distance of the best poses, in object units; NaN without any.
    """

    images: int
    foreground_max: float
    foreground_mean: float
    same_vertex: float
    vertex_distance: float
    poses: int
    found_by_one: int
    rotation_median_deg: float
    rotation_max_deg: float
    translation_median: float

    def as_json(self) -> dict[str, float | None]:
        """Figures by name; None for NaN."""
        return {key: None if np.isnan(value) else value for key, value in asdict(self).items()}


@dataclass(frozen=True)
class Limits:
    """Where differences become too large.

    Attributes:
        foreground_mean: largest mean difference of the probability.
        vertex_distance: largest mean distance between likeliest vertices, in object units.
        rotation_median_deg: largest median difference of the poses.
    """

    foreground_mean: float
    vertex_distance: float
    rotation_median_deg: float

    def broken(self, parity: Parity) -> list[str]:
        """What exceeds its limit, in words."""
        return [
            f"{name} is {getattr(parity, name):.3g}, more than {limit:g}"
            for name, limit in asdict(self).items()
            if getattr(parity, name) > limit or (np.isnan(getattr(parity, name)) and name == "foreground_mean")
        ]


FLOAT32 = Limits(1e-4, 2e-3, 0.1)
INT8 = Limits(0.03, 0.1, 10.0)
"""Quantised models differ; what is too much is a matter of taste, so the figures are always shown."""


def need_dense(model: Learned, where: Path) -> None:
    """Raise ValueError for a model that says no dense correspondences: only such are exported and compared."""
    if not model.settings.dense:
        raise ValueError(
            f"{where}: its head is {model.settings.head!r}, and only dense models can be exported or compared; "
            "train one with train.head=hybrid or dense"
        )


def compare(one: PoseEstimator, other: PoseEstimator, images: Sequence[Trial]) -> Parity:
    """Run both on the same crops."""
    foreground, same, distance, turns, shifts, alone = [], [], [], [], [], 0
    vertices = one.model.template.mesh.vertices
    for trial in images:
        crop = one.crop(trial.frame.camera, trial.detection.bbox_xyxy)
        pixels, box = crop.sample(trial.frame.image), box_in_crop(crop, trial.detection.bbox_xyxy)
        a, b = (estimator.beliefs([pixels], [crop])[0] for estimator in (one, other))
        assert isinstance(a, PixelBeliefs) and isinstance(b, PixelBeliefs), "dense models"
        foreground.append(np.abs(a.foreground - b.foreground))
        first, second = _likeliest(a, b)
        same.append(first == second)
        distance.append(np.linalg.norm(vertices[first] - vertices[second], axis=1))
        p, q = one.solve(a, box), other.solve(b, box)
        if p is not None and q is not None:
            T, S = p.crop_T_obj[0], q.crop_T_obj[0]
            turns.append(float(np.rad2deg(rotation_error(T[:3, :3], S[:3, :3]))))
            shifts.append(float(np.linalg.norm(T[:3, 3] - S[:3, 3])))
        alone += (p is None) != (q is None)
    every, agreed, apart = (np.concatenate(parts) for parts in (foreground, same, distance))
    return Parity(
        images=len(images),
        foreground_max=float(every.max()),
        foreground_mean=float(every.mean()),
        same_vertex=float(agreed.mean()) if len(agreed) else 1.0,
        vertex_distance=float(apart.mean()) if len(apart) else 0.0,
        poses=len(turns),
        found_by_one=alone,
        rotation_median_deg=float(np.median(turns)) if turns else float("nan"),
        rotation_max_deg=max(turns, default=float("nan")),
        translation_median=float(np.median(shifts)) if shifts else float("nan"),
    )


def compare_files(
    model: Path,
    other: Path,
    *,
    images: Path | None = None,
    count: int = 16,
    device: str = "cpu",
    settings: PoseSettings | None = None,
) -> Parity:
    """Compare a model in full precision on the CPU with another file, device or precision.

    Args:
        model: a model file of any kind.
        other: a model file of any kind, of the same category.
        images: folder of images to compare on beside made-up ones.
        count: how many of them.
        device: where the network of `other` runs.
        settings: of both, but for the precision, which is that of `other`.

    Raises:
        OSError, ImportError: something is not there.
        ValueError: two categories, a head that is not dense, or a file that cannot be used.
    """
    settings = settings or PoseSettings()
    one = PoseEstimator.load(model, settings=settings.model_copy(update={"precision": "full"}))
    two = PoseEstimator.load(other, device=device, settings=settings)
    need_dense(one.model, model)
    need_dense(two.model, other)
    if not np.array_equal(one.model.template.mesh.vertices, two.model.template.mesh.vertices):
        raise ValueError(f"{model} and {other} do not have the same template: they were not trained together")
    return compare(one, two, trials(one.model.template, images, count))


def _likeliest(a: PixelBeliefs, b: PixelBeliefs) -> tuple[Array, Array]:
    """Likeliest vertices (N,) of both, of the pixels that both hold for object."""
    objects = (a.foreground > 0.5) & (b.foreground > 0.5)
    return a.vertices[objects, 0], b.vertices[objects, 0]
