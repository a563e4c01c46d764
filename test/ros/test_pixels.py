"""Images as drivers send them: encodings, padded rows, byte orders, and what is wrong with them."""

from __future__ import annotations

import array

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import CompressedImage, Image, PointCloud2
from sensor_msgs_py import point_cloud2
from std_msgs.msg import Header

from uop3d_ros.pixels import Pixels, points

RGB = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
DEPTH_M = np.linspace(0.3, 2.0, 48).reshape(6, 8)


@pytest.fixture(scope="module")
def pixels() -> Pixels:
    return Pixels()


def message(content: np.ndarray, encoding: str, padding: int = 0, big: bool = False) -> Image:
    height, width = content.shape[:2]
    rows = np.ascontiguousarray(content).view(np.uint8).reshape(height, -1)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=7)
    data = array.array("B", rows.tobytes())
    return Image(height=height, width=width, encoding=encoding, step=rows.shape[1], is_bigendian=int(big), data=data)


@pytest.mark.parametrize("padding", [0, 12])
@pytest.mark.parametrize(
    ("encoding", "content"),
    [
        ("rgb8", RGB),
        ("bgr8", RGB[..., ::-1]),
        ("rgba8", np.concatenate([RGB, np.full((6, 8, 1), 9, np.uint8)], axis=2)),
        ("bgra8", np.concatenate([RGB[..., ::-1], np.full((6, 8, 1), 9, np.uint8)], axis=2)),
    ],
)
def test_colours(pixels: Pixels, encoding: str, content: np.ndarray, padding: int) -> None:
    image = pixels.rgb(message(content, encoding, padding))
    np.testing.assert_array_equal(image, RGB)
    assert image.dtype == np.uint8 and image.flags.c_contiguous


def test_grey(pixels: Pixels) -> None:
    image = pixels.rgb(message(RGB[..., 0], "mono8"))
    np.testing.assert_array_equal(image, np.repeat(RGB[..., :1], 3, axis=2))


def test_mosaic(pixels: Pixels) -> None:
    flat = np.zeros((6, 8), np.uint8)
    flat[::2, ::2] = 200  # red of an RGGB sensor
    image = pixels.rgb(message(flat, "bayer_rggb8"))
    assert image[2:4, 2:6, 0].mean() > 150 and image[2:4, 2:6, 2].max() == 0


@pytest.mark.parametrize("big", [False, True])
def test_depth_in_millimetres(pixels: Pixels, big: bool) -> None:
    millimetres = np.round(DEPTH_M * 1000).astype(">u2" if big else "<u2")
    millimetres[0, 0] = 0
    depth = pixels.depth(message(millimetres, "16UC1", big=big))
    assert np.isnan(depth[0, 0])
    np.testing.assert_allclose(depth[1:], DEPTH_M[1:], atol=6e-4)


@pytest.mark.parametrize("big", [False, True])
def test_depth_in_metres(pixels: Pixels, big: bool) -> None:
    metres = DEPTH_M.astype(">f4" if big else "<f4")
    np.testing.assert_allclose(pixels.depth(message(metres, "32FC1", big=big)), DEPTH_M, rtol=1e-6)


@pytest.mark.parametrize(("encoding", "content"), [("rgb8", RGB), ("bgr8", RGB[..., ::-1])])
def test_bytes_have_no_order(pixels: Pixels, encoding: str, content: np.ndarray) -> None:
    np.testing.assert_array_equal(pixels.rgb(message(content, encoding, padding=12, big=True)), RGB)


def test_other_depth(pixels: Pixels) -> None:
    with pytest.raises(ValueError, match="16UC1 .millimetres. and 32FC1"):
        pixels.depth(message(DEPTH_M, "64FC1"))


def wrong(**changes: object) -> Image:
    image = message(RGB, "rgb8")
    for name, value in changes.items():
        setattr(image, name, value)
    return image


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (wrong(encoding="nv99"), "nv99"),
        (wrong(encoding=""), "cannot be converted"),
        (wrong(width=0, height=0, step=0), "0 x 0"),
        (wrong(data=array.array("B", b"abc")), "truncated"),
        (wrong(step=0), "truncated"),
        (wrong(height=4_000_000_000), "truncated"),
        (wrong(step=1), "truncated"),
    ],
)
def test_what_is_wrong(pixels: Pixels, image: Image, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        pixels.rgb(image)


def test_compressed(pixels: Pixels) -> None:
    content = cv2.imencode(".png", RGB[..., ::-1])[1].tobytes()
    image = pixels.rgb(CompressedImage(format="png", data=array.array("B", content)))
    np.testing.assert_array_equal(image, RGB)
    for damaged in (b"", b"not an image", content[:20]):
        with pytest.raises(ValueError, match="cannot be read"):
            pixels.rgb(CompressedImage(format="png", data=array.array("B", damaged)))


def test_points() -> None:
    cloud = np.array([[0.1, 0.2, 0.3], [np.nan, 0, 1], [1, 2, 3]], np.float32)
    np.testing.assert_allclose(points(point_cloud2.create_cloud_xyz32(Header(), cloud)), cloud[[0, 2]])
    short = point_cloud2.create_cloud_xyz32(Header(), cloud)
    short.data = short.data[:10]
    with pytest.raises(ValueError, match="truncated"):
        points(short)
    with pytest.raises(ValueError, match="cannot be read"):
        points(PointCloud2(height=1, width=0))
