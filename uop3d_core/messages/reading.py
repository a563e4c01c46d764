"""ROS messages read by their attributes, whoever made them: rclpy, rosbags, or anything of the same form.

In: messages of sensor_msgs, vision_msgs, yolo_msgs, geometry_msgs, std_msgs. Out: Camera, Detections, transforms.
Pixels: those of the image that the message belongs to. Images are not decoded here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from uop3d_core.geometry import Array, rigid
from uop3d_core.messages.quaternions import quat_xyzw_to_rotation
from uop3d_core.types import Camera, Detection

LENSES = {"plumb_bob": "brown", "rational_polynomial": "brown", "equidistant": "fisheye", "fisheye": "fisheye"}
"""Distortion models of ROS."""
ANY_LABEL = "*"
"""Key of a label table that stands for all labels that are not in it."""


def stamp_ns(stamp: Any) -> int:
    """Nanoseconds of a builtin_interfaces/Time."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def camera_of(info: Any, rectified: bool = False) -> Camera:
    """The camera of a sensor_msgs/CameraInfo, for the image as it is sent: binned, and cut to the region of interest.

    Args:
        info: of the image.
        rectified: whether the image is rectified. Then P holds and there is no distortion; else K and D.

    Raises:
        ValueError: the camera is not calibrated, its lens unknown, or its image has no size.
    """
    if rectified:
        P = np.array(info.p, dtype=np.float64).reshape(3, 4)
        K, distortion, lens = P[:, :3], np.zeros(0), "pinhole"
        if abs(P[0, 3]) > 1e-6 * max(abs(P[0, 0]), 1) or abs(P[1, 3]) > 1e-6 * max(abs(P[1, 1]), 1):
            raise ValueError(
                f"camera_info: P has the offset {P[:2, 3].tolist()} of the second camera of a stereo pair, which does "
                "not stand at the origin of its frame: use the first camera, or the images that are not rectified"
            )
    else:
        K = np.array(info.k, dtype=np.float64).reshape(3, 3)
        lens, distortion = _lens(str(info.distortion_model), np.array(info.d, dtype=np.float64))
    if not np.isfinite(K).all() or K[0, 0] <= 0 or K[1, 1] <= 0:
        raise ValueError(
            f"camera_info: {'P' if rectified else 'K'} is {K.tolist()}, so the camera is not calibrated: calibrate it "
            "(ros2 run camera_calibration cameracalibrator) and let its driver publish the result"
        )
    return _as_sent(info, K, lens, distortion)


def _lens(model: str, distortion: Array) -> tuple[str, Array]:
    """Name and coefficients of a lens as `Camera` has them."""
    lens = LENSES.get(model)
    if lens != "fisheye" and not distortion.any():
        return "pinhole", np.zeros(0)
    if lens is None:
        raise ValueError(
            f"camera_info: unknown distortion_model {model!r} with coefficients {distortion.tolist()}; known are "
            f"{', '.join(LENSES)}: rectify the images (image_proc) and set the parameter 'rectified'"
        )
    return lens, distortion


def _as_sent(info: Any, K: Array, lens: str, distortion: Array) -> Camera:
    """K, which holds for the whole sensor, brought to the pixels of the images."""
    bins = np.array([max(1, int(info.binning_x)), max(1, int(info.binning_y))])
    corner, size = np.zeros(2), np.array([int(info.width), int(info.height)])
    if info.roi.width and info.roi.height:
        corner = np.array([info.roi.x_offset, info.roi.y_offset], dtype=np.float64)
        size = np.array([int(info.roi.width), int(info.roi.height)])
    sent = K.copy()
    sent[:2, 2] -= corner + (bins - 1) / 2  # a binned pixel has its centre in the middle of those it is made of
    sent[:2] /= bins[:, None]
    width, height = size // bins
    if width < 1 or height < 1:
        raise ValueError(f"camera_info: says that images have {width} x {height} pixels: its driver has to fill it in")
    return Camera(sent, int(width), int(height), lens, distortion)


@dataclass(frozen=True)
class Labels:
    """What detectors call the categories.

    Attributes:
        names: category by the detector's label; "" as category means: try all. The key "*" stands for all other labels.
            Labels that are not in it stay as they are.
    """

    names: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, entries: list[str]) -> Labels:
        """Read entries of the form LABEL=CATEGORY.

        Raises:
            ValueError: an entry is of another form, or a label is there twice.
        """
        names: dict[str, str] = {}
        for entry in filter(None, (text.strip() for text in entries)):
            label, equals, category = (part.strip() for part in entry.partition("="))
            if not equals or not label:
                raise ValueError(f"label {entry!r} must have the form DETECTOR_LABEL=CATEGORY, as in cup=mug")
            if label in names:
                raise ValueError(f"label {label!r} is there twice")
            names[label] = category
        return cls(names)

    def __call__(self, label: str) -> str:
        """The category of a detector's label."""
        return self.names.get(label, self.names.get(ANY_LABEL, label))


def detections_of(message: Any, labels: Labels | None = None) -> tuple[list[Detection], list[str]]:
    """Detections of a vision_msgs/Detection2DArray (as of ROS 2 Humble) with the label of the best hypothesis.

    Returns:
        The detections, and one sentence for every one that cannot be used.
    """

    def read(item: Any) -> Detection:
        box, label, score = item.bbox, "", 1.0
        if item.results:
            best = max(item.results, key=lambda result: result.hypothesis.score).hypothesis
            label, score = str(best.class_id), float(best.score)
        centre = box.center.position
        return _detection(centre.x, centre.y, box.size_x, box.size_y, box.center.theta, label, score)

    return _readable(message.detections, read, labels)


def yolo_detections_of(message: Any, labels: Labels | None = None) -> tuple[list[Detection], list[str]]:
    """The same of a yolo_msgs/DetectionArray."""

    def read(item: Any) -> Detection:
        centre, size = item.bbox.center, item.bbox.size
        position = centre.position
        return _detection(position.x, position.y, size.x, size.y, centre.theta, str(item.class_name), item.score)

    return _readable(message.detections, read, labels)


def _readable(items: Any, read: Callable[[Any], Detection], labels: Labels | None) -> tuple[list[Detection], list[str]]:
    found, complaints = [], []
    for index, item in enumerate(items):
        try:
            detection = read(item)
            label = labels(detection.label) if labels else detection.label
            found.append(Detection(detection.bbox_xyxy, label, detection.score, detection.mask))
        except (ValueError, AttributeError) as error:
            complaints.append(f"detection {index}: {error}")
    return found, complaints


def _detection(x: float, y: float, width: float, height: float, theta: float, label: str, score: float) -> Detection:
    """The upright box around a box that is turned by `theta` radians."""
    if not (0 < width < math.inf and 0 < height < math.inf):
        raise ValueError(f"its box is {width} x {height} pixels")
    if not 0 <= score <= 1:
        raise ValueError(f"its score is {score}, not from 0 to 1")
    c, s = abs(math.cos(theta)), abs(math.sin(theta))
    half_x, half_y = (c * width + s * height) / 2, (s * width + c * height) / 2
    return Detection(np.array([x - half_x, y - half_y, x + half_x, y + half_y]), label, float(score))


def transform_of(transform: Any) -> Array:
    """(4, 4) rigid transform of a geometry_msgs/Transform: it maps the child's coordinates to the parent's.

    Raises:
        ValueError: it is not finite, or its rotation is not a unit quaternion.
    """
    return _rigid(transform.translation, transform.rotation, "transform")


def pose_transform_of(pose: Any) -> Array:
    """(4, 4) rigid transform of a geometry_msgs/Pose; translation in the unit of the message.

    Raises:
        ValueError: the position is not finite, or the orientation is not a unit quaternion.
    """
    return _rigid(pose.position, pose.orientation, "pose")


def _rigid(position: Any, q: Any, what: str) -> Array:
    t = np.array([position.x, position.y, position.z], dtype=np.float64)
    if not np.isfinite(t).all():
        raise ValueError(f"the position of the {what} is not finite: {t.tolist()}")
    return rigid(quat_xyzw_to_rotation((q.x, q.y, q.z, q.w)), t)
