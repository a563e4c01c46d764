"""Large objects in one file that several processes map into memory and share.

In: named objects made of arrays and tensors. Out: a mapping of the same objects whose arrays lie in the file.

Pickle serves here between processes of one job; no such file outlives it.
"""

from __future__ import annotations

import io
import mmap
import pickle
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

ALIGNMENT = 64


class _Pickler(pickle.Pickler):
    """Writes CPU tensors as the arrays they are, so that protocol 5 can keep their bytes apart."""

    def reducer_override(self, value: Any) -> Any:
        if type(value).__module__ == "torch" and type(value).__qualname__ == "Tensor":
            return _tensor, (value.detach().numpy(),)
        return NotImplemented


def _tensor(array: Any) -> Any:
    import torch

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writ")
        return torch.from_numpy(array)


def pack(value: Any) -> tuple[bytes, list[pickle.PickleBuffer]]:
    """The structure of a value, and the bytes of its arrays (without copying them)."""
    buffers: list[pickle.PickleBuffer] = []
    stream = io.BytesIO()
    _Pickler(stream, protocol=5, buffer_callback=buffers.append).dump(value)
    return stream.getvalue(), buffers


def unpack(head: bytes, buffers: Iterable[Any]) -> Any:
    """The value that `pack` took apart; its arrays lie in the buffers."""
    return pickle.loads(head, buffers=buffers)


def dumps(value: Any) -> bytes:
    """A value as bytes; tensors are copied, not shared."""
    stream = io.BytesIO()
    _Pickler(stream, protocol=5).dump(value)
    return stream.getvalue()


class Parcel(Mapping[str, Any]):
    """Named objects in a temporary file, opened one by one when they are asked for.

    Only the pages that are looked at take memory, all processes share them, and the system may drop them. What changes
    an array changes its own copy. A parcel sent to another process opens the same file there.
    """

    def __init__(self, folder: Path | None = None, prefix: str = "uop3d-") -> None:
        """An empty parcel.

        Args:
            folder: where the file goes; by default that of the system for temporary files.
            prefix: of its name.
        """
        self._file: Any = tempfile.NamedTemporaryFile(dir=folder, prefix=prefix)  # noqa: SIM115
        self.path = Path(self._file.name)
        self._index: dict[str, tuple[bytes, list[tuple[int, int]]]] = {}
        self._map: mmap.mmap | None = None

    def add(self, name: str, value: Any) -> None:
        """Append an object; not after one was read."""
        assert self._map is None, "a parcel that was read is closed for more"
        head, buffers = pack(value)
        spans = []
        for buffer in buffers:
            raw = buffer.raw()
            start = -(-self._file.tell() // ALIGNMENT) * ALIGNMENT
            self._file.seek(start)
            self._file.write(raw)
            spans.append((start, raw.nbytes))
        self._index[name] = head, spans

    def __getitem__(self, name: str) -> Any:
        head, spans = self._index[name]
        view = memoryview(self._mapped())
        return unpack(head, [view[start : start + length] for start, length in spans])

    def __iter__(self) -> Iterator[str]:
        return iter(self._index)

    def __len__(self) -> int:
        return len(self._index)

    def _mapped(self) -> mmap.mmap:
        if self._map is None:
            if self._file is not None:
                self._file.write(b"\0")  # an empty file cannot be mapped
                self._file.flush()
            with self.path.open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        return self._map

    def __getstate__(self) -> dict[str, Any]:
        self._mapped()
        return {"path": self.path, "_index": self._index, "_file": None, "_map": None}

    def close(self) -> None:
        """Remove the file; objects that are in use stay valid."""
        if self._file is not None:
            self._file.close()

    def __enter__(self) -> Parcel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
