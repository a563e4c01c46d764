"""Shapes, cameras and captures with exact answers, shared by the tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import trimesh
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from uop3d_core.geometry import pixel_rays, random_rotations, rigid
from uop3d_core.raycast import RayCaster
from uop3d_core.types import Camera, Capture, Frame, Mesh, Sim3, Surface
from uop3d_core.volume import Grid, Lattice, extract_mesh

finite = st.floats(-10, 10)
vectors = st.builds(lambda *xyz: np.array(xyz), finite, finite, finite)
rotations = st.builds(lambda *v: Rotation.from_rotvec(v).as_matrix(), *[st.floats(-3, 3)] * 3)
similarities = st.builds(Sim3, st.floats(0.05, 20), rotations, vectors)


def from_trimesh(mesh: trimesh.Trimesh) -> Mesh:
    return Mesh(mesh.vertices, mesh.faces)


def to_trimesh(mesh: Mesh) -> trimesh.Trimesh:
    return trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)


def sphere(radius: float = 1.0, subdivisions: int = 4, centre: Sequence[float] = (0, 0, 0)) -> Mesh:
    ball = trimesh.creation.icosphere(subdivisions=subdivisions, radius=radius)
    return Mesh(ball.vertices + centre, ball.faces)


def box(extents: Sequence[float] = (1, 1, 1), centre: Sequence[float] = (0, 0, 0)) -> Mesh:
    cube = trimesh.creation.box(extents)
    return Mesh(cube.vertices + centre, cube.faces)


def torus(major: float = 1.0, minor: float = 0.4, around: int = 48, across: int = 24) -> Mesh:
    return from_trimesh(trimesh.creation.torus(major, minor, major_sections=around, minor_sections=across))


def bowl(radius: float = 1.0, wall: float = 0.12) -> Mesh:
    """Half a spherical shell, open to +z."""
    angle = np.linspace(0, np.pi / 2, 16)
    outer = radius * np.stack([np.sin(angle), -np.cos(angle)], axis=1)
    inner = (radius - wall) * np.stack([np.sin(angle), -np.cos(angle)], axis=1)[::-1]
    mesh = trimesh.creation.revolve(np.concatenate([outer, inner]), sections=48)
    trimesh.repair.fix_normals(mesh)
    return from_trimesh(mesh)


def potato(subdivisions: int = 3) -> Mesh:
    """A smooth closed shape without any symmetry, longest along x, about 2.5 across."""
    ball = trimesh.creation.icosphere(subdivisions=subdivisions)
    d = np.asarray(ball.vertices)
    bumps = [((1, 0.3, 0.2), 0.9), ((-0.2, 1, 0.4), 0.35), ((-0.5, -0.6, 0.8), 0.5), ((0.3, -0.8, -0.7), -0.25)]
    radius = 0.7 + sum(height * np.exp(4 * (d @ np.array(axis) / np.linalg.norm(axis) - 1)) for axis, height in bumps)
    return Mesh(d * radius[:, None], ball.faces)


def solid(distance: Callable[[np.ndarray], np.ndarray], vertices: int, cells: int = 36) -> Mesh:
    """Where a function of (..., 3) points within 1.6 of the origin is negative."""
    lattice = Lattice.over(np.full(3, -1.6), np.full(3, 1.6), cells)
    return extract_mesh(Grid(lattice, distance(lattice.points).astype(np.float32)), vertices)


def random_sim3(rng: np.random.Generator) -> Sim3:
    """A random gauge: scale in 0.5-2, any rotation, translation up to 1 per axis."""
    scale = float(np.exp(rng.uniform(np.log(0.5), np.log(2))))
    return Sim3(scale, random_rotations(1, rng)[0], rng.uniform(-1, 1, 3))


def look_at(eye: Sequence[float], target: Sequence[float] = (0, 0, 0), up: Sequence[float] = (0, 0, 1)) -> np.ndarray:
    """cam_T_world (4, 4) of an upright camera at `eye`."""
    forward = np.subtract(target, eye) / np.linalg.norm(np.subtract(target, eye))
    right = np.cross(forward, up)
    right /= np.linalg.norm(right)
    R = np.stack([right, np.cross(forward, right), forward])
    return rigid(R, -R @ np.asarray(eye, dtype=float))


def orbit(count: int, distance: float, elevations_deg: Sequence[float] = (20, 50, -15)) -> list[np.ndarray]:
    """cam_T_world of `count` cameras around the origin, at elevations that take turns."""
    transforms = []
    for index in range(count):
        azimuth, elevation = 2 * np.pi * index / count, np.deg2rad(elevations_deg[index % len(elevations_deg)])
        flat = np.array([np.cos(azimuth), np.sin(azimuth), 0]) * np.cos(elevation)
        transforms.append(look_at(distance * (flat + [0, 0, np.sin(elevation)])))
    return transforms


def square_camera(pixels: int = 96, focal: float = 1.6) -> Camera:
    """A camera with its principal point in the middle; `focal` in image widths."""
    middle = (pixels - 1) / 2
    return Camera(np.array([[focal * pixels, 0, middle], [0, focal * pixels, middle], [0, 0, 1]]), pixels, pixels)


def coordinate_image(camera: Camera) -> np.ndarray:
    """Red is proportional to x and green to y, 250 at the last pixel; blue is 250."""
    ys, xs = np.mgrid[: camera.height, : camera.width]
    ramps = [xs * 250 / (camera.width - 1), ys * 250 / (camera.height - 1), np.full(xs.shape, 250)]
    return np.round(np.stack(ramps, axis=-1)).astype(np.uint8)


def normal_image(mesh: Mesh) -> Callable[[Camera, np.ndarray], np.ndarray]:
    """A painter: the object in colours that depend on place and direction, on black."""
    caster = RayCaster(mesh)

    def paint(camera: Camera, cam_T_world: np.ndarray) -> np.ndarray:
        hits = caster.render(camera, cam_T_world)
        colour = np.zeros((camera.height * camera.width, 3))
        place = caster.points(hits)[hits.mask] / mesh.diameter
        colour[hits.mask] = 0.5 + 0.25 * caster.face_normals[hits.face[hits.mask]] + 0.25 * np.sin(9 * place)
        return np.round(255 * colour).clip(0, 255).astype(np.uint8).reshape(camera.height, camera.width, 3)

    return paint


def film(
    mesh: Mesh,
    views: int = 16,
    camera: Camera | None = None,
    distance: float | None = None,
    paint: Callable[[Camera, np.ndarray], np.ndarray] | None = None,
    world_T_mesh: Sim3 | None = None,
    name: str = "thing",
    points: np.ndarray | None = None,
) -> Capture:
    """Exact masks of a mesh from cameras around its frame's origin; `points` are in the mesh's frame, too."""
    camera = camera or square_camera()
    gauge = world_T_mesh or Sim3.identity()
    caster = RayCaster(mesh)
    frames = []
    for index, cam_T_mesh in enumerate(orbit(views, distance or 2.4 * mesh.diameter)):
        mask = caster.render(camera, cam_T_mesh).mask.reshape(camera.height, camera.width)
        image = paint(camera, cam_T_mesh) if paint else coordinate_image(camera)
        frames.append(Frame(f"{index:03d}", camera, image, moved_camera(cam_T_mesh, gauge), mask))
    return Capture(name, tuple(frames), None if points is None else gauge.apply(points))


def moved_camera(cam_T_mesh: np.ndarray, world_T_mesh: Sim3) -> np.ndarray:
    """cam_T_world of the camera that sees in `world` what `cam_T_mesh` sees, by its centre and its axes alone."""
    R = cam_T_mesh[:3, :3] @ world_T_mesh.R.T
    eye = world_T_mesh.apply(-cam_T_mesh[:3, :3].T @ cam_T_mesh[:3, 3])
    return rigid(R, -R @ eye)


def rendered_mask(mesh: Mesh, frame: Frame) -> np.ndarray:
    """The mask (H, W) that a mesh gives in a frame."""
    hits = RayCaster(mesh).render(frame.camera, frame.cam_T_world)
    return hits.mask.reshape(frame.camera.height, frame.camera.width)


def mask_iou(mesh: Mesh, capture: Capture) -> np.ndarray:
    """Intersection over union of re-projected and given masks, of every frame."""
    pairs = [(rendered_mask(mesh, frame), frame.mask) for frame in capture.frames]
    return np.array([(a & b).sum() / (a | b).sum() for a, b in pairs])


def random_features(vertices: int, views: int, channels: int, rng: np.random.Generator) -> np.ndarray:
    """(V, K, C) unit rows: one random vector per vertex, a little different in every view."""
    own = rng.standard_normal((vertices, 1, channels))
    features = own + 0.1 * rng.standard_normal((vertices, views, channels))
    return features / np.linalg.norm(features, axis=2, keepdims=True)


def surface(
    name: str,
    mesh: Mesh,
    features: np.ndarray,
    world_T_mesh: Sim3 | None = None,
    valid: np.ndarray | None = None,
) -> Surface:
    """A surface in a world gauge, seen everywhere or where `valid` says; up is the z of the mesh's frame."""
    gauge = world_T_mesh or Sim3.identity()
    valid = np.ones(features.shape[:2], bool) if valid is None else valid
    return Surface(name, mesh.transformed(gauge), features, valid, valid.sum(1), gauge.R[:, 2])


def rays_of(camera: Camera) -> np.ndarray:
    """(H * W, 3) directions with z = 1 through all pixels, row by row."""
    ys, xs = np.mgrid[: camera.height, : camera.width]
    return pixel_rays(camera.K, np.stack([xs.ravel(), ys.ravel()], axis=-1))


def first_intersections(mesh: Mesh, eye: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distances from `eye` to the first surface towards each target, and to the target: every triangle, in double."""
    a, b, c = (mesh.vertices[mesh.faces[:, k]] for k in range(3))
    ray = targets - eye
    length = np.linalg.norm(ray, axis=1)
    ray /= length[:, None]
    e1, e2 = b - a, c - a
    h = np.cross(ray[:, None], e2[None])
    det = (e1 * h).sum(-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        s = eye - a
        u = (s * h).sum(-1) / det
        q = np.cross(s, e1)
        v = (ray[:, None] * q).sum(-1) / det
        t = (e2 * q).sum(-1)[None] / det
    hit = (u >= -1e-9) & (v >= -1e-9) & (u + v <= 1 + 1e-9) & (t > 1e-9)
    return np.where(hit, t, np.inf).min(1), length
