"""The figures of the replay benchmark on a replay whose poses are right."""

from dataclasses import replace
from pathlib import Path

import pytest
from films import CATEGORY, UNIT_M, painted_film, truthful_stream
from replay import compare, figures

from uop3d_core.bags.replay import ReplayOptions
from uop3d_core.bags.replay import replay as run_replay
from uop3d_core.bags.synthetic import write_film
from uop3d_core.pose.scale import KnownSize


def test_right_poses(tmp_path: Path):
    film, out = painted_film(), tmp_path / "out.mcap"
    write_film(tmp_path / "film.mcap", film, CATEGORY)
    stream = truthful_stream(sizes={CATEGORY: KnownSize(diameter=UNIT_M)})
    report = run_replay(stream, tmp_path / "film.mcap", out, ReplayOptions())
    row = figures([compare(out, film, report)])
    assert (row["boxes"], row["poses"], row["switches"], row["acc10"]) == (5, 3, 0, 100)
    assert row["median deg"] < 3 and row["up deg"] < 3 and row["cm"] < 1 and row["ms per image"] > 0
    moved = [shot.cam_T_obj.copy() for shot in film.shots]
    for T in moved:
        T[:, 2, 3] += 0.1
    wrong = replace(film, shots=tuple(replace(s, cam_T_obj=T) for s, T in zip(film.shots, moved, strict=True)))
    assert figures([compare(out, wrong, report)])["cm"] == pytest.approx(10, abs=1)
