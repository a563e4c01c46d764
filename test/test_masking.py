"""A capture with cameras of its own and no masks gets masks; its cameras and files stay as they are."""

import json
from dataclasses import replace

import numpy as np
import pytest
from filmed import film_box
from typer.testing import CliRunner

pytest.importorskip("pycolmap")

from uop3d_core.capture.nerfstudio import read_nerfstudio, read_recording, write_recording
from uop3d_core.capture.recordings import Recording, Shot
from uop3d_core.cli import app
from uop3d_core.config import CaptureSettings
from uop3d_core.geometry import random_rotations, rigid
from uop3d_core.pipeline.importing import import_captures
from uop3d_core.types import Camera

CHANGES = {
    "frames": {"size": 400},
    "cameras": {"threads": 1, "features": 1000},
    "masks": {"pixels": 96, "voxels": 32, "rounds": 2},
}
SETTINGS = CaptureSettings.model_validate(CHANGES)
OPTIONS = [f"--set={stage}.{key}={value}" for stage, keys in CHANGES.items() for key, value in keys.items()]


@pytest.fixture(scope="module")
def scene():
    return film_box(views=18, width=440, height=330)


@pytest.fixture(scope="module")
def source(scene, tmp_path_factory):
    """A folder with transforms.json as a phone's app might write it: larger images than are worked on, up told."""
    folder = tmp_path_factory.mktemp("source")
    photos = sorted(scene.write(folder / "photos").iterdir())
    camera = Camera(scene.K, 440, 330)
    shots = [
        Shot(f"my photo {i}", path, camera, T)
        for i, (path, T) in enumerate(zip(photos, scene.cam_T_world, strict=True))
    ]
    write_recording(Recording("box", tuple(shots), up=np.array([0, 0, 1.0])), folder / "box")
    return folder / "box"


@pytest.fixture(scope="module")
def imported(source, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "box"
    stopped = []

    def stop(stage, done, total):
        stopped.append(stage)
        if stage == "masks":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_captures(source, out, cut=SETTINGS, progress=stop)
    assert not out.exists()
    told = []
    [done] = import_captures(
        source, out, cut=SETTINGS, progress=lambda stage, done, total: told.append((stage, done, total))
    )
    return out, done, told


def test_masks_fit_the_images_as_they_are(imported, scene):
    out, done, _ = imported
    assert done.unmasked == 0 and done.frames >= 15
    assert any("the given cameras see" in note for note in done.notes)
    capture = read_nerfstudio(out)
    shares = []
    for frame in capture.frames:
        index = int(frame.name.removeprefix("my photo "))
        np.testing.assert_allclose(frame.cam_T_world, scene.cam_T_world[index], atol=1e-9)
        np.testing.assert_array_equal(frame.image, scene.images[index])
        shares.append((frame.mask & scene.masks[index]).sum() / (frame.mask | scene.masks[index]).sum())
    assert np.median(shares) > 0.9
    assert capture.up.tolist() == [0, 0, 1]


def test_it_goes_on_and_leaves_nothing_behind(imported):
    out, _, told = imported
    assert ("features", 18, 18) == next(entry for entry in told if entry[0] == "features")  # of the run before
    assert [path.name for path in out.parent.iterdir()] == ["box"]


def test_cameras_of_other_images_are_refused(source, tmp_path):
    recording = read_recording(source)
    rng = np.random.default_rng(0)
    wrong = [rigid(R, rng.normal(size=3)) for R in random_rotations(len(recording.shots), rng)]
    shots = tuple(replace(shot, cam_T_world=T) for shot, T in zip(recording.shots, wrong, strict=True))
    write_recording(replace(recording, shots=shots[:6]), tmp_path / "box")
    with pytest.raises(ValueError, match="fit the given cameras: do they belong to these images"):
        import_captures(tmp_path / "box", tmp_path / "out", cut=SETTINGS)
    assert not (tmp_path / "out").exists()


def test_the_command(source, tmp_path):
    result = CliRunner().invoke(
        app, ["capture", "import", str(source), "--out", str(tmp_path / "a"), "--cut-out", *OPTIONS]
    )
    assert result.exit_code == 0, result.output
    assert len(json.loads((tmp_path / "a" / "transforms.json").read_text())["frames"]) >= 15
    result = CliRunner().invoke(app, ["capture", "import", str(source), "--out", str(tmp_path / "b"), *OPTIONS])
    assert result.exit_code == 1 and not (tmp_path / "b").exists()
