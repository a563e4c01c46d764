"""A rehearsal: train without some captures, try the result on them, and learn what its estimates are worth.

In: a TrainingSet. Out: Calibration. Held-out views are tried as they are and damaged, from loose boxes; beside them
crops that show nothing of the category: pieces of the same images in another order, and what lies around the object.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from uop3d_core.backbones import FeatureBackbone
from uop3d_core.config import TrainSettings
from uop3d_core.correspondence.checkpoint import Model
from uop3d_core.correspondence.train import TrainingSet, fit
from uop3d_core.correspondence.views import View
from uop3d_core.crops import Crop
from uop3d_core.evaluation.pose import jittered
from uop3d_core.geometry import Array, change_between, inverse_rigid, rotation_error, transform
from uop3d_core.images import mask_box
from uop3d_core.pose.calibration import Calibration, Solution, fit_calibration
from uop3d_core.pose.estimator import PoseEstimator
from uop3d_core.progress import Progress, silent
from uop3d_core.stopwatch import Watch, unwatched

logger = logging.getLogger(__name__)

HELD_OUT = 3
"""One in so many captures is held out."""
JITTER = 0.1
PIECES = 4
BATCH = 8
MOST_VIEWS = 120


def calibrate(
    training: TrainingSet,
    backbone: FeatureBackbone,
    backbone_spec: str,
    settings: TrainSettings,
    folder: Path,
    progress: Progress = silent,
    watch: Watch = unwatched,
) -> tuple[Calibration, list[str]]:
    """Constants of the model that is trained on everything, from one that is trained on less.

    Args:
        training: what the model is trained on.
        backbone: of the model.
        backbone_spec: how it was asked for.
        settings: of the training; the rehearsal takes `rehearsal` of its epochs.
        folder: working folder of the training.
        progress: is told "rehearsal" and "calibration".
        watch: measures the two.

    Returns:
        the constants, and the names of the captures that were held out; none where there are fewer than three, of
        which single views are held out instead.
    """
    held, names = held_out(training.views)
    rest = sorted(set(range(len(training.views))) - set(held))
    epochs = max(1, round(settings.epochs * settings.rehearsal))
    with watch("rehearsal"):
        network, _ = fit(training, settings.model_copy(update={"epochs": epochs}), folder, "rehearsal", rest, progress)
    about: dict[str, Any] = {"backbone": {"fingerprint": backbone.fingerprint}}
    estimator = PoseEstimator(Model(backbone_spec, training.template, settings, network, about), backbone)
    tried = held if len(held) <= MOST_VIEWS else held[:: -(-len(held) // MOST_VIEWS)]
    with watch("calibration"):
        return _calibration(training, estimator, tried, names, settings.seed, progress), names


def _calibration(
    training: TrainingSet,
    estimator: PoseEstimator,
    tried: Sequence[int],
    names: Sequence[str],
    seed: int,
    progress: Progress,
) -> Calibration:
    """Constants that suit what the estimator makes of held-out views, which are of the captures `names`."""
    symmetry = training.template.symmetry
    solutions, errors, angles, others = [], [], [], []
    for done, index in enumerate(tried):
        progress("calibration", done, len(tried))
        view = training.views[index]
        trials = list(_trials(view, estimator, np.random.default_rng([seed, index])))
        for (crop, _, shows), solution in zip(trials, _solved(estimator, trials), strict=True):
            if solution is None:
                continue
            if not shows:
                others.append(solution)
                continue
            truth, found = inverse_rigid(crop.cam_T_crop) @ own_frame(view), solution.crop_T_obj[:, :3, :3]
            turns = np.stack([symmetry.nearest(truth[:3, :3], R) for R in found])
            truth[:3, :3] = turns[0]
            solutions.append(solution)
            errors.append(change_between(solution.crop_T_obj[0], truth))
            angles.append(rotation_error(turns, found))
    progress("calibration", len(tried), len(tried))
    if not solutions:
        logger.warning("no held-out view gave a pose: probabilities and covariances are not calibrated")
        return Calibration()
    return fit_calibration(solutions, np.stack(errors), angles, others, max(1, len(names)))


def own_frame(view: View) -> Array:
    """cam_T_own (4, 4): obj moved into the middle of the object's own box, translation in units of that box's diagonal.

    The rotation is that of obj. Nobody knows the box of an object that was never seen; so this is what an estimate is
    judged by, and what its covariance is about.
    """
    mesh = view.shape.mesh
    own = view.cam_T_obj.copy()
    middle = (mesh.vertices.min(0) + mesh.vertices.max(0)) / 2
    own[:3, 3] = transform(view.cam_T_obj, middle) / mesh.diameter
    return own


def held_out(views: Sequence[View]) -> tuple[list[int], list[str]]:
    """Indices of the views that the rehearsal does without, and the captures they are; see `calibrate`."""
    captures = list(dict.fromkeys(view.capture for view in views))
    if len(captures) < HELD_OUT:
        return list(range(0, len(views), HELD_OUT)), []
    names = captures[HELD_OUT // 2 :: HELD_OUT]
    return [index for index, view in enumerate(views) if view.capture in names], names


Trial = tuple[Crop, Array, bool]


def _trials(view: View, estimator: PoseEstimator, rng: np.random.Generator) -> Iterator[Trial]:
    """Crops of one view with their pixels: as it is, damaged, shuffled, beside the object; do they show it?"""
    image, mask = view.frame.image, view.frame.mask
    box = jittered(mask_box(mask), JITTER, rng)
    crop = estimator.crop(view.frame.camera, box)
    pixels = crop.sample(image)
    yield crop, pixels, True
    yield crop, _damaged(pixels, rng), True
    yield crop, _shuffled(pixels, rng), False
    size = (box[2:] - box[:2]) * rng.uniform(0.3, 0.6)
    corner = rng.uniform(0, 1, 2) * [view.frame.camera.width, view.frame.camera.height]
    aside = np.concatenate([corner - size / 2, corner + size / 2])
    x, y = np.clip(np.rint(corner), 0, np.array(mask.shape[::-1]) - 1).astype(int)
    if not mask[y, x]:
        beside = estimator.crop(view.frame.camera, aside)
        yield beside, np.where(beside.sample(mask)[..., None], 127, beside.sample(image)).astype(np.uint8), False


def _damaged(pixels: Array, rng: np.random.Generator) -> Array:
    """Partly covered, out of focus, or noisy and dark."""
    kind, side = rng.integers(3), len(pixels)
    if kind == 0:
        covered = pixels.copy()
        low = (rng.uniform(0.1, 0.6, 2) * side).astype(int)
        high = low + (rng.uniform(0.2, 0.5, 2) * side).astype(int)
        covered[low[1] : high[1], low[0] : high[0]] = rng.integers(0, 256, 3)
        return covered
    if kind == 1:
        return cv2.GaussianBlur(pixels, (0, 0), rng.uniform(0.005, 0.02) * side)
    noisy = pixels * rng.uniform(0.3, 0.8) + rng.normal(0, rng.uniform(5, 25), pixels.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def _shuffled(pixels: Array, rng: np.random.Generator) -> Array:
    """The same pieces in another order, so that nothing is where it belongs."""
    step = len(pixels) // PIECES
    side = step * PIECES
    grid = pixels[:side, :side].reshape(PIECES, step, PIECES, step, 3).swapaxes(1, 2).reshape(-1, step, step, 3)
    mixed = grid[rng.permutation(len(grid))].reshape(PIECES, PIECES, step, step, 3).swapaxes(1, 2)
    return np.ascontiguousarray(cv2.resize(mixed.reshape(side, side, 3), pixels.shape[1::-1]))


def _solved(estimator: PoseEstimator, trials: Sequence[Trial]) -> list[Solution | None]:
    solutions: list[Solution | None] = []
    for start in range(0, len(trials), BATCH):
        crops = [crop for crop, _, _ in trials[start : start + BATCH]]
        beliefs = estimator.beliefs([pixels for _, pixels, _ in trials[start : start + BATCH]], crops)
        solutions += [estimator.solve(found, estimator.framed(found.crop)) for found in beliefs]
    return solutions
