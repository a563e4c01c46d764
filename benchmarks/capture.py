"""What captures from pictures alone are worth: cameras and masks beside the truth, and the time of every stage.

    python benchmarks/capture.py films FOLDER --count 4      # made-up phone videos, captures, their alignment
    python benchmarks/capture.py films FOLDER --plain        # the same on bare tables
    python benchmarks/capture.py photos CO3D_APPLE FOLDER    # a folder with images/ and transforms.json of true cameras

In: a folder to work in. Out: lines of JSON on standard output, captures and their pictures in the folder. Films and
captures that are in the folder already are not made again, so the processor times are those of a new folder.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np

from uop3d_core.capture.nerfstudio import OPENGL_T_OPENCV, read_nerfstudio
from uop3d_core.capture.synthetic.phone import Film, Filming, film_mug
from uop3d_core.config import CaptureSettings
from uop3d_core.geometry import Array, closest_rotation, inverse_rigid, rotation_error
from uop3d_core.pipeline.aligning import align
from uop3d_core.pipeline.capturing import Filmed, Verdict, make_capture
from uop3d_core.types import Camera, Mesh


class Clock:
    """Processor seconds of every stage, told by its progress."""

    def __init__(self) -> None:
        """Start."""
        self.seconds: dict[str, float] = {}
        self._last = time.process_time()

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Add what went by since the last call to this stage."""
        now = time.process_time()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self._last = now


def capture_of(source: Path, folder: Path, settings: CaptureSettings) -> tuple[Verdict, dict[str, Any]]:
    """Make a capture, whatever the checks say; the verdict and what it took."""
    clock = Clock()
    verdict = make_capture(Filmed(source), folder, settings, accept=True, progress=clock)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    seconds = {stage: round(value, 1) for stage, value in clock.seconds.items()}
    failed = [gate.name for gate in verdict.gates if not gate.passed]
    return verdict, {"cpu_s": seconds, "peak_mib": round(memory), "failed": failed}


def true_R_world(found: Array, true: Array) -> Array:
    """Rotation (3, 3) of the world of (N, 4, 4) cam_T_world to that of true ones."""
    return closest_rotation((np.swapaxes(true[:, :3, :3], 1, 2) @ found[:, :3, :3]).sum(0))


def rotation_errors_deg(found: Array, true: Array) -> Array:
    """(N,) errors of (N, 4, 4) cam_T_world beside true ones, up to one rotation of the world."""
    turned = found[:, :3, :3] @ true_R_world(found, true).T
    return np.degrees(rotation_error(true[:, :3, :3], turned))


def beside_film(folder: Path, film: Film) -> tuple[Array, dict[str, Any]]:
    """Rotation (3, 3) of a capture's world to the true frame, and errors of its cameras and masks."""
    capture = read_nerfstudio(folder)
    sources = json.loads((folder / "capture.json").read_text())["frames"]
    times = [float(re.findall(r" at ([\d.]+) s", sources[f.name]["source"])[0]) for f in capture.frames]
    index = [int(np.abs(film.times_s - moment).argmin()) for moment in times]
    cameras = np.array([frame.cam_T_world for frame in capture.frames])
    errors = rotation_errors_deg(cameras, film.cam_T_obj[index])
    shares = [
        (f.mask & film.masks[i]).sum() / (f.mask | film.masks[i]).sum()
        for f, i in zip(capture.frames, index, strict=True)
    ]
    return true_R_world(cameras, film.cam_T_obj[index]), {
        "frames": len(index),
        "rotation_deg": {"median": round(float(np.median(errors)), 3), "largest": round(float(errors.max()), 3)},
        "mask_iou": {"median": round(float(np.median(shares)), 3), "least": round(float(min(shares)), 3)},
        "focal_error": round(abs(capture.frames[0].camera.K[0, 0] / film.camera.K[0, 0] - 1), 4),
    }


def filmed(path: Path, seed: tuple[int, int], filming: Filming) -> Film:
    """A film with its truth, taken from disk where it was made before; the film is written last, so it is whole."""
    known, about = path.with_suffix(".npz"), json.dumps([seed, vars(filming)])
    if path.is_file() and known.is_file():
        with np.load(known) as kept:
            if str(kept["about"]) == about:
                camera = Camera(kept["K"], filming.width, filming.height)
                mesh = Mesh(kept["vertices"], kept["faces"])
                return Film(camera, kept["cam_T_obj"], kept["times_s"], kept["masks"], mesh)
    draft = path.with_name(f"draft_{path.name}")
    film = film_mug(draft, seed, filming)
    truth = {"K": film.camera.K, "cam_T_obj": film.cam_T_obj, "times_s": film.times_s, "masks": film.masks}
    np.savez_compressed(known, about=about, vertices=film.mesh.vertices, faces=film.mesh.faces, **truth)
    draft.replace(path)
    return film


def films(folder: Path, count: int, seed: int, filming: Filming, settings: CaptureSettings) -> list[dict[str, Any]]:
    """Film mugs, make captures, align those that pass; a line of each."""
    folder.mkdir(parents=True, exist_ok=True)
    lines, turns = [], {}
    for number in range(count):
        path = folder / f"mug_{number}.mp4"
        film = filmed(path, (seed, number), filming)
        try:
            verdict, cost = capture_of(path, folder / "captures" / path.stem, settings)
        except ValueError as error:
            lines.append(told({"film": path.name, "refused": str(error)}))
            continue
        turn, figures = beside_film(folder / "captures" / path.stem, film)
        if verdict.passed:
            turns[path.stem] = turn
        lines.append(told({"film": path.name, **figures, **cost}))
    if len(turns) > 1:
        lines.append(told(aligned(folder, turns)))
    return lines


def aligned(folder: Path, turns: dict[str, Array]) -> dict[str, Any]:
    """Errors of the captures' alignment, of all pairs of them; `turns` are true rotations of their worlds."""
    result = align(folder / "captures", folder / "run", backbone="hog", only=list(turns), category="mug", workers=1)
    captures = result.alignment.captures
    off = {name: entry.obj_T_world.R @ turns[name].T for name, entry in captures.items()}
    pairs = list(itertools.combinations(off, 2))
    errors = [float(np.degrees(rotation_error(off[a], off[b]))) for a, b in pairs]
    tilts = [float(np.degrees(np.arccos(np.clip(off[a][:, 2] @ off[b][:, 2], -1, 1)))) for a, b in pairs]
    return {
        "aligned": len(captures),
        "accepted": sum(entry.accepted for entry in captures.values()),
        "pairs_deg": [round(error, 1) for error in errors],
        "up_deg": [round(tilt, 1) for tilt in tilts],
    }


def told(line: dict[str, Any]) -> dict[str, Any]:
    """Print a line of figures at once."""
    print(json.dumps(line), flush=True)
    return line


def photos(source: Path, folder: Path) -> None:
    """Make a capture of photos with known cameras, compare."""
    _, cost = capture_of(source / "images", folder, CaptureSettings())
    meta = json.loads((source / "transforms.json").read_text())
    true = {
        Path(f["file_path"]).name: inverse_rigid(np.array(f["transform_matrix"]) @ OPENGL_T_OPENCV)
        for f in meta["frames"]
    }
    sources = json.loads((folder / "capture.json").read_text())["frames"]
    frames = read_nerfstudio(folder).frames
    errors = rotation_errors_deg(
        np.array([f.cam_T_world for f in frames]), np.array([true[sources[f.name]["source"]] for f in frames])
    )
    figures = {"median": round(float(np.median(errors)), 3), "largest": round(float(errors.max()), 3)}
    told({"frames": len(frames), "of": len(true), "rotation_deg": figures, **cost})


def main() -> None:
    """Read the arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    made_up = commands.add_parser("films")
    made_up.add_argument("folder", type=Path)
    made_up.add_argument("--count", type=int, default=4)
    made_up.add_argument("--seed", type=int, default=77)
    made_up.add_argument("--plain", action="store_true", help="tables as they are, without a printed cloth")
    real = commands.add_parser("photos")
    real.add_argument("source", type=Path)
    real.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    if arguments.command == "films":
        filming = Filming(printed=not arguments.plain)
        films(arguments.folder, arguments.count, arguments.seed, filming, CaptureSettings())
    else:
        photos(arguments.source, arguments.folder)


if __name__ == "__main__":
    main()
