"""Lens models: there and back, by numbers worked out by hand, and where they end."""

import numpy as np
import pytest

from uop3d_core.cameras import pixels_of, rays_through
from uop3d_core.types import Camera

K = np.array([[500.0, 0, 320], [0, 480, 240], [0, 0, 1]])
LENSES = [
    ("pinhole", []),
    ("brown", [-0.3, 0.12, 0.001, -0.002]),
    ("brown", [-0.28, 0.07, 0.0, 0.0, 0.01]),
    ("brown", [0.3, 0.1, 0.0, 0.0, 0.02, 0.4, 0.1, 0.01]),
    ("fisheye", [0.05, -0.01, 0.002, 0.0]),
]


@pytest.mark.parametrize(("lens", "distortion"), LENSES)
def test_pixels_to_rays_and_back(lens: str, distortion: list[float]) -> None:
    camera = Camera(K, 640, 480, lens, distortion)
    pixels = np.random.default_rng(0).uniform(0, 1, (10, 50, 2)) * [640, 480]
    rays = rays_through(camera, pixels)
    assert rays.shape == (10, 50, 3) and np.isfinite(rays).all() and (rays[..., 2] == 1).all()
    np.testing.assert_allclose(pixels_of(camera, rays * 3), pixels, atol=1e-6)


def test_radial_distortion_by_hand() -> None:
    """r = 0.5, so r (1 + k1 r^2 + k2 r^4) = 0.5 (1 - 0.05 + 0.0125) = 0.48125."""
    camera = Camera(K, 640, 480, "brown", [-0.2, 0.2, 0, 0])
    np.testing.assert_allclose(pixels_of(camera, np.array([1.0, 0, 2])), [320 + 500 * 0.48125, 240])


def test_tangential_distortion_by_hand() -> None:
    """x = y = 0.5: x + 2 p1 x y + p2 (r^2 + 2 x^2) = 0.5 + 0.005 + 0.02, y + p1 (r^2 + 2 y^2) + 2 p2 x y = 0.52."""
    camera = Camera(K, 640, 480, "brown", [0, 0, 0.01, 0.02])
    np.testing.assert_allclose(pixels_of(camera, np.array([0.5, 0.5, 1])), [320 + 500 * 0.525, 240 + 480 * 0.52])


def test_an_equidistant_fisheye_by_hand() -> None:
    """45 degrees off the axis is pi / 4 from the middle."""
    camera = Camera(K, 640, 480, "fisheye", [0, 0, 0, 0])
    np.testing.assert_allclose(pixels_of(camera, np.array([1.0, 0, 1])), [320 + 500 * np.pi / 4, 240])


def test_skewed_pixels_with_a_lens() -> None:
    skewed = K + [[0, 5, 0], [0, 0, 0], [0, 0, 0]]
    straight, crooked = (Camera(M, 640, 480, "brown", [-0.2, 0.1, 0, 0]) for M in (K, skewed))
    point = np.array([0.2, 0.3, 1])
    shift = pixels_of(crooked, point) - pixels_of(straight, point)
    y = (pixels_of(straight, point)[1] - 240) / 480
    np.testing.assert_allclose(shift, [5 * y, 0])
    np.testing.assert_allclose(rays_through(crooked, pixels_of(crooked, point)), point, atol=1e-8)


@pytest.mark.parametrize(("lens", "distortion"), LENSES)
def test_what_is_behind_the_camera_has_no_pixel(lens: str, distortion: list[float]) -> None:
    assert np.isnan(pixels_of(Camera(K, 640, 480, lens, distortion), np.array([[0.1, 0.2, -1], [0, 0, 0]]))).all()


def test_pixels_beyond_the_lens_have_no_ray() -> None:
    """With k1 = -0.3 nothing is farther from the middle than at r = 1.05, where the image folds back."""
    camera = Camera(K, 640, 480, "brown", [-0.3, 0, 0, 0])
    assert np.isnan(rays_through(camera, np.array([[320 + 500 * 0.8, 240]]))).any()


@pytest.mark.parametrize(
    ("lens", "distortion", "message"),
    [
        ("wide", [], "unknown"),
        ("brown", [0.1, 0.2], "2 coefficients"),
        ("brown", [np.nan] * 4, "NaN"),
        ("pinhole", [1.0], "1 coefficients"),
    ],  # noqa: E501
)
def test_impossible_lenses_are_refused(lens: str, distortion: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Camera(K, 640, 480, lens, distortion)
