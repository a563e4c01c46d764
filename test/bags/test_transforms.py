"""Transforms of a recording, asked at the times of images."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from uop3d_core.bags.transforms import Transforms
from uop3d_core.geometry import inverse_rigid, rigid


def turned(degrees: float, x: float) -> np.ndarray:
    return rigid(Rotation.from_rotvec([0, 0, np.deg2rad(degrees)]).as_matrix(), np.array([x, 0, 0.5]))


@pytest.fixture
def robot() -> Transforms:
    """map <- odom (fixed) <- base (moves) <- camera (fixed); and a lamp in the map."""
    transforms = Transforms()
    transforms.add("map", "odom", 0, turned(90, 2), True)
    transforms.add("odom", "base", 1000, turned(0, 0), False)
    transforms.add("odom", "base", 3000, turned(60, 4), False)
    transforms.add("odom", "base", 2000, turned(20, 2), False)  # came late
    transforms.add("base", "camera", 0, turned(-90, 0.1), True)
    transforms.add("map", "lamp", 0, turned(10, 1), True)
    return transforms


def test_samples_and_between(robot: Transforms):
    np.testing.assert_allclose(robot.lookup("odom", "base", 2000), turned(20, 2), atol=1e-12)
    np.testing.assert_allclose(robot.lookup("odom", "base", 2500), turned(40, 3), atol=1e-12)
    np.testing.assert_allclose(robot.lookup("odom", "base", 1500), turned(10, 1), atol=1e-12)


def test_chains_up_and_down(robot: Transforms):
    map_T_camera = turned(90, 2) @ turned(40, 3) @ turned(-90, 0.1)
    np.testing.assert_allclose(robot.lookup("map", "camera", 2500), map_T_camera, atol=1e-12)
    np.testing.assert_allclose(robot.lookup("camera", "map", 2500), inverse_rigid(map_T_camera), atol=1e-12)
    lamp_T_camera = inverse_rigid(turned(10, 1)) @ map_T_camera
    np.testing.assert_allclose(robot.lookup("lamp", "camera", 2500), lamp_T_camera, atol=1e-12)
    np.testing.assert_allclose(robot.lookup("camera", "camera", 5), np.eye(4), atol=1e-12)


def test_never_beyond_the_samples(robot: Transforms):
    assert robot.lookup("odom", "base", 999) is None and robot.lookup("odom", "base", 3001) is None
    assert robot.lookup("map", "camera", 3001) is None
    assert robot.lookup("base", "camera", 3001) is not None  # fixed
    assert robot.lookup("map", "nowhere", 2000) is None


def test_circles_end():
    transforms = Transforms()
    transforms.add("a", "b", 0, turned(1, 0), True)
    transforms.add("b", "a", 0, turned(1, 0), True)
    assert transforms.lookup("c", "a", 0) is None
    transforms.add("a", "a", 0, turned(1, 0), True)
    assert transforms.lookup("c", "a", 0) is None


def test_another_parent_counts_from_then_on():
    transforms = Transforms()
    transforms.add("a", "cup", 0, turned(0, 1), False)
    transforms.add("b", "cup", 5, turned(0, 2), False)
    assert transforms.lookup("a", "cup", 0) is None
    np.testing.assert_allclose(transforms.lookup("b", "cup", 5), turned(0, 2))
    assert transforms.frames == ["b", "cup"]
