"""What a recording measured of distances, brought to the camera: aligned depth images and point clouds.

In: sensor_msgs Image, CompressedImage and PointCloud2 messages, Transforms. Out: (H, W) float32 or (N, 3) float64
metres in the camera's optical frame.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from uop3d_core.bags.images import depth_of
from uop3d_core.bags.transforms import Transforms
from uop3d_core.geometry import Array, transform
from uop3d_core.messages.reading import stamp_ns
from uop3d_core.types import Camera

FLOATS = {7: "f4", 8: "f8"}
"""Numbers that PointField has for kinds of floats."""


def aligned_depth(message: Any, camera: Camera) -> Array:
    """Depth (H, W), NaN unknown, of the images of a camera.

    Raises:
        ValueError: it is of another size, or cannot be read.
    """
    depth = depth_of(message)
    if depth.shape != (camera.height, camera.width):
        raise ValueError(
            f"not aligned with the images: it has {depth.shape[1]} x {depth.shape[0]} pixels, the images "
            f"{camera.width} x {camera.height}"
        )
    return depth


def points_in(frame: str, message: Any, transforms: Transforms) -> Array:
    """Points (N, 3) of a cloud in another frame.

    Raises:
        ValueError: TF does not tell where it was, or the cloud cannot be read.
    """
    source = message.header.frame_id.lstrip("/")
    frame_T_cloud = transforms.lookup(frame, source, stamp_ns(message.header.stamp))
    if frame_T_cloud is None:
        raise ValueError(f"TF does not tell {source} in {frame} at the time of the point cloud")
    return transform(frame_T_cloud, points_of(message))


def points_of(message: Any) -> Array:
    """All finite points (N, 3) of a cloud in the frame of its header.

    Raises:
        ValueError: there are no x, y, z, or they are no floats, or size and data do not fit together.
    """
    height, width, step, row = (int(getattr(message, name)) for name in ("height", "width", "point_step", "row_step"))
    form = _form(message, step)
    if row < width * step or len(message.data) < height * row:
        raise ValueError(
            f"the point cloud is cut off: {len(message.data)} bytes for {height} x {width} points of {step}"
        )
    rows = np.ascontiguousarray(message.data[: height * row], np.uint8).reshape(height, row)
    content = np.ascontiguousarray(rows[:, : width * step]).reshape(-1).view(form)
    points = np.stack([content[axis].astype(np.float64) for axis in "xyz"], axis=-1)
    finite: Array = points[np.isfinite(points).all(axis=1)]
    return finite


def _form(message: Any, step: int) -> np.dtype[Any]:
    """Where x, y and z stand among the bytes of a point."""
    fields = {field.name: field for field in message.fields}
    if missing := [axis for axis in "xyz" if axis not in fields or fields[axis].datatype not in FLOATS]:
        known = ", ".join(fields) or "nothing"
        raise ValueError(f"the point cloud has no {', '.join(missing)} as floating-point numbers, only {known}")
    order = ">" if message.is_bigendian else "<"
    formats = [np.dtype(order + FLOATS[fields[axis].datatype]) for axis in "xyz"]
    offsets = [int(fields[axis].offset) for axis in "xyz"]
    if any(offset + form.itemsize > step for offset, form in zip(offsets, formats, strict=True)):
        raise ValueError(f"the fields of the point cloud do not fit into points of {step} bytes")
    return np.dtype({"names": list("xyz"), "formats": formats, "offsets": offsets, "itemsize": step})
