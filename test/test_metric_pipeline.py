"""Estimates of images become metric with the depth files beside them."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from scenes import look_at, sphere, square_camera

from uop3d_core.pipeline.inference import MetricInputs, Query, estimate
from uop3d_core.raycast import RayCaster
from uop3d_core.types import Detection, Frame, PoseEstimate, Template

CAMERA, T, SCALE = square_camera(96), look_at([1.5, 1.0, 0.6]), 0.4
BALL = sphere(1 / np.sqrt(12))


class Knowing:
    """An estimator that knows the pose."""

    model = SimpleNamespace(template=Template("ball", BALL))

    def __call__(self, frame, detections):
        return [PoseEstimate(detection, T, 0.9) for detection in detections]


def query(name: str, boxes: int = 1) -> Query:
    image = np.zeros((96, 96, 3), np.uint8)
    return Query(name, Frame(name, CAMERA, image), (Detection([10, 10, 80, 80]),) * boxes)


@pytest.fixture
def depth_mm() -> np.ndarray:
    t = RayCaster(BALL).render(CAMERA, T).t.reshape(96, 96)
    return np.where(np.isfinite(t), np.round(1000 * SCALE * t), 0).astype(np.uint16)


def test_depth_is_found_by_the_name_of_the_image(tmp_path, depth_mm):
    Image.fromarray(depth_mm).save(tmp_path / "a.1.png")
    np.save(tmp_path / "b.npy", depth_mm / 1000)
    queries = [query("a.1.jpg", 2), query("some/b.png"), query("empty.jpg", 0)]
    results = estimate(Knowing(), queries, known=MetricInputs(tmp_path))
    assert [len(found) for found in results.values()] == [2, 1, 0]
    for found in [*results["a.1.jpg"], *results["some/b.png"]]:
        assert found.scale == pytest.approx(SCALE, rel=0.01) and found.scale_source == "depth"


def test_one_file_for_one_image(tmp_path, depth_mm):
    Image.fromarray(depth_mm).save(tmp_path / "depth.png")
    [[found]] = estimate(Knowing(), [query("x.jpg")], known=MetricInputs(tmp_path / "depth.png")).values()
    assert found.size_m == pytest.approx(np.full(3, 2 * SCALE / np.sqrt(12)), rel=0.02)


def test_two_files_for_one_image_are_refused(tmp_path, depth_mm):
    Image.fromarray(depth_mm).save(tmp_path / "x.png")
    np.save(tmp_path / "x.npy", depth_mm / 1000)
    with pytest.raises(ValueError, match="both depth of image x.jpg"):
        estimate(Knowing(), [query("x.jpg")], known=MetricInputs(tmp_path))
