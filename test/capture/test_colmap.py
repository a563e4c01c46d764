"""Round trips, COLMAP's conventions by hand and by COLMAP itself, and every kind of damage."""

import shutil
import struct
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from posed import LENSES, assert_same, make_recording

from uop3d_core.cameras import pixels_of
from uop3d_core.capture.colmap import camera_of, read_colmap, write_colmap
from uop3d_core.capture.colmap_model import MODELS, ModelCamera, read_model
from uop3d_core.types import Camera

CAMERAS = "# Camera list\n1 PINHOLE 48 40 100 200 24 20\n"
IMAGES = (
    "# Image list with two lines per image\n"
    "2 0.5 0.5 -0.5 0.5 1 2 3 1 b.jpg\n\n"
    "1 2 0 0 0 0 0 5 1 a b.jpg\n1.5 2.5 -1 3.5 4.5 7\n"
)
POINTS = "7 0.25 -1 2 255 0 0 0.5 1 0\n"


@pytest.fixture
def written(tmp_path):
    """A model as COLMAP writes it, two images of 48 x 40 pixels; returns its folder."""
    model, images = tmp_path / "scene" / "sparse" / "0", tmp_path / "scene" / "images"
    model.mkdir(parents=True)
    images.mkdir()
    for name in ("a b.jpg", "b.jpg"):
        Image.fromarray(np.zeros((40, 48, 3), np.uint8)).save(images / name)
    for name, text in (("cameras", CAMERAS), ("images", IMAGES), ("points3D", POINTS)):
        (model / f"{name}.txt").write_text(text)
    return tmp_path / "scene"


def test_conventions(written):
    recording = read_colmap(written)
    assert recording.name == "scene"
    first, second = recording.shots
    assert (first.name, second.name) == ("a b", "b")
    np.testing.assert_array_equal(first.cam_T_world, [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 5], [0, 0, 0, 1]])
    # w, x, y, z = (1, 1, -1, 1) / 2 turns by 120 degrees about (1, -1, 1): x -> z, y -> -x, z -> -y.
    np.testing.assert_allclose(
        second.cam_T_world, [[0, -1, 0, 1], [0, 0, -1, 2], [1, 0, 0, 3], [0, 0, 0, 1]], atol=1e-12
    )
    np.testing.assert_array_equal(first.camera.K, [[100, 0, 23.5], [0, 200, 19.5], [0, 0, 1]])
    np.testing.assert_array_equal(recording.points, [[0.25, -1, 2]])


PARAMETERS = {
    "SIMPLE_PINHOLE": ([100, 24, 20], "pinhole", []),
    "PINHOLE": ([100, 200, 24, 20], "pinhole", []),
    "SIMPLE_RADIAL": ([100, 24, 20, 0.1], "brown", [0.1, 0, 0, 0]),
    "RADIAL": ([100, 24, 20, 0.1, 0.2], "brown", [0.1, 0.2, 0, 0]),
    "OPENCV": ([100, 200, 24, 20, 0.1, 0.2, 0.3, 0.4], "brown", [0.1, 0.2, 0.3, 0.4]),
    "FULL_OPENCV": ([100, 200, 24, 20, *np.arange(1, 9) / 10], "brown", np.arange(1, 9) / 10),
    "OPENCV_FISHEYE": ([100, 200, 24, 20, 0.1, 0.2, 0.3, 0.4], "fisheye", [0.1, 0.2, 0.3, 0.4]),
    "SIMPLE_RADIAL_FISHEYE": ([100, 24, 20, 0.1], "fisheye", [0.1, 0, 0, 0]),
    "RADIAL_FISHEYE": ([100, 24, 20, 0.1, 0.2], "fisheye", [0.1, 0.2, 0, 0]),
}


@pytest.mark.parametrize("model", PARAMETERS)
def test_camera_models(model):
    params, lens, distortion = PARAMETERS[model]
    camera = camera_of(ModelCamera(model, 48, 40, tuple(params)), "x")
    assert camera.lens == lens
    np.testing.assert_allclose(camera.distortion, distortion)
    fy = params[1] if params[1] == 200 else 100
    np.testing.assert_allclose(camera.K, [[100, 0, 23.5], [0, fy, 19.5], [0, 0, 1]])


@pytest.mark.parametrize("model", PARAMETERS)
def test_projection_is_that_of_colmap(model):
    pycolmap = pytest.importorskip("pycolmap")
    params, *_ = PARAMETERS[model]
    points = np.array([[0.1, 0.05, 1.0], [-0.2, 0.1, 1.0], [0.0, -0.15, 1.0]])
    theirs = pycolmap.Camera(model=model, width=48, height=40, params=[float(v) for v in params])
    expected = np.array([theirs.img_from_cam(point) for point in points]) - 0.5
    np.testing.assert_allclose(pixels_of(camera_of(ModelCamera(model, 48, 40, tuple(params)), "x"), points), expected)


def test_numbers_of_camera_models_are_those_of_colmap():
    pycolmap = pytest.importorskip("pycolmap")
    for name, (number, parameters) in MODELS.items():
        theirs = pycolmap.Camera.create_from_model_name(1, name, 100.0, 48, 40)
        assert int(theirs.model) == number
        assert len(theirs.params) == parameters


@pytest.mark.parametrize("text", [False, True])
def test_round_trip(tmp_path, text):
    old = make_recording(tmp_path / "source", list(LENSES))
    write_colmap(old, tmp_path / "cup_01", text)
    new = read_colmap(tmp_path / "cup_01")
    assert_same(new, old)
    assert new.name == "cup_01"
    assert (tmp_path / "cup_01" / "masks" / "f0.jpg.png").is_file()


@pytest.mark.parametrize("text", [False, True])
def test_colmap_reads_what_is_written(tmp_path, text):
    pycolmap = pytest.importorskip("pycolmap")
    old = make_recording(tmp_path / "source", list(LENSES))
    write_colmap(old, tmp_path / "out", text)
    theirs = pycolmap.Reconstruction(str(tmp_path / "out" / "sparse" / "0"))
    found = {image.name: image for image in theirs.images.values()}
    for shot in old.shots:
        image = found[shot.image.name]
        np.testing.assert_allclose(image.cam_from_world().matrix(), shot.cam_T_world[:3], atol=1e-9)
        point = np.array([0.1, -0.1, 1.0])
        camera = theirs.cameras[image.camera_id]
        np.testing.assert_allclose(camera.img_from_cam(point) - 0.5, pixels_of(shot.camera, point), atol=1e-9)
    np.testing.assert_allclose(sorted(p.xyz.tolist() for p in theirs.points3D.values()), sorted(old.points.tolist()))


@pytest.mark.parametrize("text", [False, True])
def test_what_colmap_writes_is_read(tmp_path, text):
    pycolmap = pytest.importorskip("pycolmap")
    options = pycolmap.SyntheticDatasetOptions()
    options.num_rigs, options.num_cameras_per_rig, options.num_frames_per_rig, options.num_points3D = 1, 2, 3, 11
    options.camera_has_prior_focal_length = False
    theirs = pycolmap.synthesize_dataset(options)
    write = theirs.write_text if text else theirs.write_binary
    (tmp_path / "m").mkdir()
    write(str(tmp_path / "m"))
    model = read_model(tmp_path / "m")
    found = {image.name: image for image in theirs.images.values()}
    assert len(model.images) == len(found) == 6
    for image in model.images:
        x, y, z, w = found[image.name].cam_from_world().rotation.quat
        np.testing.assert_allclose(image.wxyz, [w, x, y, z], atol=1e-12)
        np.testing.assert_allclose(image.translation, found[image.name].cam_from_world().translation, atol=1e-12)
        theirs_camera = theirs.cameras[image.camera]
        assert model.cameras[image.camera].model == theirs_camera.model.name
        np.testing.assert_allclose(model.cameras[image.camera].params, theirs_camera.params)
    expected = sorted(point.xyz.tolist() for point in theirs.points3D.values())
    np.testing.assert_allclose(sorted(model.points.tolist()), expected)


def test_model_folder_itself_and_given_images(written, tmp_path):
    assert len(read_colmap(written / "sparse" / "0").shots) == 2
    assert read_colmap(written / "sparse" / "0").name == "scene"
    (written / "images").rename(tmp_path / "elsewhere")
    with pytest.raises(FileNotFoundError, match="no image of the model, such as a b.jpg, is in a folder .*--images"):
        read_colmap(written)
    assert len(read_colmap(written, tmp_path / "elsewhere").shots) == 2


def test_masks_beside_images(written):
    (written / "masks").mkdir()
    Image.fromarray(np.zeros((40, 48), np.uint8)).save(written / "masks" / "b.jpg.png")
    assert [shot.mask and shot.mask.name for shot in read_colmap(written).shots] == [None, "b.jpg.png"]


def test_images_in_subfolders_keep_apart(written):
    images, model = written / "images", written / "sparse" / "0"
    for name in ("left", "right"):
        (images / name).mkdir()
    (images / "b.jpg").replace(images / "left" / "1.jpg")
    (images / "a b.jpg").replace(images / "right" / "1.jpg")
    text = (model / "images.txt").read_text().replace("a b.jpg", "right/1.jpg").replace("b.jpg", "left/1.jpg")
    (model / "images.txt").write_text(text)
    assert [shot.name for shot in read_colmap(written).shots] == ["left_1", "right_1"]


def test_second_model_is_mentioned(written):
    assert read_colmap(written).notes == ()
    shutil.copytree(written / "sparse" / "0", written / "sparse" / "1")
    assert "holds 2 models" in read_colmap(written).notes[0]


def test_missing_image(written):
    (written / "images" / "b.jpg").rename(written / "images" / "c.jpg")
    with pytest.raises(FileNotFoundError, match=r"1 of 2 images are missing; the first: .*b\.jpg: there is no file"):
        read_colmap(written, skip_missing=True)
    with (written / "sparse" / "0" / "images.txt").open("a") as file:
        file.write("3 2 0 0 0 1 0 5 1 c.jpg\n\n")
    with pytest.raises(FileNotFoundError, match=r"1 of 3 images are missing; the first: .*b\.jpg.*--skip-missing"):
        read_colmap(written)
    recording = read_colmap(written, skip_missing=True)
    assert [shot.name for shot in recording.shots] == ["a b", "c"]
    assert recording.shots[1].cam_T_world[:3, 3] == pytest.approx([1, 0, 5])
    assert "1 of 3 images are missing and left out" in recording.notes[0]


@pytest.mark.parametrize("name", ["../secret.jpg", "/etc/hostname", "link.jpg"])
def test_names_that_lead_out(written, tmp_path, name):
    Image.fromarray(np.zeros((40, 48, 3), np.uint8)).save(tmp_path / "scene" / "secret.jpg")
    (written / "images" / "link.jpg").symlink_to(tmp_path / "scene" / "secret.jpg")
    path = written / "sparse" / "0" / "images.txt"
    path.write_text(path.read_text().replace("1 b.jpg", f"1 {name}"))
    with pytest.raises(ValueError, match="leads out of"):
        read_colmap(written, written / "images")


BAD_TEXT = {
    "unknown model": ("cameras", "PINHOLE", "WIDE", "camera model 'WIDE' is not one of COLMAP's"),
    "unsupported model": ("cameras", "PINHOLE 48 40 100 200 24 20", "FOV 48 40 1 1 24 20 1", "model FOV, .*not supp"),
    "too few parameters": ("cameras", " 24 20", " 24", "line 2: 4 numbers are needed here, got 3"),
    "text for a number": ("cameras", "100", "ten", "line 2: could not convert"),
    "NaN focal length": ("cameras", "100", "nan", "camera 1: .*NaN"),
    "negative focal length": ("cameras", "100", "-1", "camera 1: .*positive focal"),
    "no size": ("cameras", "48", "0", "camera 1: Camera size must be positive"),
    "other size": ("cameras", "48 40", "96 80", "the image is 48 x 40 pixels, but its camera says 96 x 80"),
    "short image": ("images", " 1 b.jpg", "", "line 2: an image has an id"),
    "unknown camera": ("images", "1 b.jpg", "9 b.jpg", r"image b\.jpg has camera 9, which"),
    "zero quaternion": ("images", "1 2 0 0 0 ", "1 0 0 0 0 ", "must be a quaternion of length 1"),
    "NaN position": ("images", "0 0 5 1", "0 nan 5 1", r"image a b\.jpg has NaN or infinite"),
    "NaN point": ("points3D", "-1", "nan", r"points3D\.txt: contains NaN"),
    "short point": ("points3D", POINTS, "7 1\n", "line 1: 3 numbers are needed here"),
}


@pytest.mark.parametrize("case", BAD_TEXT)
def test_bad_text(written, case):
    name, old, new, message = BAD_TEXT[case]
    path = written / "sparse" / "0" / f"{name}.txt"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(ValueError, match=message):
        read_colmap(written)


def test_binary_as_text(written):
    (written / "sparse" / "0" / "cameras.txt").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(ValueError, match=r"cameras\.txt: not a text file"):
        read_colmap(written)


@pytest.fixture
def binary(tmp_path):
    write_colmap(make_recording(tmp_path / "source"), tmp_path / "cup")
    return tmp_path / "cup"


@pytest.mark.parametrize("name", ["cameras", "images", "points3D"])
def test_truncated_binary(binary, name):
    path = binary / "sparse" / "0" / f"{name}.bin"
    content = path.read_bytes()
    for length in (0, 7, 8, 20, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=rf"{name}\.bin: (ends after|an image name)"):
            read_colmap(binary)


@pytest.mark.parametrize("name", ["cameras", "images", "points3D"])
def test_huge_counts_allocate_nothing(binary, name):
    path = binary / "sparse" / "0" / f"{name}.bin"
    path.write_bytes(struct.pack("<Q", 2**60) + path.read_bytes()[8:])
    with pytest.raises(ValueError, match="are announced"):
        read_colmap(binary)


@pytest.mark.parametrize("name", ["images", "points3D"])
def test_huge_inner_counts(binary, name):
    path = binary / "sparse" / "0" / f"{name}.bin"
    path.write_bytes(path.read_bytes()[:-8] + struct.pack("<Q", 2**60))
    with pytest.raises(ValueError, match="are announced"):
        read_colmap(binary)


def test_too_small_a_count(binary):
    path = binary / "sparse" / "0" / "cameras.bin"
    path.write_bytes(struct.pack("<Q", 1) + path.read_bytes()[8:])
    with pytest.raises(ValueError, match="bytes are left after the 1 records"):
        read_colmap(binary)


def test_unknown_model_number(binary):
    path = binary / "sparse" / "0" / "cameras.bin"
    content = path.read_bytes()
    path.write_bytes(content[:12] + struct.pack("<i", 99) + content[16:])
    with pytest.raises(ValueError, match="has model number 99"):
        read_colmap(binary)


def test_no_model(tmp_path):
    with pytest.raises(FileNotFoundError, match="no COLMAP model here"):
        read_colmap(tmp_path)


def test_what_cannot_be_written(tmp_path):
    recording = make_recording(tmp_path / "source")
    first = recording.shots[0]
    skewed = Camera(first.camera.K + np.eye(3, k=1) * [[0, 1, 0]], 48, 40)
    rich = replace(first.camera, lens="brown", distortion=np.full(12, 0.01))
    for camera, message in ((skewed, "has skew"), (rich, "12 coefficients")):
        bad = replace(recording, shots=(replace(first, camera=camera), *recording.shots[1:]))
        with pytest.raises(ValueError, match=message):
            write_colmap(bad, tmp_path / "out")
        assert not (tmp_path / "out").exists()
