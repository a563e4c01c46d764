"""A Scene served to browsers: surfaces, cameras with their photographs, the template, and switches for all of it.

In: a Scene. Out: a web server (viser) on this machine, which needs no other one. All things stand in a grid, or are
laid over each other in the common frame.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from typing import Any

import numpy as np
import trimesh
from trimesh.exchange.gltf import export_glb

from uop3d_core.geometry import Array
from uop3d_core.types import Mesh
from uop3d_core.viewer.scene import Scene, ShownCamera, Thing

STEP = 1.35
"""Between neighbours in the grid, object units."""
CLAY, SHELL = (206, 196, 180), (120, 170, 230)
ACCEPTED, REJECTED = (70, 90, 120), (214, 40, 40)
FRUSTUM = 0.12
LABEL = {"font_screen_scale": 0.75, "anchor": "bottom-center"}
FIELD_DEG = 40.0
LOCAL = "127.0.0.1"


@dataclass(frozen=True, eq=False)
class _Node:
    """A thing in the scene tree.

    Attributes:
        thing: what it shows.
        root: of everything of it.
        seat: where it stands in the grid, (3,).
        parts: handles by the switch that they obey.
        box: the switch of all of it.
    """

    thing: Thing
    root: Any
    seat: Array
    parts: dict[str, list[Any]]
    box: Any


class Viewer:
    """A running server; `stop` ends it.

    Attributes:
        url: for the browser.
    """

    url: str

    def __init__(self, scene: Scene, host: str = LOCAL, port: int = 8080) -> None:
        """Start to serve; another port is taken where this one is not free.

        Raises:
            ModuleNotFoundError: viser is not installed.
            ValueError: the scene is empty.
        """
        if not scene.things:
            raise ValueError("there is nothing to view")
        self._viser = require()
        with redirect_stdout(StringIO()):  # viser would say where it serves, whether it should or not
            self._server = self._viser.ViserServer(host=host, port=port, label="uop3d", verbose=False)
        self.url = f"http://{host}:{self._server.get_port()}"
        self._scene = scene
        self._furnish()

    def stop(self) -> None:
        """End the server."""
        with redirect_stdout(StringIO()):
            self._server.stop()

    def _furnish(self) -> None:
        server, scene = self._server, self._scene
        server.gui.configure_theme(show_logo=False, show_share_button=False, control_width="medium")
        server.scene.set_up_direction("+z")
        server.scene.configure_default_lights(enabled=False)
        server.scene.configure_environment_map(None)
        server.scene.add_light_ambient("/light/all", intensity=2.2)
        server.scene.add_light_directional("/light/sun", intensity=1.2, position=(1.0, 0.6, 2.0))
        self._look_at_all()
        server.gui.add_markdown(_summary(scene))
        self._switches: dict[str, Any] = {}
        with server.gui.add_folder("Show"):
            if scene.common:
                self._spread = server.gui.add_slider("side by side", 0.0, 1.0, 0.05, 1.0)
                self._spread.on_update(lambda _: self._place())
            for name, on in (("surfaces", True), ("cameras", not scene.common), ("points", False), ("names", True)):
                self._switch(name, on)
            if scene.template is not None:
                self._switch("template", True)
            if scene.common:
                self._switch("axes", True)
        self._add_frame_and_template()
        self._nodes: list[_Node] = []
        for title, accepted in (("Captures", True), ("Rejected", False)):
            things = [thing for thing in scene.things if thing.accepted == accepted]
            if things:
                with server.gui.add_folder(f"{title} ({len(things)})"):
                    self._add_group(things)
        self._place()
        self._update()

    def _switch(self, name: str, on: bool) -> None:
        self._switches[name] = self._server.gui.add_checkbox(name, on)
        self._switches[name].on_update(lambda _: self._update())

    def _look_at_all(self) -> None:
        """From the front left, above."""
        columns = math.ceil(math.sqrt(len(self._scene.things) + (self._scene.template is not None)))
        camera, away = self._server.initial_camera, 1.7 * columns + 1.2
        camera.position = (0.75 * away, 0.35 * away, 0.55 * away)
        camera.look_at = (0.0, 0.17 * columns, 0.0)  # the panel covers what is on the right
        camera.fov = math.radians(FIELD_DEG)

    def _add_frame_and_template(self) -> None:
        scene = self._server.scene
        self._axes: list[Any] = []
        self._template = None
        if self._scene.common:
            self._add_axes()
        if self._scene.template is not None:
            mesh = self._scene.template
            self._template = scene.add_mesh_simple(
                "/template", mesh.vertices.astype(np.float32), mesh.faces.astype(np.uint32), color=SHELL, opacity=0.6
            )

    def _add_axes(self) -> None:
        scene = self._server.scene
        self._axes = [scene.add_frame("/axes", axes_length=0.6, axes_radius=0.008, origin_radius=0.015)]
        for name, at in (("x front", (0.68, 0, 0)), ("y left", (0, 0.68, 0)), ("z up", (0, 0, 0.68))):
            self._axes.append(scene.add_label(f"/axes/{name[0]}", name, position=at, **LABEL))

    def _add_group(self, things: Sequence[Thing]) -> None:
        gui = self._server.gui
        boxes = [gui.add_checkbox(thing.name, True, hint=thing.note or None) for thing in things]
        for box in boxes:
            box.on_update(lambda _: self._update())
        if len(boxes) > 1:
            gui.add_button_group("switch", ("all", "none")).on_click(self._setter(boxes))
        for thing, box in zip(things, boxes, strict=True):
            if not thing.accepted:
                gui.add_markdown(f"**{_plain(thing.name)}**: {_plain(thing.note)}")
            self._nodes.append(self._add_thing(thing, box))

    @staticmethod
    def _setter(boxes: Sequence[Any]) -> Callable[[Any], None]:
        def set_all(event: Any) -> None:
            for box in boxes:
                box.value = event.target.value == "all"

        return set_all

    def _add_thing(self, thing: Thing, box: Any) -> _Node:
        scene, path = self._server.scene, f"/captures/{thing.name}"
        root = scene.add_frame(path, show_axes=False)
        text = thing.name if thing.accepted else f"✗ {thing.name}: rejected"
        top = float(thing.mesh.vertices[:, 2].max()) + 0.05
        parts: dict[str, list[Any]] = {
            "surfaces": [self._add_surface(f"{path}/surface", thing)],
            "names": [scene.add_label(f"{path}/name", text, position=(0, 0, top), **LABEL)],
            "cameras": [scene.add_frame(f"{path}/cameras", show_axes=False)],
            "points": [],
        }
        for shown in thing.cameras:
            self._add_camera(f"{path}/cameras/{shown.name}", shown, ACCEPTED if thing.accepted else REJECTED)
        if thing.points is not None:
            points = thing.points.astype(np.float32)
            colours = np.full(points.shape, 60, np.uint8)
            parts["points"].append(scene.add_point_cloud(f"{path}/points", points, colours, point_size=0.004))
        if not thing.accepted:
            parts["surfaces"].append(self._add_cage(f"{path}/cage", thing.mesh))
        return _Node(thing, root, self._seat(len(self._nodes)), parts, box)

    def _add_surface(self, path: str, thing: Thing) -> Any:
        mesh, colours = thing.mesh, thing.colours
        if colours is None:
            return self._server.scene.add_mesh_simple(
                path, mesh.vertices.astype(np.float32), mesh.faces.astype(np.uint32), color=CLAY, side="double"
            )
        solid = np.concatenate([_linear(colours), np.full((len(colours), 1), 255)], axis=1)
        shape = trimesh.Trimesh(mesh.vertices, mesh.faces, vertex_colors=solid.astype(np.uint8), process=False)
        return self._server.scene.add_glb(path, export_glb(trimesh.Scene(shape), tree_postprocessor=_made_matt))

    def _add_cage(self, path: str, mesh: Mesh) -> Any:
        """A red box around what was rejected."""
        low, high = mesh.vertices.min(0), mesh.vertices.max(0)
        corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)]) * (high - low) + low
        edges = [(a, b) for a in range(8) for b in range(a) if (a ^ b).bit_count() == 1]
        points = np.array([[corners[a], corners[b]] for a, b in edges], dtype=np.float32)
        return self._server.scene.add_line_segments(path, points, REJECTED)

    def _add_camera(self, path: str, shown: ShownCamera, colour: tuple[int, int, int]) -> None:
        """A frustum with its photograph; a click moves the eye there."""
        camera, T = shown.camera, shown.thing_T_cam
        wxyz = self._viser.transforms.SO3.from_matrix(T[:3, :3]).wxyz
        fov = 2 * math.atan(camera.height / 2 / float(camera.K[1, 1]))
        frustum = self._server.scene.add_camera_frustum(
            path, fov, camera.width / camera.height, scale=FRUSTUM, color=colour, thickness=0.004,
            image=shown.image, format="jpeg", jpeg_quality=75, wxyz=wxyz, position=T[:3, 3],
        )  # fmt: skip
        frustum.on_click(lambda event: self._look_from(event.client, path, T))

    def _look_from(self, client: Any, path: str, thing_T_cam: Array) -> None:
        """Move the eye of a browser to where a photograph was taken, towards the middle of what it shows."""
        root = next(node.root for node in self._nodes if path.startswith(f"{node.root.name}/"))
        place, forward = thing_T_cam[:3, 3], thing_T_cam[:3, 2]
        with client.atomic():
            client.camera.position = place + root.position
            client.camera.look_at = place + np.linalg.norm(place) * forward + root.position

    def _seat(self, index: int) -> Array:
        """Places in a square grid, row by row from the back left; the template has the first one."""
        lead = self._scene.template is not None
        count = len(self._scene.things) + lead
        columns = math.ceil(math.sqrt(count))
        row, column = divmod(index + lead, columns)
        middle = ((columns - 1) / 2, (math.ceil(count / columns) - 1) / 2)
        return STEP * np.array([row - middle[1], column - middle[0], 0.0])

    def _place(self) -> None:
        """Put everything between the common frame and the grid."""
        share = self._spread.value if self._scene.common else 1.0
        for node in self._nodes:
            node.root.position = share * node.seat
        if self._template is not None:
            seat = share * self._seat(-1)
            self._template.position = seat
            if self._axes:
                self._axes[0].position = seat

    def _update(self) -> None:
        """Show what is switched on."""
        on = {name: switch.value for name, switch in self._switches.items()}
        for node in self._nodes:
            node.root.visible = node.box.value
            for name, handles in node.parts.items():
                for handle in handles:
                    handle.visible = on[name]
        for handle in self._axes:
            handle.visible = on["axes"]
        if self._template is not None:
            self._template.visible = on["template"]


def require() -> Any:
    """The module viser.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    try:
        return importlib.import_module("viser")
    except ImportError as error:
        raise ModuleNotFoundError("the viewer needs viser: pip install 'uop3d[viewer]'") from error


def _made_matt(tree: dict[str, Any]) -> None:
    """Give the meshes of a glTF file a material, as without one they would be of metal."""
    tree["materials"] = [{"pbrMetallicRoughness": {"metallicFactor": 0.0, "roughnessFactor": 1.0}, "doubleSided": True}]
    for mesh in tree["meshes"]:
        for primitive in mesh["primitives"]:
            primitive["material"] = 0


def _linear(colours: Array) -> Array:
    """Colours as glTF wants those of vertices: 0-255, proportional to light (sRGB, IEC 61966-2-1)."""
    share = np.asarray(colours, dtype=np.float64) / 255
    light = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return np.rint(255 * light)


def _summary(scene: Scene) -> str:
    """Markdown at the head of the panel."""
    rejected = sum(not thing.accepted for thing in scene.things)
    counted = f"{len(scene.things)} captures" + (f", **{rejected} rejected**" if rejected else "")
    axes = "In the common frame x (red) is front, y (green) left, z (blue) up." if scene.common else ""
    notes = "".join(f"\n\n⚠ {_plain(note)}" for note in scene.notes)
    return f"**{_plain(scene.title)}**: {counted}. {axes} A click on a photograph looks from there.{notes}"


def _plain(text: str) -> str:
    """Text of captures and folders that Markdown takes for text."""
    return "".join(f"\\{c}" if c in r"\`*_{}[]<>()#+-!|~" else c for c in text)
