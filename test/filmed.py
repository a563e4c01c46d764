"""A box on a patterned floor, filmed from all around: pictures with exact cameras and masks, made by homographies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from scenes import look_at

from uop3d_core.geometry import project, transform

TEXTURE = 512
EXTENTS = np.array([1.0, 0.8, 0.9])


@dataclass(frozen=True, eq=False)
class FilmedBox:
    """The pictures with their answers.

    Attributes:
        images: (N, H, W, 3) uint8 RGB.
        masks: (N, H, W) bool.
        cam_T_world: (N, 4, 4); the box stands on z = 0.
        K: (3, 3).
    """

    images: np.ndarray
    masks: np.ndarray
    cam_T_world: np.ndarray
    K: np.ndarray

    def write(self, folder: Path) -> Path:
        """The pictures as PNG photos."""
        folder.mkdir(parents=True)
        for index, image in enumerate(self.images):
            Image.fromarray(image).save(folder / f"photo_{index:02d}.png")
        return folder

    def write_video(self, path: Path, rate: float = 10.0) -> Path:
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), rate, self.images.shape[2:0:-1])
        for image in self.images:
            writer.write(image[..., ::-1])
        writer.release()
        return path


def film_box(
    views: int = 20,
    width: int = 400,
    height: int = 300,
    turn: float = 1.0,
    seed: int = 0,
    turned: Callable[[float], float] = lambda share: 0.0,
    extents: Sequence[float] = EXTENTS,
    plain: tuple[float, float] = (0.0, 0.0),
) -> FilmedBox:
    """Film the box from `views` directions along `turn` circles.

    `turned` says by which angle the box has turned on its floor after a share of the film, `extents` its size, `plain`
    between which shares of its height nothing is printed on it.
    """
    rng = np.random.default_rng(seed)
    floor = _texture(rng, (60, 120), (90, 170))
    sides = [_texture(rng, (150, 255), (20, 90)) for _ in range(5)]
    # Up is down the rows of the first two, along those of the others.
    for axis, side in zip((0, 0, 1, 1), sides[:4], strict=True):
        low, high = (round(share * TEXTURE) for share in plain)
        (side if axis == 0 else side.swapaxes(0, 1))[low:high] = (200, 120, 190)
    K = np.array([[0.9 * width, 0, (width - 1) / 2], [0, 0.9 * width, (height - 1) / 2], [0, 0, 1]])
    images, masks, cameras = [], [], []
    for index in range(views):
        angle = 2 * np.pi * turn * index / views
        eye = [3.2 * np.cos(angle), 3.2 * np.sin(angle), 1.15 + extents[2] / 2 + 0.3 * np.sin(3 * angle)]
        cam_T_world = look_at(eye, (0, 0, extents[2] / 2))
        image, mask = _picture(cam_T_world, K, (width, height), floor, sides, turned(index / views), extents)
        images.append(image)
        masks.append(mask)
        cameras.append(cam_T_world)
    return FilmedBox(np.array(images), np.array(masks), np.array(cameras), K)


def _texture(rng: np.random.Generator, dark: tuple[int, int], light: tuple[int, int]) -> np.ndarray:
    """(TEXTURE, TEXTURE, 3) blots of many sizes."""
    picture = np.empty((TEXTURE, TEXTURE, 3), np.uint8)
    picture[:] = rng.integers(*sorted((dark[0], light[1])), 3)
    for _ in range(700):
        centre = tuple(int(v) for v in rng.integers(0, TEXTURE, 2))
        colour = tuple(int(rng.integers(*side)) for side in (dark, light, dark))
        cv2.circle(picture, centre, int(rng.integers(2, 16)), colour, -1, cv2.LINE_AA)
    return cv2.GaussianBlur(picture, (0, 0), 1.0)


def _picture(cam_T_world, K, size, floor, sides, turned, extents):
    image = np.full((size[1], size[0], 3), 200, np.uint8)
    mask = np.zeros((size[1], size[0]), np.uint8)
    corners = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], dtype=float)
    _draw(image, None, floor, 2.2 * corners, cam_T_world, K)
    c, s = np.cos(turned), np.sin(turned)
    cam_T_world = cam_T_world @ [[c, -s, 0, 0], [s, c, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    eye = -cam_T_world[:3, :3].T @ cam_T_world[:3, 3]
    half = np.array(extents) / 2
    for texture, (axis, sign) in zip(sides, [(0, 1), (0, -1), (1, 1), (1, -1), (2, 1)], strict=True):
        normal = sign * np.eye(3)[axis]
        u, v = (np.eye(3)[(axis + k) % 3] for k in (1, 2))
        centre = [0, 0, half[2]] + normal * half
        if (eye - centre) @ normal > 0:
            quad = np.array([centre + (a * u + b * v) * half for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))])
            _draw(image, mask, texture, quad, cam_T_world, K)
    return image, mask > 0


def _draw(image, mask, texture, quad, cam_T_world, K):
    pixels = project(K, transform(cam_T_world, quad)).astype(np.float32)
    assert np.isfinite(pixels).all()
    source = np.array([[0, 0], [TEXTURE, 0], [TEXTURE, TEXTURE], [0, TEXTURE]], np.float32) - 0.5
    H = cv2.getPerspectiveTransform(source, pixels)
    size = image.shape[1::-1]
    warped = cv2.warpPerspective(texture, H, size, flags=cv2.INTER_LINEAR)
    cover = cv2.fillConvexPoly(np.zeros(size[::-1], np.uint8), np.rint(pixels).astype(np.int32), 1) > 0
    image[cover] = warped[cover]
    if mask is not None:
        mask[cover] = 1
