"""Accuracy of whole replays of made-up recordings of two unseen mugs: identities, poses, time per image.

In: a model of mugs, as `make demo` leaves one. Out: a table; the scale comes from aligned depth, or from a known size.
Poses are read from the messages of the new recording; confirmed objects of known scale count.

    python benchmarks/replay.py runs/demo/run/model.safetensors --films 4
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from measure import table, write_json

from uop3d_core.bags.reading import Bag
from uop3d_core.bags.replay import OBJECTS, ReplayOptions, open_stream, replay
from uop3d_core.bags.synthetic import DEPTH, FIXED, write_film
from uop3d_core.bags.tally import ReplayReport
from uop3d_core.capture.synthetic.film import Film, make_film
from uop3d_core.evaluation.tracking import id_switches
from uop3d_core.geometry import rotation_error
from uop3d_core.messages.building import STATES
from uop3d_core.messages.reading import pose_transform_of, stamp_ns
from uop3d_core.pose.scale import KnownSize
from uop3d_core.types import TrackState

SEED, SHOTS, RATE = 100, 24, 6.0


@dataclass(frozen=True)
class Replayed:
    """One recording.

    Attributes:
        errors: per pose that counts degrees of the rotation, degrees of the up axis, centimetres.
        switches: see `id_switches`.
        report: of the replay.
    """

    errors: list[tuple[float, float, float]]
    switches: int
    report: ReplayReport


def compare(path: Path, film: Film, report: ReplayReport) -> Replayed:
    """Compare the poses in a recording with those of the film."""
    truth = {shot.stamp_ns: shot.cam_T_obj for shot in film.shots}
    errors, frames = [], []
    with Bag(path) as bag:
        for message in bag.messages([OBJECTS]):
            expected, frame = truth[stamp_ns(message.content.header.stamp)], dict[int, int]()
            for found in message.content.objects:
                if found.state != STATES[TrackState.CONFIRMED] or np.isnan(found.scale):
                    continue
                pose = pose_transform_of(found.pose.pose)
                away = np.linalg.norm(expected[:, :3, 3] - pose[:3, 3], axis=1)
                mug = int(np.argmin(away))
                frame[mug] = found.track_id
                turn = rotation_error(pose[:3, :3], expected[mug, :3, :3])
                up = np.arccos(np.clip(pose[:3, 2] @ expected[mug, :3, 2], -1, 1))
                errors.append((float(np.rad2deg(turn)), float(np.rad2deg(up)), float(100 * away[mug])))
            frames.append(frame)
    return Replayed(errors, id_switches(frames), report)


def figures(replayed: Iterable[Replayed]) -> dict[str, float]:
    """All recordings together."""
    replayed = list(replayed)
    rotation, up, position = np.array([error for each in replayed for error in each.errors]).reshape(-1, 3).T
    images = sum(each.report.images for each in replayed)
    return {
        "boxes": sum(each.report.boxes for each in replayed),
        "poses": len(rotation),
        "switches": sum(each.switches for each in replayed),
        "acc30": 100 * float((rotation < 30).mean()),
        "acc10": 100 * float((rotation < 10).mean()),
        "median deg": float(np.median(rotation)),
        "up deg": float(np.median(up)),
        "cm": float(np.median(position)),
        "ms per image": 1000 * sum(sum(each.report.seconds.values()) for each in replayed) / images,
    }


def measure(model: Path, films: int, shots: int = SHOTS) -> dict[str, dict[str, float]]:
    """Figures by what gives the scale."""
    found: dict[str, list[Replayed]] = {"depth": [], "size": []}
    with tempfile.TemporaryDirectory() as scratch:
        recording, out = Path(scratch) / "robot.mcap", Path(scratch) / "poses.mcap"
        for index in range(films):
            film = make_film((SEED, index), shots, RATE)
            write_film(recording, film)
            for source, results in found.items():
                stream = open_stream([model])
                if source == "size":
                    stream.sizes = dict.fromkeys(stream.templates, KnownSize(diameter=film.unit_m))
                options = ReplayOptions(depth=DEPTH if source == "depth" else None, fixed_frame=FIXED)
                report = replay(stream, recording, out, options)
                results.append(compare(out, film, report))
    return {source: figures(results) for source, results in found.items()}


def main() -> None:
    """Read the arguments, replay, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--films", type=int, default=4, help="recordings, of different mugs")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rows = measure(args.model, args.films)
    print(table(rows, "depth"))
    if args.json:
        write_json(args.json, rows)


if __name__ == "__main__":
    main()
