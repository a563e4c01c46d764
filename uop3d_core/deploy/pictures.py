"""Images to try a model on: from a folder, or made up from the category's own template.

Out: Frames with one box each. Made-up ones show the template, shaded and coloured, at random poses before blurred
noise: enough to see whether two ways to run a model agree, not to see how good it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from uop3d_core.geometry import Array, project, random_rotations, rigid, transform
from uop3d_core.images import read_rgb
from uop3d_core.report.shading import ShadedMesh
from uop3d_core.types import Camera, Detection, Frame, Template

WIDTH, HEIGHT, FOCAL = 640, 480, 600.0
DISTANCE = 2.6
"""Of made-up objects, in object units."""
FILLED = 0.8
"""Share of an image's sides that the box of an image from a folder takes."""
ENDINGS = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}


@dataclass(frozen=True, eq=False)
class Trial:
    """An image with a box.

    Attributes:
        frame: image and camera.
        detection: the box.
    """

    frame: Frame
    detection: Detection


def made_up(template: Template, count: int, seed: int = 0) -> list[Trial]:
    """Images (480, 640, 3) of the template at random poses."""
    rng = np.random.default_rng(seed)
    shape = ShadedMesh(template.mesh)
    camera = Camera(np.array([[FOCAL, 0, (WIDTH - 1) / 2], [0, FOCAL, (HEIGHT - 1) / 2], [0, 0, 1]]), WIDTH, HEIGHT)
    return [_made_up(shape, camera, R, rng) for R in random_rotations(count, rng)]


def _made_up(shape: ShadedMesh, camera: Camera, R: Array, rng: np.random.Generator) -> Trial:
    """One of them; it fills about half the height of the image."""
    x, y = rng.uniform(-0.25, 0.25, 2)
    cam_T_obj = rigid(R, np.array([x, y, DISTANCE]))
    brightness, coverage = shape.draw(camera, cam_T_obj)
    coarse = rng.integers(0, 256, (HEIGHT // 20, WIDTH // 20, 3), dtype=np.uint8)
    background = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC).astype(np.float64)
    colour = rng.uniform(90, 255, 3)
    image = background + coverage[..., None] * (brightness[..., None] * colour - background)
    uv = project(camera.K, transform(cam_T_obj, shape.mesh.vertices))
    box = np.concatenate([uv.min(0), uv.max(0)])
    return Trial(Frame("made-up", camera, np.clip(image, 0, 255).astype(np.uint8)), Detection(box))


def from_folder(folder: Path, count: int) -> list[Trial]:
    """Up to `count` images of a folder, evenly spread, each with one box around its middle.

    Raises:
        FileNotFoundError: no such folder, or no images in it.
        ValueError: an image cannot be read.
    """
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in ENDINGS) if folder.is_dir() else []
    if not paths:
        raise FileNotFoundError(f"{folder}: no folder with images ({', '.join(sorted(ENDINGS))})")
    chosen = np.unique(np.linspace(0, len(paths) - 1, min(count, len(paths))).astype(int))
    return [_middle(paths[index]) for index in chosen]


def _middle(path: Path) -> Trial:
    image = read_rgb(path)
    height, width = image.shape[:2]
    size, centre = np.array([width, height]), (np.array([width, height]) - 1) / 2
    focal = 1.2 * max(width, height)  # unknown, and the same for all that are compared
    camera = Camera(np.array([[focal, 0, centre[0]], [0, focal, centre[1]], [0, 0, 1]]), width, height)
    return Trial(
        Frame(path.name, camera, image),
        Detection(np.concatenate([centre - FILLED * size / 2, centre + FILLED * size / 2])),
    )


def trials(template: Template, folder: Path | None, count: int) -> list[Trial]:
    """Images of a folder if there is one, and made-up ones."""
    found: Sequence[Trial] = from_folder(folder, count) if folder is not None else []
    return [*found, *made_up(template, count if folder is None else max(2, count // 4))]
