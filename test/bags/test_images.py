"""Pixels of image messages, in all encodings, with padded rows and either byte order."""

import io
import struct
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from PIL import Image

from uop3d_core.bags.images import depth_of, is_depth, rgb_of

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 255, (6, 8, 3), dtype=np.uint8)
ALPHA = np.full((6, 8, 1), 7, np.uint8)
GREY = RNG.integers(0, 255, (6, 8), dtype=np.uint8)


def message(pixels: np.ndarray, encoding: str, padding: int = 0, big: bool = False) -> SimpleNamespace:
    if big:
        pixels = pixels.astype(pixels.dtype.newbyteorder(">"))
    rows = np.ascontiguousarray(pixels).reshape(len(pixels), -1).view(np.uint8)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=99)
    return SimpleNamespace(
        height=pixels.shape[0], width=pixels.shape[1], encoding=encoding, is_bigendian=int(big), step=rows.shape[1],
        data=rows.reshape(-1),
    )  # fmt: skip


def packed(data: bytes, form: str) -> SimpleNamespace:
    return SimpleNamespace(format=form, data=np.frombuffer(data, np.uint8))


def encoded(pixels: np.ndarray, kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize(
    ("pixels", "encoding"),
    [
        (RGB, "rgb8"),
        (RGB[:, :, ::-1], "bgr8"),
        (RGB[:, :, ::-1], "8UC3"),
        (np.concatenate([RGB, ALPHA], 2), "rgba8"),
        (np.concatenate([RGB[:, :, ::-1], ALPHA], 2), "bgra8"),
    ],
)
def test_colours(pixels: np.ndarray, encoding: str, padding: int):
    np.testing.assert_array_equal(rgb_of(message(pixels, encoding, padding)), RGB)


@pytest.mark.parametrize("big", [False, True])
def test_grey(big: bool):
    np.testing.assert_array_equal(rgb_of(message(GREY, "mono8"))[:, :, 1], GREY)
    wide = (GREY.astype(np.uint16) << 8) + 3
    np.testing.assert_array_equal(rgb_of(message(wide, "mono16", 4, big))[:, :, 2], GREY)


@pytest.mark.parametrize(("encoding", "first"), [("bayer_rggb8", 0), ("bayer_bggr8", 2)])
def test_bayer(encoding: str, first: int):
    mosaic = np.zeros((6, 8), np.uint8)
    mosaic[::2, ::2] = 200  # only the pixels of the first colour are bright
    seen = rgb_of(message(mosaic, encoding))[2:4, 2:6].astype(int)
    assert seen[..., first].min() >= 100 and seen[..., 2 - first].max() == seen[..., 1].max() == 0


@pytest.mark.parametrize(
    ("encoding", "code"), [("yuv422_yuy2", cv2.COLOR_RGB2YUV_YUY2), ("uyvy", cv2.COLOR_RGB2YUV_UYVY)]
)
def test_yuv(encoding: str, code: int):
    flat = np.full((6, 8, 3), (180, 90, 40), np.uint8)
    assert np.abs(rgb_of(message(cv2.cvtColor(flat, code), encoding)).astype(int) - flat).max() <= 4


@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_compressed(kind: str):
    smooth = cv2.resize(RGB, (64, 48))
    seen = rgb_of(packed(encoded(smooth, kind), f"bgr8; {kind} compressed bgr8"))
    assert np.abs(seen.astype(int) - smooth).mean() < (0.1 if kind == "png" else 12)


def test_depth():
    metres = np.array([[0.5, np.nan], [np.inf, -1]], np.float32)
    np.testing.assert_array_equal(depth_of(message(metres, "32FC1", 4)), [[np.float32(0.5), np.nan], [np.nan, np.nan]])
    np.testing.assert_array_equal(depth_of(message(metres, "32FC1", 0, True))[0], [np.float32(0.5), np.nan])
    millimetres = np.array([[1500, 0]], np.uint16)
    np.testing.assert_array_equal(depth_of(message(millimetres, "16UC1", 0, True)), [[np.float32(1.5), np.nan]])


def test_compressed_depth():
    header = struct.pack("<iff", 0, 0, 0)
    png = encoded(np.array([[1500, 0]], np.uint16), "png")
    form = "16UC1; compressedDepth png"
    np.testing.assert_array_equal(depth_of(packed(header + png, form)), [[np.float32(1.5), np.nan]])
    a, b = 200.0, -20.0
    coded = np.array([[round(a / 0.8 + b), 0]], np.uint16)
    header = struct.pack("<iff", 0, a, b)
    seen = depth_of(packed(header + encoded(coded, "png"), "32FC1; compressedDepth png"))
    assert seen[0, 0] == pytest.approx(0.8, rel=0.01) and np.isnan(seen[0, 1])


def test_what_is_depth():
    assert is_depth(message(GREY.astype(np.uint16), "16UC1")) and not is_depth(message(RGB, "rgb8"))
    assert is_depth(packed(b"", "16UC1; compressedDepth")) and not is_depth(packed(b"", "jpeg"))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"encoding": "rainbow"}, "encoding 'rainbow' is not known"),
        ({"height": 0}, "8 x 0 pixels"),
        ({"width": 2**31}, "step is 24"),
        ({"height": 2**31}, "the image is cut off"),
        ({"step": 3}, "step is 3, but 8 pixels of rgb8 take 24 bytes"),
        ({"data": np.zeros(100, np.uint8)}, "100 bytes, but 6 rows of 24 are 144: the image is cut off"),
        ({"data": np.zeros(0, np.uint8)}, "0 bytes"),
    ],
)
def test_broken_images(change: dict, reason: str):
    broken = message(RGB, "rgb8")
    vars(broken).update(change)
    with pytest.raises(ValueError, match=reason):
        rgb_of(broken)


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (packed(b"", "jpeg"), "has no data"),
        (packed(b"abcdef", "jpeg"), "cannot be read"),
        (packed(encoded(RGB, "png")[:60], "png"), "cannot be read"),
        (packed(b"x" * 20, "16UC1; compressedDepth png"), "this is depth"),
    ],
)
def test_broken_compressed_images(broken: SimpleNamespace, reason: str):
    with pytest.raises(ValueError, match=reason):
        rgb_of(broken)


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (message(RGB, "rgb8"), "it must be 16UC1"),
        (packed(b"x", "jpeg"), "only compressedDepth keeps"),
        (packed(b"x" * 40, "16UC1; compressedDepth rvl"), "RVL is not known"),
        (packed(b"x" * 12, "16UC1; compressedDepth png"), "has no data"),
        (packed(b"x" * 12 + encoded(RGB, "png"), "16UC1; compressedDepth png"), "no 16-bit grey image"),
    ],
)
def test_broken_depth(broken: SimpleNamespace, reason: str):
    with pytest.raises(ValueError, match=reason):
        depth_of(broken)
