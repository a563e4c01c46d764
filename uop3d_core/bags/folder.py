"""A recording as one thing: a file, or a folder with metadata.yaml and storage files, compressed or not.

In: a path. Out: a Storage. Files are looked for inside the folder only, whatever metadata.yaml says.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from uop3d_core.bags.mcap_file import McapFile
from uop3d_core.bags.sqlite_file import SqliteFile
from uop3d_core.bags.storage import RawMessage, Storage, Topic, note

BAG_ENDINGS = (".mcap", ".db3")
METADATA = "metadata.yaml"
LARGEST_METADATA = 16 << 20
"""Bytes."""
COMPRESSED = ".zstd"


@dataclass(frozen=True)
class Layout:
    """What metadata.yaml tells that is needed.

    Attributes:
        files: names in the folder, in order; None where it is not known.
        compressed_messages: whether every message is compressed by itself.
    """

    files: tuple[str, ...] | None = None
    compressed_messages: bool = False


class Recording:
    """All files of a recording as one; see `storage.Storage`. Use it in a with statement: it may unpack files."""

    def __init__(self, path: Path) -> None:
        """Open every file that can be opened.

        Raises:
            ValueError: none can, or metadata.yaml names files outside the folder.
            OSError: there is no such path.
        """
        self._problems: list[str] = []
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._layout, self._files = Layout(), list[Storage]()
        if not path.exists():
            raise FileNotFoundError(f"{path}: no such recording")
        try:
            self._files = self._opened(path)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove what was unpacked."""
        if self._scratch is not None:
            self._scratch.cleanup()
            self._scratch = None

    @property
    def problems(self) -> list[str]:
        """What could not be read so far, one sentence each."""
        return [*self._problems, *(sentence for file in self._files for sentence in file.problems)]

    def topics(self) -> list[Topic]:
        """All topics of all files."""
        found: dict[str, Topic] = {}
        for file in self._files:
            try:
                topics = file.topics()
            except ValueError as error:
                note(self._problems, str(error))
                continue
            for topic in topics:
                before = found.get(topic.name)
                count = topic.count + (before.count if before else 0)
                found[topic.name] = replace(before if before and before.definition else topic, count=count)
        return list(found.values())

    def messages(self, topics: Collection[str]) -> Iterator[RawMessage]:
        """Messages of some topics, file after file."""
        for file in self._files:
            for message in file.messages(topics):
                if self._layout.compressed_messages:
                    message = self._unpacked_message(message)
                if message.data:
                    yield message

    def _opened(self, path: Path) -> list[Storage]:
        if not path.is_dir():
            return [open_file(self._plain(path))]
        self._layout = self._read_layout(path)
        files, reasons = list[Storage](), list[str]()
        for name in self._names(path):
            try:
                files.append(open_file(self._plain(path / name)))
            except (ValueError, OSError) as error:
                reasons.append(str(error))
        if not files:
            raise ValueError(
                "; ".join(reasons) or f"{path} holds no {' or '.join(BAG_ENDINGS)} file: is it a recording?"
            )
        self._problems += reasons
        return files

    def _names(self, folder: Path) -> Sequence[str]:
        """Storage files in order."""
        if self._layout.files is not None:
            return self._layout.files
        endings = (*BAG_ENDINGS, *(ending + COMPRESSED for ending in BAG_ENDINGS))
        return sorted((p.name for p in folder.iterdir() if p.is_file() and p.name.endswith(endings)), key=_by_number)

    def _read_layout(self, folder: Path) -> Layout:
        path = folder / METADATA
        if not path.is_file():
            note(
                self._problems,
                f"{path} is missing, as after a recording that was killed; all files of the folder are read",
            )
            return Layout()
        try:
            return layout_of(_yaml(path), path)
        except UnreadableMetadata as error:
            note(self._problems, f"{path} cannot be read ({error}); all files of the folder are read")
            return Layout()

    def _plain(self, path: Path) -> Path:
        """The file itself, or what it holds where it is compressed."""
        if path.suffix != COMPRESSED:
            check_ending(path)
            return path
        check_ending(path.with_suffix(""))
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file")
        if self._scratch is None:
            self._scratch = tempfile.TemporaryDirectory(prefix="uop3d-bag-")
        plain = Path(self._scratch.name) / path.stem
        import zstandard

        with path.open("rb") as packed, plain.open("wb") as file:
            try:
                zstandard.ZstdDecompressor().copy_stream(packed, file)
            except zstandard.ZstdError as error:
                note(self._problems, f"{path} cannot be unpacked to its end ({error})")
        return plain

    def _unpacked_message(self, message: RawMessage) -> RawMessage:
        import zstandard

        try:
            return replace(message, data=zstandard.ZstdDecompressor().decompressobj().decompress(message.data))
        except zstandard.ZstdError as error:
            note(self._problems, f"messages of {message.topic} that cannot be unpacked were left out ({error})")
            return replace(message, data=b"")


class UnreadableMetadata(ValueError):
    """metadata.yaml does not say what it should."""


def layout_of(content: Any, path: Path) -> Layout:
    """Read what metadata.yaml holds.

    Raises:
        UnreadableMetadata: it is of another form.
        ValueError: it names a file outside its folder.
    """
    about = content.get("rosbag2_bagfile_information") if isinstance(content, dict) else None
    names = about.get("relative_file_paths") if isinstance(about, dict) else None
    if not isinstance(about, dict) or not isinstance(names, list) or not all(isinstance(n, str) for n in names):
        raise UnreadableMetadata("it has no rosbag2_bagfile_information with relative_file_paths")
    for name in names:
        parts = PurePosixPath(name).parts
        if not parts or ".." in parts or PurePosixPath(name).is_absolute() or "\0" in name:
            raise ValueError(f"{path} names {name!r}, which is no file of its folder: correct it, or remove it")
    mode, kind = str(about.get("compression_mode") or "").lower(), str(about.get("compression_format") or "").lower()
    if mode in ("file", "message") and kind != "zstd":
        raise ValueError(f"{path}: compression {kind!r} is not known, only zstd")
    return Layout(tuple(PurePosixPath(name).name for name in names), mode == "message")


def _yaml(path: Path) -> Any:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    if path.stat().st_size > LARGEST_METADATA:
        raise UnreadableMetadata(f"it has {path.stat().st_size >> 20} MB")
    try:
        return YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except (YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise UnreadableMetadata(str(error).splitlines()[0]) from error


def _by_number(name: str) -> list[tuple[int, str]]:
    """Sorts x_2 before x_10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def open_file(path: Path) -> Storage:
    """One storage file.

    Raises:
        ValueError: it is not such a file.
        OSError: it cannot be read.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty: nothing was recorded, or it was not copied")
    return McapFile(path) if path.suffix == ".mcap" else SqliteFile(path)


def check_ending(path: Path) -> None:
    """Raise ValueError where a file is of no kind that can be read."""
    if path.suffix == ".bag":
        raise ValueError(f"{path} is a bag of ROS 1: convert it with rosbags-convert --src {path} --dst {path.stem}")
    if path.suffix not in BAG_ENDINGS:
        raise ValueError(f"{path}: a rosbag2 recording is a folder, an .mcap file or a .db3 file")
