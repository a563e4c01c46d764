"""Images of a captured object as other cameras would see it, and as one of other proportions would look.

In: a posed view with the capture's own mesh. Out: a crop in which every pixel takes the colour that the image has where
the same surface point is seen. A video shows each object from few directions and a category by few objects; what lies
between them is made here, with its exact pose.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from uop3d_core.cameras import pixels_of
from uop3d_core.correspondence.photographs import Photograph
from uop3d_core.correspondence.views import View
from uop3d_core.crops import Crop
from uop3d_core.geometry import Array, inverse_rigid, pixel_rays, transform

STEP = 2
"""Crop pixels between rays; colours are looked up at every pixel, by interpolating where the rays lead."""
SEEN = 0.02
"""In object units: how far behind the surface that the image shows a point still counts as shown."""
FACING = 0.2
"""Cosine between a surface and the way to a camera from which it is shown well."""
NOTHING, UNSEEN = -2, -1
BEHIND = 48
"""Side in pixels of the image in which the background behind the object is filled in."""


@dataclass(frozen=True, eq=False)
class Synthesised:
    """A crop of an object as it was not photographed.

    Attributes:
        pixels: (S, S, 3) uint8 RGB.
        inside: (S, S) bool, object.
        unknown: (S, S) bool, object that the image does not show: its colours mean nothing.
    """

    pixels: Array
    inside: Array
    unknown: Array


def moved(cam_T_obj: Array, turn_deg: float, stretch: float, rng: np.random.Generator) -> Array:
    """Affine (4, 4) map of object points to a camera: turned about the object's origin, and stretched along its axes.

    Args:
        cam_T_obj: (4, 4) rigid.
        turn_deg: largest angle of the turn, about any axis.
        stretch: largest relative change of length along each axis.
        rng: random generator.
    """
    axis = rng.standard_normal(3)
    turn = Rotation.from_rotvec(axis / np.linalg.norm(axis) * np.deg2rad(rng.uniform(0, turn_deg)))
    cam_A_obj = cam_T_obj.copy()
    cam_A_obj[:3, :3] = turn.as_matrix() @ cam_T_obj[:3, :3] * np.exp(rng.uniform(-1, 1, 3) * np.log1p(stretch))
    return cam_A_obj


def outline(view: View, cam_A_obj: Array) -> Array:
    """Box (4,) xyxy around the view's object, as the camera would see it."""
    pixels = pixels_of(view.frame.camera, transform(cam_A_obj, view.shape.mesh.vertices))
    return np.concatenate([pixels.min(0), pixels.max(0)])


def synthesise(view: Photograph, sources: Sequence[Photograph], crop: Crop, cam_A_obj: Array) -> Synthesised:
    """Crop of the object as `cam_A_obj` shows it.

    Args:
        view: the photographed view whose surroundings are shown.
        sources: photographs of the object, the best first: every point has the colours of the first that shows it well,
            or of the first that shows it at all.
        crop: of what the new camera sees, which is where that of `view` is and like it.
        cam_A_obj: (4, 4) affine.
    """
    S, shape = crop.pixels, view.view.shape
    side = -(-S // STEP)
    rays = pixel_rays(crop.K, crop.grid(side))
    hits = shape.first_hits_of_rays(rays, inverse_rigid(crop.cam_T_crop) @ cam_A_obj)
    points, normals = shape.points(hits)[hits.mask], shape.face_normals[hits.face[hits.mask]]
    source = np.full(side * side, NOTHING, np.int16)
    source[hits.mask] = _source_of(sources, points, normals)
    source = cv2.resize(source.reshape(side, side), (S, S), interpolation=cv2.INTER_NEAREST)
    pixels, unknown = crop.sample(_without_object(view.image, view.mask)), source == UNSEEN
    inside = unknown.copy()
    for number, photograph in enumerate(sources):
        here = (source == number) | (unknown & (number == 0))
        if here.any():
            where = _enlarged(_seen_at(photograph.view, points), hits.mask, S)
            colours = cv2.remap(photograph.image, where, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            covered = cv2.remap(photograph.mask.astype(np.uint8), where, None, cv2.INTER_NEAREST).astype(bool)
            here &= covered | unknown
            pixels, inside = np.where(here[..., None], colours, pixels), inside | here
    return Synthesised(pixels, inside, unknown)


def _source_of(sources: Sequence[Photograph], points: Array, normals: Array) -> Array:
    """Which of the sources has the colours of points (N, 3) of the surface: (N,) number, or UNSEEN."""
    found, well = np.full(len(points), UNSEEN), np.zeros(len(points), bool)
    for number, source in enumerate(sources):
        left = np.flatnonzero(~well)
        way = inverse_rigid(source.view.cam_T_obj)[:3, 3] - points[left]
        facing = np.einsum("nd,nd->n", way, normals[left]) > FACING * np.linalg.norm(way, axis=1)
        left, facing = (x[facing | (found[left] == UNSEEN)] for x in (left, facing))
        seen = source.view.shape.visible(points[left], inverse_rigid(source.view.cam_T_obj)[:3, 3], SEEN)
        left, facing = left[seen], facing[seen]
        taken = facing | (found[left] == UNSEEN)
        found[left[taken]] = number
        well[left] |= facing
    return found


def _seen_at(view: View, points: Array) -> Array:
    """Pixels (N, 2) of a photograph that show points (N, 3) in obj."""
    return pixels_of(view.frame.camera, transform(view.cam_T_obj, points))


def _enlarged(values: Array, mask: Array, side: int) -> Array:
    """What the True cells of a square grid, flattened, hold (N, 2), on a grid (side, side, 2), also a little around."""
    grid = np.zeros((len(mask), 3), np.float32)
    grid[mask] = np.column_stack([values, np.ones(len(values))])
    cells = int(np.sqrt(len(mask)))
    large = cv2.resize(grid.reshape(cells, cells, 3), (side, side), interpolation=cv2.INTER_LINEAR)
    return np.asarray(large[..., :2] / np.maximum(large[..., 2:], 1e-6))


def _without_object(image: Array, mask: Array) -> Array:
    """The image with the object replaced by what surrounds it, coarsely."""
    height, width = mask.shape
    shrink = BEHIND / max(height, width)
    size = max(1, round(width * shrink)), max(1, round(height * shrink))
    grown = cv2.dilate(mask.astype(np.uint8), np.ones((5, 5), np.uint8))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    hole = (cv2.resize(grown.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0).astype(np.uint8)
    filled = cv2.resize(cv2.inpaint(small, hole, 3, cv2.INPAINT_TELEA), (width, height), interpolation=cv2.INTER_LINEAR)
    return np.where(grown[..., None] > 0, filled, image)
