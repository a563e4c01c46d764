"""What is found in images: boxes, poses, and tracks of one object over time.

Frames: pixels; `cam` of the image and `obj` of the category.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

import numpy as np

from uop3d_core.types.checks import Array, finite, rigid
from uop3d_core.types.showing import plural, vector_text

SCALE_SOURCES = ("", "depth", "size", "views", "plane")


@dataclass(frozen=True, eq=False)
class Detection:
    """A box around one object in an image.

    Attributes:
        bbox_xyxy: (4,) left, top, right, bottom in pixels (pixel centres at integers; may leave the image).
        label: category, or "" where unknown.
        score: detector score in [0, 1].
        mask: (H, W) bool, or None.

    Examples:
        >>> Detection([210, 120, 420, 350], "mug", score=0.9)
        <Detection mug: box 210.0, 120.0, 420.0, 350.0, score 0.90>
    """

    bbox_xyxy: Array
    label: str = ""
    score: float = 1.0
    mask: Array | None = None

    def __post_init__(self) -> None:
        box = finite(self.bbox_xyxy, (4,), "bbox_xyxy")
        if not (box[2] > box[0] and box[3] > box[1]):
            raise ValueError(f"bbox_xyxy must be left, top, right, bottom with positive size, got {box.tolist()}")
        object.__setattr__(self, "bbox_xyxy", box)

    def __repr__(self) -> str:
        box = ", ".join(f"{value:.1f}" for value in self.bbox_xyxy.tolist())
        return f"<Detection {self.label or 'without label'}: box {box}, score {self.score:.2f}>"


@dataclass(frozen=True, eq=False)
class PoseHypothesis:
    """One of several distinct poses that an image leaves open.

    Attributes:
        cam_T_obj: (4, 4) rigid transform; translation in object units.
        probability: that it is the right one, in [0, 1].
    """

    cam_T_obj: Array
    probability: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "cam_T_obj", rigid(self.cam_T_obj, "cam_T_obj"))

    def __repr__(self) -> str:
        return f"<PoseHypothesis: probability {self.probability:.2f}, at {vector_text(self.cam_T_obj[:3, 3])}>"


@dataclass(frozen=True, eq=False)
class PoseEstimate:
    """Pose of one object in one image.

    Attributes:
        detection: the box it was estimated from.
        cam_T_obj: (4, 4) rigid transform; translation in object units (multiply by `scale` for metres).
        score: probability in [0, 1] that the box shows this category and the rotation is within 30 degrees (where the
            category is symmetric: of an equivalent one); 0 where no pose was found.
        scale: metres per object unit; NaN where unknown, as from one image without more knowledge.
        found: False where the image did not give enough correspondences (cam_T_obj is then the identity).
        category: of the model that made the estimate.
        size: (3,) extents of the category's template along the axes of obj, in object units.
        covariance: (6, 6) of small errors (dt, w) of the pose: the true one is [exp(w) R, t + dt] with the rotation
            vector w in radians about the axes of cam and dt in object units; None where it was not estimated. It
            counts how the middle and the size of the object's own box differ from the template's.
        hypotheses: distinct poses, most probable first, of which the first is `cam_T_obj`; their probabilities and
            `other` add up to at most one.
        other: probability that the box shows something that is not of this category.
        scale_std: standard deviation of `scale`, relative to it; NaN where unknown.
        scale_source: what gave `scale`: "depth", "size", "views" or "plane"; "" where unknown.
    """

    detection: Detection
    cam_T_obj: Array
    score: float
    scale: float = field(default=float("nan"))
    found: bool = True
    category: str = ""
    size: Array = field(default_factory=lambda: np.full(3, np.nan))
    covariance: Array | None = None
    hypotheses: tuple[PoseHypothesis, ...] = ()
    other: float = 0.0
    scale_std: float = field(default=float("nan"))
    scale_source: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "cam_T_obj", rigid(self.cam_T_obj, "cam_T_obj"))
        if self.covariance is not None:
            object.__setattr__(self, "covariance", finite(self.covariance, (6, 6), "covariance"))
        if self.scale_source not in SCALE_SOURCES:
            raise ValueError(f"scale_source must be one of {', '.join(SCALE_SOURCES[1:])}, got {self.scale_source!r}")

    def __repr__(self) -> str:
        name = f"PoseEstimate {self.category}".strip()
        if not self.found:
            return f"<{name}: not found>"
        metric = np.isfinite(self.scale)
        place = self.position_m if metric else self.cam_T_obj[:3, 3]
        unit = f"m by {self.scale_source}" if metric else "object units, scale unknown"
        return f"<{name}: score {self.score:.2f}, at {vector_text(place)} {unit}{self._spread()}, {self._poses()}>"

    def _spread(self) -> str:
        if self.covariance is None:
            return ""
        variance = np.diag(self.covariance)
        return f", ±{np.sqrt(variance[:3].max()):.2f} units ±{np.degrees(np.sqrt(variance[3:].max())):.0f}°"

    def _poses(self) -> str:
        count = max(1, len(self.hypotheses))
        return "1 pose" if count == 1 else f"{count} poses"

    @property
    def size_m(self) -> Array:
        """(3,) extents of the oriented box along the axes of obj, in metres; NaN where size or scale is unknown."""
        return self.scale * np.asarray(self.size, dtype=np.float64)

    @property
    def position_m(self) -> Array:
        """(3,) origin of obj in cam, in metres; NaN where the scale is unknown."""
        return self.scale * self.cam_T_obj[:3, 3]

    @property
    def covariance_m(self) -> Array | None:
        """(6, 6) as `covariance`, but of `position_m` in metres; None where covariance or scale is unknown.

        The error of the scale adds to it, except where depth gave the scale: it then makes up for that of the distance.
        """
        if self.covariance is None or not np.isfinite(self.scale):
            return None
        units = np.array([self.scale] * 3 + [1.0] * 3)
        covariance: Array = self.covariance * np.outer(units, units)
        if self.scale_source != "depth" and np.isfinite(self.scale_std):
            covariance[:3, :3] += self.scale_std**2 * np.outer(self.position_m, self.position_m)
        return covariance


class TrackState(Enum):
    """How sure it is that there is an object, and that it is still there."""

    TENTATIVE = "tentative"
    CONFIRMED = "confirmed"
    LOST = "lost"


@dataclass(frozen=True, eq=False)
class Track:
    """One object at the time of one image.

    Attributes:
        id: never given to another object by the same tracker.
        category: of the object.
        state: TENTATIVE until enough poses agreed; LOST when not seen for long, and CONFIRMED again when found again.
        estimate: filtered pose in cam, its covariance, score and scale; its `detection` is the last box. The score is a
            running mean in which poses that disagree count as 0; it halves in `lost_s` without a pose that agrees.
        velocity: (6,) in the axes of cam: object units per second, then the rotation vector in radians per second;
            relative to the fixed frame where `cam_T_fixed` is given, else to the camera.
        last_seen_ns: when a measured position agreed the last time.
        hits: measured poses that agreed.
        measured: the estimate in this image, with its hypotheses; None where the object is predicted only.
    """

    id: int
    category: str
    state: TrackState
    estimate: PoseEstimate
    velocity: Array
    last_seen_ns: int
    hits: int
    measured: PoseEstimate | None

    def __repr__(self) -> str:
        now = "" if self.measured else ", predicted"
        return f"<Track {self.id} {self.category}: {self.state.value}{now}, {plural(self.hits, 'hit')}>"

    @property
    def detection(self) -> Detection | None:
        """The box in this image; None where the object is predicted only."""
        return None if self.measured is None else self.measured.detection
