"""The labels of made-up captures are true, and nothing but the seed decides what they show."""

import json

import cv2
import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from uop3d_core.capture.folder import read_captures
from uop3d_core.capture.synthetic import make_mug, make_mugs, write_category
from uop3d_core.capture.synthetic.mug import Part, build_mug, random_shape
from uop3d_core.capture.synthetic.orbit import ELEVATIONS, random_camera, random_orbit
from uop3d_core.capture.synthetic.scene import random_scene
from uop3d_core.geometry import inverse_rigid, project, rotation_angle, transform
from uop3d_core.raycast import RayCaster
from uop3d_core.types import Sim3

SUPERSAMPLED = 4


@pytest.fixture(scope="module")
def plain():
    """A mug on an empty table."""
    return make_mug(3, views=8, pixels=96, clutter=False)


@pytest.fixture(scope="module")
def cluttered():
    return make_mug(3, views=8, pixels=64, clutter=True)


def silhouette(mug, frame):
    """Mask of the canonical mesh, filled triangle by triangle, without ray casting."""
    world = mug.canonical_T_world.inverse().apply(mug.mesh.vertices)
    pixels = project(frame.camera.K, transform(frame.cam_T_world, world))
    triangles = np.round((pixels + 0.5) * SUPERSAMPLED - 0.5).astype(np.int32)[mug.mesh.faces]
    canvas = np.zeros((frame.camera.height * SUPERSAMPLED, frame.camera.width * SUPERSAMPLED), dtype=np.uint8)
    for triangle in triangles:
        cv2.fillConvexPoly(canvas, triangle, 1)
    blocks = canvas.reshape(frame.camera.height, SUPERSAMPLED, frame.camera.width, SUPERSAMPLED)
    return blocks.mean((1, 3)) >= 0.5


def same(a, b):
    pairs = zip(a.capture.frames, b.capture.frames, strict=True)
    return all((x.image == y.image).all() and (x.cam_T_world == y.cam_T_world).all() for x, y in pairs)


def test_mesh_is_canonical(plain):
    low, high = plain.mesh.vertices.min(0), plain.mesh.vertices.max(0)
    np.testing.assert_allclose(low, -high, atol=1e-12)
    assert plain.mesh.diameter == pytest.approx(1)


def test_masks_show_the_mesh(plain):
    for frame in plain.capture.frames:
        expected = silhouette(plain, frame)
        assert (expected & frame.mask).sum() / (expected | frame.mask).sum() > 0.95


def test_clutter_hides_parts_never_all(cluttered):
    for frame in cluttered.capture.frames:
        expected = silhouette(cluttered, frame)
        assert (frame.mask & ~cv2.dilate(expected.astype(np.uint8), np.ones((3, 3))).astype(bool)).sum() == 0
        assert frame.mask.sum() > 0.4 * expected.sum()


def test_frames_are_complete(plain):
    assert len(plain.capture.frames) == 8
    for frame in plain.capture.frames:
        assert frame.image.shape == (96, 96, 3)
        assert frame.image.std() > 5
        border = np.concatenate([frame.mask[[0, -1]].ravel(), frame.mask[:, [0, -1]].ravel()])
        assert not border.any(), "the mug is in the picture as a whole"


def test_images_are_upright_and_from_above(plain):
    canonical_R_world = plain.canonical_T_world.R
    for frame in plain.capture.frames:
        world_T_cam = inverse_rigid(frame.cam_T_world)
        image_up = canonical_R_world @ -world_T_cam[:3, 1]
        assert image_up[2] > 0.3
        eye = plain.canonical_T_world.apply(world_T_cam[:3, 3])
        assert eye[2] > 0.2


def test_same_seed_same_bytes():
    first, again = (make_mug(5, views=2, pixels=48) for _ in range(2))
    assert same(first, again)
    assert (first.canonical_T_world.matrix == again.canonical_T_world.matrix).all()
    assert (first.mesh.vertices == again.mesh.vertices).all()


def test_other_seed_other_mug():
    mugs = [*make_mugs(2, seed=1, views=2, pixels=48), *make_mugs(2, seed=2, views=2, pixels=48)]
    assert [mug.capture.name for mug in mugs] == ["mug_00", "mug_01", "mug_00", "mug_01"]
    assert not any(same(a, b) for index, a in enumerate(mugs) for b in mugs[:index])
    angles = [rotation_angle(mug.canonical_T_world.R) for mug in mugs]
    assert np.ptp(angles) > 0.1, "every world has a gauge of its own"


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_shapes(seed):
    """Any mug: two closed bodies, the handle on +x and nowhere in the cavity, the cavity open to the top."""
    rng = np.random.default_rng(seed)
    shape = random_shape(rng)
    mug = build_mug(shape)
    bodies = trimesh.Trimesh(mug.mesh.vertices, mug.mesh.faces, process=False).split(only_watertight=False)
    assert len(bodies) == 2
    assert all(body.is_watertight and body.is_winding_consistent and body.volume > 0 for body in bodies)
    handle = mug.mesh.vertices[np.unique(mug.mesh.faces[mug.parts == Part.HANDLE])]
    others = mug.mesh.vertices[np.unique(mug.mesh.faces[mug.parts != Part.HANDLE])]
    assert handle[:, 0].mean() > 0.1
    assert handle[:, 0].max() > others[:, 0].max() + 0.03
    assert np.abs(others[:, 1]).max() == pytest.approx((others[:, 0].max() - others[:, 0].min()) / 2, rel=1e-3)
    level = (handle[:, 2] - mug.z_bottom) / mug.height
    assert level.min() > 0
    assert level.max() < 1
    inner = (shape.radius(level * shape.height) - shape.wall) * mug.radius
    assert (np.hypot(handle[:, 0] - mug.axis_x, handle[:, 1]) > inner - 1e-9).all()
    down = RayCaster(mug.mesh).first_hits(np.array([mug.axis_x, 0, 1.0]), np.array([[0.0, 0, -1]]))
    assert 1.0 - down.t[0] == pytest.approx(mug.z_bottom + shape.wall * mug.radius, abs=1e-5)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_orbits(seed):
    rng = np.random.default_rng(seed)
    camera = random_camera(rng, 256)
    assert 0.9 <= camera.K[0, 0] / 256 <= 1.6
    obj_T_cam = inverse_rigid(random_orbit(rng, camera, 24))
    eye = obj_T_cam[:, :3, 3]
    elevation = np.degrees(np.arcsin(eye[:, 2] / np.linalg.norm(eye, axis=1)))
    assert elevation.min() > ELEVATIONS[0] - 1e-6
    assert elevation.max() < ELEVATIONS[1] + 1e-6
    azimuth = np.sort(np.arctan2(eye[:, 1], eye[:, 0]))
    assert np.diff(azimuth, append=azimuth[0] + 2 * np.pi).max() < np.radians(60), "seen from all sides"
    off_centre = np.arccos(np.einsum("nd,nd->n", obj_T_cam[:, :3, 2], -eye) / np.linalg.norm(eye, axis=1))
    assert off_centre.max() < np.radians(12)


def test_boxes_stand_on_the_table_beside_the_mug():
    for seed in range(10):
        scene = random_scene(np.random.default_rng(seed), clutter=True)
        boxes = scene.caster.mesh.vertices[np.unique(scene.caster.mesh.faces[scene.parts == Part.CLUTTER])]
        assert boxes[:, 2].min() == pytest.approx(scene.mug.z_bottom)
        assert boxes[:, 2].max() < scene.mug.z_bottom + 0.51 * scene.mug.height
        assert np.hypot(boxes[:, 0], boxes[:, 1]).min() > 0.5
        solid = trimesh.Trimesh(scene.caster.mesh.vertices, scene.caster.mesh.faces[scene.parts == Part.CLUTTER])
        assert solid.is_winding_consistent
        assert solid.volume > 0


def test_written_category(tmp_path):
    write_category(tmp_path / "mug", 3, seed=4, views=3, pixels=40)
    captures = read_captures(tmp_path / "mug")
    assert [capture.name for capture in captures] == ["mug_00", "mug_01", "mug_02"]
    labels = json.loads((tmp_path / "mug" / "labels.json").read_text())
    assert labels["category"] == "mug"
    assert labels["inner_split"] == {"train": ["mug_00", "mug_01"], "test": ["mug_02"]}
    for capture, mug in zip(captures, make_mugs(3, seed=4, views=3, pixels=40), strict=True):
        label = labels["instances"][capture.name]
        canonical_T_world = Sim3.from_matrix(np.array(label["canonical_T_world"]))
        np.testing.assert_allclose(canonical_T_world.matrix, mug.canonical_T_world.matrix, atol=1e-9)
        assert list(label["frames"]) == ["0000", "0001", "0002"]
        for read, made in zip(capture.frames, mug.capture.frames, strict=True):
            np.testing.assert_allclose(read.cam_T_world, made.cam_T_world, atol=1e-9)
            np.testing.assert_array_equal(read.mask, made.mask)
    with pytest.raises(FileExistsError, match="not an empty folder"):
        write_category(tmp_path / "mug", 1, seed=4)


def test_viewing_angles_follow_the_source_of_eth80(tmp_path):
    """Azimuth 0: the handle points to the image's right; 90: to the viewer."""
    write_category(tmp_path / "mug", 1, seed=6, views=12, pixels=64)
    (capture,) = read_captures(tmp_path / "mug")
    label = json.loads((tmp_path / "mug" / "labels.json").read_text())["instances"]["mug_00"]
    canonical_T_world = Sim3.from_matrix(np.array(label["canonical_T_world"]))
    for frame in capture.frames:
        front = frame.cam_T_world[:3, :3] @ canonical_T_world.R.T @ [1, 0, 0]
        azimuth = np.radians(label["frames"][frame.name]["nominal_azimuth"])
        assert np.dot([front[0], -front[2]], [np.cos(azimuth), np.sin(azimuth)]) > 0.3
