"""Made-up recordings with exact answers: a film as a robot's camera and detector would have sent it.

In: a Film. Out: a recording with images, camera_info, boxes of the true masks, aligned depth and the camera's motion.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from uop3d_core.bags.definitions import message_class
from uop3d_core.bags.reading import TF, TF_STATIC
from uop3d_core.bags.writing import writing
from uop3d_core.capture.synthetic.film import Film, Shot
from uop3d_core.geometry import Array, inverse_rigid
from uop3d_core.images import mask_box
from uop3d_core.messages.building import Messages
from uop3d_core.messages.placing import Place
from uop3d_core.types import Camera

IMAGE, INFO, DEPTH = "/camera/image_raw", "/camera/camera_info", "/camera/aligned_depth/image_raw"
DETECTIONS = "/detector/detections"
OPTICAL, BODY, FIXED = "camera_optical_frame", "camera_link", "table"
BODY_R_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
LINK_MS, DETECTOR_MS = 5, 80
"""How long images, and boxes after them, are on their way."""


@dataclass(frozen=True)
class Sent:
    """A message on its way into a recording.

    Attributes:
        topic: where.
        log_ns: when it arrives.
        message: what.
    """

    topic: str
    log_ns: int
    message: Any


def write_film(path: Path, film: Film, label: str = "mug", depth: bool = True, sqlite: bool = False) -> None:
    """Write a film as a recording, .mcap, or .db3 where `sqlite`."""
    with writing(path, sqlite) as bag:
        for sent in messages_of(film, label, depth):
            bag.write(sent.topic, sent.log_ns, sent.message)


def messages_of(film: Film, label: str = "mug", depth: bool = True) -> list[Sent]:
    """All messages of a film in the order of their arrival.

    Args:
        film: what is seen.
        label: what the detector calls the objects.
        depth: send depth images, too.
    """
    build = Messages(message_class, {})
    sent = [Sent(TF_STATIC, film.shots[0].stamp_ns, _transforms(build, 0, BODY, OPTICAL, _mount()))]
    for shot in film.shots:
        sent += _shot(build, film.camera, shot, label, depth)
    return sorted(sent, key=lambda each: each.log_ns)


def _shot(build: Messages, camera: Camera, shot: Shot, label: str, depth: bool) -> Iterator[Sent]:
    place, arrival = Place(shot.stamp_ns, OPTICAL), shot.stamp_ns + LINK_MS * 1_000_000
    fixed_T_body = inverse_rigid(_mount() @ shot.cam_T_fixed)
    yield Sent(TF, shot.stamp_ns, _transforms(build, shot.stamp_ns, FIXED, BODY, fixed_T_body))
    yield Sent(INFO, arrival, camera_info(build, place, camera))
    yield Sent(IMAGE, arrival, image_message(build, place, shot.image, "rgb8"))
    if depth:
        millimetres = np.nan_to_num(1000 * shot.depth, nan=0).round().astype(np.uint16)
        yield Sent(DEPTH, arrival + 1_000_000, image_message(build, place, millimetres, "16UC1"))
    boxes = [mask_box(mask) for mask in shot.masks if mask.any()]
    yield Sent(DETECTIONS, arrival + DETECTOR_MS * 1_000_000, detections_message(build, place, boxes, label))


def _mount() -> Array:
    """body_T_optical: the camera looks ahead."""
    T = np.eye(4)
    T[:3, :3] = BODY_R_OPTICAL
    return T


def image_message(build: Messages, place: Place, pixels: Array, encoding: str) -> Any:
    """sensor_msgs/Image of (H, W) or (H, W, C) pixels of this machine's byte order."""
    rows = np.ascontiguousarray(pixels).reshape(pixels.shape[0], -1)
    return build.make(
        "sensor_msgs/msg/Image",
        header=build.header(place),
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding=encoding,
        is_bigendian=0,
        step=rows.nbytes // len(rows),
        data=rows.view(np.uint8).reshape(-1),
    )


def camera_info(build: Messages, place: Place, camera: Camera) -> Any:
    """sensor_msgs/CameraInfo of a camera without lens distortion."""
    region = build.make("sensor_msgs/msg/RegionOfInterest", x_offset=0, y_offset=0, height=0, width=0, do_rectify=False)
    return build.make(
        "sensor_msgs/msg/CameraInfo",
        header=build.header(place),
        height=camera.height,
        width=camera.width,
        distortion_model="plumb_bob",
        d=np.zeros(5),
        k=camera.K.reshape(9),
        r=np.eye(3).reshape(9),
        p=np.column_stack([camera.K, np.zeros(3)]).reshape(12),
        binning_x=0,
        binning_y=0,
        roi=region,
    )


def detections_message(build: Messages, place: Place, boxes: list[Array], label: str) -> Any:
    """vision_msgs/Detection2DArray of (4,) xyxy boxes."""
    header = build.header(place)
    found = [_detection(build, header, box, label) for box in boxes]
    return build.make("vision_msgs/msg/Detection2DArray", header=header, detections=found)


def _detection(build: Messages, header: Any, box: Array, label: str) -> Any:
    middle = build.make("vision_msgs/msg/Point2D", x=float(box[0] + box[2]) / 2, y=float(box[1] + box[3]) / 2)
    centre = build.make("vision_msgs/msg/Pose2D", position=middle, theta=0.0)
    width, height = float(box[2] - box[0]), float(box[3] - box[1])
    bbox = build.make("vision_msgs/msg/BoundingBox2D", center=centre, size_x=width, size_y=height)
    hypothesis = build.make("vision_msgs/msg/ObjectHypothesis", class_id=label, score=0.9)
    pose = build.pose_with_covariance(np.eye(4), np.zeros((6, 6)))
    result = build.make("vision_msgs/msg/ObjectHypothesisWithPose", hypothesis=hypothesis, pose=pose)
    return build.make("vision_msgs/msg/Detection2D", header=header, results=[result], bbox=bbox, id="")


def _transforms(build: Messages, stamp_ns: int, parent: str, child: str, parent_T_child: Array) -> Any:
    """tf2_msgs/TFMessage with one transform."""
    translation, rotation = build.vector(parent_T_child[:3, 3]), build.quaternion(parent_T_child[:3, :3])
    transform = build.make("geometry_msgs/msg/Transform", translation=translation, rotation=rotation)
    stamped = build.make(
        "geometry_msgs/msg/TransformStamped",
        header=build.header(Place(stamp_ns, parent)),
        child_frame_id=child,
        transform=transform,
    )
    return build.make("tf2_msgs/msg/TFMessage", transforms=[stamped])
