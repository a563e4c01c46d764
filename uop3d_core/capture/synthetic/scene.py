"""What surrounds a mug: a table, boxes on it, a light, and a room to look at and to be mirrored.

In: a random generator. Out: a Scene in the canonical frame of its mug, lengths in that frame's unit; light is linear.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from uop3d_core.capture.synthetic.mug import Mug, Part, build_mug, random_shape
from uop3d_core.capture.synthetic.texture import (
    MugTexture,
    linear,
    noise_tile,
    random_glaze,
    random_texture,
    sample_tile,
)
from uop3d_core.geometry import Array, rigid
from uop3d_core.raycast import RayCaster, vertex_normals
from uop3d_core.types import Mesh, Sim3

TABLE_PIXELS = 512
LIGHT_PARTS = 16
WINDOW = 8.0
"""Light of the window in mirror images; walls have up to 1."""
BESIDE = 1.25
"""Distance of a second mug from the first."""
GOLDEN_ANGLE = np.pi * (3 - np.sqrt(5))
CUBE_FACES = np.array(
    [[0, 2, 1], [1, 2, 3], [4, 5, 6], [5, 7, 6], [0, 1, 4], [1, 5, 4], [2, 6, 3], [3, 6, 7], [0, 4, 2], [2, 4, 6],
     [1, 3, 5], [3, 7, 5]]
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Table:
    """A rectangular table top.

    Attributes:
        tile: (TABLE_PIXELS, TABLE_PIXELS, 3) repeating colours.
        tile_size: side of a tile.
        R: (2, 2) rotation from canonical x, y to the table's axes.
        low, high: (2,) corners along the table's axes.
        gloss: share of mirrored light at grazing view.
    """

    tile: Array
    tile_size: float
    R: Array
    low: Array
    high: Array
    gloss: float

    def local(self, points: Array) -> tuple[Array, Array]:
        """Coordinates (N,), (N,) along the table's axes of (N, 3) points."""
        x, y = points[:, 0], points[:, 1]
        return float(self.R[0, 0]) * x + float(self.R[0, 1]) * y, float(self.R[1, 0]) * x + float(self.R[1, 1]) * y

    def contains(self, points: Array) -> Array:
        """Are (N, 3) points of the table's plane on it: (N,) bool."""
        x, y = self.local(points)
        return (x > self.low[0]) & (x < self.high[0]) & (y > self.low[1]) & (y < self.high[1])

    def colours(self, points: Array) -> Array:
        """Colours (N, 3) at (N, 3) points."""
        u, v = self.local(points)
        return sample_tile(self.tile, u / self.tile_size, v / self.tile_size)


@dataclass(frozen=True, eq=False)
class Light:
    """A lamp or window far away, and what the room adds.

    Attributes:
        centre: (3,) unit vector to its middle.
        directions: (LIGHT_PARTS, 3) unit vectors to its parts: together they soften the shadows.
        colour: (3,) of the direct light.
        sky, bounce: (3,) ambient light from above and below.
    """

    centre: Array
    directions: Array
    colour: Array
    sky: Array
    bounce: Array


@dataclass(frozen=True, eq=False)
class Room:
    """The surroundings as seen in a direction.

    Attributes:
        floor, horizon, ceiling: (3,) colours.
        clouds: tile of noise in [0, 1].
        contrast: of the noise.
        window: (3,) direction of the bright window.
    """

    floor: Array
    horizon: Array
    ceiling: Array
    clouds: Array
    contrast: float
    window: Array

    def colours(self, directions: Array) -> Array:
        """Colours (N, 3) in unit directions (N, 3)."""
        up = directions[:, 2]
        azimuth = np.arctan2(directions[:, 1], directions[:, 0]) / (2 * np.pi)
        tone = 1 + self.contrast * (2 * sample_tile(self.clouds, 2 * azimuth, 0.7 * up) - 1)
        upwards = self.horizon + np.sqrt(np.clip(up, 0, 1))[:, None] * (self.ceiling - self.horizon)
        return np.where(up[:, None] < -0.03, self.floor, upwards) * tone[:, None]

    def mirrored(self, directions: Array, gloss: Array) -> Array:
        """Colours (N, 3) as a surface of (N,) gloss mirrors them: the room with its bright window.

        The camera itself never sees the window: it looks down.
        """
        glow = np.clip((directions @ self.window - 0.955) / 0.012, 0, 1)
        return self.colours(directions) + (WINDOW * gloss * glow)[:, None]


@dataclass(frozen=True, eq=False)
class Neighbour:
    """A second mug on the table.

    Attributes:
        mug, texture: as of the first, in a canonical frame of its own.
        scene_T_mug: (4, 4) rigid; the units are the same.
        faces: (F,) bool, which faces of the scene's caster are its.
    """

    mug: Mug
    texture: MugTexture
    scene_T_mug: Array
    faces: Array


@dataclass(frozen=True, eq=False)
class Scene:
    """All that is rendered, in the canonical frame of the mug.

    Attributes:
        mug, texture: the object.
        caster: of the mug, the boxes, and the second mug.
        parts: (F,) Part of every face of the caster's mesh.
        normals: (V, 3) smooth normals of its vertices.
        box_colours: (F, 3) colours of the faces that are boxes.
        table, light, room: the surroundings.
        gloss: of the glaze, 0 = matt, 1 = like glass.
        highlight: exponent of the highlight.
        centre, radius: (3,) and number, a sphere around all that stands on the table.
        neighbour: a second mug, or None.
    """

    mug: Mug
    texture: MugTexture
    caster: RayCaster
    parts: Array
    normals: Array
    box_colours: Array
    table: Table
    light: Light
    room: Room
    gloss: float
    highlight: float
    centre: Array
    radius: float
    neighbour: Neighbour | None = None


def with_neighbour(scene: Scene, rng: np.random.Generator) -> Scene:
    """The scene with a second mug on its table; there should be no boxes, which it may stand in."""
    mug = build_mug(random_shape(rng))
    texture = random_texture(rng, mug.height / (2 * np.pi * mug.radius))
    around = rng.uniform(0, 2 * np.pi) + np.arange(16) * np.pi / 8
    places = np.stack([np.cos(around), np.sin(around)], axis=1)
    far = places * (BESIDE + 0.5)
    place = BESIDE * places[np.argmax(scene.table.contains(np.column_stack([far, np.zeros(len(far))])))]
    R = np.eye(3)
    R[:2, :2] = _turn(rng.uniform(0, 2 * np.pi))
    scene_T_mug = rigid(R, np.array([*place, scene.mug.z_bottom - mug.z_bottom]))
    mesh = _joined([scene.caster.mesh, mug.mesh.transformed(Sim3(1.0, R, scene_T_mug[:3, 3]))])
    before, added = len(scene.parts), len(mug.parts)
    centre = (mesh.vertices.min(0) + mesh.vertices.max(0)) / 2
    return replace(
        scene,
        caster=RayCaster(mesh),
        parts=np.concatenate([scene.parts, mug.parts]),
        normals=vertex_normals(mesh),
        box_colours=np.concatenate([scene.box_colours, np.zeros((added, 3))]),
        centre=centre,
        radius=float(np.linalg.norm(mesh.vertices - centre, axis=1).max()),
        neighbour=Neighbour(mug, texture, scene_T_mug, np.arange(before + added) >= before),
    )


def random_scene(rng: np.random.Generator, clutter: bool | None = None) -> Scene:
    """A mug on a table in a room.

    Args:
        rng: the random generator.
        clutter: whether boxes stand around; None leaves it to chance.
    """
    mug = build_mug(random_shape(rng))
    texture = random_texture(rng, mug.height / (2 * np.pi * mug.radius))
    wanted = rng.random() < 0.5
    boxes, colours = _boxes(mug, rng, int(rng.integers(1, 5)) if (wanted if clutter is None else clutter) else 0)
    mesh = _joined([mug.mesh, *boxes])
    faces = len(mug.mesh.faces)
    table_colour, table = _random_table(rng)
    light, room = _random_light(rng, table_colour)
    centre = (mesh.vertices.min(0) + mesh.vertices.max(0)) / 2
    return Scene(
        mug=mug,
        texture=texture,
        caster=RayCaster(mesh),
        parts=np.concatenate([mug.parts, np.full(len(mesh.faces) - faces, Part.CLUTTER)]),
        normals=vertex_normals(mesh),
        box_colours=np.concatenate([np.zeros((faces, 3)), *colours]),
        table=table,
        light=light,
        room=room,
        gloss=rng.uniform(0.15, 1.0),
        highlight=rng.uniform(30, 250),
        centre=centre,
        radius=float(np.linalg.norm(mesh.vertices - centre, axis=1).max()),
    )


def _joined(meshes: list[Mesh]) -> Mesh:
    starts = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)])
    faces = [mesh.faces + start for mesh, start in zip(meshes, starts, strict=False)]
    return Mesh(np.concatenate([mesh.vertices for mesh in meshes]), np.concatenate(faces))


def _boxes(mug: Mug, rng: np.random.Generator, count: int) -> tuple[list[Mesh], list[Array]]:
    """Boxes beside the mug and the colours (12, 3) of their faces.

    None is taller than half the mug, so that from above the table something of the mug is always seen.
    """
    boxes: list[Mesh] = []
    colours: list[Array] = []
    corners = np.stack(np.meshgrid([0, 1], [-0.5, 0.5], [-0.5, 0.5], indexing="ij"), axis=-1).reshape(-1, 3)[:, ::-1]
    first = rng.uniform(0, 2 * np.pi)
    for index in range(count):
        sides = rng.uniform(0.15, 0.6, 2)
        size = np.array([*sides, mug.height * rng.uniform(0.06, 0.5)])
        distance = 0.65 + np.hypot(*sides) / 2 + rng.uniform(0, 0.6)
        place = first + 2 * np.pi * (index + rng.uniform(-0.2, 0.2)) / count
        spin = _turn(rng.uniform(0, 2 * np.pi))
        vertices = corners * size
        vertices[:, :2] = vertices[:, :2] @ spin.T + distance * np.array([np.cos(place), np.sin(place)])
        boxes.append(Mesh(vertices + [0, 0, mug.z_bottom], CUBE_FACES))
        colour = random_glaze(rng)
        lid = colour if rng.random() < 0.6 else random_glaze(rng)
        colours.append(np.repeat([colour, lid, colour], [2, 2, 8], axis=0))
    return boxes, colours


def _turn(angle: float) -> Array:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s], [s, c]])


def _random_light(rng: np.random.Generator, table_colour: Array) -> tuple[Light, Room]:
    elevation, azimuth = np.radians(rng.uniform(35, 70)), rng.uniform(0, 2 * np.pi)
    centre = np.array([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)])
    across = np.cross(centre, [0, 0, 1])
    across /= np.linalg.norm(across)
    spread = rng.uniform(0.02, 0.12) * np.sqrt((np.arange(LIGHT_PARTS)[:, None] + 0.5) / LIGHT_PARTS)
    turn = GOLDEN_ANGLE * np.arange(LIGHT_PARTS)[:, None]
    parts = centre + spread * (np.cos(turn) * across + np.sin(turn) * np.cross(across, centre))
    warmth = rng.uniform(-0.12, 0.15)
    direct, ambient = rng.uniform(0.5, 0.95), rng.uniform(0.3, 0.55)
    wall = linear((200, 198, 192)) * rng.uniform(0.35, 1.0) * rng.uniform(0.8, 1.2, 3)
    light = Light(
        centre=centre,
        directions=parts / np.linalg.norm(parts, axis=1, keepdims=True),
        colour=direct * np.array([1 + warmth, 1, 1 - warmth]),
        sky=ambient * np.array([1 - warmth / 2, 1, 1 + warmth / 2]),
        bounce=ambient * (0.3 + 0.7 * table_colour),
    )
    room = Room(
        floor=wall * rng.uniform(0.2, 0.7) * rng.uniform(0.8, 1.2, 3),
        horizon=wall,
        ceiling=wall * rng.uniform(0.8, 1.6),
        clouds=noise_tile(128, int(rng.integers(2, 5)), rng),
        contrast=rng.uniform(0.1, 0.7),
        window=centre,
    )
    return light, room


def _random_table(rng: np.random.Generator) -> tuple[Array, Table]:
    """Mean colour (3,) and table."""
    tile = TILES[rng.choice(list(TILES))](rng)
    centre, half = rng.uniform(-0.6, 0.6, 2), rng.uniform(1.6, 4.0, 2)
    table = Table(
        tile=np.clip(tile, 0, 0.9).astype(np.float32),
        tile_size=rng.uniform(1.3, 2.2),
        R=_turn(rng.uniform(0, 2 * np.pi)),
        low=centre - half,
        high=centre + half,
        gloss=rng.choice([0.0, rng.uniform(0.1, 0.4)]),
    )
    return tile.mean((0, 1)), table


def _wood(rng: np.random.Generator) -> Array:
    light = linear((190, 140, 90)) * rng.uniform(0.4, 1.3) * rng.uniform(0.85, 1.15, 3)
    size, planks = TABLE_PIXELS, int(rng.choice([2, 4]))
    grain = noise_tile(size, 5, rng, stretch=4)
    rows = np.arange(size) * planks // size
    shifts = rng.integers(0, size, planks)
    columns = (np.arange(size)[None] + shifts[rows][:, None]) % size
    tone = (rng.uniform(0.8, 1.1, planks)[rows])[:, None] * (0.45 + 0.75 * np.take_along_axis(grain, columns, axis=1))
    tone[np.arange(size) % (size // planks) < 3] *= 0.35
    return tone[..., None] * light


def _stone(rng: np.random.Generator) -> Array:
    dark, light = np.sort(rng.uniform(0.05, 0.75, 2))
    veins = 1 - np.abs(2 * noise_tile(TABLE_PIXELS, 5, rng) - 1) ** rng.uniform(0.3, 1.0)
    grains = noise_tile(TABLE_PIXELS, 7, rng, roughness=rng.uniform(0.8, 1.1))
    tone = dark + (light + 0.1 - dark) * grains - 0.3 * dark * veins
    return tone[..., None] * rng.uniform(0.85, 1.1, 3)


def _cloth(rng: np.random.Generator) -> Array:
    first, second = random_glaze(rng), linear((236, 232, 224)) * rng.uniform(0.7, 1)
    count, size = int(rng.integers(4, 10)), TABLE_PIXELS
    stripe = (np.arange(size) * count * 2 // size) % 2
    share = (stripe[:, None] + stripe[None] * rng.choice([0, 1])) / 2
    weave = 0.8 + 0.2 * rng.random((size, size))
    return (second + share[..., None] * (first - second)) * weave[..., None]


def _plain(rng: np.random.Generator) -> Array:
    tone = 1 - rng.uniform(0.1, 0.4) * noise_tile(TABLE_PIXELS, 6, rng)
    return tone[..., None] * random_glaze(rng)


def _mosaic(rng: np.random.Generator) -> Array:
    count, size = int(rng.integers(5, 12)), TABLE_PIXELS
    tones = random_glaze(rng) * rng.uniform(0.6, 1.1, (count, count, 1))
    tiles = cv2.resize(tones, (size, size), interpolation=cv2.INTER_NEAREST)
    joint = np.arange(size) * count % size < 5 * count
    tiles[joint[:, None] | joint[None]] = 0.3
    return tiles * (0.9 + 0.1 * noise_tile(size, 5, rng))[..., None]


TILES = {"wood": _wood, "stone": _stone, "cloth": _cloth, "plain": _plain, "mosaic": _mosaic}
