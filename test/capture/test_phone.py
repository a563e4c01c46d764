"""Made-up phone videos are what they say: cameras, masks, times and the file belong together."""

import cv2
import numpy as np
import pytest

from uop3d_core.capture.synthetic.phone import Filming, film_mug
from uop3d_core.capture.video import pictures_of_video
from uop3d_core.config import FrameSettings
from uop3d_core.geometry import inverse_rigid, project
from uop3d_core.raycast import RayCaster

FILMING = Filming(seconds=3.0, rate=6.0, width=160, height=120, samples=2)


@pytest.fixture(scope="module")
def filmed(tmp_path_factory):
    path = tmp_path_factory.mktemp("phone") / "mug.mp4"
    return path, film_mug(path, (7, 1), FILMING)


def test_sizes_and_times(filmed):
    path, film = filmed
    video = cv2.VideoCapture(str(path))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == len(film.times_s) == 18
    assert film.masks.shape == (18, 120, 160) and film.cam_T_obj.shape == (18, 4, 4)
    assert np.diff(film.times_s) == pytest.approx(np.full(17, 1 / 6))
    assert len(pictures_of_video(path, path.parent / "out", FrameSettings(count=8)).chosen) >= 6


def test_masks_are_the_mesh_as_the_cameras_see_it(filmed):
    _, film = filmed
    caster = RayCaster(film.mesh)
    for index in (0, 9, 17):
        seen = caster.render(film.camera, film.cam_T_obj[index]).mask.reshape(120, 160)
        both, either = (seen & film.masks[index]).sum(), (seen | film.masks[index]).sum()
        assert both > 0.97 * either and both > 200


def test_the_camera_walks_around_and_rises(filmed):
    _, film = filmed
    eyes = inverse_rigid(film.cam_T_obj)[:, :3, 3]
    turned = np.abs(np.unwrap(np.arctan2(eyes[:, 1], eyes[:, 0]))[[0, -1]] @ [-1, 1])
    assert 0.8 * 1.6 * 2 * np.pi < turned < 1.6 * 2 * np.pi
    elevation = np.degrees(np.arcsin(eyes[:, 2] / np.linalg.norm(eyes, axis=1)))
    assert elevation[0] < 30 < 38 < elevation[-1]
    middle = project(film.camera.K, film.cam_T_obj[:, :3, 3])
    assert np.abs(middle - [79.5, 59.5]).max() < 40 and np.abs(middle - [79.5, 59.5]).max() > 1  # the hand shakes


def test_a_still_shutter_is_sharper_and_seeds_repeat(tmp_path):
    still = Filming(seconds=0.5, rate=4.0, width=160, height=120, samples=1)
    moving = Filming(seconds=0.5, rate=4.0, width=160, height=120, samples=6, exposure_s=0.2)
    films = [film_mug(tmp_path / f"{i}.mp4", 4, how) for i, how in enumerate((still, still, moving))]
    np.testing.assert_array_equal(films[0].cam_T_obj, films[1].cam_T_obj)
    assert (tmp_path / "0.mp4").read_bytes() == (tmp_path / "1.mp4").read_bytes()
    gradients = []
    for i in (0, 2):
        _, image = cv2.VideoCapture(str(tmp_path / f"{i}.mp4")).read()
        gradients.append(np.abs(np.diff(image.astype(int), axis=1)).mean())
    assert gradients[1] < 0.9 * gradients[0]


def test_a_codec_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match="a video with codec 'nope' cannot be written here"):
        film_mug(tmp_path / "a.mp4", 4, Filming(seconds=1.0, width=64, height=48, codec="nope"))
