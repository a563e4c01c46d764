"""Things drawn into images stand where they are."""

import numpy as np
import pytest
from scenes import box, square_camera

from uop3d_core.report.things import Arrow, Solid, Text, draw_things
from uop3d_core.types import Camera

GREEN, RED = np.array([0.0, 255, 0]), np.array([255.0, 0, 0])


@pytest.fixture(params=["pinhole", "brown"])
def camera(request: pytest.FixtureRequest) -> Camera:
    flat = square_camera(512, 1.0)
    return flat if request.param == "pinhole" else Camera(flat.K, 512, 512, "brown", [0.3, 0, 0, 0])


def cube(x: float, z: float, colour: np.ndarray, alpha: float = 1.0) -> Solid:
    return Solid(box((0.5, 0.5, 0.01), (x, 0, z)), colour, alpha)


def bright(canvas: np.ndarray, colour: np.ndarray) -> np.ndarray:
    return np.abs(canvas.astype(float) / np.maximum(canvas.max(2, keepdims=True), 1) - colour / 255).max(2) < 0.2


def test_solids_arrows_and_texts(camera: Camera):
    image = np.full((512, 512, 3), 60, np.uint8)
    arrow = Arrow(np.array([0.5, -0.5, 2.0]), np.array([0.5, 0.5, 2.0]), RED)
    text = Text(np.array([0, -0.6, 2.0]), "mug_1")
    canvas = draw_things(image, camera, [cube(-0.5, 2, GREEN)], [arrow], [text])
    ys, xs = np.nonzero(bright(canvas, GREEN) & (canvas[:, :, 1] > 70))
    stretch = 1.0 if camera.lens == "pinhole" else 1.02
    assert xs.mean() == pytest.approx(255.5 - 128 * stretch, abs=4) and ys.mean() == pytest.approx(255.5, abs=4)
    ys, xs = np.nonzero(bright(canvas, RED))
    assert xs.mean() == pytest.approx(255.5 + 128 * stretch, abs=6) and np.ptp(ys) > 230
    assert (canvas[60:110, 230:330] > 240).any()  # the letters
    assert (image == 60).all()


def test_the_near_one_hides_the_far_one(camera: Camera):
    image = np.full((512, 512, 3), 60, np.uint8)
    for order in ([0, 1], [1, 0]):
        solids = [cube(0, 2, GREEN), cube(0, 3, RED)]
        canvas = draw_things(image, camera, [solids[i] for i in order], [], [])
        assert bright(canvas, GREEN)[256, 256]


def test_what_is_behind_the_camera_is_not_drawn(camera: Camera):
    image = np.full((512, 512, 3), 60, np.uint8)
    behind = Arrow(np.array([0, 0, -1.0]), np.array([0, 1, -1.0]), RED)
    canvas = draw_things(image, camera, [cube(0, -2, GREEN)], [behind], [Text(np.array([0, 0, -1.0]), "mug")])
    np.testing.assert_array_equal(canvas, image)


def test_small_images_are_enlarged():
    small = square_camera(64, 1.0)
    canvas = draw_things(np.zeros((64, 64, 3), np.uint8), small, [cube(0, 2, GREEN)], [], [])
    assert canvas.shape == (512, 512, 3) and bright(canvas, GREEN)[256, 256]
