"""The last step of making a capture: a frame that suits the object, and the files that `read_nerfstudio` reads.

In: cameras (world of the reconstruction), masks, the region of the object. Out: transforms.json, masks and the sparse
points, in a world whose origin is the middle of the object, whose unit is its diagonal, and whose z axis is up.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from uop3d_core.atomic import replaced, write_text
from uop3d_core.capture.nerfstudio import DISTORTION, OPENGL_T_OPENCV, TRANSFORMS
from uop3d_core.capture.object import ObjectRegion
from uop3d_core.capture.sfm import Reconstruction
from uop3d_core.geometry import Array, inverse_rigid, rigid_through_similarity
from uop3d_core.types import Camera, Sim3

POINTS = "sparse.ply"


def centred(region: ObjectRegion, inside: Array) -> Sim3:
    """The similarity from the reconstruction's world to one about the object.

    Args:
        region: gives the axes.
        inside: (N, 3) points that fill the object.
    """
    local = inside @ region.axes.T
    low, high = local.min(0), local.max(0)
    scale = 1 / max(float(np.linalg.norm(high - low)), 1e-12)
    return Sim3(scale, region.axes, -scale * (low + high) / 2)


def write_capture(
    folder: Path,
    found: Reconstruction,
    masks: Mapping[str, Path],
    new_T_world: Sim3,
    confidence: Mapping[str, float],
    level: bool,
) -> None:
    """Write masks, points and, last of all, transforms.json; images/NAME.jpg are there already.

    Args:
        folder: of the capture.
        found: cameras and points.
        masks: files of the masks by name, of the frames that belong to the capture.
        new_T_world: to the frame of the files.
        confidence: of the masks, by name.
        level: whether up is measured; it is written down then.
    """
    for name, path in masks.items():
        with replaced(folder / "masks" / f"{name}.png") as draft:
            shutil.copyfile(path, draft)
    _write_points(folder / POINTS, new_T_world.apply(found.points), found.colours)
    meta: dict[str, Any] = {"camera_model": "OPENCV"}
    if level:
        meta["up"] = [0.0, 0.0, 1.0]
    meta["frames"] = [_entry(name, found, new_T_world, confidence[name]) for name in masks]
    write_text(folder / TRANSFORMS, json.dumps(meta, indent=1, allow_nan=False) + "\n")


def _entry(name: str, found: Reconstruction, new_T_world: Sim3, confidence: float) -> dict[str, Any]:
    s, R, t = new_T_world.scale, new_T_world.R, new_T_world.t
    cam_T_new = rigid_through_similarity(found.cam_T_world[name], s, R, t)
    return {
        "file_path": f"images/{name}.jpg",
        "mask_path": f"masks/{name}.png",
        "mask_confidence": round(confidence, 4),
        **_intrinsics(found.cameras[name]),
        "transform_matrix": (inverse_rigid(cam_T_new) @ OPENGL_T_OPENCV).tolist(),
    }


def _intrinsics(camera: Camera) -> dict[str, float]:
    """Keys of nerfstudio; its pixels have their edges at integers."""
    if camera.lens == "fisheye":
        raise ValueError("a fisheye lens cannot be written to transforms.json; undistort the pictures first")
    K = camera.K
    lens = dict(zip(DISTORTION, camera.distortion.tolist(), strict=False))
    size = {"w": camera.width, "h": camera.height}
    focal = {"fl_x": float(K[0, 0]), "fl_y": float(K[1, 1])}
    return {**focal, "cx": float(K[0, 2]) + 0.5, "cy": float(K[1, 2]) + 0.5, **size, **lens}


def _write_points(path: Path, points: Array, colours: Array) -> None:
    import trimesh

    if len(points):
        with replaced(path) as draft:
            trimesh.PointCloud(points, colors=colours).export(draft)
