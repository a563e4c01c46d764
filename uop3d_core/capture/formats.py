"""Formats that captures come in and go out as, by name; third parties add theirs by Python entry points.

In: a name, or a folder to look at. Out: an importer or an exporter. Nothing is imported before it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from uop3d_core.capture.recordings import ImportOptions, Recording
from uop3d_core.plugins import known_names, load_factory

IMPORTER_GROUP, EXPORTER_GROUP = "uop3d.importers", "uop3d.exporters"
IMPORTERS = {
    "nerfstudio": "uop3d_core.capture.nerfstudio:NerfstudioFormat",
    "co3d": "uop3d_core.capture.co3d:Co3dFormat",
    "record3d": "uop3d_core.capture.record3d:Record3dFormat",
    "polycam": "uop3d_core.capture.polycam:PolycamFormat",
    "colmap": "uop3d_core.capture.colmap:ColmapFormat",
    "bag": "uop3d_core.bags.importing:BagFormat",
}
"""In the order in which a folder is tried: what other programs leave inside a folder comes last."""
EXPORTERS = {
    "nerfstudio": "uop3d_core.capture.nerfstudio:NerfstudioFormat",
    "colmap": "uop3d_core.capture.colmap:ColmapFormat",
    "colmap-text": "uop3d_core.capture.colmap:ColmapTextFormat",
    "co3d": "uop3d_core.capture.co3d:Co3dFormat",
}


class Importer(Protocol):
    """Reads somebody's folder or file.

    Attributes:
        description: name and what it reads, one line.
        many: whether a source holds several captures, each of which gets a folder of its own.
    """

    description: str
    many: bool

    def recognises(self, source: Path) -> bool:
        """Whether a source looks like this format; cheap, and never an error."""
        ...

    def recordings(self, source: Path, options: ImportOptions) -> Iterable[Recording]:
        """The captures in a source, one after the other; files unpacked for one may go when the next is asked for.

        Raises:
            FileNotFoundError, ValueError: something is missing or malformed.
        """
        ...


class Exporter(Protocol):
    """Writes a capture for other programs.

    Attributes:
        description: name and what it writes, one line.
    """

    description: str

    def write(self, recording: Recording, folder: Path) -> None:
        """Write to a new folder, whole or not at all.

        Raises:
            FileExistsError: the folder holds something already.
            ValueError: the format cannot hold the capture.
        """
        ...


def importer_names() -> list[str]:
    """All names that `load_importer` knows, those built in first, in the order in which they are tried."""
    return [*IMPORTERS, *(name for name in known_names(IMPORTERS, IMPORTER_GROUP) if name not in IMPORTERS)]


def exporter_names() -> list[str]:
    """All names that `load_exporter` knows."""
    return known_names(EXPORTERS, EXPORTER_GROUP)


def load_importer(name: str) -> Importer:
    """The importer of that name; an entry point of group ``uop3d.importers`` names a factory without arguments.

    Raises:
        ValueError: unknown name; the message lists the known ones.
    """
    importer: Importer = load_factory(name, "format to import", IMPORTERS, IMPORTER_GROUP)()
    return importer


def load_exporter(name: str) -> Exporter:
    """The exporter of that name; an entry point of group ``uop3d.exporters`` names a factory without arguments.

    Raises:
        ValueError: unknown name; the message lists the known ones.
    """
    exporter: Exporter = load_factory(name, "format to export", EXPORTERS, EXPORTER_GROUP)()
    return exporter


def detect_format(source: Path) -> str:
    """Name of the first format that recognises a source.

    Raises:
        FileNotFoundError: there is no such source.
        ValueError: none does; the message lists what they look for.
    """
    if not source.exists():
        raise FileNotFoundError(f"{source}: no such file or folder")
    importers = {name: load_importer(name) for name in importer_names()}
    for name, importer in importers.items():
        if importer.recognises(source):
            return name
    known = "; ".join(importer.description for importer in importers.values())
    raise ValueError(f"{source}: no known format. Known are {known}. An archive must be unpacked first")
