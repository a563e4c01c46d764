"""Scale and metric position by source, on simulated mugs whose answer is exact.

In: nothing. A template mug stands on a table; every trial looks at it (or, with --other-shapes, at another mug that it
stands for) from another side, and disturbs pose, depth, size, plane and cameras by one level of noise. Out: one
table per level, in per cent: the share of trials in which the source gave a scale; over these, medians of the error of
the scale, of its stated standard deviation and of the error of the position (relative to the distance), and the share
of errors within two such deviations.
With another shape, the true scale is that at which its bounding box has the right diagonal.

    python benchmarks/metric.py --trials 60 --json runs/metric.json
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from measure import table, write_json
from scipy.spatial.transform import Rotation

from uop3d_core.capture.synthetic.mug import build_mug, random_shape
from uop3d_core.geometry import Array, inverse_rigid, rigid
from uop3d_core.pose.metric import MetricEvidence, measure
from uop3d_core.pose.multiview import View
from uop3d_core.pose.scale import KnownSize, SupportPlane
from uop3d_core.raycast import RayCaster
from uop3d_core.types import Camera, Detection, Mesh, PoseEstimate, Symmetry, Template

CAMERA = Camera(np.array([[420.0, 0, 159.5], [0, 420, 119.5], [0, 0, 1]]), 320, 240)
SCALE, VIEWS, BASELINE_M = 0.14, 4, 0.25
RAW = "depth, pose kept"


@dataclass(frozen=True)
class Level:
    """Standard deviations of the noise.

    Attributes:
        along, across: of the pose's translation, relative to the distance.
        turn_deg: of the pose's rotation about each axis.
        depth: of every pixel's depth, relative; and `holes`, the share of pixels without.
        hidden: share of the image's columns that an occluder covers.
        size: of the given diameter, relative.
        plane_m, plane_deg: of the plane's offset and normal.
        camera_m: of the camera positions of other views.
    """

    along: float
    across: float
    turn_deg: float
    depth: float
    holes: float
    hidden: float
    size: float
    plane_m: float
    plane_deg: float
    camera_m: float


LEVELS = {
    "exact": Level(0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
    "low": Level(0.02, 0.005, 3, 0.005, 0.1, 0, 0.03, 0.002, 0.5, 0.001),
    "medium": Level(0.05, 0.01, 8, 0.01, 0.2, 0.2, 0.1, 0.005, 1, 0.003),
    "high": Level(0.08, 0.02, 15, 0.02, 0.4, 0.4, 0.2, 0.01, 2, 0.01),
}


def main() -> None:
    """Read the arguments, measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=60, help="per level")
    parser.add_argument("--levels", nargs="+", choices=LEVELS, default=list(LEVELS), help="of noise")
    parser.add_argument("--other-shapes", action="store_true", help="look at other mugs than the template")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="where to write all numbers")
    args = parser.parse_args()
    template = unit(build_mug(random_shape(np.random.default_rng(args.seed))).mesh)
    results = {}
    for name in args.levels:
        rng = np.random.default_rng(args.seed)
        trials = [trial(template, LEVELS[name], args.other_shapes, rng) for _ in range(args.trials)]
        results[name] = summary(trials)
        print(f"{name} ({args.trials} trials)\n{table(results[name], RAW)}\n", flush=True)
    if args.json:
        write_json(args.json, {"trials": args.trials, "other_shapes": args.other_shapes, "levels": results})


def unit(mesh: Mesh) -> Mesh:
    """The mesh with the middle of its box at the origin and a diagonal of one."""
    middle = (mesh.vertices.min(0) + mesh.vertices.max(0)) / 2
    return Mesh((mesh.vertices - middle) / mesh.diameter, mesh.faces)


Outcome = dict[str, tuple[float, float, float]]
"""Error of the scale, its stated deviation, error of the position; by source; NaN where it gave no scale."""


def trial(template: Mesh, level: Level, other_shapes: bool, rng: np.random.Generator) -> Outcome:
    """One mug from one side, every source on its own."""
    mesh = unit(build_mug(random_shape(rng)).mesh) if other_shapes else template
    azimuth, elevation, distance = rng.uniform(0, 2 * np.pi), rng.uniform(0.2, 0.9), rng.uniform(2.5, 5)
    truths = [seen_from(azimuth + shift, elevation, distance) for shift in around(distance)]
    estimates = [disturbed(T, level, rng) for T in truths]
    world_T_cam = [metric_camera(T, level.camera_m, rng) for T in truths]
    others = tuple(View(e, T) for e, T in zip(estimates[1:], world_T_cam[1:], strict=True))
    depth = MetricEvidence(depth_image(mesh, truths[0], level, rng))
    size = KnownSize(SCALE * np.exp(level.size * rng.standard_normal()), std=max(level.size, 0.001))
    evidence = {
        RAW: (depth, False),
        "depth": (depth, True),
        "size": (MetricEvidence(size=size), True),
        f"{VIEWS} views": (MetricEvidence(world_T_cam=world_T_cam[0], views=others), True),
        "plane": (MetricEvidence(plane=table_plane(mesh, truths[0], level, rng)), True),
    }
    caster, name = RayCaster(template), Template("mug", template, Symmetry.none())
    outcome = {}
    for source, (known, refine) in evidence.items():
        found = measure(estimates[0], name, CAMERA, known, refine, caster).estimate
        truth = SCALE * truths[0][:3, 3]
        off = np.linalg.norm(found.position_m - truth) / np.linalg.norm(truth)
        outcome[source] = abs(found.scale / SCALE - 1), found.scale_std, float(off)
    return outcome


def around(distance: float) -> Array:
    """Azimuths (VIEWS,) relative to the first, BASELINE_M apart in all."""
    return np.linspace(0, BASELINE_M / (SCALE * distance), VIEWS)


def seen_from(azimuth: float, elevation: float, distance: float) -> Array:
    """cam_T_obj (4, 4) of an upright camera that looks at the object; object units."""
    away = np.array([np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)])
    right = np.array([-np.sin(azimuth), np.cos(azimuth), 0])
    R = np.stack([right, np.cross(-away, right), -away])
    return rigid(R, np.array([0, 0, distance]))


def disturbed(T: Array, level: Level, rng: np.random.Generator) -> PoseEstimate:
    """An estimate with errors of the pose, and their true covariance."""
    ray, length = T[:3, 3] / np.linalg.norm(T[:3, 3]), np.linalg.norm(T[:3, 3])
    across = rng.standard_normal(3)
    across -= across @ ray * ray
    t = T[:3, 3] + length * (level.along * rng.standard_normal() * ray + level.across * across)
    turn = np.deg2rad(level.turn_deg)
    R = Rotation.from_rotvec(turn * rng.standard_normal(3)).as_matrix() @ T[:3, :3]
    covariance = np.diag([0.0, 0, 0, *[max(turn, 1e-4) ** 2] * 3])
    along, aside = (length * max(std, 1e-4) for std in (level.along, level.across))
    covariance[:3, :3] = along**2 * np.outer(ray, ray) + aside**2 * (np.eye(3) - np.outer(ray, ray))
    box = Detection(np.array([0, 0, CAMERA.width - 1, CAMERA.height - 1]))
    return PoseEstimate(box, rigid(R, t), 0.9, covariance=covariance)


def depth_image(mesh: Mesh, T: Array, level: Level, rng: np.random.Generator) -> Array:
    """Depth (H, W) in metres of the mug on its table, with noise, holes and something in front of its left side."""
    hits = RayCaster(mesh).render(CAMERA, T)
    depth = np.where(hits.mask, hits.t, 1e6).reshape(CAMERA.height, CAMERA.width)
    normal, d = standing(mesh, T)
    ys, xs = np.mgrid[: CAMERA.height, : CAMERA.width]
    rays = np.stack([xs, ys, np.ones_like(xs)], -1) @ np.linalg.inv(CAMERA.K).T
    slope = rays @ normal
    ground = np.where(slope < -1e-6, -d / np.minimum(slope, -1e-6), 1e6)
    depth = np.minimum(depth, np.minimum(ground, 20)) * SCALE
    columns = np.nonzero(hits.mask.reshape(depth.shape))[1]
    if level.hidden:
        depth[:, : int(np.quantile(columns, level.hidden * rng.uniform()))] *= 0.6
    depth = depth * (1 + level.depth * rng.standard_normal(depth.shape))
    depth[rng.random(depth.shape) < level.holes] = np.nan
    return depth


def standing(mesh: Mesh, T: Array) -> tuple[Array, float]:
    """Normal (3,) in cam and offset of the plane under the object, object units."""
    up = T[:3, 2]
    return up, float(-mesh.vertices[:, 2].min() - up @ T[:3, 3])


def table_plane(mesh: Mesh, T: Array, level: Level, rng: np.random.Generator) -> SupportPlane:
    """The plane as something has measured it: turned about the place under the object, and shifted."""
    normal, d = standing(mesh, T)
    foot = T[:3, 3] + mesh.vertices[:, 2].min() * normal
    turned = Rotation.from_rotvec(np.deg2rad(level.plane_deg) * rng.standard_normal(3)).as_matrix() @ normal
    assert abs(normal @ foot + d) < 1e-9
    return SupportPlane(turned, SCALE * float(-turned @ foot) + level.plane_m * rng.standard_normal(), level.plane_m)


def metric_camera(cam_T_obj: Array, noise_m: float, rng: np.random.Generator) -> Array:
    """world_T_cam (4, 4) in metres, with the world in the object."""
    cam_T_world = cam_T_obj.copy()
    cam_T_world[:3, 3] *= SCALE
    world_T_cam = inverse_rigid(cam_T_world)
    world_T_cam[:3, 3] += noise_m * rng.standard_normal(3)
    return world_T_cam


def summary(trials: list[Outcome]) -> dict[str, dict[str, float]]:
    """Medians in per cent over the trials in which a source gave a scale."""
    rows = {}
    for source in trials[0]:
        values = np.array([outcome[source] for outcome in trials])
        given = values[np.isfinite(values[:, 0])]
        figures = {"known %": len(given) / len(values)}
        if len(given):
            scale, std, position = given.T
            figures |= {"scale error %": float(np.median(scale)), "its 90th percentile": float(np.quantile(scale, 0.9))}
            figures |= {"stated std %": float(np.median(std)), "within 2 std %": float((scale < 2 * std + 1e-6).mean())}
            figures |= {"position error %": float(np.median(position))}
        rows[source] = {name: round(100 * value, 3) for name, value in figures.items()}
    return rows


if __name__ == "__main__":
    main()
