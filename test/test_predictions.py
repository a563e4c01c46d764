"""Detections of recordings: by the time or the place of the image."""

import json
from pathlib import Path

import pytest

from uop3d_core.predictions import read_timed_detections

BOX = {"bbox_xyxy": [1, 2, 30, 40], "label": "mug", "score": 0.5}


def write(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content))
    return path


def test_by_stamp_and_by_index(tmp_path: Path):
    stamp = 1_700_000_000_123_456_789  # more digits than a float holds
    entries = [{"stamp_ns": stamp, "detections": [BOX]}, {"index": 3, "detections": []}]
    timed = read_timed_detections(write(tmp_path / "boxes.json", entries))
    [detection] = timed.by_stamp[stamp]
    assert (detection.label, detection.score) == ("mug", 0.5) and detection.bbox_xyxy.tolist() == [1, 2, 30, 40]
    assert timed.by_stamp.keys() == {stamp} and timed.by_index == {3: []}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"index": 0}, "must hold a list"),
        (["x"], "entry 0 must be an object"),
        ([{"image": "a.jpg", "detections": []}], 'must have "stamp_ns" or "index"'),
        ([{"index": 0, "stamp_ns": 1, "detections": []}], 'must have "stamp_ns" or "index"'),
        ([{"index": -1, "detections": []}], "a whole number"),
        ([{"stamp_ns": 1.5, "detections": []}], "a whole number"),
        ([{"index": True, "detections": []}], "a whole number"),
        ([{"index": 0}], r'entry 0 \(index 0\): "detections" must be a list'),
        ([{"index": 0, "detections": []}] * 2, "index 0 is there twice"),
        ([{"index": 0, "detections": [{"bbox_xyxy": [5, 5, 1, 1]}]}], "detection 0: bbox_xyxy must be"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, content: object, message: str):
    with pytest.raises(ValueError, match=message):
        read_timed_detections(write(tmp_path / "boxes.json", content))
