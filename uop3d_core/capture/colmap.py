"""COLMAP reconstructions, of COLMAP itself or whatever writes like it (MVImgNet, GLOMAP, hloc), and back.

In: a folder with images and a model (``sparse/0``, ``sparse``, or the folder itself). Out: a Recording.
Frames: COLMAP's camera has OpenCV's axes, camera_from_world is cam_T_world as it stands; the centre of the first pixel
is at (0.5, 0.5), which ends here. The world is COLMAP's: arbitrary, and up is not known.
Lost: features, matches, tracks, colours and errors of points.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from uop3d_core.atomic import replaced_when_complete
from uop3d_core.capture.colmap_model import Model, ModelCamera, ModelImage, is_model, read_model, write_model
from uop3d_core.capture.files import check_size, frame_names, image_inside, rotation_of_quaternion
from uop3d_core.capture.recordings import (
    ImportOptions,
    Recording,
    Shot,
    check_names,
    find_mask,
    place_image,
    place_mask,
    those_there,
)
from uop3d_core.geometry import Array, rigid
from uop3d_core.types import Camera

LENSES = {
    "SIMPLE_PINHOLE": ("f cx cy", "pinhole", ""),
    "PINHOLE": ("fx fy cx cy", "pinhole", ""),
    "SIMPLE_RADIAL": ("f cx cy k1", "brown", "k1 - - -"),
    "RADIAL": ("f cx cy k1 k2", "brown", "k1 k2 - -"),
    "OPENCV": ("fx fy cx cy k1 k2 p1 p2", "brown", "k1 k2 p1 p2"),
    "FULL_OPENCV": ("fx fy cx cy k1 k2 p1 p2 k3 k4 k5 k6", "brown", "k1 k2 p1 p2 k3 k4 k5 k6"),
    "OPENCV_FISHEYE": ("fx fy cx cy k1 k2 k3 k4", "fisheye", "k1 k2 k3 k4"),
    "SIMPLE_RADIAL_FISHEYE": ("f cx cy k1", "fisheye", "k1 - - -"),
    "RADIAL_FISHEYE": ("f cx cy k1 k2", "fisheye", "k1 k2 - -"),
}
"""Parameters in COLMAP's order, the lens, and its coefficients in OpenCV's ("-" is 0), by camera model."""
MODEL_FOLDERS = ("sparse/0", "sparse", "colmap/sparse/0", "colmap/sparse", "")
IMAGE_FOLDERS = ("images", "input", "images_original", "")
OWN_NAMES = ("0", "sparse", "colmap", "")
"""Folders that are not called by what they show."""
ABOVE = 3
"""How many folders above the model images are looked for."""


def read_colmap(source: Path, images: Path | None = None, skip_missing: bool = False) -> Recording:
    """Read a reconstruction with its images.

    Args:
        source: the folder that holds model and images, or the model's folder.
        images: where the images are, if not in ``images`` beside or above the model.
        skip_missing: whether to go on without images of the model that are not there.

    Raises:
        FileNotFoundError: there is no model, or images of it are missing.
        ValueError: a file is damaged, a camera model has no counterpart, or a name leads out of the image folder.
    """
    source = Path(source).resolve()
    folder = _model_folder(source)
    if folder is None:
        raise FileNotFoundError(f"{source}: no COLMAP model here or in {', '.join(MODEL_FOLDERS[:-1])}")
    model = read_model(folder)
    if len(model.images) < 2:
        raise ValueError(f"{folder}: holds {len(model.images)} registered image(s), at least 2 are needed")
    where = images.resolve() if images else _image_folder(folder, model, source)
    cameras = {number: camera_of(camera, f"{folder}: camera {number}") for number, camera in model.cameras.items()}
    names = frame_names([image.name for image in model.images])
    readers = [
        partial(_shot, image, name, cameras, folder, where) for image, name in zip(model.images, names, strict=True)
    ]
    shots, notes = those_there(readers, skip_missing)
    points = model.points if len(model.points) else None
    name = next((path.name for path in (source, *source.parents) if path.name not in OWN_NAMES), "capture")
    return Recording(name, shots, points, source={"format": "colmap"}, notes=(*notes, *_notes(folder)))


def camera_of(camera: ModelCamera, where: str) -> Camera:
    """A camera with pixel centres at integers.

    Raises:
        ValueError: its model has no counterpart here, or its numbers are none of a camera.
    """
    if camera.model not in LENSES:
        raise ValueError(
            f"{where} has model {camera.model}, which is not supported ({', '.join(LENSES)} are): undistort the images "
            "first with colmap image_undistorter"
        )
    names, lens, order = LENSES[camera.model]
    values = dict(zip(names.split(), camera.params, strict=True))
    focal = values.get("f", 0.0)
    fx, fy = values.get("fx", focal), values.get("fy", focal)
    K = np.array([[fx, 0, values["cx"] - 0.5], [0, fy, values["cy"] - 0.5], [0, 0, 1]])
    try:
        return Camera(K, camera.width, camera.height, lens, np.array([values.get(key, 0.0) for key in order.split()]))
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def model_camera_of(camera: Camera, where: str) -> ModelCamera:
    """A camera as COLMAP has it; the way back of `camera_of`.

    Raises:
        ValueError: it is skewed, or has a lens that COLMAP does not know.
    """
    K = camera.K
    if K[0, 1] != 0:
        raise ValueError(f"{where} has skew {K[0, 1]:g}, which COLMAP cannot hold")
    if len(camera.distortion) > 8:
        raise ValueError(f"{where} has a lens with {len(camera.distortion)} coefficients: undistort the images first")
    params = [K[0, 0], K[1, 1], K[0, 2] + 0.5, K[1, 2] + 0.5]
    coefficients = camera.distortion.tolist()
    model = {"pinhole": "PINHOLE", "fisheye": "OPENCV_FISHEYE"}.get(camera.lens)
    if model is None:
        model = "OPENCV" if len(coefficients) == 4 or not any(coefficients[4:]) else "FULL_OPENCV"
        coefficients = (coefficients + [0.0] * 4)[: 4 if model == "OPENCV" else 8]
    return ModelCamera(model, camera.width, camera.height, tuple(float(v) for v in [*params, *coefficients]))


def write_colmap(recording: Recording, folder: Path, text: bool = False) -> None:
    """Write images, masks (``masks/NAME.jpg.png``, as COLMAP has them) and the model (``sparse/0``); all or nothing.

    Raises:
        FileExistsError: `folder` exists and is not an empty folder.
        ValueError: a camera cannot be held, or a name cannot be a file name.
    """
    check_names([shot.name for shot in recording.shots], recording.name)
    cameras: dict[ModelCamera, int] = {}
    images = []
    with replaced_when_complete(Path(folder).absolute()) as draft:
        for shot in recording.shots:
            camera = model_camera_of(shot.camera, f"camera of frame {shot.name}")
            number = cameras.setdefault(camera, len(cameras) + 1)
            image = place_image(shot, draft / "images")
            if shot.mask is not None:
                place_mask(shot, draft / "masks" / f"{image.name}.png")
            T = shot.cam_T_world
            images.append(ModelImage(quaternion_of_rotation(T[:3, :3]), T[:3, 3], number, image.name))
        known = {number: camera for camera, number in cameras.items()}
        points = np.zeros((0, 3)) if recording.points is None else recording.points
        write_model(Model(known, tuple(images), points), draft / "sparse" / "0", text)


def quaternion_of_rotation(R: Array) -> Array:
    """Quaternion (4,) w x y z of a rotation, w not negative."""
    from scipy.spatial.transform import Rotation

    x, y, z, w = Rotation.from_matrix(R).as_quat()
    return np.array([w, x, y, z]) * (-1.0 if w < 0 else 1.0)


class ColmapFormat:
    """Importer and exporter of COLMAP's folders."""

    description = "colmap: images and a model (sparse/0), text or binary"
    many = False
    text = False

    def recognises(self, source: Path) -> bool:
        """Whether there is a model."""
        return _model_folder(source) is not None

    def recordings(self, source: Path, options: ImportOptions) -> Iterator[Recording]:
        """The one recording in it."""
        yield read_colmap(source, options.images, options.skip_missing)

    def write(self, recording: Recording, folder: Path) -> None:
        """Write it to a new folder."""
        write_colmap(recording, folder, self.text)


class ColmapTextFormat(ColmapFormat):
    """The same, written as text."""

    description = "colmap-text: the same, written as text files"
    text = True

    def recognises(self, source: Path) -> bool:
        """`ColmapFormat` reads both."""
        return False


def _model_folder(source: Path) -> Path | None:
    return next((source / name for name in MODEL_FOLDERS if is_model(source / name)), None)


def _image_folder(folder: Path, model: Model, source: Path) -> Path:
    """The folder that holds images of the model, beside or above it."""
    above = [folder, *folder.parents][: ABOVE + 1]
    for candidate in (parent / name for parent in above for name in IMAGE_FOLDERS):
        if any((candidate / image.name).is_file() for image in model.images):
            return candidate.resolve()
    raise FileNotFoundError(
        f"{source}: no image of the model, such as {model.images[0].name}, is in a folder "
        f"{', '.join(IMAGE_FOLDERS[:-1])} beside or above it: tell where the images are with --images"
    )


def _shot(image: ModelImage, name: str, cameras: dict[int, Camera], folder: Path, where: Path) -> Shot:
    what = f"{folder}: image {image.name}"
    file, camera = image_inside(where, image.name, what), cameras[image.camera]
    check_size(file, (camera.width, camera.height), what)
    if not np.isfinite(image.translation).all():
        raise ValueError(f"{what} has NaN or infinite numbers for its position")
    R = rotation_of_quaternion(image.wxyz, f"{what}: rotation")
    shot = Shot(name, file, camera, rigid(R, image.translation))
    return replace(shot, mask=find_mask((where.parent / "masks").resolve(), shot, image.name))


def _notes(folder: Path) -> tuple[str, ...]:
    """What to say where a reconstruction fell apart into several models."""
    others = sorted(
        path.name for path in folder.parent.iterdir() if path != folder and path.is_dir() and is_model(path)
    )
    if folder.name != "0" or not others:
        return ()
    return (f"{folder.parent} holds {len(others) + 1} models that do not hang together; only {folder.name} is taken",)
