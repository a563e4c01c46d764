"""Features of pictures and their matches, in COLMAP's database (pycolmap, extra ``capture``).

In: `Pictures` in a folder. Out: the database. Pictures of one size (and stated focal length) share a camera.
COLMAP's pixels have their edges at integers; those that come out of here have their centres there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from uop3d_core.capture.features import Features, find_all, write_features, write_matches
from uop3d_core.capture.pictures import Picture, Pictures
from uop3d_core.config import CameraSettings
from uop3d_core.geometry import Array
from uop3d_core.progress import Progress, silent

LENS = "SIMPLE_RADIAL"
"""COLMAP's model with one focal length and one radial coefficient: enough for phones, hard to overfit."""
KNOWN = "PINHOLE"
"""COLMAP's model of cameras that are known: two focal lengths and no distortion."""
CONTRAST = 0.4
"""Share of the usual least contrast of features, in soft pictures that show too few of them."""
PROBE = 192
"""Features per picture by which look-alikes are found."""


def load_colmap() -> Any:
    """The module pycolmap, told to keep quiet.

    Raises:
        ImportError: it is not installed.
    """
    try:
        import pycolmap
    except ImportError as error:
        raise ImportError(f"finding cameras needs pycolmap: pip install 'uop3d[capture]' ({error})") from error
    pycolmap.logging.minloglevel = 3
    return pycolmap


def match_pictures(
    colmap: Any,
    database: Path,
    pictures: Pictures,
    folder: Path,
    settings: CameraSettings,
    *,
    wide: bool = False,
    K: Sequence[float] | None = None,
    features: Features | None = None,
    progress: Progress = silent,
) -> None:
    """Features and verified matches of pictures in `folder`/images; what the database has already is not done again.

    Args:
        colmap: the module.
        database: file, made where it does not exist.
        pictures: to match.
        folder: of the capture.
        settings: how much effort.
        wide: more features, which bear a change of view better.
        K: known focal lengths and principal point, see `reconstruct`.
        features: a plug-in in place of COLMAP's features, or None.
        progress: told of every picture and portion of pairs.
    """
    if features is not None:
        _plugged(colmap, database, pictures, folder, settings, features, K, progress)
        return
    _features(colmap, database, pictures, folder, settings, wide, K, progress)
    _matches(colmap, database, pictures, settings, wide, progress)


def raw_matches(database: Path) -> list[tuple[str, str, Array, Array]]:
    """Names of two pictures and the pixels (N, 2) of their matched features, before any geometry was asked."""
    colmap = load_colmap()
    with colmap.Database.open(database) as base:
        names = {image.image_id: Path(image.name).stem for image in base.read_all_images()}
        pixels = {key: base.read_keypoints(key)[:, :2].astype(np.float64) - 0.5 for key in names}
        pairs = [
            (colmap.pair_id_to_image_pair(pair), rows) for pair, rows in zip(*base.read_all_matches(), strict=True)
        ]
    return [(names[a], names[b], pixels[a][rows[:, 0]], pixels[b][rows[:, 1]]) for (a, b), rows in pairs]


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
            reader = _reader(colmap, -1, group[0], pictures.chosen[0], K)
            colmap.import_images(database, folder / "images", colmap.CameraMode.SINGLE, names, reader)
    write_features(colmap, database, found)
    pairs = _pairs(pictures, settings, lambda: [found[p.file].descriptors[:PROBE] for p in pictures.chosen])
    verification = _verification(colmap, settings)
    write_matches(colmap, database, features, found, pairs, verification, progress)


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
    options.num_threads = threads_of(settings)
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
            reader = _reader(colmap, camera_id, part[0], pictures.chosen[0], K)
            names = [p.file for p in part]
            colmap.extract_features(database, folder / "images", names, colmap.CameraMode.SINGLE, reader, options)
            camera_id = _pictures_in(colmap, database)[part[0].file]
            done += len(part)
            progress("features", done, total)


def _reader(colmap: Any, camera_id: int, picture: Picture, first: Picture, K: Sequence[float] | None) -> Any:
    """Options for pictures of the camera of that number, or of a new one (-1)."""
    reader = colmap.ImageReaderOptions(camera_model=LENS if K is None else KNOWN, existing_camera_id=camera_id)
    if camera_id < 0:
        reader.camera_params = _parameters(picture, first, K)
    return reader


def _groups(pictures: Iterable[Picture]) -> list[list[Picture]]:
    """Pictures that share a camera: of one size and one stated focal length."""
    groups: dict[tuple[int, int, int], list[Picture]] = {}
    for picture in pictures:
        key = (picture.width, picture.height, round(picture.focal or 0))
        groups.setdefault(key, []).append(picture)
    return list(groups.values())


def _parameters(picture: Picture, first: Picture, K: Sequence[float] | None) -> str:
    """COLMAP's fx, fy, cx, cy of a camera that is known; else f, cx, cy, k where something is known of it, or "".

    Raises:
        ValueError: `K` is for pictures of another shape.
    """
    if K is not None:
        scale = picture.width / first.width
        if abs(scale * first.height - picture.height) > 1:
            raise ValueError(
                f"picture {picture.file} has {picture.width} x {picture.height} pixels and the first one {first.width} "
                f"x {first.height}: known intrinsics need pictures of one shape; leave those of another shape out, "
                "or the intrinsics"
            )
        return ",".join(str(scale * value) for value in K)
    if picture.focal is None:
        return ""
    return f"{picture.focal},{picture.width / 2},{picture.height / 2},0"


def _pictures_in(colmap: Any, database: Path) -> dict[str, int]:
    """Camera by file name of the pictures whose features are in the database."""
    if not database.is_file():
        return {}
    with colmap.Database.open(database) as base:
        return {i.name: i.camera_id for i in base.read_all_images() if base.exists_keypoints(i.image_id)}


def _matches(
    colmap: Any, database: Path, pictures: Pictures, settings: CameraSettings, wide: bool, progress: Progress
) -> None:
    """Match the pairs that are worth it, in portions; what is in the database already is not matched again."""
    pairs = _pairs(pictures, settings, partial(_largest, colmap, database, [p.file for p in pictures.chosen]))
    options = colmap.FeatureMatchingOptions()
    options.num_threads, options.guided_matching = threads_of(settings), wide
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


def threads_of(settings: CameraSettings) -> int:
    """Threads for COLMAP: as set, or one per core."""
    return settings.threads or (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
