"""From a video to a capture that can be read, checked, continued; and what cannot become one says why."""

import json
import shutil
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from filmed import film_box
from PIL import Image
from typer.testing import CliRunner

pytest.importorskip("pycolmap")

from uop3d_core.capture.nerfstudio import read_nerfstudio
from uop3d_core.cli import app
from uop3d_core.config import CaptureSettings
from uop3d_core.images import read_rgb
from uop3d_core.pipeline import capturing
from uop3d_core.pipeline.capturing import Filmed, check_folder, make_capture

pytestmark = pytest.mark.timeout(900)  # processes of their own; seconds where the machine has nothing else to do

CHANGES = {
    "frames": {"count": 18},
    "cameras": {"threads": 1, "features": 1000},
    "masks": {"pixels": 96, "voxels": 32, "rounds": 2},
}
SETTINGS = CaptureSettings.model_validate(CHANGES)
OPTIONS = [f"--set={stage}.{key}={value}" for stage, keys in CHANGES.items() for key, value in keys.items()]
VIEWS = 36
MAKE = """
import signal, sys
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)  # where tests run in the background, it is ignored otherwise
from uop3d_core.config import CaptureSettings
from uop3d_core.pipeline.capturing import Filmed, make_capture
video, folder, settings = sys.argv[1:]
make_capture(
    Filmed(Path(video)), Path(folder), CaptureSettings.model_validate_json(settings),
    progress=lambda stage, done, total: print(stage, done, flush=True),
)
"""


@pytest.fixture(scope="module")
def scene():
    return film_box(views=VIEWS)


@pytest.fixture(scope="module")
def video(scene, tmp_path_factory):
    return scene.write_video(tmp_path_factory.mktemp("filmed") / "box.mp4")


def interrupted(video, folder, stage):
    """Make a capture in a process of its own, which gets Ctrl-C in a stage; what it said until then."""
    told = []
    command = [sys.executable, "-c", MAKE, str(video), str(folder), SETTINGS.model_dump_json()]
    errors = folder.with_name(f"{stage}.txt")
    with errors.open("w") as file, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=file, text=True) as process:
        for line in process.stdout:
            told.append((line.split()[0], int(line.split()[1])))
            if told[-1][0] == stage and told[-1][1] > 1:
                process.send_signal(signal.SIGINT)
                break
        told += [(line.split()[0], int(line.split()[1])) for line in process.stdout]
    assert "KeyboardInterrupt" in errors.read_text() and process.returncode != 0
    return told


@pytest.fixture(scope="module")
def made(video, tmp_path_factory):
    """The capture, by way of Ctrl-C in three stages, and what the processes said."""
    folder = tmp_path_factory.mktemp("captures") / "box"
    told = {}
    for stage in ("features", "matches", "masks"):
        told[stage] = interrupted(video, folder, stage)
        assert not (folder / "transforms.json").exists()
    return folder, make_capture(Filmed(video), folder, SETTINGS), told


def test_a_video_becomes_a_capture(made, scene):
    folder, verdict, _ = made
    assert verdict.passed, verdict.gates
    capture = read_nerfstudio(folder)
    assert len(capture.frames) >= 16
    sources = json.loads((folder / "capture.json").read_text())["frames"]
    shares = []
    for frame in capture.frames:
        index = round(float(sources[frame.name]["source"].split(" at ")[1].removesuffix(" s")) * 10)
        mask, truth = frame.mask, scene.masks[index]
        shares.append((mask & truth).sum() / (mask | truth).sum())
    assert np.median(shares) > 0.9
    assert np.degrees(np.arccos(capture.up @ [0, 0, 1])) < 1e-6
    mesh, _ = capturing._mesh(capture)
    assert mesh.diameter == pytest.approx(1, abs=0.2)
    assert np.abs(mesh.vertices.mean(0)).max() < 0.1
    assert read_rgb(folder / "check.jpg").shape[1] > 400


def test_ctrl_c_loses_nothing(made):
    told = made[2]
    assert {stage for stage, _ in told["features"]} == {"looking", "frames", "features"}
    after_features = [done for stage, done in told["matches"] if stage == "features"]
    assert after_features[0] >= max(done for stage, done in told["features"] if stage == "features") > 1
    assert "frames" not in dict(told["matches"]) and "features" in dict(told["matches"])
    assert [done for stage, done in told["masks"] if stage == "features"] == [18]  # all were there


def test_what_another_version_left_is_made_again(made, video, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(made[0], folder)
    path = folder / ".work" / "pictures.json"
    content = json.loads(path.read_text())
    for entry in content["chosen"]:
        del entry["up"]
    path.write_text(json.dumps(content))
    stages = []

    def stop(stage, done, total):
        stages.append(stage)
        if stage == "features":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_capture(Filmed(video), folder, SETTINGS, progress=stop)
    assert "frames" in stages and not (folder / "transforms.json").exists()


def test_what_is_finished_is_not_done_again(made, video):
    folder = made[0]
    before = (folder / "transforms.json").read_bytes()
    stages = set()
    make_capture(Filmed(video), folder, SETTINGS, progress=lambda stage, done, total: stages.add(stage))
    assert stages == set() and (folder / "transforms.json").read_bytes() == before


def test_only_masks_are_made_again_for_other_masks(made, video, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(made[0], folder)
    finer = SETTINGS.model_copy(update={"masks": SETTINGS.masks.model_copy(update={"voxels": 36})})
    stages = set()
    make_capture(Filmed(video), folder, finer, progress=lambda stage, done, total: stages.add(stage))
    assert stages == {"masks"}


def test_an_object_that_moves_is_refused(tmp_path):
    """Somebody turned the box when half of the film was taken."""
    video = film_box(views=VIEWS, turned=lambda share: 0.8 * (share > 0.5)).write_video(tmp_path / "turned.mp4")
    with pytest.raises(
        ValueError, match=r"out of 0 of 18 pictures only: the object moved while it was filmed: in 2\d%"
    ):
        make_capture(Filmed(video), tmp_path / "out", SETTINGS)
    assert not (tmp_path / "out" / "transforms.json").exists()


def test_movement_is_a_check_of_its_own(made):
    _, good = check_folder(made[0], SETTINGS.quality)
    assert next(gate for gate in good.gates if gate.name == "object kept still").value == "in 100% of pairs"
    record = json.loads((made[0] / "capture.json").read_text())
    moved = capturing.check_capture(
        read_nerfstudio(made[0]), np.array([0, 0, 1.0]), None, "", capturing.Record(still=0.6), SETTINGS.quality
    )
    assert record["still"] == 1.0
    assert any("the object moved while it was filmed: film it again" in advice for advice in moved.advice)


def test_a_capture_that_fails_is_none_until_accepted(made, video, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(made[0], folder)
    strict = SETTINGS.model_copy(update={"quality": SETTINGS.quality.model_copy(update={"area": 0.9})})
    verdict = make_capture(Filmed(video), folder, strict)
    assert not verdict.passed and not (folder / "transforms.json").exists()
    assert "go nearer" in verdict.advice[0]
    make_capture(Filmed(video), folder, strict, accept=True)
    assert (folder / "transforms.json").exists()


def test_half_a_circle_is_told(made, tmp_path):
    folder = tmp_path / "half"
    shutil.copytree(made[0], folder)
    meta = json.loads((folder / "transforms.json").read_text())
    meta["frames"] = meta["frames"][: len(meta["frames"]) // 3]
    (folder / "transforms.json").write_text(json.dumps(meta))
    _, verdict = check_folder(folder, SETTINGS.quality.model_copy(update={"frames": 3}))
    assert any("walk all the way around" in advice for advice in verdict.advice)


def test_the_command(made, tmp_path):
    runner = CliRunner()
    picture = tmp_path / "sheet.png"
    result = runner.invoke(app, ["capture", "check", str(made[0]), "--picture", str(picture)])
    assert result.exit_code == 0, result.output
    assert "seen from around" in result.output and picture.is_file()
    result = runner.invoke(app, ["capture", "check", str(made[0]), "--set", "quality.area=0.9"])
    assert result.exit_code == 1 and "to do: go nearer" in result.output


def test_the_command_that_makes(made, video):
    result = CliRunner().invoke(app, ["capture", str(video), "--out", str(made[0]), *OPTIONS])
    assert result.exit_code == 0, result.output


def test_other_folders_are_left_alone(video, tmp_path):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("Anna")
    with pytest.raises(FileExistsError, match="holds something else"):
        make_capture(Filmed(video), tmp_path / "letters", SETTINGS)
    assert [path.name for path in (tmp_path / "letters").iterdir()] == ["dear.txt"]
    with pytest.raises(FileNotFoundError, match="no such video"):
        make_capture(Filmed(tmp_path / "no.mp4"), tmp_path / "out", SETTINGS)


def test_a_wall_and_three_photos_say_so(tmp_path):
    wall = tmp_path / "wall"
    wall.mkdir()
    for index in range(3):
        Image.fromarray(np.full((120, 160, 3), 100 + 20 * index, np.uint8)).save(wall / f"{index}.png")
    with pytest.raises(ValueError, match="cameras could not be found.*film slowly in a full circle"):
        make_capture(Filmed(wall), tmp_path / "out", SETTINGS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "wall"]


def test_a_video_of_a_wall_says_so(scene, tmp_path):
    """The camera moves, but what it films is flat, and next to nothing is on it."""
    ramp = np.linspace(120, 140, 400)[None, :, None]
    walls = [np.broadcast_to(ramp + index / 4, (300, 400, 3)).astype(np.uint8) for index in range(VIEWS)]
    video = replace(scene, images=np.array(walls)).write_video(tmp_path / "wall.mp4")
    with pytest.raises(ValueError, match=r"cameras could not be found.*something textured around it"):
        make_capture(Filmed(video), tmp_path / "out", SETTINGS)
    assert not (tmp_path / "out" / "transforms.json").exists()


@pytest.mark.parametrize("content", [b"", b"no video" * 100])
def test_nothing_is_left_of_what_cannot_be_read(content, tmp_path):
    (tmp_path / "film.mp4").write_bytes(content)
    with pytest.raises(ValueError, match=r"film\.mp4: "):
        make_capture(Filmed(tmp_path / "film.mp4"), tmp_path / "mug" / "blue", SETTINGS)
    assert not (tmp_path / "mug" / "blue").exists()


def test_intrinsics_must_be_four_numbers(video, tmp_path):
    result = CliRunner().invoke(app, ["capture", str(video), "--out", str(tmp_path / "o"), "--intrinsics", "1,2,x"])
    assert result.exit_code == 1
