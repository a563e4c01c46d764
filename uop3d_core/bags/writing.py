"""Messages into one MCAP file that ros2 bag, RViz and Foxglove read.

In: messages of the classes of `definitions.message_class`, with topic and time. Out: a file that appears whole or not
at all.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uop3d_core.bags.definitions import type_store

if TYPE_CHECKING:
    from rosbags.interfaces import Connection, Qos
    from rosbags.rosbag2 import Writer

ENDING = ".mcap"
LATCHED = ("/tf_static",)
"""Topics whose last message is for those who come later."""


class BagWriter:
    """Writes messages; topics appear with their first one, or by `announce`."""

    def __init__(self, writer: Writer) -> None:
        """Write through an open writer; see `writing`."""
        self._writer = writer
        self._connections: dict[str, Connection] = {}
        self.counts: Counter[str] = Counter()

    def announce(self, topic: str, type_name: str) -> None:
        """Make a topic known, so that it is there even without messages."""
        if topic not in self._connections:
            self._connections[topic] = self._writer.add_connection(
                topic, type_name, typestore=type_store(), offered_qos_profiles=[_quality(topic in LATCHED)]
            )

    def write(self, topic: str, log_ns: int, message: Any) -> None:
        """Add a message that was recorded at a time."""
        name = message.__msgtype__
        self.write_raw(topic, name, log_ns, bytes(type_store().serialize_cdr(message, name)))

    def write_raw(self, topic: str, type_name: str, log_ns: int, data: bytes) -> None:
        """Add a message as it was recorded."""
        self.announce(topic, type_name)
        self._writer.write(self._connections[topic], log_ns, data)
        self.counts[topic] += 1


@contextmanager
def writing(path: Path, sqlite: bool = False) -> Iterator[BagWriter]:
    """Give a writer; what it wrote stands at `path` when the block ends, and nothing when it fails.

    Args:
        path: ends with .mcap, or with .db3 for sqlite.
        sqlite: write the older kind of file.

    Raises:
        ValueError: the path has another ending, or is a folder.
        OSError: it cannot be written.
    """
    from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

    ending = ".db3" if sqlite else ENDING
    check_target(path, ending)
    path.parent.mkdir(parents=True, exist_ok=True)
    type_store()
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as scratch:
        draft = Path(scratch) / path.stem
        kind = StoragePlugin.SQLITE3 if sqlite else StoragePlugin.MCAP
        writer = Writer(draft, version=8, storage_plugin=kind)  # 8: older than ROS 2 Kilted reads it as well
        if not sqlite:
            writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        with writer:
            yield BagWriter(writer)
        os.replace(draft / f"{path.stem}{ending}", path)


def check_target(path: Path, ending: str = ENDING) -> None:
    """Raise an error where a recording cannot be written at a path."""
    if path.suffix != ending:
        raise ValueError(f"{path}: the recording to write must end with {ending}")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: choose another name")


def _quality(latched: bool) -> Qos:
    """Quality of service that the topic is offered with when the file is played."""
    from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime

    never = QosTime(2147483647, 4294967295)
    durability = QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE
    return Qos(
        QosHistory.KEEP_LAST,
        10,
        QosReliability.RELIABLE,
        durability,
        never,
        never,
        QosLiveliness.AUTOMATIC,
        never,
        False,
    )
