"""The nouns of uop3d: frozen dataclasses that every stage takes and gives.

What: one immutable type per box of the data flow; shapes, units and frames stand at every field and are checked.
In / out: numpy arrays only; images are uint8 RGB, masks bool, rigid transforms (4, 4) float64.
Frames: ``cam`` is the OpenCV optical frame, ``world`` the arbitrary gauge of one capture, ``obj`` the canonical frame
of the category (x front, y left, z up; unit = bounding-box diagonal of the template). ``a_T_b`` maps b to a.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from html import escape
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
SCALE_SOURCES = ("", "depth", "size", "views", "plane")
ImageSource = Array | Callable[[], Array]
"""Pixels, or a function without arguments that reads them (so that a capture need not fit in memory)."""


def _finite(value: Any, shape: tuple[int | None, ...], what: str, dtype: Any = np.float64) -> Array:
    """Return `value` as a finite read-only array of `shape` (None = any length); raise ValueError naming `what`."""
    array = np.array(value, dtype=dtype)
    if array.ndim != len(shape) or any(
        want is not None and want != got for want, got in zip(shape, array.shape, strict=True)
    ):
        raise ValueError(f"{what} has shape {array.shape}, expected {tuple('any' if n is None else n for n in shape)}")
    if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
        raise ValueError(f"{what} contains NaN or infinite values")
    array.setflags(write=False)
    return array


def _rotation(value: Any, what: str) -> Array:
    R = _finite(value, (3, 3), what)
    if np.abs(R @ R.T - np.eye(3)).max() > 1e-4 or np.linalg.det(R) < 0:
        raise ValueError(f"{what} is not a rotation matrix (orthonormal, determinant +1)")
    return R


def _rigid(value: Any, what: str) -> Array:
    T = _finite(value, (4, 4), what)
    if not np.allclose(T[3], [0, 0, 0, 1]):
        raise ValueError(f"{what} has last row {T[3].tolist()}, expected [0, 0, 0, 1]")
    _rotation(T[:3, :3], f"the rotation part of {what}")
    return T


def _axis(vector: Array) -> str:
    return f"({', '.join(f'{value:.2f}' for value in vector.tolist())})"


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _png(image: Array, side: int) -> bytes:
    """A picture (H, W, 3) uint8 as PNG, its longer side at most `side` pixels."""
    from PIL import Image

    small, file = Image.fromarray(image), BytesIO()
    small.thumbnail((side, side))
    small.save(file, "png")
    return file.getvalue()


@dataclass(frozen=True, eq=False)
class Sim3:
    """Similarity transform x -> scale * R @ x + t.

    Attributes:
        scale: positive factor.
        R: (3, 3) rotation.
        t: (3,) translation, in the unit of the target frame.
    """

    scale: float
    R: Array
    t: Array

    def __post_init__(self) -> None:
        if not (np.isfinite(self.scale) and self.scale > 0):
            raise ValueError(f"Sim3.scale must be positive and finite, got {self.scale}")
        object.__setattr__(self, "scale", float(self.scale))
        object.__setattr__(self, "R", _rotation(self.R, "Sim3.R"))
        object.__setattr__(self, "t", _finite(self.t, (3,), "Sim3.t"))

    def __repr__(self) -> str:
        angle = np.degrees(np.arccos(np.clip((np.trace(self.R) - 1) / 2, -1, 1)))
        return f"<Sim3: scale {self.scale:.3g}, turned by {angle:.1f}°, moved by {_axis(self.t)}>"

    @classmethod
    def identity(cls) -> Sim3:
        """The transform that changes nothing."""
        return cls(1.0, np.eye(3), np.zeros(3))

    @classmethod
    def from_matrix(cls, matrix: Array) -> Sim3:
        """Read a (4, 4) similarity matrix.

        Raises:
            ValueError: if the upper left block is not a positive multiple of a rotation.
        """
        matrix = _finite(matrix, (4, 4), "similarity matrix")
        det = float(np.linalg.det(matrix[:3, :3]))
        if det <= 0:
            raise ValueError(f"similarity matrix has determinant {det:.3g}: it mirrors or collapses space")
        scale = det ** (1 / 3)
        return cls(scale, matrix[:3, :3] / scale, matrix[:3, 3])

    @property
    def matrix(self) -> Array:
        """The (4, 4) matrix."""
        matrix = np.eye(4)
        matrix[:3, :3] = self.scale * self.R
        matrix[:3, 3] = self.t
        return matrix

    def inverse(self) -> Sim3:
        """The transform back: ``T.inverse() @ T`` is the identity."""
        return Sim3(1 / self.scale, self.R.T, -self.R.T @ self.t / self.scale)

    def __matmul__(self, other: Sim3) -> Sim3:
        """Composition: ``(a_T_b @ b_T_c)`` maps c to a."""
        return Sim3(self.scale * other.scale, self.R @ other.R, self.scale * self.R @ other.t + self.t)

    def apply(self, points: Array) -> Array:
        """Map (..., 3) points."""
        return self.scale * points @ self.R.T + self.t


LENSES = {"pinhole": (0,), "brown": (4, 5, 8, 12, 14), "fisheye": (4,)}
"""Lens models with the numbers of coefficients that they may have, in OpenCV's order."""


@dataclass(frozen=True, eq=False)
class Camera:
    """Camera, with or without lens distortion.

    Attributes:
        K: (3, 3) intrinsics in pixels; integer coordinates are pixel centres.
        width: image width in pixels.
        height: image height in pixels.
        lens: "pinhole" (no distortion), "brown" (k1 k2 p1 p2 [k3 [k4 k5 k6 ...]]; plumb_bob and rational_polynomial
            of ROS) or "fisheye" (k1 k2 k3 k4; equidistant of ROS).
        distortion: coefficients of the lens.

    Examples:
        >>> Camera(K=[[600, 0, 319.5], [0, 600, 239.5], [0, 0, 1]], width=640, height=480)
        <Camera: 640 x 480 pixels, pinhole, focal lengths 600.0, 600.0, centre 319.5, 239.5>
        >>> Camera(K=[[600, 0, 319.5], [0, 0, 239.5], [0, 0, 1]], width=640, height=480)
        Traceback (most recent call last):
        ...
        ValueError: Camera.K is not [[fx, s, cx], [0, fy, cy], [0, 0, 1]] with positive focals:
        ...
    """

    K: Array
    width: int
    height: int
    lens: str = "pinhole"
    distortion: Array = field(default_factory=lambda: np.zeros(0))

    def __post_init__(self) -> None:
        K = _finite(self.K, (3, 3), "Camera.K")
        if K[0, 0] <= 0 or K[1, 1] <= 0 or not np.allclose(K[[1, 2, 2, 2], [0, 0, 1, 2]], [0, 0, 0, 1]):
            raise ValueError(f"Camera.K is not [[fx, s, cx], [0, fy, cy], [0, 0, 1]] with positive focals:\n{K}")
        if self.width < 1 or self.height < 1:
            raise ValueError(f"Camera size must be positive, got {self.width} x {self.height}")
        if self.lens not in LENSES:
            raise ValueError(f"Camera.lens {self.lens!r} is unknown; it is one of {', '.join(LENSES)}")
        distortion = _finite(self.distortion, (None,), "Camera.distortion")
        if len(distortion) not in LENSES[self.lens]:
            raise ValueError(
                f"Camera.distortion of a {self.lens} lens has {len(distortion)} coefficients, expected "
                f"{' or '.join(str(n) for n in LENSES[self.lens])}"
            )
        object.__setattr__(self, "distortion", distortion)
        object.__setattr__(self, "K", K)
        object.__setattr__(self, "width", int(self.width))
        object.__setattr__(self, "height", int(self.height))

    def __repr__(self) -> str:
        (fx, _, cx), (_, fy, cy), _ = self.K.tolist()
        where = f"focal lengths {fx:.1f}, {fy:.1f}, centre {cx:.1f}, {cy:.1f}"
        return f"<Camera: {self.width} x {self.height} pixels, {self.lens}, {where}>"


def _read(source: ImageSource) -> Array:
    return source() if callable(source) else source


@dataclass(frozen=True, eq=False)
class Frame:
    """One image with its camera; the pixels may stay on disk until they are asked for.

    Attributes:
        name: unique within its capture.
        camera: intrinsics of this image.
        image_source: (H, W, 3) uint8 RGB pixels or a function that reads them.
        cam_T_world: (4, 4) rigid transform, or None where unknown (a live image).
        mask_source: (H, W) bool object mask or a function that reads it, or None.

    Examples:
        >>> camera = Camera(K=[[600, 0, 319.5], [0, 600, 239.5], [0, 0, 1]], width=640, height=480)
        >>> frame = Frame("photo", camera, np.zeros((480, 640, 3), dtype=np.uint8))
        >>> frame
        <Frame photo: 640 x 480 pixels, without pose and mask>
        >>> frame.image.shape
        (480, 640, 3)
    """

    name: str
    camera: Camera
    image_source: ImageSource
    cam_T_world: Array | None = None
    mask_source: ImageSource | None = None

    def __post_init__(self) -> None:
        if self.cam_T_world is not None:
            object.__setattr__(self, "cam_T_world", _rigid(self.cam_T_world, f"cam_T_world of frame {self.name}"))

    def __repr__(self) -> str:
        known = [word for word, value in (("pose", self.cam_T_world), ("mask", self.mask_source)) if value is not None]
        size = f"{self.camera.width} x {self.camera.height} pixels"
        return f"<Frame {self.name}: {size}, {' and '.join(known) + ' known' if known else 'without pose and mask'}>"

    def _repr_png_(self) -> bytes:
        """The image, as notebooks show it."""
        return _png(self.image, 480)

    def _sized(self, pixels: Array, what: str) -> Array:
        if pixels.shape[:2] != (self.camera.height, self.camera.width):
            raise ValueError(
                f"{what} of frame {self.name} is {pixels.shape[1]} x {pixels.shape[0]} pixels, but its camera says "
                f"{self.camera.width} x {self.camera.height}: correct w and h (and the focal length) or the file"
            )
        return pixels

    @property
    def image(self) -> Array:
        """(H, W, 3) uint8 RGB.

        Raises:
            ValueError: the pixels do not fit the camera or are not uint8 RGB.
        """
        image = _read(self.image_source)
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(f"image of frame {self.name} must be uint8 (H, W, 3), got {image.dtype} {image.shape}")
        return self._sized(image, "image")

    @property
    def mask(self) -> Array:
        """(H, W) bool, True on the object.

        Raises:
            ValueError: there is no mask, or it does not fit the camera.
        """
        if self.mask_source is None:
            raise ValueError(f"frame {self.name} has no mask")
        mask = _read(self.mask_source)
        if mask.dtype != np.bool_ or mask.ndim != 2:
            raise ValueError(f"mask of frame {self.name} must be bool (H, W), got {mask.dtype} {mask.shape}")
        return self._sized(mask, "mask")


@dataclass(frozen=True, eq=False)
class Capture:
    """One object-centric video: frames with cameras and masks in one world frame.

    Attributes:
        name: unique within the category.
        frames: at least two frames with cam_T_world and mask.
        points: (N, 3) surface points in the world frame, or None.
        up: (3,) unit vector in the world frame against gravity, or None where that was not measured.
    """

    name: str
    frames: tuple[Frame, ...]
    points: Array | None = None
    up: Array | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "frames", tuple(self.frames))
        if len(self.frames) < 2:
            raise ValueError(
                f"capture {self.name} has {len(self.frames)} frame(s): at least 2 are needed, 20 or more work well"
            )
        for frame in self.frames:
            if frame.cam_T_world is None:
                raise ValueError(f"frame {frame.name} of capture {self.name} has no camera pose")
        if self.points is not None:
            object.__setattr__(self, "points", _finite(self.points, (None, 3), f"points of capture {self.name}"))
        if self.up is not None:
            up = _finite(self.up, (3,), f"up of capture {self.name}")
            if abs(np.linalg.norm(up) - 1) > 1e-6:
                raise ValueError(f"up of capture {self.name} must be a unit vector, got {up.tolist()}")
            object.__setattr__(self, "up", up)

    def __repr__(self) -> str:
        sizes = sorted({(frame.camera.width, frame.camera.height) for frame in self.frames})
        size = " and ".join(f"{width} x {height}" for width, height in sizes[:2]) + (" and more" * (len(sizes) > 2))
        points = "no points" if self.points is None else _plural(len(self.points), "point")
        up = "up not measured" if self.up is None else f"up {_axis(self.up)}"
        return f"<Capture {self.name}: {len(self.frames)} frames of {size} pixels, {points}, {up}>"

    def _repr_html_(self) -> str:
        """A line and six of the pictures, as notebooks show it."""
        shown = self.frames[:: -(-len(self.frames) // 6)]
        pictures = (
            f'<img alt="{escape(frame.name)}" title="{escape(frame.name)}" '
            f'src="data:image/png;base64,{b64encode(_png(frame.image, 150)).decode()}">'
            for frame in shown
        )
        return f"<div>{escape(repr(self))}</div><div>{' '.join(pictures)}</div>"


@dataclass(frozen=True, eq=False)
class Mesh:
    """Triangle mesh.

    Attributes:
        vertices: (V, 3) float64.
        faces: (F, 3) int64, counter-clockwise seen from outside.
    """

    vertices: Array
    faces: Array

    def __post_init__(self) -> None:
        object.__setattr__(self, "vertices", _finite(self.vertices, (None, 3), "Mesh.vertices"))
        object.__setattr__(self, "faces", _finite(self.faces, (None, 3), "Mesh.faces", np.int64))
        if len(self.faces) == 0 or self.faces.min() < 0 or self.faces.max() >= len(self.vertices):
            raise ValueError(f"Mesh.faces must index the {len(self.vertices)} vertices and be at least one triangle")

    def __repr__(self) -> str:
        size = f"{len(self.vertices):,} vertices, {len(self.faces):,} faces"
        return f"<Mesh: {size}, extents {_axis(np.ptp(self.vertices, axis=0))}>"

    def transformed(self, a_T_mesh: Sim3) -> Mesh:
        """The same mesh in frame a."""
        return Mesh(a_T_mesh.apply(self.vertices), self.faces)

    @property
    def diameter(self) -> float:
        """Diagonal of the axis-aligned bounding box, in mesh units."""
        return float(np.linalg.norm(np.ptp(self.vertices, axis=0)))


@dataclass(frozen=True, eq=False)
class Surface:
    """What alignment needs to know of one capture: a coarse closed mesh with the looks of every vertex.

    Attributes:
        name: the capture's name.
        mesh: V vertices, world frame.
        features: (V, K, C) float16, L2-normalised rows; row k of vertex v is valid where `valid[v, k]`.
        valid: (V, K) bool.
        visible_views: (V,) int, in how many frames the vertex was seen.
        up: (3,) unit vector in the world frame, measured or as the cameras are held.
    """

    name: str
    mesh: Mesh
    features: Array
    valid: Array
    visible_views: Array
    up: Array

    def __post_init__(self) -> None:
        V = len(self.mesh.vertices)
        object.__setattr__(self, "features", _finite(self.features, (V, None, None), "Surface.features", np.float16))
        object.__setattr__(self, "valid", _finite(self.valid, self.features.shape[:2], "Surface.valid", np.bool_))
        object.__setattr__(self, "visible_views", _finite(self.visible_views, (V,), "visible_views", np.int64))
        object.__setattr__(self, "up", _finite(self.up, (3,), "Surface.up"))

    def __repr__(self) -> str:
        V, K, C = self.features.shape
        seen = f"{np.mean(self.visible_views > 0):.0%} of them seen"
        return f"<Surface {self.name}: {V:,} vertices ({seen}), up to {K} features of {C} channels each>"


@dataclass(frozen=True, eq=False)
class PairAlignment:
    """The k best distinct similarity transforms between two captures, best first.

    Attributes:
        a, b: names of the captures.
        a_T_b: k transforms, world of b to world of a.
        scores: (k,) higher is better, at most 0 (minus the weighted mean distance in units of the diameter).
        geometry: (k,) mean symmetric surface distance in units of the diameter.
        appearance: (k,) mean distance between appearance matches in units of the diameter.
    """

    a: str
    b: str
    a_T_b: tuple[Sim3, ...]
    scores: Array
    geometry: Array
    appearance: Array

    def __post_init__(self) -> None:
        k = len(self.a_T_b)
        if k == 0:
            raise ValueError(f"pair {self.a}, {self.b} has no alignment mode")
        for name in ("scores", "geometry", "appearance"):
            object.__setattr__(self, name, _finite(getattr(self, name), (k,), f"PairAlignment.{name}"))

    def __repr__(self) -> str:
        return (
            f"<PairAlignment {self.a}, {self.b}: {_plural(len(self.scores), 'mode')}, best score {self.scores[0]:.3f}>"
        )


@dataclass(frozen=True, eq=False)
class CaptureAlignment:
    """Where one capture lies in the category's frame.

    Attributes:
        obj_T_world: similarity from the capture's world to obj.
        score: agreement with the other captures in [0, 1], higher is better.
        accepted: whether the capture takes part in template and training.
        reason: why it was rejected, or "".
        probability: calibrated probability that the rotation is within 30 degrees of the truth, up to one rotation
            that all captures share; None where it was not estimated.
    """

    obj_T_world: Sim3
    score: float
    accepted: bool
    reason: str = ""
    probability: float | None = None

    def __repr__(self) -> str:
        likely = "" if self.probability is None else f", probability {self.probability:.2f}"
        why = "accepted" if self.accepted else f"rejected: {self.reason}"
        return f"<CaptureAlignment: agreement {self.score:.2f}{likely}, {why}>"


@dataclass(frozen=True, eq=False)
class Alignment:
    """All captures of a category in one frame.

    Attributes:
        category: name of the category.
        reference: name of the capture that agrees best with all others (the medoid).
        captures: one entry per capture.
        warnings: what a person should look at, one sentence each.
    """

    category: str
    reference: str
    captures: dict[str, CaptureAlignment]
    warnings: tuple[str, ...] = ()

    def __repr__(self) -> str:
        accepted = sum(entry.accepted for entry in self.captures.values())
        told = f", {_plural(len(self.warnings), 'warning')}" if self.warnings else ""
        return f"<Alignment {self.category}: {accepted} of {_plural(len(self.captures), 'capture')} accepted{told}>"

    def _repr_html_(self) -> str:
        """A table of the captures, as notebooks show it."""
        head = "<tr><th>capture</th><th>agreement</th><th>probability</th><th></th></tr>"
        rows = "".join(self._row(name, entry) for name, entry in self.captures.items())
        told = "".join(f"<li>{escape(warning)}</li>" for warning in self.warnings)
        return f"<div>{escape(repr(self))}</div><table>{head}{rows}</table><ul>{told}</ul>"

    def _row(self, name: str, entry: CaptureAlignment) -> str:
        likely = "" if entry.probability is None else f"{entry.probability:.2f}"
        state = "accepted" if entry.accepted else f"rejected: {entry.reason}"
        cells = (name, f"{entry.score:.2f}", likely, "reference" if name == self.reference else state)
        return f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"


@dataclass(frozen=True, eq=False)
class Symmetry:
    """Rotations that bring an object onto itself: the cyclic group of one axis through the origin of obj.

    Attributes:
        axis: (3,) unit vector in obj.
        fold: turns by 360 / fold degrees change nothing; 1 for no symmetry, 0 for any angle (a body of revolution).
    """

    axis: Array
    fold: int

    def __post_init__(self) -> None:
        axis = _finite(self.axis, (3,), "Symmetry.axis")
        if abs(np.linalg.norm(axis) - 1) > 1e-4:
            raise ValueError(f"Symmetry.axis must be a unit vector, got {axis.tolist()}")
        if self.fold < 0:
            raise ValueError(f"Symmetry.fold must be 0 (any angle), 1 (none) or more, got {self.fold}")
        object.__setattr__(self, "axis", axis)
        object.__setattr__(self, "fold", int(self.fold))

    def __repr__(self) -> str:
        if self.fold == 1:
            return "<Symmetry: none>"
        turn = f"turns by {360 / self.fold:g}°" if self.fold else "any turn"
        return f"<Symmetry: {turn} about {_axis(self.axis)}>"

    def nearest(self, a_R_obj: Array, a_R_target: Array) -> Array:
        """Rotations (..., 3, 3) of obj, each turned by the symmetry to be as near as it can be to (..., 3, 3) targets.

        With M = target.T @ R, the trace of M S(angle) is a cosine of the angle; the best of `fold` turns is that
        nearest to its maximum.
        """
        if self.fold == 1:
            return a_R_obj
        x, y, z = self.axis
        cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
        M = np.swapaxes(a_R_target, -1, -2) @ a_R_obj
        level = np.einsum("i,...ij,j->...", self.axis, M, self.axis)
        angle = np.arctan2(np.einsum("...ij,ji->...", M, cross), np.trace(M, axis1=-2, axis2=-1) - level)
        if self.fold > 1:
            angle = np.round(angle * self.fold / (2 * np.pi)) * 2 * np.pi / self.fold
        c, s = np.cos(angle)[..., None, None], np.sin(angle)[..., None, None]
        turned: Array = a_R_obj @ (c * np.eye(3) + s * cross + (1 - c) * np.outer(self.axis, self.axis))
        return turned

    @classmethod
    def none(cls) -> Symmetry:
        """No symmetry."""
        return cls(np.array([0.0, 0.0, 1.0]), 1)


@dataclass(frozen=True, eq=False)
class Template:
    """The category's shape in the obj frame: origin = centre and unit = diagonal of its bounding box.

    Attributes:
        category: name of the category.
        mesh: closed mesh, obj frame.
        symmetry: rotations that bring the category's objects onto themselves.
    """

    category: str
    mesh: Mesh
    symmetry: Symmetry = field(default_factory=Symmetry.none)

    def __repr__(self) -> str:
        turns = "" if self.symmetry.fold == 1 else f", {repr(self.symmetry)[1:-1]}"
        return f"<Template {self.category}: {repr(self.mesh)[1:-1]}{turns}>"


@dataclass(frozen=True, eq=False)
class Detection:
    """A box around one object in an image.

    Attributes:
        bbox_xyxy: (4,) left, top, right, bottom in pixels (pixel centres at integers; may leave the image).
        label: category, or "" where unknown.
        score: detector score in [0, 1].
        mask: (H, W) bool, or None.

    Examples:
        >>> Detection([210, 120, 420, 350], "mug", score=0.9)
        <Detection mug: box 210.0, 120.0, 420.0, 350.0, score 0.90>
    """

    bbox_xyxy: Array
    label: str = ""
    score: float = 1.0
    mask: Array | None = None

    def __post_init__(self) -> None:
        box = _finite(self.bbox_xyxy, (4,), "bbox_xyxy")
        if not (box[2] > box[0] and box[3] > box[1]):
            raise ValueError(f"bbox_xyxy must be left, top, right, bottom with positive size, got {box.tolist()}")
        object.__setattr__(self, "bbox_xyxy", box)

    def __repr__(self) -> str:
        box = ", ".join(f"{value:.1f}" for value in self.bbox_xyxy.tolist())
        return f"<Detection {self.label or 'without label'}: box {box}, score {self.score:.2f}>"


@dataclass(frozen=True, eq=False)
class PoseHypothesis:
    """One of several distinct poses that an image leaves open.

    Attributes:
        cam_T_obj: (4, 4) rigid transform; translation in object units.
        probability: that it is the right one, in [0, 1].
    """

    cam_T_obj: Array
    probability: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "cam_T_obj", _rigid(self.cam_T_obj, "cam_T_obj"))

    def __repr__(self) -> str:
        return f"<PoseHypothesis: probability {self.probability:.2f}, at {_axis(self.cam_T_obj[:3, 3])}>"


@dataclass(frozen=True, eq=False)
class PoseEstimate:
    """Pose of one object in one image.

    Attributes:
        detection: the box it was estimated from.
        cam_T_obj: (4, 4) rigid transform; translation in object units (multiply by `scale` for metres).
        score: probability in [0, 1] that the box shows this category and the rotation is within 30 degrees (where the
            category is symmetric: of an equivalent one); 0 where no pose was found.
        scale: metres per object unit; NaN where unknown, as from one image without more knowledge.
        found: False where the image did not give enough correspondences (cam_T_obj is then the identity).
        category: of the model that made the estimate.
        size: (3,) extents of the category's template along the axes of obj, in object units.
        covariance: (6, 6) of small errors (dt, w) of the pose: the true one is [exp(w) R, t + dt] with the rotation
            vector w in radians about the axes of cam and dt in object units; None where it was not estimated. It
            counts how the middle and the size of the object's own box differ from the template's.
        hypotheses: distinct poses, most probable first, of which the first is `cam_T_obj`; their probabilities and
            `other` add up to at most one.
        other: probability that the box shows something that is not of this category.
        scale_std: standard deviation of `scale`, relative to it; NaN where unknown.
        scale_source: what gave `scale`: "depth", "size", "views" or "plane"; "" where unknown.
    """

    detection: Detection
    cam_T_obj: Array
    score: float
    scale: float = field(default=float("nan"))
    found: bool = True
    category: str = ""
    size: Array = field(default_factory=lambda: np.full(3, np.nan))
    covariance: Array | None = None
    hypotheses: tuple[PoseHypothesis, ...] = ()
    other: float = 0.0
    scale_std: float = field(default=float("nan"))
    scale_source: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "cam_T_obj", _rigid(self.cam_T_obj, "cam_T_obj"))
        if self.covariance is not None:
            object.__setattr__(self, "covariance", _finite(self.covariance, (6, 6), "covariance"))
        if self.scale_source not in SCALE_SOURCES:
            raise ValueError(f"scale_source must be one of {', '.join(SCALE_SOURCES[1:])}, got {self.scale_source!r}")

    def __repr__(self) -> str:
        name = f"PoseEstimate {self.category}".strip()
        if not self.found:
            return f"<{name}: not found>"
        metric = np.isfinite(self.scale)
        place = self.position_m if metric else self.cam_T_obj[:3, 3]
        unit = f"m by {self.scale_source}" if metric else "object units, scale unknown"
        return f"<{name}: score {self.score:.2f}, at {_axis(place)} {unit}{self._spread()}, {self._poses()}>"

    def _spread(self) -> str:
        if self.covariance is None:
            return ""
        variance = np.diag(self.covariance)
        return f", ±{np.sqrt(variance[:3].max()):.2f} units ±{np.degrees(np.sqrt(variance[3:].max())):.0f}°"

    def _poses(self) -> str:
        count = max(1, len(self.hypotheses))
        return "1 pose" if count == 1 else f"{count} poses"

    @property
    def size_m(self) -> Array:
        """(3,) extents of the oriented box along the axes of obj, in metres; NaN where size or scale is unknown."""
        return self.scale * np.asarray(self.size, dtype=np.float64)

    @property
    def position_m(self) -> Array:
        """(3,) origin of obj in cam, in metres; NaN where the scale is unknown."""
        return self.scale * self.cam_T_obj[:3, 3]

    @property
    def covariance_m(self) -> Array | None:
        """(6, 6) as `covariance`, but of `position_m` in metres; None where covariance or scale is unknown.

        The error of the scale adds to it, except where depth gave the scale: it then makes up for that of the distance.
        """
        if self.covariance is None or not np.isfinite(self.scale):
            return None
        units = np.array([self.scale] * 3 + [1.0] * 3)
        covariance: Array = self.covariance * np.outer(units, units)
        if self.scale_source != "depth" and np.isfinite(self.scale_std):
            covariance[:3, :3] += self.scale_std**2 * np.outer(self.position_m, self.position_m)
        return covariance


class TrackState(Enum):
    """How sure it is that there is an object, and that it is still there."""

    TENTATIVE = "tentative"
    CONFIRMED = "confirmed"
    LOST = "lost"


@dataclass(frozen=True, eq=False)
class Track:
    """One object at the time of one image.

    Attributes:
        id: never given to another object by the same tracker.
        category: of the object.
        state: TENTATIVE until enough poses agreed; LOST when not seen for long, and CONFIRMED again when found again.
        estimate: filtered pose in cam, its covariance, score and scale; its `detection` is the last box. The score is a
            running mean in which poses that disagree count as 0; it halves in `lost_s` without a pose that agrees.
        velocity: (6,) in the axes of cam: object units per second, then the rotation vector in radians per second;
            relative to the fixed frame where `cam_T_fixed` is given, else to the camera.
        last_seen_ns: when a measured position agreed the last time.
        hits: measured poses that agreed.
        measured: the estimate in this image, with its hypotheses; None where the object is predicted only.
    """

    id: int
    category: str
    state: TrackState
    estimate: PoseEstimate
    velocity: Array
    last_seen_ns: int
    hits: int
    measured: PoseEstimate | None

    def __repr__(self) -> str:
        now = "" if self.measured else ", predicted"
        return f"<Track {self.id} {self.category}: {self.state.value}{now}, {_plural(self.hits, 'hit')}>"

    @property
    def detection(self) -> Detection | None:
        """The box in this image; None where the object is predicted only."""
        return None if self.measured is None else self.measured.detection
