"""Loops over captures and pairs: finished artefacts are taken from the run, the others go to an executor.

In: what is to be done, by name. Out: artefacts in the run, written one by one as they are finished, and their values.
The functions that workers call stand here as well: each turns an error about its captures into a `Failure`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from uop3d_core.alignment.pairwise import align_pair
from uop3d_core.alignment.prepared import PreparedSurface, prepare
from uop3d_core.backbones import FeatureBackbone, load_backbone
from uop3d_core.capture.nerfstudio import read_nerfstudio
from uop3d_core.config import PairSettings, SurfaceSettings
from uop3d_core.executors import Executor, Shared
from uop3d_core.progress import Progress
from uop3d_core.runs import MESH, PAIR, SURFACE, Codec, Run, load, pair_generator, save
from uop3d_core.stopwatch import Watch, unwatched
from uop3d_core.surface import build_surface, coarse_mesh
from uop3d_core.types import Capture, Mesh, PairAlignment, Sim3, Surface

SEED = 0
T = TypeVar("T")


@dataclass(frozen=True)
class Failure:
    """Why a capture or a pair gave nothing."""

    reason: str


@dataclass(frozen=True)
class Loop(Generic[T]):
    """A stage that makes one artefact per capture or pair.

    Attributes:
        stage: its name, for progress.
        codec: how an artefact is kept.
        path: where, by its name.
        function: what makes it of what is shared and one item.
    """

    stage: str
    codec: Codec[T]
    path: Callable[[str], Path]
    function: Callable[[Shared, Any], T]

    def run(
        self, executor: Executor, shared: Shared, items: Mapping[str, Any], marks: Mapping[str, str],
        progress: Progress, watch: Watch = unwatched,
    ) -> Iterator[tuple[str, T | Failure]]:  # fmt: skip
        """Yield every name with its artefact: what is `finished`, then what is `made` of the other items, and timed."""
        missing = dict(items)
        for name, value in self.finished(items, marks, progress):
            del missing[name]
            yield name, value
        if missing:
            with watch(self.stage):
                yield from self.made(executor, shared, missing, marks, progress, len(items))

    def finished(self, names: Collection[str], marks: Mapping[str, str], progress: Progress) -> Iterator[tuple[str, T]]:
        """Yield the artefacts that are there, with the fingerprints asked for."""
        done = 0
        for name in names:
            value = load(self.path(name), marks[name], self.codec)
            if value is not None:
                done += 1
                yield name, value
        progress(self.stage, done, len(names))

    def made(
        self, executor: Executor, shared: Shared, items: Mapping[str, Any], marks: Mapping[str, str],
        progress: Progress, total: int,
    ) -> Iterator[tuple[str, T | Failure]]:  # fmt: skip
        """Make artefacts and yield them as they come.

        What is yielded was read from the file again, so that a continued run gets the very same numbers.
        """
        results = executor.map(partial(attempted, self.function), shared, items)
        for done, (name, result) in enumerate(results, start=total - len(items) + 1):
            yield name, result if isinstance(result, Failure) else self._kept(name, marks[name], result)
            progress(self.stage, done, total)

    def _kept(self, name: str, mark: str, value: T) -> T:
        save(self.path(name), mark, self.codec, value)
        again = load(self.path(name), mark, self.codec)
        if again is None:
            raise OSError(f"{self.path(name)} cannot be read again after writing: is the disk full or broken?")
        return again


class Stored(Mapping[str, T]):
    """Artefacts of the run that are read when they are asked for, so that they need not all be in memory."""

    def __init__(self, path: Callable[[str], Path], codec: Codec[T], marks: Mapping[str, str]) -> None:
        """Artefacts by name, with the fingerprints that they were just seen to have."""
        self._path, self._codec, self.marks = path, codec, marks

    def __getitem__(self, name: str) -> T:
        value = load(self._path(name), self.marks[name], self._codec)
        if value is None:
            raise OSError(f"{self._path(name)} has vanished or changed; run the same command again to go on")
        return value

    def part(self, names: Collection[str]) -> Stored[T]:
        """Some of them."""
        return Stored(self._path, self._codec, {name: mark for name, mark in self.marks.items() if name in names})

    def __iter__(self) -> Iterator[str]:
        return iter(self.marks)

    def __len__(self) -> int:
        return len(self.marks)


def attempted(function: Callable[[Shared, Any], T], shared: Shared, item: Any) -> T | Failure:
    """Call; an error about the item becomes its `Failure`."""
    try:
        return function(shared, item)
    except (ValueError, OSError) as error:
        return Failure(str(error))


def mesh_loop(run: Run, settings: SurfaceSettings) -> Loop[Mesh]:
    """Items: folder of the capture."""
    return Loop("meshes", MESH, run.mesh, partial(_mesh, settings))


def surface_loop(run: Run, settings: SurfaceSettings, backbone: str) -> Loop[Surface]:
    """Items: folder of the capture and its mesh. Shared: ``basis``."""
    return Loop("surfaces", SURFACE, run.surface, partial(_surface, settings, backbone))


def pair_loop(run: Run, settings: PairSettings) -> Loop[PairAlignment]:
    """Items: names (a, b), by ``pair_name(a, b)``. Shared: the prepared surfaces."""
    return Loop("pairs", PAIR, lambda name: run.pair(*name.split("+")), partial(_pair, settings))


def pair_name(a: str, b: str) -> str:
    """Name of a pair; capture names hold no ``+``."""
    return f"{a}+{b}"


def make_mesh(capture: Capture, settings: SurfaceSettings) -> Mesh:
    """Coarse mesh of a capture, once all its images turn out to be readable."""
    for frame in capture.frames:
        frame.image  # noqa: B018  # an unreadable image is to be told here, not by a later stage
    return coarse_mesh(capture, settings)


def unit_frame(mesh: Mesh) -> Sim3:
    """unit_T_world of a capture: its bounding box centred, its diameter 1."""
    scale = 1 / mesh.diameter
    return Sim3(scale, np.eye(3), -scale * (mesh.vertices.min(0) + mesh.vertices.max(0)) / 2)


@lru_cache(maxsize=1)
def backbone_of(spec: str) -> FeatureBackbone:
    """The backbone, loaded once per process."""
    return load_backbone(spec)


def _mesh(settings: SurfaceSettings, shared: Shared, folder: Path) -> Mesh:
    return make_mesh(read_nerfstudio(folder), settings)


def _surface(settings: SurfaceSettings, backbone: str, shared: Shared, item: tuple[Path, Mesh]) -> Surface:
    folder, mesh = item
    return build_surface(read_nerfstudio(folder), mesh, backbone_of(backbone), shared["basis"], settings)


def prepared_surface(settings: PairSettings, shared: Shared, surface: Surface) -> PreparedSurface:
    """The surface, ready for pairs."""
    return prepare(surface, settings)


def _pair(settings: PairSettings, shared: Shared, item: tuple[str, str]) -> PairAlignment:
    a, b = item
    return align_pair(shared[a], shared[b], settings, pair_generator(SEED, item))
