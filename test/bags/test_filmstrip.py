"""The picture shows the markers of the messages, at their places in the images."""

from pathlib import Path

import numpy as np
import pytest
from films import CAMERA, CATEGORY, UNIT_M, painted_film, truthful_stream

from uop3d_core.bags.filmstrip import filmstrip
from uop3d_core.bags.replay import ReplayOptions, replay
from uop3d_core.bags.synthetic import write_film
from uop3d_core.bags.tally import ReplayReport
from uop3d_core.pose.scale import KnownSize
from uop3d_core.report.tiles import GAP


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, ReplayReport]:
    folder = tmp_path_factory.mktemp("film")
    bag, out = folder / "film.mcap", folder / "out.mcap"
    write_film(bag, painted_film(), CATEGORY)
    stream = truthful_stream(sizes={CATEGORY: KnownSize(diameter=UNIT_M)})
    return bag, out, replay(stream, bag, out, ReplayOptions(images=True))


def test_markers_lie_on_the_object(replayed: tuple[Path, Path, ReplayReport]):
    bag, out, report = replayed
    strip = filmstrip(out, out, report.sources, pictures=2, columns=2)
    factor = 3  # of pictures of 160 pixels
    height, width = CAMERA.height * factor, CAMERA.width * factor
    assert strip.shape == (height + 2 * GAP, 2 * width + 3 * GAP, 3)
    first, last = (strip[GAP : GAP + height, x : x + width] for x in (GAP, 2 * GAP + width))
    shots = painted_film().shots
    for picture, shot, marked in ((first, shots[0], False), (last, shots[-1], True)):
        plain = np.repeat(np.repeat(shot.image, factor, 0), factor, 1).astype(float)
        changed = np.abs(picture - plain).max(2) > 60
        mask = np.repeat(np.repeat(shot.masks[0], factor, 0), factor, 1)
        assert (changed[mask].mean() > 0.5) == marked  # the first image comes before the track is confirmed
    np.testing.assert_array_equal(strip, filmstrip(out, bag, report.sources, pictures=2, columns=2))


def test_recordings_that_do_not_fit(replayed: tuple[Path, Path, ReplayReport], tmp_path: Path):
    bag, out, report = replayed
    with pytest.raises(ValueError, match="no recording that replay wrote"):
        filmstrip(bag, bag, report.sources)
    film = painted_film()
    other = type(film)(
        film.camera, film.unit_m, tuple(type(s)(s.stamp_ns + 7, *list(vars(s).values())[1:]) for s in film.shots)
    )
    write_film(tmp_path / "other.mcap", other, CATEGORY)
    with pytest.raises(ValueError, match="share no image"):
        filmstrip(out, tmp_path / "other.mcap", report.sources)
