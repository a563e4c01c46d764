"""Messages of a rosbag2 recording as bytes, from whole and from damaged files.

In: a file (.mcap, .db3) or a folder of them. Out: topics, and messages in the order of the recording.
What cannot be read is left out and told in `problems`, one sentence each; only what holds nothing at all is an error.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Topic:
    """What a recording says of a topic.

    Attributes:
        name: as in "/camera/image_raw".
        type: name of its messages, as in "sensor_msgs/msg/Image".
        count: messages, as far as that can be told without reading them.
        definition: text that defines the type, or "".
        language: of the definition: "ros2msg", "ros2idl", or "" where there is none.
        encoding: of the messages; "cdr" is the only one that is known.
    """

    name: str
    type: str
    count: int = 0
    definition: str = ""
    language: str = ""
    encoding: str = "cdr"


@dataclass(frozen=True)
class RawMessage:
    """One message.

    Attributes:
        topic: its name.
        log_ns: when it was recorded.
        data: as it was sent, CDR.
    """

    topic: str
    log_ns: int
    data: bytes


class Storage(Protocol):
    """One file, or several as one."""

    problems: list[str]

    def topics(self) -> list[Topic]:
        """All topics, with how many messages each has."""

    def messages(self, topics: Collection[str]) -> Iterator[RawMessage]:
        """Messages of some topics in the order in which they were recorded."""


def note(problems: list[str], sentence: str) -> None:
    """Add a sentence that is not there yet: files are read several times."""
    if sentence not in problems:
        problems.append(sentence)
