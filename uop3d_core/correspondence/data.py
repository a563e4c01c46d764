"""Training crops: augmented images with the template vertex that every pixel shows.

In: aligned captures and the template. Out: crops (uint8 RGB) and label grids on the network's output grid:
0..V-1 a template vertex, V clutter, -1 unknown (not supervised).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.spatial import cKDTree

from uop3d_core.config import TrainSettings
from uop3d_core.correspondence.model import UPSAMPLING
from uop3d_core.geometry import Array, rigid_through_similarity
from uop3d_core.images import Crop, mask_box
from uop3d_core.raycast import RayCaster
from uop3d_core.types import Alignment, Capture, Frame, Mesh, Sim3, Template

IGNORE = -1


@dataclass(frozen=True, eq=False)
class View:
    """One frame of an accepted capture, posed in obj.

    Attributes:
        frame: image, camera, mask.
        cam_T_obj: (4, 4) rigid, depth in object units.
        shape: ray caster of the capture's own mesh in obj.
    """

    frame: Frame
    cam_T_obj: Array
    shape: RayCaster


@dataclass(frozen=True, eq=False)
class Sample:
    """One augmented crop.

    Attributes:
        image: (S, S, 3) uint8 RGB.
        labels: (G, G) int16 on the output grid.
    """

    image: Array
    labels: Array


def posed_views(captures: Sequence[Capture], meshes: Mapping[str, Mesh], alignment: Alignment) -> list[View]:
    """All frames with a mask of all accepted captures."""
    views = []
    for capture in captures:
        entry = alignment.captures.get(capture.name)
        if entry is None or not entry.accepted:
            continue
        obj_T_world = entry.obj_T_world
        shape = RayCaster(meshes[capture.name].transformed(obj_T_world))
        for frame in capture.frames:
            if frame.mask.any():
                views.append(View(frame, pose_of(frame, obj_T_world), shape))
    return views


def pose_of(frame: Frame, obj_T_world: Sim3) -> Array:
    """cam_T_obj (4, 4) of a posed frame."""
    assert frame.cam_T_world is not None
    return rigid_through_similarity(frame.cam_T_world, obj_T_world.scale, obj_T_world.R, obj_T_world.t)


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
        box = mask_box(mask)
        base = Crop.around(box, self.pixels, s.margin)
        shift = rng.uniform(-s.shift, s.shift, 2) * base.side / s.margin
        centre = base.centre[0] + shift[0], base.centre[1] + shift[1]
        roll = float(np.deg2rad(rng.uniform(-s.roll_deg, s.roll_deg)))
        crop = Crop(centre, base.side * float(np.exp(rng.uniform(-1, 1) * np.log1p(s.zoom))), self.pixels, roll)
        pixels, inside = crop.sample(image), crop.sample(mask)
        if rng.random() < s.texture:
            paint = rng.uniform(0.2, 0.7) * inside[..., None]
            pixels = (pixels * (1 - paint) + self._background(rng) * paint).astype(np.uint8)
        if rng.random() < s.background:
            pixels = np.where(inside[..., None], pixels, self._background(rng))
        hidden = np.zeros_like(inside)
        if rng.random() < s.occlusion:
            pixels, hidden = self._occlude(pixels, inside, rng)
        return Sample(_recolour(pixels, s.colour, rng), self._labels(view, crop, inside, hidden))

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

    def _labels(self, view: View, crop: Crop, inside: Array, hidden: Array) -> Array:
        """Label grid: rays through the output pixels meet the template, or else the capture's own surface."""
        G, V = self.grid, len(self.template.mesh.vertices)
        step = self.pixels / G
        ys, xs = np.mgrid[:G, :G]
        crop_xy = (np.stack([xs.ravel(), ys.ravel()], -1) + 0.5) * step - 0.5
        rays = crop.to_image(crop_xy)
        column, row = np.clip(np.rint(crop_xy), 0, self.pixels - 1).astype(int).T
        on_object = inside[row, column] & ~hidden[row, column]
        K = view.frame.camera.K
        labels = np.full(G * G, V, dtype=np.int16)
        hits = self.template.first_hits_of_pixels(K, rays, view.cam_T_obj)
        labels[hits.mask] = IGNORE
        labels[hidden[row, column]] = V
        direct = hits.mask & on_object
        corner = hits.barycentric[direct].argmax(1)
        labels[direct] = self.template.mesh.faces[hits.face[direct], corner]
        missed = np.flatnonzero(on_object & ~hits.mask)
        if len(missed):
            own = view.shape.first_hits_of_pixels(K, rays[missed], view.cam_T_obj)
            labels[missed] = IGNORE
            labels[missed[own.mask]] = self.tree.query(view.shape.points(own)[own.mask])[1]
        return labels.reshape(G, G)


def _recolour(image: Array, strength: float, rng: np.random.Generator) -> Array:
    """Random brightness, contrast, saturation and channel gains; sometimes grey."""
    x = image.astype(np.float32)
    gain = np.exp(rng.normal(0, 0.3 * strength, 3).astype(np.float32))
    x = (x - 128) * float(np.exp(rng.normal(0, 0.8 * strength))) + 128 + float(rng.normal(0, 80 * strength))
    grey = x.mean(2, keepdims=True)
    saturation = 0.0 if rng.random() < 0.15 * strength else float(np.exp(rng.normal(0, 1.0 * strength)))
    return np.clip((grey + saturation * (x - grey)) * gain, 0, 255).astype(np.uint8)
