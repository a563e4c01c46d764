"""Tables of estimates: what the reader refuses, what comes out, and the released estimates of CO3D."""

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from typer.testing import CliRunner

from uop3d_core.alignment.tables import read_estimates, synchronize_category, synchronize_table, write_frames
from uop3d_core.cli import app
from uop3d_core.config import JointSettings
from uop3d_core.geometry import closest_rotation, random_rotations, rotation_error

SETTINGS = JointSettings()
DATA = Path(os.environ.get("UOP3D_DATA", Path(__file__).parents[3] / "shared" / "data")) / "co3d_alignments"


def released(seed: int = 0, counts: tuple[int, ...] = (12, 7), noise_deg: float = 4.0, wrong: float = 0.15):
    """Arrays in the released layout, and the true common_R_world [N, 3, 3]. The last reference is no sequence."""
    rng = np.random.default_rng(seed)
    K, names = 4, ("mug", "chair", "lamp")[: len(counts)]
    arrays: dict[str, list] = {"category": [], "sequence": [], "ref_sequence": []}
    variants: dict[str, list] = {"dinov2s": [], "dinov2b_refined": []}
    truth = []
    for name, n in zip(names, counts, strict=True):
        sequences = [f"{name}_{i:02d}" for i in range(n)]
        R = random_rotations(n + 1, rng)
        refs = [3, 0, 5, n]
        arrays["category"] += [name] * n
        arrays["sequence"] += sequences
        arrays["ref_sequence"].append([*(sequences[r] for r in refs[:-1]), f"{name}_away"])
        truth.append(R[:n])
        for variant, spread in (("dinov2s", 2 * noise_deg), ("dinov2b_refined", noise_deg)):
            noise = Rotation.from_rotvec(np.deg2rad(spread) * rng.normal(size=(n * K, 3))).as_matrix()
            estimate = np.swapaxes(R[refs], 1, 2)[None] @ R[:n, None] @ noise.reshape(n, K, 3, 3)
            lost = rng.random((n, K)) < wrong
            estimate[lost] = random_rotations(int(lost.sum()), rng)
            for k, r in enumerate(refs[:-1]):
                estimate[r, k] = np.eye(3)
            T = np.tile(np.eye(4), (n, K, 1, 1))
            T[..., :3, :3] = np.exp(rng.normal(0, 1, (n, K)))[..., None, None] * estimate
            T[..., :3, 3] = rng.normal(size=(n, K, 3))
            variants[variant].append(T)
    table = {
        "category": np.array(arrays["category"]),
        "sequence": np.array(arrays["sequence"]),
        "ref_category": np.array(names),
        "ref_sequence": np.array(arrays["ref_sequence"]),
        "ref_frame_exact": np.ones((len(names), K), dtype=bool),
        **{f"ref_world_T_world_{name}": np.concatenate(parts) for name, parts in variants.items()},
    }
    return table, np.concatenate(truth)


def write(path: Path, table: dict[str, np.ndarray]) -> Path:
    np.savez(path, **table)
    return path


def worst_deg(R, truth) -> float:
    """Largest error after one rotation."""
    link = R @ np.swapaxes(truth, 1, 2)
    return float(np.rad2deg(rotation_error(link, closest_rotation(link.sum(0)))).max())


def test_two_categories(tmp_path):
    arrays, truth = released()
    table = read_estimates(write(tmp_path / "estimates.npz", arrays))
    told = []
    frames = synchronize_table(table, SETTINGS, lambda *step: told.append(step))
    assert told[-1] == ("categories", 2, 2)
    for name in ("mug", "chair"):
        mine = frames.category == name
        assert worst_deg(frames.obj_R_world[mine], truth[mine]) < 10
        part = frames.categories[name]
        assert part.weights["dinov2b_refined"] == 1 and 0.2 < part.weights["dinov2s"] < 0.9
        assert part.ref_R_obj.shape == (4, 3, 3) and part.warnings == ()
    assert frames.accepted.mean() > 0.85 and frames.probability.mean() > 0.75


def test_what_is_written(tmp_path):
    arrays, _ = released()
    path = tmp_path / "new" / "frames.npz"
    frames = synchronize_table(read_estimates(write(tmp_path / "e.npz", arrays)), SETTINGS)
    write_frames(path, frames)
    with np.load(path, allow_pickle=False) as file:
        assert set(file.files) == {"category", "sequence", "obj_R_world", "probability", "accepted"}
        assert file["category"].tolist() == arrays["category"].tolist()
        assert file["sequence"].tolist() == arrays["sequence"].tolist()
        assert file["obj_R_world"].shape == (19, 3, 3) and file["obj_R_world"].dtype == np.float64
        np.testing.assert_allclose(np.linalg.det(file["obj_R_world"]), 1, atol=1e-9)
        assert file["probability"].shape == (19,) and ((0 <= file["probability"]) & (file["probability"] <= 1)).all()
        assert file["accepted"].dtype == np.bool_
    assert sorted(p.name for p in path.parent.iterdir()) == ["frames.npz"]


def test_rows_in_any_order(tmp_path):
    arrays, _ = released()
    order = np.random.default_rng(0).permutation(len(arrays["category"]))
    shuffled = {name: a[order] if len(a) == len(order) else a for name, a in arrays.items()}
    first, second = (
        synchronize_table(read_estimates(write(tmp_path / f"{i}.npz", a)), SETTINGS)
        for i, a in enumerate((arrays, shuffled))
    )
    for name in ("mug", "chair"):
        a, b = first.obj_R_world[order][second.category == name], second.obj_R_world[second.category == name]
        assert worst_deg(a, b) < 1


def test_one_variant(tmp_path):
    arrays, truth = released()
    path = write(tmp_path / "e.npz", arrays)
    frames = synchronize_table(read_estimates(path, "dinov2b_refined"), SETTINGS)
    assert worst_deg(frames.obj_R_world[:12], truth[:12]) < 12
    assert frames.categories["mug"].weights == {"dinov2b_refined": 1.0}


def test_missing_estimates(tmp_path):
    arrays, truth = released(wrong=0)
    for name in ("ref_world_T_world_dinov2s", "ref_world_T_world_dinov2b_refined"):
        arrays[name][4, 1:] = np.nan
        arrays[name][8] = np.nan
    frames = synchronize_table(read_estimates(write(tmp_path / "e.npz", arrays)), SETTINGS)
    others = np.arange(12) != 8
    assert worst_deg(frames.obj_R_world[:12][others], truth[:12][others]) < 12
    np.testing.assert_array_equal(frames.obj_R_world[8], np.eye(3))
    assert frames.probability[8] == 0 and not frames.accepted[8] and frames.accepted[:12].sum() >= 10
    assert "1 of 12 sequences have no estimate" in frames.categories["mug"].warnings[-1]


def test_a_category_without_any_estimate(tmp_path):
    arrays, _ = released()
    for name in ("ref_world_T_world_dinov2s", "ref_world_T_world_dinov2b_refined"):
        arrays[name][12:] = np.nan
    frames = synchronize_table(read_estimates(write(tmp_path / "e.npz", arrays)), SETTINGS)
    assert not frames.accepted[12:].any() and frames.accepted[:12].any()


def change(**arrays):
    return lambda table: {**table, **arrays}


def spoil(value, row=2, column=1, at=(0, 0)):
    def apply(table):
        T = table["ref_world_T_world_dinov2s"].copy()
        T[row, column][at] = value
        return {**table, "ref_world_T_world_dinov2s": T}

    return apply


def mirror(table):
    T = table["ref_world_T_world_dinov2s"].copy()
    T[1, 0, :3, 0] *= -1
    return {**table, "ref_world_T_world_dinov2s": T}


def shear(table):
    T = table["ref_world_T_world_dinov2s"].copy()
    T[1, 0, :3, 0] *= 2
    return {**table, "ref_world_T_world_dinov2s": T}


def without(name):
    return lambda table: {key: value for key, value in table.items() if key != name}


@pytest.mark.parametrize(
    ("spoiler", "message"),
    [
        (without("category"), "has no array category"),
        (without("ref_sequence"), "has no array ref_sequence"),
        (lambda t: {"category": t["category"]}, "has no array ref_world_T_world_<variant>"),
        (change(sequence=np.array(["a"])), "sequence has 1 entries, category 19"),
        (change(category=np.zeros(19)), "category holds float64, expected text"),
        (change(category=np.zeros((19, 2), dtype="U4")), r"category has shape \(19, 2\), expected \(any\)"),
        (change(ref_category=np.array(["mug", "sofa"])), "names no references of 'chair'"),
        (change(ref_sequence=np.array([["a", "b"]])), r"ref_sequence has shape \(1, 2\), expected \(2, any\)"),
        (change(ref_sequence=np.array([["a", "b", "b", "c"]] * 2)), "names a reference of 'mug' twice"),
        (change(ref_world_T_world_dinov2s=np.zeros((19, 3, 4, 4))), r"expected \(19, 4, 4, 4\)"),
        (change(ref_world_T_world_dinov2s=np.zeros((19, 4, 4, 4), dtype=int)), "expected floating point"),
        (spoil(np.nan), r"dinov2s\[2, 1\] \(mug_02 of mug to reference 1\) has NaN or infinite"),
        (spoil(np.inf), "has NaN or infinite"),
        (spoil(2.0, at=(3, 0)), "last row other than 0 0 0 1"),
        (shear, "not a similarity"),
        (mirror, r"dinov2s\[1, 0\] .* mirrors or collapses space"),
        (change(ref_world_T_world_dinov2s=np.zeros((19, 4, 4, 4)) + np.diag([0, 0, 0, 1.0])), "mirrors or collapses"),
        (change(sequence=np.array(["mug_00"] * 19)), "sequence mug_00 of .* is there twice"),
        (change(category=np.zeros(0, "U4"), sequence=np.zeros(0, "U4")), "nothing to align"),
    ],
)
def test_what_the_reader_refuses(tmp_path, spoiler, message):
    path = write(tmp_path / "e.npz", spoiler(released()[0]))
    with pytest.raises(ValueError, match=message):
        read_estimates(path)


def test_files_that_are_no_tables(tmp_path):
    path = tmp_path / "e.npz"
    with pytest.raises(FileNotFoundError):
        read_estimates(path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="is empty"):
        read_estimates(path)
    path.write_bytes(b"no archive at all")
    with pytest.raises(ValueError, match="not a readable .npz file"):
        read_estimates(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("category.npy", b"broken")
    with pytest.raises(ValueError, match="not a readable .npz file"):
        read_estimates(path)
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(ValueError, match="no archive of arrays"):
        read_estimates(path)
    np.savez(path, category=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ValueError, match="not a readable .npz file"):
        read_estimates(path)
    with pytest.raises(ValueError, match="is a folder"):
        read_estimates(tmp_path)
    with pytest.raises(ValueError, match="has no variant 'resnet'; it has dinov2s, dinov2b_refined"):
        read_estimates(write(path, released()[0]), "resnet")


def test_command(tmp_path):
    arrays, truth = released()
    path, out = write(tmp_path / "e.npz", arrays), tmp_path / "frames.npz"
    result = CliRunner().invoke(app, ["synchronize", str(path), "--variant", "both", "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "mug" in result.output and "frames" in result.output
    with np.load(out) as file:
        assert worst_deg(file["obj_R_world"][:12], truth[:12]) < 10
    loose = [*("synchronize", str(path), "--out", str(out)), "--set", "joint.fine_angle_deg=10"]
    assert CliRunner().invoke(app, loose).exit_code == 0
    other = CliRunner().invoke(app, [*loose, "--set", "pair.modes=3"])
    assert other.exit_code == 1 and "joint.* only" in other.output
    again = CliRunner().invoke(
        app, ["synchronize", str(path), "--variant", "resnet", "--out", str(tmp_path / "no.npz")]
    )
    assert again.exit_code == 1 and "has no variant" in again.output and not (tmp_path / "no.npz").exists()


@pytest.mark.skipif(not (DATA / "alignments.npz").is_file(), reason="the released CO3D estimates are not here")
def test_released_estimates_of_co3d():
    """The labelled half: better than each released estimate and than a naive average, and probabilities that tell."""
    table = read_estimates(DATA / "alignments.npz", "both")
    with np.load(DATA / "labels_dev.npz") as file:
        labels = {(c, s): R for c, s, R in zip(file["category"], file["sequence"], file["label_R_world"], strict=True)}
        names = sorted(set(file["category"].tolist()))
    shares = []
    for name in names:
        mine, errors = table.category == name, []
        sequences, estimates = table.sequence[mine].tolist(), {v: R[mine] for v, R in table.ref_R_world.items()}
        part = synchronize_category(sequences, table.references[name], estimates, SETTINGS)
        for k, reference in enumerate(table.references[name]):
            for i, sequence in enumerate(sequences):
                if sequence != reference and (name, sequence) in labels and (name, reference) in labels:
                    predicted = labels[name, reference] @ part.ref_R_obj[k] @ part.obj_R_world[i]
                    errors.append(np.rad2deg(rotation_error(predicted, labels[name, sequence])))
        shares.append([np.mean(np.array(errors) < limit) * 100 for limit in (30, 15, 10)])
    acc30, acc15, acc10 = np.mean(shares, axis=0)
    assert acc30 > 82.5 and acc15 > 76.5 and acc10 > 63.5
