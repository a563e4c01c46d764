"""Which sub-folders are captures, and what is said when one is not there."""

import numpy as np
import pytest

from uop3d_core.capture.folder import list_captures, read_captures
from uop3d_core.capture.nerfstudio import write_nerfstudio
from uop3d_core.types import Camera, Capture, Frame


@pytest.fixture
def category(tmp_path):
    """Captures b and a, a hidden one, and things that are none."""
    camera = Camera(np.array([[9.0, 0, 3.5], [0, 9, 3.5], [0, 0, 1]]), 8, 8)
    pixels, mask = np.zeros((8, 8, 3), dtype=np.uint8), np.ones((8, 8), dtype=bool)
    frames = tuple(Frame(str(index), camera, pixels, np.eye(4), mask) for index in range(2))
    for name in ("b", "a", ".draft"):
        write_nerfstudio(Capture(name, frames), tmp_path / "cat" / name)
    (tmp_path / "cat" / "notes").mkdir()
    (tmp_path / "cat" / "labels.json").write_text("{}")
    return tmp_path / "cat"


def test_sorted_by_name(category):
    assert [path.name for path in list_captures(category)] == ["a", "b"]
    assert [capture.name for capture in read_captures(category)] == ["a", "b"]


def test_selection(category):
    assert [path.name for path in list_captures(category, ["b"])] == ["b"]


def test_one_capture(category):
    assert list_captures(category / "a") == [category / "a"]
    assert list_captures(category / "a", ["a"]) == [category / "a"]


def test_selection_of_what_is_not_there(category):
    with pytest.raises(ValueError, match="there is no capture c, d; there are a, b"):
        list_captures(category, ["c", "a", "d"])


def test_nothing_there(category):
    with pytest.raises(FileNotFoundError, match=r"no captures here; each is a sub-folder with transforms\.json"):
        list_captures(category / "notes")
    with pytest.raises(FileNotFoundError, match="no such folder"):
        list_captures(category / "nowhere")
