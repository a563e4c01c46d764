"""One sqlite3 file of a recording, also one that is cut off.

In: a file. Out: topics and messages in the order in which they were written. The file is never written to.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

from uop3d_core.bags.storage import RawMessage, Topic, note

READ, READ_WITH_LOG = "mode=ro&immutable=1", "mode=ro"
"""How the file is opened: where a killed recorder left a log beside it, that is read along, and sqlite may put an index
of the log (.db3-shm) there."""
MAX_STEP = 1 << 20
"""Longest jump over messages that cannot be read."""


class SqliteFile:
    """Reads one file; see `storage.Storage`."""

    def __init__(self, path: Path) -> None:
        """Look at the tables.

        Raises:
            ValueError: not such a database.
        """
        self.path, self.problems = path, list[str]()
        log = path.with_name(f"{path.name}-wal")
        self._mode = READ_WITH_LOG if log.is_file() and log.stat().st_size else READ
        try:
            tables = self._tables()
        except sqlite3.Error as error:
            if self._mode == READ:
                raise ValueError(f"{path} is not a readable sqlite3 database ({error})") from error
            note(self.problems, f"{log}, the log of a recorder that was killed, cannot be read ({error})")
            self._mode = READ
            tables = self._tables()
        if missing := {"topics", "messages"} - tables:
            raise ValueError(f"{path} is a database without the tables of a recording: {', '.join(sorted(missing))}")
        self._has_definitions = "message_definitions" in tables

    def _tables(self) -> set[str]:
        with closing(self._connect()) as database:
            return {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}

    def _connect(self) -> sqlite3.Connection:
        database = sqlite3.connect(f"file:{quote(str(self.path.absolute()))}?{self._mode}", uri=True)
        database.text_factory = lambda raw: raw.decode("utf-8", "replace")
        database.execute("PRAGMA writable_schema = ON")  # lets sqlite look into files that are shorter than they say
        return database

    def topics(self) -> list[Topic]:
        """All topics, with how many messages each has.

        Raises:
            ValueError: the table of topics cannot be read.
        """
        definitions: dict[str, tuple[str, str]] = {}
        try:
            with closing(self._connect()) as database:
                rows = database.execute(
                    "SELECT id, name, type, serialization_format FROM topics ORDER BY id"
                ).fetchall()
                if self._has_definitions:
                    definitions = self._definitions(database)
                counts = self._counts(database)
        except sqlite3.Error as error:
            raise ValueError(f"{self.path}: its list of topics cannot be read ({error})") from error
        return [
            Topic(name, kind, counts.get(number, 0), *definitions.get(kind, ("", "")), encoding=encoding)
            for number, name, kind, encoding in rows
        ]

    def _definitions(self, database: sqlite3.Connection) -> dict[str, tuple[str, str]]:
        query = "SELECT topic_type, encoded_message_definition, encoding FROM message_definitions"
        try:
            return {kind: (text, language) for kind, text, language in database.execute(query)}
        except sqlite3.Error as error:
            note(self.problems, f"{self.path}: its definitions of messages cannot be read ({error})")
            return {}

    def _counts(self, database: sqlite3.Connection) -> dict[int, int]:
        try:
            return dict(database.execute("SELECT topic_id, count(*) FROM messages GROUP BY topic_id"))
        except sqlite3.Error:
            counts: dict[int, int] = {}
            for _, number, _, _ in self._rows(database, "id, topic_id, 0, 0", None):
                counts[number] = counts.get(number, 0) + 1
            return counts

    def messages(self, topics: Collection[str]) -> Iterator[RawMessage]:
        """Messages of some topics, in the order in which they were written."""
        with closing(self._connect()) as database:
            names = {number: name for number, name in database.execute("SELECT id, name FROM topics") if name in topics}
            for _, number, log_ns, data in self._rows(database, "id, topic_id, timestamp, data", tuple(names)):
                if isinstance(data, bytes):
                    yield RawMessage(names[number], log_ns, data)
                else:
                    note(self.problems, f"{self.path}: messages of {names[number]} that are no bytes were left out")

    def _rows(
        self, database: sqlite3.Connection, columns: str, numbers: tuple[int, ...] | None
    ) -> Iterator[tuple[int, int, int, Any]]:
        """Rows of the messages by id; those on pages that cannot be read are jumped over."""
        among = "" if numbers is None else f" AND topic_id IN ({', '.join('?' * len(numbers))})"
        query = f"SELECT {columns} FROM messages WHERE id >= ?{among} ORDER BY id"
        start, step = 0, 1
        while step <= MAX_STEP:
            try:
                for row in database.execute(query, (start, *(numbers or ()))):
                    yield row
                    start, step = row[0] + 1, 1
                return
            except sqlite3.Error as error:
                note(self.problems, f"{self.path}: some messages are on pages that cannot be read ({error})")
                start, step = start + step, 2 * step
