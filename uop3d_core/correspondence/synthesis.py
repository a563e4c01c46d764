"""Images of a captured object as other cameras would see it, and as one of other proportions would look.

In: a posed view with the capture's own mesh. Out: a crop in which every pixel takes the colour that the image has where
the same surface point is seen. A video shows each object from few directions and a category by few objects; what lies
between them is made here, with its exact pose.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from uop3d_core.cameras import pixels_of
from uop3d_core.correspondence.views import View
from uop3d_core.crops import Crop
from uop3d_core.geometry import Array, inverse_rigid, pixel_rays, transform

STEP = 2
"""Crop pixels between rays; colours are looked up at every pixel, by interpolating where the rays lead."""
SEEN = 0.02
"""In object units: how far behind the surface that the image shows a point still counts as shown."""
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


def synthesise(view: View, image: Array, mask: Array, crop: Crop, cam_A_obj: Array) -> Synthesised:
    """Crop of the object as `cam_A_obj` shows it.

    Args:
        view: the photographed view.
        image: (H, W, 3) its pixels.
        mask: (H, W) bool, its object.
        crop: of what the new camera sees, which is where the old one is and like it.
        cam_A_obj: (4, 4) affine.
    """
    S, camera = crop.pixels, view.frame.camera
    side = -(-S // STEP)
    grid = crop.grid(side)
    hits = view.shape.first_hits_of_rays(pixel_rays(crop.K, grid), inverse_rigid(crop.cam_T_crop) @ cam_A_obj)
    points = view.shape.points(hits)[hits.mask]
    eye = inverse_rigid(view.cam_T_obj)[:3, 3]
    shown = np.zeros(len(grid), bool)
    shown[hits.mask] = view.shape.visible(points, eye, SEEN)
    source = crop.to_image(grid)
    source[hits.mask] = pixels_of(camera, transform(view.cam_T_obj, points))
    coordinates = cv2.resize(source.reshape(side, side, 2).astype(np.float32), (S, S), interpolation=cv2.INTER_LINEAR)
    hit, unseen = (_enlarged(x.reshape(side, side), S) for x in (hits.mask, hits.mask & ~shown))
    object_colours = cv2.remap(image, coordinates, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    covered = cv2.remap(mask.astype(np.uint8), coordinates, None, cv2.INTER_NEAREST).astype(bool)
    inside = hit & (covered | unseen)
    return Synthesised(
        np.where(inside[..., None], object_colours, crop.sample(_without_object(image, mask))), inside, inside & unseen
    )


def _enlarged(mask: Array, side: int) -> Array:
    return cv2.resize(mask.astype(np.uint8), (side, side), interpolation=cv2.INTER_NEAREST).astype(bool)


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
