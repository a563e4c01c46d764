"""The scripts that compare: measuring, tables, and that a perfect answer is rated as one."""

from __future__ import annotations

import argparse
from pathlib import Path

import alignment
import numpy as np
import pose
import pytest
import torch
from measure import Cost, mean_cost, measured, table
from twins import gauge, twins

from uop3d_core.config import JointSettings, PairSettings
from uop3d_core.crops import Crop
from uop3d_core.geometry import project
from uop3d_core.types import Camera, Sim3


def test_measured_sees_time_and_memory() -> None:
    result, cost = measured(lambda: np.ones(2**23).sum())
    assert result == 2**23
    assert cost.wall_s > 0 and cost.cpu_s >= 0
    assert np.isnan(cost.memory_mib) or cost.memory_mib == pytest.approx(64, abs=20)


def test_costs_are_averaged_and_the_highest_memory_counts() -> None:
    assert mean_cost([Cost(1, 2, 10), Cost(3, 4, 30)]) == {"wall_s": 2, "cpu_s": 3, "memory_mib": 30}


def test_the_table_has_ratios_to_the_reference() -> None:
    text = table({"old": {"acc": 50.0, "s": 4.0}, "new": {"acc": 75.0, "s": 1.0}, "part": {"s": 2.0}}, "old")
    lines = [line.split() for line in text.splitlines()]
    assert lines[0] == ["acc", "s"]
    assert lines[2] == ["new", "75", "1"] and lines[3] == ["part", "-", "2"]
    assert lines[4] == ["new", "/", "old", "1.500", "0.250"]
    assert lines[5] == ["part", "/", "old", "-", "0.500"]


def test_all_alignments_of_twins_are_right() -> None:
    rng = np.random.default_rng(0)
    b_T_a = gauge(rng)
    surfaces = {surface.name: surface for surface in twins(rng, b_T_a)}
    labels = {"a": Sim3.identity(), "b": b_T_a.inverse()}
    pair = PairSettings(hypotheses=50, candidates=3, iterations=2, field_resolution=16)
    args = argparse.Namespace(pair=pair, joint=JointSettings(), refinement_steps=0, skip=[])
    results = alignment.compare(surfaces, surfaces, labels, args, seed=0)
    methods = ("PUBLISHED", "PUBLISHED_OURS", "OURS", "JOINT", "JOINT_ALONE")
    assert list(results) == [getattr(alignment, name) for name in methods]
    for name, result in results.items():
        assert result["pairs"] == [("a", "b"), ("b", "a")]
        assert max(result["errors_deg"]) < 2, name
        assert result["summary"]["acc10"] == 100 and result["summary"]["wall_s"] > 0


def test_cells_see_what_the_crop_sees() -> None:
    camera = Camera(np.array([[300.0, 2, 130], [0, 310, 120], [0, 0, 1]]), 260, 240)
    crop = Crop.around(camera, np.array([50.0, 40, 150, 140]), 384)
    points = np.random.default_rng(0).uniform([-0.1, -0.1, 1], [0.1, 0.1, 2], (20, 3))
    cells = project(pose.cell_intrinsics(crop.K, 48 / 384), points @ crop.cam_R_crop)
    in_crop = (cells + 0.5) * 8 - 0.5
    np.testing.assert_allclose(in_crop, crop.to_crop(project(camera.K, points)), atol=1e-9)


def test_methods_are_rated_on_every_view() -> None:
    truth = np.eye(4)
    views = [pose.View("c", None, None, truth)] * 3  # type: ignore[arg-type]
    quarter = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    label_R_obj = quarter
    results = pose.compare(
        {"right": lambda view: quarter, "turned": lambda view: np.eye(3), "lost": lambda view: None}, views, label_R_obj
    )
    assert results["right"]["errors_deg"] == pytest.approx([0, 0, 0], abs=1e-6)
    assert results["turned"]["errors_deg"] == pytest.approx([90, 90, 90])
    assert results["turned"]["up_errors_deg"] == pytest.approx([0, 0, 0], abs=1e-6)
    assert results["lost"]["errors_deg"] == [180, 180, 180]


def test_surfaces_survive_the_cache(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    surface, _ = twins(rng, gauge(rng))
    path = tmp_path / "a.npz"
    alignment._save(surface, path)
    again = alignment._load("a", path)
    np.testing.assert_array_equal(again.features, surface.features)
    np.testing.assert_array_equal(again.mesh.vertices, surface.mesh.vertices)
    assert torch.equal(torch.tensor(again.valid), torch.tensor(surface.valid))
