"""Damages are as strong as they say, leave poses true, and figures are those of an oracle."""

from __future__ import annotations

import numpy as np
import pose_robustness as robustness
import pytest
from pose import Boxes, View, labelled_views

from uop3d_core.capture.synthetic import make_mug
from uop3d_core.evaluation.labels import Labels
from uop3d_core.evaluation.link import FrameLink, fit_frame_link
from uop3d_core.geometry import Array, project, rigid
from uop3d_core.types import Alignment, CaptureAlignment, Detection, PoseEstimate


@pytest.fixture(scope="module")
def mug() -> tuple[list[View], FrameLink]:
    made = make_mug(5, views=4, pixels=96, name="mug", clutter=False)
    T = made.canonical_T_world
    labels = Labels("mug", {"mug": T})
    link = fit_frame_link(Alignment("mug", "mug", {"mug": CaptureAlignment(T, 1.0, True)}), labels, ["mug"])
    return list(labelled_views([made.capture], labels, link, 1, Boxes(1, 0.0))), link


def box_of(view: View) -> Array:
    return np.asarray(view.detections[0].bbox_xyxy)


@pytest.mark.parametrize("name", robustness.DAMAGES)
def test_no_damage_changes_nothing_and_more_changes_more(mug: tuple[list[View], FrameLink], name: str) -> None:
    damage, view = robustness.DAMAGES[name], mug[0][0]
    [same] = robustness.damaged([view], damage, 0, seed=3)
    np.testing.assert_array_equal(same.frame.image, view.frame.image)
    np.testing.assert_array_equal(box_of(same), box_of(view))
    if not name.startswith("truncation"):
        worse = [robustness.damaged([view], damage, s, seed=3)[0].frame.image for s in damage.strengths]
        apart = [np.abs(image.astype(float) - view.frame.image).mean() for image in worse]
        assert apart == sorted(apart) and apart[0] == 0 < apart[1]
        assert all(image.dtype == np.uint8 and image.shape == view.frame.image.shape for image in worse)
        again = robustness.damaged([view], damage, damage.strengths[-1], seed=3)[0].frame.image
        np.testing.assert_array_equal(again, worse[-1])


@pytest.mark.parametrize("share", [0.1, 0.3, 0.6])
def test_a_patch_covers_its_share_of_the_box(mug: tuple[list[View], FrameLink], share: float) -> None:
    for index, view in enumerate(mug[0]):
        found = robustness.occluded(view, share, np.random.default_rng(index)).frame.image
        changed = (found != view.frame.image).any(2)
        box = box_of(view)
        assert changed.sum() / np.prod(box[2:] - box[:2]) == pytest.approx(share, abs=0.05)
        ys, xs = np.nonzero(changed)
        assert xs.min() >= box[0] - 1 and ys.min() >= box[1] - 1 and xs.max() <= box[2] + 1 and ys.max() <= box[3] + 1
        assert found[changed].std() > 3  # it has a texture


@pytest.mark.parametrize("share", [0.2, 0.5])
def test_a_cut_image_lacks_its_share_of_the_box_and_keeps_the_pose(
    mug: tuple[list[View], FrameLink], share: float
) -> None:
    point = np.array([[0.1, 0.05, -0.1]])
    for seed in range(8):
        view = mug[0][seed % len(mug[0])]
        cut = robustness.truncated(view, share, np.random.default_rng(seed))
        short = robustness.clipped(view, share, np.random.default_rng(seed))
        whole, rest = box_of(cut), box_of(short)
        np.testing.assert_allclose(whole[2:] - whole[:2], box_of(view)[2:] - box_of(view)[:2])
        left = np.prod(rest[2:] - rest[:2]) / np.prod(whole[2:] - whole[:2])
        assert left == pytest.approx(1 - share, abs=0.03)
        seen = point @ view.cam_T_label[:3, :3].T + view.cam_T_label[:3, 3]
        shift = project(view.frame.camera.K, seen) - project(cut.frame.camera.K, seen)
        np.testing.assert_allclose(shift[0], box_of(view)[:2] - whole[:2], atol=1e-9)
        left_px, top = np.rint(shift[0]).astype(int)
        height, width = cut.frame.image.shape[:2]
        np.testing.assert_array_equal(cut.frame.image, view.frame.image[top : top + height, left_px : left_px + width])


def test_night_is_darker_by_stops(mug: tuple[list[View], FrameLink]) -> None:
    view = mug[0][0]
    dark = robustness.night(view, 2, np.random.default_rng(0)).frame.image
    bright = view.frame.image > 150
    ratio = (dark[bright] / 255.0) ** 2.2 / (view.frame.image[bright] / 255.0) ** 2.2
    assert np.median(ratio) == pytest.approx(0.25, rel=0.05)


def test_figures_are_those_that_an_oracle_deserves(mug: tuple[list[View], FrameLink]) -> None:
    """It is right, with score 0.8, where the image is bright, and a quarter turn off, with 0.1, in the dark."""
    views, link = mug
    turn = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    poses = {view.frame.name: view.cam_T_label for view in views}

    def oracle(frame, detections):  # type: ignore[no-untyped-def]
        bright, T = frame.image.mean() > 60, poses[frame.name]
        pose = T if bright else rigid(T[:3, :3] @ turn, T[:3, 3])
        return [PoseEstimate(detection, pose, 0.8 if bright else 0.1) for detection in detections]

    dark = robustness.Damage(lambda view, strength, rng: robustness.night(view, strength, rng), (0, 8), "stops")
    lines: list[str] = []
    report = robustness.curves_of(oracle, views, link, {"night": dark, "again": dark}, 0, lines.append)
    rows = report["night"]
    assert rows["acc30"] == [100, 0] and rows["median_deg"] == pytest.approx([0, 90], abs=1e-3)
    assert rows["up_acc10"] == [100, 100] and rows["right"] == [1, 0] and rows["not_found"] == [0, 0]
    assert rows["score"] == pytest.approx([0.8, 0.1]) and rows["ece"] == pytest.approx([0.2, 0.1])
    assert report["again"] == rows and len(lines) == 5
    picture = robustness.picture_of(report)
    assert picture.ndim == 3 and picture.dtype == np.uint8


def test_what_is_not_found_is_wrong(mug: tuple[list[View], FrameLink]) -> None:
    def blind(frame, detections):  # type: ignore[no-untyped-def]
        return [PoseEstimate(detection, np.eye(4), 0.0, found=False, other=1.0) for detection in detections]

    row = robustness.figures_of(blind, *mug)
    assert row["not_found"] == 1 and row["median_deg"] == 180 and row["right"] == row["ece"] == 0


def test_other_things_are_told_by_their_probability(mug: tuple[list[View], FrameLink]) -> None:
    frame = mug[0][0].frame
    images = [(frame, Detection(np.array([0.0, 0, 9, 9 + number]))) for number in range(4)]

    def estimator(frame, detections):  # type: ignore[no-untyped-def]
        others = [0.4 + 0.2 * (detection.bbox_xyxy[3] - 9) for detection in detections]
        return [PoseEstimate(d, np.eye(4), 0.0, other=min(o, 1.0)) for d, o in zip(detections, others, strict=True)]

    rejection = robustness.rejection_of(estimator, [0.9, 0.7, 0.5], {"cup": images[2:], "horse": images[:1]})
    assert rejection["cup"] == {"images": 2, "auroc": 1, "mean": 0.1, "above_half": 0}
    assert rejection["horse"]["auroc"] == pytest.approx(2 / 3, abs=1e-4) and rejection["horse"]["above_half"] == 1
    assert rejection["all"]["images"] == 3 and rejection["all"]["auroc"] == pytest.approx(8 / 9, abs=1e-4)
    assert rejection["this category"] == {"images": 3, "mean": 0.7, "above_half": pytest.approx(2 / 3, abs=1e-4)}
    assert len(robustness.rejection_table(rejection).splitlines()) == 5
