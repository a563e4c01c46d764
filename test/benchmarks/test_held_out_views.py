"""Frames to keep out of training show the same directions in all captures."""

from __future__ import annotations

from typing import Any

import held_out_views
import numpy as np
import pytest

DIRECTIONS = [(0, 0), *((90, azimuth) for azimuth in range(0, 360, 45)), *((45, azimuth) for azimuth in (0, 120, 240))]


def instances() -> dict[str, Any]:
    """Two captures of the same directions in another order; from above, azimuths mean nothing."""
    rng, found = np.random.default_rng(0), {}
    for name, above in (("a", 0), ("b", 90)):
        frames = {}
        for number, index in enumerate(rng.permutation(len(DIRECTIONS))):
            polar, azimuth = DIRECTIONS[index]
            angles = {"nominal_polar": polar, "nominal_azimuth": azimuth or (360 if polar else above)}
            frames[f"{number:04d}"] = angles
        found[name] = {"frames": frames}
    return found


def test_all_captures_do_without_the_same_directions() -> None:
    every = instances()
    by_direction = held_out_views.frames_by_direction(every)
    assert len(by_direction) == len(DIRECTIONS)
    chosen = held_out_views.draw(by_direction, 0.25, np.random.default_rng(3))
    lists = held_out_views.lists_of(by_direction, chosen)
    assert len(chosen) == 3 == len(lists["a"]) == len(lists["b"])
    for name, frames in lists.items():
        angles = [every[name]["frames"][frame] for frame in frames]
        seen = {(a["nominal_polar"], a["nominal_azimuth"] % 360 if a["nominal_polar"] else 0) for a in angles}
        assert seen == set(chosen)
    assert chosen == held_out_views.draw(by_direction, 0.25, np.random.default_rng(3))


def test_directions_that_are_not_shared() -> None:
    every = instances()
    every["b"]["frames"]["0000"]["nominal_azimuth"] += 10
    every["b"]["frames"]["0000"]["nominal_polar"] += 5
    with pytest.raises(ValueError, match="is not among those of"):
        held_out_views.frames_by_direction(every)
    with pytest.raises(ValueError, match="no viewing angles"):
        held_out_views.frames_by_direction({"a": {"frames": {"0": {}}}})
    with pytest.raises(ValueError, match="twice"):
        angles = {"nominal_polar": 90, "nominal_azimuth": 0}
        held_out_views.frames_by_direction({"a": {"frames": {"0": angles, "1": angles}}})
    with pytest.raises(ValueError, match="between 0 and 1"):
        held_out_views.draw({(90.0, 0.0): {}}, 1.0, np.random.default_rng(0))
