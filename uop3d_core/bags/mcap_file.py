"""One MCAP file, also one that ends too early or is broken in the middle.

In: a file. Out: topics and messages, record by record from the front; the index at the end is only used to count.
Format: https://mcap.dev/spec.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from uop3d_core.bags.storage import RawMessage, Topic, note

MAGIC = b"\x89MCAP0\r\n"
LANGUAGES = {"ros2msg": "ros2msg", "ros2idl": "ros2idl", "omgidl": "ros2idl"}


class McapFile:
    """Reads one file; see `storage.Storage`."""

    def __init__(self, path: Path) -> None:
        """Look at the beginning.

        Raises:
            ValueError: not an MCAP file.
            ImportError: mcap is not installed.
        """
        try:
            import mcap.reader  # noqa: F401
        except ImportError as error:
            raise ImportError("reading MCAP files needs mcap: pip install 'uop3d[bags]'") from error
        self.path, self.problems = path, list[str]()
        with path.open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                raise ValueError(f"{path} does not begin like an MCAP file: it is something else, or broken")

    def topics(self) -> list[Topic]:
        """All topics; a file without its index at the end is read whole to count."""
        channels, schemas, counts = self._summary() or self._counted()
        found: dict[str, Topic] = {}
        for channel in channels.values():
            schema, count = schemas.get(channel.schema_id), counts.get(channel.id, 0)
            before = found.get(channel.topic)
            if before is not None and schema is not None and before.type != schema.name:
                note(self.problems, f"{self.path}: {channel.topic} has messages of {before.type} and of {schema.name}")
            found[channel.topic] = Topic(
                channel.topic,
                schema.name if schema else "",
                count + (before.count if before else 0),
                schema.data.decode("utf-8", "replace") if schema else "",
                LANGUAGES.get(schema.encoding, "") if schema else "",
                channel.message_encoding,
            )
        return list(found.values())

    def messages(self, topics: Collection[str]) -> Iterator[RawMessage]:
        """Messages of some topics, in the order of the file."""
        from mcap.records import Channel, Message

        channels, _, expected = self._summary() or ({}, {}, {})
        wanted = {number: channel.topic for number, channel in channels.items() if channel.topic in topics}
        counts = Counter[int]()
        for record in self._records():
            if isinstance(record, Channel) and record.topic in topics:
                wanted[record.id] = record.topic
            elif isinstance(record, Message) and record.channel_id in wanted:
                counts[record.channel_id] += 1
                yield RawMessage(wanted[record.channel_id], record.log_time, record.data)
        for number, topic in wanted.items():
            if (missing := expected.get(number, 0) - counts[number]) > 0:
                note(
                    self.problems, f"{self.path} lacks {missing} of {expected[number]} messages of {topic} in its index"
                )

    def _summary(self) -> tuple[dict[int, Any], dict[int, Any], dict[int, int]] | None:
        """Channels, schemas and counts from the end of the file; None where there is no such end."""
        from mcap.exceptions import McapError
        from mcap.reader import SeekingReader

        with suppress(McapError, ValueError, LookupError, ArithmeticError, OSError), self.path.open("rb") as file:
            summary = SeekingReader(file, record_size_limit=self.path.stat().st_size).get_summary()
            if summary is not None and summary.statistics is not None and summary.channels:
                return summary.channels, summary.schemas, summary.statistics.channel_message_counts
        return None

    def _counted(self) -> tuple[dict[int, Any], dict[int, Any], dict[int, int]]:
        from mcap.records import Channel, Message, Schema

        channels, schemas, counts = dict[int, Any](), dict[int, Any](), Counter[int]()
        for record in self._records():
            if isinstance(record, Schema):
                schemas[record.id] = record
            elif isinstance(record, Channel):
                channels[record.id] = record
            elif isinstance(record, Message):
                counts[record.channel_id] += 1
        return channels, schemas, counts

    def _records(self) -> Iterator[Any]:
        """Schemas, channels and messages of all chunks that are whole."""
        from mcap.records import Chunk, DataEnd, Footer
        from mcap.stream_reader import StreamReader, breakup_chunk

        size = self.path.stat().st_size
        with self.path.open("rb") as file:
            records, ended = iter(StreamReader(file, emit_chunks=True, record_size_limit=size).records), False
            while True:
                try:
                    record = next(records)
                except StopIteration:
                    return
                except Exception as error:  # whatever a broken file makes of the decoder
                    if not ended:
                        note(self.problems, self._broken(file.tell(), size, error))
                    return
                ended = ended or isinstance(record, DataEnd | Footer)
                if not isinstance(record, Chunk):
                    yield record
                    continue
                try:
                    inner = breakup_chunk(record, validate_crc=True)
                except Exception as error:
                    what = f"a chunk of messages near byte {file.tell()} is broken and was left out"
                    note(self.problems, f"{self.path}: {what} ({_said(error)})")
                    continue
                yield from inner

    def _broken(self, position: int, size: int, error: Exception) -> str:
        from mcap.exceptions import EndOfFile, RecordLengthLimitExceeded

        if isinstance(error, EndOfFile | RecordLengthLimitExceeded):
            return (
                f"{self.path} ends before its last record does: it was cut off, or is broken; what comes before is used"
            )
        return f"{self.path} is broken near byte {position} of {size}, what comes after is lost ({_said(error)})"


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__
