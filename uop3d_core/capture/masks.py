"""Object masks with no model at all: pictures are cut by colour, and a volume that all cuts agree on is carved.

In: pictures with cameras, an `ObjectRegion` (world frame). Out: masks with confidences, and the carved volume.
Both steps are repeated: the volume, seen by a camera, says where in a picture object and rest are to be learned (their
colours, by graph cut), and the cuts of all pictures say what the volume is (its visual hull, some votes missing).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.ndimage import label
from scipy.spatial import ConvexHull, QhullError

from uop3d_core.cameras import pixels_of
from uop3d_core.capture.object import ObjectRegion
from uop3d_core.config import MaskSettings
from uop3d_core.geometry import Array, transform
from uop3d_core.progress import Progress, silent
from uop3d_core.types import Camera
from uop3d_core.volume import Lattice

BORDER = 0.35
"""How far beyond the object's box a crop reaches, as a share of the box's side."""
CUTS = 2
"""Rounds of the graph cut's own colour models per call."""


@dataclass(frozen=True, eq=False)
class View:
    """A crop of a picture about the object, scaled down.

    Attributes:
        name: of the picture.
        image: (h, w, 3) uint8 RGB.
        camera: of the whole picture.
        cam_T_world: (4, 4).
        origin: (2,) pixel of the whole picture at the crop's first pixel.
        step: pixels of the whole picture per pixel of the crop.
    """

    name: str
    image: Array
    camera: Camera
    cam_T_world: Array
    origin: Array
    step: float

    def project(self, points: Array) -> Array:
        """Pixels (N, 2) of the crop, NaN behind the camera, of (N, 3) points of the world."""
        return (pixels_of(self.camera, transform(self.cam_T_world, points)) - self.origin) / self.step


@dataclass(frozen=True, eq=False)
class CutOut:
    """The object in all pictures.

    Attributes:
        masks: by name, (H, W) bool at the size of the picture.
        confidence: by name, how well the mask agrees with the volume that all masks make, in [0, 1].
        inside: (N, 3) points of the lattice inside the object, world frame.
        spacing: of the lattice.
    """

    masks: dict[str, Array]
    confidence: dict[str, float]
    inside: Array
    spacing: float


def cut_out(
    images: Mapping[str, Callable[[], Array]],
    cameras: Mapping[str, Camera],
    cam_T_world: Mapping[str, Array],
    region: ObjectRegion,
    settings: MaskSettings,
    progress: Progress = silent,
) -> CutOut:
    """Masks of the object in all pictures, from colour and geometry.

    Raises:
        ValueError: the object is in too few pictures, or the pictures do not agree on any volume.
    """
    views = []
    for name in sorted(images):
        view = crop(name, images[name](), cameras[name], cam_T_world[name], region, settings.pixels)
        if view is not None:
            views.append(view)
    if len(views) < 3:
        raise ValueError(
            f"what the cameras look at is seen in {len(views)} pictures only; keep the object in the middle"
        )
    lattice, pixel = _lattice(region, settings.voxels), []
    world = _positions(lattice, region)
    pixel = [view.project(world.reshape(-1, 3)) for view in views]
    solid = _initial(lattice, region)
    total = settings.rounds * len(views)
    for turn in range(settings.rounds):
        cuts = []
        for number, (view, uv) in enumerate(zip(views, pixel, strict=True)):
            cuts.append(_cut(view, _silhouette(view, uv, solid, lattice), region, turn))
            progress("masks", turn * len(views) + number + 1, total)
        solid = _carve(cuts, pixel, lattice.shape, settings.tolerance)
        if not solid.any():
            raise ValueError("the pictures do not agree on any object in the middle: did it move while it was filmed?")
    shadows = [_silhouette(view, uv, solid, lattice) for view, uv in zip(views, pixel, strict=True)]
    finished = {v.name: _full_size(v, cut) for v, cut in zip(views, cuts, strict=True)}
    agreement = {v.name: _overlap(cut, s) for v, cut, s in zip(views, cuts, shadows, strict=True)}
    return CutOut(finished, agreement, world[solid], lattice.spacing)


def crop(name: str, image: Array, camera: Camera, cam_T_world: Array, region: ObjectRegion, pixels: int) -> View | None:
    """The part of a picture about the object's box; None where the box is not in the picture."""
    corners = np.stack(np.meshgrid(*3 * [[-1, 1]], indexing="ij"), -1).reshape(-1, 3) * region.half
    uv = pixels_of(camera, transform(cam_T_world, region.centre + corners @ region.axes))
    if not np.isfinite(uv).all():
        return None
    low, high = uv.min(0), uv.max(0)
    pad = BORDER * float((high - low).max())
    low = np.maximum(np.floor(low - pad), 0)
    high = np.minimum(np.ceil(high + pad), [camera.width - 1, camera.height - 1])
    if (high - low).min() < 16:
        return None
    x, y = low.astype(int)
    part = image[y : int(high[1]) + 1, x : int(high[0]) + 1]
    step = max(1.0, max(part.shape[:2]) / pixels)
    shape = (max(1, round(part.shape[1] / step)), max(1, round(part.shape[0] / step)))
    small = cv2.resize(part, shape, interpolation=cv2.INTER_AREA) if step > 1 else part
    return View(name, small, camera, cam_T_world, low + (step - 1) / 2, step)


def _lattice(region: ObjectRegion, voxels: int) -> Lattice:
    return Lattice.over(-region.half, region.half, voxels)


def _positions(lattice: Lattice, region: ObjectRegion) -> Array:
    """(X, Y, Z, 3) in the world; the lattice lies along the region's axes."""
    return region.centre + lattice.points @ region.axes


def _initial(lattice: Lattice, region: ObjectRegion) -> Array:
    """(X, Y, Z) bool: the convex hull of the object's points and their feet, or an ellipsoid where there are few."""
    local = lattice.points
    try:
        points = (region.points - region.centre) @ region.axes.T
        if region.floor is not None:
            points = np.concatenate([points, points * [1, 1, 0] + [0, 0, -region.half[2]]])
        planes = ConvexHull(points).equations
        inside = np.ones(lattice.shape, bool)
        for plane in planes:
            inside &= local @ plane[:3] + plane[3] < lattice.spacing
        return inside
    except (QhullError, ValueError):
        return ((local / region.half) ** 2).sum(-1) < 0.5


def _silhouette(view: View, uv: Array, solid: Array, lattice: Lattice) -> Array:
    """(h, w) bool: the lattice points that are solid, splatted and closed."""
    height, width = view.image.shape[:2]
    picture = np.zeros((height, width), np.uint8)
    points = uv[solid.ravel()]
    points = points[np.isfinite(points).all(1)]
    pixel = np.rint(points).astype(int)
    pixel = pixel[((pixel >= 0) & (pixel < [width, height])).all(1)]
    picture[pixel[:, 1], pixel[:, 0]] = 1
    size = _pixels_per_step(uv, lattice)
    side = 2 * int(np.ceil(size / 2)) + 1
    return cv2.morphologyEx(picture, cv2.MORPH_CLOSE, np.ones((side + 2, side + 2), np.uint8)) > 0


def _pixels_per_step(uv: Array, lattice: Lattice) -> float:
    grid = uv.reshape(*lattice.shape, 2)
    middle = tuple(n // 2 for n in lattice.shape)
    steps = [np.linalg.norm(grid[tuple(np.add(middle, axis))] - grid[middle]) for axis in np.eye(3, dtype=int)]
    return float(np.nanmax(steps))


def _cut(view: View, shadow: Array, region: ObjectRegion, turn: int) -> Array:
    """(h, w) bool by graph cut: surely object well inside the shadow, surely not far outside of it."""
    size = max(3.0, np.sqrt(shadow.sum()))
    slack = (0.22, 0.14, 0.1, 0.08)[min(turn, 3)]
    far = cv2.distanceTransform((~shadow).astype(np.uint8), cv2.DIST_L2, 5) > slack * size
    deep = (
        cv2.distanceTransform(shadow.astype(np.uint8), cv2.DIST_L2, 5) > (0.25, 0.18, 0.14, 0.12)[min(turn, 3)] * size
    )
    trimap = np.where(shadow, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    trimap[far] = cv2.GC_BGD
    trimap[deep] = cv2.GC_FGD
    if not shadow.any() or shadow.all() or not far.any():
        return shadow
    image = np.ascontiguousarray(view.image[..., ::-1])
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.setRNGSeed(0)
    cut, *_ = cv2.grabCut(image, trimap, None, *models, CUTS, cv2.GC_INIT_WITH_MASK)
    return (cut == cv2.GC_FGD) | (cut == cv2.GC_PR_FGD)


def _carve(cuts: list[Array], pixel: list[Array], shape: tuple[int, int, int], tolerance: float) -> Array:
    """(X, Y, Z) bool: the largest body of lattice points that all but a few of the pictures that see them show."""
    inside, seen = np.zeros(int(np.prod(shape))), np.zeros(int(np.prod(shape)))
    for cut, uv in zip(cuts, pixel, strict=True):
        rounded = np.rint(np.where(np.isfinite(uv), uv, -1)).astype(int)
        ok = ((rounded >= 0) & (rounded < [cut.shape[1], cut.shape[0]])).all(1)
        seen += ok
        inside[ok] += cut[rounded[ok, 1], rounded[ok, 0]]
    solid = ((inside >= (1 - tolerance) * seen) & (seen >= 3)).reshape(shape)
    bodies, count = label(solid)
    if count == 0:
        return solid
    return bodies == 1 + np.bincount(bodies.ravel())[1:].argmax()


def _full_size(view: View, cut: Array) -> Array:
    """The mask (H, W) of the whole picture."""
    whole = np.zeros((view.camera.height, view.camera.width), np.uint8)
    x, y = np.rint(view.origin - (view.step - 1) / 2).astype(int)
    size = (
        min(round(cut.shape[1] * view.step), whole.shape[1] - x),
        min(round(cut.shape[0] * view.step), whole.shape[0] - y),
    )
    whole[y : y + size[1], x : x + size[0]] = cv2.resize(
        cut.astype(np.uint8) * 255, size, interpolation=cv2.INTER_LINEAR
    )
    return whole >= 128


def _overlap(a: Array, b: Array) -> float:
    union = int((a | b).sum())
    return float((a & b).sum() / union) if union else 0.0
