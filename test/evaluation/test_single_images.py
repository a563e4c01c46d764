"""Figures on labelled images against oracles whose errors are known."""

import json
import math

import numpy as np
import pytest
from mat_files import annotated, viewpoint, write_pascal3d
from scipy.spatial.transform import Rotation

from uop3d_core.evaluation.labels import Labels
from uop3d_core.evaluation.link import fit_frame_link, link_by_names
from uop3d_core.evaluation.pascal3d import read_pascal3d
from uop3d_core.evaluation.single_images import evaluate_images
from uop3d_core.evaluation.viewpoints import cam_T_label, intrinsics
from uop3d_core.geometry import rigid
from uop3d_core.types import Alignment, CaptureAlignment, PoseEstimate, Sim3, Symmetry

AZIMUTHS = range(0, 360, 45)


def turn(axis, degrees):
    return Rotation.from_euler(axis, degrees, degrees=True).as_matrix()


@pytest.fixture
def labelled(tmp_path):
    records = {
        f"n1_{a}": [annotated(viewpoint=viewpoint(azimuth=float(a)), occluded=float(a >= 180))] for a in AZIMUTHS
    }
    return read_pascal3d(write_pascal3d(tmp_path / "p3d", records), "car")


def oracle(labelled, label_R_obj, error=None, seen=None):
    """Knows the labels, in an obj frame of its own; `error` is a rotation of the label per image."""
    items = {item.name: item for item in labelled.images}

    def estimate(frame, detections):
        if seen is not None:
            seen.append((frame, detections))
        T = cam_T_label(items[frame.name].viewpoint)
        R = T[:3, :3] @ (np.eye(3) if error is None else error(frame.name)) @ label_R_obj
        return [PoseEstimate(detection, rigid(R, T[:3, 3]), 0.8) for detection in detections]

    return estimate


def test_axes_at_their_word(labelled):
    seen = []
    report, results = evaluate_images(
        oracle(labelled, np.eye(3), lambda _: turn("z", 20), seen), labelled, link_by_names(), category="car"
    )
    assert report["all"]["frames"] == 8
    assert report["all"]["median_deg"] == pytest.approx(20, abs=1e-6)
    assert report["all"]["up_median_deg"] == pytest.approx(0, abs=1e-6)
    assert (report["all"]["acc30"], report["all"]["acc15"], report["all"]["not_found"]) == (100, 0, 0)
    assert report["clear"]["frames"] == 4
    assert report["all"]["score"]["right"] == 1
    frame, [detection] = seen[0]
    assert frame.image.shape == (240, 320, 3)
    np.testing.assert_array_equal(frame.camera.K, intrinsics(labelled.images[0].viewpoint))
    np.testing.assert_array_equal(detection.bbox_xyxy, labelled.images[0].label.box)
    assert frame.cam_T_world is None
    assert len(results) == len(report["images"]) == 8
    json.dumps(report, allow_nan=False)


def test_linked_by_labels_of_training_captures(labelled):
    G = turn("xyz", [40, 70, 130])
    alignment = Alignment("car", "a", {"a": CaptureAlignment(Sim3(1.0, G, np.zeros(3)), 1.0, True)})
    link = fit_frame_link(alignment, Labels("car", {"a": Sim3.identity()}), ["a"])
    report, _ = evaluate_images(oracle(labelled, G.T), labelled, link)
    assert report["all"]["median_deg"] == pytest.approx(0, abs=1e-4)


def test_frame_fitted_to_the_test_tells_a_wrong_link(labelled):
    G = turn("z", 90)

    def error(name):  # two of eight are turned around
        return turn("x", 180) if name in ("n1_0", "n1_45") else np.eye(3)

    report, _ = evaluate_images(oracle(labelled, G, error), labelled, link_by_names())
    assert report["all"]["acc30"] == 0
    assert report["fitted_frame"]["acc10"] == 75
    np.testing.assert_allclose(report["fitted_frame"]["label_R_obj"], G, atol=1e-6)


def test_symmetry_of_the_model(labelled):
    link = link_by_names(Symmetry(np.array([0.0, 0, 1]), 2))
    report, _ = evaluate_images(oracle(labelled, np.eye(3), lambda _: turn("z", 180)), labelled, link)
    assert report["all"]["median_deg"] == pytest.approx(180)
    assert report["all"]["sym_median_deg"] == pytest.approx(0, abs=1e-3)
    assert report["all"]["score"]["right"] == 0, "a symmetry that only the model believes in excuses nothing"


def test_poses_that_are_not_found(labelled):
    def lost(frame, detections):
        return [PoseEstimate(detection, np.eye(4), 0.0, found=False) for detection in detections]

    report, _ = evaluate_images(lost, labelled, link_by_names())
    assert report["all"]["not_found"] == 8
    assert report["all"]["median_deg"] == 180
    assert report["fitted_frame"] is None


def test_published_boxes_and_jitter(labelled):
    seen = []
    estimator = oracle(labelled, np.eye(3), seen=seen)
    report, _ = evaluate_images(estimator, labelled, link_by_names(), boxes="cad")
    box = seen[0][1][0].bbox_xyxy
    np.testing.assert_allclose((box[:2] + box[2:]) / 2, [170, 120])
    assert report["boxes"] == "cad"
    first = [detections[0].bbox_xyxy for _, detections in seen]
    for _ in range(2):
        seen.clear()
        evaluate_images(estimator, labelled, link_by_names(), jitter=0.1, seed=3)
        boxes = [detections[0].bbox_xyxy for _, detections in seen]
        assert not np.allclose(boxes[0], boxes[1])
        assert np.abs(boxes[0] - labelled.images[0].label.box).max() < 0.2 * 139
        first.append(boxes)
    np.testing.assert_array_equal(first[-1], first[-2])
    with pytest.raises(ValueError, match="boxes must be annotated or cad"):
        evaluate_images(estimator, labelled, link_by_names(), boxes="mask")


def test_missing_image(labelled):
    labelled.images[3].image.unlink()
    with pytest.raises(FileNotFoundError, match=r"n1_135\.JPEG: no such image file"):
        evaluate_images(oracle(labelled, np.eye(3)), labelled, link_by_names())
    assert math.isclose(math.degrees(labelled.images[3].viewpoint.azimuth), 135)
