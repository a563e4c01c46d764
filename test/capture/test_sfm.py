"""Cameras, object and masks of a box filmed from all around, against the truth."""

import shutil
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from filmed import EXTENTS, film_box

pytest.importorskip("pycolmap")

from PIL import Image

from uop3d_core.capture.masks import cut_out, judge, segmented, stood_out
from uop3d_core.capture.object import find_object, object_of_masks
from uop3d_core.capture.photos import pictures_of_folder
from uop3d_core.capture.sfm import read_reconstruction, reconstruct
from uop3d_core.config import CameraSettings, FrameSettings, MaskSettings
from uop3d_core.geometry import closest_rotation, inverse_rigid, rotation_error, umeyama
from uop3d_core.images import read_rgb

SETTINGS = CameraSettings(threads=1, features=2000)
MASKS = MaskSettings(pixels=128, voxels=40)


def made(folder, scene, K=None, smaller=(3, 9)):
    """Photos of the scene (two of them smaller), their pictures and reconstruction."""
    photos = scene.write(folder / "photos")
    for index in smaller:
        small = Image.fromarray(scene.images[index]).resize((300, 225), Image.Resampling.LANCZOS)
        small.save(photos / f"photo_{index:02d}.png")
    out = folder / "out"
    work = out / "work"
    work.mkdir(parents=True)
    pictures = pictures_of_folder(photos, out, FrameSettings())
    reconstruct(pictures, out, work, SETTINGS, K)
    return out, pictures, read_reconstruction(work / "model")


@pytest.fixture(scope="module")
def scene():
    return film_box()


@pytest.fixture(scope="module")
def result(scene, tmp_path_factory):
    return made(tmp_path_factory.mktemp("box"), scene)


def test_cameras_are_found_whatever_the_size_of_the_photo(scene, result):
    _, pictures, found = result
    assert len(found.names) == len(scene.images)
    assert {found.cameras[name].width for name in found.names} == {300, 400}
    true = scene.cam_T_world
    got = np.array([found.cam_T_world[name] for name in found.names])
    world_R_found = closest_rotation((np.swapaxes(true[:, :3, :3], 1, 2) @ got[:, :3, :3]).sum(0))
    assert np.degrees(rotation_error(true[:, :3, :3], got[:, :3, :3] @ world_R_found.T)).max() < 0.6
    eyes, found_eyes = inverse_rigid(true)[:, :3, 3], inverse_rigid(got)[:, :3, 3]
    scale, R, t = umeyama(found_eyes, eyes)
    assert np.linalg.norm(scale * found_eyes @ R.T + t - eyes, axis=1).max() < 0.04
    camera = found.cameras["0000"]
    assert camera.K[0, 0] == pytest.approx(scene.K[0, 0], rel=0.03)
    assert camera.K[:2, 2] == pytest.approx(scene.K[:2, 2])  # pixel centres at integers
    assert found.error < 1


def test_known_intrinsics_are_kept(scene, tmp_path):
    K = scene.K
    _, _, found = made(tmp_path, scene, (K[0, 0], K[1, 1], K[0, 2] + 0.5, K[1, 2] + 0.5))
    assert found.cameras["0000"].K == pytest.approx(K)
    assert found.cameras["0003"].K[0, 0] == pytest.approx(0.75 * K[0, 0])


def test_two_known_focal_lengths_are_kept_and_used(scene, tmp_path):
    """Photos squeezed by a fifth from top to bottom, as of a camera whose pixels are not square."""
    squeezed = np.array([np.array(Image.fromarray(image).resize((400, 240))) for image in scene.images])
    K = np.diag([1, 0.8, 1]) @ scene.K
    _, _, found = made(tmp_path, replace(scene, images=squeezed), (K[0, 0], K[1, 1], K[0, 2] + 0.5, K[1, 2] + 0.4), ())
    assert np.diag(found.cameras["0000"].K) == pytest.approx(np.diag(K))
    assert found.error < 0.5
    true, got = scene.cam_T_world, np.array([found.cam_T_world[name] for name in found.names])
    world_R_found = closest_rotation((np.swapaxes(true[:, :3, :3], 1, 2) @ got[:, :3, :3]).sum(0))
    errors = np.degrees(rotation_error(true[:, :3, :3], got[:, :3, :3] @ world_R_found.T))
    assert np.median(errors) < 0.5  # with their mean for both, 5


def test_intrinsics_of_another_shape_of_picture_are_refused(scene, tmp_path):
    tall = np.array([np.rot90(image) for image in scene.images[:2]])
    photos = replace(scene, images=[*scene.images[:2], *tall]).write(tmp_path / "photos")
    (tmp_path / "out").mkdir()
    pictures = pictures_of_folder(photos, tmp_path / "out", FrameSettings(blur=0.0))
    with pytest.raises(ValueError, match="300 x 400 pixels and the first one 400 x 300"):
        reconstruct(pictures, tmp_path / "out", tmp_path, SETTINGS, (360, 360, 200, 150))


def test_features_and_matches_are_not_computed_again(result):
    out, pictures, _ = result
    calls = []
    again = out / "again"
    again.mkdir()
    shutil.copy(out / "work" / "features0.db", again)
    reconstruct(
        pictures, out, again, SETTINGS, None, None, lambda stage, done, total: calls.append((stage, done, total))
    )
    assert calls[0] == ("features", 20, 20)
    assert (again / "features0.db").stat().st_size == (out / "work" / "features0.db").stat().st_size


def region_of(scene, found):
    R = closest_rotation(
        sum(found.cam_T_world[n][:3, :3].T @ T[:3, :3] for n, T in zip(found.names, scene.cam_T_world, strict=True))
    )
    return find_object(found, R @ [0, 0, 1], np.random.default_rng(0)), R


def test_the_thing_in_the_middle_is_found_on_its_floor(scene, result):
    region, R = region_of(scene, result[2])
    assert region.floor is not None
    assert np.degrees(np.arccos(region.up @ R @ [0, 0, 1])) < 1
    assert len(region.points) > 100
    height = region.points @ region.up + region.floor[3]
    ratio = height.max() / np.linalg.norm(np.ptp(region.points @ region.axes[:2].T, axis=0))
    assert ratio == pytest.approx(EXTENTS[2] / np.linalg.norm(EXTENTS[:2]), rel=0.35)  # the box may lie askew in it


def test_the_floor_is_found_though_the_phone_was_held_sideways(scene, result):
    found = result[2]
    level, R = region_of(scene, found)
    sideways = R @ [1, 0, 0]
    region = find_object(found, sideways, np.random.default_rng(0))
    assert region.up == pytest.approx(level.up, abs=0.01)
    assert find_object(found, sideways, np.random.default_rng(0), measured=True).floor is None


def masks_of(scene, found):
    return {
        name: np.array(Image.fromarray(mask).resize((found.cameras[name].width, found.cameras[name].height)))
        for name, mask in zip(found.names, scene.masks, strict=True)
    }


def images_of(out, found):
    return {name: partial(read_rgb, out / "images" / f"{name}.jpg") for name in found.names}


def overlaps(masks, truth):
    return np.array([(masks[n] & truth[n]).sum() / (masks[n] | truth[n]).sum() for n in masks])


def test_masks_without_any_model(scene, result):
    out, _, found = result
    region, _ = region_of(scene, found)
    cut = cut_out(images_of(out, found), found, region, MASKS)
    assert set(cut.masks) == set(found.names)
    assert np.median(overlaps(cut.masks, masks_of(scene, found))) > 0.93
    assert min(cut.confidence.values()) > 0.8


def test_a_tall_thing_with_a_plain_middle_keeps_its_top(tmp_path):
    """A label at the bottom, one at the top, and nothing between them."""
    scene = film_box(extents=(0.4, 0.4, 2.0), plain=(0.3, 0.8))
    out, _, found = made(tmp_path, scene)
    region, _ = region_of(scene, found)
    images = images_of(out, found)
    eyes, found_eyes = (
        inverse_rigid(T)[:, :3, 3] for T in (scene.cam_T_world, np.array([*found.cam_T_world.values()]))
    )
    scale = umeyama(found_eyes, eyes)[0]
    for where in (region, stood_out(images, found, region, MASKS)):
        assert scale * ((where.centre + where.half[2] * where.up) @ where.up + where.floor[3]) > 2.0
    cut = cut_out(images, found, region, MASKS)
    assert np.median(overlaps(cut.masks, masks_of(scene, found))) > 0.9


def test_given_masks_are_judged_and_a_wrong_one_is_told(scene, result):
    out, _, found = result
    masks = masks_of(scene, found)
    masks["0005"] = np.roll(masks["0005"], 60, axis=1)
    region = object_of_masks(found, masks, np.array([0, 0, 1.0]))
    judged = judge(masks, images_of(out, found), found, region, MASKS)
    assert judged.confidence["0005"] < 0.6
    assert all(value > 0.78 for name, value in judged.confidence.items() if name != "0005")
    assert (judged.masks["0002"] == masks["0002"]).all()


def test_a_segmenter_is_shown_the_object(scene, result):
    out, _, found = result
    region, _ = region_of(scene, found)

    def violet(image, point):
        """The box is violet, the rest is not; the point must be on it."""
        values = image.astype(int)
        on = ((values[..., 0] + values[..., 2]) / 2 - values[..., 1] > 25).astype(float)
        x, y = np.rint(point).astype(int)
        assert on[y - 8 : y + 9, x - 8 : x + 9].mean() > 0.5
        return on

    masks = segmented(violet, images_of(out, found), found, region, MASKS)
    assert np.median(overlaps(masks, masks_of(scene, found))) > 0.75


def test_no_depth_no_cameras(tmp_path):
    """A white wall."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for index in range(6):
        Image.fromarray(np.full((200, 300, 3), 128 + 10 * index, np.uint8)).save(photos / f"{index}.png")
    (tmp_path / "out" / "work").mkdir(parents=True)
    pictures = pictures_of_folder(photos, tmp_path / "out", FrameSettings())
    with pytest.raises(ValueError, match="the cameras could not be found"):
        reconstruct(pictures, tmp_path / "out", tmp_path / "out" / "work", SETTINGS)
