"""Messages are read by their attributes, so these stand-ins have nothing but attributes."""

from types import SimpleNamespace as Message

import numpy as np
import pytest

from uop3d_core.messages.quaternions import quat_xyzw_to_rotation, rotation_to_quat_xyzw
from uop3d_core.messages.reading import (
    Labels,
    camera_of,
    detections_of,
    pose_transform_of,
    stamp_ns,
    transform_of,
    yolo_detections_of,
)

K = [500.0, 0, 319.5, 0, 510, 239.5, 0, 0, 1]
P = [400.0, 0, 310, 0, 0, 405, 230, 0, 0, 0, 1, 0]


def info(**changes):
    fields = {
        "width": 640, "height": 480, "k": K, "p": P, "d": [], "distortion_model": "plumb_bob",
        "binning_x": 0, "binning_y": 0, "roi": Message(x_offset=0, y_offset=0, width=0, height=0),
    }  # fmt: skip
    return Message(**{**fields, **changes})


def box(x=100.0, y=50.0, width=40.0, height=20.0, theta=0.0, results=(), **extra):
    centre = Message(position=Message(x=x, y=y), theta=theta)
    return Message(bbox=Message(center=centre, size_x=width, size_y=height), results=list(results), **extra)


def result(label, score):
    return Message(hypothesis=Message(class_id=label, score=score))


def test_raw_and_rectified_camera():
    raw, rectified = camera_of(info(d=[-0.2, 0.1, 0, 0, 0])), camera_of(info(), rectified=True)
    np.testing.assert_array_equal(raw.K, np.reshape(K, (3, 3)))
    assert (raw.width, raw.height, raw.lens, len(raw.distortion)) == (640, 480, "brown", 5)
    np.testing.assert_array_equal(rectified.K, [[400, 0, 310], [0, 405, 230], [0, 0, 1]])
    assert rectified.lens == "pinhole"


@pytest.mark.parametrize(
    ("model", "coefficients", "lens"),
    [
        ("plumb_bob", [0.0] * 5, "pinhole"),
        ("", [], "pinhole"),
        ("rational_polynomial", [0.1] * 8, "brown"),
        ("equidistant", [0.0] * 4, "fisheye"),  # without coefficients still no pinhole
        ("Inverse Brown Conrady", [0.0] * 5, "pinhole"),
    ],
)
def test_lenses(model, coefficients, lens):
    assert camera_of(info(distortion_model=model, d=coefficients)).lens == lens


def test_binning_and_region_of_interest():
    """Sensor pixels 100..299 in x, two by two: image pixel 0 has its centre at sensor pixel 100.5."""
    roi = Message(x_offset=100, y_offset=40, width=200, height=120)
    camera = camera_of(info(binning_x=2, binning_y=4, roi=roi))
    assert (camera.width, camera.height) == (100, 30)
    np.testing.assert_allclose(camera.K, [[250, 0, (319.5 - 100.5) / 2], [0, 127.5, (239.5 - 41.5) / 4], [0, 0, 1]])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"k": [0.0] * 9}, "not calibrated"),
        ({"k": [float("nan")] * 9}, "not calibrated"),
        ({"width": 0}, "0 x 480"),
        ({"distortion_model": "kannala", "d": [0.1]}, "unknown distortion_model 'kannala'"),
        ({"d": [0.1, 0.2, 0.3]}, "3 coefficients"),
    ],
)
def test_unusable_camera_info(changes, says):
    with pytest.raises(ValueError, match=says):
        camera_of(info(**changes))


def test_second_camera_of_a_stereo_pair():
    shifted = list(P)
    shifted[3] = -40.0
    with pytest.raises(ValueError, match="stereo"):
        camera_of(info(p=shifted), rectified=True)
    with pytest.raises(ValueError, match="P is"):
        camera_of(info(p=[0.0] * 12), rectified=True)


def test_best_hypothesis_names_the_detection():
    message = Message(detections=[box(results=[result("bowl", 0.2), result("cup", 0.7)]), box(theta=np.pi / 2)])
    detections, complaints = detections_of(message, Labels.parse(["cup=mug"]))
    np.testing.assert_allclose(detections[0].bbox_xyxy, [80, 40, 120, 60])
    assert (detections[0].label, detections[0].score) == ("mug", 0.7)
    np.testing.assert_allclose(detections[1].bbox_xyxy, [90, 30, 110, 70])
    assert (detections[1].label, detections[1].score, complaints) == ("", 1.0, [])


@pytest.mark.parametrize(
    "bad", [box(width=0.0), box(height=float("nan")), box(x=float("inf")), box(results=[result("cup", 7.0)])]
)
def test_a_bad_detection_leaves_the_others(bad):
    detections, complaints = detections_of(Message(detections=[bad, box()]))
    assert len(detections) == 1
    assert len(complaints) == 1 and complaints[0].startswith("detection 0: ")


def test_foxy_boxes_are_told_apart():
    old = Message(bbox=Message(center=Message(x=1.0, y=2.0, theta=0.0), size_x=3.0, size_y=4.0), results=[])
    detections, complaints = detections_of(Message(detections=[old]))
    assert detections == [] and "position" in complaints[0]


def test_yolo():
    centre = Message(position=Message(x=10.0, y=20.0), theta=0.0)
    item = Message(class_name="cup", score=0.5, bbox=Message(center=centre, size=Message(x=4.0, y=6.0)))
    [detection], complaints = yolo_detections_of(Message(detections=[item]))
    np.testing.assert_allclose(detection.bbox_xyxy, [8, 17, 12, 23])
    assert (detection.label, detection.score, complaints) == ("cup", 0.5, [])


def test_labels():
    labels = Labels.parse(["cup = mug", "*=", ""])
    assert (labels("cup"), labels("bottle"), Labels()("bottle")) == ("mug", "", "bottle")
    for bad in ("cup", "=mug"):
        with pytest.raises(ValueError, match="form"):
            Labels.parse([bad])
    with pytest.raises(ValueError, match="twice"):
        Labels.parse(["a=b", "a=c"])


def test_stamps_and_transforms():
    assert stamp_ns(Message(sec=3, nanosec=5)) == 3_000_000_005
    q = Message(x=0.0, y=0.0, z=np.sqrt(0.5), w=np.sqrt(0.5))
    t = Message(x=1.0, y=2.0, z=3.0)
    expected = [[0, -1, 0, 1], [1, 0, 0, 2], [0, 0, 1, 3], [0, 0, 0, 1]]
    np.testing.assert_allclose(transform_of(Message(translation=t, rotation=q)), expected, atol=1e-12)
    np.testing.assert_allclose(pose_transform_of(Message(position=t, orientation=q)), expected, atol=1e-12)
    with pytest.raises(ValueError, match="unit length"):
        transform_of(Message(translation=t, rotation=Message(x=0.0, y=0.0, z=0.0, w=0.0)))
    with pytest.raises(ValueError, match="not finite"):
        transform_of(Message(translation=Message(x=np.nan, y=0.0, z=0.0), rotation=q))


def test_half_turns():
    for axis in np.eye(3):
        R = 2 * np.outer(axis, axis) - np.eye(3)
        np.testing.assert_allclose(quat_xyzw_to_rotation(rotation_to_quat_xyzw(R)), R, atol=1e-12)
