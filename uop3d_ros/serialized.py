"""Images out of the bytes that the middleware hands over, without copying their pixels. No node.

In: a serialised sensor_msgs/Image (CDR, OMG DDS-XTypes 7.4.3). Out: an object with the fields of the message. rclpy
would copy every picture three times more, also those that a newer one replaces before anybody looks at them.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from std_msgs.msg import Header

ENCAPSULATION = 4
"""Bytes before the message; the second one tells the order of bytes. Alignment counts from behind them."""


@dataclass(frozen=True, eq=False)
class SerializedImage:
    """The fields of a sensor_msgs/Image."""

    header: Header
    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    data: memoryview


def image_of(content: bytes) -> SerializedImage:
    """Read a serialised sensor_msgs/Image.

    Raises:
        ValueError: it is cut off, or no such message.
    """
    reader = _Reader(content)
    try:
        header = Header()
        header.stamp.sec, header.stamp.nanosec = reader.take("i"), reader.take("I")
        header.frame_id = reader.text()
        height, width, encoding = reader.take("I"), reader.take("I"), reader.text()
        is_bigendian, step = reader.take("B"), reader.take("I")
        return SerializedImage(header, height, width, encoding, is_bigendian, step, reader.octets())
    except (struct.error, IndexError, UnicodeDecodeError, AssertionError) as error:
        raise ValueError(f"{len(content)} bytes are no sensor_msgs/Image ({error})") from error


class _Reader:
    """Takes one value after the other."""

    def __init__(self, content: bytes) -> None:
        self._content, self._at = memoryview(content), ENCAPSULATION
        self._order = "<" if content[1:2] and content[1] & 1 else ">"

    def take(self, kind: str) -> int:
        """A number, which stands at a multiple of its size."""
        size = struct.calcsize(kind)
        self._at += -(self._at - ENCAPSULATION) % size
        [value] = struct.unpack_from(self._order + kind, self._content, self._at)
        self._at += size
        return int(value)

    def octets(self) -> memoryview:
        """A sequence of bytes behind its length, all that is there of it."""
        length = self.take("I")
        self._at += length
        return self._content[self._at - length : self._at]

    def text(self) -> str:
        """A string, which ends with a zero."""
        return bytes(self.octets()).rstrip(b"\0").decode()
