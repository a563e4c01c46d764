"""Symmetries are found where things have them, in shape and looks, and nowhere else."""

from collections.abc import Callable

import numpy as np
import pytest
from scenes import random_sim3, solid, surface
from scipy.spatial.transform import Rotation

from uop3d_core.alignment import symmetry as module
from uop3d_core.alignment.prepared import PreparedSurface, prepare
from uop3d_core.alignment.symmetry import detect_symmetry, follow_axis
from uop3d_core.config import PairSettings, SymmetrySettings
from uop3d_core.types import Alignment, CaptureAlignment, Sim3, Symmetry

CAPTURES, CHANNELS, VIEWS, VERTICES = 4, 16, 2, 180
PAIR = PairSettings(field_resolution=24)
Points = np.ndarray
Shape = Callable[[np.random.Generator], Callable[[Points], Points]]
Z = np.array([0, 0, 1.0])


def turned(profile: Callable[[float], Callable[[Points], Points]]) -> Shape:
    """Things of different height and width whose cross-section has the radius profile(angle)."""

    def shape(rng):
        height, radius = rng.uniform(0.6, 1.0), rng.uniform(0.6, 0.8)
        return lambda p: np.maximum(
            np.hypot(p[..., 0], p[..., 1]) - radius * profile(np.arctan2(p[..., 1], p[..., 0])),
            np.abs(p[..., 2]) - height,
        )

    return shape


def cuboid(*half: float) -> Shape:
    def shape(rng):
        sides = np.array(half) * rng.uniform(0.95, 1.05)
        return lambda p: (np.abs(p) - sides).max(-1)

    return shape


def stool(legs: int) -> Shape:
    def shape(rng):
        out, thick, height = rng.uniform(0.6, 0.7), rng.uniform(0.15, 0.2), rng.uniform(0.8, 1.0)

        def distance(p):
            seat = np.maximum(np.hypot(p[..., 0], p[..., 1]) - 0.95, np.abs(p[..., 2] - height + 0.15) - 0.15)
            for angle in 2 * np.pi * np.arange(legs) / legs:
                x, y = out * np.cos(angle), out * np.sin(angle)
                leg = np.maximum(np.hypot(p[..., 0] - x, p[..., 1] - y) - thick, np.abs(p[..., 2]) - height)
                seat = np.minimum(seat, leg)
            return seat

        return distance

    return shape


def mug(rng):
    body = turned(lambda angle: 1.0)(rng)
    return lambda p: np.minimum(body(p), (np.abs(p - [0.85, 0, 0]) - [0.3, 0.12, 0.45]).max(-1))


BOTTLE, SQUARE = turned(lambda angle: np.ones_like(angle)), cuboid(0.7, 0.7, 1)


def everywhere(x: Points) -> Points:
    """Looks that differ from place to place."""
    return x


def by_height(x: Points) -> Points:
    return np.stack([np.hypot(x[:, 0], x[:, 1]), x[:, 2]], axis=1)


def one_side(x: Points) -> Points:
    """A label on one side."""
    return np.column_stack([by_height(x), 3 * (x[:, 0] > 0.35)])


def repeated(fold: int) -> Callable[[Points], Points]:
    """Looks that come again after a part of a turn."""

    def key(x):
        angle, radius = fold * np.arctan2(x[:, 1], x[:, 0]), np.hypot(x[:, 0], x[:, 1])
        return np.column_stack([radius * np.cos(angle), radius * np.sin(angle), by_height(x)])

    return key


def category(
    shape: Shape,
    key: Callable[[Points], Points] | None,
    *,
    place: Callable[[int, np.random.Generator], float] = lambda i, rng: 0.0,
    seen: Callable[[Points], Points] | None = None,
    rejected: tuple[str, ...] = (),
) -> tuple[dict[str, PreparedSurface], Alignment]:
    """Captures in one frame, a little beside it: rotated by 2 degrees or so, and by place(index, rng) radians about z.

    Looks are smooth functions of the key, with noise for every capture, vertex and view.
    """
    rng = np.random.default_rng(3)
    weights, phases = rng.normal(size=(4, CHANNELS)) * 2, rng.uniform(0, 2 * np.pi, CHANNELS)
    surfaces, entries = {}, {}
    for index in range(CAPTURES):
        name, mesh, gauge = f"c{index}", solid(shape(rng), VERTICES), random_sim3(rng)
        V = len(mesh.vertices)
        looks = np.zeros((V, CHANNELS))
        if key is not None:
            keys = key(mesh.vertices)
            looks = np.sin(keys @ weights[: keys.shape[1]] + phases)
        looks = looks + 0.3 * rng.normal(size=CHANNELS) + 0.3 * rng.normal(size=(V, CHANNELS))
        features = looks[:, None] + 0.3 * rng.normal(size=(V, VIEWS, CHANNELS))
        features /= np.linalg.norm(features, axis=2, keepdims=True)
        valid = np.ones((V, VIEWS), bool) if seen is None else np.repeat(seen(mesh.vertices)[:, None], VIEWS, 1)
        surfaces[name] = prepare(surface(name, mesh, features, gauge, valid), PAIR)
        turn = Rotation.from_rotvec(0.03 * rng.normal(size=3)) * Rotation.from_rotvec(place(index, rng) * Z)
        obj_T_mesh = Sim3(1 / mesh.diameter, turn.as_matrix(), 0.01 * rng.normal(size=3))
        entries[name] = CaptureAlignment(obj_T_mesh @ gauge.inverse(), 1.0, name not in rejected)
    return surfaces, Alignment("thing", "c0", entries)


def fold(*args, **kwargs) -> int:
    return detect_symmetry(*category(*args, **kwargs), SymmetrySettings()).symmetry.fold


def any_turn(i, rng):
    return rng.uniform(0, 2 * np.pi)


def some_turn(of: int):
    return lambda i, rng: 2 * np.pi / of * rng.integers(of)


@pytest.mark.parametrize("key", [None, by_height])
def test_bottle_turns_freely(key):
    found = detect_symmetry(*category(BOTTLE, key, place=any_turn), SymmetrySettings()).symmetry
    assert found.fold == 0 and abs(found.axis @ Z) > np.cos(np.deg2rad(4))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (SQUARE, 4),
        (cuboid(1, 0.5, 0.7), 2),
        (stool(3), 3),
        (stool(5), 5),
        (turned(lambda angle: 1 + 0.25 * np.cos(6 * angle)), 6),
    ],
)
@pytest.mark.parametrize("looks", [True, False])
def test_folds(shape, expected, looks):
    key = repeated(expected) if looks else None
    assert fold(shape, key, place=some_turn(expected)) == expected


@pytest.mark.parametrize("key", [None, by_height, everywhere])
def test_handle_breaks_the_symmetry(key):
    report = detect_symmetry(*category(mug, key), SymmetrySettings())
    assert report.symmetry.fold == (2 if key is None else 1)
    assert not any(e.holds for e in report.tried if abs(e.symmetry.axis @ Z) > 0.9)


@pytest.mark.parametrize("shape", [BOTTLE, SQUARE])
@pytest.mark.parametrize("key", [everywhere, one_side])
def test_looks_break_the_symmetry_of_the_shape(shape, key):
    assert fold(shape, key) == 1


def test_captures_turned_the_wrong_way_do_not_fake_a_symmetry():
    """Half of them flipped: unturned and turned pairs are alike on average then."""
    assert fold(cuboid(1, 0.5, 0.7), everywhere, place=lambda i, rng: np.pi * (i % 2)) == 1


def test_what_was_not_seen_does_not_fake_a_symmetry():
    """The front of a bottle with looks: of its back nothing is known."""
    assert fold(BOTTLE, by_height, seen=lambda x: x[:, 0] > 0.1) == 1


def test_things_that_fit_others_as_well_lying_as_standing():
    """Boxes of any proportions: turned, one resembles another as well as before, but not itself."""

    def any_box(rng):
        sides = rng.permutation([0.5, 0.7, 1.0])
        return lambda p: (np.abs(p) - sides).max(-1)

    report = detect_symmetry(*category(any_box, None), SymmetrySettings())
    assert report.symmetry.fold == 2
    assert not any(e.holds for e in report.tried if e.symmetry.fold == 4)
    assert any(e.own > 0.4 for e in report.tried if e.symmetry.fold == 4)


@pytest.mark.parametrize("symmetry", [Symmetry(Z, 1), Symmetry(Z, 3), Symmetry(Z, 0)])
def test_axis_is_followed(symmetry):
    """Given 5 degrees beside the true one."""
    surfaces, alignment = category(BOTTLE, None, place=any_turn)
    given = Symmetry(np.array([np.sin(0.09), 0, np.cos(0.09)]), symmetry.fold)
    found = follow_axis(given, surfaces, alignment, SymmetrySettings())
    assert found.fold == symmetry.fold
    if symmetry.fold == 1:
        assert found is given
    else:
        assert found.axis @ Z > np.cos(np.deg2rad(2.5))


def test_lying_things_turn_about_their_length():
    found = detect_symmetry(*category(lambda rng: lying(BOTTLE(rng)), None), SymmetrySettings()).symmetry
    assert found.fold == 0 and abs(found.axis[0]) > np.cos(np.deg2rad(6))


def lying(distance):
    return lambda p: distance(p[..., [1, 2, 0]] * [1.5, 1.5, 0.7])


def test_rejected_captures_have_no_say_and_two_are_too_few():
    surfaces, alignment = category(BOTTLE, None, rejected=("c0", "c1", "c2"))
    report = detect_symmetry(surfaces, alignment, SymmetrySettings())
    assert report.symmetry.fold == 1 and report.tried == ()


def test_turns_are_recovered_from_pairs():
    """Costs that are lowest at the difference of hidden turns: the fit finds these, up to a common one."""
    rng = np.random.default_rng(1)
    hidden, H, N = rng.integers(0, 6, 5), 6, 5
    i, j = np.triu_indices(N, 1)
    table = 1 - (np.arange(H) == ((hidden[i] - hidden[j]) % H)[:, None]) + 0.05 * rng.random((len(i), H))
    labels = module._fit_turns(table, i, j, N)
    assert len(set((labels - hidden) % H)) == 1
