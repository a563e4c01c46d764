"""A rehearsal: train without some captures, try the result on them, and learn what its estimates are worth.

In: a TrainingSet and the network that was trained on it. Out: Calibration. Held-out views are tried as they are,
damaged and blurred, from loose boxes; beside them crops that show nothing of the category: pieces of the same images
in another order, and what lies around the object. The rehearsal's network has learned less and is less sure of what it
sees; by how much is measured on views that both were trained on.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from uop3d_core.backbones import FeatureBackbone
from uop3d_core.config import TrainSettings
from uop3d_core.correspondence.checkpoint import Model
from uop3d_core.correspondence.model import Trunk
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
from uop3d_core.types import Symmetry

logger = logging.getLogger(__name__)

HELD_OUT = 3
"""One in so many captures is held out."""
JITTER = 0.1
PIECES = 4
BATCH = 8
MOST_VIEWS = 120
MOST_FAMILIAR = 30
BLUR = (0.01, 0.08)
"""Shares of the crop's side: from what can be made out to where nothing but a blob is left."""


class Shows(Enum):
    """What a crop lets see of the object."""

    PLAINLY = "the object"
    HARDLY = "perhaps too little of it to place it"
    NOTHING = "something else"


@dataclass(frozen=True, eq=False)
class Trial:
    """A crop that the estimator is tried on.

    Attributes:
        crop: the virtual camera.
        pixels: (S, S, 3) uint8.
        shows: what they let see.
    """

    crop: Crop
    pixels: Array
    shows: Shows


def calibrate(
    training: TrainingSet,
    network: Trunk,
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
        network: of the model, trained.
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
        less, _ = fit(training, settings.model_copy(update={"epochs": epochs}), folder, "rehearsal", rest, progress)
    about: dict[str, Any] = {"backbone": {"fingerprint": backbone.fingerprint}}
    rehearsed, final = (
        PoseEstimator(Model(backbone_spec, training.template, settings, each, about), backbone)
        for each in (less, network)
    )
    tried, familiar = _some(held, MOST_VIEWS), _some(rest, MOST_FAMILIAR)

    def trials(views: Sequence[int], before: int) -> Iterator[tuple[View, list[Trial]]]:
        for done, index in enumerate(views):
            progress("calibration", before + done, len(tried) + len(familiar))
            view = training.views[index]
            yield view, list(_trials(view, rehearsed, np.random.default_rng([settings.seed, index])))

    with watch("calibration"):
        found = _calibration(rehearsed, trials(tried, 0), training.template.symmetry, max(1, len(names)))
        found = found.for_surer(_surer(final, rehearsed, (each for _, each in trials(familiar, len(tried)))))
        progress("calibration", len(tried) + len(familiar), len(tried) + len(familiar))
    return found, names


def _some(views: Sequence[int], count: int) -> Sequence[int]:
    """At most so many of them, evenly chosen."""
    return views[:: max(1, -(-len(views) // count))]


def _calibration(
    estimator: PoseEstimator, tried: Iterable[tuple[View, list[Trial]]], symmetry: Symmetry, objects: int
) -> Calibration:
    """Constants that suit what the estimator makes of trials of held-out views, which are of so many objects."""
    solutions, errors, angles, plain, others = [], [], [], [], []
    for view, trials in tried:
        for trial, solution in zip(trials, _solved(estimator, trials), strict=True):
            if solution is None:
                continue
            if trial.shows == Shows.NOTHING:
                others.append(solution)
                continue
            truth, found = inverse_rigid(trial.crop.cam_T_crop) @ own_frame(view), solution.crop_T_obj[:, :3, :3]
            turns = np.stack([symmetry.nearest(truth[:3, :3], R) for R in found])
            truth[:3, :3] = turns[0]
            solutions.append(solution)
            errors.append(change_between(solution.crop_T_obj[0], truth))
            angles.append(rotation_error(turns, found))
            plain.append(trial.shows == Shows.PLAINLY)
    if not solutions:
        logger.warning("no held-out view gave a pose: probabilities and covariances are not calibrated")
        return Calibration()
    return fit_calibration(solutions, np.stack(errors), angles, others, objects, plain)


def _surer(final: PoseEstimator, rehearsed: PoseEstimator, familiar: Iterable[list[Trial]]) -> Array:
    """(5,) by how much more evidence one network has in the mean than the other, of what both were trained on."""
    more = []
    for trials in familiar:
        showing = [trial for trial in trials if trial.shows != Shows.NOTHING]
        for one, other in zip(_solved(final, showing), _solved(rehearsed, showing), strict=True):
            if one is not None and other is not None:
                more.append(one.evidence - other.evidence)
    return np.mean(more, axis=0) if more else np.zeros(5)


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


def _trials(view: View, estimator: PoseEstimator, rng: np.random.Generator) -> Iterator[Trial]:
    """Crops of one view: as it is, damaged, shuffled, beside the object, blurred."""
    image, mask = view.frame.image, view.frame.mask
    box = jittered(mask_box(mask), JITTER, rng)
    crop = estimator.crop(view.frame.camera, box)
    pixels = crop.sample(image)
    yield Trial(crop, pixels, Shows.PLAINLY)
    yield Trial(crop, _damaged(pixels, rng), Shows.PLAINLY)
    yield Trial(crop, _shuffled(pixels, rng), Shows.NOTHING)
    size = (box[2:] - box[:2]) * rng.uniform(0.3, 0.6)
    corner = rng.uniform(0, 1, 2) * [view.frame.camera.width, view.frame.camera.height]
    aside = np.concatenate([corner - size / 2, corner + size / 2])
    x, y = np.clip(np.rint(corner), 0, np.array(mask.shape[::-1]) - 1).astype(int)
    if not mask[y, x]:
        beside = estimator.crop(view.frame.camera, aside)
        covered = np.where(beside.sample(mask)[..., None], 127, beside.sample(image)).astype(np.uint8)
        yield Trial(beside, covered, Shows.NOTHING)
    yield Trial(crop, _blurred(pixels, rng.uniform(*BLUR)), Shows.HARDLY)


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
        return _blurred(pixels, rng.uniform(0.005, 0.02))
    noisy = pixels * rng.uniform(0.3, 0.8) + rng.normal(0, rng.uniform(5, 25), pixels.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def _blurred(pixels: Array, share: float) -> Array:
    """As by a Gaussian whose standard deviation is a share of the side."""
    return cv2.GaussianBlur(pixels, (0, 0), share * len(pixels))


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
        some = trials[start : start + BATCH]
        beliefs = estimator.beliefs([trial.pixels for trial in some], [trial.crop for trial in some])
        solutions += [estimator.solve(found, estimator.framed(found.crop)) for found in beliefs]
    return solutions
