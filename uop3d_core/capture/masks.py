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
from scipy.spatial import ConvexHull

from uop3d_core.cameras import pixels_of
from uop3d_core.capture.ground import REACH, Ground, pixels_on, plain_ground, unlike_ground
from uop3d_core.capture.object import CORE, ObjectRegion, about, widened
from uop3d_core.capture.segmenters import Segmenter
from uop3d_core.capture.sfm import Reconstruction
from uop3d_core.config import MaskSettings
from uop3d_core.geometry import Array, transform
from uop3d_core.progress import Progress, silent
from uop3d_core.types import Camera
from uop3d_core.volume import Lattice

BORDER = 0.35
"""How far beyond the object's box a crop reaches, as a share of the box's side."""
SEED = 1
"""Radius in pixels of what a point that is seen tells of."""
SLACK, DEPTH = (0.4, 0.25, 0.15, 0.1), (0.25, 0.2, 0.15, 0.12)
"""How far outside of the volume's shadow nothing is object, how far inside all is: per round, shares of its size."""
SPECK, HOLE = 0.05, 0.01
"""Smaller parts of a cut, and smaller holes in it, are mistakes; shares of its area."""
STANDING = 50
"""Lattice points of a thing that stands out, below which nothing does."""
UNSURE = 0.15
"""Say of colours alone beside those before a background that is known."""
LIKE, UNLIKE = 0.6, 2.5
"""Usual deviations from the ground within which a pixel shows it, and beyond which it does not."""
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
        on, off: (N, 2) pixels of the crop that show points of the object, and of other things.
    """

    name: str
    image: Array
    camera: Camera
    cam_T_world: Array
    origin: Array
    step: float
    on: Array
    off: Array

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
    found: Reconstruction,
    region: ObjectRegion,
    settings: MaskSettings,
    progress: Progress = silent,
) -> CutOut:
    """Masks of the object in all pictures, from colour and geometry.

    Args:
        images: functions that read the pictures, by name.
        found: cameras, and which points are seen where: such pixels are surely object, or surely not.
        region: where the object is.
        settings: how fine.
        progress: told of every cut.

    Raises:
        ValueError: the object is in too few pictures, or the pictures do not agree on any volume.
    """
    region = stood_out(images, found, region, settings)
    views, lattice, world, pixel = _prepared(images, found, region, settings)
    solid = _initial(lattice, region)
    ground = _ground(region)
    floor = [_floor_of(view, ground) for view in views] if ground is not None else []
    total = settings.rounds * len(views)
    for turn in range(settings.rounds):
        shadows = [_silhouette(view, uv, solid, lattice) for view, uv in zip(views, pixel, strict=True)]
        unlike = _unlike(views, ground, floor, shadows, 0.5 * _at(SLACK, turn))
        cuts = []
        for number, (view, shadow, other) in enumerate(zip(views, shadows, unlike, strict=True)):
            cuts.append(_cut(view, shadow, other, turn))
            progress("masks", turn * len(views) + number + 1, total)
        trust = [np.where(np.isnan(other), UNSURE, 1.0) for other in unlike]
        solid = _carve(cuts, trust, pixel, lattice.shape, settings.tolerance)
        if not solid.any():
            raise ValueError("the pictures do not agree on any object in the middle: did it move while it was filmed?")
    shadows = [_silhouette(view, uv, solid, lattice) for view, uv in zip(views, pixel, strict=True)]
    finished = {v.name: _full_size(v, cut) for v, cut in zip(views, cuts, strict=True)}
    agreement = {v.name: _overlap(cut, s) for v, cut, s in zip(views, cuts, shadows, strict=True)}
    return CutOut(finished, agreement, world[solid], lattice.spacing)


def stood_out(
    images: Mapping[str, Callable[[], Array]], found: Reconstruction, region: ObjectRegion, settings: MaskSettings
) -> ObjectRegion:
    """The region about what rises from the ground in the middle, by the looks of the ground alone.

    Smooth things have hardly any points; but before a ground with a pattern they stand out. Where that tells nothing
    the region stays as it is.
    """
    wide = widened(region)
    ground = _ground(wide)
    if ground is None:
        return region
    views, lattice, world, pixel = _prepared(images, found, wide, settings)
    floor = [_floor_of(view, ground) for view in views]
    core = _initial(lattice, region)
    shadows = [_silhouette(view, uv, core, lattice) for view, uv in zip(views, pixel, strict=True)]
    unlike = _unlike(views, ground, floor, shadows, 0.0)
    with np.errstate(invalid="ignore"):
        stands = [np.isnan(other) | (other > 0.5 * (LIKE + UNLIKE)) for other in unlike]
    cuts = [other | shadow for other, shadow in zip(stands, shadows, strict=True)]
    trust = [np.where(np.isnan(other), 0.0, 1.0) for other in unlike]
    solid = _carve(cuts, trust, pixel, lattice.shape, settings.tolerance, near=lattice.points, known=True)
    return about(region, world[solid]) if solid.sum() >= STANDING else region


def _prepared(
    images: Mapping[str, Callable[[], Array]], found: Reconstruction, region: ObjectRegion, settings: MaskSettings
) -> tuple[list[View], Lattice, Array, list[Array]]:
    """Crops, the lattice, where its points are in the world and in every crop."""
    views = _crops(images, found, region, settings)
    lattice = _lattice(region, settings.voxels)
    world = _positions(lattice, region)
    return views, lattice, world, [view.project(world.reshape(-1, 3)) for view in views]


def judge(
    masks: Mapping[str, Array],
    images: Mapping[str, Callable[[], Array]],
    found: Reconstruction,
    region: ObjectRegion,
    settings: MaskSettings,
) -> CutOut:
    """Masks of another origin as they are, with how well each agrees with the volume that all make.

    Raises:
        ValueError: as `cut_out`.
    """
    views = [view for view in _crops(images, found, region, settings) if view.name in masks]
    lattice = _lattice(region, settings.voxels)
    world = _positions(lattice, region)
    pixel = [view.project(world.reshape(-1, 3)) for view in views]
    cuts = [_part(view, masks[view.name]) for view in views]
    trust = [np.ones(cut.shape) for cut in cuts]
    solid = _carve(cuts, trust, pixel, lattice.shape, settings.tolerance)
    if not solid.any():
        raise ValueError("the masks have no common volume: they must show the same thing, which must not move")
    shadows = [_silhouette(view, uv, solid, lattice) for view, uv in zip(views, pixel, strict=True)]
    agreement = {v.name: _overlap(cut, s) for v, cut, s in zip(views, cuts, shadows, strict=True)}
    return CutOut(dict(masks), agreement, world[solid], lattice.spacing)


def segmented(
    segmenter: Segmenter,
    images: Mapping[str, Callable[[], Array]],
    found: Reconstruction,
    region: ObjectRegion,
    settings: MaskSettings,
    progress: Progress = silent,
) -> dict[str, Array]:
    """Masks (H, W) by a segmentation model, which is shown the crops about the object and a point in its middle."""
    views = _crops(images, found, region, settings)
    masks = {}
    for number, view in enumerate(views):
        point = view.project(region.centre[None])[0]
        masks[view.name] = _full_size(view, segmenter(view.image, point) >= 0.5)
        progress("masks", number + 1, len(views))
    return masks


def _crops(
    images: Mapping[str, Callable[[], Array]], found: Reconstruction, region: ObjectRegion, settings: MaskSettings
) -> list[View]:
    views = []
    for index, name in enumerate(found.names):
        seen = found.seen[found.seen[:, 1] == index, 0]
        on, off = (found.points[np.intersect1d(seen, some)] for some in (region.object_points, region.other_points))
        view = crop(name, images[name](), found, region, settings.pixels, on, off)
        if view is not None:
            views.append(view)
    if len(views) < 3:
        raise ValueError(
            f"what the cameras look at is seen in {len(views)} pictures only; keep the object in the middle"
        )
    return views


def crop(
    name: str, image: Array, found: Reconstruction, region: ObjectRegion, pixels: int, on: Array, off: Array
) -> View | None:
    """The part of a picture about the object's box; None where the box is not in the picture.

    `on` and `off` are (N, 3) points of the world that the picture shows, on the object and elsewhere.
    """
    camera, cam_T_world = found.cameras[name], found.cam_T_world[name]
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
    origin = low + (step - 1) / 2
    seeds = [(pixels_of(camera, transform(cam_T_world, points)) - origin) / step for points in (on, off)]
    return View(name, small, camera, cam_T_world, origin, step, *seeds)


def _lattice(region: ObjectRegion, voxels: int) -> Lattice:
    return Lattice.over(-region.half, region.half, voxels)


def _positions(lattice: Lattice, region: ObjectRegion) -> Array:
    """(X, Y, Z, 3) in the world; the lattice lies along the region's axes."""
    return region.centre + lattice.points @ region.axes


def _initial(lattice: Lattice, region: ObjectRegion) -> Array:
    """(X, Y, Z) bool: the convex hull of the object's points, thickened, and what is below it down to the floor."""
    thick = CORE * region.distance
    local = (region.points - region.centre) @ region.axes.T if len(region.points) else np.zeros((1, 3))
    ball = np.concatenate([np.eye(3), -np.eye(3)]) * thick
    around = (local[:, None] + ball).reshape(-1, 3)
    if region.floor is not None:
        around = np.concatenate([around, around * [1, 1, 0] + [0, 0, -region.half[2]]])
    inside = np.ones(lattice.shape, bool)
    for plane in ConvexHull(around).equations:
        inside &= lattice.points @ plane[:3] + plane[3] < 0
    return inside


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


def _ground(region: ObjectRegion) -> Ground | None:
    """The piece of the support plane about the object."""
    if region.floor is None:
        return None
    foot = region.centre - (region.floor[:3] @ region.centre + region.floor[3]) * region.floor[:3]
    return Ground(foot, region.axes[:2], REACH * float(region.half.max()), region.floor)


def _floor_of(view: View, ground: Ground) -> tuple[Array, Array]:
    """Where a crop shows the samples of the ground, and which sample each of its pixels shows."""
    height, width = view.image.shape[:2]
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1) * view.step + view.origin
    cells = ground.cells(view.camera, view.cam_T_world, grid)
    return pixels_on(ground, view.camera, view.cam_T_world, view.origin, view.step), cells


def _unlike(
    views: list[View], ground: Ground | None, floor: list[tuple[Array, Array]], shadows: list[Array], slack: float
) -> list[Array]:
    """Per crop (h, w), how much it differs from the bare ground; NaN where that is not known."""
    if ground is None:
        return [np.full(shadow.shape, np.nan, np.float32) for shadow in shadows]
    hidden = [_distance(~shadow) <= slack * _size(shadow) for shadow in shadows]
    images = [view.image for view in views]
    colour, spread = plain_ground(ground, images, [uv for uv, _ in floor], hidden)
    return [unlike_ground(image, cells, colour, spread) for image, (_, cells) in zip(images, floor, strict=True)]


def _at(values: tuple[float, ...], turn: int) -> float:
    return values[min(turn, len(values) - 1)]


def _size(shadow: Array) -> float:
    return max(3.0, float(np.sqrt(shadow.sum())))


def _distance(inside: Array) -> Array:
    """Pixels (h, w) to the nearest one that is not inside."""
    return cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, 5)


def _cut(view: View, shadow: Array, unlike: Array, turn: int) -> Array:
    """(h, w) bool by graph cut.

    Surely object is what lies well inside the volume's shadow, or near it and is not like the ground; surely not what
    is far outside or like the ground; and what the points say that are seen there.
    """
    size = _size(shadow)
    away = _distance(~shadow)
    far = away > _at(SLACK, turn) * size
    kernel = np.ones((3, 3), np.uint8)
    with np.errstate(invalid="ignore"):
        like = cv2.erode((unlike < LIKE).astype(np.uint8), kernel, iterations=2) > 0
        other = cv2.erode((unlike > UNLIKE).astype(np.uint8), kernel) > 0
    trimap = np.where(shadow, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    trimap[_distance(shadow) > _at(DEPTH, turn) * size] = cv2.GC_FGD
    trimap[other & (away <= 0.5 * _at(SLACK, turn) * size)] = cv2.GC_FGD
    trimap[far | like] = cv2.GC_BGD
    _mark(trimap, view.off, cv2.GC_BGD)
    _mark(trimap, view.on, cv2.GC_FGD)
    if not shadow.any() or shadow.all() or not far.any():
        return shadow
    image = np.ascontiguousarray(view.image[..., ::-1])
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.setRNGSeed(0)
    cut, *_ = cv2.grabCut(image, trimap, None, *models, CUTS, cv2.GC_INIT_WITH_MASK)
    return _tidy((cut == cv2.GC_FGD) | (cut == cv2.GC_PR_FGD))


def _tidy(cut: Array) -> Array:
    """The cut without specks, and without pinholes; large holes stay, as in a handle."""
    tidy = np.zeros(cut.shape, bool)
    for inside, share in ((cut, SPECK), (~cut, HOLE)):
        parts, _ = label(inside)
        sizes = np.bincount(parts.ravel())
        sizes[0] = 0
        small = sizes < share * max(int(cut.sum()), 1)
        tidy |= (inside & ~small[parts]) if inside is cut else (inside & small[parts])
    return tidy


def _mark(trimap: Array, pixels: Array, value: int) -> None:
    """Set the discs around (N, 2) pixels."""
    for x, y in np.rint(pixels[np.isfinite(pixels).all(1)]).astype(int):
        cv2.circle(trimap, (int(x), int(y)), SEED, value, -1)


def _carve(
    cuts: list[Array],
    trust: list[Array],
    pixel: list[Array],
    shape: tuple[int, int, int],
    tolerance: float,
    near: Array | None = None,
    known: bool = False,
) -> Array:
    """(X, Y, Z) bool: the largest body of lattice points that all but a few of the pictures that see them show.

    Args:
        cuts: per picture, (h, w) bool.
        trust: per picture, (h, w) weight of what it says.
        pixel: per picture, (X * Y * Z, 2) pixels of the lattice points.
        shape: of the lattice.
        tolerance: share of the weights that may say otherwise.
        near: (X, Y, Z, 3) positions about the origin, of which bodies near it count more; None for equal ones.
        known: points must have at least some pictures of full weight.
    """
    inside, seen, count = (np.zeros(int(np.prod(shape))) for _ in range(3))
    for cut, weight, uv in zip(cuts, trust, pixel, strict=True):
        rounded = np.rint(np.where(np.isfinite(uv), uv, -1)).astype(int)
        ok = ((rounded >= 0) & (rounded < [cut.shape[1], cut.shape[0]])).all(1)
        rows, columns = rounded[ok, 1], rounded[ok, 0]
        count += ok
        seen[ok] += weight[rows, columns]
        inside[ok] += weight[rows, columns] * cut[rows, columns]
    least = 3.0 if known else 1e-6
    solid = ((inside >= (1 - tolerance) * seen) & (count >= 3) & (seen >= least)).reshape(shape)
    bodies, found = label(solid)
    if found == 0:
        return solid
    weights = np.ones(shape) if near is None else np.exp(-8 * ((near[..., :2] / np.abs(near).max()) ** 2).sum(-1))
    return bodies == 1 + np.bincount(bodies.ravel(), weights.ravel())[1:].argmax()


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


def _part(view: View, mask: Array) -> Array:
    """(h, w) what a crop shows of a mask (H, W)."""
    height, width = view.image.shape[:2]
    x = np.arange(width) * view.step + view.origin[0]
    y = np.arange(height) * view.step + view.origin[1]
    columns, rows = (grid.astype(np.float32) for grid in np.meshgrid(x, y))
    return cv2.remap(mask.astype(np.uint8) * 255, columns, rows, cv2.INTER_LINEAR) >= 128


def _overlap(a: Array, b: Array) -> float:
    union = int((a | b).sum())
    return float((a & b).sum() / union) if union else 0.0
