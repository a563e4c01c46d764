"""Point clouds of all forms, and what is wrong with them."""

from types import SimpleNamespace

import numpy as np
import pytest

from uop3d_core.bags.distances import points_in, points_of
from uop3d_core.bags.transforms import Transforms

POINTS = np.random.default_rng(0).normal(size=(2, 3, 3))


def cloud(kind: str = "<f4", offset: int = 0, padding: int = 0, **changes):
    """An organised cloud of 2 x 3 points with bytes before every point and after every row."""
    places = [offset + index * np.dtype(kind).itemsize for index in range(3)]
    content = np.zeros((2, 3), np.dtype({"names": list("xyz"), "formats": [kind] * 3, "offsets": places}))
    for index, axis in enumerate("xyz"):
        content[axis] = POINTS[..., index]
    rows = content.view(np.uint8).reshape(2, -1)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=9)
    code = {4: 7, 8: 8}[np.dtype(kind).itemsize]
    fields = [SimpleNamespace(name=n, offset=o, datatype=code, count=1) for n, o in zip("xyz", places, strict=True)]
    values = {
        "height": 2, "width": 3, "point_step": content.dtype.itemsize, "row_step": rows.shape[1],
        "is_bigendian": kind.startswith(">"), "fields": fields, "data": rows.reshape(-1),
        "header": SimpleNamespace(frame_id="lidar", stamp=SimpleNamespace(sec=1, nanosec=0)),
    }  # fmt: skip
    return SimpleNamespace(**values | changes)


@pytest.mark.parametrize("padding", [0, 7])
@pytest.mark.parametrize("offset", [0, 4, 5])
@pytest.mark.parametrize("kind", ["<f4", ">f4", "<f8"])
def test_forms_of_clouds(kind: str, offset: int, padding: int):
    found = points_of(cloud(kind, offset, padding))
    np.testing.assert_allclose(found, POINTS.reshape(-1, 3), rtol=1e-6)
    assert found.dtype == np.float64


def test_points_that_are_not_known_are_left_out():
    message = cloud("<f8")
    message.data = message.data.copy()
    message.data[:8] = np.frombuffer(np.array([np.nan]), np.uint8)
    np.testing.assert_array_equal(points_of(message), POINTS.reshape(-1, 3)[1:])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"data": np.zeros(10, np.uint8)}, "cut off: 10 bytes"),
        ({"row_step": 3}, "cut off"),
        ({"point_step": 8, "row_step": 24}, "do not fit into points of 8 bytes"),
        ({"fields": []}, "no x, y, z as floating-point numbers, only nothing"),
    ],
)
def test_clouds_that_cannot_be_read(changes: dict, says: str):
    with pytest.raises(ValueError, match=says):
        points_of(cloud(**changes))


def test_points_are_brought_to_the_camera():
    transforms, camera_T_lidar = Transforms(), np.eye(4)
    camera_T_lidar[:3, 3] = 1, 2, 3
    with pytest.raises(ValueError, match="TF does not tell lidar in camera"):
        points_in("camera", cloud(), transforms)
    transforms.add("camera", "lidar", 0, camera_T_lidar, fixed=True)
    np.testing.assert_allclose(points_in("camera", cloud("<f8"), transforms), POINTS.reshape(-1, 3) + [1, 2, 3])
    np.testing.assert_allclose(points_in("lidar", cloud("<f8"), transforms), POINTS.reshape(-1, 3))
