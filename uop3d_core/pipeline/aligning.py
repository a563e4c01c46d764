"""Captures to alignment.json and template.ply: meshes, features, pairs, one common frame, the mean shape.

In: a folder of captures. Out: artefacts in a run directory, and an AlignResult.
A capture that cannot be used is left out with its reason; the others go on.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations
from pathlib import Path

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from uop3d_core.alignment.joint import joint_alignment
from uop3d_core.alignment.pairwise import PreparedSurface, align_pair, prepare
from uop3d_core.alignment.template import fuse_template
from uop3d_core.backbones import FeatureBackbone, load_backbone
from uop3d_core.capture.folder import list_captures
from uop3d_core.capture.nerfstudio import read_nerfstudio
from uop3d_core.config import RunSettings
from uop3d_core.progress import Progress, silent
from uop3d_core.report.sheets import draw_alignment, draw_template, write_image
from uop3d_core.runs import (
    MESH,
    PAIR,
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
from uop3d_core.surface import FeatureBasis, build_surface, coarse_mesh, fit_basis
from uop3d_core.types import Alignment, Capture, Mesh, PairAlignment, Surface

DEFAULT_BACKBONE = "dinov2-small"
SEED = 0

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
    """

    run: Run
    alignment: Alignment
    failed: dict[str, str]
    seconds: dict[str, float]


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
    """The captures that are still in, with what is known of each; failures move a capture to `failed`."""

    captures: dict[str, Capture] = field(default_factory=dict)
    marks: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def guard(self, name: str) -> Iterator[None]:
        """Turn an error about this capture into a reason to leave it out."""
        try:
            yield
        except (ValueError, OSError) as error:
            self.drop(name, str(error))

    def drop(self, name: str, reason: str) -> None:
        """Leave a capture out."""
        logger.warning("capture %s is left out: %s", name, reason)
        self.captures.pop(name, None)
        self.marks.pop(name, None)
        self.failed[name] = reason

    def check_enough(self, given: int) -> None:
        """Raise ValueError unless two captures are left, or the only one given."""
        if len(self.captures) < min(2, given):
            reasons = "\n".join(f"  {name}: {reason}" for name, reason in self.failed.items())
            raise ValueError(f"{len(self.captures)} of {given} captures can be used, at least 2 are needed\n{reasons}")


def align(
    captures_folder: Path,
    run_folder: Path,
    *,
    backbone: str = DEFAULT_BACKBONE,
    only: Sequence[str] = (),
    category: str | None = None,
    settings: RunSettings | None = None,
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
        progress: is told "meshes", "surfaces", "pairs".

    Raises:
        FileNotFoundError: there are no captures.
        ValueError: too few of them can be used, or names are wrong.
        OSError: the backbone cannot be had, or the run cannot be written.
    """
    settings, run = settings or RunSettings(), Run(run_folder)
    folders = {check_capture_name(path.name): path for path in list_captures(captures_folder, only)}
    folder, spec = Path(captures_folder).resolve(), resolve_backbone(backbone)
    with with_hint():
        loaded = load_backbone(spec)
    record = RunRecord(category or folder.name, folder, tuple(folders), spec, settings.model_dump())
    with run.locked():
        run.write_record(record)
        return _Aligner(run, record.category, settings, loaded, progress).align(folders)


def mesh_mark(folder: Path, settings: RunSettings) -> str:
    """Fingerprint of the coarse mesh of a capture folder."""
    return fingerprint(stage="mesh", capture=capture_fingerprint(folder), settings=settings.surface)


def make_mesh(capture: Capture, settings: RunSettings) -> Mesh:
    """Coarse mesh of a capture, once all its images turn out to be readable."""
    for frame in capture.frames:
        frame.image  # noqa: B018  # an unreadable image is to be told here, not by a later stage
    return coarse_mesh(capture, settings.surface)


class _Aligner:
    """One call of `align`."""

    def __init__(
        self, run: Run, category: str, settings: RunSettings, backbone: FeatureBackbone, progress: Progress
    ) -> None:
        self.run, self.category, self.settings = run, category, settings
        self.backbone, self.progress = backbone, progress
        self.crew = Crew()
        self.seconds: dict[str, float] = {}

    def align(self, folders: Mapping[str, Path]) -> AlignResult:
        with self._timed("meshes"):
            meshes = self._meshes(folders)
        self.crew.check_enough(len(folders))
        mark = fingerprint(
            stage="alignment", category=self.category, meshes=self.crew.marks, backbone=self.backbone.fingerprint,
            seed=SEED, **{name: getattr(self.settings, name) for name in ("surface", "pair", "joint", "template")},
        )  # fmt: skip
        record = self._finished(mark)
        if record is None:
            record = self._compute(meshes, mark, len(folders))
        self._draw(meshes, record)
        return AlignResult(self.run, record.alignment, record.failed, self.seconds)

    def _compute(self, meshes: Mapping[str, Mesh], mark: str, given: int) -> AlignmentRecord:
        with self._timed("surfaces"):
            surfaces = self._surfaces(meshes)
        self.crew.check_enough(given)
        with self._timed("pairs"):
            prepared = {name: prepare(surface, self.settings.pair) for name, surface in surfaces.items()}
            pairs = self._pairs(prepared)
        self.crew.check_enough(given)
        with self._timed("alignment"):
            units = {name: prepared[name].unit_T_world for name in self.crew.captures}
            rough = joint_alignment(self.category, pairs, units, self.settings.joint)
            template, alignment = fuse_template(rough, surfaces, self.settings.template)
        return self.run.write_alignment(AlignmentRecord(alignment, self.crew.failed, mark), template)

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        start = time.monotonic()
        yield
        self.seconds[stage] = round(time.monotonic() - start, 2)

    def _finished(self, mark: str) -> AlignmentRecord | None:
        """What alignment.json says, if it is what this call would make and template.ply belongs to it."""
        if not self.run.alignment.is_file():
            return None
        try:
            record = self.run.read_alignment()
            if record.mark == mark:
                self.run.read_template(record)
                return record
        except (OSError, ValueError) as error:
            logger.warning("%s; it is made again", error)
        return None

    def _meshes(self, folders: Mapping[str, Path]) -> dict[str, Mesh]:
        meshes = {}
        for done, (name, folder) in enumerate(folders.items()):
            self.progress("meshes", done, len(folders))
            with self.crew.guard(name):
                capture, mark = read_nerfstudio(folder), mesh_mark(folder, self.settings)
                meshes[name] = cached(self.run.mesh(name), mark, MESH, partial(make_mesh, capture, self.settings))
                self.crew.captures[name], self.crew.marks[name] = capture, mark
        self.progress("meshes", len(folders), len(folders))
        return meshes

    def _surfaces(self, meshes: Mapping[str, Mesh]) -> dict[str, Surface]:
        crew, settings, backbone = self.crew, self.settings.surface, self.backbone
        names = list(crew.captures)
        self.progress("surfaces", 0, len(names))
        basis_mark = fingerprint(
            stage="basis", meshes=list(crew.marks.values()), backbone=backbone.fingerprint, settings=settings
        )
        everything = [crew.captures[name] for name in names], [meshes[name] for name in names]
        basis = cached(self.run.basis, basis_mark, BASIS, partial(fit_basis, *everything, backbone, settings))
        surfaces = {}
        for done, name in enumerate(names):
            with crew.guard(name):
                mark = fingerprint(stage="surface", name=name, mesh=crew.marks[name], basis=basis_mark)
                build = partial(build_surface, crew.captures[name], meshes[name], backbone, basis, settings)
                surfaces[name] = cached(self.run.surface(name), mark, SURFACE, build)
                crew.marks[name] = mark
            self.progress("surfaces", done + 1, len(names))
        return surfaces

    def _pairs(self, prepared: Mapping[str, PreparedSurface]) -> list[PairAlignment]:
        """Alignments of all pairs of captures that hang together; the other captures are dropped."""
        pairs, todo, settings = [], list(combinations(prepared, 2)), self.settings.pair
        for done, (a, b) in enumerate(todo):
            self.progress("pairs", done, len(todo))
            marks = [self.crew.marks[a], self.crew.marks[b]]
            mark = fingerprint(stage="pair", names=[a, b], surfaces=marks, settings=settings, seed=SEED)
            compute = partial(align_pair, prepared[a], prepared[b], settings, pair_generator(SEED, (a, b)))
            try:
                pairs.append(cached(self.run.pair(a, b), mark, PAIR, compute))
            except ValueError as error:
                logger.warning("no alignment of %s and %s: %s", a, b, error)
        self.progress("pairs", len(todo), len(todo))
        joined = _largest_component(list(prepared), pairs)
        for name in [name for name in prepared if name not in joined]:
            self.crew.drop(name, "no plausible alignment with the other captures was found")
        return [pair for pair in pairs if pair.a in joined and pair.b in joined]

    def _draw(self, meshes: Mapping[str, Mesh], record: AlignmentRecord) -> None:
        """Pictures of the alignment and the template, unless they are newer than what they show."""
        pictures = {"alignment.png": draw_alignment, "template.png": draw_template}
        template = self.run.read_template(record)
        for name, draw in pictures.items():
            path = self.run.pictures / name
            if not path.is_file() or path.stat().st_mtime_ns < self.run.alignment.stat().st_mtime_ns:
                write_image(path, draw(record.alignment, meshes, template))


def _largest_component(names: Sequence[str], pairs: Sequence[PairAlignment]) -> set[str]:
    """The largest set of captures that pairs join."""
    index = {name: i for i, name in enumerate(names)}
    rows, columns = [index[pair.a] for pair in pairs], [index[pair.b] for pair in pairs]
    graph = coo_matrix((np.ones(len(pairs)), (rows, columns)), shape=(len(names), len(names)))
    component = connected_components(graph, directed=False)[1]
    return {name for name, i in index.items() if component[i] == np.bincount(component).argmax()}
