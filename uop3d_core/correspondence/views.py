"""Captured frames with the pose of their object.

In: aligned captures and their meshes. Out: Views; what comes after knows no world frame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from uop3d_core.geometry import Array, rigid_through_similarity
from uop3d_core.raycast import RayCaster
from uop3d_core.types import Alignment, Capture, Frame, Mesh, Sim3


@dataclass(frozen=True, eq=False)
class View:
    """One frame of an accepted capture, posed in obj.

    Attributes:
        capture: name of the capture.
        frame: image, camera, mask.
        cam_T_obj: (4, 4) rigid, depth in object units.
        shape: ray caster of the capture's own mesh in obj.
    """

    capture: str
    frame: Frame
    cam_T_obj: Array
    shape: RayCaster


def posed_views(captures: Sequence[Capture], meshes: Mapping[str, Mesh], alignment: Alignment) -> list[View]:
    """All frames with a mask of all accepted captures."""
    views = []
    for capture in captures:
        entry = alignment.captures.get(capture.name)
        if entry is None or not entry.accepted:
            continue
        obj_T_world = entry.obj_T_world
        shape = RayCaster(meshes[capture.name].transformed(obj_T_world))
        for frame in capture.frames:
            if frame.mask.any():
                views.append(View(capture.name, frame, pose_of(frame, obj_T_world), shape))
    return views


def pose_of(frame: Frame, obj_T_world: Sim3) -> Array:
    """cam_T_obj (4, 4) of a posed frame."""
    assert frame.cam_T_world is not None
    return rigid_through_similarity(frame.cam_T_world, obj_T_world.scale, obj_T_world.R, obj_T_world.t)
