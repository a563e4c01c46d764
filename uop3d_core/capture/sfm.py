"""Cameras from pictures alone: structure from motion by COLMAP (pycolmap, extra ``capture``).

In: `Pictures` in a folder. Out: a `Reconstruction` in an arbitrary world frame, kept as a COLMAP model.
COLMAP's pixels have their edges at integers; that ends here. Its cameras are OpenCV's otherwise.

Cheap ways first: features as they are, incremental mapping; where pictures stay without a camera, global mapping;
where they still do, more features, which bear a change of view better. Pictures of one size (and stated focal length)
share a camera, and other sizes get cameras of their own.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from uop3d_core.atomic import replaced_when_complete
from uop3d_core.capture.features import Features
from uop3d_core.capture.matching import load_colmap, match_pictures, threads_of
from uop3d_core.capture.pictures import Pictures
from uop3d_core.config import CameraSettings
from uop3d_core.geometry import Array
from uop3d_core.progress import Progress, silent
from uop3d_core.types import Camera

DATABASE = "features0.db"
"""Features and matches of the first, cheap try."""
LEAST = 3
"""Pictures with a camera, below which there is no reconstruction."""
SUPPORT, PLENTY = 10, 100
"""Points that a picture must see for its camera to count, and that half of the pictures should see."""
HOW_TO_FILM = (
    "film slowly in a full circle around the object, with something textured around it (a newspaper under it helps), "
    "in good light, and do not move the object"
)


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """Cameras and points of one capture in an arbitrary world frame.

    Attributes:
        cameras: by name of the picture; "brown" lenses.
        cam_T_world: by name of the picture, (4, 4).
        points: (N, 3) triangulated points.
        colours: (N, 3) uint8.
        seen: (M, 2) which point is seen in which picture (index into the sorted names).
        error: mean reprojection error in pixels.
        notes: what a person should know.
    """

    cameras: dict[str, Camera]
    cam_T_world: dict[str, Array]
    points: Array
    colours: Array
    seen: Array
    error: float
    notes: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """Of the pictures with a camera, sorted."""
        return sorted(self.cam_T_world)


def reconstruct(
    pictures: Pictures,
    folder: Path,
    work: Path,
    settings: CameraSettings,
    K: Sequence[float] | None = None,
    features: Features | None = None,
    progress: Progress = silent,
) -> None:
    """Find the cameras and write them to `work`/model as a COLMAP model.

    Args:
        pictures: in `folder`/images.
        folder: of the capture.
        work: for the database; features and matches found there already are not computed again.
        settings: how much effort.
        K: focal lengths and principal point (fx, fy, cx, cy) in pixels of the first picture's size, edges at integers
            (centre of the first pixel 0.5), that are known to be right; None to find them.
        features: a plug-in in place of COLMAP's features, or None.
        progress: told of every picture.

    Raises:
        ImportError: pycolmap is not installed.
        ValueError: hardly any picture could be placed.
    """
    colmap = load_colmap()
    best: Any = None
    for effort, wide in enumerate((False, True) if features is None else (False,)):
        database = work / f"features{effort}.db"
        match_pictures(
            colmap, database, pictures, folder, settings, wide=wide, K=K, features=features, progress=progress
        )
        for mapper in (_incremental, _global):
            progress("cameras", 0, len(pictures.chosen))
            models = mapper(colmap, database, folder / "images", work, settings, K is not None)
            models = [_supported(colmap, model, K is not None) for model in models]
            best = max([model for model in (best, *models) if model is not None], key=_placed, default=None)
            progress("cameras", _placed(best), len(pictures.chosen))
            if _placed(best) == len(pictures.chosen):
                break
        if _placed(best) >= settings.share * len(pictures.chosen) and _support(best) >= PLENTY:
            break
    if _placed(best) < LEAST:
        raise ValueError(
            f"{folder}: the cameras could not be found: the pictures have too little in common, or show no depth; "
            f"{HOW_TO_FILM}"
        )
    with replaced_when_complete(work / "model") as draft:
        best.write(draft)


def read_reconstruction(path: Path) -> Reconstruction:
    """Read a COLMAP model folder, binary or text.

    Raises:
        ImportError: pycolmap is not installed.
        ValueError: not a model.
    """
    colmap = load_colmap()
    try:
        model = colmap.Reconstruction(path)
    except (RuntimeError, ValueError, OSError) as error:
        raise ValueError(f"{path}: not a COLMAP model ({error})") from error
    return reconstruction_of(model, True)


def reconstruction_of(model: Any, with_cameras: bool) -> Reconstruction:
    """COLMAP's model as ours; the cameras of other lenses than ours are left out where they are not asked for."""
    images = {Path(i.name).stem: i for i in model.images.values() if i.has_pose}
    names = sorted(images)
    index = {images[name].image_id: row for row, name in enumerate(names)}
    points = list(model.points3D.values())
    seen = [(row, index[e.image_id]) for row, p in enumerate(points) for e in p.track.elements if e.image_id in index]
    return Reconstruction(
        cameras={name: _camera(model.cameras[images[name].camera_id]) for name in names if with_cameras},
        cam_T_world={name: np.vstack([images[name].cam_from_world().matrix(), [0, 0, 0, 1]]) for name in names},
        points=np.array([p.xyz for p in points]).reshape(-1, 3),
        colours=np.array([p.color for p in points], dtype=np.uint8).reshape(-1, 3),
        seen=np.array(seen, dtype=np.int64).reshape(-1, 2),
        error=float(model.compute_mean_reprojection_error()),
    )


def _placed(model: Any) -> int:
    return 0 if model is None else int(model.num_reg_images())


def _support(model: Any) -> float:
    """Points that the median picture sees."""
    return float(np.median([image.num_points3D for image in model.images.values() if image.has_pose]))


def _camera(camera: Any) -> Camera:
    """COLMAP's camera as ours: pixel centres at integers."""
    K = np.array(camera.calibration_matrix(), dtype=np.float64)
    K[:2, 2] -= 0.5
    model, values = camera.model.name, list(camera.params)
    if model in ("SIMPLE_PINHOLE", "PINHOLE"):
        return Camera(K, camera.width, camera.height)
    if model in ("SIMPLE_RADIAL", "RADIAL"):
        return Camera(K, camera.width, camera.height, "brown", np.array([*values[3:], 0.0, 0.0, 0.0][:4]))
    if model == "OPENCV":
        return Camera(K, camera.width, camera.height, "brown", np.array(values[4:]))
    raise ValueError(f"COLMAP camera model {model} is not supported here")


def _incremental(
    colmap: Any, database: Path, images: Path, work: Path, settings: CameraSettings, fixed: bool
) -> list[Any]:
    options = colmap.IncrementalPipelineOptions()
    options.num_threads, options.random_seed = threads_of(settings), settings.seed
    options.mapper.random_seed = options.triangulation.random_seed = settings.seed
    options.min_model_size, options.min_num_matches = LEAST, 12
    options.mapper.init_min_num_inliers, options.mapper.init_min_tri_angle = 50, 8.0
    options.mapper.abs_pose_min_num_inliers, options.mapper.abs_pose_min_inlier_ratio = 15, 0.15
    options.ba_refine_focal_length = options.ba_refine_extra_params = not fixed
    options.mapper.abs_pose_refine_focal_length = options.mapper.abs_pose_refine_extra_params = not fixed
    options.extract_colors = True
    return _run(colmap.incremental_mapping, database, images, work, options)


def _global(colmap: Any, database: Path, images: Path, work: Path, settings: CameraSettings, fixed: bool) -> list[Any]:
    options = colmap.GlobalPipelineOptions()
    options.num_threads, options.random_seed = threads_of(settings), settings.seed
    adjustment = options.mapper.bundle_adjustment
    adjustment.refine_focal_length = adjustment.refine_extra_params = not fixed
    return _run(colmap.global_mapping, database, images, work, options)


def _run(mapping: Any, database: Path, images: Path, work: Path, options: Any) -> list[Any]:
    """The models that a mapper finds; those that it writes down are scratch."""
    with tempfile.TemporaryDirectory(dir=work) as scratch:
        return list(mapping(database, images, scratch, options).values())


def _supported(colmap: Any, model: Any, fixed: bool) -> Any:
    """The model without pictures that see hardly any of its points (their cameras are mere guesses), adjusted again."""
    weak = [image for image in model.images.values() if image.has_pose and image.num_points3D < SUPPORT]
    if not weak:
        return model
    for image in weak:
        model.deregister_frame(image.frame_id)
    if _placed(model) >= LEAST:
        options = colmap.BundleAdjustmentOptions()
        options.refine_focal_length = options.refine_extra_params = not fixed
        options.print_summary = False
        config = colmap.BundleAdjustmentConfig()
        for number in model.reg_image_ids():
            config.add_image(number)
        config.fix_gauge(colmap.BundleAdjustmentGauge.TWO_CAMS_FROM_WORLD)
        colmap.create_default_bundle_adjuster(options, config, model).solve()  # the short way turns logging on
    return model
