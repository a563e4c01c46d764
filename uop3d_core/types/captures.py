"""What was filmed: cameras, images, and all images of one object.

Frames: `cam` of every image, `world` of one capture.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from html import escape

import numpy as np

from uop3d_core.types.checks import Array, finite, rigid
from uop3d_core.types.showing import plural, png, vector_text

ImageSource = Array | Callable[[], Array]
"""Pixels, or a function without arguments that reads them (so that a capture need not fit in memory)."""
LENSES = {"pinhole": (0,), "brown": (4, 5, 8, 12, 14), "fisheye": (4,)}
"""Lens models with the numbers of coefficients that they may have, in OpenCV's order."""


@dataclass(frozen=True, eq=False)
class Camera:
    """Camera, with or without lens distortion.

    Attributes:
        K: (3, 3) intrinsics in pixels; integer coordinates are pixel centres.
        width: image width in pixels.
        height: image height in pixels.
        lens: "pinhole" (no distortion), "brown" (k1 k2 p1 p2 [k3 [k4 k5 k6 ...]]; plumb_bob and rational_polynomial
            of ROS) or "fisheye" (k1 k2 k3 k4; equidistant of ROS).
        distortion: coefficients of the lens.

    Examples:
        >>> Camera(K=[[600, 0, 319.5], [0, 600, 239.5], [0, 0, 1]], width=640, height=480)
        <Camera: 640 x 480 pixels, pinhole, focal lengths 600.0, 600.0, centre 319.5, 239.5>
        >>> Camera(K=[[600, 0, 319.5], [0, 0, 239.5], [0, 0, 1]], width=640, height=480)
        Traceback (most recent call last):
        ...
        ValueError: Camera.K is not [[fx, s, cx], [0, fy, cy], [0, 0, 1]] with positive focals:
        ...
    """

    K: Array
    width: int
    height: int
    lens: str = "pinhole"
    distortion: Array = field(default_factory=lambda: np.zeros(0))

    def __post_init__(self) -> None:
        K = finite(self.K, (3, 3), "Camera.K")
        if K[0, 0] <= 0 or K[1, 1] <= 0 or not np.allclose(K[[1, 2, 2, 2], [0, 0, 1, 2]], [0, 0, 0, 1]):
            raise ValueError(f"Camera.K is not [[fx, s, cx], [0, fy, cy], [0, 0, 1]] with positive focals:\n{K}")
        if self.width < 1 or self.height < 1:
            raise ValueError(f"Camera size must be positive, got {self.width} x {self.height}")
        if self.lens not in LENSES:
            raise ValueError(f"Camera.lens {self.lens!r} is unknown; it is one of {', '.join(LENSES)}")
        distortion = finite(self.distortion, (None,), "Camera.distortion")
        if len(distortion) not in LENSES[self.lens]:
            raise ValueError(
                f"Camera.distortion of a {self.lens} lens has {len(distortion)} coefficients, expected "
                f"{' or '.join(str(n) for n in LENSES[self.lens])}"
            )
        object.__setattr__(self, "distortion", distortion)
        object.__setattr__(self, "K", K)
        object.__setattr__(self, "width", int(self.width))
        object.__setattr__(self, "height", int(self.height))

    def __repr__(self) -> str:
        (fx, _, cx), (_, fy, cy), _ = self.K.tolist()
        where = f"focal lengths {fx:.1f}, {fy:.1f}, centre {cx:.1f}, {cy:.1f}"
        return f"<Camera: {self.width} x {self.height} pixels, {self.lens}, {where}>"


def _read(source: ImageSource) -> Array:
    return source() if callable(source) else source


@dataclass(frozen=True, eq=False)
class Frame:
    """One image with its camera; the pixels may stay on disk until they are asked for.

    Attributes:
        name: unique within its capture.
        camera: intrinsics of this image.
        image_source: (H, W, 3) uint8 RGB pixels or a function that reads them.
        cam_T_world: (4, 4) rigid transform, or None where unknown (a live image).
        mask_source: (H, W) bool object mask or a function that reads it, or None.

    Examples:
        >>> camera = Camera(K=[[600, 0, 319.5], [0, 600, 239.5], [0, 0, 1]], width=640, height=480)
        >>> frame = Frame("photo", camera, np.zeros((480, 640, 3), dtype=np.uint8))
        >>> frame
        <Frame photo: 640 x 480 pixels, without pose and mask>
        >>> frame.image.shape
        (480, 640, 3)
    """

    name: str
    camera: Camera
    image_source: ImageSource
    cam_T_world: Array | None = None
    mask_source: ImageSource | None = None

    def __post_init__(self) -> None:
        if self.cam_T_world is not None:
            object.__setattr__(self, "cam_T_world", rigid(self.cam_T_world, f"cam_T_world of frame {self.name}"))

    def __repr__(self) -> str:
        known = [word for word, value in (("pose", self.cam_T_world), ("mask", self.mask_source)) if value is not None]
        size = f"{self.camera.width} x {self.camera.height} pixels"
        return f"<Frame {self.name}: {size}, {' and '.join(known) + ' known' if known else 'without pose and mask'}>"

    def _repr_png_(self) -> bytes:
        """The image, as notebooks show it."""
        return png(self.image, 480)

    def _sized(self, pixels: Array, what: str) -> Array:
        if pixels.shape[:2] != (self.camera.height, self.camera.width):
            raise ValueError(
                f"{what} of frame {self.name} is {pixels.shape[1]} x {pixels.shape[0]} pixels, but its camera says "
                f"{self.camera.width} x {self.camera.height}: correct w and h (and the focal length) or the file"
            )
        return pixels

    @property
    def image(self) -> Array:
        """(H, W, 3) uint8 RGB.

        Raises:
            ValueError: the pixels do not fit the camera or are not uint8 RGB.
        """
        image = _read(self.image_source)
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(f"image of frame {self.name} must be uint8 (H, W, 3), got {image.dtype} {image.shape}")
        return self._sized(image, "image")

    @property
    def mask(self) -> Array:
        """(H, W) bool, True on the object.

        Raises:
            ValueError: there is no mask, or it does not fit the camera.
        """
        if self.mask_source is None:
            raise ValueError(f"frame {self.name} has no mask")
        mask = _read(self.mask_source)
        if mask.dtype != np.bool_ or mask.ndim != 2:
            raise ValueError(f"mask of frame {self.name} must be bool (H, W), got {mask.dtype} {mask.shape}")
        return self._sized(mask, "mask")


@dataclass(frozen=True, eq=False)
class Capture:
    """One object-centric video: frames with cameras and masks in one world frame.

    Attributes:
        name: unique within the category.
        frames: at least two frames with cam_T_world and mask.
        points: (N, 3) surface points in the world frame, or None.
        up: (3,) unit vector in the world frame against gravity, or None where that was not measured.
    """

    name: str
    frames: tuple[Frame, ...]
    points: Array | None = None
    up: Array | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "frames", tuple(self.frames))
        if len(self.frames) < 2:
            raise ValueError(
                f"capture {self.name} has {len(self.frames)} frame(s): at least 2 are needed, 20 or more work well"
            )
        for frame in self.frames:
            if frame.cam_T_world is None:
                raise ValueError(f"frame {frame.name} of capture {self.name} has no camera pose")
        if self.points is not None:
            object.__setattr__(self, "points", finite(self.points, (None, 3), f"points of capture {self.name}"))
        if self.up is not None:
            up = finite(self.up, (3,), f"up of capture {self.name}")
            if abs(np.linalg.norm(up) - 1) > 1e-6:
                raise ValueError(f"up of capture {self.name} must be a unit vector, got {up.tolist()}")
            object.__setattr__(self, "up", up)

    def __repr__(self) -> str:
        sizes = sorted({(frame.camera.width, frame.camera.height) for frame in self.frames})
        size = " and ".join(f"{width} x {height}" for width, height in sizes[:2]) + (" and more" * (len(sizes) > 2))
        points = "no points" if self.points is None else plural(len(self.points), "point")
        up = "up not measured" if self.up is None else f"up {vector_text(self.up)}"
        return f"<Capture {self.name}: {len(self.frames)} frames of {size} pixels, {points}, {up}>"

    def _repr_html_(self) -> str:
        """A line and six of the pictures, as notebooks show it."""
        shown = self.frames[:: -(-len(self.frames) // 6)]
        pictures = (
            f'<img alt="{escape(frame.name)}" title="{escape(frame.name)}" '
            f'src="data:image/png;base64,{b64encode(png(frame.image, 150)).decode()}">'
            for frame in shown
        )
        return f"<div>{escape(repr(self))}</div><div>{' '.join(pictures)}</div>"
