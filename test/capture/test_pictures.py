"""Pictures of videos and photos: upright, sharp, well spread, and bad files that say what is wrong."""

import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from filmed import film_box
from mp4_files import index_first, retimed
from PIL import Image

from uop3d_core.capture.photos import BACKDROP, pictures_of_folder
from uop3d_core.capture.pictures import Picture, Pictures, movement, sharpness, small_grey, well_spread
from uop3d_core.capture.video import pictures_of_video
from uop3d_core.config import FrameSettings
from uop3d_core.images import read_mask, read_rgb

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture(scope="module")
def scene():
    return film_box(views=40, width=160, height=120)


@pytest.fixture(scope="module")
def video(scene, tmp_path_factory):
    return scene.write_video(tmp_path_factory.mktemp("video") / "box.mp4")


def test_blur_lowers_sharpness_and_brightness_does_not(scene):
    image = scene.images[0]
    blurred = cv2.GaussianBlur(image, (0, 0), 2)
    dark = (image * 0.5).astype(np.uint8)
    assert sharpness(small_grey(blurred)) < 0.7 * sharpness(small_grey(image))
    assert sharpness(small_grey(dark)) == pytest.approx(sharpness(small_grey(image)), rel=0.15)


def test_movement_of_a_shift(scene):
    grey = small_grey(scene.images[0])
    shifted = np.roll(grey, 4, axis=1)
    assert movement(grey, grey) < 1e-3
    assert movement(grey, shifted) == pytest.approx(4 / grey.shape[1], rel=0.1)


def test_frames_are_spread_along_the_path_and_not_in_time():
    moved = [0.0] * 50 + [0.1] * 10  # the camera rests for long, then moves
    sharp = np.ones(60)
    sharp[30] = 2
    chosen = well_spread(sharp, moved, 5, 0.01)
    assert len(chosen) == 5 and chosen[0] == 30 and sum(index < 50 for index in chosen) == 1
    assert np.ptp(np.diff(chosen[1:])) <= 1


def test_a_jump_does_not_use_up_the_path():
    moved = [0.0] + [0.02] * 19 + [1.0] + [0.02] * 19  # nothing is found again in the middle
    chosen = well_spread(np.ones(40), moved, 10, 0.01)
    assert len(chosen) >= 8 and 4 <= sum(index < 20 for index in chosen) <= 6


def test_a_camera_that_rests_gives_one_frame():
    assert well_spread([1, 3, 2], [0, 0, 0], 10, 0.01) == [1]


def test_frames_of_a_video(video, tmp_path, scene):
    pictures = pictures_of_video(video, tmp_path, FrameSettings(count=10))
    assert pictures.ordered and len(pictures.chosen) == 10
    assert pictures == Pictures.from_json(pictures.to_json())
    for picture in pictures.chosen:
        image = read_rgb(tmp_path / "images" / picture.file)
        time_s = float(picture.source.split(" at ")[1].removesuffix(" s"))
        assert np.abs(image.astype(int) - scene.images[round(time_s * 10)]).mean() < 12
        assert (picture.width, picture.height) == (160, 120)


def test_large_videos_are_scaled_down(tmp_path):
    path = film_box(views=24, width=480, height=270).write_video(tmp_path / "v.mp4")
    [first, *_] = pictures_of_video(path, tmp_path, FrameSettings(size=240, count=8)).chosen
    assert (first.width, first.height) == (240, 135)


def test_a_rotated_phone(video, tmp_path):
    """The matrix of the track header turns the picture; FFmpeg's own writer cannot set it, so its bytes are changed."""
    content = bytearray(video.read_bytes())
    at = content.index(b"tkhd") + 4 + 40
    turn = np.array([0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30], ">i4").tobytes()  # by 90 degrees
    assert content[at : at + 4] == b"\x00\x01\x00\x00"
    content[at : at + 36] = turn
    (tmp_path / "turned.mp4").write_bytes(content)
    plain = pictures_of_video(video, tmp_path / "a", FrameSettings(count=8))
    turned = pictures_of_video(tmp_path / "turned.mp4", tmp_path / "b", FrameSettings(count=8))
    assert (turned.chosen[0].width, turned.chosen[0].height) == (120, 160)
    upright = read_rgb(tmp_path / "a" / "images" / plain.chosen[0].file)
    other = read_rgb(tmp_path / "b" / "images" / turned.chosen[0].file)
    assert np.abs(np.rot90(upright, -1).astype(int) - other).mean() < 8


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"#EXTM3U\nhttp://example.org/a.ts\n", "not a video file"),
        (b"\x00\x00\x00\x18ftypmp42" + bytes(range(256)) * 20, "the file is cut off"),
        (b"\x00\x00\x00\x08ftyp\x00\x00\x00\x10moov" + bytes(8), "cannot be decoded"),
    ],
)
def test_bad_videos_say_so(tmp_path, content, message):
    path = tmp_path / "bad.mp4"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        pictures_of_video(path, tmp_path / "out", FrameSettings())


def test_times_of_a_variable_rate(video, tmp_path, scene):
    """The first half of the frames is filmed four times as fast as the second."""
    steps = [1] * 20 + [4] * 20
    path = tmp_path / "variable.mp4"
    path.write_bytes(retimed(video.read_bytes(), steps))
    starts = 0.1 * np.concatenate([[0], np.cumsum(steps)])
    pictures = pictures_of_video(path, tmp_path, FrameSettings(count=12, sampling=5))
    times = [float(picture.source.split(" at ")[1].removesuffix(" s")) for picture in pictures.chosen]
    for time_s, picture in zip(times, pictures.chosen, strict=True):
        index = int(np.abs(starts - time_s).argmin())
        assert starts[index] == pytest.approx(time_s, abs=0.011)
        image = read_rgb(tmp_path / "images" / picture.file)
        assert np.abs(image.astype(int) - scene.images[index]).mean() < 12
    assert max(times) > 5 and pictures.notes == ()


def test_a_video_that_was_cut_off(video, tmp_path):
    """Where the index comes first, what there is can be read; where it came last, nothing can."""
    content = index_first(video.read_bytes())
    path = tmp_path / "cut.mp4"
    path.write_bytes(content[: round(0.75 * len(content))])
    pictures = pictures_of_video(path, tmp_path, FrameSettings(count=8))
    assert len(pictures.chosen) >= 6
    [note] = pictures.notes
    assert "cut.mp4 is damaged or cut off: only the first 2.9 s of 3.9 s can be read" in note
    path.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    with pytest.raises(ValueError, match="the file is cut off: its end"):
        pictures_of_video(path, tmp_path, FrameSettings())


@pytest.mark.parametrize("curve", ["hlg", "pq"])
def test_high_dynamic_range_becomes_usual_pictures(curve, tmp_path):
    """Films of 10 bits by HEVC, whose white paper is 203 cd/m2 in the colours of BT.2020."""
    scene = film_box(views=24, width=128, height=96)
    path = DATA / f"box_{curve}_10bit.mp4"
    pictures = pictures_of_video(path, tmp_path, FrameSettings(count=8))
    assert f"is of high dynamic range ({curve.upper()})" in pictures.notes[0]
    assert len(pictures.chosen) >= 6
    for picture in pictures.chosen:
        image = read_rgb(tmp_path / "images" / picture.file).astype(int)
        index = round(float(picture.source.split(" at ")[1].removesuffix(" s")) * 10)
        assert np.abs(image - scene.images[index]).mean() < 18  # untreated, pale pictures are 30 and more off


def test_4k_is_scaled_down(tmp_path):
    scene = film_box(views=8, width=480, height=270)
    large = [cv2.resize(image, (3840, 2160)) for image in scene.images]
    path = replace(scene, images=np.array(large)).write_video(tmp_path / "v.mp4", rate=3.0)
    [first, *_] = pictures_of_video(path, tmp_path, FrameSettings(count=8)).chosen
    assert (first.width, first.height) == (1280, 720)


def test_a_short_video_says_so(scene, tmp_path):
    path = scene.write_video(tmp_path / "short.mp4", rate=60.0)
    with pytest.raises(ValueError, match=r"only 0\.\d s can be read"):
        pictures_of_video(path, tmp_path, FrameSettings())


def photos(scene, folder, count=4):
    folder.mkdir()
    for index in range(count):
        Image.fromarray(scene.images[4 * index]).save(folder / f"{index}.png")
    return folder


def test_photos_are_upright_and_their_focal_length_is_known(scene, tmp_path):
    folder = photos(scene, tmp_path / "in")
    exif = Image.Exif()
    exif[0x0112] = 6  # taken with the phone upright: turn by 90 degrees to see it so
    exif.get_ifd(0x8769)[0xA405] = 26
    Image.fromarray(scene.images[20]).save(folder / "9.jpg", exif=exif)
    *_, last = pictures_of_folder(folder, tmp_path / "out", FrameSettings()).chosen
    assert (last.width, last.height) == (120, 160) and last.source == "9.jpg"
    assert last.focal == pytest.approx(np.hypot(160, 120) * 26 / 43.27)
    assert (
        np.abs(read_rgb(tmp_path / "out" / "images" / last.file) - np.rot90(scene.images[20], -1).astype(int)).mean()
        < 8
    )


def test_transparency_is_a_mask(scene, tmp_path):
    folder = photos(scene, tmp_path / "in")
    alpha = np.where(scene.masks[0], 255, 0).astype(np.uint8)
    Image.fromarray(np.dstack([scene.images[0], alpha])).save(folder / "0.png")
    first = pictures_of_folder(folder, tmp_path / "out", FrameSettings()).chosen[0]
    assert (read_mask(tmp_path / "out" / "given" / f"{first.name}.png") == scene.masks[0]).all()
    assert abs(int(read_rgb(tmp_path / "out" / "images" / first.file)[0, 0, 0]) - BACKDROP) < 3


def test_grey_photos_of_8_and_16_bits(scene, tmp_path):
    folder = photos(scene, tmp_path / "in")
    grey = scene.images[30, ..., 1]
    Image.fromarray(grey).save(folder / "8.png")
    Image.fromarray(scene.images[35, ..., 1].astype(np.uint16) * 200).save(folder / "9.png")
    pictures = pictures_of_folder(folder, tmp_path / "out", FrameSettings())
    for picture in pictures.chosen[-2:]:
        image = read_rgb(tmp_path / "out" / "images" / picture.file).astype(int)
        assert np.ptp(image, axis=2).max() <= 2 and image.std() > 20


def test_photos_taken_twice_are_left_out(scene, tmp_path):
    folder = photos(scene, tmp_path / "in")
    shutil.copy(folder / "1.png", folder / "1_again.png")
    pictures = pictures_of_folder(folder, tmp_path / "out", FrameSettings())
    assert len(pictures.chosen) == 4 and "1 photos were left out" in pictures.notes[0]


def test_blurred_photos_are_left_out(scene, tmp_path):
    folder = photos(scene, tmp_path / "in", 6)
    Image.fromarray(cv2.GaussianBlur(scene.images[33], (0, 0), 9)).save(folder / "9.png")
    pictures = pictures_of_folder(folder, tmp_path / "out", FrameSettings())
    assert len(pictures.chosen) == 6 and pictures.notes == ("blurred photos were left out: 9.png",)
    assert {path.name for path in (tmp_path / "out" / "images").iterdir()} == {p.file for p in pictures.chosen}
    assert len(pictures_of_folder(folder, tmp_path / "all", FrameSettings(blur=0)).chosen) == 7


def test_blurred_frames_are_left_out(scene, tmp_path):
    """Where a whole stretch of the film is blurred, not even its sharpest frame is taken."""
    images = np.array([cv2.GaussianBlur(m, (0, 0), 6) if 12 <= i < 20 else m for i, m in enumerate(scene.images)])
    path = replace(scene, images=images).write_video(tmp_path / "v.mp4")
    chosen = pictures_of_video(path, tmp_path, FrameSettings(count=20)).chosen
    times = [round(float(picture.source.split(" at ")[1].removesuffix(" s")) * 10) for picture in chosen]
    assert len(times) > 12 and not any(12 <= time < 20 for time in times)


def test_names_of_photos_are_not_used_as_paths(scene, tmp_path):
    folder = photos(scene, tmp_path / "in")
    (tmp_path / "secret.png").write_bytes((folder / "0.png").read_bytes())
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    (folder / "..\\..\\evil.png").write_bytes((folder / "2.png").read_bytes())
    pictures = pictures_of_folder(folder, tmp_path / "out", FrameSettings())
    assert "link.png" not in [picture.source for picture in pictures.chosen]
    assert {path.name for path in (tmp_path / "out" / "images").iterdir()} == {p.file for p in pictures.chosen}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out", "secret.png"]


def test_bad_photos_say_so(scene, tmp_path):
    folder = photos(scene, tmp_path / "in")
    (folder / "2.png").write_bytes(b"\x89PNG nothing")
    with pytest.raises(ValueError, match=r"2\.png: not a readable image"):
        pictures_of_folder(folder, tmp_path / "out", FrameSettings())
    with pytest.raises(ValueError, match="take 20 or more"):
        pictures_of_folder(photos(scene, tmp_path / "few", 2), tmp_path / "out2", FrameSettings())
    masks = tmp_path / "masks"
    masks.mkdir()
    with pytest.raises(FileNotFoundError, match="no mask of 0.png"):
        pictures_of_folder(photos(scene, tmp_path / "x"), tmp_path / "out3", FrameSettings(), masks)
    Image.fromarray(np.zeros((100, 100), np.uint8)).save(masks / "0.png")
    with pytest.raises(ValueError, match="not the proportions"):
        pictures_of_folder(photos(scene, tmp_path / "y"), tmp_path / "out4", FrameSettings(), masks)


def test_a_picture_knows_its_file():
    assert Picture("0003", "x.png", 4, 3, 1.0).file == "0003.jpg"
