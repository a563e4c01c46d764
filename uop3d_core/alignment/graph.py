"""Which pairs of captures are aligned: all of few captures, or of many a sparse graph whose size grows as N log N.

In: one descriptor per capture, made of its Surface and independent of its world frame. Out: pairs of names.

The sparse graph joins captures that look alike, whose alignments are the most reliable, and all captures by random
rings: each is connected by itself, rings without common edges make it hard to cut anything off, and their long edges
keep the paths between any two captures short.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from uop3d_core.config import GraphSettings
from uop3d_core.geometry import Array
from uop3d_core.types import Surface

DIMENSIONS = 8
RADII = (0.1, 0.3, 0.5, 0.7, 0.9)
RING_ROUNDS = 200


@dataclass(frozen=True)
class PairGraph:
    """Pairs of captures.

    Attributes:
        names: all captures.
        pairs: (a, b), each once, in the order of `names`.
        connectivity: so many pairs at least have to fail before captures fall apart.
    """

    names: tuple[str, ...]
    pairs: tuple[tuple[str, str], ...]
    connectivity: int

    @property
    def mean_degree(self) -> float:
        """Pairs per capture."""
        return 2 * len(self.pairs) / max(len(self.names), 1)

    def __str__(self) -> str:
        N, E = len(self.names), len(self.pairs)
        share = "all pairs" if 2 * E == N * (N - 1) else f"{2 * E / (N * (N - 1)):.1%} of all pairs"
        return (
            f"{E} pairs of {N} captures ({share}), {self.mean_degree:.1f} per capture; "
            f"any {max(self.connectivity - 1, 0)} may fail without splitting them"
        )


def descriptor(surface: Surface) -> Array:
    """Looks and shape of a capture in one vector: (2 C + 3 + 5,), whatever its world frame.

    Mean and spread of the C feature channels over all observations; standard deviations of the vertices along their
    principal axes and quantiles of their distances from the centre, both in shares of the mean (square) distance.
    """
    seen = surface.features[surface.valid].astype(np.float32)
    points = surface.mesh.vertices - surface.mesh.vertices.mean(0)
    points = points / np.sqrt((points**2).sum(1).mean())
    axes = np.sqrt(np.maximum(np.linalg.eigvalsh(np.cov(points.T)), 0))
    radii = np.quantile(np.linalg.norm(points, axis=1), RADII)
    return np.concatenate([seen.mean(0), seen.std(0), axes, radii])


def pair_graph(
    names: Sequence[str], descriptors: Mapping[str, Array], settings: GraphSettings, rng: np.random.Generator
) -> PairGraph:
    """All pairs up to `settings.all_pairs` captures (no descriptors are looked at then), a sparse graph beyond."""
    names, N = tuple(names), len(names)
    if N <= max(settings.all_pairs, 3):
        return PairGraph(names, tuple(combinations(names, 2)), N - 1)
    rings, disjoint = _rings(N, settings.rings, rng)
    near = _nearest(_compact(np.stack([descriptors[name] for name in names])), settings)
    edges = sorted(rings | near)
    return PairGraph(names, tuple((names[i], names[j]) for i, j in edges), 2 * disjoint)


def attachments(
    new: Sequence[str], old: Sequence[str], descriptors: Mapping[str, Array], settings: GraphSettings,
    rng: Mapping[str, np.random.Generator],
) -> list[tuple[str, str]]:  # fmt: skip
    """Pairs (old, new) that join each new capture to at most `settings.added_pairs` old ones.

    Half of them look most like it, the others are random; with few old captures it is all of them. What a new capture
    is joined to does not depend on the other new ones.
    """
    if len(old) <= settings.added_pairs:
        return [(o, n) for n in new for o in old]
    known = np.stack([descriptors[name] for name in old])
    pairs = []
    for name in new:
        points = _compact(known, descriptors[name][None])
        order = np.linalg.norm(points[:-1] - points[-1], axis=1).argsort(kind="stable")
        near = settings.added_pairs - settings.added_pairs // 2
        far = rng[name].choice(order[near:], settings.added_pairs // 2, replace=False)
        pairs += [(old[i], name) for i in sorted([*order[:near].tolist(), *far.tolist()])]
    return pairs


def component(names: Sequence[str], pairs: Iterable[tuple[str, str]], of: str | None = None) -> list[str]:
    """The names that pairs connect with one of them, or the largest set that they connect; other pairs are ignored."""
    index = {name: i for i, name in enumerate(names)}
    inner = [(index[a], index[b]) for a, b in pairs if a in index and b in index]
    rows, columns = np.array(inner, dtype=np.int64).reshape(-1, 2).T
    graph = coo_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(names), len(names)))
    label = connected_components(graph, directed=False)[1]
    wanted = np.bincount(label).argmax() if of is None else label[index[of]]
    return [name for name, c in zip(names, label, strict=True) if c == wanted]


def _compact(points: Array, more: Array | None = None) -> Array:
    """Descriptors (N, D), and further ones, in the up to 8 principal directions of the former.

    The three groups of numbers (looks: mean, spread; shape) are first scaled to equal variance.
    """
    C = (points.shape[1] - 8) // 2
    everything = points if more is None else np.concatenate([points, more])
    centred = (everything - points.mean(0)).astype(np.float64)
    for group in (slice(0, C), slice(C, 2 * C), slice(2 * C, None)):
        centred[:, group] /= max(float(np.linalg.norm(centred[: len(points), group])), 1e-9)
    directions = np.linalg.svd(centred[: len(points)], full_matrices=False)[2][:DIMENSIONS]
    return centred @ directions.T


def _nearest(points: Array, settings: GraphSettings) -> set[tuple[int, int]]:
    """Edges (i < j) from every point to its nearest ones."""
    count = min(int(np.ceil(settings.neighbours * np.log(len(points)))), len(points) - 1)
    found = cKDTree(points).query(points, count + 1)[1].reshape(len(points), -1)
    return {(min(i, int(j)), max(i, int(j))) for i in range(len(points)) for j in found[i] if i != j}


def _rings(N: int, count: int, rng: np.random.Generator) -> tuple[set[tuple[int, int]], int]:
    """Edges of random closed rings through N points, and how many rings share no edge.

    Cutting a set of points off cuts each ring at least twice. Where a ring shares edges with earlier ones, points
    trade places until it does not.
    """
    edges: set[tuple[int, int]] = set()
    disjoint = 0
    for _ in range(count):
        order = rng.permutation(N)
        for _ in range(RING_ROUNDS):
            ring = [(min(i, j), max(i, j)) for i, j in zip(order.tolist(), np.roll(order, 1).tolist(), strict=True)]
            shared = [k for k, edge in enumerate(ring) if edge in edges]
            if not shared:
                disjoint += 1
                break
            for k in shared:
                other = rng.integers(N)
                order[k], order[other] = order[other], order[k]
        edges |= set(ring)
    return edges, disjoint
