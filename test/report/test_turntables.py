"""Turntables turn once, see everything, and become files that play."""

import cv2
import numpy as np
import pytest
from PIL import Image
from scenes import box

from uop3d_core.config import TurntableSettings
from uop3d_core.report.tiles import WRONG
from uop3d_core.report.turntables import Piece, Turntable, write_turntable

SETTINGS = TurntableSettings(side=160, seconds=0.5, rate=10)
BAR = Piece(box((0.8, 0.2, 0.3)))


def width_of(frame):
    return np.ptp(np.flatnonzero((frame < 240).any((0, 2))))


def test_one_turn():
    table = Turntable([BAR], TurntableSettings(side=160, seconds=1, rate=16))
    frames = list(table.frames())
    assert len(frames) == 16 and len({frame.shape for frame in frames}) == 1
    for now, later in zip(frames[:8], frames[8:], strict=True):  # a bar looks the same after half a turn
        assert np.abs(now.astype(int) - later).max() < 40
    assert len({frame.tobytes() for frame in frames[:8]}) == 8


def test_a_bar_is_wide_from_its_side_and_never_cut():
    table = Turntable([BAR], SETTINGS)
    front, side = table.frame(0.0), table.frame(np.pi / 2)
    assert width_of(side) > 3 * width_of(front)
    for frame in (table.frame(a) for a in np.linspace(0, 6, 7)):
        assert (frame[:, [0, -1]] == 255).all() and (frame[[0, -1]] == 255).all()
        assert frame.shape[0] % 2 == 0 == frame.shape[1] % 2


def test_the_front_is_seen_first_and_then_the_left():
    mesh = BAR.mesh
    red = Piece(mesh, np.where(mesh.vertices[:, :1] > 0, [255.0, 0, 0], [0.0, 0, 255]), lit=False)
    table = Turntable([red], SETTINGS)
    share = [
        (frame[..., 0] > frame[..., 2]).sum() / (frame < 240).any(-1).sum() for frame in map(table.frame, (0, np.pi))
    ]
    assert share[0] > 0.75 and share[1] < 0.25


def test_captions_axes_and_rejected_ones():
    pieces = [Piece(BAR.mesh, axes=True, caption="template"), *[Piece(BAR.mesh, caption=f"c{i}") for i in range(4)]]
    plain = Turntable(pieces, SETTINGS).frame(0.5)
    warned = Turntable([*pieces[:-1], Piece(BAR.mesh, caption="c3: rejected", warn=True)], SETTINGS).frame(0.5)
    assert plain.shape == warned.shape
    assert (warned == WRONG).all(-1).any() and not (plain == WRONG).all(-1).any()
    with pytest.raises(ValueError, match="at least one"):
        Turntable([], SETTINGS)


@pytest.mark.parametrize("ending", [".gif", ".mp4"])
def test_files_play(tmp_path, ending):
    table, told = Turntable([BAR], SETTINGS), []
    path = tmp_path / f"turn{ending}"
    write_turntable(path, table, SETTINGS, lambda *progress: told.append(progress))
    assert told[-1] == ("frames", 5, 5)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    if ending == ".gif":
        with Image.open(path) as image:
            assert image.n_frames == 5 and image.info["duration"] == 100 and image.info["loop"] == 0
            shown = np.array(image.convert("RGB"))
    else:
        video = cv2.VideoCapture(str(path))
        assert video.get(cv2.CAP_PROP_FPS) == 10 and video.get(cv2.CAP_PROP_FRAME_COUNT) == 5
        shown = video.read()[1][..., ::-1]
    first = next(table.frames())
    assert shown.shape == first.shape
    assert np.abs(shown.astype(int) - first).mean() < 4


def test_other_endings_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"must end with \.gif or \.mp4"):
        write_turntable(tmp_path / "turn.avi", Turntable([BAR], SETTINGS), SETTINGS)
