"""The scripts that compare: measuring, tables, and that a perfect answer is rated as one."""

from __future__ import annotations

import argparse
from pathlib import Path
from types import SimpleNamespace

import alignment
import numpy as np
import pose
import pytest
import torch
from measure import Cost, mean_cost, measured, table
from scenes import sphere
from twins import gauge, twins

from uop3d_core.capture.synthetic import make_mug
from uop3d_core.config import JointSettings, PairSettings, TrainSettings
from uop3d_core.correspondence.checkpoint import Model, save_model
from uop3d_core.correspondence.heads import build_network
from uop3d_core.crops import Crop
from uop3d_core.evaluation.labels import Labels
from uop3d_core.evaluation.link import fit_frame_link
from uop3d_core.geometry import project, rotation_error
from uop3d_core.types import Alignment, Camera, CaptureAlignment, Detection, Frame, Sim3, Template


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
    views = [pose.View("c", None, (), truth, np.zeros(3))] * 3  # type: ignore[arg-type]
    quarter = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    label_R_obj = quarter
    candidates = {
        "right": lambda view: lambda: quarter,
        "turned": lambda view: lambda: np.eye(3),
        "lost": lambda view: lambda: None,
        pose.BACKBONE: lambda view: lambda: None,
    }
    results = pose.compare(candidates, views, label_R_obj)
    assert results["right"]["errors_deg"] == pytest.approx([0, 0, 0], abs=1e-6)
    assert results["turned"]["errors_deg"] == pytest.approx([90, 90, 90])
    assert results["turned"]["up_errors_deg"] == pytest.approx([0, 0, 0], abs=1e-6)
    assert results["lost"]["errors_deg"] == [180, 180, 180]
    assert results[pose.BACKBONE]["summary"]["over_backbone"] == 1 and "acc30" not in results[pose.BACKBONE]["summary"]
    assert len(results["right"]["wall_s"]) == 3 and results["right"]["summary"]["over_backbone"] > 0


def test_several_objects_are_set_against_as_many_crops() -> None:
    several = "backbone alone, 8 objects"
    assert pose.backbone_of("uop3d, 8 objects") == pose.backbone_of(several) == several
    assert {pose.backbone_of(name) for name in (pose.OURS, pose.PUBLISHED, pose.NEAREST)} == {pose.BACKBONE}


def test_a_turned_template_fills_its_box() -> None:
    """Weak perspective is exact for a small thing far away, wherever it is in the image."""
    camera = Camera(np.array([[3000.0, 0, 130], [0, 3000, 120], [0, 0, 1]]), 260, 240)
    vertices = np.random.default_rng(0).uniform(-0.3, 0.3, (50, 3))
    R = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    R *= np.linalg.det(R)
    t = np.array([0.5, -0.4, 60.0])
    pixels = project(camera.K, vertices @ R.T + t)
    box = np.concatenate([pixels.min(0), pixels.max(0)])
    crop = Crop.around(camera, box, 128)
    found = pose.filling_translation(vertices, crop, pose.box_in_crop(crop, box), crop.cam_R_crop.T @ R)
    np.testing.assert_allclose(crop.cam_R_crop @ found, t, rtol=0.01, atol=0.01)


def test_other_heads_must_know_the_same_alignment(tmp_path: Path) -> None:
    settings = TrainSettings(head="rotation6d", width=16, blocks=1)
    template = Template("ball", sphere(0.5, 2))
    facts = {"backbone": {"fingerprint": "hog-1", "licence": "", "channels": 219}, "alignment": "one"}
    path = tmp_path / "rotation6d.safetensors"
    save_model(path, Model("hog", template, settings, build_network(219, template, settings), facts))
    dense = SimpleNamespace(metadata={"alignment": "one"})
    other = pose.other_head(path, dense)  # type: ignore[arg-type]
    frame = Frame(
        "f", Camera(np.array([[300.0, 0, 130], [0, 300, 120], [0, 0, 1]]), 260, 240), np.zeros((240, 260, 3), np.uint8)
    )
    view = pose.View("c", frame, (Detection(np.array([50.0, 40, 150, 140])),), np.eye(4), np.zeros(3))
    R = pose.box_only(pose.PoseEstimator(other))(view)()
    assert R is not None
    np.testing.assert_allclose(R @ R.T, np.eye(3), atol=1e-4)
    dense.metadata["alignment"] = "two"
    with pytest.raises(ValueError, match="another alignment"):
        pose.other_head(path, dense)  # type: ignore[arg-type]


class Blocks:
    """A backbone whose features are the colours of 8 x 8 pixels."""

    stride, channels, fingerprint, licence = 8, 3, "blocks", ""

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.avg_pool2d(images, 8)


def test_the_nearest_view_is_the_one_that_looks_alike() -> None:
    """Four captured views of a mug; shown again from other boxes, each is found, and its pose is right."""
    mug = make_mug(5, views=4, pixels=96, name="mug", clutter=False)
    T = mug.canonical_T_world
    alignment = Alignment("mug", "mug", {"mug": CaptureAlignment(T, 1.0, True)})
    model = SimpleNamespace(settings=TrainSettings(cells=12), metadata={"without": {"mug": ["0003"]}})
    bank = pose.NearestViews.of(model, Blocks(), [mug.capture], alignment)  # type: ignore[arg-type]
    assert len(bank.descriptors) == 3
    labels = Labels("mug", {"mug": T})
    link = fit_frame_link(alignment, labels, ["mug"])
    boxes = pose.Boxes(2, 0.05)
    views = list(pose.labelled_views([mug.capture], labels, link, 1, boxes, {"mug": ["0000", "0001", "0002"]}))
    assert [view.frame.name for view in views] == ["0000", "0001", "0002"]
    for view in views:
        assert view.frame.mask_source is None and view.frame.cam_T_world is None
        np.testing.assert_allclose(view.cam_t_obj, view.cam_T_label[:3, 3], atol=1e-9)
        assert (view.detections[0].bbox_xyxy != view.detections[1].bbox_xyxy).any()
        found = bank.rotation(model, Blocks(), view)  # type: ignore[arg-type]
        assert np.rad2deg(rotation_error(found, view.cam_T_label[:3, :3])) < 5


def test_surfaces_survive_the_cache(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    surface, _ = twins(rng, gauge(rng))
    path = tmp_path / "a.npz"
    alignment._save(surface, path)
    again = alignment._load("a", path)
    np.testing.assert_array_equal(again.features, surface.features)
    np.testing.assert_array_equal(again.mesh.vertices, surface.mesh.vertices)
    assert torch.equal(torch.tensor(again.valid), torch.tensor(surface.valid))
