"""The rehearsal: what is held out, what it is tried on, and what is asked of it."""

from types import SimpleNamespace

import numpy as np
import pytest
from scenes import film, normal_image, potato

from uop3d_core.correspondence.views import View, posed_views
from uop3d_core.crops import Crop
from uop3d_core.geometry import rigid
from uop3d_core.pipeline.calibrating import (
    Shows,
    Trial,
    _blurred,
    _damaged,
    _shuffled,
    _some,
    _surer,
    _trials,
    held_out,
    own_frame,
)
from uop3d_core.pose.calibration import Solution
from uop3d_core.types import Alignment, Camera, CaptureAlignment, Sim3

MESH = potato(2)


@pytest.fixture(scope="module")
def view() -> View:
    capture = film(MESH, views=3, paint=normal_image(MESH))
    alignment = Alignment("potato", capture.name, {capture.name: CaptureAlignment(Sim3.identity(), 1.0, True)})
    return posed_views([capture], {capture.name: MESH}, alignment)[0]


def views(view: View, captures: int, frames: int) -> list[View]:
    return [View(f"c{k}", view.frame, view.cam_T_obj, view.shape) for k in range(captures) for _ in range(frames)]


@pytest.mark.parametrize(("captures", "names"), [(3, ["c1"]), (5, ["c1", "c4"]), (9, ["c1", "c4", "c7"])])
def test_every_third_capture_is_held_out(view: View, captures: int, names: list[str]) -> None:
    every = views(view, captures, 4)
    indices, found = held_out(every)
    assert found == names and [every[i].capture for i in indices] == [name for name in names for _ in range(4)]


@pytest.mark.parametrize("captures", [1, 2])
def test_of_few_captures_single_views_are_held_out(view: View, captures: int) -> None:
    indices, names = held_out(views(view, captures, 6))
    assert names == [] and len(indices) == 2 * captures


def test_the_own_frame_is_in_the_middle_of_the_own_box(view: View) -> None:
    own = own_frame(view)
    low, high = MESH.vertices.min(0), MESH.vertices.max(0)
    expected = rigid(view.cam_T_obj[:3, :3], np.zeros(3))
    expected[:3, 3] = (view.cam_T_obj[:3, :3] @ (low + high) / 2 + view.cam_T_obj[:3, 3]) / np.linalg.norm(high - low)
    np.testing.assert_allclose(own, expected)


def test_shuffled_crops_have_the_same_pieces_in_another_order() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    mixed = _shuffled(pixels, np.random.default_rng(1))
    assert mixed.shape == pixels.shape and not np.array_equal(mixed, pixels)
    assert np.array_equal(np.sort(mixed.reshape(-1)), np.sort(pixels.reshape(-1)))


def test_damaged_crops_are_changed_but_not_wholly() -> None:
    pixels = np.full((96, 96, 3), 120, np.uint8)
    pixels[20:70, 30:60] = [200, 30, 60]
    for seed in range(12):
        damaged = _damaged(pixels, np.random.default_rng(seed))
        assert damaged.shape == pixels.shape and damaged.dtype == np.uint8
        assert not np.array_equal(damaged, pixels)


def test_blurred_crops_keep_their_mean_and_lose_their_detail() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    little, much = (_blurred(pixels, share) for share in (0.01, 0.08))
    assert pixels.std() > little.std() > much.std() and abs(float(much.mean()) - float(pixels.mean())) < 3


@pytest.mark.parametrize(("count", "left"), [(3, [0, 4, 8]), (4, [0, 3, 6, 9]), (20, list(range(10)))])
def test_some_are_evenly_chosen(count: int, left: list[int]) -> None:
    assert list(_some(range(10), count)) == left


class Fixed:
    """Stands for an estimator that finds the same in every crop."""

    def __init__(self, agreement: float | None, keypoints: float = 0.5) -> None:
        self.agreement, self.keypoints = agreement, keypoints

    def crop(self, camera: Camera, box: np.ndarray) -> Crop:
        return Crop.around(camera, box, 48, 1.25)

    def beliefs(self, pixels: list, crops: list) -> list:
        return [SimpleNamespace(crop=crop) for crop in crops]

    def framed(self, crop: Crop) -> None:
        return None

    def solve(self, found: SimpleNamespace, box: None) -> Solution | None:
        if self.agreement is None:
            return None
        return Solution(np.eye(4)[None], np.array([self.agreement]), 0.5, np.eye(6), self.keypoints)


def test_views_are_tried_plain_damaged_blurred_and_as_something_else(view: View) -> None:
    trials = list(_trials(view, Fixed(0.5), np.random.default_rng(0)))  # type: ignore[arg-type]
    shown = [trial.shows for trial in trials]
    assert shown.count(Shows.PLAINLY) == 2 and shown.count(Shows.HARDLY) == 1 and shown.count(Shows.NOTHING) in (1, 2)
    assert all(trial.pixels.shape == (48, 48, 3) and trial.pixels.dtype == np.uint8 for trial in trials)


def test_how_much_surer_a_network_is_comes_from_what_both_found(view: View) -> None:
    crop = Fixed(0.5).crop(view.frame.camera, np.array([20, 20, 60, 60]))
    pixels = np.zeros((48, 48, 3), np.uint8)
    trials = [[Trial(crop, pixels, shows) for shows in Shows]] * 3
    more = _surer(Fixed(0.8, 0.7), Fixed(0.5), trials)  # type: ignore[arg-type]
    np.testing.assert_allclose(more, [np.log(4), 0, 3, 0, 4 * np.log(7 / 3)])
    assert not _surer(Fixed(0.8), Fixed(None), trials).any()  # type: ignore[arg-type]
