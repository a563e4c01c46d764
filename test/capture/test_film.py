"""The made-up film is what it says: poses, masks and depth fit the pictures."""

import numpy as np
import pytest

from uop3d_core.capture.synthetic.film import Film, make_film
from uop3d_core.geometry import inverse_rigid, pixel_rays, project, transform


@pytest.fixture(scope="module")
def film() -> Film:
    return make_film((3, 1), shots=5, rate=10.0, size=(160, 120))


def test_times_and_sizes(film: Film):
    stamps = [shot.stamp_ns for shot in film.shots]
    assert np.diff(stamps).tolist() == [100_000_000] * 4
    for shot in film.shots:
        assert (
            shot.image.shape == (120, 160, 3) and shot.masks.shape == (2, 120, 160) and shot.depth.shape == (120, 160)
        )


def test_both_mugs_are_seen_apart(film: Film):
    for shot in film.shots:
        assert shot.masks.sum((1, 2)).min() > 200 and not (shot.masks[0] & shot.masks[1]).any()


def test_poses_point_at_the_masks(film: Film):
    for shot in film.shots:
        for mask, cam_T_obj in zip(shot.masks, shot.cam_T_obj, strict=True):
            ys, xs = np.nonzero(mask)
            pixel = project(film.camera.K, cam_T_obj[:3, 3])
            assert xs.min() < pixel[0] < xs.max() and ys.min() < pixel[1] < ys.max()


def test_depth_lies_on_the_mugs_and_on_the_table(film: Film):
    for shot in film.shots:
        ys, xs = np.mgrid[:120, :160]
        points = pixel_rays(film.camera.K, np.stack([xs, ys], -1)) * shot.depth[..., None]
        for mask, cam_T_obj in zip(shot.masks, shot.cam_T_obj, strict=True):
            here = transform(inverse_rigid(cam_T_obj), points[mask & np.isfinite(shot.depth)].astype(float))
            assert np.quantile(np.abs(here).max(1), 0.95) < film.unit_m / 2  # the edge's pixels may see past it
        table = ~shot.masks.any(0) & np.isfinite(shot.depth)
        heights = transform(inverse_rigid(shot.cam_T_fixed), points[table].astype(float))[:, 2]
        assert table.sum() > 1000 and np.ptp(np.quantile(heights, [0.05, 0.95])) < 1e-3


def test_the_mugs_rest_while_the_camera_moves(film: Film):
    fixed_T_obj = np.stack([inverse_rigid(shot.cam_T_fixed) @ shot.cam_T_obj for shot in film.shots])
    assert np.abs(fixed_T_obj - fixed_T_obj[0]).max() < 1e-9
    eyes = np.stack([inverse_rigid(shot.cam_T_fixed)[:3, 3] for shot in film.shots])
    assert np.linalg.norm(np.diff(eyes, axis=0), axis=1).min() > 0.03


def test_one_mug_and_the_same_seed():
    one, again = (make_film((3, 2), shots=2, mugs=1, size=(64, 48)) for _ in range(2))
    assert one.shots[0].masks.shape == (1, 48, 64)
    for a, b in zip(one.shots, again.shots, strict=True):
        np.testing.assert_array_equal(a.image, b.image)
