"""A made-up film with exact answers: a camera that moves past a table with one or two mugs.

In: a seed. Out: images with stamps, masks, depth and true poses. Lengths are metres; `fixed` is a frame on the table
whose z is up. The same seed gives the same pixels on the same versions of the libraries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from uop3d_core.capture.synthetic.orbit import look_at
from uop3d_core.capture.synthetic.render import Renderer
from uop3d_core.capture.synthetic.scene import Scene, random_scene, with_neighbour
from uop3d_core.geometry import Array, inverse_rigid, pixel_rays, rigid
from uop3d_core.types import Camera

START_NS = 1_700_000_000_000_000_000
SWEEP_DEG, ELEVATIONS_DEG = 70.0, (24.0, 42.0)
FOCAL = 1.2
"""In image widths."""
FARTHEST_M = 10.0
"""Depth beyond is unknown."""


@dataclass(frozen=True, eq=False)
class Shot:
    """One image of a film.

    Attributes:
        stamp_ns: when it was taken.
        image: (H, W, 3) uint8 RGB.
        masks: (M, H, W) bool, one per mug: where it is seen.
        depth: (H, W) float32 metres along z of cam; NaN unknown.
        cam_T_fixed: (4, 4) rigid, metres.
        cam_T_obj: (M, 4, 4) rigid true poses of the mugs, metres.
    """

    stamp_ns: int
    image: Array
    masks: Array
    depth: Array
    cam_T_fixed: Array
    cam_T_obj: Array


@dataclass(frozen=True, eq=False)
class Film:
    """All of it.

    Attributes:
        camera: of all images.
        unit_m: diagonal of every mug's box in metres.
        shots: in order.
    """

    camera: Camera
    unit_m: float
    shots: tuple[Shot, ...]


def make_film(
    seed: int | Sequence[int],
    shots: int = 30,
    rate: float = 8.0,
    mugs: int = 2,
    size: tuple[int, int] = (320, 240),
    unit_m: float = 0.13,
) -> Film:
    """Film a table while moving around it by SWEEP_DEG.

    Args:
        seed: of everything random; a sequence of integers is one seed, too.
        shots: number of images.
        rate: images per second.
        mugs: 1 or 2 of them stand on the table.
        size: width and height in pixels.
        unit_m: diagonal of the mugs' boxes in metres.
    """
    rng = np.random.default_rng(seed)
    scene = random_scene(rng, clutter=False)
    scene = with_neighbour(scene, rng) if mugs == 2 else scene
    camera = _camera(*size)
    renderer = Renderer(scene, camera)
    standing = _standing(scene)
    film = []
    for index, cam_T_scene in enumerate(_path(rng, standing, shots)):
        image, masks = renderer.picture_of_all(cam_T_scene, 1.0, 1.0, rng)
        stamp_ns = START_NS + round(index * 1e9 / rate)
        depth = _depth(scene, camera, cam_T_scene) * unit_m
        depth = np.where(depth < FARTHEST_M, depth, np.nan).astype(np.float32)
        film.append(
            Shot(stamp_ns, image, masks, depth, _metres(cam_T_scene, unit_m), _metres(cam_T_scene @ standing, unit_m))
        )
    return Film(camera, unit_m, tuple(film))


def _camera(width: int, height: int) -> Camera:
    K = np.array([[FOCAL * width, 0, (width - 1) / 2], [0, FOCAL * width, (height - 1) / 2], [0, 0, 1]])
    return Camera(K, width, height)


def _standing(scene: Scene) -> Array:
    """scene_T_obj (M, 4, 4) of the mugs."""
    neighbours = [] if scene.neighbour is None else [scene.neighbour.scene_T_mug]
    return np.stack([np.eye(4), *neighbours])


def _path(rng: np.random.Generator, scene_T_obj: Array, count: int) -> Array:
    """cam_T_scene (count, 4, 4) of a camera that looks between the mugs, from where they stand side by side."""
    middle = scene_T_obj[:, :3, 3].mean(0)
    apart = scene_T_obj[-1, :3, 3] - scene_T_obj[0, :3, 3]
    spread = float(np.linalg.norm(apart[:2]))
    facing = np.arctan2(apart[0], -apart[1]) if spread else rng.uniform(0, 2 * np.pi)
    turn = np.radians(SWEEP_DEG) * (np.arange(count) / max(count - 1, 1) - 0.5)
    azimuth = facing + rng.choice([-1, 1]) * turn
    low, high = np.radians(sorted(rng.uniform(*ELEVATIONS_DEG, 2)))
    elevation = np.linspace(low, high, count)
    distance = (1.5 + spread) * FOCAL * (1 + 0.04 * np.sin(3 * turn))
    flat = np.stack([np.cos(azimuth), np.sin(azimuth)], axis=1) * np.cos(elevation)[:, None]
    eye = distance[:, None] * np.column_stack([flat, np.sin(elevation)])
    roll = np.radians(1.5) * np.sin(5 * turn)
    cam_T_middle = look_at(eye, np.zeros_like(eye), roll)
    return cam_T_middle @ inverse_rigid(rigid(np.eye(3), middle))


def _depth(scene: Scene, camera: Camera, cam_T_scene: Array) -> Array:
    """(H, W) depth in units of the scene; inf where there is nothing."""
    solids = scene.caster.render(camera, cam_T_scene).t
    ys, xs = np.mgrid[: camera.height, : camera.width]
    scene_T_cam = inverse_rigid(cam_T_scene)
    rays = pixel_rays(camera.K, np.stack([xs.ravel(), ys.ravel()], axis=-1)) @ scene_T_cam[:3, :3].T
    with np.errstate(divide="ignore"):
        table = (scene.mug.z_bottom - scene_T_cam[2, 3]) / rays[:, 2]
    table = np.where((table > 0) & np.isfinite(table), table, np.inf)
    there = np.isfinite(table)
    there[there] = scene.table.contains(scene_T_cam[:3, 3] + table[there, None] * rays[there])
    depth = np.minimum(solids, np.where(there, table, np.inf))
    return depth.reshape(camera.height, camera.width)


def _metres(a_T_b: Array, unit_m: float) -> Array:
    """Rigid transforms (..., 4, 4) with their translations in metres."""
    metric = a_T_b.copy()
    metric[..., :3, 3] *= unit_m
    return metric
