"""A run as pictures and viewers need it: its alignment and template, and captures with their surfaces when asked for.

In: a run directory, which is only read. Out: Captures and meshes in world, the template in obj.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from uop3d_core.capture.folder import list_captures
from uop3d_core.capture.nerfstudio import read_nerfstudio
from uop3d_core.runs import MESH, AlignmentRecord, Run, RunRecord, load
from uop3d_core.types import Capture, CaptureAlignment, Mesh, Template


class AlignedRun:
    """An aligned run, opened to be looked at."""

    record: RunRecord
    aligned: AlignmentRecord
    template: Template

    def __init__(self, folder: Path) -> None:
        """Read what it says of itself.

        Raises:
            FileNotFoundError: this is no run, or it is not aligned.
            ValueError: something in it is damaged.
        """
        self.run = Run(folder)
        self.record, self.aligned = self.run.read_record(), self.run.read_alignment()
        self.template = self.run.read_template(self.aligned)

    def names(self, wanted: Sequence[str] = (), most: int | None = None) -> list[str]:
        """Captures: those that are wanted, or all, accepted ones first; at most so many.

        Raises:
            ValueError: the run has no such capture.
        """
        captures = self.aligned.alignment.captures
        for name in wanted:
            if name not in captures:
                raise ValueError(f"{self.run.folder} has no aligned capture {name!r}; it has {', '.join(captures)}")
        every = list(wanted) or sorted(captures, key=lambda name: (not captures[name].accepted, name))
        return every[:most]

    def entry(self, name: str) -> CaptureAlignment:
        """Where a capture lies."""
        return self.aligned.alignment.captures[name]

    @property
    def has_captures(self) -> bool:
        """Whether the folder of the captures is where it was."""
        return self.record.captures_folder.is_dir()

    def mesh(self, name: str) -> Mesh:
        """The coarse surface of a capture, world frame.

        Raises:
            FileNotFoundError: the run no longer has it, or it was made from something else.
        """
        mesh = load(self.run.mesh(name), self.aligned.inputs.get(name, ""), MESH)
        if mesh is None:
            raise FileNotFoundError(
                f"{self.run.mesh(name)}: no surface of {name} that belongs to the alignment: run uop3d align again"
            )
        return mesh

    def capture(self, name: str) -> Capture:
        """A capture with its images.

        Raises:
            FileNotFoundError: the folder of the captures, or the capture, is not where it was.
            ValueError: it is damaged.
        """
        if not self.has_captures:
            raise FileNotFoundError(
                f"{self.record.captures_folder}: the captures of {self.run.folder} are not there any more: put them "
                "back; turntables do without photographs (--colour clay or place)"
            )
        folders = {path.name: path for path in list_captures(self.record.captures_folder, [name])}
        return read_nerfstudio(folders[name])
