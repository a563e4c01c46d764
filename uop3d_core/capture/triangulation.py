"""Points for cameras that are known: features of the pictures, triangulated with the cameras as they are.

In: `Pictures` in a folder, their cameras (world of whoever gives them). Out: a `Reconstruction` in that world.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from uop3d_core.capture.colmap import model_camera_of, quaternion_of_rotation
from uop3d_core.capture.colmap_model import Model, ModelCamera, ModelImage, write_model
from uop3d_core.capture.matching import load_colmap, match_pictures, threads_of
from uop3d_core.capture.pictures import Pictures
from uop3d_core.capture.sfm import DATABASE, PLENTY, Reconstruction, reconstruction_of
from uop3d_core.config import CameraSettings
from uop3d_core.geometry import Array
from uop3d_core.progress import Progress, silent
from uop3d_core.types import Camera

GIVEN = 6.0
"""Pixels by which points may miss cameras that are given; those of phones are less exact than ours."""


def triangulate(
    pictures: Pictures,
    cameras: Mapping[str, Camera],
    cam_T_world: Mapping[str, Array],
    folder: Path,
    settings: CameraSettings,
    progress: Progress = silent,
) -> Reconstruction:
    """Points for cameras that are known; these stay as they are.

    Args:
        pictures: in `folder`/images.
        cameras: by name of the picture.
        cam_T_world: (4, 4) by name of the picture.
        folder: also for the database; features and matches found there already are not computed again.
        settings: how much effort.
        progress: told of every picture.

    Raises:
        ImportError: pycolmap is not installed.
        ValueError: hardly any point fits the cameras.
    """
    colmap = load_colmap()
    database = folder / DATABASE
    match_pictures(colmap, database, pictures, folder, settings, progress=progress)
    options = colmap.IncrementalPipelineOptions()
    options.num_threads, options.random_seed = threads_of(settings), settings.seed
    options.mapper.filter_max_reproj_error = GIVEN
    options.triangulation.complete_max_reproj_error = options.triangulation.merge_max_reproj_error = GIVEN
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        write_model(_known_model(pictures, cameras, cam_T_world), Path(scratch) / "known", text=True)
        known = colmap.Reconstruction(Path(scratch) / "known")
        _copy_matches(colmap, database, known, Path(scratch) / DATABASE)
        images = folder / "images"
        model = colmap.triangulate_points(known, Path(scratch) / DATABASE, images, Path(scratch), True, options)
    if model.num_points3D() < PLENTY:
        raise ValueError(
            f"only {model.num_points3D()} points of the images fit the given cameras: do they belong to these images?"
        )
    return replace(reconstruction_of(model, False), cameras=dict(cameras), cam_T_world=dict(cam_T_world))


def _copy_matches(colmap: Any, source: Path, model: Any, target: Path) -> None:
    """A new database with the cameras and images of a model, and the features and verified pairs of another one."""
    with colmap.Database.open(target) as new, colmap.Database.open(source) as old:
        for camera in model.cameras.values():
            new.write_camera(camera, True)
        for rig in model.rigs.values():
            new.write_rig(rig, True)
        for frame in model.frames.values():
            new.write_frame(frame, True)
        ids = {image.name: image.image_id for image in model.images.values()}
        for image in model.images.values():
            new.write_image(image, True)
            new.write_keypoints(image.image_id, old.read_keypoints(old.read_image_with_name(image.name).image_id))
        names = {image.image_id: image.name for image in old.read_all_images()}
        for pair, geometry in zip(*old.read_two_view_geometries(), strict=True):
            first, second = (ids[names[number]] for number in colmap.pair_id_to_image_pair(pair))
            new.write_two_view_geometry(first, second, geometry)


def _known_model(pictures: Pictures, cameras: Mapping[str, Camera], cam_T_world: Mapping[str, Array]) -> Model:
    numbers: dict[ModelCamera, int] = {}
    images = []
    for picture in pictures.chosen:
        camera = model_camera_of(cameras[picture.name], f"camera of {picture.name}")
        number, T = numbers.setdefault(camera, len(numbers) + 1), cam_T_world[picture.name]
        images.append(ModelImage(quaternion_of_rotation(T[:3, :3]), T[:3, 3], number, picture.file))
    return Model({number: camera for camera, number in numbers.items()}, tuple(images), np.zeros((0, 3)))
