"""Images and masks on disk. Crops are in test_conventions.py."""

import numpy as np
import pytest
from PIL import Image

from uop3d_core.images import read_depth, read_mask, read_rgb, write_rgb


@pytest.fixture
def colours():
    return np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


@pytest.mark.parametrize("read", [read_rgb, read_mask])
def test_no_such_file(read, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.png: no such image file"):
        read(tmp_path / "none.png")


@pytest.mark.parametrize("read", [read_rgb, read_mask])
@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n" + bytes(20)])
def test_not_an_image(read, content, tmp_path):
    (tmp_path / "bad.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"bad\.png: not a readable image"):
        read(tmp_path / "bad.png")


@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_truncated_image(ending, tmp_path):
    path = tmp_path / f"cut.{ending}"
    write_rgb(path, np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(ValueError, match="not a readable image"):
        read_rgb(path)


def test_a_folder_is_not_an_image(tmp_path):
    with pytest.raises(ValueError, match="not a readable image"):
        read_rgb(tmp_path)


def test_write_and_read(colours, tmp_path):
    path = tmp_path / "new" / "folder" / "image.png"
    write_rgb(path, colours)
    np.testing.assert_array_equal(read_rgb(path), colours)


def test_grey_is_repeated(colours, tmp_path):
    Image.fromarray(colours[..., 0]).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(read_rgb(tmp_path / "grey.png"), np.repeat(colours[..., :1], 3, axis=2))


def test_alpha_is_dropped(colours, tmp_path):
    alpha = np.random.default_rng(1).integers(0, 256, (5, 7, 1), dtype=np.uint8)
    Image.fromarray(np.concatenate([colours, alpha], axis=2)).save(tmp_path / "alpha.png")
    np.testing.assert_array_equal(read_rgb(tmp_path / "alpha.png"), colours)


def test_palettes_are_resolved(colours, tmp_path):
    exact = np.repeat(np.repeat(colours[:2, :2], 2, 0), 2, 1)
    Image.fromarray(exact).quantize(4).save(tmp_path / "palette.png")
    np.testing.assert_array_equal(read_rgb(tmp_path / "palette.png"), exact)


def test_mask_threshold(tmp_path):
    grey = np.array([[0, 1, 127], [128, 254, 255]], np.uint8)
    Image.fromarray(grey).save(tmp_path / "mask.png")
    mask = read_mask(tmp_path / "mask.png")
    assert mask.dtype == np.bool_
    np.testing.assert_array_equal(mask, [[False, False, False], [True, True, True]])


def test_mask_of_one_bit_and_of_colours(tmp_path):
    truth = np.array([[True, False], [False, True]])
    Image.fromarray(truth).save(tmp_path / "bit.png")
    Image.fromarray(np.repeat(truth[..., None] * np.uint8(255), 3, axis=2)).save(tmp_path / "rgb.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "bit.png"), truth)
    np.testing.assert_array_equal(read_mask(tmp_path / "rgb.png"), truth)


def test_sixteen_bit_mask(tmp_path):
    grey = np.array([[0, 65535], [40000, 20]], np.uint16)
    Image.fromarray(grey).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "deep.png"), grey >= 32768)


def test_depth_in_millimetres_and_metres(tmp_path):
    Image.fromarray(np.array([[0, 1500], [65535, 1]], np.uint16)).save(tmp_path / "depth.png")
    np.testing.assert_allclose(read_depth(tmp_path / "depth.png"), [[np.nan, 1.5], [65.535, 0.001]], rtol=1e-6)
    metres = np.array([[0, np.nan, 1.25]], np.float32)
    np.save(tmp_path / "depth.npy", metres)
    np.testing.assert_array_equal(read_depth(tmp_path / "depth.npy"), metres)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("eight.png", np.ones((4, 4), np.uint8), "eight.png: depth must be 16-bit grey in millimetres, this PNG is L"),
        ("colours.png", np.ones((4, 4, 3), np.uint8), "this PNG is RGB"),
        ("empty.png", np.zeros((4, 4), np.uint16), "empty.png: no pixel has a depth"),
        ("nan.npy", np.full((4, 4), np.nan), "nan.npy: no pixel has a depth"),
        ("whole.npy", np.ones((4, 4), np.int32), "must be float metres of shape .* got int32"),
        ("flat.npy", np.ones(4), r"got float64 \(4,\)"),
        ("depth.exr", np.ones(4), "must be a 16-bit PNG in millimetres or an .npy file"),
        ("text.npy", "no array", "text.npy: not a readable .npy file"),
        ("text.png", "no image", "text.png: not a readable image"),
    ],
)
def test_depth_that_cannot_be_read(name, content, message, tmp_path):
    path = tmp_path / name
    if isinstance(content, str):
        path.write_text(content)
    elif path.suffix == ".png":
        Image.fromarray(content).save(path)
    else:
        with path.open("wb") as file:
            np.save(file, content)
    with pytest.raises(ValueError, match=message):
        read_depth(path)


def test_depth_that_is_not_there(tmp_path):
    for name in ("none.png", "none.npy"):
        with pytest.raises(FileNotFoundError, match="no such depth file"):
            read_depth(tmp_path / name)
