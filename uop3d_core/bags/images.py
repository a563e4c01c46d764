"""Pixels of sensor_msgs Image and CompressedImage messages.

In: messages. Out: images (H, W, 3) uint8 RGB; depth (H, W) float32 metres, NaN unknown (REP 118: 16UC1 mm, 32FC1 m).
Rows may be padded (`step`) and numbers big-endian (`is_bigendian`).
"""

from __future__ import annotations

import io
import struct
from typing import Any

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from uop3d_core.geometry import Array
from uop3d_core.images import depth_from_millimetres

COLOURS = {
    "rgb8": [0, 1, 2],
    "bgr8": [2, 1, 0],
    "8UC3": [2, 1, 0],
    "rgba8": [0, 1, 2],
    "bgra8": [2, 1, 0],
    "8UC4": [2, 1, 0],
}
"""Where red, green and blue stand; images without a colour's name are OpenCV's."""
CHANNELS = {"rgba8": 4, "bgra8": 4, "8UC4": 4}
GREY = {"mono8": "u1", "8UC1": "u1", "mono16": "u2"}
BAYER = {
    "bayer_rggb8": cv2.COLOR_BayerRGGB2RGB,
    "bayer_bggr8": cv2.COLOR_BayerBGGR2RGB,
    "bayer_gbrg8": cv2.COLOR_BayerGBRG2RGB,
    "bayer_grbg8": cv2.COLOR_BayerGRBG2RGB,
}
YUV = {
    "yuv422": cv2.COLOR_YUV2RGB_UYVY,
    "uyvy": cv2.COLOR_YUV2RGB_UYVY,
    "yuv422_yuy2": cv2.COLOR_YUV2RGB_YUYV,
    "yuyv": cv2.COLOR_YUV2RGB_YUYV,
}
DEPTHS = {"16UC1": "u2", "mono16": "u2", "32FC1": "f4"}
COMPRESSED_DEPTH_HEADER = 12
"""Bytes before the PNG of a compressedDepth message: a number for the format and two floats."""


def rgb_of(message: Any) -> Array:
    """Image (H, W, 3) uint8 of an Image or CompressedImage.

    Raises:
        ValueError: the encoding is unknown, or size and data do not fit together; the message says what to do.
    """
    return _compressed(message) if hasattr(message, "format") else _raw(message)


def depth_of(message: Any) -> Array:
    """Depth (H, W) float32 metres, NaN unknown, of an Image, or of a CompressedImage as compressedDepth makes them.

    Raises:
        ValueError: as `rgb_of`.
    """
    if hasattr(message, "format"):
        return _compressed_depth(message)
    if message.encoding not in DEPTHS:
        raise ValueError(f"depth has encoding {message.encoding!r}: it must be 16UC1 (mm) or 32FC1 (m)")
    pixels = _pixels(message, DEPTHS[message.encoding], 1)[:, :, 0]
    return depth_from_millimetres(pixels) if pixels.dtype == np.uint16 else _metres(pixels)


def is_depth(message: Any) -> bool:
    """Whether an Image or CompressedImage holds depth rather than a picture."""
    kind = message.format if hasattr(message, "format") else message.encoding
    return "compressedDepth" in kind or kind in ("16UC1", "32FC1")


def _raw(message: Any) -> Array:
    encoding = message.encoding
    if encoding in COLOURS:
        return np.ascontiguousarray(_pixels(message, "u1", CHANNELS.get(encoding, 3))[:, :, COLOURS[encoding]])
    if encoding in GREY:
        grey = _pixels(message, GREY[encoding], 1)
        return np.repeat((grey >> 8 if grey.dtype == np.uint16 else grey).astype(np.uint8), 3, axis=2)
    if encoding in BAYER:
        mosaic = _pixels(message, "u1", 1)
        if min(mosaic.shape[:2]) < 2:
            raise ValueError(f"a {encoding} image of {message.width} x {message.height} pixels has no colours")
        return cv2.cvtColor(mosaic, BAYER[encoding])
    if encoding in YUV:
        if message.width % 2:
            raise ValueError(f"a {encoding} image must be an even number of pixels wide, not {message.width}")
        return cv2.cvtColor(_pixels(message, "u1", 2), YUV[encoding])
    known = ", ".join([*COLOURS, *GREY, *BAYER, *YUV])
    raise ValueError(f"image encoding {encoding!r} is not known ({known}): convert it, as image_proc does")


def _pixels(message: Any, kind: str, channels: int) -> Array:
    """(H, W, channels) of an Image whose numbers are of a kind; a view where that is possible."""
    height, width, step, data = int(message.height), int(message.width), int(message.step), message.data
    dtype = np.dtype(kind).newbyteorder(">" if message.is_bigendian else "<")
    row = width * channels * dtype.itemsize
    if height < 1 or width < 1:
        raise ValueError(f"the image has {width} x {height} pixels")
    if step < row:
        raise ValueError(f"step is {step}, but {width} pixels of {message.encoding} take {row} bytes")
    if len(data) < step * (height - 1) + row:
        raise ValueError(f"{len(data)} bytes, but {height} rows of {step} are {step * height}: the image is cut off")
    rows = np.frombuffer(np.ascontiguousarray(data, np.uint8), np.uint8)
    rows = np.lib.stride_tricks.as_strided(rows, (height, row), (step, 1), writeable=False)
    pixels = np.ascontiguousarray(rows).view(dtype).reshape(height, width, channels)
    return pixels.astype(dtype.newbyteorder("="), copy=False)


def _decoded(data: Any, mode: str | None) -> Array:
    if len(data) == 0:
        raise ValueError("the compressed image has no data")
    try:
        with Image.open(io.BytesIO(bytes(data))) as image:
            return np.array(image.convert(mode) if mode else image)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"the compressed image cannot be read ({error})") from error


def _compressed(message: Any) -> Array:
    if "compressedDepth" in message.format:
        raise ValueError("this is depth (compressedDepth), not a picture: choose another topic")
    return _decoded(message.data, "RGB")


def _compressed_depth(message: Any) -> Array:
    """As compressed_depth_image_transport: PNG of millimetres, or of 1 / metres as `a / value + b`-coded integers."""
    if "compressedDepth" not in message.format:
        raise ValueError(f"depth has format {message.format!r}: only compressedDepth keeps the distances")
    if "rvl" in message.format.lower():
        raise ValueError("depth compressed with RVL is not known: record it as PNG or raw")
    data = bytes(message.data)
    if len(data) <= COMPRESSED_DEPTH_HEADER:
        raise ValueError("the compressed depth has no data")
    coded = _decoded(data[COMPRESSED_DEPTH_HEADER:], None)
    if coded.ndim != 2 or coded.min() < 0 or coded.max() > 65535:
        raise ValueError(f"the compressed depth is no 16-bit grey image but {coded.dtype} {coded.shape}")
    if message.format.startswith("32FC1"):
        a, b = struct.unpack("<ff", data[4:COMPRESSED_DEPTH_HEADER])
        with np.errstate(divide="ignore"):
            return _metres(np.where(coded > 0, a / (coded.astype(np.float32) - np.float32(b)), np.nan))
    return depth_from_millimetres(coded.astype(np.uint16))


def _metres(depth: Array) -> Array:
    """Float32 with NaN for what is no distance."""
    usable = np.isfinite(depth) & (depth > 0)
    return np.where(usable, depth, np.nan).astype(np.float32)
