"""Features of made-up points on an object and around it, of which one or the other moves."""

import numpy as np
import pytest
from scenes import look_at

pytest.importorskip("pycolmap")

import pycolmap as colmap

from uop3d_core.capture.object import ObjectRegion
from uop3d_core.capture.sfm import Reconstruction
from uop3d_core.capture.stillness import Stillness, stillness
from uop3d_core.geometry import project, transform
from uop3d_core.types import Camera

VIEWS, POINTS = 10, 60
K = np.array([[400.0, 0, 199.5], [0, 400, 149.5], [0, 0, 1]])
CAMERA = Camera(K, 400, 300)


def turn(angle):
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0, 0], [s, c, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])


def filmed(tmp_path, object_turn=0.0, noise=0.3):
    """Database, cameras and masks of ten views over 90 degrees; the object turns in the middle of them."""
    rng = np.random.default_rng(0)
    on = rng.uniform(-0.4, 0.4, (POINTS, 3))
    around = rng.uniform(-1.5, 1.5, (400, 3)) * [1, 1, 0.2]
    around = around[np.linalg.norm(around[:, :2], axis=1) > 0.9][: 2 * POINTS]
    cameras = [look_at([3 * np.cos(a), 3 * np.sin(a), 1.5]) for a in np.linspace(0, np.pi / 2, VIEWS)]
    pixels, masks = [], {}
    for index, cam_T_world in enumerate(cameras):
        moved = transform(turn(object_turn * (index >= VIEWS / 2)), on)
        uv = project(K, transform(cam_T_world, np.concatenate([moved, around])))
        pixels.append(uv + rng.normal(size=uv.shape) * noise)
        ys, xs = np.mgrid[:300, :400]
        masks[f"{index:04d}"] = np.hypot(xs - 199.5, ys - 149.5) < 75
    path = tmp_path / "features0.db"
    write(path, pixels, rng)
    names = [f"{index:04d}" for index in range(VIEWS)]
    none = np.zeros((0, 3))
    found = Reconstruction(
        dict.fromkeys(names, CAMERA), dict(zip(names, cameras, strict=True)), none, none.astype(np.uint8),
        np.zeros((0, 2), int), 0.5,
    )  # fmt: skip
    return path, found, masks


def write(path, pixels, rng):
    with colmap.Database.open(path) as base:
        camera = base.write_camera(colmap.Camera(model="PINHOLE", width=400, height=300, params=[400, 400, 200, 150]))
        ids = []
        for index, uv in enumerate(pixels):
            ids.append(base.write_image(colmap.Image(name=f"{index:04d}.jpg", camera_id=camera)))
            base.write_keypoints(ids[-1], (uv + 0.5).astype(np.float32))
        for a in range(VIEWS):
            for b in range(a + 1, min(a + 5, VIEWS)):
                rows = np.repeat(np.arange(len(pixels[0]))[:, None], 2, axis=1)
                wrong = rng.random(len(rows)) < 0.2
                rows[wrong, 1] = rng.permutation(len(rows))[wrong]
                base.write_matches(ids[a], ids[b], rows.astype(np.uint32))


REGION = ObjectRegion(
    np.zeros(3), np.eye(3), np.full(3, 0.5), np.zeros((0, 3)), np.zeros(0, int), np.zeros(0, int), 3.0, None
)


@pytest.mark.parametrize("masked", [True, False])
def test_what_keeps_still(tmp_path, masked):
    database, found, masks = filmed(tmp_path)
    still = stillness(database, found, REGION, masks if masked else {})
    assert still.object_pairs > 20 and still.around_pairs > 20
    assert still.share == 1 and still.kept


def test_an_object_that_is_turned_half_way(tmp_path):
    database, found, masks = filmed(tmp_path, np.radians(60))
    still = stillness(database, found, REGION, masks)
    across = 4 + 3 + 2 + 1  # pairs with one view before and one after; in the rest nothing moved
    assert 7 <= still.object_moved <= across and still.around_moved == 0
    assert "the object moved while it was filmed: in 2" in still.reason


def test_cameras_that_followed_the_object(tmp_path):
    database, found, masks = filmed(tmp_path, np.radians(25))
    follow = {
        name: cam_T_world @ turn(np.radians(25) * (int(name) >= VIEWS / 2))
        for name, cam_T_world in found.cam_T_world.items()
    }
    found = Reconstruction(found.cameras, follow, found.points, found.colours, found.seen, found.error)
    still = stillness(database, found, REGION, masks)
    assert still.around_moved == 10 and still.object_moved == 0 and not still.kept


def test_nothing_is_said_of_few_pairs():
    assert Stillness(5, 5, 0, 0).share is None and Stillness(5, 5, 0, 0).kept
    assert Stillness(10, 1, 10, 5).share == 0.5
