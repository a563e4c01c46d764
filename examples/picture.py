#!/usr/bin/env python3
"""Saves the camera's image with what RViz would show drawn in, once there is an object: for machines without RViz.

python3 examples/picture.py picture.jpg      (pose_node is running; images are raw, poses in the camera's frame)
"""

import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rclpy
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, Image
from visualization_msgs.msg import Marker, MarkerArray

from uop3d_core.cameras import pixels_of
from uop3d_core.geometry import Array, transform
from uop3d_core.messages.reading import camera_of, pose_transform_of, stamp_ns
from uop3d_core.types import Camera
from uop3d_ros.pixels import Pixels

LIGHT = np.array([0.3, -0.6, -0.75])


class Painter(Node):
    """Waits for an image whose objects it knows, and draws them."""

    def __init__(self, path: Path) -> None:
        """Listen."""
        super().__init__("picture")
        self.path, self.done = path, False
        self._images: dict[int, Image] = {}
        self._info: CameraInfo | None = None
        self.create_subscription(Image, "image", self._keep, qos_profile_sensor_data)
        self.create_subscription(CameraInfo, "camera_info", self._camera, qos_profile_sensor_data)
        self.create_subscription(MarkerArray, "pose_node/markers", self._draw, 10)

    def _keep(self, image: Image) -> None:
        self._images[stamp_ns(image.header.stamp)] = image
        self._images = dict(list(self._images.items())[-60:])

    def _camera(self, info: CameraInfo) -> None:
        self._info = info

    def _draw(self, message: MarkerArray) -> None:
        shown = [marker for marker in message.markers if marker.action == Marker.ADD]
        image = self._images.get(stamp_ns(shown[0].header.stamp)) if shown else None
        if image is None or self._info is None or self.done:
            return
        picture = Pixels().rgb(image).copy()
        for marker in shown:
            draw(picture, camera_of(self._info), marker)
        cv2.imwrite(str(self.path), picture[..., ::-1])
        self.done = True


def draw(picture: Array, camera: Camera, marker: Marker) -> None:
    """One marker: triangles, lines or text."""
    cam_T_marker = pose_transform_of(marker.pose)
    scale = marker.scale.x if marker.type == Marker.TRIANGLE_LIST else 1.0
    local = scale * np.array([[p.x, p.y, p.z] for p in marker.points]).reshape(-1, 3)
    points = transform(cam_T_marker, local)
    if marker.type == Marker.TRIANGLE_LIST:
        draw_triangles(picture, pixels_of(camera, points).reshape(-1, 3, 2), points.reshape(-1, 3, 3), marker.color)
    elif marker.type == Marker.LINE_LIST:
        for (a, b), colour in zip(pixels_of(camera, points).reshape(-1, 2, 2), marker.colors[::2], strict=True):
            cv2.line(picture, whole(a), whole(b), rgb(colour), 2, cv2.LINE_AA)
    elif marker.type == Marker.TEXT_VIEW_FACING:
        place = whole(pixels_of(camera, cam_T_marker[:3, 3]))
        cv2.putText(picture, marker.text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, cv2.LINE_AA)


def draw_triangles(picture: Array, corners: Array, points: Array, colour: Any) -> None:
    """Faces towards the camera, the farthest first, with the marker's transparency."""
    normals = np.cross(points[:, 1] - points[:, 0], points[:, 2] - points[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    layer = picture.copy()
    for i in np.argsort(-points[:, :, 2].mean(1)):
        if normals[i] @ points[i, 0] < 0:
            shade = 0.5 + 0.5 * max(0.0, float(normals[i] @ LIGHT))
            cv2.fillConvexPoly(
                layer, np.rint(corners[i]).astype(np.int32), [shade * c for c in rgb(colour)], cv2.LINE_AA
            )
    picture[:] = cv2.addWeighted(layer, colour.a, picture, 1 - colour.a, 0)


def rgb(colour: Any) -> tuple[float, float, float]:
    """0..255."""
    return 255 * colour.r, 255 * colour.g, 255 * colour.b


def whole(pixel: Array) -> tuple[int, int]:
    """The nearest pixel."""
    return int(round(float(pixel[0]))), int(round(float(pixel[1])))


if __name__ == "__main__":
    rclpy.init()
    painter = Painter(Path(sys.argv[1]))
    while rclpy.ok() and not painter.done:
        rclpy.spin_once(painter, timeout_sec=0.2)
