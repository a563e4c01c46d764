"""Gravity in photos of phones: by hand, damaged, and in a world of cameras."""

import struct

import numpy as np
import pytest
from PIL import Image
from scenes import look_at

from uop3d_core.capture.gravity import up_of_photo, up_of_world
from uop3d_core.capture.photos import pictures_of_folder
from uop3d_core.capture.pictures import Pictures
from uop3d_core.config import FrameSettings


def note(gravity, tag=8, order=">", number=3):
    """A maker note as phones write it, with two entries."""
    mark = {">": b"MM", "<": b"II"}[order]
    head = b"Apple iOS\x00\x00\x01" + mark + struct.pack(f"{order}H", 2)
    first = struct.pack(f"{order}HHIi", 1, 9, 1, 14)
    values = b"".join(struct.pack(f"{order}ii", round(10_000 * v), 10_000) for v in gravity)
    return head + first + struct.pack(f"{order}HHII", tag, 10, number, len(head) + 24) + values


def photo(maker_note=None, orientation=None, size=(40, 30)):
    image, exif = Image.new("RGB", size), Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    if maker_note is not None:
        exif.get_ifd(0x8769)[0x927C] = maker_note
    return image, exif


def up_of(tmp_path, *args):
    image, exif = photo(*args)
    image.save(tmp_path / "p.jpg", exif=exif)
    with Image.open(tmp_path / "p.jpg") as again:
        return up_of_photo(again)


HELD = {
    "upright": ([0, -1, 0], 6, [0, -1, 0]),
    "on its left side": ([-1, 0, 0], 1, [0, -1, 0]),
    "on its right side": ([1, 0, 0], 3, [0, -1, 0]),
    "upside down": ([0, 1, 0], 8, [0, -1, 0]),
    "over a table": ([0, 0, -1], 6, [0, 0, -1]),
    "upright, looking down by 45 degrees": ([0, -(0.5**0.5), -(0.5**0.5)], 6, [0, -(0.5**0.5), -(0.5**0.5)]),
}


@pytest.mark.parametrize("how", HELD)
@pytest.mark.parametrize("order", "<>")
def test_how_a_phone_is_held(tmp_path, how, order):
    """Cameras have y down and z forward: up is -y where the phone is held level, and -z where it looks down."""
    gravity, orientation, up = HELD[how]
    np.testing.assert_allclose(up_of(tmp_path, note(gravity, order=order), orientation), up, atol=1e-4)


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        b"Nikon\x00" + bytes(40),
        note([0, -1, 0], tag=9),
        note([0, -1.4, 0]),  # the hand moved
        note([0, -1, 0], number=2),
        note([0, -1, 0])[:-5],
        note([0, -1, 0])[:-4] + bytes(4),  # a fraction of nothing
        note([0, -1, 0])[:20],
        b"Apple iOS\x00\x00\x01MM\xff\xff",
    ],
)
def test_what_tells_nothing(tmp_path, wrong):
    assert up_of(tmp_path, wrong, 6) is None


def test_it_goes_with_the_pictures(tmp_path):
    (tmp_path / "in").mkdir()
    for index in range(3):
        _, exif = photo(note([0, -1, 0]), 6)
        pixels = np.random.default_rng(index).integers(0, 255, (30, 40, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "in" / f"{index}.jpg", exif=exif)
    pictures = pictures_of_folder(tmp_path / "in", tmp_path / "out", FrameSettings())
    assert [picture.up for picture in pictures.chosen] == [pytest.approx((0, -1, 0))] * 3
    assert Pictures.from_json(pictures.to_json()) == pictures


def test_up_of_the_world():
    cameras = {str(i): look_at([3 * np.cos(i), 3 * np.sin(i), 1.5]) for i in range(6)}
    true = np.array([0.0, 0.6, 0.8])
    ups = {name: T[:3, :3] @ true for name, T in cameras.items()}
    ups["2"] = np.array([1.0, 0, 0])  # one is wrong
    np.testing.assert_allclose(up_of_world({**ups, "elsewhere": true}, cameras), true, atol=1e-12)
    assert up_of_world({name: ups[name] for name in "01"}, cameras) is None
    rng = np.random.default_rng(0)
    some = rng.normal(size=(6, 3))
    some /= np.linalg.norm(some, axis=1, keepdims=True)
    assert up_of_world(dict(zip(cameras, some, strict=True)), cameras) is None
