"""Frames that a training does without, or a test is made of."""

import json

import numpy as np
import pytest

from uop3d_core.capture.frame_lists import check_frames, read_frame_lists, without_frames
from uop3d_core.types import Camera, Capture, Frame


@pytest.fixture
def capture():
    camera, image = Camera(np.eye(3), 4, 4), np.zeros((4, 4, 3), np.uint8)
    return Capture("mug", tuple(Frame(f"{i:04d}", camera, image, np.eye(4)) for i in range(4)))


def test_a_file_of_lists(tmp_path, capture):
    path = tmp_path / "frames.json"
    path.write_text(json.dumps({"mug": ["0001", "0003"], "cup": []}))
    lists = read_frame_lists(path, {"mug", "cup", "jug"})
    assert lists == {"mug": ["0001", "0003"], "cup": []}
    check_frames(lists, [capture])
    assert [frame.name for frame in without_frames(capture, lists["mug"]).frames] == ["0000", "0002"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "JSON object"),
        ({"mug": "0001"}, "mug must have a list"),
        ({"mug": [1]}, "mug must have a list"),
        ({"mug": ["0001", "0001"]}, "mug has a frame twice"),
        ({"jug": ["0001"]}, "no capture jug; there are cup, mug"),
        ({}, "no frame is listed"),
        ({"mug": []}, "no frame is listed"),
    ],
)
def test_malformed_files(tmp_path, content, message):
    path = tmp_path / "frames.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        read_frame_lists(path, {"mug", "cup"})


def test_frames_that_do_not_fit(capture):
    with pytest.raises(ValueError, match="mug has no frame 0009; it has 0000"):
        check_frames({"mug": ["0000", "0009"]}, [capture])
    with pytest.raises(ValueError, match="mug has 1 frame"):
        without_frames(capture, ["0000", "0001", "0002"])
