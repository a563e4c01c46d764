"""The benchmark of tracks: its scenes are what they say, and tracks are steadier than estimates."""

import numpy as np
import pytest
import tracking as benchmark

from uop3d_core.config import TrackSettings

PERFECT = benchmark.Noise(0, 0, 0, 0, 0, 1, 0)


@pytest.mark.parametrize("kind", benchmark.SCENES)
def test_without_noise_the_estimates_are_the_truth(kind: str) -> None:
    scene = benchmark.simulate(kind, PERFECT, np.random.default_rng(0))
    found = benchmark.figures(scene, benchmark.untracked(scene))
    assert found["jitter deg"] == pytest.approx(0, abs=1e-4) and found["error share"] == pytest.approx(0, abs=1e-9)
    assert found["missing %"] == pytest.approx(100 * 0.8 / 30, abs=0.2) and found["switches"] == 1
    assert len(scene.estimates) == 300 and {len(frame) for frame in scene.estimates} == {2, 3}


def test_tracks_are_steadier() -> None:
    rows = benchmark.compare("resting", [0], TrackSettings())
    assert rows["tracks"]["switches"] == 0 < rows["estimates"]["switches"]
    assert rows["tracks"]["jitter deg"] < rows["estimates"]["jitter deg"] / 4
    assert rows["tracks"]["jitter share"] < rows["estimates"]["jitter share"] / 2
    assert rows["tracks"][">30 deg %"] <= rows["estimates"][">30 deg %"]
    assert "lag ms" not in rows["tracks"]
