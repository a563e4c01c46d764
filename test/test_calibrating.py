"""The rehearsal: what is held out, what it is tried on, and what is asked of it."""

import numpy as np
import pytest
from scenes import film, normal_image, potato

from uop3d_core.correspondence.views import View, posed_views
from uop3d_core.geometry import rigid
from uop3d_core.pipeline.calibrating import _damaged, _shuffled, held_out, own_frame
from uop3d_core.types import Alignment, CaptureAlignment, Sim3

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
