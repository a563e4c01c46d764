"""Images in the order of time to objects with an identity: what the ROS node and the replay of recordings both run.

In: per image its time, frame, detections and what else is known. Out: estimates, tracks and where the time went.
Frame: cam of the image; translations in object units, with `scale` where something tells it.

    stream = PoseStream.load(["mug.safetensors"])
    for stamp_ns, frame, detections in images:
        for track in stream.process(stamp_ns, frame, detections).tracks: ...
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from uop3d_core.config import PoseSettings, TrackSettings
from uop3d_core.geometry import Array
from uop3d_core.pose.categories import CategoryEstimator
from uop3d_core.pose.metric import MetricEvidence, measure
from uop3d_core.pose.scale import KnownSize
from uop3d_core.pose.tracking import Tracker
from uop3d_core.raycast import RayCaster
from uop3d_core.stopwatch import Stopwatch
from uop3d_core.types import Detection, Frame, PoseEstimate, Template, Track


@dataclass(frozen=True, eq=False)
class StreamResult:
    """What is known at the time of one image.

    Attributes:
        stamp_ns: of the image.
        estimates: one per detection, of this image alone.
        tracks: all objects by id; see `Tracker.update`.
        warnings: of the metric scale, one sentence each.
        seconds: how long each step took.
    """

    stamp_ns: int
    estimates: tuple[PoseEstimate, ...]
    tracks: tuple[Track, ...] = ()
    warnings: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)


class PoseStream:
    """Estimator, metric scale and tracker in a row; holds state and belongs to one thread.

    Attributes:
        templates: by category.
        sizes: usual sizes by category; may be replaced at any time.

    Examples:
        >>> from uop3d_core import Detection, PoseStream, read_capture
        >>> stream = PoseStream.load(["runs/mug/model.safetensors"])
        >>> video = read_capture("captures/mug/mug_00").frames[:3]
        >>> for number, frame in enumerate(video):
        ...     result = stream.process(number * 33_000_000, frame, [Detection([20, 15, 75, 80], "mug")])
        >>> len(result.estimates), {type(track).__name__ for track in result.tracks} <= {"Track"}
        (1, True)
    """

    def __init__(
        self,
        estimator: CategoryEstimator,
        settings: TrackSettings | None = None,
        sizes: Mapping[str, KnownSize] | None = None,
        watch: Stopwatch | None = None,
    ) -> None:
        """Begin without objects.

        Args:
            estimator: of all categories.
            settings: of the tracks.
            sizes: of the objects, by category; an image's own evidence goes first.
            watch: the one that the estimator reports to, if it does.

        Raises:
            ValueError: a size is of no category that there is.
        """
        self.estimator, self._watch = estimator, watch or Stopwatch()
        self.templates: dict[str, Template] = {
            category: each.model.template for category, each in estimator.estimators.items()
        }
        self.sizes = dict(sizes or {})
        if unknown := sorted(self.sizes.keys() - self.templates.keys()):
            raise ValueError(f"sizes of {', '.join(unknown)}, but the models are of {', '.join(self.templates)}")
        self._casters = {category: RayCaster(template.mesh) for category, template in self.templates.items()}
        self._tracker = self._new_tracker(settings or TrackSettings())

    @classmethod
    def load(
        cls,
        paths: Sequence[Path | str],
        device: str = "cpu",
        pose: PoseSettings | None = None,
        track: TrackSettings | None = None,
        sizes: Mapping[str, KnownSize] | None = None,
    ) -> PoseStream:
        """Read model files; the steps of the estimators are timed, too. Raises: see `PoseEstimator.load`."""
        watch = Stopwatch()
        return cls(CategoryEstimator.load(paths, device, pose, watch), track, sizes, watch)

    def configure(self, settings: TrackSettings) -> None:
        """Track with other settings: all objects are forgotten, ids go on counting."""
        self.take_over(self._tracker.next_id, settings)

    def take_over(self, next_id: int, settings: TrackSettings) -> None:
        """Begin anew with ids from `next_id` on, as after another stream that ran before this one."""
        self._tracker = self._new_tracker(settings)
        self._tracker.next_id = next_id

    @property
    def next_id(self) -> int:
        """Id of the next new object."""
        return self._tracker.next_id

    def _new_tracker(self, settings: TrackSettings) -> Tracker:
        return Tracker(settings, {category: template.symmetry for category, template in self.templates.items()})

    def reset(self) -> None:
        """Forget all objects; ids go on counting."""
        self._tracker.reset()

    def process(
        self,
        stamp_ns: int,
        frame: Frame,
        detections: Sequence[Detection],
        evidence: MetricEvidence | None = None,
        cam_T_fixed: Array | None = None,
    ) -> StreamResult:
        """Take in one image; images without detections count as well.

        Args:
            stamp_ns: when it was taken, later than that of the last image; an earlier one begins anew.
            frame: image and camera.
            detections: boxes, with a category's name as label or without one.
            evidence: what tells the metric scale.
            cam_T_fixed: where the camera is; see `Tracker.update`.

        Raises:
            ValueError: the stamp is that of the last image, or image or depth do not fit the camera.
        """
        self._watch.taken()
        estimates, warnings = self._estimate(frame, detections, evidence)
        with self._watch("tracking"):
            tracks = self._tracker.update(stamp_ns, estimates, cam_T_fixed)
        return StreamResult(stamp_ns, tuple(estimates), tuple(tracks), tuple(warnings), self._watch.taken())

    def estimate(
        self, stamp_ns: int, frame: Frame, detections: Sequence[Detection], evidence: MetricEvidence | None = None
    ) -> StreamResult:
        """Estimates of one image, whatever its time; tracks do not hear of it. Arguments and Raises: `process`."""
        self._watch.taken()
        estimates, warnings = self._estimate(frame, detections, evidence)
        return StreamResult(stamp_ns, tuple(estimates), (), tuple(warnings), self._watch.taken())

    def _estimate(
        self, frame: Frame, detections: Sequence[Detection], evidence: MetricEvidence | None
    ) -> tuple[list[PoseEstimate], list[str]]:
        estimates = self.estimator(frame, detections)
        if evidence is None and not self.sizes:
            return estimates, []
        warnings: list[str] = []
        with self._watch("metric"):
            for i, estimate in enumerate(estimates):
                known = self._known(estimate.category, evidence or MetricEvidence())
                if estimate.found:
                    template, caster = self.templates[estimate.category], self._casters[estimate.category]
                    result = measure(estimate, template, frame.camera, known, caster=caster)
                    estimates[i] = result.estimate
                    warnings += [f"{estimate.category}: {warning}" for warning in result.warnings]
        return estimates, warnings

    def _known(self, category: str, evidence: MetricEvidence) -> MetricEvidence:
        size = self.sizes.get(category)
        return evidence if size is None or evidence.size is not None else replace(evidence, size=size)
