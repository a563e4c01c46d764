"""The comparison on released estimates: the data's own figures come out, and probabilities are measured right."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import synchronization as benchmark
from scipy.spatial.transform import Rotation

from uop3d_core.alignment.tables import read_estimates
from uop3d_core.config import JointSettings
from uop3d_core.evaluation.probabilities import auroc
from uop3d_core.geometry import random_rotations

DATA = Path(os.environ.get("UOP3D_DATA", Path(__file__).parents[3] / "shared" / "data")) / "co3d_alignments"


@pytest.mark.skipif(not (DATA / "alignments.npz").is_file(), reason="the released CO3D estimates are not here")
@pytest.mark.parametrize(
    ("variant", "released", "naive"),
    [
        ("dinov2s", [77.3, 63.6, 46.5, 28.2], [81.7, 69.8, 53.4, 37.0]),
        ("dinov2b_refined", [81.5, 71.8, 55.8, 20.0], [82.9, 73.4, 59.1, 22.5]),
    ],
)
def test_the_figures_of_the_data_come_out(variant: str, released: list[float], naive: list[float]) -> None:
    categories = benchmark.read_categories(read_estimates(DATA / "alignments.npz", variant), DATA / "labels_dev.npz")
    rows: list[list[list[float]]] = [[], []]
    for category in categories:
        [R] = category.ref_R_world.values()
        rows[0].append(benchmark.shares([category.errors(R)]))
        rows[1].append(benchmark.shares([category.errors(benchmark.naive(category))]))
    assert np.mean(rows[0], axis=0).round(1).tolist() == released
    assert np.mean(rows[1], axis=0).round(1).tolist() == naive


def category(n: int = 9, flipped: int = 0) -> benchmark.Category:
    """Perfect estimates to two references; the labels of the last `flipped` sequences are turned by half."""
    R = random_rotations(n, np.random.default_rng(0))
    names = [f"s{i}" for i in range(n)]
    half = Rotation.from_rotvec([0, 0, np.pi]).as_matrix()
    labels = {name: (half if i >= n - flipped else np.eye(3)) @ R[i] for i, name in enumerate(names)}
    estimates = np.swapaxes(R[:2], 1, 2)[None] @ R[:, None]
    return benchmark.Category("mug", names, ("s0", "s1"), {"a": estimates, "b": estimates}, labels)


def test_errors_leave_out_the_reference_itself() -> None:
    mugs = category(flipped=2)
    errors = mugs.errors(mugs.ref_R_world["a"])
    assert np.isnan(errors[[0, 1], [0, 1]]).all() and np.isfinite(errors).sum() == 16
    assert errors[2:7] == pytest.approx(0, abs=1e-5) and errors[7:] == pytest.approx(180, abs=1e-5)
    assert benchmark.shares([errors])[:3] == pytest.approx([75, 75, 75])


def test_right_is_what_most_sequences_agree_on() -> None:
    mugs = category(flipped=2)
    R = np.swapaxes(mugs.ref_R_world["a"][0, 0], 0, 1) @ mugs.ref_R_world["a"][:, 0]
    assert mugs.right(R).tolist() == [True] * 7 + [False] * 2


def test_perfect_estimates_stay_perfect() -> None:
    found = benchmark.compare([category()], JointSettings())
    for method in (benchmark.RELEASED, benchmark.NAIVE, benchmark.OURS):
        assert benchmark.shares(found[method][0])[:3] == [100, 100, 100]
    assert list(benchmark.bootstrap(found, np.random.default_rng(0), 5)[benchmark.OURS].mean(0)) == [100, 100, 100]


def test_a_fit_finds_what_separates() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=400)
    right = rng.random(400) < 1 / (1 + np.exp(-(2 * x - 0.5)))
    features = np.stack([x, rng.normal(size=400), np.ones(400)], axis=1)
    names = np.array([["a", "b", "c", "d"][i % 4] for i in range(400)])
    samples = benchmark.Samples(features, right, names, np.ones(400), np.ones(400, dtype=bool))
    weights = benchmark.fit(samples)
    assert weights == pytest.approx([2, 0, -0.5], abs=0.5)
    assert auroc(benchmark.left_out(samples), right) > 0.8
