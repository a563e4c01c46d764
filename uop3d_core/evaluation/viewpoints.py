"""Viewpoints of PASCAL3D+ and ObjectNet3D as rigid transforms, and images that are labelled with them.

In: azimuth, elevation, roll and distance. Out: cam_T_label.
Frames: ``cad`` is that of the datasets' CAD models, x left, y back, z up; ``label`` is x front, y left, z up; both have
the unit of the CAD model. The camera looks at the origin, which appears at the principal point.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from uop3d_core.evaluation.mat_records import AnnotatedObject, Viewpoint
from uop3d_core.geometry import Array, project, rigid, transform

CAD_R_LABEL = np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
"""Front of label is -y of cad, left is x, up is z."""


def cam_T_label(viewpoint: Viewpoint) -> Array:
    """Rigid transform (4, 4) of an OpenCV camera.

    The datasets' toolboxes (project_3d.m) put the camera at d (cos e sin a, -cos e cos a, sin e) and project by
    R = Rx(e - pi/2) Rz(-a), after which x is right, y up and z backwards, and turn the picture by theta
    counter-clockwise: cam_R_cad = diag(1, -1, -1) Rz(theta) Rx(e - pi/2) Rz(-a), and the origin lies d in front of the
    camera.
    """
    a, e, theta = -viewpoint.azimuth, viewpoint.elevation - np.pi / 2, viewpoint.theta
    cam_R_cad = np.diag([1.0, -1.0, -1.0]) @ _about_z(theta) @ _about_x(e) @ _about_z(a)
    return rigid(cam_R_cad @ CAD_R_LABEL, np.array([0.0, 0.0, viewpoint.distance]))


def intrinsics(viewpoint: Viewpoint) -> Array:
    """K (3, 3) that a viewpoint was annotated with."""
    f, (x, y) = viewpoint.focal * viewpoint.viewport, viewpoint.principal
    return np.array([[f, 0, x], [0, f, y], [0, 0, 1]])


@dataclass(frozen=True, eq=False)
class LabelledImage:
    """One image with one labelled object.

    Attributes:
        name: of the image.
        image: its file.
        label: the object.
        cad: file of its CAD model, which need not exist.
    """

    name: str
    image: Path
    label: AnnotatedObject
    cad: Path

    @property
    def viewpoint(self) -> Viewpoint:
        """Of the object."""
        assert self.label.viewpoint is not None, "readers leave out those without"
        return self.label.viewpoint


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """A part of a dataset.

    Attributes:
        images: those that the protocol tests on.
        skipped: by name, why an image of the list is left out.
    """

    images: tuple[LabelledImage, ...]
    skipped: dict[str, str]


def cad_box(item: LabelledImage) -> Array:
    """Box (4,) xyxy that the published inference crops by: symmetric about the projected origin, around the CAD model.

    Raises:
        FileNotFoundError: there is no CAD model.
        ValueError: it is not readable, or reaches behind the camera.
    """
    import trimesh

    if not item.cad.is_file():
        raise FileNotFoundError(f"{item.cad}: no such CAD model; use the annotated boxes, or unpack the CAD models")
    try:
        loaded: Any = trimesh.load(item.cad, file_type="off", process=False)
        vertices = np.asarray(loaded.vertices, dtype=np.float64)
    except Exception as error:  # the reader raises whatever a broken file leads to
        raise ValueError(f"{item.cad}: not a readable OFF file ({error}); unpack the CAD models again") from error
    K, T = intrinsics(item.viewpoint), cam_T_label(item.viewpoint)
    pixels = project(K, transform(T, vertices @ CAD_R_LABEL))
    if len(pixels) == 0 or not np.isfinite(pixels).all():
        raise ValueError(f"{item.cad}: reaches behind the camera of image {item.name}")
    centre = K[:2, 2]
    half = np.abs(pixels - centre).max(0)
    return np.concatenate([centre - half, centre + half])


def inside(root: Path, *parts: str) -> Path:
    """A path below the dataset's folder, of parts that come from its files or from the caller.

    Raises:
        ValueError: a part is no plain file name.
    """
    for part in parts:
        if part in ("", ".", "..") or Path(part).name != part or "\\" in part or "\0" in part:
            raise ValueError(f"{root}: {part!r} cannot be the name of a file of this dataset")
    return root.joinpath(*parts)


def image_list(path: Path, known: str) -> list[str]:
    """First words of the lines of an image set.

    Raises:
        FileNotFoundError: there is none; the message ends with what is known.
        ValueError: it is not a text file, or empty.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such image set; {known}")
    try:
        names = [line.split()[0] for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a text file ({error})") from error
    if not names:
        raise ValueError(f"{path}: the image set is empty")
    return names


def _about_z(angle: float) -> Array:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def _about_x(angle: float) -> Array:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
