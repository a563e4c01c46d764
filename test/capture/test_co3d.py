"""CO3D's cameras by hand, round trips, the layout of the real files, and damage."""

import gzip
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from posed import assert_same, make_recording

from uop3d_core.capture.co3d import cam_T_world_of, camera_of, find_co3d, read_co3d, viewpoint_of, write_co3d
from uop3d_core.capture.nerfstudio import read_recording
from uop3d_core.geometry import project, transform
from uop3d_core.types import Camera

REPOSITORY = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("UOP3D_DATA", REPOSITORY.parent / "shared" / "data"))
VIEWPOINT = {
    "R": [[0, 0, -1], [0, 1, 0], [1, 0, 0]],
    "T": [1, 2, 10],
    "focal_length": [2, 4],
    "principal_point": [0.25, -0.5],
    "intrinsics_format": "ndc_isotropic",
}


def edit(folder, change, name="frame_annotations.jgz"):
    """Apply a function to the list in an annotation file."""
    path = folder / "cup" / name
    content = json.loads(gzip.decompress(path.read_bytes()))
    path.write_bytes(gzip.compress(json.dumps(change(content) or content).encode()))


@pytest.fixture
def dataset(tmp_path):
    scores = {"viewpoint_quality_score": 1.5, "point_cloud_quality_score": 0.7}
    recording = replace(make_recording(tmp_path / "source"), source={"category": "cup", **scores})
    write_co3d(recording, tmp_path / "co3d")
    return tmp_path / "co3d"


def test_camera_by_hand():
    """The point (1, 1, 1) of world: x_cam = x_world R + T = (2, 3, 9) in PyTorch3D's axes, x left and y up."""
    camera, T = camera_of(VIEWPOINT, (80, 40), "x"), cam_T_world_of(VIEWPOINT, "x")
    np.testing.assert_allclose(transform(T, np.ones(3)), [-2, -3, 9])
    # ndc_isotropic: half of the shorter side is 20 pixels. x_ndc = 2 * 2 / 9 + 0.25, left of the middle at 40 - 0.5.
    expected = [39.5 - 20 * (2 * 2 / 9 + 0.25), 19.5 - 20 * (4 * 3 / 9 - 0.5)]
    np.testing.assert_allclose(project(camera.K, transform(T, np.ones(3))), expected)


def test_camera_of_version_1_by_hand():
    old = {**VIEWPOINT, "intrinsics_format": "ndc_norm_image_bounds"}
    np.testing.assert_allclose(camera_of(old, (80, 40), "x").K, [[80, 0, 29.5], [0, 80, 29.5], [0, 0, 1]])
    del old["intrinsics_format"]
    assert camera_of(old, (80, 40), "x").K[0, 2] == 29.5


def test_viewpoint_is_the_way_back():
    camera, T = camera_of(VIEWPOINT, (80, 40), "x"), cam_T_world_of(VIEWPOINT, "x")
    again = viewpoint_of(camera, T, "x")
    for key in ("R", "T", "focal_length", "principal_point"):
        np.testing.assert_allclose(again[key], VIEWPOINT[key], atol=1e-12)


@pytest.mark.skipif(not (DATA / "co3d_apple").is_dir(), reason=f"no CO3D apple in {DATA}; set UOP3D_DATA")
def test_real_cameras():
    """The same real cameras, as PyTorch3D's and converted to nerfstudio's by others."""
    given = np.load(DATA / "co3d_apple" / "gt_cameras_pytorch3d.npz")
    shots = {shot.image.name: shot for shot in read_recording(DATA / "co3d_apple").shots}
    for R, T, focal, name in zip(given["R"], given["T"], given["focal_ndc"], given["file_name"], strict=True):
        shot = shots[Path(str(name)).name]
        viewpoint = {"R": R.tolist(), "T": T.tolist(), "focal_length": focal.tolist(), "principal_point": [0, 0]}
        camera = camera_of({**viewpoint, "intrinsics_format": "ndc_isotropic"}, (540, 960), "x")
        np.testing.assert_allclose(cam_T_world_of(viewpoint, "x"), shot.cam_T_world, atol=1e-4)
        np.testing.assert_allclose(camera.K, shot.camera.K, rtol=1e-3)  # the images were scaled to whole pixels


@pytest.mark.parametrize("where", ["", "cup", "cup/cup_01"])
def test_round_trip(dataset, tmp_path, where):
    [place] = find_co3d(dataset / where)
    [new] = read_co3d(place)
    assert_same(new, make_recording(tmp_path / "again"))
    assert new.name == "cup_01"
    scores = {"viewpoint_quality_score": 1.5, "point_cloud_quality_score": 0.7}
    assert new.source == {"format": "co3d", "category": "cup", **scores}


def test_without_masks_points_and_cameras(dataset):
    def strip(entries):
        entries[0]["mask"] = None
        entries[1]["viewpoint"] = None
        entries[2].update(depth={"path": "nowhere.png"}, meta={"frame_type": "train"})

    edit(dataset, strip)
    (dataset / "cup" / "sequence_annotations.jgz").unlink()
    [new] = read_co3d(*find_co3d(dataset))
    assert [shot.mask is None for shot in new.shots] == [True, False]
    assert new.points is None
    assert "1 frames of cup_01 have no camera" in new.notes[0]


def test_several_sequences_and_categories(dataset, tmp_path):
    edit(dataset, lambda entries: entries + [{**entry, "sequence_name": "another"} for entry in entries])
    [place] = find_co3d(dataset)
    assert [recording.name for recording in read_co3d(place)] == ["another", "cup_01"]
    assert [recording.name for recording in read_co3d(place, ["cup_01"])] == ["cup_01"]
    with pytest.raises(ValueError, match="no sequence third; there are another, cup_01"):
        list(read_co3d(place, ["third"]))
    (dataset / "mug").symlink_to(dataset / "cup")
    assert [found.category for found in find_co3d(dataset)] == ["cup", "mug"]
    assert find_co3d(tmp_path / "nowhere") == []


BAD = {
    "no sequence": ({"sequence_name": None}, "annotation 1 has no sequence_name"),
    "no image": ({"image": None}, "image must be an object"),
    "viewpoint is a list": ({"viewpoint": [1]}, "viewpoint must be an object"),
    "path outside": ({"image": {"path": "../x.jpg", "size": [40, 48]}}, "leads out of"),
    "absolute path": ({"image": {"path": "/etc/hostname", "size": [40, 48]}}, "leads out of"),
    "mask outside": ({"mask": {"path": "../../m.png"}}, "leads out of"),
    "other size": ({"image": {"path": "cup/cup_01/images/f1.jpg", "size": [80, 48]}}, "its camera says 48 x 80"),
    "no size": ({"image": {"path": "cup/cup_01/images/f1.jpg"}}, "size of the image must be 2 finite numbers"),
    "not a rotation": ({"viewpoint": {**VIEWPOINT, "R": [[1, 0, 0]] * 3}}, "R is not a rotation"),
    "two rows": ({"viewpoint": {**VIEWPOINT, "R": [[1, 0, 0]] * 2}}, "R must be 3 rows"),
    "NaN": ({"viewpoint": {**VIEWPOINT, "T": [0, 0, float("nan")]}}, "T must be 3 finite numbers"),
    "no focal length": ({"viewpoint": {**VIEWPOINT, "focal_length": [0, 0]}}, "positive focals"),
    "format": ({"viewpoint": {**VIEWPOINT, "intrinsics_format": "screen"}}, '"screen" is neither'),
    "same image": ({"image": {"path": "cup/cup_01/images/f0.jpg", "size": [40, 48]}}, "duplicate frame names f0"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_annotation(dataset, case):
    values, message = BAD[case]
    edit(dataset, lambda entries: entries[1].update(values))
    with pytest.raises(ValueError, match=message):
        list(read_co3d(*find_co3d(dataset)))


def test_missing_files(dataset):
    (dataset / "cup" / "cup_01" / "pointcloud.ply").unlink()
    with pytest.raises(FileNotFoundError, match="point cloud of cup_01: there is no file"):
        list(read_co3d(*find_co3d(dataset)))
    (dataset / "cup" / "cup_01" / "images" / "f2.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"annotation 2 of cup_01: image: there is no file .*f2\.jpg"):
        list(read_co3d(*find_co3d(dataset)))


def test_missing_images_are_left_out_where_that_is_asked_for(dataset):
    [whole] = read_co3d(*find_co3d(dataset))
    (dataset / "cup" / "cup_01" / "images" / "f2.jpg").unlink()
    [recording] = read_co3d(*find_co3d(dataset), skip_missing=True)
    assert [shot.name for shot in recording.shots] == [shot.name for shot in whole.shots if shot.name != "f2"]
    assert "images are missing and left out" in recording.notes[0]


@pytest.mark.parametrize(
    "content", [b"", b"not gzip", gzip.compress(b"[1, 2", mtime=0), gzip.compress(b"[1, 2]", mtime=0)[:-9]]
)
def test_damaged_annotations(dataset, content):
    (dataset / "cup" / "frame_annotations.jgz").write_bytes(content)
    with pytest.raises(ValueError, match=r"frame_annotations\.jgz: not gzipped JSON"):
        list(read_co3d(*find_co3d(dataset)))


def test_annotations_that_are_no_list(dataset):
    edit(dataset, lambda entries: {"frames": entries})
    with pytest.raises(ValueError, match="must hold a list"):
        list(read_co3d(*find_co3d(dataset)))


def test_lenses_are_not_written(tmp_path):
    with pytest.raises(ValueError, match="camera of frame f0 has a distorting lens or skew, which CO3D cannot hold"):
        write_co3d(make_recording(tmp_path / "source", ["brown5"] * 2), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_category_that_is_no_folder_name(tmp_path):
    recording = replace(make_recording(tmp_path / "source"), source={"category": "../up"})
    with pytest.raises(ValueError, match="cannot be a file name"):
        write_co3d(recording, tmp_path / "out")


def test_size_of_a_camera():
    assert isinstance(camera_of(VIEWPOINT, (80, 40), "x"), Camera)
    assert (camera_of(VIEWPOINT, (80, 40), "x").width, camera_of(VIEWPOINT, (80, 40), "x").height) == (80, 40)
