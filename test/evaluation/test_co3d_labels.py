"""Human labels of CO3D: the table, the released files, their axes, and one rotation for several views."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from uop3d_core.evaluation.co3d_labels import read_co3d_labels
from uop3d_core.evaluation.metrics import error_deg
from uop3d_core.evaluation.several_views import fused_rotation
from uop3d_core.geometry import random_rotations

REPOSITORY = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("UOP3D_DATA", REPOSITORY.parent / "shared" / "data"))
# World x is left, y back and z up: front is -y of world, left its x.
BY_HAND = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]


def table(path, category=("car", "car", "cup"), sequence=("1_2_3", "4_5_6", "7_8_9"), R=None):
    R = np.stack([np.eye(3)] * len(category)) if R is None else R
    np.savez(path, category=np.array(category), sequence=np.array(sequence), label_R_world=R)
    return path


def test_table(tmp_path):
    labels = read_co3d_labels(table(tmp_path / "labels.npz"), "car")
    assert list(labels.label_T_world) == ["1_2_3", "4_5_6"]
    np.testing.assert_allclose(labels.label_T_world["1_2_3"].R, BY_HAND)
    assert labels.category == "car"


@pytest.mark.parametrize("below", ["", "meta_mask/meta"])
def test_released_folder(tmp_path, below):
    folder = tmp_path / below / "car" / "1_2_3"
    folder.mkdir(parents=True)
    torch.save(torch.eye(4), folder / "tform_obj.pt")
    labels = read_co3d_labels(tmp_path, "car")
    np.testing.assert_allclose(labels.label_T_world["1_2_3"].R, BY_HAND)
    torch.save(2 * torch.eye(4), folder / "tform_obj.pt")
    with pytest.raises(ValueError, match="the label is no rotation"):
        read_co3d_labels(tmp_path, "car")
    torch.save(torch.diag(torch.tensor([-1.0, 1, 1, 1])), folder / "tform_obj.pt")
    with pytest.raises(ValueError, match="mirrors space"):
        read_co3d_labels(tmp_path, "car")
    torch.save({"path": Path("x")}, folder / "tform_obj.pt")
    with pytest.raises(ValueError, match=r"tform_obj\.pt: not a readable tensor"):
        read_co3d_labels(tmp_path, "car")


def test_bad_tables(tmp_path):
    path = table(tmp_path / "labels.npz")
    for category in ("boat", "../car", "c*"):
        with pytest.raises(ValueError, match="holds no label of category"):
            read_co3d_labels(path, category)
        with pytest.raises(ValueError, match="holds no label of category"):
            read_co3d_labels(tmp_path, category)
    with pytest.raises(ValueError, match="has shape .*expected"):
        read_co3d_labels(table(tmp_path / "a.npz", R=np.eye(3)), "car")
    with pytest.raises(ValueError, match="car 1_2_3: the label is no rotation"):
        read_co3d_labels(table(tmp_path / "b.npz", R=np.full((3, 3, 3), np.nan)), "car")
    np.savez(tmp_path / "c.npz", category=np.array(["car"]))
    with pytest.raises(ValueError, match="has no sequence, label_R_world"):
        read_co3d_labels(tmp_path / "c.npz", "car")
    np.savez(tmp_path / "d.npz", category=np.array([{}]), sequence=np.array([{}]), label_R_world=np.array([{}]))
    for name, content in (("d.npz", None), ("e.npz", b"PK\x03\x04nothing"), ("f.npz", b"")):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=r"\.npz: not a readable \.npz file"):
            read_co3d_labels(tmp_path / name, "car")
    with pytest.raises(FileNotFoundError, match="no such file or folder of CO3D labels"):
        read_co3d_labels(tmp_path / "nowhere", "car")


@pytest.mark.skipif(not (DATA / "co3d_alignments").is_dir(), reason=f"no CO3D alignments in {DATA}; set UOP3D_DATA")
def test_real_labels():
    """Released estimates carry the sequences of hydrants to their reference: with these labels nearly all agree."""
    labels = read_co3d_labels(DATA / "co3d_alignments" / "labels_dev.npz", "hydrant").label_T_world
    given = np.load(DATA / "co3d_alignments" / "alignments.npz")
    names = given["ref_sequence"][list(given["ref_category"]).index("hydrant")]
    errors = []
    for row in np.flatnonzero(given["category"] == "hydrant"):
        name = str(given["sequence"][row])
        for reference, T in zip(names, given["ref_world_T_world_dinov2b_refined"][row], strict=True):
            if name in labels and str(reference) in labels and name != reference:
                R = T[:3, :3] / np.cbrt(np.linalg.det(T[:3, :3]))
                errors.append(error_deg(labels[str(reference)].R @ R, labels[name].R))
    assert len(errors) == 20
    assert np.mean(np.array(errors) < 10) == 1.0, "method.md and the README of the data say 100 %"


def test_one_rotation_of_several_views():
    """Three views say R, each with a flip that differs; two views are sure of something else each."""
    R, *others = random_rotations(6, np.random.default_rng(0))
    views = [[(R, 0.5), (other, 0.4)] for other in others[:3]] + [[(other, 0.9)] for other in others[3:]]
    np.testing.assert_allclose(fused_rotation(views), R, atol=1e-9)
    assert fused_rotation([[], []]) is None
    np.testing.assert_allclose(fused_rotation([[], [(R, 0.1)]]), R, atol=1e-9)
