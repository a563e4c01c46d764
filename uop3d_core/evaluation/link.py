"""How the learned frame ``obj`` and the frame ``label`` of the labels lie to each other, from training captures alone.

In: an Alignment (obj_T_world), Labels (label_T_world). Out: FrameLink. Every training capture says
label_T_obj = label_T_world @ inv(obj_T_world), a similarity. The rotation is the chordal mean of these; the scale
(label units per object unit) the median; the origin of obj, in label, the median of every coordinate. Each object's
label has its own box for unit and origin, and obj has that of the template, so scale and origin differ from object to
object: `FrameLink.scatter` says by how much, and errors of the position cannot be told below that.
Where turns of a symmetry are free, the link is fitted once more modulo these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from uop3d_core.evaluation.labels import Labels
from uop3d_core.evaluation.metrics import error_deg, mean_rotation, symmetric_error_deg
from uop3d_core.geometry import Array, rigid_through_similarity
from uop3d_core.types import Alignment, Sim3, Symmetry


@dataclass(frozen=True, eq=False)
class FrameLink:
    """The similarity between the learned frame and that of the labels.

    Attributes:
        label_T_obj: from object units to label units.
        captures: the training captures it was fitted on.
        residuals_deg: by capture, how far its own rotation is from the common one.
        scatter: standard deviations over these captures: "scale", relative; "origin", of a coordinate in object units.
        symmetry: that was detected, in obj.
        label_symmetry: that of the labels, in label.
        sym_label_R_obj: (3, 3), fitted modulo the one.
        label_sym_label_T_obj: fitted modulo the other.
    """

    label_T_obj: Sim3
    captures: tuple[str, ...]
    residuals_deg: dict[str, float]
    scatter: dict[str, float]
    symmetry: Symmetry
    label_symmetry: Symmetry
    sym_label_R_obj: Array
    label_sym_label_T_obj: Sim3

    @property
    def label_R_obj(self) -> Array:
        """(3, 3)."""
        return self.label_T_obj.R

    @property
    def free(self) -> tuple[str, ...]:
        """Names of the figures modulo the symmetries that there are."""
        found = {"sym": self.symmetry, "label_sym": self.label_symmetry}
        return tuple(name for name, symmetry in found.items() if symmetry.fold != 1)

    @property
    def judged_modulo_symmetry(self) -> bool:
        """Whether scores are judged by the error modulo the labels' symmetry, rather than the plain one.

        A score promises a rotation within 30 degrees, of an equivalent pose where a symmetry was detected. That is
        taken at its word where the labels know of a symmetry, too; one that only the model believes in excuses nothing.
        """
        return self.symmetry.fold != 1 and self.label_symmetry.fold != 1

    def free_errors_deg(self, cam_R_obj: Array, cam_R_label: Array) -> dict[str, float]:
        """Errors of an estimate modulo these symmetries, by the name of the figures."""
        predicted = cam_R_obj @ self.label_sym_label_T_obj.R.T
        errors = {
            "sym": symmetric_error_deg(cam_R_obj, cam_R_label @ self.sym_label_R_obj, self.symmetry),
            "label_sym": symmetric_error_deg(predicted, cam_R_label, self.label_symmetry),
        }
        return {name: errors[name] for name in self.free}

    def judged_error_deg(self, cam_R_obj: Array, cam_R_label: Array) -> float:
        """The error that scores are judged by."""
        if self.judged_modulo_symmetry:
            return self.free_errors_deg(cam_R_obj, cam_R_label)["label_sym"]
        return float(error_deg(cam_R_obj @ self.label_R_obj.T, cam_R_label))

    def true_cam_T_obj(self, cam_T_world: Array, label_T_world: Sim3, cam_R_obj: Array | None = None) -> Array:
        """The true pose (4, 4) of obj in the camera, translation in object units.

        Args:
            cam_T_world: (4, 4) of the frame.
            label_T_world: of the capture.
            cam_R_obj: (3, 3) of an estimate; where scores are judged modulo a symmetry, the truth is turned to the
                equivalent pose that is nearest to it.
        """
        modulo = self.judged_modulo_symmetry and cam_R_obj is not None
        label_T_obj = self.label_sym_label_T_obj if modulo else self.label_T_obj
        if modulo and cam_R_obj is not None:
            cam_R_label = cam_T_world[:3, :3] @ label_T_world.R.T
            turned = self.label_symmetry.nearest(cam_R_label, cam_R_obj @ label_T_obj.R.T)
            label_T_world = Sim3(1.0, turned.T @ cam_R_label, np.zeros(3)) @ label_T_world
        T = label_T_obj.inverse() @ label_T_world
        return rigid_through_similarity(cam_T_world, T.scale, T.R, T.t)


def fit_frame_link(
    alignment: Alignment, labels: Labels, training: Sequence[str], symmetry: Symmetry | None = None
) -> FrameLink:
    """Fit label_T_obj on those training captures that are labelled; `symmetry` is the one that was detected, in obj.

    Raises:
        ValueError: there are none.
    """
    names = [name for name in training if name in labels.label_T_world and name in alignment.captures]
    if not names:
        raise ValueError(
            f"none of the training captures ({', '.join(training)}) is both in the run's alignment and labelled: the "
            "learned frame cannot be linked to the frame of the labels"
        )
    every = [labels.label_T_world[name] @ alignment.captures[name].obj_T_world.inverse() for name in names]
    rotations = [T.R for T in every]
    label_R_obj = mean_rotation(rotations)
    found, group = symmetry or Symmetry.none(), labels.symmetry_group
    modulo = mean_rotation([R.T for R in rotations], group).T
    apart = [T.R @ modulo.T for T in every]
    turns = [R.T @ group.nearest(R, np.eye(3)) for R in apart]
    turned = [Sim3(1.0, turn, np.zeros(3)) @ T for turn, T in zip(turns, every, strict=True)]
    residuals = {name: round(float(error_deg(R, label_R_obj)), 3) for name, R in zip(names, rotations, strict=True)}
    return FrameLink(
        _median(every, label_R_obj),
        tuple(names),
        residuals,
        _scatter(turned),
        found,
        group,
        mean_rotation(rotations, found),
        _median(turned, modulo),
    )


def link_by_names(symmetry: Symmetry | None = None) -> FrameLink:
    """The link of an obj frame that is taken at its word: its front, left and up are those of the labels.

    Nothing is known of scale and origin. `symmetry` is the one that was detected, in obj.
    """
    here = Sim3.identity()
    return FrameLink(here, (), {}, {}, symmetry or Symmetry.none(), Symmetry.none(), np.eye(3), here)


def _median(transforms: Sequence[Sim3], R: Array) -> Sim3:
    return Sim3(float(np.median([T.scale for T in transforms])), R, np.median([T.t for T in transforms], axis=0))


def _scatter(transforms: Sequence[Sim3]) -> dict[str, float]:
    scales, origins = np.array([T.scale for T in transforms]), np.stack([T.t for T in transforms])
    origin = np.sqrt(origins.var(0).mean()) / np.median(scales)
    return {"scale": round(float(np.log(scales).std()), 4), "origin": round(float(origin), 4)}
