"""Objects of a video: estimates of single images become tracks with a stable identity and a steady pose.

In: per image its time, the estimates, and if known where the camera was. Out: all tracks at that time.
Frame: cam of the image; translations in object units, times in nanoseconds.

    tracker = Tracker(TrackSettings(), {template.category: template.symmetry})
    for stamp_ns, frame in video:
        tracks = tracker.update(stamp_ns, estimator(frame, detector(frame)))
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from uop3d_core.config import TrackSettings
from uop3d_core.geometry import Array, closest_rotation, inverse_rigid
from uop3d_core.pose.association import Expectation, Sighting, associate, gate, sightings
from uop3d_core.pose.filtering import PoseState, at_rest, compare, correct, predict, seen_from, start
from uop3d_core.pose.measurement import Measurement, nearest_equivalents
from uop3d_core.types import PoseEstimate, Symmetry, Track, TrackState

SCORE_GAIN = 0.2

logger = logging.getLogger(__name__)


CONFIDENCE = {TrackState.CONFIRMED: 1.0, TrackState.TENTATIVE: 0.8, TrackState.LOST: 0.5}


@dataclass(eq=False)
class _Object:
    """What the tracker remembers of one object; `rival` is a second filter, fed by poses that `pose` disagrees with."""

    id: int
    category: str
    pose: PoseState
    latest: PoseEstimate
    score: float
    last_seen_ns: int
    box_ns: int
    state: TrackState = TrackState.TENTATIVE
    hits: int = 1
    scale_source: str = ""
    rival: PoseState | None = None
    rival_hits: int = 0


class Tracker:
    """Follows the objects of one video; holds state and belongs to one thread.

    Attributes:
        next_id: of the next new object; a tracker that takes over from another one takes over its `next_id`.
    """

    def __init__(self, settings: TrackSettings, symmetries: Mapping[str, Symmetry]) -> None:
        """Begin without objects.

        Args:
            settings: see TrackSettings.
            symmetries: of every category that has one, as in its template.
        """
        self.settings, self._symmetries = settings, dict(symmetries)
        self._gates = {n: gate(settings, n) for n in (3, 6)}
        self.next_id = 1
        self.reset()

    def reset(self) -> None:
        """Forget all objects and the time; ids go on counting."""
        self._objects: list[_Object] = []
        self._stamp_ns: int | None = None
        self._cam_T_fixed: Array | None = None

    def update(self, stamp_ns: int, estimates: Sequence[PoseEstimate], cam_T_fixed: Array | None = None) -> list[Track]:
        """Take in one image.

        Images without objects count as well: call it with no estimates. A time before the last one (a recording that
        starts again; sort images that come out of order) or a pause longer than `gap_s` begins anew, with a warning.

        Args:
            stamp_ns: when the image was taken.
            estimates: all estimates of the image, of any categories.
            cam_T_fixed: (4, 4) rigid transform from a frame in which the surroundings rest, metres; the camera's motion
                since the last image is then accounted for: its rotation always, its translation for objects of known
                scale. Where it is missing now or was in the last image, the camera may turn a little, as
                `camera_change_deg` says; so give the identity for a camera at rest.

        Returns:
            All tracks by id, also those that are tentative, lost, or not seen in this image.

        Raises:
            ValueError: the time is that of the last image, or `cam_T_fixed` is not a rigid transform.
        """
        self._advance(stamp_ns, None if cam_T_fixed is None else _checked(cam_T_fixed))
        seen = sightings(estimates, self.settings)
        pairs = associate(seen, [self._expectation(o) for o in self._objects], self._symmetries, self.settings)
        for i, j in pairs:
            self._take(self._objects[j], seen[i])
        self._age()
        taken = {i for i, _ in pairs}
        for i, sighting in enumerate(seen):
            if i not in taken and sighting.measurement is not None:
                self._begin(sighting, sighting.measurement)
        return [self._track(o) for o in self._objects]

    def _advance(self, stamp_ns: int, cam_T_fixed: Array | None) -> None:
        """Move the clock, and all objects with it."""
        last, before = self._stamp_ns, self._cam_T_fixed
        if last is not None and stamp_ns == last:
            raise ValueError(f"second update at {stamp_ns} ns: give all estimates of an image in one call")
        if last is not None and stamp_ns < last:
            logger.warning("time went back by %.3f s: all tracks begin anew", (last - stamp_ns) / 1e9)
            self.reset()
        elif last is not None and stamp_ns - last > self.settings.gap_s * 1e9:
            logger.warning("no image for %.3f s: all tracks begin anew", (stamp_ns - last) / 1e9)
            self.reset()
        elif last is not None:
            now_T_before = None
            if cam_T_fixed is not None and before is not None:
                now_T_before = cam_T_fixed @ inverse_rigid(before)
            for o in self._objects:
                if (cam_T_fixed is None) != (before is None):  # velocities begin or cease to be relative to the camera
                    o.pose = at_rest(o.pose)
                o.pose = self._predicted(o.pose, (stamp_ns - last) / 1e9, now_T_before)
                o.rival = o.rival and self._predicted(o.rival, (stamp_ns - last) / 1e9, now_T_before)
        self._stamp_ns, self._cam_T_fixed = int(stamp_ns), cam_T_fixed

    def _predicted(self, pose: PoseState, seconds: float, now_T_before: Array | None) -> PoseState:
        pose = predict(pose, seconds, self.settings, now_T_before is not None)
        return pose if now_T_before is None else seen_from(pose, now_T_before)

    def _expectation(self, o: _Object) -> Expectation:
        fresh = self._now - o.box_ns <= self.settings.lost_s * 1e9
        box = o.latest.detection.bbox_xyxy if fresh else None
        return Expectation(o.category, o.pose, box, CONFIDENCE[o.state])

    def _symmetry(self, category: str) -> Symmetry:
        return self._symmetries.get(category, Symmetry.none())

    @property
    def _now(self) -> int:
        assert self._stamp_ns is not None  # update sets it before anything else
        return self._stamp_ns

    def _take(self, o: _Object, sighting: Sighting) -> None:
        """Give an object its estimate: the box always, the pose where it agrees."""
        o.latest, o.box_ns = sighting.estimate, self._now
        o.scale_source = sighting.estimate.scale_source or o.scale_source
        measurement = sighting.measurement
        if measurement is None:
            return
        innovation = compare(o.pose, measurement, self._symmetry(o.category))
        agrees = innovation.pose <= self._gates[6]
        if agrees or innovation.position <= self._gates[3]:
            o.pose = correct(o.pose, innovation, measurement, position_only=not agrees)
            o.last_seen_ns = self._now
        if agrees:
            o.hits, o.rival = o.hits + 1, None
        else:
            self._dispute(o, measurement)
        o.score += SCORE_GAIN * (measurement.score * agrees - o.score)
        if o.last_seen_ns == self._now and (o.hits >= self.settings.confirm_hits or o.state is TrackState.LOST):
            o.state = TrackState.CONFIRMED

    def _dispute(self, o: _Object, measurement: Measurement) -> None:
        """Feed the rival filter with a pose that disagrees with the track.

        The rival wins when enough poses in a row agreed with it and not with the track: more than ever agreed with the
        track, or `replace_hits`.
        """
        symmetry = self._symmetry(o.category)
        innovation = None if o.rival is None else compare(o.rival, measurement, symmetry)
        if o.rival is None or innovation is None or innovation.pose > self._gates[6]:
            pose = nearest_equivalents(measurement.options[:1], o.pose.cam_T_obj[:3, :3], symmetry)[0]
            o.rival, o.rival_hits = start(measurement, self.settings, pose), 1
            return
        o.rival, o.rival_hits = correct(o.rival, innovation, measurement), o.rival_hits + 1
        if o.rival_hits >= min(self.settings.replace_hits, o.hits + 1):
            o.pose, o.rival, o.last_seen_ns = o.rival, None, self._now
            o.hits += 1

    def _age(self) -> None:
        """Lose and drop objects that were not seen for long."""
        settings, kept = self.settings, []
        for o in self._objects:
            unseen_s = (self._now - o.last_seen_ns) / 1e9
            limit_s = settings.tentative_s if o.state is TrackState.TENTATIVE else settings.forget_s
            if unseen_s > limit_s:
                continue
            if o.state is TrackState.CONFIRMED and unseen_s > settings.lost_s:
                o.state, o.pose, o.rival = TrackState.LOST, at_rest(o.pose), None
            kept.append(o)
        self._objects = kept

    def _begin(self, sighting: Sighting, measurement: Measurement) -> None:
        pose, now = start(measurement, self.settings), self._now
        new = _Object(self.next_id, sighting.category, pose, sighting.estimate, measurement.score, now, now)
        new.scale_source = sighting.estimate.scale_source
        if self.settings.confirm_hits == 1:
            new.state = TrackState.CONFIRMED
        self._objects.append(new)
        self.next_id += 1

    def _track(self, o: _Object) -> Track:
        unseen_s = (self._now - o.last_seen_ns) / 1e9
        estimate = PoseEstimate(
            o.latest.detection,
            o.pose.cam_T_obj,
            o.score * 0.5 ** (unseen_s / self.settings.lost_s),
            scale=o.pose.scale,
            category=o.category,
            size=o.latest.size,
            covariance=o.pose.covariance[:6, :6],
            other=o.latest.other,
            scale_std=o.pose.scale_std,
            scale_source=o.scale_source,
        )
        measured = o.latest if o.box_ns == self._now else None
        return Track(o.id, o.category, o.state, estimate, o.pose.velocity.copy(), o.last_seen_ns, o.hits, measured)


def _checked(cam_T_fixed: Array) -> Array:
    """A copy with an exact rotation: many rounded ones multiplied would not be one any more."""
    T = np.array(cam_T_fixed, dtype=np.float64)
    rigid = T.shape == (4, 4) and np.isfinite(T).all() and np.allclose(T[3], [0, 0, 0, 1])
    if not rigid or np.abs(T[:3, :3] @ T[:3, :3].T - np.eye(3)).max() > 1e-4 or np.linalg.det(T[:3, :3]) < 0:
        raise ValueError(f"cam_T_fixed is not a finite (4, 4) rigid transform:\n{T}")
    T[:3, :3] = closest_rotation(T[:3, :3])
    return T
