"""The object cut out of the pictures of a capture, once: what was found is kept until something it came from changes.

In: cameras (world of the reconstruction), pictures. Out: masks as files with their confidences, and the similarity to
a world about the object.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from uop3d_core.atomic import replaced_when_complete, write_json
from uop3d_core.capture.finishing import centred
from uop3d_core.capture.masks import CutOut, cut_out, judge, segmented
from uop3d_core.capture.object import ObjectRegion, find_object, object_of_masks
from uop3d_core.capture.segmenters import create_segmenter
from uop3d_core.capture.sfm import Reconstruction
from uop3d_core.capture.stillness import Stillness, stillness
from uop3d_core.config import MaskSettings
from uop3d_core.geometry import Array
from uop3d_core.images import read_mask
from uop3d_core.progress import Progress, silent
from uop3d_core.runs import read_json_object
from uop3d_core.types import Sim3

ABOUT = "cut.json"
"""Beside the masks, written with them at once."""


@dataclass(frozen=True, eq=False)
class Cut:
    """Masks of the object, on disk.

    Attributes:
        folder: holds NAME.png of every picture that has one.
        confidence: of the masks, by name.
        new_T_world: to a world about the object.
        level: whether up is measured.
        still: whether the object kept still.
    """

    folder: Path
    confidence: dict[str, float]
    new_T_world: Sim3
    level: bool
    still: Stillness

    def mask(self, name: str) -> Path:
        """The file of a picture's mask."""
        return self.folder / f"{name}.png"

    def to_json(self) -> dict[str, Any]:
        """All but the masks, as a JSON object."""
        world = self.new_T_world
        return {
            "confidence": self.confidence,
            "world": {"scale": world.scale, "R": world.R.tolist(), "t": world.t.tolist()},
            "level": self.level,
            "still": vars(self.still),
        }

    @classmethod
    def from_json(cls, folder: Path, content: Mapping[str, Any]) -> Cut:
        """The way back."""
        world = content["world"]
        new_T_world = Sim3(world["scale"], np.array(world["R"]), np.array(world["t"]))
        return cls(folder, dict(content["confidence"]), new_T_world, content["level"], Stillness(**content["still"]))


@dataclass(frozen=True, eq=False)
class Cutting:
    """What the object is cut out of, and how.

    Attributes:
        found: cameras and points.
        images: functions that read the pictures, by name.
        database: features and matches of the pictures, by which it is told whether the object kept still.
        up: (3,) unit vector in the world, as measured or as the cameras are held.
        measured: whether up is measured.
        given: masks that came with the pictures, by name.
        segmenter: ``NAME:FILE`` of a segmentation model, or None to go by colour and geometry.
    """

    found: Reconstruction
    images: Mapping[str, Callable[[], Array]]
    database: Path
    up: Array
    measured: bool
    given: Mapping[str, Path]
    segmenter: str | None = None


def cut_object(cutting: Cutting, folder: Path, mark: str, settings: MaskSettings, progress: Progress = silent) -> Cut:
    """Cut the object out of all pictures, or take what is in `folder` where that was made of the same (`mark`).

    Raises:
        ValueError: nothing can be cut out; the message says why.
    """
    stored = _stored(folder, mark)
    if stored is not None:
        return stored
    shutil.rmtree(folder, ignore_errors=True)
    cut, region, still = _object(cutting, settings, progress)
    made = Cut(
        folder,
        {name: round(value, 4) for name, value in cut.confidence.items()},
        centred(region, cut.inside),
        region.floor is not None or cutting.measured,
        still,
    )
    with replaced_when_complete(folder) as draft:
        for name in cut.confidence:
            Image.fromarray(cut.masks[name].astype(np.uint8) * 255).save(draft / f"{name}.png")
        write_json(draft / ABOUT, {"mark": mark, **made.to_json()})
    return made


def _stored(folder: Path, mark: str) -> Cut | None:
    try:
        content = read_json_object(folder / ABOUT)
        return Cut.from_json(folder, content) if content.get("mark") == mark else None
    except (FileNotFoundError, ValueError, KeyError, TypeError):  # another version may have written it
        return None


def _object(cutting: Cutting, settings: MaskSettings, progress: Progress) -> tuple[CutOut, ObjectRegion, Stillness]:
    """The object, by masks that came with the pictures, by a model, or by colour and geometry alone."""
    found, images = cutting.found, cutting.images
    given = {name: read_mask(path) for name, path in cutting.given.items()}
    if given:
        region = object_of_masks(found, given, cutting.up)
        make = partial(judge, given, images, found, region, settings)
    else:
        region = find_object(found, cutting.up, np.random.default_rng(0), cutting.measured)
        make = partial(_by_model if cutting.segmenter else _by_colour, cutting, region, settings, progress)
    try:
        cut = make()
    except ValueError as error:
        still = stillness(cutting.database, found, region, {})
        if still.kept:
            raise
        raise ValueError(f"{still.reason}; film it again, and let nobody touch it ({error})") from error
    return cut, region, stillness(cutting.database, found, region, cut.masks)


def _by_model(cutting: Cutting, region: ObjectRegion, settings: MaskSettings, progress: Progress) -> CutOut:
    assert cutting.segmenter is not None, "the caller knows"
    segmenter = create_segmenter(cutting.segmenter)
    masks = segmented(segmenter, cutting.images, cutting.found, region, settings, progress)
    return judge(masks, cutting.images, cutting.found, region, settings)


def _by_colour(cutting: Cutting, region: ObjectRegion, settings: MaskSettings, progress: Progress) -> CutOut:
    return cut_out(cutting.images, cutting.found, region, settings, progress)
