"""What survives of the alignment of captures when the captures get worse, and whether its probabilities notice.

In: a category folder of captures with labels.json; with --foreign, other ones whose captures are mixed in. Out: a table
with one row per damage: how many of the right captures are accepted, how many of the wrong ones, the errors of accepted
pairs; and over all rows how well the probabilities tell right from wrong. A capture is right if it is of the category,
not broken, and within 30 degrees once the whole category is turned by the rotation that makes most of them right.

    python benchmarks/robustness.py CAPTURES --backbone hog --foreign OTHER_CAPTURES --json runs/robustness.json
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from measure import write_json
from scipy.ndimage import binary_dilation, binary_erosion

from uop3d_core.alignment.joint import joint_alignment
from uop3d_core.alignment.pairwise import align_pair
from uop3d_core.alignment.prepared import prepare
from uop3d_core.backbones import FeatureBackbone, load_backbone
from uop3d_core.capture.folder import read_captures
from uop3d_core.config import JointSettings, PairSettings, SurfaceSettings
from uop3d_core.evaluation.labels import read_labels
from uop3d_core.evaluation.metrics import error_deg, pair_error_deg
from uop3d_core.evaluation.probabilities import auroc, calibration_error, reliability
from uop3d_core.geometry import Array, rays_intersection
from uop3d_core.report.diagrams import draw_reliability
from uop3d_core.report.sheets import write_image
from uop3d_core.runs import pair_generator
from uop3d_core.surface import build_surface, coarse_mesh, fit_basis
from uop3d_core.types import Alignment, Camera, Capture, Frame

RIGHT_DEG = 30.0
MASK_SHARE = 0.03
FOREIGN_SHARE = 0.3
MIRROR = np.diag([-1.0, 1, 1, 1])
LEFT_RIGHT = np.diag([1.0, -1, 1])


@dataclass(frozen=True, eq=False)
class Scene:
    """Captures and the truth about them: label_R_world of those that can be right."""

    captures: list[Capture]
    label_R_world: dict[str, Array]


Damage = Callable[[Scene, np.random.Generator], Scene]


def main() -> None:
    """Read the arguments, measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("captures", type=Path, help="category folder")
    parser.add_argument("--backbone", required=True, help="NAME or NAME:WEIGHTS")
    parser.add_argument("--foreign", type=Path, nargs="+", default=[], help="folders of other categories")
    parser.add_argument("--labels", type=Path, help="instead of CAPTURES/labels.json")
    parser.add_argument("--only", nargs="+", default=[], metavar="DAMAGE", help="these rows only")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--json", type=Path, help="where to write all numbers")
    parser.add_argument("--picture", type=Path, help="reliability diagram (PNG)")
    args = parser.parse_args()
    labels = read_labels(args.labels or args.captures / "labels.json").label_T_world
    scene = Scene(read_captures(args.captures), {name: T.R for name, T in labels.items()})
    strangers = [capture for folder in args.foreign for capture in read_captures(folder)]
    backbone = load_backbone(args.backbone)
    chosen = {name: d for name, d in damages(strangers).items() if not args.only or name in args.only}
    print(f"{'':26s}{'right: accepted':>16s}{'wrong: accepted':>16s}{'acc30/15/10, median of accepted':>34s}")
    rows = {}
    for name, damage in chosen.items():
        parts = [outcome(damage(scene, np.random.default_rng(seed)), backbone, seed) for seed in args.seeds]
        rows[name] = {key: sum((part[key] for part in parts), start=[]) for key in parts[0]}
        print(f"{name:26s}{_row(rows[name])}", flush=True)
    probability, right = (np.concatenate([row[key] for row in rows.values()]) for key in ("probability", "right"))
    quality = {"captures": len(right), "wrong": int((~right.astype(bool)).sum())}
    if 0 < quality["wrong"] < len(right):
        quality |= {
            "auroc": round(auroc(probability, right.astype(bool)), 3),
            "ece": round(calibration_error(probability, right), 3),
        }
    print(f"probability of being within {RIGHT_DEG:g} degrees, all rows: {quality}")
    if args.json:
        write_json(args.json, {"backbone": backbone.fingerprint, "seeds": args.seeds, "quality": quality, "rows": rows})
    if args.picture:
        write_image(args.picture, draw_reliability(reliability(probability, right)))


def damages(strangers: Sequence[Capture]) -> dict[str, Damage]:
    """All rows of the table by name."""
    rows: dict[str, Damage] = {
        "as they are": lambda scene, rng: scene,
        "masks eroded by 3 %": _each(lambda capture, rng: with_masks(capture, -MASK_SHARE)),
        "masks dilated by 3 %": _each(lambda capture, rng: with_masks(capture, MASK_SHARE)),
        "half the views, any": _each(any_half),
        "half the views, one side": _each(one_side),
        "one capture mirrored": lambda scene, rng: mirrored(scene),
        "one capture's cameras mixed": mixed_cameras,
    }
    if strangers:
        rows["30 % of another category"] = partial(with_strangers, strangers=strangers)
    return rows


def outcome(scene: Scene, backbone: FeatureBackbone, seed: int) -> dict[str, list[Any]]:
    """Align and compare with the truth.

    Returns:
        per capture: name, right, accepted, probability; per pair of accepted right ones or ones that should be:
        error_deg.
    """
    aligned = align(scene.captures, backbone, seed)
    entries = aligned.captures
    names = [capture.name for capture in scene.captures]
    known = [name for name in entries if name in scene.label_R_world]
    label_R_obj = np.stack([scene.label_R_world[name] @ entries[name].obj_T_world.R.T for name in known])
    apart = error_deg(label_R_obj[:, None], label_R_obj[None])
    near = apart[(apart < RIGHT_DEG).sum(1).argmax()] < RIGHT_DEG
    right = dict(zip(known, near.tolist(), strict=True))
    accepted = [name for name in known if entries[name].accepted]
    return {
        "name": names,
        "right": [right.get(name, False) for name in names],
        "sound": [name in scene.label_R_world for name in names],
        "accepted": [name in entries and entries[name].accepted for name in names],
        "probability": [(entries[name].probability or 0.0) if name in entries else 0.0 for name in names],
        "error_deg": [
            pair_error_deg(
                *(entries[name].obj_T_world.R for name in pair), *(scene.label_R_world[name] for name in pair)
            )
            for pair in combinations(accepted, 2)
        ],
    }


def align(captures: Iterable[Capture], backbone: FeatureBackbone, seed: int) -> Alignment:
    """Meshes, features, pairs and joint alignment; captures that fail on the way are left out, as in `uop3d align`."""
    surface, pair = SurfaceSettings(), PairSettings()
    meshes = {}
    for capture in captures:
        try:
            meshes[capture.name] = (capture, coarse_mesh(capture, surface))
        except ValueError as error:
            print(f"  {capture.name} has no mesh: {error}")
    basis = fit_basis(*zip(*meshes.values(), strict=True), backbone, surface)
    prepared, ups = {}, {}
    for name, (capture, mesh) in meshes.items():
        try:
            built = build_surface(capture, mesh, backbone, basis, surface)
        except ValueError as error:
            print(f"  {name} has no surface: {error}")
            continue
        prepared[name], ups[name] = prepare(built, pair), built.up
    pairs = [
        align_pair(prepared[a], prepared[b], pair, pair_generator(seed, (a, b))) for a, b in combinations(prepared, 2)
    ]
    units = {name: p.unit_T_world for name, p in prepared.items()}
    return joint_alignment("", pairs, units, JointSettings(), ups=ups)


# ---- damages ---------------------------------------------------------------------------------------------------------


def _each(change: Callable[[Capture, np.random.Generator], Capture]) -> Damage:
    return lambda scene, rng: replace(scene, captures=[change(capture, rng) for capture in scene.captures])


def with_masks(capture: Capture, share: float) -> Capture:
    """Masks grown (or shrunk, where negative) by a share of the longer side of their box."""

    def changed(frame: Frame) -> Array:
        mask = frame.mask
        if not mask.any():
            return mask
        pixels = max(1, round(abs(share) * max(np.ptp(np.nonzero(mask), axis=1) + 1)))
        return binary_dilation(mask, iterations=pixels) if share > 0 else binary_erosion(mask, iterations=pixels)

    return replace(capture, frames=tuple(replace(f, mask_source=partial(changed, f)) for f in capture.frames))


def any_half(capture: Capture, rng: np.random.Generator) -> Capture:
    """Half of the frames."""
    keep = np.sort(rng.permutation(len(capture.frames))[: (len(capture.frames) + 1) // 2])
    return replace(capture, frames=tuple(capture.frames[i] for i in keep))


def one_side(capture: Capture, rng: np.random.Generator) -> Capture:
    """The half of the frames that look from one side of a random plane through the object."""
    cam_T_world = np.stack([frame.cam_T_world for frame in capture.frames if frame.cam_T_world is not None])
    R = cam_T_world[:, :3, :3]
    eyes = -(np.swapaxes(R, 1, 2) @ cam_T_world[:, :3, 3:])[..., 0]
    outward = eyes - rays_intersection(eyes, R[:, 2])
    along = outward @ outward[rng.integers(len(outward))]
    keep = np.sort(np.argsort(along)[len(along) // 2 :])
    return replace(capture, frames=tuple(capture.frames[i] for i in keep))


def mirrored(scene: Scene) -> Scene:
    """The first capture seen in a mirror; its label is that of an object whose left and right are exchanged."""
    first, *others = scene.captures
    frames = []
    for frame in first.frames:
        assert frame.cam_T_world is not None
        K = frame.camera.K.copy()
        K[0, 2], K[0, 1] = frame.camera.width - 1 - K[0, 2], -K[0, 1]
        frames.append(
            replace(
                frame,
                camera=Camera(K, frame.camera.width, frame.camera.height),
                image_source=partial(_flipped, frame, "image"),
                mask_source=partial(_flipped, frame, "mask"),
                cam_T_world=MIRROR @ frame.cam_T_world @ MIRROR,
            )
        )
    points = None if first.points is None else first.points @ MIRROR[:3, :3]
    label_R_world = dict(scene.label_R_world)
    if first.name in label_R_world:
        label_R_world[first.name] = LEFT_RIGHT @ label_R_world[first.name] @ MIRROR[:3, :3]
    changed = replace(first, frames=tuple(frames), points=points)
    return Scene([changed, *others], label_R_world)


def _flipped(frame: Frame, what: str) -> Array:
    pixels: Array = getattr(frame, what)
    return np.ascontiguousarray(pixels[:, ::-1])


def mixed_cameras(scene: Scene, rng: np.random.Generator) -> Scene:
    """The first capture with its cameras in a random order: a failed reconstruction."""
    first, *others = scene.captures
    order = rng.permutation(len(first.frames))
    frames = [
        replace(frame, cam_T_world=first.frames[i].cam_T_world) for frame, i in zip(first.frames, order, strict=True)
    ]
    labels = {name: R for name, R in scene.label_R_world.items() if name != first.name}
    return Scene([replace(first, frames=tuple(frames)), *others], labels)


def with_strangers(scene: Scene, rng: np.random.Generator, *, strangers: Sequence[Capture]) -> Scene:
    """Captures of other categories among those of this one: 30 % of all."""
    count = round(len(scene.captures) * FOREIGN_SHARE / (1 - FOREIGN_SHARE))
    chosen = rng.permutation(len(strangers))[:count]
    return replace(scene, captures=[*scene.captures, *(strangers[i] for i in chosen)])


# ---- figures ---------------------------------------------------------------------------------------------------------


def _row(row: Mapping[str, list[Any]]) -> str:
    right, accepted = np.array(row["right"], bool), np.array(row["accepted"], bool)
    cells = [f"{int(accepted[which].sum())} of {int(which.sum())}" for which in (right, ~right)]
    errors = np.array(row["error_deg"])
    shares = " / ".join(f"{(errors < limit).mean() * 100:.0f}" for limit in (30, 15, 10))
    return f"{cells[0]:>16s}{cells[1]:>16s}{shares + f', {np.median(errors):.1f}°':>34s}"


if __name__ == "__main__":
    main()
