"""Exports of phone apps: cameras by hand, layouts, and damage."""

import json

import numpy as np
import pytest
from PIL import Image

from uop3d_core.capture.polycam import read_polycam
from uop3d_core.capture.record3d import read_record3d

HALF = np.sqrt(0.5)
# ARKit's camera at (1, 2, 3) turned by 90 degrees about world y (up): it looks along -x of world, its right is -z.
POSE = [0, HALF, 0, HALF, 1, 2, 3]
CAM_T_WORLD = [[0, 0, -1, 3], [0, -1, 0, 2], [-1, 0, 0, 1], [0, 0, 0, 1]]


def picture(path, size=(48, 40)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((size[1], size[0], 3), np.uint8)).save(path)


@pytest.fixture
def record3d(tmp_path):
    meta = {"w": 48, "h": 40, "K": [100, 0, 0, 0, 200, 0, 24, 20, 1], "poses": [[0, 0, 0, 1, 0, 0, 0], POSE]}
    (tmp_path / "walk" / "rgb").mkdir(parents=True)
    (tmp_path / "walk" / "metadata.json").write_text(json.dumps(meta))
    for index in (0, 1):
        picture(tmp_path / "walk" / "rgb" / f"{index}.jpg")
    return tmp_path / "walk"


def change(folder, **values):
    path = folder / "metadata.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_record3d_by_hand(record3d):
    recording = read_record3d(record3d)
    first, second = recording.shots
    np.testing.assert_allclose(first.cam_T_world, np.diag([1, -1, -1, 1]))
    np.testing.assert_allclose(second.cam_T_world, CAM_T_WORLD, atol=1e-12)
    np.testing.assert_allclose(first.camera.K, [[100, 0, 23.5], [0, 200, 19.5], [0, 0, 1]])
    assert recording.up.tolist() == [0, 1, 0]
    assert [shot.name for shot in recording.shots] == ["000000", "000001"]
    assert recording.unmasked == 2


def test_record3d_other_layout_and_own_intrinsics(record3d):
    change(record3d, perFrameIntrinsicCoeffs=[[50, 60, 25, 21]])
    (record3d / "rgb").rename(record3d / "rgbd")
    (record3d / "metadata.json").rename(record3d / "metadata")
    cameras = [shot.camera for shot in read_record3d(record3d).shots]
    np.testing.assert_allclose(cameras[0].K, [[50, 0, 24.5], [0, 60, 20.5], [0, 0, 1]])
    assert cameras[1].K[0, 0] == 100


def test_record3d_numbers_are_sorted_as_numbers_and_scaled(record3d):
    change(record3d, poses=[POSE] * 12)
    for index in range(13):
        picture(record3d / "rgb" / f"{index}.jpg", (96, 80))
    recording = read_record3d(record3d)
    assert [shot.name for shot in recording.shots][9:] == ["000009", "000010", "000011"]
    np.testing.assert_allclose(recording.shots[0].camera.K, [[200, 0, 47.5], [0, 400, 39.5], [0, 0, 1]])
    assert "more images than poses" in recording.notes[0]


BAD_RECORD3D = {
    "no poses": ({"poses": None}, 'object with a list "poses"'),
    "one pose": ({"poses": [POSE]}, "has 1 poses, at least 2 are needed"),
    "short pose": ({"poses": [POSE, POSE[:6]]}, "pose 1 must be 7 finite numbers"),
    "NaN": ({"poses": [POSE, [float("nan")] * 7]}, "pose 1 must be 7 finite numbers"),
    "no rotation": ({"poses": [POSE, [0] * 7]}, "pose 1 must be a quaternion"),
    "no size": ({"w": None}, "w and h must be 2 finite numbers"),
    "other proportions": ({"w": 40, "h": 48}, "the image is 48 x 40 pixels, the metadata say 40 x 48"),
    "short K": ({"K": [1, 2]}, "K must be 9 finite numbers"),
    "focal length": ({"K": [0] * 9}, "positive focals"),
}


@pytest.mark.parametrize("case", BAD_RECORD3D)
def test_bad_record3d(record3d, case):
    values, message = BAD_RECORD3D[case]
    change(record3d, **values)
    with pytest.raises(ValueError, match=message):
        read_record3d(record3d)


def test_record3d_link_out_of_the_folder(record3d, tmp_path):
    (record3d / "rgb" / "1.jpg").replace(tmp_path / "1.jpg")
    (record3d / "rgb" / "1.jpg").symlink_to(tmp_path / "1.jpg")
    with pytest.raises(FileNotFoundError, match=r"there is no image 1\.jpg in"):
        read_record3d(record3d)


def test_record3d_missing_image_moves_no_pose(record3d):
    change(record3d, poses=[POSE, [0, 0, 0, 1, 4, 5, 6], POSE])
    picture(record3d / "rgb" / "2.jpg")
    (record3d / "rgb" / "1.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 3 images are missing; .*pose 1: .*--skip-missing"):
        read_record3d(record3d)
    recording = read_record3d(record3d, skip_missing=True)
    assert [shot.name for shot in recording.shots] == ["000000", "000002"]
    np.testing.assert_array_equal(recording.shots[0].cam_T_world, recording.shots[1].cam_T_world)
    assert "1 of 3 images are missing and left out" in recording.notes[0]


def test_record3d_absent(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"unpack the \.r3d or \.zip file first"):
        read_record3d(tmp_path)


@pytest.fixture
def polycam(tmp_path):
    rows = {"t_00": 0, "t_01": 0, "t_02": 1, "t_03": 1, "t_10": 0, "t_11": 1, "t_12": 0, "t_13": 2}
    rows |= {"t_20": -1, "t_21": 0, "t_22": 0, "t_23": 3}
    camera = {"fx": 100, "fy": 200, "cx": 24, "cy": 20, "width": 48, "height": 40, "blur_score": 9, **rows}
    base = tmp_path / "shoe" / "keyframes"
    for kind in ("", "corrected_"):
        (base / f"{kind}cameras").mkdir(parents=True)
        for name in ("100", "200"):
            values = {**camera, "fx": 150} if not kind else camera
            (base / f"{kind}cameras" / f"{name}.json").write_text(json.dumps(values))
            picture(base / f"{kind}images" / f"{name}.jpg")
    return tmp_path / "shoe"


def test_polycam_by_hand(polycam):
    recording = read_polycam(polycam)
    np.testing.assert_allclose(recording.shots[1].cam_T_world, CAM_T_WORLD, atol=1e-12)
    np.testing.assert_allclose(recording.shots[1].camera.K, [[100, 0, 23.5], [0, 200, 19.5], [0, 0, 1]])
    assert recording.shots[1].image.parent.name == "corrected_images"
    assert recording.up.tolist() == [0, 1, 0]
    assert recording.notes == ()


def test_polycam_without_corrections(polycam):
    (polycam / "keyframes" / "corrected_cameras").rename(polycam / "other")
    recording = read_polycam(polycam)
    assert recording.shots[0].camera.K[0, 0] == 150
    assert "not corrected" in recording.notes[0]


BAD_POLYCAM = {
    "no number": ({"t_12": None}, "t_00 .. t_23 must be 12 finite numbers"),
    "text": ({"fx": "100"}, "fx, fy, cx, cy, width, height must be 6 finite numbers"),
    "scaled": ({"t_02": 2}, "is not a rotation"),
    "other size": ({"width": 96}, "the image is 48 x 40 pixels, but its camera says 96 x 40"),
    "focal length": ({"fy": -1}, "positive focals"),
}


@pytest.mark.parametrize("case", BAD_POLYCAM)
def test_bad_polycam(polycam, case):
    values, message = BAD_POLYCAM[case]
    path = polycam / "keyframes" / "corrected_cameras" / "200.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
    with pytest.raises(ValueError, match=r"200\.json.*" + message):
        read_polycam(polycam)


def test_polycam_missing_files(polycam):
    (polycam / "keyframes" / "corrected_images" / "200.jpg").unlink()
    for skip in (False, True):  # one is too few
        with pytest.raises(FileNotFoundError, match=r"1 of 2 images .*200\.json: the image: there is no file"):
            read_polycam(polycam, skip)
    (polycam / "keyframes" / "corrected_cameras" / "200.json").unlink()
    with pytest.raises(ValueError, match=r"has 1 camera file\(s\)"):
        read_polycam(polycam)
    with pytest.raises(FileNotFoundError, match="no raw data of Polycam"):
        read_polycam(polycam / "keyframes")
