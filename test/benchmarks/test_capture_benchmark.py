"""The benchmark of captures: its figures are zero for the truth, and its smallest case runs from film to figures."""

import json

import capture as benchmark
import numpy as np
import pytest

pytest.importorskip("pycolmap")

from uop3d_core.capture.nerfstudio import write_nerfstudio
from uop3d_core.capture.synthetic.phone import Film, Filming, film_mug
from uop3d_core.config import CaptureSettings
from uop3d_core.geometry import random_rotations
from uop3d_core.types import Capture, Frame

SMALL = Filming(seconds=2.25, rate=8.0, width=360, height=270, turns=1.0, samples=1, clutter=False, shake=0.3)
SETTINGS = CaptureSettings.model_validate(
    {
        "frames": {"count": 18},
        "cameras": {"threads": 1, "features": 800},
        "masks": {"pixels": 96, "voxels": 32, "rounds": 2},
    }
)


def test_the_truth_has_no_error(tmp_path):
    film = film_mug(tmp_path / "film.mp4", 3, Filming(seconds=1.0, rate=4.0, width=96, height=72, samples=1))
    turn = np.eye(4)
    turn[:3, :3] = random_rotations(1, np.random.default_rng(0))[0]
    blank = np.zeros((72, 96, 3), np.uint8)
    frames = [
        Frame(f"{i:04d}", film.camera, blank, T @ turn, mask)
        for i, (T, mask) in enumerate(zip(film.cam_T_obj, film.masks, strict=True))
    ]
    write_nerfstudio(Capture("film", tuple(frames)), tmp_path / "film")
    record = {f"{i:04d}": {"source": f"film.mp4 at {moment:.2f} s"} for i, moment in enumerate(film.times_s)}
    (tmp_path / "film" / "capture.json").write_text(json.dumps({"frames": record}))
    R, figures = benchmark.beside_film(tmp_path / "film", film)
    np.testing.assert_allclose(R, turn[:3, :3], atol=1e-6)
    assert figures["rotation_deg"]["largest"] < 1e-3 and figures["mask_iou"]["least"] == 1
    assert figures["focal_error"] < 1e-6


def test_the_smallest_case_runs(tmp_path, capsys):
    [line] = benchmark.films(tmp_path, 1, 5, SMALL, SETTINGS)
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == line
    assert line["film"] == "mug_0.mp4" and line["frames"] >= 15
    assert line["rotation_deg"]["median"] < 2
    moment = (tmp_path / "mug_0.mp4").stat().st_mtime_ns
    again = benchmark.filmed(tmp_path / "mug_0.mp4", (5, 0), SMALL)
    assert (tmp_path / "mug_0.mp4").stat().st_mtime_ns == moment and again.masks.any((1, 2)).all()
    assert set(line["cpu_s"]) >= {"looking", "features", "matches", "cameras", "masks"}


def test_a_film_without_depth_is_told_and_not_fatal(tmp_path, monkeypatch):
    def refused(*_):
        raise ValueError("no cameras")

    def filmed(path, *_):
        return Film(None, np.zeros((0, 4, 4)), np.zeros(0), np.zeros((0, 1, 1), bool), None)

    monkeypatch.setattr(benchmark, "capture_of", refused)
    monkeypatch.setattr(benchmark, "filmed", filmed)
    assert benchmark.films(tmp_path, 1, 5, SMALL, SETTINGS) == [{"film": "mug_0.mp4", "refused": "no cameras"}]
