"""Viewpoints by hand and by the datasets' own projection, annotation files in their real form, protocols, damage."""

import math
import re
import struct

import numpy as np
import pytest
from mat_files import annotated, save_record, viewpoint, write_objectnet3d, write_pascal3d
from scipy.io import loadmat, savemat

from uop3d_core.evaluation.mat_records import Viewpoint, read_record
from uop3d_core.evaluation.objectnet3d import read_objectnet3d
from uop3d_core.evaluation.pascal3d import read_pascal3d
from uop3d_core.evaluation.viewpoints import CAD_R_LABEL, cad_box, cam_T_label, intrinsics
from uop3d_core.geometry import project, transform


def seen_from(azimuth=0.0, elevation=0.0, theta=0.0, distance=5.0):
    angles = (math.radians(value) for value in (azimuth, elevation, theta))
    return Viewpoint(*angles, distance, 1.0, (160.0, 120.0), 3000.0, True)


FRONT, LEFT, UP = np.eye(3)
BY_HAND = {  # viewpoint: where front, left and up of the object point in the camera (x right, y down, z forward)
    "front": ((0, 0, 0), (0, 0, -1), (1, 0, 0), (0, -1, 0)),  # it faces the camera: its left is on the right
    "its left": ((90, 0, 0), (-1, 0, 0), (0, 0, -1), (0, -1, 0)),
    "back": ((180, 0, 0), (0, 0, 1), (-1, 0, 0), (0, -1, 0)),
    "its right": ((270, 0, 0), (1, 0, 0), (0, 0, 1), (0, -1, 0)),
    "above": ((0, 90, 0), (0, 1, 0), (1, 0, 0), (0, 0, -1)),  # from above, front is at the bottom of the picture
    "rolled": ((0, 0, 90), (0, 0, -1), (0, -1, 0), (-1, 0, 0)),  # the picture is turned counter-clockwise
}


@pytest.mark.parametrize("case", BY_HAND)
def test_by_hand(case):
    angles, front, left, up = BY_HAND[case]
    T = cam_T_label(seen_from(*angles))
    np.testing.assert_allclose(T[:3, :3], np.column_stack([front, left, up]), atol=1e-12)
    np.testing.assert_allclose(T[:3, 3], [0, 0, 5])


def projected_by_the_toolbox(points, a, e, d, theta, principal):
    """project_3d.m of PASCAL3D+, line by line."""
    a, e, theta = (math.radians(value) for value in (a, e, theta))
    C = np.array([d * math.cos(e) * math.sin(a), -d * math.cos(e) * math.cos(a), d * math.sin(e)])
    a, e = -a, -(math.pi / 2 - e)
    Rz = np.array([[math.cos(a), -math.sin(a), 0], [math.sin(a), math.cos(a), 0], [0, 0, 1]])
    Rx = np.array([[1, 0, 0], [0, math.cos(e), -math.sin(e)], [0, math.sin(e), math.cos(e)]])
    R = Rx @ Rz
    P = np.diag([3000, 3000, -1]) @ np.column_stack([R, -R @ C])
    x = P @ np.vstack([points.T, np.ones(len(points))])
    x = x[:2] / x[2]
    x = (np.array([[math.cos(theta), -math.sin(theta)], [math.sin(theta), math.cos(theta)]]) @ x).T
    return x * [1, -1] + principal


@pytest.mark.parametrize("angles", [(0, 0, 0), (30, 20, 5), (200, -10, -40), (310, 80, 170)])
def test_projection_is_that_of_the_toolbox(angles):
    cad = np.random.default_rng(0).normal(size=(9, 3)) * 0.3
    expected = projected_by_the_toolbox(cad, *angles[:2], 5.0, angles[2], [160, 120])
    view = seen_from(*angles)
    np.testing.assert_allclose(project(intrinsics(view), transform(cam_T_label(view), cad @ CAD_R_LABEL)), expected)


def test_axes_of_cad_are_left_back_up():
    np.testing.assert_array_equal(CAD_R_LABEL @ FRONT, [0, -1, 0])
    np.testing.assert_array_equal(CAD_R_LABEL @ LEFT, [1, 0, 0])
    np.testing.assert_array_equal(CAD_R_LABEL @ UP, [0, 0, 1])
    assert np.linalg.det(CAD_R_LABEL) == 1


def test_record(tmp_path):
    save_record(tmp_path / "a.mat", annotated(occluded=1.0), annotated("bus", difficult=1.0, truncated=1.0))
    car, bus = read_record(tmp_path / "a.mat").objects
    assert (car.category, bus.category, car.cad) == ("car", "bus", 2)
    assert (car.flags, bus.flags) == ({"occluded"}, {"truncated", "difficult"})
    np.testing.assert_array_equal(car.box, [99.5, 79.5, 239.5, 159.5])  # MATLAB's first pixel is (1, 1)
    view = car.viewpoint
    assert math.degrees(view.azimuth) == pytest.approx(30)
    assert math.degrees(view.elevation) == pytest.approx(20)
    assert math.degrees(view.theta) == pytest.approx(5)
    assert (view.distance, view.focal, view.viewport, view.principal) == (5, 1, 3000, (170, 120))
    assert view.fine
    np.testing.assert_array_equal(intrinsics(view), [[3000, 0, 170], [0, 3000, 120], [0, 0, 1]])


def test_files_have_the_nesting_that_is_known(tmp_path):
    """Indices of readers in the wild, which use scipy as it comes."""
    save_record(tmp_path / "a.mat", annotated(), annotated("bus", viewpoint=np.zeros((0, 0))))
    record = loadmat(tmp_path / "a.mat")["record"]
    assert record["filename"][0][0][0] == "a.JPEG"
    assert record[0][0]["size"]["width"][0][0][0][0] == 320
    car, bus = record["objects"][0][0][0]
    assert car["class"][0] == "car"
    assert car["cad_index"][0][0] == 2
    assert car["bbox"][0].tolist() == [101, 81, 240, 160]
    assert car["viewpoint"]["azimuth"][0][0][0][0] == 30
    assert car["viewpoint"][0][0]["azimuth"].item() == 30
    assert car["anchors"][0][0]["left_front_wheel"]["status"] == 1
    assert car["anchors"][0][0]["left_front_wheel"]["location"][0][0][0].tolist() == [120, 130]
    assert bus["viewpoint"].dtype.names is None


def test_record_with_one_object_and_empty_fields(tmp_path):
    coarse = viewpoint(azimuth=None, elevation=None, distance=np.zeros((0, 0)), focal=0.0)
    save_record(tmp_path / "a.mat", annotated(viewpoint=coarse, anchors=np.zeros((0, 0)), cad_index=np.zeros((0, 0))))
    [item] = read_record(tmp_path / "a.mat").objects
    assert math.degrees(item.viewpoint.azimuth) == pytest.approx(330)
    assert (item.viewpoint.fine, item.viewpoint.distance, item.cad, item.anchors) == (False, 0, 0, False)
    save_record(tmp_path / "b.mat", annotated(viewpoint=np.zeros((0, 0))))
    assert read_record(tmp_path / "b.mat").objects[0].viewpoint is None


BAD_OBJECTS = {
    "no class": (annotated(**{"class": np.zeros((0, 0))}), "object 0 has no class"),
    "NaN": (annotated(viewpoint=viewpoint(azimuth=np.nan)), "viewpoint: azimuth must be 1 finite number"),
    "text": (annotated(viewpoint=viewpoint(px="left")), r"viewpoint: px must be 1 number\(s\)"),
    "two numbers": (annotated(viewpoint=viewpoint(theta=np.array([1.0, 2.0]))), "theta must be 1 finite number"),
}


@pytest.mark.parametrize("case", BAD_OBJECTS)
def test_bad_object(tmp_path, case):
    item, message = BAD_OBJECTS[case]
    save_record(tmp_path / "a.mat", item)
    with pytest.raises(ValueError, match=r"a\.mat: object 0.*" + message if case != "no class" else message):
        read_record(tmp_path / "a.mat")


def test_bad_files(tmp_path):
    path = tmp_path / "a.mat"
    with pytest.raises(FileNotFoundError, match="no such annotation file"):
        read_record(path)
    for content in ({"x": 1.0}, {"record": 3.0}, {"record": {"filename": "a"}}):
        savemat(path, content)
        with pytest.raises(ValueError, match="has no struct `record` with `objects`"):
            read_record(path)
    for content in (b"", b"not a matlab file at all", b"\0" * 200):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"a\.mat: not a readable \.mat file"):
            read_record(path)
    path.write_bytes(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM" + b"\x89HDF\r\n\x1a\n")
    with pytest.raises(ValueError, match=r"is a MATLAB 7\.3 file"):
        read_record(path)
    save_record(path, annotated())
    whole = path.read_bytes()
    for length in (130, 300, len(whole) - 10):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"a\.mat"):
            read_record(path)


def test_counts_that_do_not_fit(tmp_path):
    path, plain = tmp_path / "a.mat", struct.pack("<IIii", 5, 8, 1, 1)
    save_record(path, annotated(), annotated())
    content = path.read_bytes()
    places = [match.start() for match in re.finditer(re.escape(plain), content)]
    assert len(places) > 20
    for place in places:
        for count in (2**27, 2**31 - 1, -1):
            path.write_bytes(content[:place] + struct.pack("<IIii", 5, 8, 1, count) + content[place + 16 :])
            with pytest.raises(ValueError, match="announces .* elements"):
                read_record(path)


def test_compressed_files(tmp_path):
    path = tmp_path / "a.mat"
    savemat(path, {"record": {"objects": {"class": "car", "bbox": [1.0, 2, 3, 4]}}}, do_compression=True)
    assert read_record(path).objects[0].category == "car"
    savemat(path, {"record": np.zeros(2**24)}, do_compression=True)
    assert path.stat().st_size < 2**20
    with pytest.raises(ValueError, match="unpacks to more than 64 MB"):
        read_record(path)


def test_pascal3d_protocol(tmp_path):
    root = write_pascal3d(
        tmp_path / "p3d",
        {
            "n1_1": [annotated(viewpoint=np.zeros((0, 0))), annotated(occluded=1.0)],
            "n1_2": [annotated(), annotated("bus")],
            "n1_3": [annotated(viewpoint=viewpoint(px=-3.0))],
            "n1_4": [annotated(viewpoint=viewpoint(distance=0.0))],
            "n1_5": [annotated(viewpoint=viewpoint(focal=0.0))],
            "n1_6": [annotated(anchors=np.zeros((0, 0)))],
            "n1_7": [annotated("bus"), annotated()],
            "n1_8": [annotated(viewpoint=np.zeros((0, 0)))],
            "n1_9": [annotated(), annotated(bbox=np.zeros((0, 0)))],
            "n1_a": [annotated(bbox=np.array([9.0, 9.0, 9.0, 9.0]))],
            "n1_b": [annotated(bbox=np.array([1.0, 2.0, 3.0]))],
            "n1_c": [annotated(bbox=np.array([1.0, 2.0, np.nan, 3.0]))],
            "n1_d": [annotated()],
        },
    )
    (root / "Annotations" / "car_imagenet" / "n1_d.mat").write_bytes(b"broken")
    found = read_pascal3d(root, "car")
    assert [item.name for item in found.images] == ["n1_1", "n1_2", "n1_9"]
    assert "n1_d.mat: not a readable .mat file" in found.skipped.pop("n1_d")
    assert found.images[0].label.flags == {"occluded"}
    assert found.images[0].image == root / "Images" / "car_imagenet" / "n1_1.JPEG"
    assert found.skipped == {
        "n1_3": "the principal point is negative",
        "n1_4": "the distance is not annotated",
        "n1_5": "the focal length is 0",
        "n1_6": "keypoints are not annotated",
        "n1_7": "the first object is a bus",
        "n1_8": "no object has a viewpoint",
        "n1_a": "the box is empty",
        "n1_b": "the box is empty",
        "n1_c": "the box is empty",
    }


def test_objectnet3d_protocol(tmp_path):
    coarse = viewpoint(azimuth=None, elevation=None)
    root = write_objectnet3d(
        tmp_path / "on3d",
        {
            "n2_1": [annotated(viewpoint=viewpoint(focal=0.0)), annotated(viewpoint=coarse)],
            "n2_2": [annotated("bus"), annotated()],
            "n2_3": [annotated(viewpoint=viewpoint(focal=0.0))],
            "n2_4": [annotated(anchors=None)],
            "n2_5": [annotated()],
            "n2_6": [annotated(bbox=np.zeros((0, 0)))],
        },
    )
    (root / "Annotations" / "n2_5.mat").write_bytes(b"broken")
    told = []
    found = read_objectnet3d(root, "car", progress=lambda *call: told.append(call))
    assert [item.name for item in found.images] == ["n2_1", "n2_4"]
    assert found.images[0].cad == root / "CAD" / "off" / "car" / "02.off"
    assert math.degrees(found.images[0].viewpoint.azimuth) == pytest.approx(330)
    assert found.skipped["n2_3"] == "no object has a focal length"
    assert "not a readable .mat file" in found.skipped["n2_5"]
    assert found.skipped["n2_6"] == "the box is empty"
    assert told[-1] == ("annotations", 6, 6)
    with pytest.raises(ValueError, match=r"no image of 'boat'; there are bus, car; 1 files were left out"):
        read_objectnet3d(root, "boat")
    with pytest.raises(FileNotFoundError, match=r"train\.txt: no such image set; there are test"):
        read_objectnet3d(root, "car", "train")


def test_cad_box(tmp_path):
    """From the front, 5 away: 0.8 wide and 0.5 high, nearest at 4: symmetric about the principal point (170, 120)."""
    front = viewpoint(azimuth=0.0, elevation=0.0, theta=0.0)
    root = write_pascal3d(tmp_path / "p3d", {"a": [annotated(viewpoint=front)]})
    [item] = read_pascal3d(root, "car").images
    np.testing.assert_allclose(cad_box(item), [170 - 300, 120 - 187.5, 170 + 300, 120 + 187.5])
    item.cad.write_text("OFF\nnonsense")
    with pytest.raises(ValueError, match=r"02\.off: not a readable OFF file"):
        cad_box(item)
    item.cad.unlink()
    with pytest.raises(FileNotFoundError, match="no such CAD model; use the annotated boxes"):
        cad_box(item)


def test_bad_datasets(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"is not the folder of PASCAL3D\+ release 1\.1"):
        read_pascal3d(tmp_path, "car")
    with pytest.raises(FileNotFoundError, match="is not the folder of ObjectNet3D"):
        read_objectnet3d(tmp_path, "car")
    root = write_pascal3d(tmp_path / "p3d", {"a": [annotated(anchors=np.zeros((0, 0)))]})
    with pytest.raises(
        ValueError, match="none of the 1 images of car can be tested on; a: keypoints are not annotated"
    ):
        read_pascal3d(root, "car")
    with pytest.raises(FileNotFoundError, match=r"bus_imagenet_val\.txt: no such image set; there are car"):
        read_pascal3d(root, "bus")
    for name in ("../a", "/etc/passwd", "a\\b"):
        (root / "Image_sets" / "car_imagenet_val.txt").write_text(name)
        with pytest.raises(ValueError, match="cannot be the name of a file of this dataset"):
            read_pascal3d(root, "car")
    with pytest.raises(ValueError, match="cannot be the name of a file of this dataset"):
        read_pascal3d(root, "../car")
    (root / "Image_sets" / "car_imagenet_val.txt").write_text("b")
    with pytest.raises(FileNotFoundError, match=r"b\.mat: no such annotation file"):
        read_pascal3d(root, "car")
    (root / "Image_sets" / "car_imagenet_val.txt").write_text("\n")
    with pytest.raises(ValueError, match="the image set is empty"):
        read_pascal3d(root, "car")
    (root / "Image_sets" / "car_imagenet_val.txt").write_bytes(b"\xff\xfe\x01")
    with pytest.raises(ValueError, match="not a text file"):
        read_pascal3d(root, "car")
