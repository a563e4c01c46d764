"""Videos of real or rendered objects that turn, with and without tracking: jitter, lag, wrong poses, identities.

In: a model, the run it was trained in, labelled captures that it has not seen. Every ring of views at one height is a
video, in the order of the azimuth and round twice; or, with --as-filmed, the frames of a capture in their order are one
by a camera whose rotation is known. Out: a table, means over the videos.

    python benchmarks/turntable.py runs/car/model.safetensors ETH80/car --run runs/car --labels ETH80/car/labels.json
    python benchmarks/turntable.py MODEL CAPTURES --run RUN --labels CAPTURES/labels.json --as-filmed --fps 10
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from measure import table, write_json
from tracking import Scene, figures, tracked, untracked

from uop3d_core.capture.folder import list_captures
from uop3d_core.capture.nerfstudio import read_nerfstudio
from uop3d_core.config import TrackSettings
from uop3d_core.evaluation.labels import Labels, read_labels
from uop3d_core.evaluation.link import FrameLink, fit_frame_link
from uop3d_core.evaluation.pose import jittered, unseen_captures
from uop3d_core.geometry import Array
from uop3d_core.images import mask_box
from uop3d_core.pipeline.inference import open_estimator
from uop3d_core.pose.estimator import PoseEstimator
from uop3d_core.runs import Run, read_json_object
from uop3d_core.types import Capture, Detection, Frame

RING, ROUNDS = 8, 2
"""Fewest views of a ring, and how often it is gone round."""
APART_DEG = 5.0
"""Rings lie further apart than this."""
FIXED = np.eye(4)


def main() -> None:
    """Read the arguments, estimate, track, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("captures", type=Path)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--only", nargs="*", default=[], help="captures to test on (default: all that are unseen)")
    parser.add_argument("--as-filmed", action="store_true")
    parser.add_argument("--fps", type=float, default=2.0)
    parser.add_argument("--jitter", type=float, default=0.1, help="of the boxes")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    estimator, labels = open_estimator(args.model), read_labels(args.labels)
    training = list(estimator.model.metadata["captures"])
    link = fit_frame_link(Run(args.run).read_alignment().alignment, labels, training, estimator.model.symmetry)
    folders = {path.name: path for path in list_captures(args.captures)}
    angles = read_json_object(args.labels)["instances"]
    rows: dict[str, list[dict[str, float]]] = {}
    for name in unseen_captures(list(folders), labels, training, args.only):
        capture = read_nerfstudio(folders[name])
        videos = [list(capture.frames)] if args.as_filmed else rings(capture, angles[name].get("frames", {}))
        for number, video in enumerate(videos):
            rng = np.random.default_rng([number, *name.encode()])
            scene = film(estimator, video, labels, name, link, args.fps, args.jitter, args.as_filmed, rng)
            for how, found in compared(scene, estimator):
                rows.setdefault(how, []).append(found)
            print(f"{name}: {len(video)} images", flush=True)
    means = {how: {key: float(np.nanmean([f[key] for f in found])) for key in found[0]} for how, found in rows.items()}
    print(table(means, "estimates"))
    if args.json:
        write_json(args.json, means)


def rings(capture: Capture, angles: dict[str, Any]) -> list[list[Frame]]:
    """Frames of every height with at least RING views, by azimuth, ROUNDS times.

    Raises:
        ValueError: no height has so many.
    """
    known = [frame for frame in capture.frames if frame.name in angles]
    known.sort(key=lambda frame: float(angles[frame.name]["nominal_polar"]))
    polar = [float(angles[frame.name]["nominal_polar"]) for frame in known]
    cuts = [0, *(i + 1 for i, (a, b) in enumerate(pairwise(polar)) if b - a > APART_DEG), len(known)]
    every = [known[a:b] for a, b in pairwise(cuts) if b - a >= RING]
    if not every:
        raise ValueError(f"{capture.name} has no ring of {RING} views at one height by its labels; try --as-filmed")
    for ring in every:
        ring.sort(key=lambda frame: float(angles[frame.name]["nominal_azimuth"]) % 360)
    return [ring * ROUNDS for ring in every]


def film(
    estimator: PoseEstimator, video: Sequence[Frame], labels: Labels, name: str, link: FrameLink, fps: float,
    jitter: float, moving: bool, rng: np.random.Generator,
) -> Scene:  # fmt: skip
    """Estimates and truth of a video; the truth has the template's origin and unit."""
    label_T_world = labels.label_T_world[name]
    stamps = (np.arange(len(video)) * 1e9 / fps).astype(np.int64)
    true = np.stack([link.true_cam_T_obj(_posed(frame), label_T_world) for frame in video])[:, None]
    turned = np.stack([_rotation_only(_posed(frame)) if moving else FIXED for frame in video])
    estimates = []
    for frame in video:
        blind = Frame(frame.name, frame.camera, frame.image)
        box = jittered(mask_box(frame.mask), jitter, rng)
        estimates.append(estimator(blind, [Detection(box, estimator.model.category)]))
    return Scene(stamps, turned, true, estimates)


def compared(scene: Scene, estimator: PoseEstimator) -> Iterator[tuple[str, dict[str, float]]]:
    """Figures without and with tracking."""
    symmetries = {estimator.model.category: estimator.model.symmetry}
    yield "estimates", figures(scene, untracked(scene))
    yield "tracks", figures(scene, tracked(scene, TrackSettings(), symmetries))


def _posed(frame: Frame) -> Array:
    assert frame.cam_T_world is not None, "a Capture has only frames with a camera"
    return frame.cam_T_world


def _rotation_only(cam_T_world: Array) -> Array:
    T = np.eye(4)
    T[:3, :3] = cam_T_world[:3, :3]
    return T


if __name__ == "__main__":
    main()
