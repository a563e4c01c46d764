"""Images, depth images and point clouds of ROS as arrays.

In: sensor_msgs Image, CompressedImage, PointCloud2. Out: (H, W, 3) uint8 RGB, (H, W) float metres, (N, 3) float metres.
Everything that is wrong with a message is a ValueError that says what.
"""

from __future__ import annotations

import sys
from array import array
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image, PointCloud2
from sensor_msgs_py import point_cloud2

from uop3d_core.images import depth_from_millimetres

Array = NDArray[Any]
DEPTH_ENCODINGS = ("16UC1", "mono16", "32FC1")


class Pixels:
    """Reads images through cv_bridge."""

    def __init__(self) -> None:
        """Load cv_bridge.

        Raises:
            ImportError: it is not there, or was built for another NumPy or Python.
        """
        try:
            from cv_bridge import CvBridge
            from cv_bridge.boost import cv_bridge_boost  # noqa: F401  # without it only some conversions work
        except ImportError as error:
            raise ImportError(
                f"cv_bridge cannot be loaded ({error}): install ros-$ROS_DISTRO-cv-bridge; if it was built for another "
                "NumPy, put the one it wants into the virtual environment, or build vision_opencv in your workspace"
            ) from error
        self._bridge = CvBridge()

    def rgb(self, message: Image | CompressedImage) -> Array:
        """An image as (H, W, 3) uint8 RGB.

        Raises:
            ValueError: it is empty, truncated, damaged or of an unknown encoding.
        """
        if isinstance(message, CompressedImage):
            return self._decompressed(message)
        _check_size(message)
        return self._converted(message, "passthrough" if message.encoding == "rgb8" else "rgb8")  # without a copy

    def depth(self, message: Image) -> Array:
        """A depth image (REP 118) as (H, W) float32 metres; 0 or NaN where unknown.

        Raises:
            ValueError: as above, or it is neither 16UC1 in millimetres nor 32FC1 in metres.
        """
        if message.encoding not in DEPTH_ENCODINGS:
            raise ValueError(
                f"depth image has encoding {message.encoding!r}; known are 16UC1 (millimetres) and 32FC1 (metres)"
            )
        _check_size(message)
        depth = self._converted(message, "passthrough")
        return depth_from_millimetres(depth.astype(np.uint16)) if depth.dtype.itemsize == 2 else depth

    def _converted(self, message: Image, encoding: str) -> Array:
        try:
            return np.ascontiguousarray(self._bridge.imgmsg_to_cv2(self._native(message), encoding))
        except Exception as error:  # cv_bridge raises many kinds, OpenCV's among them
            raise ValueError(f"image with encoding {message.encoding!r} cannot be converted ({error})") from error

    def _native(self, message: Image) -> Image:
        """The same image in the byte order of this machine; cv_bridge up to 4.1 cannot swap bytes with NumPy 2."""
        big = sys.byteorder == "big"
        if bool(message.is_bigendian) == big:
            return message
        kind, _ = self._bridge.encoding_to_dtype_with_channels(message.encoding)
        numbers = np.frombuffer(message.data, kind, message.step * message.height // np.dtype(kind).itemsize)
        return Image(
            header=message.header,
            height=message.height,
            width=message.width,
            encoding=message.encoding,
            step=message.step,
            is_bigendian=int(big),
            data=array("B", numbers.byteswap().tobytes()),
        )

    def _decompressed(self, message: CompressedImage) -> Array:
        import cv2

        content = np.frombuffer(message.data, np.uint8)
        try:
            image = cv2.imdecode(content, cv2.IMREAD_COLOR) if len(content) else None
        except cv2.error as error:
            raise ValueError(f"compressed image ({message.format!r}) cannot be read ({error})") from error
        if image is None:
            raise ValueError(f"compressed image ({message.format!r}, {len(content)} bytes) cannot be read")
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def points(message: PointCloud2) -> Array:
    """The finite points of a cloud, (N, 3) float64 metres in its frame.

    Raises:
        ValueError: it has no x, y, z, or is truncated.
    """
    expected = message.row_step * message.height
    if len(message.data) < expected:
        raise ValueError(f"point cloud is truncated: {len(message.data)} of {expected} bytes")
    try:
        cloud = point_cloud2.read_points(message, ("x", "y", "z"), skip_nans=True)
    except (AssertionError, ValueError, TypeError) as error:
        raise ValueError(f"point cloud cannot be read ({error})") from error
    return np.stack([np.asarray(cloud[name], np.float64).reshape(-1) for name in ("x", "y", "z")], axis=-1)


def _check_size(message: Image) -> None:
    if message.width < 1 or message.height < 1:
        raise ValueError(f"image has {message.width} x {message.height} pixels")
    expected = message.step * message.height
    if len(message.data) < expected or message.step < message.width:
        raise ValueError(
            f"image of {message.width} x {message.height} pixels is truncated: {len(message.data)} bytes, rows of "
            f"{message.step}"
        )
