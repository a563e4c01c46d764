"""One rotation for several images of one object whose cameras are known, as CO3D is tested by the reference method.

In: FrameResults of one capture (single images, each with its hypotheses) and cam_T_world of their frames. Out: errors.
The reference method adds up the scores of rendered hypotheses over the views; here every hypothesis of every view is a
candidate, the views vote for it with the probabilities of theirs that are near, and the rotation is the mean of these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from uop3d_core.evaluation.link import FrameLink
from uop3d_core.evaluation.metrics import error_deg, mean_rotation, up_error_deg
from uop3d_core.evaluation.results import NOT_FOUND_DEG, FrameResult
from uop3d_core.geometry import Array
from uop3d_core.types import Sim3

NEAR_DEG = 20.0


def fused_errors_deg(
    results: Sequence[FrameResult], cam_T_world: Mapping[str, Array], label_T_world: Sim3, link: FrameLink
) -> tuple[float, float]:
    """Errors of the rotation and of its up axis that all images of a capture together give.

    Args:
        results: of one capture.
        cam_T_world: of its frames, by name.
        label_T_world: of the capture.
        link: between obj and label.
    """
    world_R_obj = fused_rotation([_candidates(result, cam_T_world[result.frame]) for result in results])
    if world_R_obj is None:
        return NOT_FOUND_DEG, NOT_FOUND_DEG
    predicted, true = world_R_obj @ link.label_R_obj.T, label_T_world.R.T
    return float(error_deg(predicted, true)), float(up_error_deg(predicted, true))


def fused_rotation(views: Sequence[Sequence[tuple[Array, float]]]) -> Array | None:
    """The rotation (3, 3) that most views vote for; None where no view has any.

    Args:
        views: for each image its candidates, rotation (3, 3) and probability.
    """
    every = [(R, p, view) for view, candidates in enumerate(views) for R, p in candidates]
    if not every:
        return None
    rotations = np.stack([R for R, _, _ in every])
    weights, owners = np.array([p for _, p, _ in every]), np.array([view for _, _, view in every])
    near = np.exp(-((error_deg(rotations[:, None], rotations[None]) / NEAR_DEG) ** 2)) * weights
    votes = sum(near[:, owners == view].max(1) for view in np.unique(owners))
    best = rotations[int(np.argmax(votes))]
    return mean_rotation([R for R in rotations if error_deg(R, best) < NEAR_DEG])


def _candidates(result: FrameResult, cam_T_world: Array) -> list[tuple[Array, float]]:
    """Hypotheses of one image as world_R_obj, with probabilities that add up to the score at most."""
    estimate = result.estimate
    if not estimate.found:
        return []
    world_R_cam = cam_T_world[:3, :3].T
    listed = [(world_R_cam @ other.cam_T_obj[:3, :3], other.probability) for other in estimate.hypotheses]
    return listed or [(world_R_cam @ estimate.cam_T_obj[:3, :3], estimate.score)]
