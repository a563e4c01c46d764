"""What a viewer shows, as plain values.

In: meshes and cameras in one frame per thing, x front, y left, z up, of a size near 1. Out: nothing; see `server`.
"""

from __future__ import annotations

from dataclasses import dataclass

from uop3d_core.geometry import Array
from uop3d_core.types import Camera, Mesh


@dataclass(frozen=True, eq=False)
class ShownCamera:
    """Where a photograph was taken.

    Attributes:
        name: of the frame.
        camera: that took it.
        thing_T_cam: (4, 4) rigid.
        image: (H, W, 3) uint8, small.
    """

    name: str
    camera: Camera
    thing_T_cam: Array
    image: Array


@dataclass(frozen=True, eq=False)
class Thing:
    """A capture.

    Attributes:
        name: of it.
        mesh: its surface.
        colours: (V, 3) of its vertices, 0-255; None for clay.
        cameras: photographs.
        points: (N, 3) of the reconstruction, or None.
        accepted: False where an alignment has rejected it.
        note: one line about it.
    """

    name: str
    mesh: Mesh
    colours: Array | None
    cameras: tuple[ShownCamera, ...] = ()
    points: Array | None = None
    accepted: bool = True
    note: str = ""


@dataclass(frozen=True, eq=False)
class Scene:
    """Everything.

    Attributes:
        title: what it is.
        things: captures.
        template: mesh in the common frame, or None.
        common: whether the things are in one frame and may be laid over each other.
        notes: what is left out, and warnings, one sentence each.
    """

    title: str
    things: tuple[Thing, ...]
    template: Mesh | None = None
    common: bool = False
    notes: tuple[str, ...] = ()
