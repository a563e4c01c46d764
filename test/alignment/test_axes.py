"""Up and front of obj: found where they can be told, and said where not."""

import numpy as np
import pytest
from scenes import random_features, random_sim3, solid, surface
from scipy.spatial.transform import Rotation

from uop3d_core.alignment.axes import find_axes, mean_direction
from uop3d_core.geometry import random_rotations
from uop3d_core.types import Alignment, CaptureAlignment, Sim3, Surface, Symmetry

Z = np.array([0, 0, 1.0])
CAPTURES = 5


def cylinder(p, radius, height):
    return np.maximum(np.hypot(p[..., 0], p[..., 1]) - radius, np.abs(p[..., 2]) - height)


def block(p, centre, half):
    return (np.abs(p - np.array(centre)) - half).max(-1)


def mug(p, size):
    return np.minimum(cylinder(p, 0.7 * size, 0.9), block(p, [0.85 * size, 0, 0], [0.3, 0.12, 0.5]))


def van(p, size):
    """A long box with a bonnet at +x."""
    return np.minimum(
        block(p, [-0.1, 0, 0.1], [0.9 * size, 0.5, 0.5]), block(p, [0.95, 0, -0.2], [0.35 * size, 0.5, 0.2])
    )


def screw(p, size):
    """A cross-section whose arms all bend the same way: no mirror plane, but a longest extent, along x."""
    return np.minimum.reduce(
        [
            block(p, [0, 0, 0], [1.0 * size, 0.2, 0.3]),
            block(p, [0.9, 0.35, 0], [0.15, 0.35, 0.3]),
            block(p, [-0.9, -0.35, 0], [0.15, 0.35, 0.3]),
        ]
    )


def category(distance, lean=(), obj_R_thing=None) -> tuple[Alignment, dict[str, Surface]]:
    """Captures in a random common frame; `lean` are captures whose up is wrong by 90 degrees."""
    rng = np.random.default_rng(2)
    common_T_thing = Sim3(1.0, random_rotations(1, rng)[0] if obj_R_thing is None else obj_R_thing, np.zeros(3))
    surfaces, entries = {}, {}
    for index in range(CAPTURES):
        name, gauge, size = f"c{index}", random_sim3(rng), rng.uniform(0.9, 1.1)
        mesh = solid(lambda p, size=size: distance(p, size), 220)
        made = surface(name, mesh, random_features(len(mesh.vertices), 1, 4, rng), gauge)
        if index in lean:
            made = Surface(name, made.mesh, made.features, made.valid, made.visible_views, gauge.R[:, 0])
        off = Rotation.from_rotvec(0.015 * rng.normal(size=3)).as_matrix()
        thing_T_mesh = Sim3(1 / mesh.diameter, off, np.zeros(3))
        surfaces[name] = made
        entries[name] = CaptureAlignment(common_T_thing @ thing_T_mesh @ gauge.inverse(), 1.0, True)
    return Alignment("thing", "c0", entries), surfaces


def found(distance, *, symmetry=None, **kwargs):
    """Rotation obj <- thing, and the doubt."""
    common_R_thing = random_rotations(1, np.random.default_rng(7))[0]
    alignment, surfaces = category(distance, obj_R_thing=common_R_thing, **kwargs)
    if symmetry is not None:
        symmetry = Symmetry(common_R_thing @ symmetry.axis, symmetry.fold)
    axes = find_axes(alignment, surfaces, symmetry or Symmetry.none())
    assert np.linalg.det(axes.obj_R_common) == pytest.approx(1)
    np.testing.assert_allclose(axes.obj_R_common @ axes.obj_R_common.T, np.eye(3), atol=1e-9)
    return axes.obj_R_common @ common_R_thing, axes.doubt


def angle_deg(a, b):
    return float(np.rad2deg(np.arccos(np.clip(np.dot(a, b), -1, 1))))


@pytest.mark.parametrize("thing", [mug, van])
def test_front_is_the_outstretched_end_in_the_mirror_plane(thing):
    obj_R_thing, doubt = found(thing)
    assert angle_deg(obj_R_thing[0], [1, 0, 0]) < 4 and angle_deg(obj_R_thing[2], Z) < 2
    assert doubt == ""


def test_both_ends_alike():
    obj_R_thing, doubt = found(lambda p, size: block(p, [0, 0, 0], [1 * size, 0.4, 0.6]))
    assert abs(obj_R_thing[0, 0]) > np.cos(np.deg2rad(3))
    assert doubt.startswith("which end of x is the front could not be told") and "uop3d orient" in doubt


def test_both_ends_alike_and_the_symmetry_known():
    """Nothing is left to chance then."""
    assert found(lambda p, size: block(p, [0, 0, 0], [size, 0.4, 0.6]), symmetry=Symmetry(Z, 2))[1] == ""


def test_square_things_have_x_across_a_side():
    obj_R_thing, _ = found(lambda p, size: block(p, [0, 0, 0], [0.7 * size, 0.7 * size, 1]), symmetry=Symmetry(Z, 4))
    assert np.abs(obj_R_thing[0]).max() > np.cos(np.deg2rad(4))


def test_no_mirror_plane():
    obj_R_thing, doubt = found(screw)
    assert abs(obj_R_thing[0, 0]) > np.cos(np.deg2rad(25))
    assert doubt.startswith("the front could not be told: no plane mirrors") and "uop3d orient" in doubt


@pytest.mark.parametrize("symmetry", [None, Symmetry(Z, 0)])
def test_bodies_of_revolution_have_no_front(symmetry):
    doubt = found(lambda p, size: cylinder(p, 0.7 * size, 1), symmetry=symmetry)[1]
    assert "could not be told" in doubt and ("all around" in doubt) == (symmetry is not None)


def test_one_capture_with_a_rotated_phone_does_not_tilt_up_and_is_told_of():
    assert angle_deg(found(mug, lean=(1,))[0][2], Z) < 2
    axes = find_axes(*category(mug, lean=(1,)), Symmetry.none())
    assert axes.leaning == ("c1",) and "another side up" in axes.warnings()[0]
    assert find_axes(*category(mug), Symmetry.none()).warnings() == ()


def test_mean_direction_goes_with_the_majority():
    rng = np.random.default_rng(0)
    near = [Z + 0.02 * rng.normal(size=3) for _ in range(6)]
    far = [np.array([1, 0, 0.1]), np.array([0.9, 0.3, 0])]
    mean = mean_direction([v / np.linalg.norm(v) for v in (*far, *near)])
    assert angle_deg(mean, Z) < 1.5
    np.testing.assert_allclose(mean_direction([Z]), Z)
    np.testing.assert_allclose(mean_direction([Z, -Z]), Z)
