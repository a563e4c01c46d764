"""How time, memory and accuracy grow with the number of captures: all pairs, and the sparse pair graph.

In: nothing; synthetic mugs with exact labels are made (few small views, so that the making is quick). Out: a table with
one row per run, seconds on the clock by stage, CPU seconds and peak memory of all processes together, accuracy over all
pairs of captures; and the exponent b of time = a N^b, fitted to the logarithms.

Every run is a program of its own, started in an empty run directory. Memory is the proportional set size, in which what
processes share counts once, sampled five times a second. CPU seconds do not contain those of Ray's workers.

For thousands of captures, `--joint` makes no captures but pairs: true rotations with 5 degrees of noise, of which one
in five has a flip first and one in ten something random; that shows the pair graph and the joint alignment alone.

    python benchmarks/growth.py --all-pairs 5 10 20 50 --sparse 50 100 200 --add 49 --ratio 20 --joint 200 1000 2000
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from measure import aligned, write_json
from scipy.spatial.transform import Rotation

from uop3d_core.alignment.graph import pair_graph
from uop3d_core.alignment.joint import joint_alignment
from uop3d_core.capture.synthetic import write_category
from uop3d_core.config import GraphSettings, JointSettings, RunSettings, parse_settings
from uop3d_core.executors import usable_cores
from uop3d_core.geometry import Array, random_rotations, rotation_error
from uop3d_core.pipeline.aligning import align
from uop3d_core.pipeline.inference import evaluate_run
from uop3d_core.types import PairAlignment, Sim3

VIEWS, PIXELS, SEED = 12, 128, 7
STAGES = ("meshes", "surfaces", "fields", "pairs", "alignment", "pictures")
PERIOD_S = 0.2
SPARSE = {"graph": {"all_pairs": 2}}
FLIP = np.diag([-1.0, -1.0, 1.0])


def main() -> None:
    """Read the arguments, measure, print and save."""
    args = _arguments()
    if args.one:
        print(json.dumps(one_run(**json.loads(args.one))))
        return
    counts = [*args.all_pairs, *args.sparse, *(count + 1 for count in args.add), *([args.ratio] if args.ratio else [])]
    captures = args.out / f"mug_{max(counts, default=0)}"
    if counts and not captures.exists():
        write_category(captures, max(counts), SEED, VIEWS, PIXELS)
    bench = Bench(captures, args.out, args.workers)
    rows = {f"{N} all pairs": bench.run(N, f"all_{N}") for N in args.all_pairs}
    rows |= {f"{N} sparse": bench.run(N, f"sparse_{N}", SPARSE) for N in args.sparse}
    for N in args.add:
        bench.run(N, f"add_{N}")
        rows[f"{N} + 1"] = bench.run(N + 1, f"add_{N}", keep=True)
    for engine, workers in (("serial", None), ("processes", 2), ("ray:local", 2)) if args.ratio else ():
        rows[f"{args.ratio} {engine}"] = bench.run(args.ratio, engine[:3], engine=engine, workers=workers)
    exponents = {
        f"{what}, {kind}": exponent({N: rows[f"{N} {kind}"][what] for N in counts})
        for kind, counts in (("all pairs", args.all_pairs), ("sparse", args.sparse))
        for what in ("pairs_s", "alignment_s", "cpu_s", "pairs")
        if len(counts) > 1
    }
    joint = {f"{N} simulated": simulated(N, np.random.default_rng(SEED)) for N in args.joint}
    if len(joint) > 1:
        exponents["joint_s, simulated"] = exponent({N: joint[f"{N} simulated"]["joint_s"] for N in args.joint})
    for table in (rows, joint):
        print(text(table) if table else "")
    print("\n".join(f"{what} ~ N^{value:.2f}" for what, value in exponents.items()))
    if args.json:
        write_json(args.json, {"views": VIEWS, "pixels": PIXELS, "rows": {**rows, **joint}, "exponents": exponents})


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/growth"), help="captures and runs go here")
    parser.add_argument("--all-pairs", type=int, nargs="*", default=[], metavar="N", help="captures, all pairs of them")
    parser.add_argument("--sparse", type=int, nargs="*", default=[], metavar="N", help="captures, the sparse graph")
    parser.add_argument("--add", type=int, nargs="*", default=[], metavar="N", help="one capture is added to N")
    parser.add_argument("--ratio", type=int, metavar="N", help="all engines on N captures, two workers each")
    parser.add_argument("--joint", type=int, nargs="*", default=[], metavar="N", help="captures, their pairs simulated")
    parser.add_argument("--workers", type=int, default=usable_cores(), help="processes that align")
    parser.add_argument("--json", type=Path, help="where to write all numbers")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    return parser.parse_args()


class Bench:
    """Runs on the first captures of one folder."""

    def __init__(self, captures: Path, out: Path, workers: int) -> None:
        """Runs go to `out`."""
        self.captures, self.out, self.workers = captures, out, workers
        self.names = sorted(path.name for path in captures.glob("mug_*"))

    def run(
        self, count: int, name: str, changes: dict[str, Any] | None = None, *, engine: str = "processes",
        workers: int | None = None, keep: bool = False,
    ) -> dict[str, Any]:  # fmt: skip
        """Align the first captures in a program of its own; what is measured, by name."""
        folder = self.out / f"run_{name}"
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
        workers = self.workers if engine == "processes" and workers is None else workers
        job = {
            "captures": str(self.captures), "run": str(folder), "names": self.names[:count], "changes": changes or {},
            "engine": engine, "workers": workers,
        }  # fmt: skip
        command = [sys.executable, __file__, "--one", json.dumps(job)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            peak = peak_memory_mib(process)
            assert process.stdout is not None
            output = process.stdout.read()
        if process.returncode:
            raise RuntimeError(f"the run of {count} captures failed: {folder}")
        result: dict[str, Any] = json.loads(output.splitlines()[-1])
        result["memory_mib"] = peak
        print(f"{name}: {result}", file=sys.stderr, flush=True)
        return result


def one_run(
    captures: str, run: str, names: list[str], changes: dict[str, Any], engine: str, workers: int | None
) -> dict[str, Any]:
    """Align and evaluate; seconds by stage, CPU seconds of all processes, accuracy."""
    settings = parse_settings(RunSettings, changes, "changes")
    start = time.perf_counter()
    result = align(
        Path(captures), Path(run), backbone="hog", only=names, settings=settings, engine=engine, workers=workers
    )
    wall = time.perf_counter() - start
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    report = evaluate_run(Path(run), Path(captures) / "labels.json")
    accepted = report["accepted"] or {}
    return {
        "captures": len(names),
        "pairs": len(list((Path(run) / "4_pairs").iterdir())),
        **{f"{stage}_s": result.seconds.get(stage, 0.0) for stage in STAGES},
        "wall_s": round(wall, 2),
        "cpu_s": round(sum(usage.ru_utime + usage.ru_stime for usage in usages), 2),
        "accepted": accepted.get("captures"),
        **{key: report["all"][key] for key in ("acc30", "acc15", "acc10", "median_deg")},
    }


def peak_memory_mib(process: subprocess.Popen[str]) -> float:
    """Highest proportional set size of a process and those it started, until it ends."""
    peak, root = 0.0, psutil.Process(process.pid)
    while process.poll() is None:
        total = 0
        try:
            for member in [root, *root.children(recursive=True)]:
                total += member.memory_full_info().pss
        except psutil.Error:
            pass
        peak = max(peak, total / 2**20)
        time.sleep(PERIOD_S)
    return round(peak, 1)


def simulated(N: int, rng: np.random.Generator) -> dict[str, Any]:
    """Graph and joint alignment of N captures whose pairs are drawn from their true rotations."""
    names = [f"c{i:05d}" for i in range(N)]
    true = dict(zip(names, random_rotations(N, rng), strict=True))
    descriptors = {name: rng.normal(size=30) for name in names}
    start = time.perf_counter()
    graph = pair_graph(names, descriptors, GraphSettings(), rng)
    built = time.perf_counter()
    pairs = [_simulated_pair(a, b, true[a].T @ true[b], rng) for a, b in graph.pairs]
    units = dict.fromkeys(names, Sim3(1.0, np.eye(3), np.zeros(3)))
    ready = time.perf_counter()
    alignment = joint_alignment("simulated", pairs, units, JointSettings())
    done = time.perf_counter()
    links = np.stack([alignment.captures[name].obj_T_world.R @ true[name].T for name in names])
    errors = np.rad2deg(rotation_error(links[:200, None], links[None]))
    return {
        "captures": N, "pairs": len(pairs), "per capture": round(graph.mean_degree, 1),
        "may fail": graph.connectivity - 1, "graph_s": round(built - start, 2), "joint_s": round(done - ready, 2),
        "acc30": round(float((errors < 30).mean() * 100), 2), "acc10": round(float((errors < 10).mean() * 100), 2),
    }  # fmt: skip


def _simulated_pair(a: str, b: str, a_R_b: Array, rng: np.random.Generator) -> PairAlignment:
    noise = Rotation.from_rotvec(rng.normal(size=3) * np.deg2rad(5) / np.sqrt(3)).as_matrix()
    right, flipped, wild = noise @ a_R_b, noise @ FLIP @ a_R_b, random_rotations(1, rng)[0]
    first = rng.choice(3, p=[0.7, 0.2, 0.1])
    modes = ([right, flipped, wild], [flipped, right, wild], [wild, flipped, right])[first]
    similarities = tuple(Sim3(1.0, R, np.zeros(3)) for R in modes)
    return PairAlignment(a, b, similarities, np.array([-0.05, -0.055, -0.07]), np.ones(3), np.ones(3))


def exponent(seconds: dict[int, float]) -> float:
    """Slope of log(time) over log(N)."""
    N, t = np.array(list(seconds), dtype=float), np.array(list(seconds.values()))
    return float(np.polyfit(np.log(N), np.log(np.maximum(t, 1e-3)), 1)[0])


def text(rows: dict[str, dict[str, Any]]) -> str:
    """Aligned columns."""
    columns = list(next(iter(rows.values())))
    lines = [["", *columns], *([name, *(f"{row[key]:.6g}" for key in columns)] for name, row in rows.items())]
    return aligned(lines)


if __name__ == "__main__":
    main()
