"""Captures to alignment.json and template.ply: meshes, features, pairs, one common frame, the mean shape.

In: a folder of captures. Out: artefacts in a run directory, and an AlignResult.
A capture that cannot be used is left out with its reason; the others go on. Captures that are added to an aligned
category are placed beside the others, of which nothing changes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from uop3d_core.alignment.axes import find_axes, turn_between
from uop3d_core.alignment.comparison import evenly
from uop3d_core.alignment.graph import attachments, component, descriptor, pair_graph
from uop3d_core.alignment.joint import joint_alignment, place_captures, reorient
from uop3d_core.alignment.prepared import prepare
from uop3d_core.alignment.symmetry import detect_symmetry, follow_axis
from uop3d_core.alignment.template import fuse_template, oriented
from uop3d_core.atomic import DRAFT
from uop3d_core.backbones import FeatureBackbone
from uop3d_core.capture.folder import list_captures
from uop3d_core.capture.nerfstudio import read_nerfstudio
from uop3d_core.config import RunSettings
from uop3d_core.executors import DEFAULT_ENGINE, Executor, load_executor
from uop3d_core.executors.parcel import Parcel
from uop3d_core.pipeline.loops import (
    SEED,
    Failure,
    Stored,
    backbone_of,
    mesh_loop,
    pair_loop,
    pair_name,
    prepared_surface,
    surface_loop,
    unit_frame,
)
from uop3d_core.progress import Progress, silent
from uop3d_core.report.sheets import draw_alignment, draw_template, write_image
from uop3d_core.runs import (
    SURFACE,
    AlignmentRecord,
    Codec,
    Run,
    RunRecord,
    cached,
    capture_fingerprint,
    check_capture_name,
    fingerprint,
    pair_generator,
)
from uop3d_core.stopwatch import Watch, unwatched
from uop3d_core.surface import FeatureBasis, fit_basis
from uop3d_core.timings import StageClock
from uop3d_core.types import Alignment, Mesh, PairAlignment, Sim3, Surface, Symmetry, Template

DEFAULT_BACKBONE = "dinov2-small"
SYMMETRIC_ROUNDS = 2
"""Alignments modulo a symmetry; each shows its axis better."""
RECIPE = ("surface", "pair", "joint", "symmetry", "template")
TIMED = {
    ("meshes", "surfaces"): ("surface",),
    ("fields", "pairs"): ("pair", "graph"),
    ("alignment", "pictures"): ("joint", "symmetry", "template"),
}
"""Stages, and what settings their times depend on besides those of the stages before them."""

logger = logging.getLogger(__name__)

BASIS = Codec[FeatureBasis](
    lambda basis: ({"mean": basis.mean, "weights": basis.weights}, {}),
    lambda arrays, content: FeatureBasis(arrays["mean"], arrays["weights"]),
)


@dataclass(frozen=True, eq=False)
class AlignResult:
    """What `align` did.

    Attributes:
        run: the run directory.
        alignment: where every capture lies.
        failed: captures that could not be used, with the reason.
        seconds: time per stage in this call.
        notes: what was aligned with what, one sentence each.
    """

    run: Run
    alignment: Alignment
    failed: dict[str, str]
    seconds: dict[str, float]
    notes: tuple[str, ...] = ()


@contextmanager
def with_hint() -> Iterator[None]:
    """Errors about weights that cannot be had say what works without."""
    try:
        yield
    except (OSError, ImportError) as error:
        hint = "" if "hog" in str(error) else "\n--backbone hog works without any download"
        raise OSError(f"{error}{hint}") from error


def resolve_backbone(spec: str) -> str:
    """The same backbone from any working folder: weights that are a file or folder get their full path."""
    name, _, weights = spec.partition(":")
    path = Path(weights).expanduser()
    return f"{name}:{path.resolve()}" if weights and path.exists() else spec


@dataclass
class Crew:
    """The captures that are still in; failures move a capture to `failed`.

    Attributes:
        folders: where the captures are.
        marks: fingerprints of their meshes.
        failed: the others, with the reason.
    """

    folders: dict[str, Path]
    marks: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def drop(self, name: str, reason: str) -> None:
        """Leave a capture out."""
        logger.warning("capture %s is left out: %s", name, reason)
        self.folders.pop(name, None)
        self.marks.pop(name, None)
        self.failed[name] = reason

    def check_enough(self, given: int) -> None:
        """Raise ValueError unless two captures are left, or the only one given."""
        if len(self.folders) < min(2, given):
            reasons = "\n".join(f"  {name}: {reason}" for name, reason in self.failed.items())
            raise ValueError(f"{len(self.folders)} of {given} captures can be used, at least 2 are needed\n{reasons}")


def align(
    captures_folder: Path,
    run_folder: Path,
    *,
    backbone: str = DEFAULT_BACKBONE,
    only: Sequence[str] = (),
    category: str | None = None,
    settings: RunSettings | None = None,
    engine: str = DEFAULT_ENGINE,
    workers: int | None = None,
    afresh: bool = False,
    progress: Progress = silent,
) -> AlignResult:
    """Bring all captures of a category into one frame; work that is done already is not done again.

    Args:
        captures_folder: one sub-folder per capture.
        run_folder: the run directory, made where it does not exist.
        backbone: ``NAME`` or ``NAME:WEIGHTS``.
        only: names of the captures that take part; empty for all.
        category: its name; by default that of the folder.
        settings: of all stages.
        engine: ``NAME`` or ``NAME:ADDRESS`` of what runs the loops; the result does not depend on it.
        workers: how many captures or pairs at once; None for as many as there are cores.
        afresh: align all captures together even if only some were added.
        progress: is told "meshes", "surfaces", "fields", "pairs".

    Raises:
        FileNotFoundError: there are no captures.
        ValueError: too few of them can be used, or names are wrong.
        OSError: the backbone cannot be had, the run cannot be written, or a worker died.
    """
    settings, run = settings or RunSettings(), Run(run_folder)
    folders = {check_capture_name(path.name): path for path in list_captures(captures_folder, only)}
    folder, spec = Path(captures_folder).resolve(), resolve_backbone(backbone)
    backbone_of.cache_clear()
    with with_hint():
        loaded = backbone_of(spec)
    record = RunRecord(category or folder.name, folder, tuple(folders), spec, settings.model_dump())
    with load_executor(engine, workers) as executor, run.locked():
        run.write_record(record)
        result = _Aligner(run, record, settings, loaded, executor, progress).align(folders, afresh)
    backbone_of.cache_clear()
    return result


def mesh_mark(folder: Path, settings: RunSettings) -> str:
    """Fingerprint of the coarse mesh of a capture folder."""
    return fingerprint(stage="mesh", capture=capture_fingerprint(folder), settings=settings.surface)


class _Aligner:
    """One call of `align`."""

    def __init__(
        self, run: Run, record: RunRecord, settings: RunSettings, backbone: FeatureBackbone, executor: Executor,
        progress: Progress,
    ) -> None:  # fmt: skip
        self.run, self.category, self.spec = run, record.category, record.backbone
        self.settings, self.backbone = settings, backbone
        self.clock = StageClock(run.timings, self._stage_marks())
        self.executor, self.progress = executor, self.clock.told(progress)
        self.crew = Crew({})
        self.notes: list[str] = []

    def _stage_marks(self) -> dict[str, str]:
        """Fingerprints of what the times of stages depend on, besides the captures."""
        parts = {"backbone": self.backbone.fingerprint}
        marks: dict[str, str] = {}
        for stages, keys in TIMED.items():
            parts |= {key: fingerprint(settings=getattr(self.settings, key)) for key in keys}
            marks |= dict.fromkeys(stages, fingerprint(stage="timings", **parts))
        return marks

    def align(self, folders: Mapping[str, Path], afresh: bool) -> AlignResult:
        """All captures together, or only new ones beside those of alignment.json, or nothing."""
        meshes = self._meshes(folders)
        self.crew.check_enough(len(folders))
        mark = fingerprint(
            stage="alignment", category=self.category, backbone=self.backbone.fingerprint, seed=SEED,
            graph=self.settings.graph.of_all(), **{name: getattr(self.settings, name) for name in RECIPE},
        )  # fmt: skip
        record = None if afresh else self._aligned(mark)
        new = [name for name in self.crew.marks if record is None or name not in record.inputs]
        if record is None or self._too_many(new, record):
            record = self._align_all(meshes, mark, len(folders))
        elif new:
            record = self._add(new, meshes, record)
        draw_pictures(self.run, meshes, record, self.clock)
        failed = {name: reason for name, reason in record.failed.items() if name in folders} | self.crew.failed
        return AlignResult(self.run, record.alignment, failed, self.clock.seconds, tuple(self.notes))

    def _aligned(self, mark: str) -> AlignmentRecord | None:
        """What alignment.json says, if template.ply belongs to it and the captures in it are as they were."""
        if not self.run.alignment.is_file():
            return None
        try:
            record = self.run.read_alignment()
            self.run.read_template(record)
        except (OSError, ValueError) as error:
            logger.warning("%s; it is made again", error)
            return None
        same = all(self.crew.marks.get(name) == old for name, old in record.inputs.items())
        return record if record.mark == mark and record.inputs and same else None

    def _too_many(self, new: Sequence[str], record: AlignmentRecord) -> bool:
        """Whether so many captures are new that their own agreement matters more than the old frame."""
        accepted = sum(entry.accepted for entry in record.alignment.captures.values())
        many = len(new) > self.settings.graph.growth * accepted
        if many:
            self.notes.append(f"{len(new)} new captures beside {accepted} accepted ones: all are aligned afresh")
        return many

    def _align_all(self, meshes: Mapping[str, Mesh], mark: str, given: int) -> AlignmentRecord:
        """All captures together: a new obj frame and a new template."""
        inputs = dict(self.crew.marks)
        with self.clock("surfaces"):
            surfaces = self._surfaces(list(inputs), meshes, list(inputs))
        self.crew.check_enough(given)
        with self.clock("pairs"):
            names = list(surfaces)
            sparse = len(names) > self.settings.graph.all_pairs
            descriptors = {name: descriptor(surface) for name, surface in surfaces.items()} if sparse else {}
            graph = pair_graph(names, descriptors, self.settings.graph, pair_generator(SEED, ("graph",)))
            self.notes.append(str(graph))
            pairs = self._pairs(graph.pairs, surfaces)
            joined = set(component(list(names), ((pair.a, pair.b) for pair in pairs)))
            self._drop_unpaired(names, joined)
        self.crew.check_enough(given)
        with self.clock("alignment"):
            pairs = [pair for pair in pairs if pair.a in joined and pair.b in joined]
            units = {name: unit_frame(meshes[name]) for name in names if name in joined}
            template, alignment = self._one_frame(pairs, units, surfaces)
            template, alignment, by_hand = self._axes_kept(template, alignment)
        self.notes.append(f"aligned {len(units)} captures together")
        record = AlignmentRecord(
            alignment, self.crew.failed, mark, inputs=inputs, founders=tuple(inputs), axes_by_hand=by_hand
        )
        return self.run.write_alignment(record, template)

    def _one_frame(
        self, pairs: Sequence[PairAlignment], units: Mapping[str, Sim3], surfaces: Mapping[str, Surface]
    ) -> tuple[Template, Alignment]:
        """All captures in obj and the template; once more where they turn out to be symmetric, modulo that.

        Axes come first, as symmetries are looked for about these.
        """
        settings = self.settings
        ups = {name: surfaces[name].up for name in units}
        rough = joint_alignment(self.category, pairs, units, settings.joint, ups=ups)
        axes = find_axes(rough, surfaces, Symmetry.none())
        alignment = reorient(rough, Sim3(1.0, axes.obj_R_common, np.zeros(3)))
        accepted = [name for name, entry in alignment.captures.items() if entry.accepted]
        some = {name: prepare(surfaces[name], settings.pair) for name in evenly(accepted, settings.symmetry.captures)}
        symmetry = detect_symmetry(some, alignment, settings.symmetry).symmetry
        if symmetry.fold == 1:
            return fuse_template(rough, surfaces, settings.template, axes=axes)
        for _ in range(SYMMETRIC_ROUNDS):
            alignment = joint_alignment(
                self.category, pairs, units, settings.joint, ups=ups, symmetry=symmetry, initial=alignment
            )
            symmetry = follow_axis(symmetry, some, alignment, settings.symmetry)
        return fuse_template(alignment, surfaces, settings.template, symmetry)

    def _axes_kept(self, template: Template, alignment: Alignment) -> tuple[Template, Alignment, bool]:
        """With the axes that a person chose before, and whether there are any."""
        try:
            old = self.run.read_alignment()
        except (OSError, ValueError):
            return template, alignment, False
        turn = turn_between(alignment, old.alignment) if old.axes_by_hand else None
        if turn is None:
            if old.axes_by_hand:
                self.notes.append("the axes chosen by hand are lost: no capture is left of those they were chosen for")
            return template, alignment, False
        return *oriented(template, alignment, turn), True

    def _add(self, new: Sequence[str], meshes: Mapping[str, Mesh], record: AlignmentRecord) -> AlignmentRecord:
        """New captures beside the accepted ones: obj, template and the entries of all old captures stay as they are."""
        inputs = {**record.inputs, **{name: self.crew.marks[name] for name in new}}
        old = [name for name, entry in record.alignment.captures.items() if entry.accepted]
        with self.clock("surfaces"):
            surfaces = self._surfaces([*old, *new], meshes, record.founders)
        with self.clock("pairs"):
            usable = [name for name in new if name in surfaces]
            sparse = len(old) > self.settings.graph.added_pairs
            descriptors = {name: descriptor(surface) for name, surface in surfaces.items()} if sparse else {}
            generators = {name: pair_generator(SEED, ("graph", name)) for name in usable}
            chosen = attachments(usable, old, descriptors, self.settings.graph, generators)
            pairs = self._pairs(chosen, surfaces)
            self._drop_unpaired(usable, {pair.b for pair in pairs})
        with self.clock("alignment"):
            placed = {pair.b: None for pair in pairs}
            units = {name: unit_frame(meshes[name]) for name in [*old, *placed]}
            alignment = record.alignment
            if placed:
                ups = {name: surfaces[name].up for name in units if name in surfaces}
                alignment = place_captures(
                    alignment, pairs, units, self.settings.joint, ups=ups, symmetry=record.symmetry
                )
        self.notes.append(
            f"added {len(placed)} capture{'s' * (len(placed) != 1)} to {len(old)} aligned ones, by {len(chosen)} pairs"
        )
        failed = {name: reason for name, reason in record.failed.items() if name not in new} | self.crew.failed
        return self.run.write_alignment(replace(record, alignment=alignment, failed=failed, inputs=inputs))

    def _drop_unpaired(self, names: Iterable[str], joined: set[str]) -> None:
        for name in names:
            if name not in joined:
                self.crew.drop(name, "no plausible alignment with the other captures was found")

    def _meshes(self, folders: Mapping[str, Path]) -> dict[str, Mesh]:
        """Meshes of all captures, in their order; fills the crew."""
        self.crew = Crew(dict(folders))
        marks = {name: mesh_mark(folder, self.settings) for name, folder in folders.items()}
        loop, meshes = mesh_loop(self.run, self.settings.surface), {}
        for name, result in loop.run(self.executor, {}, folders, marks, self.progress, self.clock):
            if isinstance(result, Failure):
                self.crew.drop(name, result.reason)
            else:
                meshes[name] = result
        self.crew.marks = {name: marks[name] for name in self.crew.folders}
        return {name: meshes[name] for name in self.crew.folders}

    def _surfaces(self, names: Sequence[str], meshes: Mapping[str, Mesh], founders: Sequence[str]) -> Stored[Surface]:
        """Surfaces of the captures that give one; `founders` are the captures that the basis is fitted on."""
        crew, settings = self.crew, self.settings.surface
        basis_mark = fingerprint(
            stage="basis", meshes=[crew.marks[name] for name in founders], backbone=self.backbone.fingerprint,
            settings=settings,
        )  # fmt: skip

        def fit() -> FeatureBasis:
            captures = [read_nerfstudio(crew.folders[name]) for name in founders]
            return fit_basis(captures, [meshes[name] for name in founders], self.backbone, settings)

        shared = {"basis": cached(self.run.basis, basis_mark, BASIS, fit)}
        items = {name: (crew.folders[name], meshes[name]) for name in names}
        marks = {
            name: fingerprint(stage="surface", name=name, mesh=crew.marks[name], basis=basis_mark) for name in names
        }
        loop = surface_loop(self.run, settings, self.spec)
        for name, result in loop.run(self.executor, shared, items, marks, self.progress):
            if isinstance(result, Failure):
                crew.drop(name, result.reason)
                del marks[name]
        return Stored(self.run.surface, SURFACE, marks)

    def _pairs(self, chosen: Sequence[tuple[str, str]], surfaces: Stored[Surface]) -> list[PairAlignment]:
        """Alignments of those of the chosen pairs that have one."""
        settings = self.settings.pair
        todo = {pair_name(a, b): (a, b) for a, b in chosen}
        marks = {}
        for name, pair in todo.items():
            inputs = [surfaces.marks[capture] for capture in pair]
            marks[name] = fingerprint(stage="pair", names=pair, surfaces=inputs, settings=settings, seed=SEED)
        loop = pair_loop(self.run, settings)
        found = dict(loop.finished(todo, marks, self.progress))
        missing = {name: pair for name, pair in todo.items() if name not in found}
        if missing:
            with self._prepared(surfaces.part({capture for pair in missing.values() for capture in pair})) as prepared:
                for name, result in loop.made(self.executor, prepared, missing, marks, self.progress, len(todo)):
                    if isinstance(result, Failure):
                        logger.warning("no alignment of %s and %s: %s", *todo[name], result.reason)
                    else:
                        found[name] = result
        return [found[name] for name in todo if name in found]

    @contextmanager
    def _prepared(self, surfaces: Stored[Surface]) -> Iterator[Parcel]:
        """The surfaces with their distance fields, on disk in the run for as long as the pairs take."""
        self.progress("fields", 0, len(surfaces))
        with Parcel(self.run.folder, DRAFT) as parcel:
            with self.clock("fields"):
                made = self.executor.map(partial(prepared_surface, self.settings.pair), {}, surfaces)
                for done, (name, surface) in enumerate(made, start=1):
                    parcel.add(name, surface)
                    self.progress("fields", done, len(surfaces))
            yield parcel


def draw_pictures(run: Run, meshes: Mapping[str, Mesh], record: AlignmentRecord, watch: Watch = unwatched) -> None:
    """Pictures of the alignment and the template, unless they are newer than what they show."""
    pictures = {"alignment.png": draw_alignment, "template.png": draw_template}
    template = run.read_template(record)
    for name, draw in pictures.items():
        path = run.pictures / name
        if not path.is_file() or path.stat().st_mtime_ns < run.alignment.stat().st_mtime_ns:
            with watch("pictures"):
                write_image(path, draw(record.alignment, meshes, template))
