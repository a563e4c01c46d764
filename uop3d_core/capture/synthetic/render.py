"""Pictures of a scene by ray casting: Lambert, ambient, highlight, mirrored room, soft shadow.

In: a Scene, a Camera and where it is. Out: uint8 RGB image and exact object mask. Frame of the scene: canonical.
Solids (mug and boxes) are shaded at every sample of a pixel; table and room behind them once per pixel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from uop3d_core.capture.synthetic.mug import Mug, Part
from uop3d_core.capture.synthetic.scene import LIGHT_PARTS, Scene
from uop3d_core.capture.synthetic.texture import MugTexture
from uop3d_core.geometry import Array, inverse_rigid, pixel_rays, transform
from uop3d_core.types import Camera

OFFSETS = np.array([[-0.25, -0.25], [0.25, -0.25], [-0.25, 0.25], [0.25, 0.25]])
"""Where rays pass a pixel, relative to its centre."""
SAMPLES = len(OFFSETS)
SPREAD = LIGHT_PARTS // SAMPLES
"""Samples of a pixel ask for every SPREAD-th part of the light; its neighbours for those between."""
CLEARANCE = 1e-4
"""Distance that shadow rays keep from the surface they start on."""


@dataclass(frozen=True, eq=False)
class Points:
    """Surface points to shade.

    Attributes:
        position, normal, albedo: (N, 3); normals are unit vectors.
        gloss: (N,) share of mirrored light, 0 = matt.
        openness: (N,) share of the ambient light that reaches the point.
        light_parts: (N, k) the parts of the light that shine on the point.
    """

    position: Array
    normal: Array
    albedo: Array
    gloss: Array
    openness: Array
    light_parts: Array


class Renderer:
    """A scene and a camera, prepared for many pictures."""

    def __init__(self, scene: Scene, camera: Camera) -> None:
        """Compute what all pictures share: the camera's rays, and which parts of the light each pixel asks for."""
        ys, xs = (values.ravel() for values in np.mgrid[: camera.height, : camera.width])
        pixels = np.stack([xs, ys], axis=-1)
        self.scene = scene
        self.shape = (camera.height, camera.width)
        self.sample_rays = _unit(pixel_rays(camera.K, (pixels + OFFSETS[:, None]).reshape(-1, 2))).astype(np.float32)
        self.centre_rays = _unit(pixel_rays(camera.K, pixels)).astype(np.float32)
        self.light_parts = (SPREAD * np.arange(SAMPLES) + (xs % 2 + 2 * (ys % 2))[:, None]) % LIGHT_PARTS

    def picture(self, cam_T_obj: Array, exposure: float, noise: float, rng: np.random.Generator) -> tuple[Array, Array]:
        """One picture.

        Args:
            cam_T_obj: (4, 4) rigid, canonical frame to camera.
            exposure: factor on the light.
            noise: standard deviation of the sensor noise in grey levels of 255.
            rng: of the noise.

        Returns:
            Image (H, W, 3) uint8 and mask (H, W) bool: True where at least half of the rays first meet the mug.
        """
        image, masks = self.picture_of_all(cam_T_obj, exposure, noise, rng)
        return image, masks[0]

    def picture_of_all(
        self, cam_T_obj: Array, exposure: float, noise: float, rng: np.random.Generator
    ) -> tuple[Array, Array]:
        """The same with masks (M, H, W) of the mug and of its neighbour, if there is one."""
        obj_T_cam = inverse_rigid(cam_T_obj).astype(np.float32)
        eye, samples = obj_T_cam[:3, 3], self.sample_rays @ obj_T_cam[:3, :3].T
        ray, light, on_mugs = self._solids(eye, samples)
        total = np.zeros((SAMPLES, len(self.centre_rays), 3), dtype=np.float32)
        total.reshape(-1, 3)[ray] = np.clip(exposure * light, 0, 1)
        solid = np.bincount(ray % len(self.centre_rays), minlength=len(self.centre_rays)) / SAMPLES
        behind = np.flatnonzero(solid < 1)
        samples = samples.reshape(SAMPLES, -1, 3)[:, behind]
        background = self._background(eye, self.centre_rays[behind] @ obj_T_cam[:3, :3].T, samples, behind)
        mean = total.mean(0)
        mean[behind] += (1 - solid[behind])[:, None] * np.clip(exposure * background, 0, 1)
        grey_levels = 255 * mean ** (1 / 2.2) + noise * rng.standard_normal(mean.shape, dtype=np.float32)
        image = np.clip(np.round(grey_levels), 0, 255).astype(np.uint8).reshape(*self.shape, 3)
        return image, on_mugs.reshape(-1, SAMPLES, *self.shape).sum(1) >= SAMPLES / 2

    def _solids(self, eye: Array, samples: Array) -> tuple[Array, Array, Array]:
        """Indices (N,) of the rays that meet a solid, the light (N, 3) they see, and which rays (M, R) meet each."""
        scene, neighbour = self.scene, self.scene.neighbour
        hits = scene.caster.first_hits(eye, samples)
        on_mugs = (hits.mask & (scene.parts[hits.face] != Part.CLUTTER))[None]
        if neighbour is not None:
            on_mugs = np.concatenate([on_mugs & ~neighbour.faces[hits.face], on_mugs & neighbour.faces[hits.face]])
        ray = np.flatnonzero(hits.mask)
        face, weights = hits.face[ray], hits.barycentric[ray]
        corners, part = scene.caster.mesh.faces[face], scene.parts[face]
        position = np.einsum("nk,nkd->nd", weights, scene.caster.mesh.vertices[corners])
        smooth = np.einsum("nk,nkd->nd", weights, scene.normals[corners])
        box = part == Part.CLUTTER
        albedo = scene.box_colours[face]
        for index, (mug, texture, local) in enumerate(_mugs(scene, position)):
            here = on_mugs[index, ray]
            albedo[here] = texture.colours(mug, local[here], part[here])
        sample, pixel = np.divmod(ray, len(self.centre_rays))
        points = Points(
            position=position,
            normal=_unit(np.where(box[:, None], scene.caster.face_normals[face], smooth)),
            albedo=albedo,
            gloss=np.where(box, 0.1, scene.gloss),
            openness=_openness(scene, position, part),
            light_parts=self.light_parts[pixel, sample][:, None],
        )
        return ray, _shade(scene, points, samples[ray]), on_mugs

    def _background(self, eye: Array, rays: Array, samples: Array, pixel: Array) -> Array:
        """Light (N, 3) from table and room in (N,) pixels, with their rays (N, 3) and sample rays (SAMPLES, N, 3)."""
        scene = self.scene
        light = scene.room.colours(rays)
        down = np.flatnonzero(rays[:, 2] < -1e-3)
        places = _on_table(scene, eye, samples[:, down].reshape(-1, 3))
        cover = scene.table.contains(places).reshape(SAMPLES, -1).mean(0)
        down, cover = down[cover > 0], cover[cover > 0]
        places = _on_table(scene, eye, samples[:, down].reshape(-1, 3))
        position = _on_table(scene, eye, rays[down])
        openness = 1 - 0.6 * np.sum([_contact(mug, local) for mug, _, local in _mugs(scene, position)], axis=0)
        points = Points(
            position=position,
            normal=np.broadcast_to(np.array([0, 0, 1], dtype=np.float32), position.shape),
            albedo=scene.table.colours(places).reshape(SAMPLES, -1, 3).mean(0),
            gloss=np.full(len(down), scene.table.gloss),
            openness=openness,
            light_parts=self.light_parts[pixel[down]],
        )
        light[down] += cover[:, None] * (_shade(scene, points, rays[down]) - light[down])
        return light


def _mugs(scene: Scene, position: Array) -> list[tuple[Mug, MugTexture, Array]]:
    """Every mug with its texture, and (N, 3) points of the scene in its own frame."""
    mugs = [(scene.mug, scene.texture, position)]
    if scene.neighbour is not None:
        there = scene.neighbour
        mugs.append((there.mug, there.texture, transform(inverse_rigid(there.scene_T_mug), position)))
    return mugs


def _contact(mug: Mug, local: Array) -> Array:
    """How near (N, 3) points of the table, in the mug's frame, are to it: 1 under it, towards 0 away from it."""
    away = np.hypot(local[:, 0] - mug.axis_x, local[:, 1]) - 0.9 * mug.radius
    return np.exp(-np.clip(away, 0, None) / (0.6 * mug.radius))


def _unit(vectors: Array) -> Array:
    return vectors / np.sqrt(np.einsum("nd,nd->n", vectors, vectors))[:, None]


def _dot(a: Array, b: Array) -> Array:
    return np.einsum("nd,nd->n", a, b)


def _on_table(scene: Scene, eye: Array, rays: Array) -> Array:
    """Where (N, 3) rays meet the plane of the table: (N, 3)."""
    return eye + ((scene.mug.z_bottom - eye[2]) / np.minimum(rays[:, 2], -1e-4))[:, None] * rays


def _openness(scene: Scene, position: Array, part: Array) -> Array:
    """Less ambient light reaches the depth of the cavity and what is near the table."""
    level = np.clip((position[:, 2] - scene.mug.z_bottom) / scene.mug.height, 0, 1)
    return np.where(part == Part.INSIDE, 0.4 + 0.6 * level**1.5, 0.65 + 0.35 * np.clip(4 * level, 0, 1))


def _shade(scene: Scene, points: Points, view: Array) -> Array:
    """Light (N, 3) that leaves the points against the unit directions (N, 3) of the rays that see them."""
    towards = scene.light.centre
    facing = points.normal @ towards
    lit = _lit_share(scene, points, facing)
    up = 0.5 + 0.5 * points.normal[:, 2:]
    ambient = (up * scene.light.sky + (1 - up) * scene.light.bounce) * points.openness[:, None]
    colour = points.albedo * (ambient + (lit * np.clip(facing, 0, None))[:, None] * scene.light.colour)
    if not points.gloss.any():
        return colour
    highlight = 0.5 * points.gloss * lit * np.clip(_dot(points.normal, _unit(towards - view)), 0, 1) ** scene.highlight
    against = _dot(points.normal, view)
    fresnel = points.gloss * points.openness * (0.04 + 0.96 * np.clip(1 + against, 0, 1) ** 5)
    mirror = scene.room.mirrored(view - 2 * against[:, None] * points.normal, points.gloss)
    return colour + fresnel[:, None] * (mirror - colour) + highlight[:, None] * scene.light.colour


def _lit_share(scene: Scene, points: Points, facing: Array) -> Array:
    """(N,) share of the light's parts that neither mug nor box hides; only asked where it matters."""
    to_centre = scene.centre - points.position
    along = to_centre @ scene.light.centre
    near = _dot(to_centre, to_centre) - along**2 < (1.2 * scene.radius) ** 2
    lit = (facing > 0).astype(np.float32)
    asked = np.flatnonzero((facing > 0) & near)
    towards = scene.light.directions[points.light_parts[asked]]
    origins = np.repeat(points.position[asked] + CLEARANCE * points.normal[asked], towards.shape[1], axis=0)
    hidden = scene.caster.first_hits(origins, towards.reshape(-1, 3)).mask
    lit[asked] = 1 - hidden.reshape(towards.shape[:2]).mean(1)
    return lit
