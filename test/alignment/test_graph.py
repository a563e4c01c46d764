"""All pairs of few captures; of many a connected graph that grows as N log N and joins what looks alike."""

import numpy as np
import pytest
import trimesh
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components, maximum_flow

from uop3d_core.alignment.graph import attachments, descriptor, pair_graph
from uop3d_core.config import GraphSettings
from uop3d_core.geometry import random_rotations
from uop3d_core.types import Mesh, Sim3, Surface


def cloud(count, seed=0, channels=6):
    """Descriptors of captures that differ in two respects."""
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(count, 2)) @ rng.normal(size=(2, 2 * channels + 8))
    return {f"c{i:04d}": point for i, point in enumerate(points)}


def graph_of(count, seed=0, **changes):
    descriptors = cloud(count, seed)
    return pair_graph(list(descriptors), descriptors, GraphSettings(**changes), np.random.default_rng(seed))


def adjacency(graph):
    index = {name: i for i, name in enumerate(graph.names)}
    rows, columns = np.array([(index[a], index[b]) for a, b in graph.pairs]).T
    N = len(graph.names)
    one_way = coo_matrix((np.ones(len(rows), np.int32), (rows, columns)), shape=(N, N)).tocsr()
    return one_way + one_way.T


def test_few_captures_are_all_paired():
    graph = pair_graph("abcd", {}, GraphSettings(), np.random.default_rng(0))
    assert graph.pairs == (("a", "b"), ("a", "c"), ("a", "d"), ("b", "c"), ("b", "d"), ("c", "d"))
    assert graph.connectivity == graph.mean_degree == 3
    assert str(graph) == "6 pairs of 4 captures (all pairs), 3.0 per capture; any 2 may fail without splitting them"


def test_one_capture():
    assert pair_graph(["a"], {}, GraphSettings(), np.random.default_rng(0)).pairs == ()


@given(st.integers(5, 120), st.integers(0, 100), st.integers(1, 4))
@hypothesis_settings(deadline=None, max_examples=30)
def test_sparse_graph_is_as_connected_as_it_says(count, seed, rings):
    graph = graph_of(count, seed, all_pairs=4, rings=rings)
    assert len(set(graph.pairs)) == len(graph.pairs)
    assert all(graph.names.index(a) < graph.names.index(b) for a, b in graph.pairs)
    edges = adjacency(graph).astype(np.int32)
    assert connected_components(edges)[0] == 1
    assert 2 <= graph.connectivity <= 2 * rings
    cuts = [maximum_flow(edges, 0, int(i)).flow_value for i in range(1, count, max(1, count // 10))]
    assert min(cuts) >= graph.connectivity


def test_size_grows_as_n_log_n():
    counts = (100, 400, 1600)
    per_capture = [graph_of(count).mean_degree / np.log(count) for count in counts]
    assert max(per_capture) < 1.5 * min(per_capture)
    assert graph_of(1600).mean_degree < 35


def test_paths_are_short():
    from scipy.sparse.csgraph import shortest_path

    assert shortest_path(adjacency(graph_of(400)), unweighted=True, indices=range(20)).max() <= 6


def test_similar_captures_are_joined():
    graph, descriptors = graph_of(200), cloud(200)
    distance = [np.linalg.norm(descriptors[a] - descriptors[b]) for a, b in graph.pairs]
    points = np.stack(list(descriptors.values()))
    everything = np.linalg.norm(points[:, None] - points[None], axis=2)[np.triu_indices(200, 1)]
    assert np.median(distance) < np.quantile(everything, 0.15)
    assert max(distance) > np.quantile(everything, 0.9), "and some that are not"


def test_same_input_same_graph():
    assert graph_of(150).pairs == graph_of(150).pairs


def test_equal_captures():
    names = [f"c{i}" for i in range(20)]
    descriptors = dict.fromkeys(names, np.ones(20))
    graph = pair_graph(names, descriptors, GraphSettings(all_pairs=4), np.random.default_rng(0))
    assert connected_components(adjacency(graph))[0] == 1


def test_few_old_captures_are_all_attached():
    rng = {"n": np.random.default_rng(0)}
    assert attachments(["n"], ["a", "b"], {}, GraphSettings(), rng) == [("a", "n"), ("b", "n")]


def test_attachments_are_bounded_and_independent():
    descriptors, settings = cloud(100), GraphSettings(added_pairs=10)
    old, new = list(descriptors)[:98], list(descriptors)[98:]

    def joined(names):
        rng = {name: np.random.default_rng(7) for name in names}
        return attachments(names, old, descriptors, settings, rng)

    both = joined(new)
    assert len(both) == 20 == len(set(both)) and {a for a, _ in both} <= set(old)
    assert joined(new[:1]) + joined(new[1:]) == both, "one new capture does not change where another one goes"
    nearest = min(old, key=lambda name: np.linalg.norm(descriptors[name] - descriptors[new[0]]))
    assert (nearest, new[0]) in both


@pytest.fixture
def surface():
    rng = np.random.default_rng(0)
    box = trimesh.creation.box((1, 0.6, 0.3)).subdivide()
    V = len(box.vertices)
    features = rng.normal(size=(V, 3, 5)).astype(np.float16)
    return Surface(
        "a", Mesh(box.vertices, box.faces), features, rng.uniform(size=(V, 3)) < 0.7, np.ones(V), np.array([0, 0, 1.0])
    )


def test_descriptor_does_not_depend_on_the_world_frame(surface):
    R = random_rotations(1, np.random.default_rng(1))[0]
    moved = surface.mesh.transformed(Sim3(2.5, R, np.array([1.0, 2, 3])))
    other = Surface("b", moved, surface.features, surface.valid, surface.visible_views, surface.up)
    first, second = descriptor(surface), descriptor(other)
    assert first.shape == (2 * 5 + 8,)
    np.testing.assert_allclose(first, second, rtol=1e-6)
