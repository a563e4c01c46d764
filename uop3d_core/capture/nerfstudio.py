"""Captures on disk in the nerfstudio layout: ``transforms.json`` with images, masks and optional points beside it.

In: a folder. Out: a Capture whose pixels stay on disk until asked for; and the way back.
Frames: files hold camera-to-world matrices of OpenGL cameras (x right, y up, z backwards) and pixel edges at integers;
both conventions end here: a Capture has ``cam_T_world`` of OpenCV cameras and pixel centres at integers.
Lens distortion ends here too: distorted images and masks are undistorted when they are read.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any, TypeGuard

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from uop3d_core.atomic import replaced_when_complete
from uop3d_core.geometry import Array, closest_rotation, inverse_rigid, rigid
from uop3d_core.images import read_mask, read_rgb
from uop3d_core.types import Camera, Capture, Frame

TRANSFORMS = "transforms.json"
CAMERA_MODELS = ("PINHOLE", "SIMPLE_PINHOLE", "OPENCV")
DISTORTION = ("k1", "k2", "p1", "p2", "k3")
"""Coefficients in the order of OpenCV; those that a file does not mention are 0."""
OPENGL_T_OPENCV = np.diag([1.0, -1.0, -1.0, 1.0])
ROTATION_TOLERANCE = 1e-3


def read_nerfstudio(folder: Path) -> Capture:
    """Read one capture; checks everything but the pixels, which are decoded on demand.

    ``applied_transform`` and ``applied_scale`` say where the world came from and are not needed: frames and points
    are in the same world frame. A frame without ``mask_path`` takes ``masks/<name of the image>.png``.

    One key is our own: ``"up": [x, y, z]``, the direction against gravity in the world of the frames, of any length.
    Whoever records with a phone knows it (ARKit's and ARCore's worlds have y up); nerfstudio ignores it.

    Args:
        folder: holds transforms.json; its name becomes the capture's name.

    Returns:
        A Capture of pinhole cameras; pixels are read, and undistorted where needed, by picklable functions.

    Raises:
        FileNotFoundError: no transforms.json, or an image, mask or point file that it names is missing.
        ValueError: anything in it is malformed; the message names file, frame, what is wrong and what to do.
    """
    folder = Path(folder).resolve()
    path = folder / TRANSFORMS
    meta = _read_json(path)
    entries = meta.get("frames")
    if not isinstance(entries, list) or len(entries) < 2:
        found = f"{len(entries)} of them" if isinstance(entries, list) else _show(entries)
        raise ValueError(f'{path}: "frames" must be a list of at least 2 frames, got {found}; 20 or more work well')
    frames = [_FrameReader(folder, meta, entry, index).read() for index, entry in enumerate(entries)]
    _check_unique([frame.name for frame in frames], path)
    return Capture(folder.name, tuple(frames), _read_points(folder, meta.get("ply_file_path")), _read_up(meta, path))


def write_nerfstudio(capture: Capture, folder: Path) -> None:
    """Write a capture: JPEG images of quality 95, PNG masks, and points.ply where there are points.

    All or nothing: the files are written to a hidden folder beside `folder`, which is then renamed.

    Raises:
        FileExistsError: `folder` exists and is not an empty folder.
        ValueError: a frame has no mask, a skewed camera, or a name that cannot be a file name.
    """
    folder = Path(folder).absolute()
    _check_names(capture)
    with replaced_when_complete(folder) as draft:
        meta: dict[str, Any] = {"camera_model": "PINHOLE"}
        if capture.points is not None and len(capture.points):
            meta["ply_file_path"] = "points.ply"
            _write_points(draft / "points.ply", capture.points)
        if capture.up is not None:
            meta["up"] = capture.up.tolist()
        meta["frames"] = [_write_frame(frame, draft) for frame in capture.frames]
        (draft / TRANSFORMS).write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")


class _FrameReader:
    """Reads one entry of ``frames``; intrinsics that it lacks are those of the whole file."""

    def __init__(self, folder: Path, meta: dict[str, Any], entry: Any, index: int) -> None:
        self.folder = folder
        self.where = f"{folder / TRANSFORMS}: frame {index}"
        if not isinstance(entry, dict):
            raise ValueError(f"{self.where} must be an object with file_path and transform_matrix, got {_show(entry)}")
        self.entry, self.values = entry, {**meta, **entry}
        if isinstance(entry.get("file_path"), str):
            self.where += f" ({entry['file_path']})"

    def read(self) -> Frame:
        """The frame, with everything checked but its pixels."""
        self._check_model()
        image = _inside(self.folder, self.entry.get("file_path"), f"{self.where}: file_path")
        mask = self._mask_path(image)
        camera = self._camera(_image_size(image, f"{self.where}: the image"))
        self._check_size(camera, mask)
        distortion = self._distortion()
        return Frame(
            name=image.stem,
            camera=camera,
            image_source=partial(_read_image, image, camera.K, distortion),
            cam_T_world=self._cam_T_world(),
            mask_source=partial(_read_mask, mask, camera.K, distortion),
        )

    def _check_model(self) -> None:
        model = self.values.get("camera_model", "OPENCV")
        if model not in CAMERA_MODELS:
            raise ValueError(
                f"{self.where}: camera model {_show(model)} is not supported, only {', '.join(CAMERA_MODELS)}: "
                "undistort the images first, e.g. with colmap image_undistorter"
            )

    def _mask_path(self, image: Path) -> Path:
        if self.entry.get("mask_path") is not None:
            return _inside(self.folder, self.entry["mask_path"], f"{self.where}: mask_path")
        mask = self.folder / "masks" / f"{image.stem}.png"
        if not mask.is_file():
            raise FileNotFoundError(
                f'{self.where} has no "mask_path" and there is no {mask}: give every frame a mask of the object '
                "(white on black, same size as the image)"
            )
        return mask

    def _number(self, key: str, default: float | None = None) -> float:
        if key not in self.values and default is not None:
            return default
        value = self.values.get(key)
        if not _is_number(value):
            raise ValueError(f"{self.where}: {key} must be a finite number, got {_show(value)}")
        return float(value)

    def _camera(self, size: tuple[int, int]) -> Camera:
        """Camera with pixel centres at integers, checked against the image's (width, height)."""
        width, height = self._number("w", size[0]), self._number("h", size[1])
        if width != size[0] or height != size[1]:
            raise ValueError(
                f"{self.where}: the image is {size[0]} x {size[1]} pixels, but w x h says {width:g} x {height:g}: "
                "correct w and h, and fl_x, fl_y, cx, cy with them, or replace the image"
            )
        fl_x = self._focal("fl_x", "camera_angle_x", width)
        fl_y = self._focal("fl_y", "camera_angle_y", height, fl_x)
        cx, cy = self._number("cx", width / 2) - 0.5, self._number("cy", height / 2) - 0.5
        return Camera(np.array([[fl_x, 0, cx], [0, fl_y, cy], [0, 0, 1]]), *size)

    def _focal(self, key: str, angle_key: str, extent: float, default: float | None = None) -> float:
        """Focal length in pixels: as given, from the field of view (radians), or the default."""
        if key in self.values:
            focal = self._number(key)
            if focal <= 0:
                raise ValueError(f"{self.where}: {key} must be positive, got {focal:g}")
        elif angle_key in self.values:
            angle = self._number(angle_key)
            if not 0 < angle < math.pi:
                raise ValueError(f"{self.where}: {angle_key} must be between 0 and pi radians, got {angle:g}")
            focal = 0.5 * extent / math.tan(0.5 * angle)
        elif default is not None:
            focal = default
        else:
            raise ValueError(f"{self.where}: the focal length is missing; give {key} in pixels or {angle_key}")
        return focal

    def _check_size(self, camera: Camera, mask: Path) -> None:
        size = _image_size(mask, f"{self.where}: the mask")
        if size != (camera.width, camera.height):
            raise ValueError(
                f"{self.where}: the mask {mask} is {size[0]} x {size[1]} pixels, but the image is "
                f"{camera.width} x {camera.height}: masks must have the size of their images"
            )

    def _distortion(self) -> tuple[float, ...]:
        """Coefficients in the order of OpenCV, or () for none."""
        if self._number("k4", 0.0) != 0:
            raise ValueError(f"{self.where}: k4 is not supported: undistort the images first")
        distortion = tuple(self._number(key, 0.0) for key in DISTORTION)
        return distortion if any(distortion) else ()

    def _cam_T_world(self) -> Array:
        what = f"{self.where}: transform_matrix"
        rows = self.entry.get("transform_matrix")
        if not (isinstance(rows, list) and len(rows) == 4 and all(isinstance(r, list) and len(r) == 4 for r in rows)):
            raise ValueError(f"{what} must be 4 rows of 4 numbers, got {_show(rows)}")
        if not all(_is_number(value) for row in rows for value in row):
            raise ValueError(f"{what} must hold finite numbers only, got {_show(rows)}")
        world_T_opengl = np.array(rows, dtype=np.float64)
        if not np.allclose(world_T_opengl[3], [0, 0, 0, 1]):
            raise ValueError(f"{what} has last row {rows[3]}, expected [0, 0, 0, 1]")
        R = world_T_opengl[:3, :3]
        deviation = float(np.abs(R @ R.T - np.eye(3)).max())
        if not deviation <= ROTATION_TOLERANCE or np.linalg.det(R) < 0:
            raise ValueError(
                f"{what} is not a rotation with a translation (R R^T is off by {deviation:.2g}, determinant "
                f"{np.linalg.det(R):.3g}): remove scale and mirroring from the camera-to-world matrix"
            )
        return inverse_rigid(rigid(closest_rotation(R), world_T_opengl[:3, 3]) @ OPENGL_T_OPENCV)


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; a capture is a folder with {TRANSFORMS}, images and masks")
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not valid JSON ({error}); write the file again") from error
    if not isinstance(meta, dict):
        raise ValueError(f'{path}: must hold an object with a list "frames", got {_show(meta)}')
    return meta


def _show(value: Any) -> str:
    text = "nothing" if value is None else json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e100


def _inside(folder: Path, name: Any, what: str) -> Path:
    """The existing file `name` of `folder`; raise where it is no relative path that stays inside."""
    if not isinstance(name, str) or not name or "\0" in name:
        raise ValueError(f"{what} must be the path of a file relative to {folder}, got {_show(name)}")
    path = (folder / name).resolve()
    if Path(name).is_absolute() or not path.is_relative_to(folder):
        raise ValueError(f"{what} {_show(name)} leads out of {folder}: copy the file there and give a relative path")
    if not path.is_file():
        raise FileNotFoundError(f"{what}: there is no file {path}; copy it there or remove the frame")
    return path


def _image_size(path: Path, what: str) -> tuple[int, int]:
    """(width, height) from the file's header."""
    try:
        with Image.open(path) as image:
            return image.size
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{what} {path} is not a readable image ({error}); replace the file") from error


def _check_unique(names: list[str], path: Path) -> None:
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise ValueError(f"{path}: duplicate frame names {', '.join(twice[:5])}: image files need different names")


def _read_image(path: Path, K: Array, distortion: tuple[float, ...]) -> Array:
    """Undistorted pixels of a file: (H, W, 3) uint8."""
    image = read_rgb(path)
    return cv2.undistort(image, K, np.array(distortion)) if distortion else image


def _read_mask(path: Path, K: Array, distortion: tuple[float, ...]) -> Array:
    """Undistorted mask of a file: (H, W) bool, False outside of what the camera saw."""
    mask = read_mask(path)
    return cv2.undistort(mask.astype(np.uint8) * 255, K, np.array(distortion)) >= 128 if distortion else mask


def _read_points(folder: Path, name: Any) -> Array | None:
    """Points (N, 3) of the file `name`, or None where there is none."""
    if name is None:
        return None
    import trimesh

    path = _inside(folder, name, f"{folder / TRANSFORMS}: ply_file_path")
    try:
        loaded: Any = trimesh.load(path, file_type="ply")
        points = np.asarray(loaded.vertices, dtype=np.float64)
    except Exception as error:  # the reader raises whatever a broken file leads to
        raise ValueError(f"{path}: not a readable PLY file ({error}); replace it or remove ply_file_path") from error
    if not np.isfinite(points).all():
        raise ValueError(f"{path}: contains NaN or infinite points; remove them or ply_file_path")
    return points if len(points) else None


def _read_up(meta: dict[str, Any], path: Path) -> Array | None:
    """The unit vector (3,) of the key "up", or None where there is none."""
    up = meta.get("up")
    if up is None:
        return None
    if not (isinstance(up, list) and len(up) == 3 and all(_is_number(value) for value in up)):
        raise ValueError(f'{path}: "up" must be 3 finite numbers, the direction against gravity, got {_show(up)}')
    length = float(np.linalg.norm(up))
    if length < 1e-6:
        raise ValueError(f'{path}: "up" is the direction against gravity and cannot be zero; remove it if unknown')
    return np.array(up, dtype=np.float64) / length


def _write_points(path: Path, points: Array) -> None:
    import trimesh

    trimesh.PointCloud(points).export(path)


def _check_names(capture: Capture) -> None:
    names = [frame.name for frame in capture.frames]
    for name in names:
        if name in ("", ".", "..") or Path(name).name != name or "\\" in name:
            raise ValueError(f"capture {capture.name}: frame name {name!r} cannot be a file name; rename the frame")
    if len(set(names)) < len(names):
        raise ValueError(f"capture {capture.name} has duplicate frame names; rename the frames")


def _write_frame(frame: Frame, folder: Path) -> dict[str, Any]:
    """Write image and mask; return the frame's entry of transforms.json."""
    K = frame.camera.K
    if K[0, 1] != 0:
        raise ValueError(f"camera of frame {frame.name} has skew {K[0, 1]:g}, which the nerfstudio layout cannot hold")
    assert frame.cam_T_world is not None, "a Capture has only frames with a camera"
    image, mask = folder / "images" / f"{frame.name}.jpg", folder / "masks" / f"{frame.name}.png"
    for path in (image, mask):
        path.parent.mkdir(exist_ok=True)
    Image.fromarray(frame.image).save(image, quality=95)
    Image.fromarray(frame.mask.astype(np.uint8) * 255).save(mask)
    return {
        "file_path": image.relative_to(folder).as_posix(),
        "mask_path": mask.relative_to(folder).as_posix(),
        "fl_x": float(K[0, 0]),
        "fl_y": float(K[1, 1]),
        "cx": float(K[0, 2]) + 0.5,
        "cy": float(K[1, 2]) + 0.5,
        "w": frame.camera.width,
        "h": frame.camera.height,
        "transform_matrix": (inverse_rigid(frame.cam_T_world) @ OPENGL_T_OPENCV).tolist(),
    }
