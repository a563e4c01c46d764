"""Alignment of captures, ours against the published one, on the same meshes and views and in one run.

In: a category folder of captures with labels.json. Out: accuracy against the labels, seconds per pair, peak memory.
The published method gets the backbone's features as they are and, in a second line, ours (whitened principal
components); `uop3d joint` is what all pairs together say, with the images' up and without. The error of a pair (a, b)
is the angle between the estimated
and the true rotation of a_T_b; `up` is the angle between the true up of a and that of b brought over, which says more
where azimuth cannot be seen. Times of ours contain a pair's share of what is done once per capture or category.

    python benchmarks/alignment.py CAPTURES --backbone hog --seeds 0 1 2 --json runs/alignment.json
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import Cost, mean_cost, measured, table, write_json
from reference.alignment import ReferenceSettings
from reference.alignment import align_pair as published_align_pair

from uop3d_core.alignment.joint import joint_alignment
from uop3d_core.alignment.pairwise import align_pair
from uop3d_core.alignment.prepared import prepare
from uop3d_core.backbones import FeatureBackbone, load_backbone
from uop3d_core.capture.folder import read_captures
from uop3d_core.config import JointSettings, PairSettings, SurfaceSettings, parse_settings
from uop3d_core.evaluation.labels import read_labels
from uop3d_core.evaluation.metrics import pair_error_deg, pair_up_error_deg, summary
from uop3d_core.geometry import Array
from uop3d_core.surface import FeatureBasis, build_surface, coarse_mesh, fit_basis
from uop3d_core.types import Capture, Mesh, PairAlignment, Sim3, Surface

PUBLISHED, PUBLISHED_OURS, OURS = "published", "published, our features", "uop3d pair"
JOINT, JOINT_ALONE = "uop3d joint", "uop3d joint, up unknown"
COLUMNS = ("acc30", "acc15", "acc10", "median_deg", "up_acc10", "up_median_deg")
Pair = tuple[str, str]
Aligner = Callable[[str, str, np.random.Generator], PairAlignment]


def main() -> None:
    """Read the arguments, measure, print and save."""
    args = _arguments()
    labels = read_labels(args.labels or args.captures / "labels.json").label_T_world
    captures = [with_views(capture, args.views) for capture in read_captures(args.captures, args.only)]
    backbone = load_backbone(args.backbone)
    raw, ours = build_surfaces(captures, backbone, args.surface, args.cache)
    seeds: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for seed in args.seeds:
        results = compare(raw, ours, labels, args, seed)
        for name, result in results.items():
            seeds[name].append(result)
        summaries = {name: result["summary"] for name, result in results.items()}
        for name, result in results.items():
            if result.get("rejected"):
                print(f"{name}: rejected {', '.join(result['rejected'])}")
        print(f"seed {seed}, {torch.get_num_threads()} threads\n{table(summaries, PUBLISHED)}\n", flush=True)
    means = {name: _mean([result["summary"] for result in results]) for name, results in seeds.items()}
    pairs = len(ours) * (len(ours) - 1)
    print(f"mean of {len(args.seeds)} seed(s), {len(ours)} captures, {pairs} ordered pairs\n{table(means, PUBLISHED)}")
    if args.json:
        about = {"backbone": backbone.fingerprint, "threads": torch.get_num_threads(), "captures": list(raw)}
        about |= {"surface": args.surface.model_dump(), "pair": args.pair.model_dump()}
        write_json(args.json, {**about, "seeds": args.seeds, "mean": means, "runs": seeds})


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("captures", type=Path, help="category folder: one sub-folder per capture")
    parser.add_argument("--backbone", required=True, help="NAME or NAME:WEIGHTS")
    parser.add_argument("--only", nargs="+", default=[], metavar="CAPTURE", help="use these captures only")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="one run per seed")
    parser.add_argument("--json", type=Path, help="where to write all numbers")
    parser.add_argument("--labels", type=Path, help="instead of CAPTURES/labels.json")
    parser.add_argument(
        "--views", type=_json_file, default={}, help="JSON file: names of the frames to use, by capture"
    )
    parser.add_argument("--surface", type=_settings(SurfaceSettings), default="{}", help="JSON of surface settings")
    parser.add_argument(
        "--pair", type=_settings(PairSettings), default="{}", help="likewise, of our pairwise alignment"
    )
    parser.add_argument("--joint", type=_settings(JointSettings), default="{}", help="likewise, of our joint alignment")
    parser.add_argument("--refinement-steps", type=int, default=0, help="of the published method (0 or 20)")
    parser.add_argument("--skip", nargs="+", default=[], choices=[PUBLISHED_OURS], help="a line to do without")
    parser.add_argument("--cache", type=Path, help="keep surfaces here; delete it when code of uop3d_core changed")
    return parser.parse_args()


def _json_file(path: str) -> dict[str, list[str]]:
    content: dict[str, list[str]] = json.loads(Path(path).read_text(encoding="utf-8"))
    return content


def _settings(cls: type[Any]) -> Callable[[str], Any]:
    return lambda text: parse_settings(cls, json.loads(text), cls.__name__)


def with_views(capture: Capture, views: dict[str, list[str]]) -> Capture:
    """The capture with only the frames listed for it; all if nothing is listed."""
    names = views.get(capture.name)
    return replace(capture, frames=tuple(f for f in capture.frames if names is None or f.name in names))


def build_surfaces(
    captures: list[Capture], backbone: FeatureBackbone, settings: SurfaceSettings, cache: Path | None
) -> tuple[dict[str, Surface], dict[str, Surface]]:
    """Surfaces by capture name, twice: with the backbone's features, and with ours of the same views."""
    C = backbone.channels
    unchanged = FeatureBasis(np.zeros(C, np.float32), np.eye(C, dtype=np.float32))
    raw = {}
    for capture in captures:
        path = cache and cache / f"{capture.name}-{_key(capture, backbone, settings)}.npz"
        if path and path.exists():
            raw[capture.name] = _load(capture.name, path)
            continue
        mesh = coarse_mesh(capture, settings)
        raw[capture.name], cost = measured(
            lambda c=capture, m=mesh: build_surface(c, m, backbone, unchanged, settings)  # type: ignore[misc]
        )
        print(f"{capture.name}: {len(mesh.vertices)} vertices, features in {cost.wall_s:.1f} s", flush=True)
        if path:
            _save(raw[capture.name], path)
    basis = fit_basis(captures, [raw[capture.name].mesh for capture in captures], backbone, settings)
    return raw, {name: replace(surface, features=_applied(basis, surface)) for name, surface in raw.items()}


def _applied(basis: FeatureBasis, surface: Surface) -> Array:
    V, K, C = surface.features.shape
    projected = basis.apply(surface.features.reshape(-1, C).astype(np.float32)).reshape(V, K, -1)
    return np.where(surface.valid[..., None], projected, 0).astype(np.float16)


def _key(capture: Capture, backbone: FeatureBackbone, settings: SurfaceSettings) -> str:
    parts = [
        backbone.fingerprint,
        settings.model_dump_json(exclude={"components"}),
        *(frame.name for frame in capture.frames),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def _save(surface: Surface, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {name: getattr(surface, name) for name in ("features", "valid", "visible_views", "up")}
    np.savez(path, vertices=surface.mesh.vertices, faces=surface.mesh.faces, **arrays)


def _load(name: str, path: Path) -> Surface:
    with np.load(path) as file:
        mesh = Mesh(file["vertices"], file["faces"])
        return Surface(name, mesh, file["features"], file["valid"], file["visible_views"], file["up"])


def compare(
    raw: dict[str, Surface], ours: dict[str, Surface], labels: dict[str, Sim3], args: argparse.Namespace, seed: int
) -> dict[str, dict[str, Any]]:
    """Run all methods on all ordered pairs, pair by pair, so that a busy machine slows all of them alike.

    Returns:
        per method: summary (means), and errors_deg, up_errors_deg and pairs in the same order.
    """
    prepared, preparation = measured(lambda: {name: prepare(surface, args.pair) for name, surface in ours.items()})
    reference = ReferenceSettings(refinement_steps=args.refinement_steps)
    methods: dict[str, Aligner] = {
        PUBLISHED: lambda a, b, rng: published_align_pair(raw[a], raw[b], reference, rng),
        PUBLISHED_OURS: lambda a, b, rng: published_align_pair(ours[a], ours[b], reference, rng),
        OURS: lambda a, b, rng: align_pair(prepared[a], prepared[b], args.pair, rng),
    }
    methods = {name: method for name, method in methods.items() if name not in args.skip}
    found, costs = _run(methods, list(itertools.permutations(raw, 2)), seed)
    once = [pair for pair in found[OURS] if pair[0] < pair[1]]
    costs[OURS] = _with_share(costs[OURS], preparation, len(once))
    results = {
        name: _result({pair: alignment.a_T_b[0] for pair, alignment in pairs.items()}, costs[name], labels)
        for name, pairs in found.items()
    }
    units = {name: surface.unit_T_world for name, surface in prepared.items()}
    pairs = [found[OURS][pair] for pair in once]
    for name, ups in ((JOINT, {name: surface.up for name, surface in ours.items()}), (JOINT_ALONE, {})):
        joint, joining = measured(partial(joint_alignment, "", pairs, units, args.joint, ups=ups))
        obj_T = {name: entry.obj_T_world for name, entry in joint.captures.items()}
        together = {(a, b): obj_T[a].inverse() @ obj_T[b] for a, b in found[OURS]}
        shared = _with_share({pair: costs[OURS][pair] for pair in once}, joining, len(once))
        results[name] = _result(together, shared, labels)
        results[name]["rejected"] = [name for name, entry in joint.captures.items() if not entry.accepted]
        results[name]["probability"] = {name: entry.probability for name, entry in joint.captures.items()}
    return results


def _run(
    methods: dict[str, Aligner], pairs: list[Pair], seed: int
) -> tuple[dict[str, dict[Pair, PairAlignment]], dict[str, dict[Pair, Cost]]]:
    """Alignments and costs by method and pair; every method draws from its own generator of the same seed."""
    found: dict[str, dict[Pair, PairAlignment]] = defaultdict(dict)
    costs: dict[str, dict[Pair, Cost]] = defaultdict(dict)
    for number, pair in enumerate(pairs):
        for name, align in methods.items():
            call = partial(align, *pair, np.random.default_rng([seed, number]))
            found[name][pair], costs[name][pair] = measured(call)
    return found, costs


def _with_share(costs: dict[Pair, Cost], shared: Cost, count: int) -> dict[Pair, Cost]:
    """Costs with one of `count` equal shares of what was done once for all of them."""
    return {
        pair: Cost(cost.wall_s + shared.wall_s / count, cost.cpu_s + shared.cpu_s / count, cost.memory_mib)
        for pair, cost in costs.items()
    }


def _result(a_T_b: dict[Pair, Sim3], costs: dict[Pair, Cost], labels: dict[str, Sim3]) -> dict[str, Any]:
    full = [pair_error_deg(np.eye(3), T.R, labels[a].R, labels[b].R) for (a, b), T in a_T_b.items()]
    up = [pair_up_error_deg(np.eye(3), T.R, labels[a].R, labels[b].R) for (a, b), T in a_T_b.items()]
    figures = {key: value for key, value in summary(full, up).items() if key in COLUMNS}
    figures |= mean_cost(list(costs.values()))
    return {"summary": figures, "errors_deg": full, "up_errors_deg": up, "pairs": list(a_T_b)}


def _mean(rows: list[dict[str, float]]) -> dict[str, float]:
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}


if __name__ == "__main__":
    main()
