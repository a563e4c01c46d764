"""Poses from heads that say the rotation, or where keypoints are, instead of what every pixel shows.

In: a crop and what the network says of it. Out: one Solution, in the virtual camera of the crop. A rotation comes
without a position: that is where the template so turned fills the box. It comes without doubt, too, so the probability
of such a pose is the same for all images: what share the rehearsal found right.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from uop3d_core.config import PoseSettings
from uop3d_core.crops import Crop
from uop3d_core.geometry import Array, project, transform
from uop3d_core.pose.beliefs import TemplateShape
from uop3d_core.pose.calibration import NOTHING_SAID, Solution
from uop3d_core.pose.candidates import filling_box, solve_pnp
from uop3d_core.pose.keypoints import Keypoints
from uop3d_core.pose.refine import normal_equations, refine


@dataclass(frozen=True, eq=False)
class DirectRotation:
    """What a rotation head says of a crop.

    Attributes:
        crop: the virtual camera.
        crop_R_obj: (3, 3).
    """

    crop: Crop
    crop_R_obj: Array

    def solution(self, template: TemplateShape, box: Array, settings: PoseSettings) -> Solution:
        """The pose with this rotation whose outline fills a box (4,) of the crop.

        The covariance is left to the calibration's constants: the network says nothing of how sure it is.
        """
        pose = filling_box(self.crop_R_obj[None].astype(np.float64), template.vertices, self.crop, box)
        return Solution(pose, np.array([NOTHING_SAID]), NOTHING_SAID, np.zeros((6, 6)))


class DirectKeypoints(Keypoints):
    """What the keypoint head says of a crop."""

    def solution(self, template: TemplateShape, box: Array, settings: PoseSettings) -> Solution | None:
        """The pose that brings the keypoints of the template to their places; None where PnP finds none.

        PnP-RANSAC, then least squares with weights by the spreads. Agreement is the share of keypoints within the
        inlier threshold.
        """
        threshold = settings.reprojection * float(np.max(box[2:] - box[:2]))
        points = template.keypoints
        pose = solve_pnp(self.pixels, points, self.crop, threshold, settings)
        if len(pose) == 0:
            return None
        rays, weights, scale = self.rays, self.precision[None], threshold / self.crop.focal / 2
        pose = refine(pose, points[None], rays, weights, scale)
        missed = np.linalg.norm(project(self.crop.K, transform(pose[0], points)) - self.pixels, axis=1)
        matrices = normal_equations(pose, points[None], rays, weights, scale)[0]
        regular = matrices[0] + 1e-9 * np.trace(matrices[0]) * np.eye(6)
        agreement = float(np.mean(missed < threshold))
        return Solution(pose, np.array([agreement]), self.clarity, np.linalg.inv(regular))


DirectReading = DirectRotation | DirectKeypoints
READINGS: dict[str, type[DirectRotation] | type[DirectKeypoints]] = {
    "quaternion": DirectRotation,
    "rotation6d": DirectRotation,
    "rotation9d": DirectRotation,
    "keypoints": DirectKeypoints,
}
"""What to make of a network's outputs, by the name of its head; what the dense and hybrid ones say is in `beliefs`."""
