"""Cameras from pictures alone: structure from motion by COLMAP (pycolmap, extra ``capture``).

In: `Pictures` in a folder. Out: a `Reconstruction` in an arbitrary world frame, kept as a COLMAP model.
COLMAP's pixels have their edges at integers; that ends here. Its cameras are OpenCV's otherwise.

Cheap ways first: features as they are, incremental mapping; where pictures stay without a camera, global mapping;
where they still do, more features, which bear a change of view better. Pictures of one size (and stated focal length)
share a camera, and other sizes get cameras of their own.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from uop3d_core.atomic import replaced_when_complete
from uop3d_core.capture.colmap import model_camera_of, quaternion_of_rotation
from uop3d_core.capture.colmap_model import Model, ModelCamera, ModelImage, write_model
from uop3d_core.capture.features import Features, find_all, write_features, write_matches
from uop3d_core.capture.pictures import Picture, Pictures
from uop3d_core.config import CameraSettings
from uop3d_core.geometry import Array
from uop3d_core.progress import Progress, silent
from uop3d_core.types import Camera

LENS = "SIMPLE_RADIAL"
"""COLMAP's model with one focal length and one radial coefficient: enough for phones, hard to overfit."""
CONTRAST = 0.4
"""Share of the usual least contrast of features, in soft pictures that show too few of them."""
DATABASE = "features0.db"
"""Features and matches of the first, cheap try."""
LEAST = 3
"""Pictures with a camera, below which there is no reconstruction."""
SUPPORT, PLENTY = 10, 100
"""Points that a picture must see for its camera to count, and that half of the pictures should see."""
GIVEN = 6.0
"""Pixels by which points may miss cameras that are given; those of phones are less exact than ours."""
PROBE = 192
"""Features per picture by which look-alikes are found."""
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
    colmap = _pycolmap()
    best: Any = None
    for effort, wide in enumerate((False, True) if features is None else (False,)):
        database = work / f"features{effort}.db"
        if features is None:
            _features(colmap, database, pictures, folder, settings, wide, K, progress)
            _matches(colmap, database, pictures, settings, progress)
        else:
            _plugged(colmap, database, pictures, folder, settings, features, K, progress)
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
    colmap = _pycolmap()
    database = folder / DATABASE
    _features(colmap, database, pictures, folder, settings, False, None, progress)
    _matches(colmap, database, pictures, settings, progress)
    options = colmap.IncrementalPipelineOptions()
    options.num_threads, options.random_seed = _threads(settings), settings.seed
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
    return replace(_reconstruction(model, False), cameras=dict(cameras), cam_T_world=dict(cam_T_world))


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


def read_reconstruction(path: Path) -> Reconstruction:
    """Read a COLMAP model folder, binary or text.

    Raises:
        ImportError: pycolmap is not installed.
        ValueError: not a model.
    """
    colmap = _pycolmap()
    try:
        model = colmap.Reconstruction(path)
    except (RuntimeError, ValueError, OSError) as error:
        raise ValueError(f"{path}: not a COLMAP model ({error})") from error
    return _reconstruction(model, True)


def _reconstruction(model: Any, with_cameras: bool) -> Reconstruction:
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


def raw_matches(database: Path) -> list[tuple[str, str, Array, Array]]:
    """Names of two pictures and the pixels (N, 2) of their matched features, before any geometry was asked."""
    colmap = _pycolmap()
    with colmap.Database.open(database) as base:
        names = {image.image_id: Path(image.name).stem for image in base.read_all_images()}
        pixels = {key: base.read_keypoints(key)[:, :2].astype(np.float64) - 0.5 for key in names}
        pairs = [
            (colmap.pair_id_to_image_pair(pair), rows) for pair, rows in zip(*base.read_all_matches(), strict=True)
        ]
    return [(names[a], names[b], pixels[a][rows[:, 0]], pixels[b][rows[:, 1]]) for (a, b), rows in pairs]


def _pycolmap() -> Any:
    try:
        import pycolmap
    except ImportError as error:
        raise ImportError(f"finding cameras needs pycolmap: pip install 'uop3d[capture]' ({error})") from error
    pycolmap.logging.minloglevel = 3
    return pycolmap


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


def _features(
    colmap: Any,
    database: Path,
    pictures: Pictures,
    folder: Path,
    settings: CameraSettings,
    wide: bool,
    K: Sequence[float] | None,
    progress: Progress,
) -> None:
    """Features of every picture that the database has none of yet."""
    known = _pictures_in(colmap, database)
    total, done = len(pictures.chosen), len(known)
    progress("features", done, total)
    options = colmap.FeatureExtractionOptions()
    options.num_threads = _threads(settings)
    options.sift.max_num_features = settings.features
    if wide:
        options.sift.peak_threshold *= CONTRAST
        options.sift.estimate_affine_shape = True
    for group in _groups(pictures.chosen):
        camera_id = next((known[p.file] for p in group if p.file in known), -1)
        for start in range(0, len(group), options.num_threads):
            part = [p for p in group[start : start + options.num_threads] if p.file not in known]
            if not part:
                continue
            reader = _reader(colmap, camera_id, _parameters(part[0], pictures.chosen[0], K))
            names = [p.file for p in part]
            colmap.extract_features(database, folder / "images", names, colmap.CameraMode.SINGLE, reader, options)
            camera_id = _pictures_in(colmap, database)[part[0].file]
            done += len(part)
            progress("features", done, total)


def _reader(colmap: Any, camera_id: int, parameters: str) -> Any:
    """Options for pictures of the camera of that number, or of a new one (-1)."""
    reader = colmap.ImageReaderOptions(camera_model=LENS, existing_camera_id=camera_id)
    if camera_id < 0:
        reader.camera_params = parameters
    return reader


def _plugged(
    colmap: Any,
    database: Path,
    pictures: Pictures,
    folder: Path,
    settings: CameraSettings,
    features: Features,
    K: Sequence[float] | None,
    progress: Progress,
) -> None:
    """Features and matches of a plug-in, where the database has none yet."""
    found = find_all(
        features, [folder / "images" / p.file for p in pictures.chosen], database.parent / "found", progress
    )
    with colmap.Database.open(database) as base:
        known = {image.name for image in base.read_all_images()}
    for group in _groups(pictures.chosen):
        if names := [p.file for p in group if p.file not in known]:
            reader = _reader(colmap, -1, _parameters(group[0], pictures.chosen[0], K))
            colmap.import_images(database, folder / "images", colmap.CameraMode.SINGLE, names, reader)
    write_features(colmap, database, found)
    pairs = _pairs(pictures, settings, lambda: [found[p.file].descriptors[:PROBE] for p in pictures.chosen])
    verification = _verification(colmap, settings)
    write_matches(colmap, database, features, found, pairs, verification, progress)


def _groups(pictures: Iterable[Picture]) -> list[list[Picture]]:
    """Pictures that share a camera: of one size and one stated focal length."""
    groups: dict[tuple[int, int, int], list[Picture]] = {}
    for picture in pictures:
        key = (picture.width, picture.height, round(picture.focal or 0))
        groups.setdefault(key, []).append(picture)
    return list(groups.values())


def _parameters(picture: Picture, first: Picture, K: Sequence[float] | None) -> str:
    """COLMAP's f, cx, cy, k where something is known, or ""."""
    if K is not None:
        scale = picture.width / first.width
        return f"{scale * (K[0] + K[1]) / 2},{scale * K[2]},{scale * K[3]},0"
    if picture.focal is None:
        return ""
    return f"{picture.focal},{picture.width / 2},{picture.height / 2},0"


def _pictures_in(colmap: Any, database: Path) -> dict[str, int]:
    """Camera by file name of the pictures whose features are in the database."""
    if not database.is_file():
        return {}
    with colmap.Database.open(database) as base:
        return {i.name: i.camera_id for i in base.read_all_images() if base.exists_keypoints(i.image_id)}


def _matches(colmap: Any, database: Path, pictures: Pictures, settings: CameraSettings, progress: Progress) -> None:
    """Match the pairs that are worth it, in portions; what is in the database already is not matched again."""
    pairs = _pairs(pictures, settings, partial(_largest, colmap, database, [p.file for p in pictures.chosen]))
    options = colmap.FeatureMatchingOptions()
    options.num_threads = _threads(settings)
    verification = _verification(colmap, settings)
    pairing = colmap.ImportedPairingOptions()
    listing = database.with_suffix(".pairs.txt")
    portion = max(20, len(pairs) // 50)
    progress("matches", 0, len(pairs))
    for start in range(0, len(pairs), portion):
        part = pairs[start : start + portion]
        listing.write_text("".join(f"{a} {b}\n" for a, b in part), encoding="utf-8")
        pairing.match_list_path = listing
        colmap.match_image_pairs(database, options, pairing, verification)
        progress("matches", min(start + portion, len(pairs)), len(pairs))
    listing.unlink(missing_ok=True)


def _verification(colmap: Any, settings: CameraSettings) -> Any:
    options = colmap.TwoViewGeometryOptions()
    options.ransac.random_seed = settings.seed
    return options


def _pairs(pictures: Pictures, settings: CameraSettings, probes: Callable[[], list[Array]]) -> list[tuple[str, str]]:
    """File names of the pairs to match: all of few pictures; neighbours and look-alikes of many.

    `probes` gives the descriptors of a few features per picture, by which look-alikes are found.
    """
    names = [p.file for p in pictures.chosen]
    N = len(names)
    if N <= settings.exhaustive:
        wanted = np.triu(np.ones((N, N), bool), 1)
    else:
        alike = _likeness(probes())
        step = np.abs(np.arange(N)[:, None] - np.arange(N))
        wanted = (step <= settings.neighbours) & pictures.ordered
        alike[wanted | (step == 0)] = -1
        best = np.argsort(-alike, axis=1)[:, : settings.lookalikes + (0 if pictures.ordered else settings.neighbours)]
        np.put_along_axis(wanted, best, True, axis=1)
        wanted = np.triu(wanted | wanted.T, 1)
    return [(names[a], names[b]) for a, b in np.argwhere(wanted)]


def _likeness(probes: Sequence[Array]) -> Array:
    """(N, N) how many features of a picture have a close one among those of another, symmetric.

    Wu, "Towards Linear-time Incremental Structure from Motion", 3DV 2013, section 3: the largest features of a picture
    tell whether the rest is worth matching.
    """
    unit = [rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9) for rows in probes]
    counts = np.zeros((len(unit), len(unit)))
    for a, first in enumerate(unit):
        for b in range(a):
            both = first @ unit[b].T
            mutual = both.argmax(1)[both.argmax(0)] == np.arange(both.shape[1]) if both.size else np.zeros(0, bool)
            counts[a, b] = counts[b, a] = (both.max(0)[mutual] > 0.8).sum() if both.size else 0
    return counts


def _largest(colmap: Any, database: Path, names: Sequence[str]) -> list[Array]:
    """Per picture, the descriptors (PROBE, D) of its largest features."""
    probes = []
    with colmap.Database.open(database) as base:
        ids = {image.name: image.image_id for image in base.read_all_images()}
        for name in names:
            shape = base.read_keypoints(ids[name])[:, 2:]
            size = np.linalg.norm(shape, axis=1)  # an affine map of the unit circle, or scale and angle
            descriptors = np.asarray(base.read_descriptors(ids[name]).data, dtype=np.float32)
            probes.append(descriptors[np.argsort(-size)[:PROBE]])
    return probes


def _incremental(
    colmap: Any, database: Path, images: Path, work: Path, settings: CameraSettings, fixed: bool
) -> list[Any]:
    options = colmap.IncrementalPipelineOptions()
    options.num_threads, options.random_seed = _threads(settings), settings.seed
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
    options.num_threads, options.random_seed = _threads(settings), settings.seed
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


def _threads(settings: CameraSettings) -> int:
    return settings.threads or (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
