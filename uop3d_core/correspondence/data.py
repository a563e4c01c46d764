"""Training crops: augmented images with the template vertex that every pixel shows.

In: aligned captures and the template. Out: crops (uint8 RGB) and label grids on the network's output grid:
0..V-1 a template vertex, V clutter, -1 unknown (not supervised). Beside them the object's own surface points in obj,
and where the object is: crop_T_obj.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.spatial import cKDTree

from uop3d_core.config import TrainSettings
from uop3d_core.correspondence.model import UPSAMPLING
from uop3d_core.correspondence.synthesis import moved, outline, synthesise
from uop3d_core.correspondence.views import View
from uop3d_core.crops import Crop
from uop3d_core.geometry import Array, inverse_rigid, pixel_rays, rigid
from uop3d_core.images import mask_box
from uop3d_core.raycast import RayCaster
from uop3d_core.types import Template

IGNORE = -1
LEAST_DETAIL = 10.0
"""A degraded crop has up to so many times fewer pixels along its side."""
MOST_NOISE = 40.0
"""Grey levels: largest standard deviation of the noise of a degraded crop."""


@dataclass(frozen=True, eq=False)
class Sample:
    """One augmented crop.

    Attributes:
        image: (S, S, 3) uint8 RGB.
        labels: (G, G) int16 on the output grid.
        points: (G, G, 3) float16, obj: where the object's own surface is; NaN where that is not known.
        poses: (4, 4) float32 crop_T_obj of the object, without what stretched it.
        focals: () float32 focal length of the crop, in sides of it.
    """

    image: Array
    labels: Array
    points: Array
    poses: Array
    focals: Array


class SampleMaker:
    """Draws augmented crops of posed views."""

    def __init__(self, views: Sequence[View], template: Template, stride: int, settings: TrainSettings) -> None:
        """Args: views to draw from, the template, the backbone's stride, and the settings."""
        self.views, self.settings = views, settings
        self.pixels = settings.cells * stride
        self.grid = settings.cells * UPSAMPLING
        self.template = RayCaster(template.mesh)
        self.tree = cKDTree(template.mesh.vertices)

    def variants(self, index: int) -> Iterator[Sample]:
        """All augmented crops of one view; the same for the same seed and index, whatever was drawn before."""
        view = self.views[index]
        image, mask = view.frame.image, view.frame.mask
        for variant in range(self.settings.variants):
            rng = np.random.default_rng([self.settings.seed, index, variant])
            yield self._draw(view, image, mask, rng)

    def _draw(self, view: View, image: Array, mask: Array, rng: np.random.Generator) -> Sample:
        s = self.settings
        crop, cam_A_obj = self._placed(view, mask, rng)
        elsewhere = cam_A_obj is not view.cam_T_obj
        if elsewhere:
            made = synthesise(view, image, mask, crop, cam_A_obj)
            pixels, inside, unknown = made.pixels, made.inside, made.unknown
        else:
            pixels, inside = crop.sample(image), crop.sample(mask)
            unknown = np.zeros_like(inside)
        if rng.random() < s.texture:
            paint = rng.uniform(0.2, 0.7) * inside[..., None]
            pixels = (pixels * (1 - paint) + self._background(rng) * paint).astype(np.uint8)
        if rng.random() < s.background:
            pixels = np.where(inside[..., None], pixels, self._background(rng))
        hidden = np.zeros_like(inside)
        if rng.random() < s.occlusion:
            pixels, hidden = self._occlude(pixels, inside, rng)
        labels, points = self._labels(view, cam_A_obj, crop, inside, hidden, unknown)
        pixels = _recolour(pixels, s.colour, rng)
        if rng.random() < s.damage:
            pixels = _degraded(pixels, rng)
        return Sample(pixels, labels, points, *_geometry(crop, cam_A_obj))

    def _placed(self, view: View, mask: Array, rng: np.random.Generator) -> tuple[Crop, Array]:
        """A crop, and the affine (4, 4) map that places the object before it: the view's own, or a moved one."""
        s = self.settings
        elsewhere = rng.random() < s.synthesis
        cam_A_obj = moved(view.cam_T_obj, s.turn_deg, s.stretch, rng) if elsewhere else view.cam_T_obj
        crop = Crop.around(
            view.frame.camera,
            outline(view, cam_A_obj) if elsewhere else mask_box(mask),
            self.pixels,
            s.margin,
            shift=(rng.uniform(-s.shift, s.shift), rng.uniform(-s.shift, s.shift)),
            zoom=float(np.exp(rng.uniform(-1, 1) * np.log1p(s.zoom))),
            roll=float(np.deg2rad(rng.uniform(-s.roll_deg, s.roll_deg))),
        )
        return crop, cam_A_obj

    def _background(self, rng: np.random.Generator) -> Array:
        """Something else: a stretched part of another view, or smooth noise."""
        if rng.random() < 0.5:
            other = self.views[int(rng.integers(len(self.views)))].frame.image
            height, width = other.shape[:2]
            side = max(2, int(min(height, width) * rng.uniform(0.1, 0.5)))
            x, y = int(rng.integers(width - side + 1)), int(rng.integers(height - side + 1))
            return cv2.resize(other[y : y + side, x : x + side], (self.pixels, self.pixels))
        size = int(rng.integers(2, 12))
        noise = rng.uniform(0, 255, (size, size, 3)).astype(np.float32)
        return np.clip(cv2.resize(noise, (self.pixels, self.pixels), interpolation=cv2.INTER_CUBIC), 0, 255).astype(
            np.uint8
        )

    def _occlude(self, pixels: Array, inside: Array, rng: np.random.Generator) -> tuple[Array, Array]:
        """Cover part of the object with a textured ellipse or box; returns the crop and what is hidden."""
        ys, xs = np.nonzero(inside)
        hidden = np.zeros(inside.shape, np.uint8)
        if len(xs):
            pick = int(rng.integers(len(xs)))
            size = rng.uniform(0.08, 0.3, 2) * self.pixels
            box = ((float(xs[pick]), float(ys[pick])), (float(size[0]), float(size[1])), float(rng.uniform(0, 180)))
            if rng.random() < 0.5:
                cv2.ellipse(hidden, box, 1, -1)
            else:
                cv2.fillConvexPoly(hidden, cv2.boxPoints(box).astype(np.int32), 1)
        covered = hidden.astype(bool)
        return np.where(covered[..., None], self._background(rng), pixels), covered

    def _labels(
        self, view: View, cam_A_obj: Array, crop: Crop, inside: Array, hidden: Array, unknown: Array
    ) -> tuple[Array, Array]:
        """Labels and surface points: rays through the output pixels meet the capture's own surface.

        The label is the template's nearest vertex. Where the surface is missing inside the mask, what the template
        shows there.
        """
        G, V = self.grid, len(self.template.mesh.vertices)
        crop_xy = crop.grid(G)
        column, row = np.clip(np.rint(crop_xy), 0, self.pixels - 1).astype(int).T
        covered, object_here = hidden[row, column], inside[row, column]
        crop_A_obj = inverse_rigid(crop.cam_T_crop) @ cam_A_obj
        labels, points = np.full(G * G, V, dtype=np.int16), np.full((G * G, 3), np.nan, dtype=np.float16)
        rays = pixel_rays(crop.K, crop_xy)
        own = view.shape.first_hits_of_rays(rays, crop_A_obj)
        template = self.template.first_hits_of_rays(rays, crop_A_obj)
        labels[object_here != own.mask] = IGNORE
        labels[object_here & unknown[row, column]] = IGNORE
        direct = object_here & own.mask & ~unknown[row, column]
        surface = view.shape.points(own)[direct]
        labels[direct] = self.tree.query(surface)[1]
        points[direct] = surface * np.linalg.norm(cam_A_obj[:3, :3], axis=0)
        instead = object_here & ~own.mask & template.mask
        corner = template.barycentric[instead].argmax(1)
        labels[instead] = self.template.mesh.faces[template.face[instead], corner]
        labels[covered], points[covered] = V, np.nan
        return labels.reshape(G, G), points.reshape(G, G, 3)


def _geometry(crop: Crop, cam_A_obj: Array) -> tuple[Array, Array]:
    """crop_T_obj (4, 4) float32 without what stretches the object, and the focal length () float32 in sides."""
    turn = cam_A_obj[:3, :3] / np.linalg.norm(cam_A_obj[:3, :3], axis=0)
    crop_T_obj = inverse_rigid(crop.cam_T_crop) @ rigid(turn, cam_A_obj[:3, 3])
    return crop_T_obj.astype(np.float32), np.array(crop.focal / crop.pixels, np.float32)


def _recolour(image: Array, strength: float, rng: np.random.Generator) -> Array:
    """Random brightness, contrast, saturation and channel gains; sometimes grey."""
    x = image.astype(np.float32)
    gain = np.exp(rng.normal(0, 0.3 * strength, 3).astype(np.float32))
    x = (x - 128) * float(np.exp(rng.normal(0, 0.8 * strength))) + 128 + float(rng.normal(0, 80 * strength))
    grey = x.mean(2, keepdims=True)
    saturation = 0.0 if rng.random() < 0.15 * strength else float(np.exp(rng.normal(0, 1.0 * strength)))
    return np.clip((grey + saturation * (x - grey)) * gain, 0, 255).astype(np.uint8)


def _degraded(image: Array, rng: np.random.Generator) -> Array:
    """As things look that are far away, out of focus or in the dark: fewer pixels, and noise."""
    side = len(image)
    coarse = max(8, round(side / LEAST_DETAIL ** rng.random()))
    few = cv2.resize(image, (coarse, coarse), interpolation=cv2.INTER_AREA)
    x = cv2.resize(few, (side, side), interpolation=cv2.INTER_LINEAR).astype(np.float32)
    x += rng.normal(0, rng.uniform(0, MOST_NOISE), x.shape)
    return np.clip(x, 0, 255).astype(np.uint8)
