"""A made-up plug-in for local features: cameras come from what it says, once, and what it may not say is refused."""

from importlib.metadata import EntryPoint

import cv2
import numpy as np
import pytest
from filmed import film_box

pytest.importorskip("pycolmap")

from uop3d_core.capture.features import Found, create_features, mutual_matches
from uop3d_core.capture.photos import pictures_of_folder
from uop3d_core.capture.sfm import read_reconstruction, reconstruct
from uop3d_core.config import CameraSettings, FrameSettings
from uop3d_core.geometry import closest_rotation, rotation_error

SETTINGS = CameraSettings(threads=1)


class Toy:
    """OpenCV's SIFT as if it were somebody's network; counts how often it is asked."""

    def __init__(self, where):
        self.where, self.found, self.matched = where, 0, 0
        self._sift = cv2.SIFT_create(600)

    def find(self, image):
        self.found += 1
        points, descriptors = self._sift.detectAndCompute(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), None)
        order = np.argsort([-point.size for point in points])
        return np.array([point.pt for point in points])[order], np.sqrt(descriptors)[order]

    def match(self, first, second):
        self.matched += 1
        return mutual_matches(first.descriptors, second.descriptors)


@pytest.fixture(scope="module")
def scene():
    return film_box(views=7, turn=0.28)


@pytest.fixture
def pictures(scene, tmp_path):
    (tmp_path / "out" / "work").mkdir(parents=True)
    return pictures_of_folder(scene.write(tmp_path / "photos"), tmp_path / "out", FrameSettings())


def run(pictures, tmp_path, features):
    out = tmp_path / "out"
    reconstruct(pictures, out, out / "work", SETTINGS, features=features)


def test_it_is_an_entry_point(monkeypatch):
    point = EntryPoint("toy", f"{__name__}:Toy", "uop3d.features")
    monkeypatch.setattr(EntryPoint, "load", lambda self: Toy)
    monkeypatch.setattr("uop3d_core.plugins.entry_points", lambda group: [point] if group == point.group else [])
    assert create_features("toy:weights.bin").where == "weights.bin"
    with pytest.raises(ValueError, match="unknown features 'magic'; known are toy"):
        create_features("magic")


def test_cameras_by_a_plug_in(scene, pictures, tmp_path):
    toy = Toy("")
    run(pictures, tmp_path, toy)
    found = read_reconstruction(tmp_path / "out" / "work" / "model")
    assert len(found.names) == 7 and (toy.found, toy.matched) == (7, 21)
    true, got = scene.cam_T_world, np.array([found.cam_T_world[name] for name in found.names])
    turn = closest_rotation((np.swapaxes(true[:, :3, :3], 1, 2) @ got[:, :3, :3]).sum(0))
    assert np.degrees(rotation_error(true[:, :3, :3], got[:, :3, :3] @ turn.T)).max() < 1
    camera = found.cameras["0000"]
    assert camera.K[:2, 2] == pytest.approx(scene.K[:2, 2]) and camera.K[0, 0] == pytest.approx(scene.K[0, 0], rel=0.05)
    run_again = tmp_path / "out" / "work" / "model"
    run_again.rename(run_again.with_name("old"))
    run(pictures, tmp_path, toy)
    assert (toy.found, toy.matched) == (7, 21)  # all is remembered


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ((np.zeros((5, 3)), np.zeros((5, 8))), "finite pixels"),
        ((np.zeros((5, 2)), np.zeros((4, 8))), "finite pixels"),
        ((np.full((5, 2), np.nan), np.zeros((5, 8))), "finite pixels"),
    ],
)
def test_bad_features_are_refused(pictures, tmp_path, found, message):
    toy = Toy("")
    toy.find = lambda image: found
    with pytest.raises(ValueError, match=rf"features of 0000\.jpg: the plug-in must give {message}"):
        run(pictures, tmp_path, toy)


@pytest.mark.parametrize(
    "rows", [np.array([[0, 10_000]]), np.array([[-1, 0]]), np.zeros((3, 3), int), np.zeros((2, 2))]
)
def test_bad_matches_are_refused(pictures, tmp_path, rows):
    toy = Toy("")
    toy.match = lambda first, second: rows
    with pytest.raises(ValueError, match=r"matches of 0000\.jpg and 0001\.jpg: the plug-in must give pairs"):
        run(pictures, tmp_path, toy)


def test_mutual_matches():
    rng = np.random.default_rng(0)
    first = rng.normal(size=(20, 16))
    order = rng.permutation(20)
    assert (mutual_matches(first, 3 * first[order] + 0.01) == np.stack([np.arange(20), np.argsort(order)], 1)).all()
    assert mutual_matches(first[:1], first).shape == (0, 2)
    assert Found(np.zeros((0, 2)), np.zeros((0, 4)), (4, 3)).size == (4, 3)
