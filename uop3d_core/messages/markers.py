"""Objects as RViz and Foxglove draw them: the template's mesh, its axes and a line of text.

In: Placed objects. Out: visualization_msgs/MarkerArray in the frame of its header, metres.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from uop3d_core.geometry import Array
from uop3d_core.messages.building import Messages
from uop3d_core.messages.placing import Place, Placed
from uop3d_core.types import Mesh

FACES = 300
"""Most triangles of a mesh that is drawn: a message holds three points for each, in every image."""
LIFETIME_S = 2
"""Markers vanish so long after the node that drew them."""
LINE_LIST, TEXT, TRIANGLE_LIST = 5, 9, 11
ADD, DELETE, DELETE_ALL = 0, 2, 3
AXIS_COLOURS = np.array([[0.9, 0.1, 0.1], [0.1, 0.75, 0.1], [0.15, 0.3, 1.0]])


class MarkerDrawer:
    """Draws objects, and removes those that are not there any more; holds state and belongs to one thread."""

    def __init__(self, messages: Messages, octets: Callable[[bytes], Any]) -> None:
        """Begin with an empty picture.

        Args:
            messages: makes the messages.
            octets: makes the value of a field uint8[] of bytes; the kinds of message classes differ in it.
        """
        self._messages, self._octets = messages, octets
        self._meshes: dict[str, list[Any]] = {}
        self._shown: set[tuple[str, int]] | None = None

    def draw(self, place: Place, placed: Sequence[Placed]) -> Any:
        """visualization_msgs/MarkerArray that makes the picture of the image before that of this one."""
        header = self._messages.header(place)
        if self._shown is None:  # whatever another run left there
            markers = [self._marker(header, "mesh", 0, 0, action=DELETE_ALL)]
        else:
            here = {(each.name, each.track.id) for each in placed}
            gone = sorted(self._shown - here)
            markers = [self._marker(header, f"{name}/{what}", i, 0, action=DELETE) for name, i in gone for what in WHAT]
        for each in placed:
            markers += [self._mesh(header, each), self._axes(header, each), self._text(header, each)]
        self._shown = {(each.name, each.track.id) for each in placed}
        return self._messages.make("visualization_msgs/msg/MarkerArray", markers=markers)

    def forget(self) -> None:
        """Begin anew: the next picture removes everything first."""
        self._shown = None

    def _mesh(self, header: Any, placed: Placed) -> Any:
        category = placed.track.category
        if category not in self._meshes:
            mesh = coarse(self._messages.templates[category].mesh)
            self._meshes[category] = [self._messages.point(p) for p in mesh.vertices[mesh.faces.reshape(-1)]]
        colour = (*colour_of(placed.track.id), 0.55)
        return self._marker(
            header, f"{placed.name}/mesh", placed.track.id, TRIANGLE_LIST,
            frame_T_marker=placed.frame_T_obj, size=np.full(3, placed.scale), colour=colour,
            points=self._meshes[category],
        )  # fmt: skip

    def _axes(self, header: Any, placed: Placed) -> Any:
        """The axes of obj from its origin to the sides of the box, and a third beyond."""
        ends = np.zeros((6, 3))
        ends[1::2] = np.diag(placed.size * 2 / 3)
        colours = [self._colour((*colour, 1.0)) for colour in np.repeat(AXIS_COLOURS, 2, axis=0)]
        return self._marker(
            header, f"{placed.name}/axes", placed.track.id, LINE_LIST,
            frame_T_marker=placed.frame_T_obj, size=np.array([0.02 * placed.scale, 0, 0]),
            points=[self._messages.point(end) for end in ends], colours=colours,
        )  # fmt: skip

    def _text(self, header: Any, placed: Placed) -> Any:
        above = placed.frame_T_obj.copy()
        above[:3, 3] += above[:3, 2] * (placed.size[2] / 2 + 0.15 * placed.scale)
        return self._marker(
            header, f"{placed.name}/text", placed.track.id, TEXT,
            frame_T_marker=above, size=np.array([0, 0, 0.12 * placed.scale]),
            text=f"{placed.name} {int(100 * placed.track.estimate.score)} %",
        )  # fmt: skip

    def _colour(self, rgba: Sequence[float]) -> Any:
        r, g, b, a = (float(value) for value in rgba)
        return self._messages.make("std_msgs/msg/ColorRGBA", r=r, g=g, b=b, a=a)

    def _marker(
        self,
        header: Any,
        ns: str,
        number: int,
        kind: int,
        *,
        action: int = ADD,
        frame_T_marker: Array | None = None,
        size: Array | None = None,
        colour: Sequence[float] = (1, 1, 1, 1),
        points: Sequence[Any] = (),
        colours: Sequence[Any] = (),
        text: str = "",
    ) -> Any:
        make, empty = self._messages.make, self._octets(b"")
        nothing = make("sensor_msgs/msg/CompressedImage", header=header, format="", data=empty)
        return make(
            "visualization_msgs/msg/Marker",
            header=header,
            ns=ns,
            id=number,
            type=kind,
            action=action,
            pose=self._messages.pose(np.eye(4) if frame_T_marker is None else frame_T_marker),
            scale=self._messages.vector(np.ones(3) if size is None else size),
            color=self._colour(colour),
            lifetime=make("builtin_interfaces/msg/Duration", sec=LIFETIME_S, nanosec=0),
            frame_locked=False,
            points=list(points),
            colors=list(colours),
            texture_resource="",
            texture=nothing,
            uv_coordinates=[],
            text=text,
            mesh_resource="",
            mesh_file=make("visualization_msgs/msg/MeshFile", filename="", data=empty),
            mesh_use_embedded_materials=False,
        )


WHAT = ("mesh", "axes", "text")
"""Markers of an object."""


def coarse(mesh: Mesh) -> Mesh:
    """A mesh of at most FACES triangles."""
    if len(mesh.faces) <= FACES:
        return mesh
    import fast_simplification

    vertices, faces = fast_simplification.simplify(
        np.asarray(mesh.vertices, np.float32), np.asarray(mesh.faces, np.int32), target_count=FACES
    )
    return Mesh(vertices, faces)


def colour_of(track_id: int) -> tuple[float, float, float]:
    """A colour for an object: neighbouring ids differ as much as they can."""
    return colorsys.hsv_to_rgb(track_id * 0.618034 % 1, 0.75, 0.95)
