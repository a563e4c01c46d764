"""How time, memory and accuracy grow with the number of captures: all pairs, and the sparse pair graph.

In: nothing; synthetic mugs with exact labels are made (few small views, so that the making is quick). Out: a table with
one row per run, seconds on the clock by stage, CPU seconds and peak memory of all processes together, accuracy over all
pairs of captures; and the exponent b of time = a N^b, fitted to the logarithms.

Every run is a program of its own, started in an empty run directory. Memory is the proportional set size, in which what
processes share counts once, sampled five times a second.

    python benchmarks/growth.py --out DIR --all-pairs 5 10 20 50 --sparse 50 100 200 --add 49 --engines serial processes
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
from measure import write_json

from uop3d_core.capture.synthetic import write_category
from uop3d_core.config import RunSettings, parse_settings
from uop3d_core.executors import usable_cores
from uop3d_core.pipeline.aligning import align
from uop3d_core.pipeline.inference import evaluate_run

VIEWS, PIXELS, SEED = 12, 128, 7
STAGES = ("meshes", "surfaces", "fields", "pairs", "alignment", "pictures")
PERIOD_S = 0.2
SPARSE = {"graph": {"all_pairs": 2}}


def main() -> None:
    """Read the arguments, measure, print and save."""
    args = _arguments()
    if args.one:
        print(json.dumps(one_run(**json.loads(args.one))))
        return
    counts = [*args.all_pairs, *args.sparse, *(count + 1 for count in args.add), *([args.ratio] if args.ratio else [])]
    captures = args.out / f"mug_{max(counts)}"
    if not captures.exists():
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
    print(text(rows))
    print("\n".join(f"{what} ~ N^{value:.2f}" for what, value in exponents.items()))
    if args.json:
        write_json(args.json, {"views": VIEWS, "pixels": PIXELS, "rows": rows, "exponents": exponents})


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/growth"), help="captures and runs go here")
    parser.add_argument("--all-pairs", type=int, nargs="*", default=[], metavar="N", help="captures, all pairs of them")
    parser.add_argument("--sparse", type=int, nargs="*", default=[], metavar="N", help="captures, the sparse graph")
    parser.add_argument("--add", type=int, nargs="*", default=[], metavar="N", help="one capture is added to N")
    parser.add_argument("--ratio", type=int, metavar="N", help="all engines on N captures, two workers each")
    parser.add_argument("--workers", type=int, default=usable_cores(), help="processes that align")
    parser.add_argument("--json", type=Path, help="where to write all numbers")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    return parser.parse_args()


class Bench:
    """Runs on the first captures of one folder."""

    def __init__(self, captures: Path, out: Path, workers: int) -> None:
        """Runs go to `out`."""
        self.captures, self.out, self.workers = captures, out, workers
        self.names = sorted(path.name for path in captures.iterdir() if path.is_dir())

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


def exponent(seconds: dict[int, float]) -> float:
    """Slope of log(time) over log(N)."""
    N, t = np.array(list(seconds), dtype=float), np.array(list(seconds.values()))
    return float(np.polyfit(np.log(N), np.log(np.maximum(t, 1e-3)), 1)[0])


def text(rows: dict[str, dict[str, Any]]) -> str:
    """Aligned columns."""
    columns = list(next(iter(rows.values())))
    lines = [["", *columns], *([name, *(f"{row[key]:g}" for key in columns)] for name, row in rows.items())]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


if __name__ == "__main__":
    main()
