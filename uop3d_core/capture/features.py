"""Local features of others in COLMAP's database: a plug-in point for learned extractors and matchers.

In: pictures, a plug-in. Out: the database with keypoints, matches and verified pairs, as COLMAP's own features fill it.
A third party adds one by an entry point of the group ``uop3d.features``: a factory that takes what stands behind the
colon of ``--features NAME:FILE``. Nothing is built in beside COLMAP's SIFT, and nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from uop3d_core.atomic import replaced
from uop3d_core.geometry import Array
from uop3d_core.images import read_rgb
from uop3d_core.plugins import load_factory
from uop3d_core.progress import Progress

GROUP = "uop3d.features"
PORTION = 20
"""Pairs of pictures after which matches are safe from an interruption."""


@dataclass(frozen=True, eq=False)
class Found:
    """Features of one picture.

    Attributes:
        pixels: (N, 2) float, x and y, the centre of the first pixel at 0; the best first.
        descriptors: (N, D) float32.
        size: width and height of the picture.
    """

    pixels: Array
    descriptors: Array
    size: tuple[int, int]


class Features(Protocol):
    """Finds features in pictures and matches those of two."""

    def find(self, image: Array) -> tuple[Array, Array]:
        """Pixels (N, 2) and descriptors (N, D) of the features of an image (H, W, 3) uint8 RGB; the best first."""

    def match(self, first: Found, second: Found) -> Array:
        """(M, 2) int: which features of two pictures show the same; wrong ones are found out later."""


def create_features(choice: str) -> Features:
    """The plug-in of ``NAME`` or ``NAME:FILE``.

    Raises:
        ValueError: unknown name; and what the plug-in raises about its file.
    """
    name, _, where = choice.partition(":")
    features: Features = load_factory(name, "features", {}, GROUP)(where)
    return features


def mutual_matches(first: Array, second: Array, ratio: float = 0.9) -> Array:
    """(M, 2) pairs of descriptors (N, D) that are nearest to each other by angle; for plug-ins without a matcher.

    Args:
        first: descriptors of one picture.
        second: those of the other.
        ratio: largest ratio of the distances to the nearest and to the second nearest.
    """
    if min(len(first), len(second)) < 2:
        return np.zeros((0, 2), np.int64)
    unit = [rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12) for rows in (first, second)]
    likeness = unit[0] @ unit[1].T
    best = likeness.argmax(1)
    mutual = likeness.argmax(0)[best] == np.arange(len(best))
    nearest = np.sqrt(np.maximum(2 - 2 * np.partition(likeness, -2, axis=1)[:, -2:], 0))
    mutual &= nearest[:, 1] < ratio * nearest[:, 0]
    return np.stack([np.flatnonzero(mutual), best[mutual]], axis=1)


def find_all(features: Features, files: Sequence[Path], work: Path, progress: Progress) -> dict[str, Found]:
    """Features of image files by file name; those that are in the folder `work` already are not found again."""
    found = {}
    progress("features", 0, len(files))
    for index, file in enumerate(files):
        stored = work / f"{file.stem}.npz"
        if not stored.is_file():
            image = read_rgb(file)
            pixels, descriptors = _checked(features, image, file)
            with replaced(stored) as draft:
                np.savez(draft, pixels=pixels, descriptors=descriptors, size=np.array(image.shape[1::-1]))
        with np.load(stored, allow_pickle=False) as content:
            width, height = content["size"].tolist()
            found[file.name] = Found(content["pixels"], content["descriptors"], (width, height))
        progress("features", index + 1, len(files))
    return found


def write_features(colmap: Any, database: Path, found: dict[str, Found]) -> None:
    """Write keypoints of images that the database knows and that have none yet; its pixels have edges at integers."""
    with colmap.Database.open(database) as base:
        for image in base.read_all_images():
            if image.name in found and not base.exists_keypoints(image.image_id):
                base.write_keypoints(image.image_id, (found[image.name].pixels + 0.5).astype(np.float32))


def write_matches(
    colmap: Any,
    database: Path,
    features: Features,
    found: dict[str, Found],
    pairs: Sequence[tuple[str, str]],
    verification: Any,
    progress: Progress,
) -> None:
    """Match pairs of images and verify them; pairs that the database has matches of are not matched again."""
    listing = database.with_suffix(".pairs.txt")
    progress("matches", 0, len(pairs))
    for start in range(0, len(pairs), PORTION):
        part = pairs[start : start + PORTION]
        with colmap.Database.open(database) as base:
            ids = {image.name: image.image_id for image in base.read_all_images()}
            new = [(a, b) for a, b in part if not base.exists_two_view_geometry(ids[a], ids[b])]
            for a, b in new:
                if not base.exists_matches(ids[a], ids[b]):
                    rows = _checked_matches(features.match(found[a], found[b]), found[a], found[b], (a, b))
                    base.write_matches(ids[a], ids[b], rows.astype(np.uint32))
        listing.write_text("".join(f"{a} {b}\n" for a, b in new), encoding="utf-8")
        if new:
            colmap.verify_matches(database, listing, verification)
        progress("matches", start + len(part), len(pairs))
    listing.unlink(missing_ok=True)


def _checked(features: Features, image: Array, file: Path) -> tuple[Array, Array]:
    pixels, descriptors = (np.asarray(part, dtype=np.float32) for part in features.find(image))
    good = pixels.ndim == descriptors.ndim == 2 and pixels.shape[1:] == (2,) and len(pixels) == len(descriptors)
    if not good or not (np.isfinite(pixels).all() and np.isfinite(descriptors).all()):
        raise ValueError(
            f"features of {file.name}: the plug-in must give finite pixels (N, 2) and descriptors (N, D), it gave "
            f"{pixels.shape} and {descriptors.shape}"
        )
    return pixels, descriptors


def _checked_matches(rows: Array, first: Found, second: Found, names: tuple[str, str]) -> Array:
    rows = np.asarray(rows)
    good = rows.ndim == 2 and rows.shape[1] == 2 and (rows.size == 0 or np.issubdtype(rows.dtype, np.integer))
    if not good or (rows.size and (rows.min() < 0 or (rows >= [len(first.pixels), len(second.pixels)]).any())):
        raise ValueError(
            f"matches of {' and '.join(names)}: the plug-in must give pairs (M, 2) of indices of features, it gave "
            f"{rows.dtype} {rows.shape}"
        )
    return rows
