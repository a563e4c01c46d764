"""Simulated noisy videos with and without tracking: identities, jitter, lag, wrong poses.

In: nothing; three mugs that rest, that are carried past each other, or that a moving camera looks at; measured poses
with errors and flips that last over some images, misses, and most of a second in which one mug is hidden. Out: a table
per scene. Without tracking an estimate gets the identity of the nearest one in the last image.

    python benchmarks/tracking.py --seeds 10
"""

from __future__ import annotations

import argparse
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from measure import table, write_json
from scipy.spatial.transform import Rotation

from uop3d_core.config import TrackSettings
from uop3d_core.evaluation.tracking import id_switches, jitter, lag_s, match_centres, pose_errors
from uop3d_core.geometry import Array, rigid
from uop3d_core.pose.tracking import Tracker, TrackState
from uop3d_core.types import Detection, PoseEstimate, Symmetry

FPS, SECONDS, SCALE = 30.0, 10.0, 0.12
FOCAL, CENTRE = 600.0, np.array([319.5, 239.5])
SCENES = ("resting", "resting, no flips", "carried", "moving camera")
FLIP = Rotation.from_rotvec([0, 0, np.pi]).as_matrix()
MATCH_LIMIT, WRONG_DEG = 0.7, 30.0


@dataclass(frozen=True)
class Noise:
    """Errors of simulated estimates.

    Attributes:
        lateral, depth: standard deviations in object units and as a share of the distance.
        rotation_deg: per axis.
        memory: correlation of the errors of consecutive images.
        flip, flip_end: probabilities per image that wrong poses begin and that they end.
        miss: probability that an estimate is missing.
    """

    lateral: float = 0.03
    depth: float = 0.04
    rotation_deg: float = 6.0
    memory: float = 0.5
    flip: float = 0.03
    flip_end: float = 0.5
    miss: float = 0.1


@dataclass(frozen=True, eq=False)
class Scene:
    """A simulated video.

    Attributes:
        stamps_ns: (T,) times.
        cam_T_fixed: (T, 4, 4), metres.
        cam_T_obj: (T, N, 4, 4) true poses, object units.
        estimates: per image those that were made.
    """

    stamps_ns: Array
    cam_T_fixed: Array
    cam_T_obj: Array
    estimates: list[list[PoseEstimate]]


def true_motion(kind: str) -> tuple[Array, Array]:
    """cam_T_fixed (T, 4, 4) in metres and fixed_T_obj (T, 3, 4, 4) in object units."""
    seconds = np.arange(int(FPS * SECONDS)) / FPS
    base = Rotation.from_matrix(np.column_stack([[0, 0, -1], [1, 0, 0], [0, -1, 0]]))
    t = np.array([[-1.2, 0, 6], [0, 0.1, 7], [1.2, 0, 5]]) + np.zeros((len(seconds), 3, 3))
    turns = np.zeros((len(seconds), 3))
    if kind == "carried":
        t[:, 0, 0] = -1.2 * np.cos(0.8 * seconds)
        t[:, 2, 0] = 1.2 * np.cos(0.8 * seconds)
        turns[:, :] = np.outer(np.sin(0.7 * seconds), [1.0, 0.0, -1.5])
    R = (Rotation.from_rotvec(turns.reshape(-1, 1) * [0, 1, 0]) * base).as_matrix().reshape(*turns.shape, 3, 3)
    cam_T_fixed = np.tile(np.eye(4), (len(seconds), 1, 1))
    if kind == "moving camera":
        yaw = 0.15 * np.sin(1.5 * seconds)
        cam_T_fixed[:, :3, :3] = Rotation.from_rotvec(yaw[:, None] * [0, 1, 0]).as_matrix()
        cam_T_fixed[:, :3, 3] = SCALE * np.stack([0.8 * np.sin(seconds), 0.3 * np.sin(2 * seconds), 0 * yaw], axis=1)
    return cam_T_fixed, rigid(R, t)


def simulate(kind: str, noise: Noise, rng: np.random.Generator) -> Scene:
    """One video of ten seconds."""
    cam_T_fixed, fixed_T_obj = true_motion(kind)
    unit_T_fixed = cam_T_fixed.copy()
    unit_T_fixed[:, :3, 3] /= SCALE
    true = unit_T_fixed[:, None] @ fixed_T_obj
    T, N = true.shape[:2]
    stamps = (np.arange(T) * 1e9 / FPS).astype(np.int64)
    errors, flipped = np.zeros((N, 6)), np.zeros(N, bool)
    estimates: list[list[PoseEstimate]] = []
    for k in range(T):
        fresh = rng.normal(size=(N, 6))
        errors = fresh if k == 0 else noise.memory * errors + np.sqrt(1 - noise.memory**2) * fresh
        flipped = np.where(flipped, rng.random(N) > noise.flip_end, rng.random(N) < noise.flip)
        hidden = np.array([False, 5 <= k / FPS < 5.8, False])
        seen = np.flatnonzero((rng.random(N) >= noise.miss) & ~hidden)
        frame = [_estimate(true[k, i], errors[i], bool(flipped[i]), noise, rng) for i in seen]
        estimates.append([frame[i] for i in rng.permutation(len(frame))])
    return Scene(stamps, cam_T_fixed, true, estimates)


def _estimate(true: Array, error: Array, flipped: bool, noise: Noise, rng: np.random.Generator) -> PoseEstimate:
    t, R = true[:3, 3], true[:3, :3]
    R = (
        Rotation.from_rotvec(np.deg2rad(noise.rotation_deg) * error[3:]).as_matrix()
        @ R
        @ (FLIP if flipped else np.eye(3))
    )
    measured = rigid(R, t * (1 + noise.depth * error[2]) + noise.lateral * np.array([error[0], error[1], 0]))
    centre = CENTRE + FOCAL * t[:2] / t[2] + rng.normal(size=2) * 3
    half = 0.35 * FOCAL / t[2] * (1 + 0.03 * rng.normal())
    box = Detection(np.concatenate([centre - half, centre + half]), "mug")
    score = rng.uniform(0.3, 0.8) if flipped else rng.uniform(0.5, 1.0)
    return PoseEstimate(box, measured, score, scale=SCALE * (1 + 0.05 * rng.normal()), category="mug")


Output = list[tuple[Array, Array]]
"""Per image the ids (M,) and the poses (M, 4, 4)."""


def untracked(scene: Scene) -> Output:
    """Every estimate as it is, with the id of the nearest one in the last image."""
    output: Output = []
    last, count = (np.zeros(0, int), np.zeros((0, 4, 4))), 0
    for estimates in scene.estimates:
        poses = np.array([e.cam_T_obj for e in estimates]).reshape(-1, 4, 4)
        ids = np.full(len(poses), -1)
        for i, j in match_centres(last[1][:, :3, 3], poses[:, :3, 3], MATCH_LIMIT):
            ids[j] = last[0][i]
        new = np.flatnonzero(ids < 0)
        ids[new] = count + np.arange(len(new))
        count += len(new)
        last = ids, poses
        output.append(last)
    return output


def tracked(
    scene: Scene, settings: TrackSettings, symmetries: Mapping[str, Symmetry] = {}, camera_known: bool = True
) -> Output:
    """Confirmed tracks; categories without an entry in `symmetries` have none."""
    tracker, output = Tracker(settings, symmetries), []
    for k, estimates in enumerate(scene.estimates):
        tracks = tracker.update(int(scene.stamps_ns[k]), estimates, scene.cam_T_fixed[k] if camera_known else None)
        tracks = [t for t in tracks if t.state is TrackState.CONFIRMED]
        poses = np.array([t.estimate.cam_T_obj for t in tracks]).reshape(-1, 4, 4)
        output.append((np.array([t.id for t in tracks], int), poses))
    return output


def figures(scene: Scene, output: Output) -> dict[str, float]:
    """Figures of one video, poses of objects averaged."""
    T, N = scene.cam_T_obj.shape[:2]
    poses = np.full((N, T, 4, 4), np.nan)
    frames: list[dict[Hashable, Hashable]] = []
    for k, (ids, found) in enumerate(output):
        pairs = match_centres(scene.cam_T_obj[k, :, :3, 3], found[:, :3, 3], MATCH_LIMIT)
        frames.append({i: int(ids[j]) for i, j in pairs})
        for i, j in pairs:
            poses[i, k] = found[j]
    true = scene.cam_T_obj.swapaxes(0, 1)
    errors = np.array([pose_errors(poses[i], true[i]) for i in range(N)])
    angles = np.rad2deg(np.linalg.norm(errors[..., 3:], axis=-1))
    jitters = np.mean([jitter(poses[i], true[i]) for i in range(N)], axis=0)
    poses[angles > WRONG_DEG] = np.nan  # a flip is no lag
    lags = [lag_s(poses[i], true[i], scene.stamps_ns) for i in (0, N - 1)]  # the one in the middle may rest
    return {
        "switches": float(id_switches(frames)),
        "missing %": 100 * float(np.isnan(angles).mean()),
        "jitter deg": float(jitters[0]),
        "jitter share": float(jitters[1]),
        "error deg": float(np.nanmedian(angles)),
        "error share": float(np.nanmedian(np.linalg.norm(errors[..., :3], axis=-1))),
        ">30 deg %": 100 * float((angles > WRONG_DEG).sum() / np.isfinite(angles).sum()),
        "lag ms": 1000 * float(np.mean(lags, axis=0)[0]),
        "turn lag ms": 1000 * float(np.mean(lags, axis=0)[1]),
    }


def compare(kind: str, seeds: Sequence[int], settings: TrackSettings) -> dict[str, dict[str, float]]:
    """Mean figures of a scene over several draws of the noise."""
    rows: dict[str, list[dict[str, float]]] = {"estimates": [], "tracks": []}
    for seed in seeds:
        scene = simulate(kind, Noise(flip=0.0) if "no flips" in kind else Noise(), np.random.default_rng(seed))
        rows["estimates"].append(figures(scene, untracked(scene)))
        rows["tracks"].append(figures(scene, tracked(scene, settings)))
        if kind == "moving camera":
            rows.setdefault("tracks, camera unknown", []).append(
                figures(scene, tracked(scene, settings, camera_known=False))
            )
    means = {name: {key: float(np.mean([d[key] for d in draws])) for key in draws[0]} for name, draws in rows.items()}
    known = [key for key, value in means["estimates"].items() if not np.isnan(value)]
    return {name: {key: row[key] for key in known} for name, row in means.items()}


def main() -> None:
    """Read the arguments, simulate, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="draws of the noise per scene")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    report = {kind: compare(kind, range(args.seeds), TrackSettings()) for kind in SCENES}
    for kind, rows in report.items():
        print(f"\n{kind}\n{table(rows, 'estimates')}")
    if args.json:
        write_json(args.json, report)


if __name__ == "__main__":
    main()
