"""Captures on disk in the nerfstudio layout: ``transforms.json`` with images, masks and optional points beside it.

In: a folder. Out: a Capture whose pixels stay on disk until asked for, or a Recording of the files; and the way back.
Frames: files hold camera-to-world matrices of OpenGL cameras (x right, y up, z backwards) and pixel edges at integers;
both conventions end here: a Capture has ``cam_T_world`` of OpenCV cameras and pixel centres at integers.
Lens distortion ends here too: distorted images and masks are undistorted when they are read.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from uop3d_core.atomic import replaced_when_complete
from uop3d_core.capture.files import (
    check_unique,
    file_inside,
    image_inside,
    image_size,
    is_number,
    read_json_file,
    read_points,
    rigid_of,
    show,
    write_points,
)
from uop3d_core.capture.recordings import (
    ImportOptions,
    Recording,
    Shot,
    capture_of,
    check_masks,
    check_names,
    place_image,
    place_mask,
    those_there,
)
from uop3d_core.geometry import Array, inverse_rigid
from uop3d_core.types import Camera, Capture, Frame

TRANSFORMS = "transforms.json"
PINHOLES = ("PINHOLE", "SIMPLE_PINHOLE")
DISTORTION = ("k1", "k2", "p1", "p2", "k3")
"""Keys of a usual lens, in OpenCV's order."""
BROWN = {
    "SIMPLE_RADIAL": ("k1",),
    "RADIAL": ("k1", "k2"),
    "OPENCV": DISTORTION,
    "FULL_OPENCV": ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6"),
}
FISHEYE = {"OPENCV_FISHEYE": ("k1", "k2", "k3", "k4")}
LENS_KEYS = {**dict.fromkeys(PINHOLES, DISTORTION), **BROWN, **FISHEYE}
"""Keys of the distortion by camera model, in OpenCV's order; a key that is missing is 0.

A pinhole with coefficients is one with distortion: many writers leave the model at PINHOLE. FULL_OPENCV is COLMAP's
name, which nerfstudio does not know.
"""
OPENGL_T_OPENCV = np.diag([1.0, -1.0, -1.0, 1.0])


def read_nerfstudio(folder: Path | str) -> Capture:
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

    Examples:
        >>> capture = read_nerfstudio("captures/mug/mug_00")
        >>> capture
        <Capture mug_00: 8 frames of 96 x 96 pixels, no points, up not measured>
        >>> frame = capture.frames[0]
        >>> frame.image.shape, frame.mask.shape, frame.cam_T_world.shape
        ((96, 96, 3), (96, 96), (4, 4))
    """
    folder = Path(folder).resolve()
    recording = read_recording(folder)
    for index, shot in enumerate(recording.shots):
        if shot.mask is None:
            raise FileNotFoundError(
                f'{folder / TRANSFORMS}: frame {index} ({shot.image.name}) has no "mask_path" and there is no '
                f"{_usual_mask(folder, shot.image)}: give every frame a mask of the object (white on black, same size "
                "as the image)"
            )
    return capture_of(recording)


def read_recording(folder: Path, skip_missing: bool = False) -> Recording:
    """Read the files of one capture with their cameras, see `read_nerfstudio`; masks may be missing.

    Images may be missing, too, where `skip_missing` says so.

    Raises:
        FileNotFoundError, ValueError: as `read_nerfstudio`.
    """
    folder = Path(folder).resolve()
    path = folder / TRANSFORMS
    meta = read_json_file(path, f"a capture is a folder with {TRANSFORMS}, images and masks")
    if not isinstance(meta, dict):
        raise ValueError(f'{path}: must hold an object with a list "frames", got {show(meta)}')
    entries = meta.get("frames")
    if not isinstance(entries, list) or len(entries) < 2:
        found = f"{len(entries)} of them" if isinstance(entries, list) else show(entries)
        raise ValueError(f'{path}: "frames" must be a list of at least 2 frames, got {found}; 20 or more work well')
    readers = [_ShotReader(folder, meta, entry, index).read for index, entry in enumerate(entries)]
    shots, notes = those_there(readers, skip_missing)
    check_unique([shot.name for shot in shots], path)
    points = meta.get("ply_file_path")
    if points is not None:
        points = read_points(file_inside(folder, points, f"{path}: ply_file_path"), "remove ply_file_path")
    source = meta["source"] if isinstance(meta.get("source"), dict) else {}
    return Recording(folder.name, shots, points, _read_up(meta, path), source, notes)


def write_nerfstudio(capture: Capture, folder: Path) -> None:
    """Write a capture: JPEG images of quality 95, PNG masks, and points.ply where there are points.

    All or nothing: the files are written to a hidden folder beside `folder`, which is then renamed.

    Raises:
        FileExistsError: `folder` exists and is not an empty folder.
        ValueError: a frame has a skewed camera, or a name that cannot be a file name.
    """
    check_names([frame.name for frame in capture.frames], capture.name)
    cameras = [_at_world(frame.camera, frame.cam_T_world, frame.name) for frame in capture.frames]

    def write(index: int, draft: Path) -> tuple[Path, Path | None]:
        return _write_pixels(capture.frames[index], draft)

    _write(Recording(capture.name, (), capture.points, capture.up), cameras, write, Path(folder).absolute())


def write_recording(recording: Recording, folder: Path, link: bool = False) -> None:
    """Write a capture folder out of the files of a recording, their pixels unchanged; all or nothing.

    Args:
        recording: its world becomes that of the capture.
        folder: the capture folder; must not hold anything yet.
        link: make hard links instead of copies where both lie on one file system.

    Raises:
        FileExistsError: `folder` exists and is not an empty folder.
        ValueError: a camera is skewed, a name cannot be a file name, or a mask is unreadable.
    """
    check_names([shot.name for shot in recording.shots], recording.name)
    cameras = [_at_world(shot.camera, shot.cam_T_world, shot.name) for shot in recording.shots]

    check_masks(recording)

    def write(index: int, draft: Path) -> tuple[Path, Path | None]:
        shot = recording.shots[index]
        image = place_image(shot, draft / "images", link)
        return image, place_mask(shot, draft / "masks" / f"{shot.name}.png", link) if shot.mask else None

    _write(recording, cameras, write, Path(folder).absolute())


class NerfstudioFormat:
    """Importer and exporter of the layout itself: a folder of anybody's with transforms.json."""

    description = f"nerfstudio: a folder with {TRANSFORMS}"
    many = False

    def recognises(self, source: Path) -> bool:
        """Whether this is such a folder."""
        return (source / TRANSFORMS).is_file()

    def recordings(self, source: Path, options: ImportOptions) -> Iterator[Recording]:
        """The one recording in it."""
        yield read_recording(source, options.skip_missing)

    def write(self, recording: Recording, folder: Path) -> None:
        """Write it to a new folder."""
        write_recording(recording, folder)


class _ShotReader:
    """Reads one entry of ``frames``; intrinsics that it lacks are those of the whole file."""

    def __init__(self, folder: Path, meta: dict[str, Any], entry: Any, index: int) -> None:
        self.folder = folder
        self.where = f"{folder / TRANSFORMS}: frame {index}"
        if not isinstance(entry, dict):
            raise ValueError(f"{self.where} must be an object with file_path and transform_matrix, got {show(entry)}")
        self.entry, self.values = entry, {**meta, **entry}
        if isinstance(entry.get("file_path"), str):
            self.where += f" ({entry['file_path']})"

    def read(self) -> Shot:
        """The shot, with everything checked but its pixels."""
        self._check_model()
        image = image_inside(self.folder, self.entry.get("file_path"), f"{self.where}: file_path")
        mask = self._mask_path(image)
        camera = self._camera(image_size(image, f"{self.where}: the image"))
        if mask is not None:
            self._check_size(camera, mask)
        return Shot(image.stem, image, camera, self._cam_T_world(), mask)

    def _check_model(self) -> None:
        model = self.values.get("camera_model", "OPENCV")
        if model not in LENS_KEYS:
            raise ValueError(
                f"{self.where}: camera model {show(model)} is not supported, only {', '.join(LENS_KEYS)}: "
                "undistort the images first, e.g. with colmap image_undistorter"
            )

    def _mask_path(self, image: Path) -> Path | None:
        if self.entry.get("mask_path") is not None:
            return file_inside(self.folder, self.entry["mask_path"], f"{self.where}: mask_path")
        mask = _usual_mask(self.folder, image)
        return file_inside(self.folder, f"masks/{mask.name}", f"{self.where}: the mask") if mask.is_file() else None

    def _number(self, key: str, default: float | None = None) -> float:
        if key not in self.values and default is not None:
            return default
        value = self.values.get(key)
        if not is_number(value):
            raise ValueError(f"{self.where}: {key} must be a finite number, got {show(value)}")
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
        return Camera(np.array([[fl_x, 0, cx], [0, fl_y, cy], [0, 0, 1]]), *size, *self._lens())

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
        size = image_size(mask, f"{self.where}: the mask")
        if size != (camera.width, camera.height):
            raise ValueError(
                f"{self.where}: the mask {mask} is {size[0]} x {size[1]} pixels, but the image is "
                f"{camera.width} x {camera.height}: masks must have the size of their images"
            )

    def _lens(self) -> tuple[str, Array]:
        """Lens and coefficients in the order of OpenCV."""
        model = self.values.get("camera_model", "OPENCV")
        keys = LENS_KEYS[model]
        for key in ("k4", "k5", "k6"):
            if key not in keys and self._number(key, 0.0) != 0:
                raise ValueError(f"{self.where}: {model} has no {key}: undistort the images first, or name the model")
        values = np.array([self._number(key, 0.0) for key in keys])
        if model in FISHEYE:
            return "fisheye", values
        return ("brown", np.pad(values, (0, max(0, 5 - len(values))))) if values.any() else ("pinhole", np.zeros(0))

    def _cam_T_world(self) -> Array:
        what = f"{self.where}: transform_matrix"
        rows = self.entry.get("transform_matrix")
        if not (isinstance(rows, list) and len(rows) == 4 and all(isinstance(r, list) and len(r) == 4 for r in rows)):
            raise ValueError(f"{what} must be 4 rows of 4 numbers, got {show(rows)}")
        if not all(is_number(value) for row in rows for value in row):
            raise ValueError(f"{what} must hold finite numbers only, got {show(rows)}")
        world_T_opengl = np.array(rows, dtype=np.float64)
        if not np.allclose(world_T_opengl[3], [0, 0, 0, 1]):
            raise ValueError(f"{what} has last row {rows[3]}, expected [0, 0, 0, 1]")
        return inverse_rigid(rigid_of(world_T_opengl, what) @ OPENGL_T_OPENCV)


def _usual_mask(folder: Path, image: Path) -> Path:
    return folder / "masks" / f"{image.stem}.png"


def _read_up(meta: dict[str, Any], path: Path) -> Array | None:
    """The unit vector (3,) of the key "up", or None where there is none."""
    up = meta.get("up")
    if up is None:
        return None
    if not (isinstance(up, list) and len(up) == 3 and all(is_number(value) for value in up)):
        raise ValueError(f'{path}: "up" must be 3 finite numbers, the direction against gravity, got {show(up)}')
    length = float(np.linalg.norm(up))
    if length < 1e-6:
        raise ValueError(f'{path}: "up" is the direction against gravity and cannot be zero; remove it if unknown')
    return np.array(up, dtype=np.float64) / length


def _write(
    about: Recording,
    cameras: list[dict[str, Any]],
    write: Callable[[int, Path], tuple[Path, Path | None]],
    folder: Path,
) -> None:
    """Write the folder: `write` puts image and mask of a frame there, `cameras` are the rest of their entries."""
    with replaced_when_complete(folder) as draft:
        models = {camera["camera_model"] for camera in cameras}
        meta: dict[str, Any] = {"camera_model": cameras[0]["camera_model"]}
        if about.points is not None and len(about.points):
            meta["ply_file_path"] = "points.ply"
            write_points(draft / "points.ply", about.points)
        if about.up is not None:
            meta["up"] = about.up.tolist()
        if about.source:
            meta["source"] = dict(about.source)
        meta["frames"] = []
        for index, camera in enumerate(cameras):
            image, mask = write(index, draft)
            entry = {"file_path": image.relative_to(draft).as_posix()}
            if mask is not None:
                entry["mask_path"] = mask.relative_to(draft).as_posix()
            own = camera if len(models) > 1 else {key: camera[key] for key in camera if key != "camera_model"}
            meta["frames"].append({**entry, **own})
        text = json.dumps(meta, indent=1, allow_nan=False)
        (draft / TRANSFORMS).write_text(text + "\n", encoding="utf-8")


def _write_pixels(frame: Frame, folder: Path) -> tuple[Path, Path | None]:
    """Encode image and mask of a frame."""
    image, mask = folder / "images" / f"{frame.name}.jpg", folder / "masks" / f"{frame.name}.png"
    image.parent.mkdir(exist_ok=True)
    Image.fromarray(frame.image).save(image, quality=95)
    if frame.mask_source is None:
        return image, None
    mask.parent.mkdir(exist_ok=True)
    Image.fromarray(frame.mask.astype(np.uint8) * 255).save(mask)
    return image, mask


def _at_world(camera: Camera, cam_T_world: Array | None, name: str) -> dict[str, Any]:
    """The part of a frame's entry of transforms.json that tells of its camera."""
    K = camera.K
    if K[0, 1] != 0:
        raise ValueError(f"camera of frame {name} has skew {K[0, 1]:g}, which the nerfstudio layout cannot hold")
    assert cam_T_world is not None, "a Capture has only frames with a camera"
    model = _model_of(camera, name)
    return {
        "camera_model": model,
        "fl_x": float(K[0, 0]),
        "fl_y": float(K[1, 1]),
        "cx": float(K[0, 2]) + 0.5,
        "cy": float(K[1, 2]) + 0.5,
        "w": camera.width,
        "h": camera.height,
        **dict(zip(LENS_KEYS[model], camera.distortion.tolist(), strict=False)),
        "transform_matrix": (inverse_rigid(cam_T_world) @ OPENGL_T_OPENCV).tolist(),
    }


def _model_of(camera: Camera, name: str) -> str:
    """Camera model that holds the lens of a camera."""
    if camera.lens == "pinhole":
        return "PINHOLE"
    if camera.lens == "fisheye":
        return "OPENCV_FISHEYE"
    if len(camera.distortion) > 8:
        raise ValueError(
            f"camera of frame {name} has a lens with {len(camera.distortion)} coefficients, but the nerfstudio layout "
            "holds 8 at most: undistort the images first"
        )
    return "OPENCV" if len(camera.distortion) <= 5 else "FULL_OPENCV"
