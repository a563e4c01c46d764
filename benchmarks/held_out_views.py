"""Which frames to keep out of training so that a model can be tested on viewing directions that it never saw.

In: labels.json with nominal viewing angles per frame ("nominal_polar", "nominal_azimuth", degrees), the same directions
for all captures, as on a turntable. Out: {capture: [frame names]}: the frames from a share of the directions, drawn at
random, the same directions for all captures.

    python benchmarks/held_out_views.py ETH80/car/labels.json --out held_out.json
    uop3d train RUN --without held_out.json
    uop3d evaluate pose RUN/model.safetensors ... --only-frames held_out.json
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from measure import write_json

from uop3d_core.runs import read_json_object

Direction = tuple[float, float]


def main() -> None:
    """Read the arguments, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labels", type=Path, help="labels.json with viewing angles per frame")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    parser.add_argument("--share", type=float, default=0.25, help="of the directions (default: a quarter)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    by_direction = frames_by_direction(read_json_object(args.labels)["instances"])
    chosen = draw(by_direction, args.share, np.random.default_rng(args.seed))
    write_json(args.out, lists_of(by_direction, chosen))
    shown = ", ".join(f"{polar:g}/{azimuth:g}" for polar, azimuth in chosen)
    print(f"{len(chosen)} of {len(by_direction)} directions (polar/azimuth in degrees): {shown}")


def frames_by_direction(instances: dict[str, Any]) -> dict[Direction, dict[str, str]]:
    """Name of the frame by capture, for every direction (polar, azimuth in [0, 360)).

    Raises:
        ValueError: angles are missing, or the captures do not all have the same directions once.
    """
    found: dict[Direction, dict[str, str]] = {}
    for capture, instance in instances.items():
        for frame, angles in instance.get("frames", {}).items():
            try:
                polar, azimuth = (round(float(angles[key]), 1) for key in ("nominal_polar", "nominal_azimuth"))
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(f"frame {frame} of {capture} has no viewing angles ({error!r})") from error
            direction = polar, 0.0 if polar == 0 else azimuth % 360
            if capture in found.setdefault(direction, {}):
                raise ValueError(f"{capture} shows the direction {direction} twice")
            found[direction][capture] = frame
    if not found:
        raise ValueError("the labels tell no viewing angles")
    for direction, frames in found.items():
        missing = [capture for capture in instances if capture not in frames]
        if missing:
            raise ValueError(f"the direction {direction} is not among those of {', '.join(missing)}")
    return found


def draw(by_direction: dict[Direction, dict[str, str]], share: float, rng: np.random.Generator) -> list[Direction]:
    """A share of the directions, at least one and not all, sorted.

    Raises:
        ValueError: the share is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise ValueError(f"the share of directions must be between 0 and 1, got {share}")
    every = sorted(by_direction)
    count = min(max(1, round(share * len(every))), len(every) - 1)
    return sorted(every[i] for i in rng.choice(len(every), count, replace=False))


def lists_of(by_direction: dict[Direction, dict[str, str]], chosen: list[Direction]) -> dict[str, list[str]]:
    """{capture: [frame names]} of some directions."""
    captures = by_direction[chosen[0]]
    return {capture: sorted(by_direction[direction][capture] for direction in chosen) for capture in captures}


if __name__ == "__main__":
    main()
