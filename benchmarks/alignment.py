"""Pairwise alignment, ours against the published one, on the same meshes and views and in one run.

In: a category folder of captures with labels.json. Out: accuracy against the labels, seconds per pair, peak memory.
The published method gets the backbone's features as they are and, in a second line, ours (whitened principal
components). The error of a pair (a, b) is the angle between the estimated and the true rotation of a_T_b; `up` is the
angle between the true up of a and that of b brought over, which says more where azimuth cannot be seen.

    python benchmarks/alignment.py CAPTURES --backbone hog --seeds 0 1 2 --json runs/alignment.json
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import accuracy, mean_cost, measured, read_labels, table, write_json
from reference.alignment import ReferenceSettings, feature_distances
from reference.alignment import align_pair as published_align_pair

from uop3d_core.alignment.pairwise import align_pair
from uop3d_core.backbones import FeatureBackbone, load_backbone
from uop3d_core.capture.folder import read_captures
from uop3d_core.config import AlignmentSettings, SurfaceSettings, parse_settings
from uop3d_core.geometry import Array, rotation_error
from uop3d_core.surface import FeatureBasis, build_surface, coarse_mesh, fit_basis
from uop3d_core.types import Capture, Mesh, PairAlignment, Sim3, Surface

PUBLISHED, PUBLISHED_OURS, OURS = "published", "published, our features", "uop3d"
Aligner = Callable[[Surface, Surface, np.random.Generator], PairAlignment]


def main() -> None:
    """Read the arguments, measure, print and save."""
    args = _arguments()
    labels = read_labels(args.labels or args.captures / "labels.json")
    captures = [with_views(capture, args.views) for capture in read_captures(args.captures, args.only)]
    backbone = load_backbone(args.backbone)
    raw, ours = build_surfaces(captures, backbone, args.surface, args.cache)
    methods = _methods(args, raw, ours)
    seeds: dict[str, list[dict[str, Any]]] = {name: [] for name in methods}
    for seed in args.seeds:
        for name, result in compare(methods, labels, seed).items():
            seeds[name].append(result)
        summaries = {name: results[-1]["summary"] for name, results in seeds.items()}
        print(f"seed {seed}, {torch.get_num_threads()} threads\n{table(summaries, PUBLISHED)}\n", flush=True)
    means = {name: _mean([result["summary"] for result in results]) for name, results in seeds.items()}
    pairs = len(ours) * (len(ours) - 1)
    print(f"mean of {len(args.seeds)} seed(s), {len(ours)} captures, {pairs} ordered pairs\n{table(means, PUBLISHED)}")
    if args.json:
        about = {"backbone": backbone.fingerprint, "threads": torch.get_num_threads(), "captures": list(raw)}
        about |= {"surface": args.surface.model_dump(), "alignment": args.alignment.model_dump()}
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
    parser.add_argument("--alignment", type=_settings(AlignmentSettings), default="{}", help="likewise, of alignment")
    parser.add_argument("--refinement-steps", type=int, default=0, help="of the published method (0 or 20)")
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
    return replace(capture, frames=[frame for frame in capture.frames if names is None or frame.name in names])


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
    parts = [backbone.fingerprint, settings.model_dump_json(), *(frame.name for frame in capture.frames)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def _save(surface: Surface, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {name: getattr(surface, name) for name in ("features", "valid", "visible_views", "up")}
    np.savez(path, vertices=surface.mesh.vertices, faces=surface.mesh.faces, **arrays)


def _load(name: str, path: Path) -> Surface:
    with np.load(path) as file:
        mesh = Mesh(file["vertices"], file["faces"])
        return Surface(name, mesh, file["features"], file["valid"], file["visible_views"], file["up"])


def _methods(
    args: argparse.Namespace, raw: dict[str, Surface], ours: dict[str, Surface]
) -> dict[str, tuple[dict[str, Surface], Aligner]]:
    """Every method with its surfaces."""
    reference = ReferenceSettings(refinement_steps=args.refinement_steps)

    def published(a: Surface, b: Surface, rng: np.random.Generator) -> PairAlignment:
        return published_align_pair(a, b, reference, rng, feature_distances(a, b))

    def proposed(a: Surface, b: Surface, rng: np.random.Generator) -> PairAlignment:
        return align_pair(a, b, args.alignment)

    return {PUBLISHED: (raw, published), PUBLISHED_OURS: (ours, published), OURS: (ours, proposed)}


def compare(
    methods: dict[str, tuple[dict[str, Surface], Aligner]], labels: dict[str, Sim3], seed: int
) -> dict[str, dict[str, Any]]:
    """Run all methods on all ordered pairs, pair by pair, so that a busy machine slows all of them alike.

    Returns:
        per method: summary (means), and errors_deg, up_errors_deg and pairs in the same order.
    """
    names = list(next(iter(methods.values()))[0])
    pairs = list(itertools.permutations(names, 2))
    errors: dict[str, list[tuple[float, float]]] = {name: [] for name in methods}
    costs: dict[str, list[Any]] = {name: [] for name in methods}
    for number, (a, b) in enumerate(pairs):
        for name, (surfaces, align) in methods.items():
            rng = np.random.default_rng([seed, number])
            result, cost = measured(lambda: align(surfaces[a], surfaces[b], rng))  # noqa: B023
            errors[name].append(pair_errors_deg(result.a_T_b[0], labels[a], labels[b]))
            costs[name].append(cost)
    return {name: _result(np.array(errors[name]), mean_cost(costs[name]), pairs) for name in methods}


def pair_errors_deg(a_T_b: Sim3, obj_T_a: Sim3, obj_T_b: Sim3) -> tuple[float, float]:
    """Error of the rotation and of the up axis of one pair, in degrees."""
    obj_R_obj = obj_T_a.R @ a_T_b.R @ obj_T_b.R.T
    return float(np.degrees(rotation_error(obj_R_obj, np.eye(3)))), float(np.degrees(np.arccos(_clip(obj_R_obj[2, 2]))))


def _clip(cosine: float) -> float:
    return float(np.clip(cosine, -1, 1))


def _result(errors_deg: Array, cost: dict[str, float], pairs: list[tuple[str, str]]) -> dict[str, Any]:
    full, up = errors_deg.T
    summary = {**accuracy(full), "up_acc10": accuracy(up)["acc10"], "up_median_deg": float(np.median(up)), **cost}
    return {"summary": summary, "errors_deg": full.tolist(), "up_errors_deg": up.tolist(), "pairs": pairs}


def _mean(rows: list[dict[str, float]]) -> dict[str, float]:
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}


if __name__ == "__main__":
    main()
