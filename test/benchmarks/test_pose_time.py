"""The time benchmark: ratios of what a clock of the test's own says."""

from types import SimpleNamespace

import numpy as np
import pose_time
import pytest
import torch
from scenes import film, normal_image, potato


class Clock:
    """Tells the time that was spent."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


class Spending:
    """An estimator whose backbone takes 2 s a crop, and the rest 1 s a box."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.model = SimpleNamespace(settings=SimpleNamespace(cells=20))
        self.network = SimpleNamespace(features=self.features)

    def crop(self, camera: object, box: np.ndarray) -> SimpleNamespace:
        return SimpleNamespace(sample=lambda image: np.zeros((4, 4, 3), np.uint8))

    def features(self, pixels: np.ndarray) -> None:
        self.clock.now += 2 * len(pixels)

    def __call__(self, frame: object, detections: list) -> None:
        self.clock.now += 3 * len(detections)


@pytest.mark.parametrize("objects", [1, 8])
def test_medians_over_images(objects: int, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, shapes = Clock(), []

    class Beside:
        stride = 14

        def __call__(self, images: torch.Tensor) -> None:
            shapes.append(tuple(images.shape))
            clock.now += 5 * len(images)

    monkeypatch.setattr(pose_time, "time", clock)
    boxes = [(SimpleNamespace(camera=None, image=None), SimpleNamespace(bbox_xyxy=None))] * 3
    alone = pose_time.medians(Spending(clock), None, boxes, objects)
    assert alone["over_backbone"] == 1.5 and alone["beyond_ms"] == 1000 * objects and alone["over_beside"] is None
    both = pose_time.medians(Spending(clock), Beside(), boxes, objects)
    assert both["over_beside"] == pytest.approx(1.2) and both["beside_ms"] == 5000 * objects
    assert shapes == [(objects, 3, 280, 280)] * 3
    lines = pose_time.as_table([{"cells": 20, "objects": objects, **row} for row in (alone, both)]).splitlines()
    assert lines[1].split()[-2:] == ["-", "-"] and lines[2].split()[-1] == "1.20" and len(set(map(len, lines))) == 1


def test_boxes_are_those_of_masks(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    capture = film(potato(2), views=4, paint=normal_image(potato(2)))
    monkeypatch.setattr(pose_time, "read_captures", lambda folder, only: [capture])
    found = list(pose_time.boxed(tmp_path, [], 2))
    assert [frame.name for frame, _ in found] == [capture.frames[0].name, capture.frames[2].name]
    for frame, detection in found:
        ys, xs = np.nonzero(next(each for each in capture.frames if each.name == frame.name).mask)
        middle = np.array([xs.mean(), ys.mean()])
        assert (detection.bbox_xyxy[:2] < middle).all() and (middle < detection.bbox_xyxy[2:]).all()
