"""The folder of a run: where everything stands, and the files that say what the run is.

In / out: RunRecord, AlignmentRecord, Template (`obj` frame).
"""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import trimesh

from uop3d_core.atomic import remove_drafts, write_bytes, write_json
from uop3d_core.runs.alignment_file import AlignmentRecord, alignment_content, parse_alignment
from uop3d_core.runs.fingerprints import FORMAT, check_capture_name
from uop3d_core.runs.json_files import read_json_object
from uop3d_core.types import Mesh, Template


@dataclass(frozen=True)
class RunRecord:
    """What a run works on: the content of run.json.

    Attributes:
        category: name of the category.
        captures_folder: where the captures are.
        captures: names of those that take part.
        backbone: ``NAME`` or ``NAME:WEIGHTS``.
        settings: stage name to settings, as JSON.
    """

    category: str
    captures_folder: Path
    captures: tuple[str, ...]
    backbone: str
    settings: dict[str, Any]


class Run:
    """A run directory."""

    def __init__(self, folder: Path) -> None:
        """Nothing is read or written yet."""
        self.folder = Path(folder).absolute()
        self.record_path = self.folder / "run.json"
        self.basis = self.folder / "2_basis.safetensors"
        self.alignment = self.folder / "alignment.json"
        self.template = self.folder / "template.ply"
        self.training = self.folder / "5_training"
        self.model = self.folder / "model.safetensors"
        self.pictures = self.folder / "pictures"
        self.report = self.folder / "report.html"
        self.timings = self.folder / "timings.json"
        self.evaluation = self.folder / "evaluation"

    def mesh(self, capture: str) -> Path:
        """Where the coarse mesh of a capture is kept."""
        return self.folder / "1_meshes" / f"{check_capture_name(capture)}.safetensors"

    def surface(self, capture: str) -> Path:
        """Where the surface of a capture is kept."""
        return self.folder / "3_surfaces" / f"{check_capture_name(capture)}.safetensors"

    def pair(self, a: str, b: str) -> Path:
        """Where the alignment of two captures is kept."""
        return self.folder / "4_pairs" / f"{check_capture_name(a)}+{check_capture_name(b)}.safetensors"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes out of the run, and remove what a killed one left half-written.

        Raises:
            FileExistsError: the folder holds something else than a run.
            BlockingIOError: another process is at work here.
        """
        self._check_free()
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BlockingIOError(
                    f"{self.folder}: another uop3d is at work in this run; wait for it or choose another folder"
                ) from None
            remove_drafts(self.folder)
            yield

    def _check_free(self) -> None:
        if self.folder.exists() and not self.folder.is_dir():
            raise FileExistsError(f"{self.folder} is a file; a run is a folder")
        if self.folder.is_dir() and not self.record_path.is_file():
            parts = {"1_meshes", "3_surfaces", "4_pairs", *(p.name for p in vars(self).values() if p != self.folder)}
            strange = [p.name for p in self.folder.iterdir() if p.name not in parts and not p.name.startswith(".")]
            if strange:
                raise FileExistsError(
                    f"{self.folder} is not a run (it has no run.json, but {sorted(strange)[0]}): choose another folder"
                )

    def write_record(self, record: RunRecord) -> None:
        """Write run.json."""
        content = {
            "format": FORMAT,
            "category": record.category,
            "captures_folder": str(record.captures_folder),
            "captures": list(record.captures),
            "backbone": record.backbone,
            "settings": record.settings,
        }
        write_json(self.record_path, content)

    def read_record(self) -> RunRecord:
        """Read run.json.

        Raises:
            FileNotFoundError: this is no run.
            ValueError: the file is damaged or of another version.
        """
        if not self.record_path.is_file():
            raise FileNotFoundError(
                f"{self.folder} is not a run, it has no run.json: make one with uop3d learn or uop3d align"
            )
        content = read_json_object(self.record_path)
        if content.get("format") != FORMAT:
            raise ValueError(
                f"{self.record_path}: format {content.get('format')!r}, but this version of uop3d reads {FORMAT}: "
                "learn again in a new folder"
            )
        try:
            names = tuple(check_capture_name(name) for name in content["captures"])
            folder = Path(content["captures_folder"])
            return RunRecord(content["category"], folder, names, content["backbone"], dict(content["settings"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{self.record_path} is damaged ({error!r}): run uop3d align again") from error

    def write_alignment(self, record: AlignmentRecord, template: Template | None = None) -> AlignmentRecord:
        """Write template.ply, unless it stays as it is, and alignment.json, which knows the digest of the former.

        Returns:
            The record with that digest and the template's symmetry.
        """
        if template is not None:
            ply = trimesh.Trimesh(template.mesh.vertices, template.mesh.faces, process=False).export(file_type="ply")
            assert isinstance(ply, bytes)
            write_bytes(self.template, ply)
            record = replace(record, template_sha256=hashlib.sha256(ply).hexdigest(), symmetry=template.symmetry)
        write_json(self.alignment, alignment_content(record))
        return record

    def read_alignment(self) -> AlignmentRecord:
        """Read alignment.json.

        Raises:
            FileNotFoundError: it is not there.
            ValueError: it is damaged; the message says where.
        """
        if not self.alignment.is_file():
            raise FileNotFoundError(f"{self.alignment}: no such file; run uop3d align first")
        return parse_alignment(read_json_object(self.alignment), self.alignment)

    def read_template(self, record: AlignmentRecord) -> Template:
        """Read template.ply (float32, as written).

        Raises:
            FileNotFoundError: it is not there.
            ValueError: it is damaged, or not the one that was made with the alignment.
        """
        if not self.template.is_file():
            raise FileNotFoundError(f"{self.template}: no such file; run uop3d align again")
        content = self.template.read_bytes()
        if record.template_sha256 and hashlib.sha256(content).hexdigest() != record.template_sha256:
            raise ValueError(
                f"{self.template} is damaged or was not made with {self.alignment.name}: run uop3d align again"
            )
        loaded: Any = trimesh.load_mesh(self.template, process=False)
        return Template(record.alignment.category, Mesh(loaded.vertices, loaded.faces), record.symmetry)
