"""Alignments from elsewhere: tables of estimates to a few references, brought into one frame per category.

In: an .npz file with `category` [N], `sequence` [N], `ref_category` [C], `ref_sequence` [C, K] and, for every variant,
`ref_world_T_world_<variant>` [N, K, 4, 4]: world of the sequence to world of reference k of its category.
Out: Frames, one rotation per sequence, and a file of them.

A reference takes part as the sequence that it is; where it is none of the sequences it is a node of its own. Scales and
translations are not used. How much a variant counts is read off its own residuals.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from uop3d_core.alignment.problem import Edges, Tolerances
from uop3d_core.alignment.quality import describe, evidence, few, probability
from uop3d_core.alignment.synchronization import Solution, synchronize
from uop3d_core.atomic import write_atomically
from uop3d_core.config import JointSettings
from uop3d_core.geometry import Array, closest_rotation
from uop3d_core.progress import Progress, silent

PREFIX = "ref_world_T_world_"
BOTH = "both"
WEIGHING_ROUNDS = 2
MIN_PROBABILITY = 0.5


@dataclass(frozen=True, eq=False)
class EstimateTable:
    """Estimates of N sequences to K references of their category.

    Attributes:
        category, sequence: (N,) names; a sequence is unique within its category.
        references: (K,) names of each category's references.
        ref_R_world: (N, K, 3, 3) rotations per variant, NaN where there is no estimate.
    """

    category: Array
    sequence: Array
    references: dict[str, tuple[str, ...]]
    ref_R_world: dict[str, Array]


@dataclass(frozen=True, eq=False)
class CategoryFrames:
    """One frame for the sequences of a category.

    Attributes:
        obj_R_world: (n, 3, 3); the identity where a sequence has no estimate.
        ref_R_obj: (K, 3, 3) of the references' own frames.
        probability: (n,) of being right, see `quality`; 0 where a sequence has no estimate.
        accepted: (n,) bool.
        features: (n, 3) what the probability was computed from, see `quality.Evidence`; NaN without estimates.
        weights: how much each variant counts.
        warnings: what a person should look at.
    """

    obj_R_world: Array
    ref_R_obj: Array
    probability: Array
    accepted: Array
    features: Array
    weights: dict[str, float]
    warnings: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Frames:
    """All categories: arrays in the order of the table, and each category's part."""

    category: Array
    sequence: Array
    obj_R_world: Array
    probability: Array
    accepted: Array
    categories: dict[str, CategoryFrames]


def read_estimates(path: Path, variant: str = BOTH) -> EstimateTable:
    """Read a table.

    Args:
        path: the .npz file.
        variant: name of a variant, or "both" for all that the file has.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not such a table; the message says which array is wrong and how.
    """
    arrays = _load(path)
    variants = [name[len(PREFIX) :] for name in arrays if name.startswith(PREFIX)]
    if not variants:
        raise ValueError(f"{path} has no array {PREFIX}<variant>; it has {', '.join(sorted(arrays)) or 'no arrays'}")
    if variant != BOTH and variant not in variants:
        raise ValueError(f"{path} has no variant {variant!r}; it has {', '.join(variants)}, and {BOTH} takes all")
    category, sequence = (_names(arrays, name, (None,), path) for name in ("category", "sequence"))
    N = len(category)
    if N == 0:
        raise ValueError(f"{path}: category is empty, there is nothing to align")
    if len(sequence) != N:
        raise ValueError(f"{path}: sequence has {len(sequence)} entries, category {N}")
    pairs, counts = np.unique(np.stack([category, sequence], axis=1), axis=0, return_counts=True)
    if counts.max() > 1:
        raise ValueError(f"{path}: sequence {pairs[counts.argmax()][1]} of {pairs[counts.argmax()][0]} is there twice")
    ref_category = _names(arrays, "ref_category", (None,), path)
    ref_sequence = _names(arrays, "ref_sequence", (len(ref_category), None), path)
    if ref_sequence.shape[1] == 0:
        raise ValueError(f"{path}: ref_sequence names no references")
    references = {str(c): tuple(map(str, row)) for c, row in zip(ref_category, ref_sequence, strict=True)}
    for name in dict.fromkeys(category.tolist()):
        if name not in references:
            raise ValueError(f"{path}: ref_category names no references of {name!r}, which is in category")
        if len(set(references[name])) < len(references[name]):
            raise ValueError(f"{path}: ref_sequence names a reference of {name!r} twice")
    shape = (N, ref_sequence.shape[1], 4, 4)
    rotations = {
        name: _rotations(arrays[PREFIX + name], shape, path, PREFIX + name, category, sequence)
        for name in variants
        if variant in (BOTH, name)
    }
    return EstimateTable(category, sequence, references, rotations)


def _load(path: Path) -> dict[str, Array]:
    if path.is_dir():
        raise ValueError(f"{path} is a folder, expected an .npz file")
    if path.exists() and path.stat().st_size == 0:
        raise ValueError(f"{path} is empty")
    if path.exists() and not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is not a readable .npz file: it is no archive of arrays")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is not a readable .npz file: {error}") from error
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):
            raise ValueError(f"{path} is not a readable .npz file: {name} is no array")
    return arrays


def _names(arrays: Mapping[str, Array], name: str, shape: tuple[int | None, ...], path: Path) -> Array:
    """An array of text of the given shape (None = any length)."""
    if name not in arrays:
        raise ValueError(f"{path} has no array {name}; it has {', '.join(sorted(arrays))}")
    array = arrays[name]
    if array.ndim != len(shape) or any(n is not None and n != m for n, m in zip(shape, array.shape, strict=True)):
        want = ", ".join("any" if n is None else str(n) for n in shape)
        raise ValueError(f"{path}: {name} has shape {array.shape}, expected ({want})")
    if array.dtype.kind != "U":
        raise ValueError(f"{path}: {name} holds {array.dtype}, expected text")
    return array


def _rotations(
    matrices: Array, shape: tuple[int, ...], path: Path, what: str, category: Array, sequence: Array
) -> Array:
    """Rotations (N, K, 3, 3) of similarity matrices; NaN where a matrix is all NaN."""
    if matrices.shape != shape:
        raise ValueError(f"{path}: {what} has shape {matrices.shape}, expected {shape}")
    if matrices.dtype.kind != "f":
        raise ValueError(f"{path}: {what} holds {matrices.dtype}, expected floating point numbers")
    matrices = matrices.astype(np.float64)
    absent = _everywhere(np.isnan(matrices))[..., None, None]
    filled = np.where(absent, np.eye(4), matrices)

    def check(good: Any, problem: str) -> None:
        if not good.all():
            n, k = np.argwhere(~good)[0]
            raise ValueError(f"{path}: {what}[{n}, {k}] ({sequence[n]} of {category[n]} to reference {k}) {problem}")

    check(
        np.isfinite(filled).reshape(*shape[:2], -1).all(-1),
        "has NaN or infinite entries (a missing estimate is NaN everywhere)",
    )
    check(_everywhere(np.abs(filled[..., 3, :] - [0, 0, 0, 1]) < 1e-4), "has a last row other than 0 0 0 1")
    inner = filled[..., :3, :3]
    determinant = np.asarray(np.linalg.det(inner))
    check(_everywhere(determinant[..., None] > 0), "mirrors or collapses space: its determinant is not positive")
    R = inner / np.cbrt(np.where(determinant > 0, determinant, 1))[..., None, None]
    rounding = np.abs(R @ np.swapaxes(R, -1, -2) - np.eye(3))
    check(_everywhere(rounding < 1e-2), "is not a similarity: its upper left block is not a multiple of a rotation")
    return np.where(absent, np.nan, closest_rotation(R))


def _everywhere(flags: Any) -> Array:
    """Which of (N, K, ...) hold throughout: (N, K) bool."""
    return np.logical_and.reduce(flags.reshape(*flags.shape[:2], -1), axis=-1)


def synchronize_table(table: EstimateTable, settings: JointSettings, progress: Progress = silent) -> Frames:
    """One frame per category; `progress` is told "categories"."""
    N = len(table.category)
    R, p, accepted = np.tile(np.eye(3), (N, 1, 1)), np.zeros(N), np.zeros(N, dtype=bool)
    names, parts = list(dict.fromkeys(table.category.tolist())), {}
    for done, name in enumerate(names):
        progress("categories", done, len(names))
        mine = np.flatnonzero(table.category == name)
        estimates = {variant: rotations[mine] for variant, rotations in table.ref_R_world.items()}
        part = synchronize_category(table.sequence[mine].tolist(), table.references[name], estimates, settings)
        R[mine], p[mine], accepted[mine] = part.obj_R_world, part.probability, part.accepted
        parts[name] = part
    progress("categories", len(names), len(names))
    return Frames(table.category, table.sequence, R, p, accepted, parts)


def synchronize_category(
    sequences: Sequence[str], references: Sequence[str], ref_R_world: Mapping[str, Array], settings: JointSettings
) -> CategoryFrames:
    """One frame for n sequences from estimates (n, K, 3, 3) to K references, of each variant."""
    nodes = {name: i for i, name in enumerate(dict.fromkeys([*sequences, *references]))}
    edges, variant = _edges(nodes, sequences, references, ref_R_world)
    n = len(sequences)
    linked = _largest_part(len(nodes), edges)
    R, p = np.tile(np.eye(3), (len(nodes), 1, 1)), np.zeros(len(nodes))
    features = np.full((len(nodes), 3), np.nan)
    warnings: tuple[str, ...] = ()
    weights = dict.fromkeys(ref_R_world, 1.0)
    if len(linked) > 1:
        inside = np.isin(edges.to, linked) & np.isin(edges.of, linked)
        edges, variant = edges.take(inside), variant[inside]
        index = np.zeros(len(nodes), dtype=np.int64)
        index[linked] = np.arange(len(linked))
        edges = _weighted(edges, edges.weight, index)
        tolerances = Tolerances.of(settings)
        solution, edges, shares = _weigh_variants(len(linked), edges, variant, tolerances, settings)
        weights = {name: float(share) for name, share in zip(ref_R_world, shares, strict=True)}
        found = evidence(len(linked), edges, solution.nodes.R, tolerances)
        R[linked], p[linked], features[linked] = solution.nodes.R, probability(found), found.features
        best = int(np.where(np.arange(len(nodes)) < n, p, -1).argmax())
        names = np.array(list(nodes))[linked].tolist()
        warnings = describe(found, names, "sequences", R[best].T)
        R[linked] = R[best].T @ R[linked]
    accepted = p[:n] >= MIN_PROBABILITY
    warnings = (*warnings, *few(int(accepted.sum()), n, "sequences"))
    lost = n - int((linked < n).sum()) if len(linked) > 1 else n
    if lost:
        warnings = (*warnings, f"{lost} of {n} sequences have no estimate that links them to the others")
    ref_R_obj = np.swapaxes(R[[nodes[name] for name in references]], -1, -2)
    return CategoryFrames(R[:n], ref_R_obj, p[:n], accepted, features[:n], weights, warnings)


def _edges(
    nodes: Mapping[str, int], sequences: Sequence[str], references: Sequence[str], ref_R_world: Mapping[str, Array]
) -> tuple[Edges, Array]:
    """Edges from all estimates but those of a reference to itself, and the number (E,) of each one's variant."""
    to, of, variant = list[int](), list[int](), list[int]()
    R: list[Array] = []
    for v, rotations in enumerate(ref_R_world.values()):
        present = _everywhere(np.isfinite(rotations))
        for k, reference in enumerate(references):
            rows = [i for i in np.flatnonzero(present[:, k]).tolist() if sequences[i] != reference]
            to += [nodes[reference]] * len(rows)
            of += [nodes[sequences[i]] for i in rows]
            R += list(rotations[rows, k])
            variant += [v] * len(rows)
    E = len(to)
    stacked, zero = np.array(R).reshape(E, 1, 3, 3), np.zeros((E, 1))
    numbers = np.array(to, dtype=np.int64), np.array(of, dtype=np.int64)
    edges = Edges(*numbers, zero + 1, stacked, np.zeros((E, 1, 3)), zero, np.ones(E))
    return edges, np.array(variant, dtype=np.int64)


def _largest_part(count: int, edges: Edges) -> Array:
    """Nodes of the largest connected part."""
    graph = coo_matrix((np.ones(len(edges.to)), (edges.to, edges.of)), shape=(count, count))
    part = connected_components(graph, directed=False)[1]
    return np.flatnonzero(part == np.bincount(part).argmax())


def _weighted(edges: Edges, weight: Array, index: Array | None = None) -> Edges:
    to, of = (edges.to, edges.of) if index is None else (index[edges.to], index[edges.of])
    return Edges(to, of, edges.scale, edges.R, edges.t, edges.cost, weight)


def _weigh_variants(
    count: int, edges: Edges, variant: Array, tolerances: Tolerances, settings: JointSettings
) -> tuple[Solution, Edges, Array]:
    """Solve, weigh every variant by its precision, and solve again.

    For residuals that follow a Cauchy law of scale s, the mean of 1 / (1 + (r / c)^2) is c / (c + s), which gives s.
    """
    shares = np.ones(int(variant.max()) + 1)
    solution = synchronize(count, edges, tolerances, starts=settings.starts, rounds=settings.rounds)
    rounds = WEIGHING_ROUNDS if len(shares) > 1 else 0
    for left in reversed(range(rounds)):
        mean = 1 / (1 + (solution.residual / tolerances.fine) ** 2)
        mean = np.bincount(variant, mean, len(shares)) / np.maximum(np.bincount(variant, minlength=len(shares)), 1)
        shares = mean / np.maximum(1 - mean, 1e-3)
        shares = shares / shares.max()
        edges = _weighted(edges, shares[variant])
        starts = 0 if left else settings.starts
        solution = synchronize(count, edges, tolerances, starts=starts, rounds=settings.rounds, initial=solution.nodes)
    return solution, edges, shares


def write_frames(path: Path, frames: Frames) -> None:
    """Write `category`, `sequence`, `obj_R_world` [N, 3, 3], `probability` [N], `accepted` [N] as an .npz file."""
    write_atomically(
        path,
        lambda file: np.savez_compressed(
            file,
            category=frames.category,
            sequence=frames.sequence,
            obj_R_world=frames.obj_R_world,
            probability=frames.probability,
            accepted=frames.accepted,
        ),
    )
