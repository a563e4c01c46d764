"""Tracks and estimates as ROS messages, made of classes that the caller gives: those of rclpy or of rosbags.

In: Tracks and PoseEstimates (cam, object units), a Place that says what the header says. Out: messages.
Every message is made by keyword with all its fields, fixed arrays as numpy arrays and sequences as lists, which both
kinds of classes take.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from uop3d_core.geometry import Array
from uop3d_core.messages.placing import Place, Placed, covariance_in_frame, in_frame
from uop3d_core.messages.quaternions import rotation_to_quat_xyzw
from uop3d_core.types import PoseEstimate, PoseHypothesis, Symmetry, Template, Track, TrackState

Types = Callable[[str], Any]
"""Class of a message by its name, as in "geometry_msgs/msg/Pose"."""

UNTRACKED = 0
STATES = {TrackState.TENTATIVE: 1, TrackState.CONFIRMED: 2, TrackState.LOST: 3}
"""The constants of ObjectPose.msg."""


class Messages:
    """Builds messages; holds no state but the templates."""

    def __init__(self, types: Types, templates: Mapping[str, Template]) -> None:
        """Prepare.

        Args:
            types: gives the classes.
            templates: by category.
        """
        self._types, self.templates = types, templates

    def make(self, name: str, **fields: Any) -> Any:
        """A message by its name; all fields must be given."""
        return self._types(name)(**fields)

    def stamp(self, stamp_ns: int) -> Any:
        """builtin_interfaces/Time."""
        sec, nanosec = divmod(int(stamp_ns), 1_000_000_000)
        return self.make("builtin_interfaces/msg/Time", sec=sec, nanosec=nanosec)

    def header(self, place: Place) -> Any:
        """std_msgs/Header."""
        return self.make("std_msgs/msg/Header", stamp=self.stamp(place.stamp_ns), frame_id=place.frame_id)

    def point(self, xyz: Array) -> Any:
        """geometry_msgs/Point."""
        x, y, z = (float(value) for value in xyz)
        return self.make("geometry_msgs/msg/Point", x=x, y=y, z=z)

    def vector(self, xyz: Array) -> Any:
        """geometry_msgs/Vector3."""
        x, y, z = (float(value) for value in xyz)
        return self.make("geometry_msgs/msg/Vector3", x=x, y=y, z=z)

    def quaternion(self, R: Array) -> Any:
        """geometry_msgs/Quaternion of a (3, 3) rotation."""
        x, y, z, w = rotation_to_quat_xyzw(R).tolist()
        return self.make("geometry_msgs/msg/Quaternion", x=x, y=y, z=z, w=w)

    def pose(self, frame_T_obj: Array) -> Any:
        """geometry_msgs/Pose of a (4, 4) rigid transform.

        Raises:
            ValueError: the upper left block is no rotation.
        """
        position, orientation = self.point(frame_T_obj[:3, 3]), self.quaternion(frame_T_obj[:3, :3])
        return self.make("geometry_msgs/msg/Pose", position=position, orientation=orientation)

    def pose_with_covariance(self, frame_T_obj: Array, covariance: Array | None) -> Any:
        """geometry_msgs/PoseWithCovariance; all NaN where the covariance (6, 6) is unknown."""
        flat = np.full(36, np.nan) if covariance is None else np.ascontiguousarray(covariance, np.float64).reshape(36)
        pose = self.pose(frame_T_obj)
        return self.make("geometry_msgs/msg/PoseWithCovariance", pose=pose, covariance=flat)

    def objects(self, place: Place, tracks: Sequence[Track]) -> Any:
        """uop3d_ros/ObjectPoseArray of all tracks, also those that are tentative, lost, or of unknown scale."""
        return self._array(place, [self._tracked(place, track) for track in tracks])

    def estimates(self, place: Place, estimates: Sequence[PoseEstimate]) -> Any:
        """uop3d_ros/ObjectPoseArray of what one image alone tells, one per detection, also where no pose was found."""
        return self._array(place, [self._untracked(place, estimate) for estimate in estimates])

    def _array(self, place: Place, objects: list[Any]) -> Any:
        return self.make("uop3d_ros/msg/ObjectPoseArray", header=self.header(place), objects=objects)

    def _tracked(self, place: Place, track: Track) -> Any:
        hypotheses = () if track.measured is None else track.measured.hypotheses
        return self._object(
            place,
            track.estimate,
            hypotheses,
            box=None if track.detection is None else track.detection.bbox_xyxy,
            id=place.name(track.category, track.id),
            track_id=track.id,
            state=STATES[track.state],
            last_seen=self.stamp(track.last_seen_ns),
        )

    def _untracked(self, place: Place, estimate: PoseEstimate) -> Any:
        box, seen = estimate.detection.bbox_xyxy, self.stamp(place.stamp_ns)
        about = {"id": "", "track_id": 0, "state": UNTRACKED, "last_seen": seen}
        return self._object(place, estimate, estimate.hypotheses, box, **about)

    def _object(
        self,
        place: Place,
        estimate: PoseEstimate,
        hypotheses: Sequence[PoseHypothesis],
        box: Array | None,
        **about: Any,
    ) -> Any:
        frame_T_obj = in_frame(place, estimate.cam_T_obj, estimate.scale)
        covariance = covariance_in_frame(place, estimate)
        symmetry = self._symmetry(estimate.category)
        size = estimate.size_m if math.isfinite(estimate.scale) else estimate.size
        return self.make(
            "uop3d_ros/msg/ObjectPose",
            category=estimate.category,
            pose=self.pose_with_covariance(frame_T_obj, covariance),
            pose_known=bool(estimate.found),
            covariance_known=covariance is not None,
            size=self.vector(size),
            scale=float(estimate.scale),
            scale_std=float(estimate.scale_std),
            scale_source=estimate.scale_source,
            score=float(estimate.score),
            other=float(estimate.other),
            hypotheses=[self._hypothesis(place, estimate.scale, hypothesis) for hypothesis in hypotheses],
            symmetry_axis=self.vector(symmetry.axis),
            symmetry_fold=int(symmetry.fold),
            box=np.full(4, np.nan) if box is None else np.array(box, dtype=np.float64),
            **about,
        )

    def _hypothesis(self, place: Place, scale: float, hypothesis: PoseHypothesis) -> Any:
        pose, probability = self.pose(in_frame(place, hypothesis.cam_T_obj, scale)), float(hypothesis.probability)
        return self.make("uop3d_ros/msg/PoseHypothesis", pose=pose, probability=probability)

    def _symmetry(self, category: str) -> Symmetry:
        template = self.templates.get(category)
        return Symmetry.none() if template is None else template.symmetry

    def detections(self, place: Place, placed: Sequence[Placed]) -> Any:
        """vision_msgs/Detection3DArray; `id` is the name of the object's frame."""
        header = self.header(place)
        found = [self._detection(header, each) for each in placed]
        return self.make("vision_msgs/msg/Detection3DArray", header=header, detections=found)

    def _detection(self, header: Any, placed: Placed) -> Any:
        track = placed.track
        hypothesis = self.make(
            "vision_msgs/msg/ObjectHypothesis", class_id=track.category, score=float(track.estimate.score)
        )
        pose = self.pose_with_covariance(placed.frame_T_obj, placed.covariance)
        result = self.make("vision_msgs/msg/ObjectHypothesisWithPose", hypothesis=hypothesis, pose=pose)
        size = self.vector(placed.size)
        box = self.make("vision_msgs/msg/BoundingBox3D", center=self.pose(placed.frame_T_obj), size=size)
        return self.make("vision_msgs/msg/Detection3D", header=header, results=[result], bbox=box, id=placed.name)

    def poses(self, place: Place, placed: Sequence[Placed]) -> Any:
        """geometry_msgs/PoseArray."""
        poses = [self.pose(each.frame_T_obj) for each in placed]
        return self.make("geometry_msgs/msg/PoseArray", header=self.header(place), poses=poses)

    def transforms(self, place: Place, placed: Sequence[Placed]) -> Any:
        """tf2_msgs/TFMessage with a frame per object, a child of the header's frame."""
        header, transforms = self.header(place), []
        for each in placed:
            translation, rotation = self.vector(each.frame_T_obj[:3, 3]), self.quaternion(each.frame_T_obj[:3, :3])
            transform = self.make("geometry_msgs/msg/Transform", translation=translation, rotation=rotation)
            transforms.append(
                self.make(
                    "geometry_msgs/msg/TransformStamped", header=header, child_frame_id=each.name, transform=transform
                )
            )
        return self.make("tf2_msgs/msg/TFMessage", transforms=transforms)
