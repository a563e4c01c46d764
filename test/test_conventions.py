"""docs/conventions.md, pinned by numbers worked out by hand."""

import numpy as np
import pytest

from uop3d_core.crops import Crop
from uop3d_core.geometry import inverse_rigid, pixel_rays, project, rigid, rigid_through_similarity, transform
from uop3d_core.images import mask_box
from uop3d_core.raycast import RayCaster
from uop3d_core.types import Camera, Mesh, Sim3

QUARTER_TURN = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]])  # about z: x goes to y
CAMERA = Camera(np.array([[500, 0, 319.5], [0, 500, 239.5], [0, 0, 1]]), 640, 480)
FACING = np.column_stack([[0, 0, -1], [1, 0, 0], [0, -1, 0]]).astype(float)  # the object looks at the camera


def test_transforms_map_from_the_right_name_to_the_left_one():
    world_T_obj = rigid(QUARTER_TURN, np.array([10, 0, 0]))
    cam_T_world = rigid(np.eye(3), np.array([0, 0, 5]))
    np.testing.assert_allclose(transform(world_T_obj, np.array([1, 2, 3])), [8, 1, 3])
    np.testing.assert_allclose(transform(cam_T_world @ world_T_obj, np.array([1, 2, 3])), [8, 1, 8])
    np.testing.assert_allclose(transform(inverse_rigid(world_T_obj), np.array([8, 1, 3])), [1, 2, 3], atol=1e-12)


def test_similarity_scales_and_rotates_before_it_moves():
    a_T_b, b_T_c = Sim3(2.0, QUARTER_TURN, np.array([10, 0, 0])), Sim3(3.0, np.eye(3), np.array([0, 1, 0]))
    np.testing.assert_allclose(a_T_b.apply(np.array([1, 2, 3])), [6, 2, 6])
    np.testing.assert_allclose((a_T_b @ b_T_c).apply(np.array([1, 2, 3])), [-4, 6, 18])
    np.testing.assert_allclose(a_T_b.inverse().apply(np.array([6, 2, 6])), [1, 2, 3])


def test_camera_looks_along_z_with_x_right_and_y_down():
    right, below, far = np.array([1, 0, 4.0]), np.array([0, 1, 4.0]), np.array([0, 0, 9.0])
    np.testing.assert_allclose(project(CAMERA.K, right), [319.5 + 125, 239.5])
    np.testing.assert_allclose(project(CAMERA.K, below), [319.5, 239.5 + 125])
    np.testing.assert_allclose(project(CAMERA.K, far), [319.5, 239.5])


def test_pixel_centres_are_integers():
    """A square that covers 4 x 4 pixels from column 1, row 2: its edges are at half pixels."""
    camera = Camera(np.array([[8, 0, 3.5], [0, 8, 3.5], [0, 0, 1]]), 8, 8)
    low, high = pixel_rays(camera.K, np.array([[0.5, 1.5], [4.5, 5.5]]))
    corners = [[low[0], low[1]], [high[0], low[1]], [high[0], high[1]], [low[0], high[1]]]
    square = Mesh(np.array([[x, y, 1] for x, y in corners]), np.array([[0, 1, 2], [0, 2, 3]]))
    mask = RayCaster(square).render(camera, np.eye(4)).mask.reshape(8, 8)
    expected = np.zeros((8, 8), bool)
    expected[2:6, 1:5] = True
    np.testing.assert_array_equal(mask, expected)
    np.testing.assert_array_equal(mask_box(mask), [0.5, 1.5, 4.5, 5.5])


def test_obj_axes_in_the_example_of_the_page():
    cam_T_obj = rigid(FACING, np.array([0, 0, 4]))
    front, left, up = transform(cam_T_obj, np.eye(3)) - [0, 0, 4]
    np.testing.assert_allclose([front, left, up], [[0, 0, -1], [1, 0, 0], [0, -1, 0]], atol=1e-12)
    pixel = project(CAMERA.K, transform(cam_T_obj, np.array([0.2, 0.3, 0.1])))
    np.testing.assert_allclose(pixel, [319.5 + 500 * 0.3 / 3.8, 239.5 - 500 * 0.1 / 3.8])


def test_depth_in_object_units():
    """World twice as large as obj: the camera 8 world units away is 4 object units away."""
    cam_T_obj = rigid_through_similarity(rigid(FACING, np.array([0, 0, 8])), 0.5, np.eye(3), np.zeros(3))
    np.testing.assert_allclose(cam_T_obj, rigid(FACING, np.array([0, 0, 4])))


def test_mask_box_of_one_pixel():
    mask = np.zeros((9, 7), bool)
    mask[5, 3] = True
    np.testing.assert_array_equal(mask_box(mask), [2.5, 4.5, 3.5, 5.5])
    with pytest.raises(ValueError, match="empty"):
        mask_box(np.zeros((9, 7), bool))


FAR = 1e6
"""Focal length in pixels so long that a crop is a window of the image."""


def window(centre, side, pixels, roll=0.0, size=(320, 240)):
    """Square window of an image, through a camera without perspective."""
    camera = Camera(np.array([[FAR, 0, 160.0], [0, FAR, 120.0], [0, 0, 1]]), *size)
    x, y = centre
    half = side / 2
    return Crop.around(camera, np.array([x - half, y - half, x + half, y + half]), pixels, 1.0, roll=roll)


def test_crop_by_hand():
    """A window of 8 x 8 image pixels, from -0.5 to 7.5, in 4 x 4 crop pixels of 2 x 2 image pixels each."""
    crop = window((3.5, 3.5), 8.0, 4)
    np.testing.assert_allclose(crop.to_image(np.array([[0, 0], [3, 3], [-0.5, 3.5]])), [[0.5, 0.5], [6.5, 6.5], [-0.5, 7.5]], atol=1e-5)  # fmt: skip # noqa: E501
    np.testing.assert_allclose(crop.to_crop(np.array([[-0.5, 7.5], [3.5, 3.5]])), [[-0.5, 3.5], [1.5, 1.5]], atol=1e-5)


def test_roll_turns_the_window_from_x_to_y():
    crop = window((10.0, 20.0), 4.0, 4, roll=np.pi / 2)
    middle = np.array([1.5, 1.5])
    np.testing.assert_allclose(crop.to_image(middle), [10, 20], atol=1e-5)
    np.testing.assert_allclose(crop.to_image(middle + [1, 0]), [10, 21], atol=1e-5)
    np.testing.assert_allclose(crop.to_image(middle + [0, 1]), [9, 20], atol=1e-5)


def test_shift_and_zoom_of_a_crop():
    box = np.array([100, 80, 140, 160.0])
    camera = window((0, 0), 2, 2).camera
    crop = Crop.around(camera, box, 120, 1.5, shift=(0.25, -0.5), zoom=2.0)
    np.testing.assert_allclose(crop.to_image(np.array([59.5, 59.5])), [120 + 20, 120 - 40], atol=1e-3)
    np.testing.assert_allclose(crop.to_image(np.array([119.5, 59.5])), [140 + 120, 80], atol=1e-2)


def test_a_crop_is_a_camera_that_looks_at_the_box():
    """A point seen by camera and crop: the crop's camera differs by its rotation only, whatever the pixels are like."""
    camera = Camera(np.array([[300.0, 4, 150], [0, 240, 100], [0, 0, 1]]), 320, 240)
    crop = Crop.around(camera, np.array([200.0, 20, 300, 90]), 64, 1.3)
    np.testing.assert_allclose(crop.to_image(np.full(2, 31.5)), [250, 55], atol=1e-9)
    points = np.random.default_rng(0).normal(size=(20, 3)) * 0.1 + [0.8, -0.3, 2]
    seen = project(crop.K, points @ crop.cam_R_crop)
    np.testing.assert_allclose(crop.to_crop(project(camera.K, points)), seen, atol=1e-9)


def test_a_box_behind_the_camera_is_refused():
    camera = Camera(np.array([[300.0, 0, 150], [0, 300, 100], [0, 0, 1]]), 320, 240)
    with pytest.raises(ValueError, match="beyond what the camera can see"):
        Crop.around(camera, np.array([-9e4, 0.0, 9e4, 90]), 64)


CROPS = [
    window((100.0, 90.0), 120.0, 120),
    window((101.3, 88.8), 60.0, 224),  # enlarged
    window((100.7, 91.4), 140.0, 28),  # reduced five times
    window((99.1, 90.2), 97.0, 84, roll=0.6),  # reduced a little
    window((99.1, 90.2), 110.0, 32, roll=-2.5),
    window((99.1, 90.2), 40.0, 160, roll=1.1),
    Crop.around(
        Camera(np.array([[210.0, 3, 90], [0, 190, 80], [0, 0, 1]]), 201, 181), np.array([60.0, 40, 160, 120]), 90
    ),
    Crop.around(
        Camera(np.array([[210.0, 0, 90], [0, 190, 80], [0, 0, 1]]), 201, 181, "brown", [-0.3, 0.1, 0.001, 0.002]),
        np.array([60.0, 40, 160, 120]), 90,
    ),
]  # fmt: skip


@pytest.mark.parametrize("crop", CROPS)
def test_crop_round_trip(crop):
    pixels = np.random.default_rng(0).uniform(0, crop.pixels, (50, 2))
    np.testing.assert_allclose(crop.to_crop(crop.to_image(pixels)), pixels, atol=1e-5)
    np.testing.assert_allclose(crop.to_image(crop.to_crop(crop.to_image(pixels))), crop.to_image(pixels), atol=1e-5)


@pytest.mark.parametrize("crop", CROPS)
def test_sampled_values_come_from_where_the_bookkeeping_says(crop):
    height, width = 181, 201
    ys, xs = np.mgrid[:height, :width].astype(float)
    image = np.stack([xs, ys, 2 * xs - 1.5 * ys + 75], axis=-1)
    sampled = crop.sample(np.clip(np.round(image), 0, 255).astype(np.uint8)).astype(float)
    rows, columns = np.mgrid[: crop.pixels, : crop.pixels]
    source = crop.to_image(np.stack([columns, rows], axis=-1))
    side = np.ptp(crop.to_image(np.array([[0, 0], [crop.pixels, crop.pixels]])), axis=0).max()
    blurred = 1.5 * max(1, side / crop.pixels)  # an averaged pixel needs this many neighbours
    steep = source @ [2, -1.5] + 75
    inside = ((source > blurred) & (source < [width - 1 - blurred, height - 1 - blurred])).all(-1)
    inside &= (steep > 5 * blurred) & (steep < 255 - 5 * blurred)
    assert inside.mean() > 0.3
    error = sampled - np.concatenate([source, steep[..., None]], axis=-1)
    assert np.abs(error[inside]).max() < 1.6  # grey values; two roundings
    assert np.abs(error[inside].mean(0)).max() < 0.2  # no shift; half a pixel of the image would be 0.5


def test_sampling_the_whole_image_changes_nothing():
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    np.testing.assert_array_equal(window((7.5, 7.5), 16.0, 16).sample(image), image)


@pytest.mark.parametrize("pixels", [32, 16, 8, 4])
def test_reducing_averages_whole_blocks(pixels):
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    block = 32 // pixels
    means = image.reshape(pixels, block, pixels, block, 3).mean((1, 3))
    assert np.abs(window((15.5, 15.5), 32.0, pixels).sample(image) - means).max() <= 1


def test_outside_the_image_is_black():
    crop = window((0.0, 0.0), 20.0, 20).sample(np.full((40, 40, 3), 200, np.uint8))
    assert (crop[:9, :9] == 0).all() and (crop[11:, 11:] == 200).all()


def test_masks_stay_masks():
    mask = np.zeros((60, 60), bool)
    mask[20:40, 10:50] = True
    crop = window((30.0, 30.0), 60.0, 20)
    sampled = crop.sample(mask)
    assert sampled.dtype == np.bool_ and sampled.sum() == pytest.approx(mask.sum() / 9, rel=0.1)
    assert not window((300.0, 300.0), 20.0, 20).sample(mask).any()
