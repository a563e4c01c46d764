"""Serialised images are read as rclpy reads them."""

from __future__ import annotations

import numpy as np
import pytest
from rclpy.serialization import serialize_message
from ros.robot import image_message

from uop3d_ros.serialized import image_of

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


@pytest.mark.parametrize("encoding", ["rgb8", "mono8", "bayer_rggb8", ""])
@pytest.mark.parametrize("frame", ["", "a", "cam", "café_optical_frame"])
def test_all_fields(frame: str, encoding: str) -> None:
    message = image_message(PIXELS, 1_700_000_000_123_456_789, encoding=encoding, is_bigendian=1)
    message.header.frame_id = frame
    found = image_of(serialize_message(message))
    for name in ("header", "height", "width", "encoding", "is_bigendian", "step"):
        assert getattr(found, name) == getattr(message, name)
    np.testing.assert_array_equal(np.frombuffer(found.data, np.uint8).reshape(5, 7, 3), PIXELS)


def test_the_other_order_of_bytes() -> None:
    """What a big-endian machine sends, put together by hand."""
    parts = [b"\0\0\0\0", (7).to_bytes(4, "big"), (8).to_bytes(4, "big"), (4).to_bytes(4, "big"), b"cam\0"]
    parts += [(1).to_bytes(4, "big"), (2).to_bytes(4, "big"), (6).to_bytes(4, "big"), b"mono8\0", b"\0", b"\0"]
    parts += [(2).to_bytes(4, "big"), (2).to_bytes(4, "big"), b"\x05\x06"]
    found = image_of(b"".join(parts))
    assert (found.header.stamp.sec, found.header.stamp.nanosec, found.header.frame_id) == (7, 8, "cam")
    assert (found.height, found.width, found.encoding, found.step, bytes(found.data)) == (1, 2, "mono8", 2, b"\5\6")


@pytest.mark.parametrize("length", [0, 1, 5, 15, 21, 40])
def test_what_is_cut_off_is_no_image(length: int) -> None:
    content = serialize_message(image_message(PIXELS, 1))
    with pytest.raises(ValueError, match=f"{length} bytes are no sensor_msgs/Image"):
        image_of(content[:length])


def test_missing_pixels_are_left_to_who_reads_them() -> None:
    content = serialize_message(image_message(PIXELS, 1))
    assert len(image_of(content[:-10]).data) < PIXELS.size
