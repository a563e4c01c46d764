"""Calibration: stated probabilities and ellipsoids come true on evidence that was not fitted to."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scenes import look_at
from scipy.spatial.transform import Rotation
from scipy.stats import chi2

from uop3d_core.geometry import change_between, rigid
from uop3d_core.pose.calibration import Calibration, Solution, fit_calibration

LINEAR = np.diag([1e-6, 1e-6, 4e-5, 2e-5, 3e-5, 1e-5])


def solution(agreement: list[float], clarity: float = 0.7, spread: float = 1.0, depth: float = 3.0) -> Solution:
    poses = [
        rigid(Rotation.from_euler("z", 50 * k, degrees=True).as_matrix(), np.array([0, 0, depth]))
        for k in range(len(agreement))
    ]  # noqa: E501
    return Solution(np.stack(poses), np.array(agreement), clarity, spread * LINEAR)


def world(count: int, seed: int) -> tuple[list[Solution], np.ndarray, np.ndarray, list[Solution]]:
    """Poses that are right with a probability that rises with agreement, errors as wide as a known covariance.

    Returns solutions of two poses each, errors of the first (N, 6), angles of both (N, 2), and something else.
    """
    rng = np.random.default_rng(seed)
    solutions, errors, angles, others = [], [], [], []
    for _ in range(count):
        a, c, spread = rng.uniform(0.1, 0.8), rng.uniform(0.3, 0.9), rng.uniform(0.3, 3)
        solutions.append(solution([a, a * rng.uniform(0.2, 0.9)], c, spread))
        right = rng.random() < 1 / (1 + np.exp(-8 * (a - 0.35)))
        angles.append([0.1, 2.5] if right else [2.5, 0.1])
        covariance = 20 * spread * LINEAR + np.diag(np.array([0.03, 0.03, 0.15, 0.05, 0.05, 0.05]) ** 2)
        errors.append(rng.multivariate_normal(np.zeros(6), covariance))
        if not right:
            errors[-1][3:] = [0, 0, 2.5]
        others.append(solution([rng.uniform(0.01, 0.3), 0.01], rng.uniform(0.1, 0.5)))
    return solutions, np.array(errors), np.array(angles), others


@pytest.fixture(scope="module")
def fitted() -> Calibration:
    return fit_calibration(*world(400, 0))


def test_probabilities_come_true(fitted: Calibration) -> None:
    solutions, _, angles, _ = world(3000, 1)
    right = angles[:, 0] < 0.5
    stated = np.array([fitted.probabilities(s)[0][0] for s in solutions])
    bins = np.clip((stated * 10).astype(int), 0, 9)
    error = sum(abs(stated[bins == b].mean() - right[bins == b].mean()) * (bins == b).mean() for b in set(bins))
    assert error < 0.05
    assert stated[right].mean() > stated[~right].mean() + 0.2


def test_ellipsoids_hold_nine_in_ten(fitted: Calibration) -> None:
    solutions, errors, angles, _ = world(2000, 2)
    distances = [
        e @ np.linalg.solve(fitted.covariance(s), e)
        for s, e, a in zip(solutions, errors, angles[:, 0], strict=True)
        if a < 0.5
    ]
    assert 0.85 < np.mean(np.array(distances) < chi2.ppf(0.9, 6)) < 0.95


def test_something_else_is_told(fitted: Calibration) -> None:
    solutions, _, _, others = world(500, 3)
    known, unknown = (np.array([fitted.probabilities(s)[1] for s in some]) for some in (solutions, others))
    assert (known[:, None] < unknown[None]).mean() > 0.85


def test_probabilities_add_up_to_no_more_than_one(fitted: Calibration) -> None:
    for calibration in (fitted, Calibration()):
        for agreement in ([0.9], [0.5, 0.49, 0.48, 0.47], [0.02, 0.01], [1.0, 1.0]):
            each, other = calibration.probabilities(solution(agreement, 0.99))
            assert (each >= 0).all() and 0 <= other <= 1 and each.sum() + other <= 1 + 1e-9
            assert (np.diff(each) <= 1e-12).all()


def with_keypoints(count: int, seed: int) -> tuple[list[Solution], np.ndarray, list[np.ndarray], list[Solution]]:
    """All agree as well, but poses are right as often as keypoints are clear; of other things they are as clear."""
    rng = np.random.default_rng(seed)
    solutions, angles, others = [], [], []
    for _ in range(count):
        clear = rng.uniform(0.2, 0.8)
        solutions.append(replace(solution([0.5, 0.3]), keypoints=clear))
        angles.append(np.array([0.1, 2.5] if rng.random() < clear else [2.5, 0.1]))
        others.append(replace(solution([0.1, 0.08], 0.4), keypoints=rng.uniform(0.2, 0.8)))
    return solutions, np.full((count, 6), 0.01), angles, others


def test_clear_keypoints_make_a_pose_likelier_and_nothing_something_else() -> None:
    found = fit_calibration(*with_keypoints(600, 7))
    stated = {k: found.probabilities(replace(solution([0.5, 0.3]), keypoints=k)) for k in (0.25, 0.5, 0.75)}
    for clear, (each, _) in stated.items():
        assert abs(each[0] - clear) < 0.1
    assert len({other for _, other in stated.values()}) == 1


def test_views_that_hardly_show_the_object_do_not_say_what_it_is_like() -> None:
    solutions, errors, angles, others = world(200, 8)
    blurred = [solution([0.05, 0.04], 0.2)] * 100
    plain = [True] * 200 + [False] * 100
    sides = np.concatenate([errors, np.full((100, 6), 0.5)]), [*angles, *[np.array([2.0, 2.0])] * 100], others
    told, untold = (fit_calibration(solutions + blurred, *sides, plain=given) for given in (plain, None))
    assert told.known == fit_calibration(solutions, errors, angles, others).known
    assert told.probabilities(others[0])[1] > untold.probabilities(others[0])[1]


def test_constants_move_to_a_network_that_is_surer_of_the_same(fitted: Calibration) -> None:
    fitted = replace(fitted, right=(*fitted.right[:4], 0.4))
    less = replace(solution([0.5, 0.3], 0.6), keypoints=0.4)
    more = replace(solution([0.6, 0.35], 0.7), keypoints=0.6)
    moved = fitted.for_surer(more.evidence - less.evidence)
    before, something_else = fitted.probabilities(less)
    after, still = moved.probabilities(more)
    assert still == fitted.probabilities(more)[1]
    assert after[0] / (1 - still) == pytest.approx(before[0] / (1 - something_else))
    assert moved.covariance(more) == pytest.approx(fitted.covariance(more))


def test_more_agreement_never_lowers_the_probability(fitted: Calibration) -> None:
    stated = [fitted.probabilities(solution([a, 0.05]))[0][0] for a in np.linspace(0.06, 0.99, 30)]
    assert (np.diff(stated) >= -1e-12).all()


def test_covariances_are_positive_and_grow_with_the_distance(fitted: Calibration) -> None:
    near, far = fitted.covariance(solution([0.5], depth=2)), fitted.covariance(solution([0.5], depth=8))
    assert np.linalg.eigvalsh(near).min() > 0 and far[2, 2] > near[2, 2]
    hopeless = Solution(solution([0.5]).crop_T_obj, np.array([0.5]), 0.5, 1e6 * LINEAR)
    assert np.linalg.eigvalsh(fitted.covariance(hopeless)).max() < 1e6


def test_few_objects_widen_the_ellipsoid() -> None:
    many, two = (fit_calibration(*world(100, 5), objects=n).covariance(solution([0.5])) for n in (1000, 2))
    np.testing.assert_allclose(two, 1.5 / 1.001 * many, rtol=1e-6)


def test_few_views_keep_the_defaults_near() -> None:
    found = fit_calibration(*world(3, 4)[:3])
    assert found.views == 3 and found.factor == Calibration().factor and found.known == Calibration().known


@pytest.mark.parametrize("temperature", [0.02, 0.2])
def test_how_much_likelier_the_more_agreeing_pose_is_comes_true(temperature: float) -> None:
    rng = np.random.default_rng(6)
    solutions, angles = [], []
    for _ in range(500):
        agreement = -np.sort(-rng.uniform(0.3, 0.7, 3))
        likely = np.exp(agreement / temperature)
        right = rng.choice(3, p=likely / likely.sum())
        solutions.append(solution(list(agreement)))
        angles.append(np.where(np.arange(3) == right, 0.1, 2.0))
    lonely = [solution([0.5])] * 5  # says nothing of it, nor does one whose right pose was not found
    hopeless = [solution([0.5, 0.4])] * 5
    apart = [np.array([0.1])] * 5 + [np.array([2.0, 2.0])] * 5
    found = fit_calibration(solutions + lonely + hopeless, np.full((510, 6), 0.01), angles + apart)
    assert 0.8 < found.temperature / temperature < 1.25


def test_no_views_is_an_error() -> None:
    with pytest.raises(ValueError, match="no held-out view"):
        fit_calibration([], np.zeros((0, 6)), [])


def test_errors_carry_the_pose_into_the_truth() -> None:
    truth, pose = look_at([1.6, 1.1, 0.9]), look_at([1.5, 1.2, 0.8])
    error = change_between(pose, truth)
    restored = rigid(Rotation.from_rotvec(error[3:]).as_matrix() @ pose[:3, :3], pose[:3, 3] + error[:3])
    np.testing.assert_allclose(restored, truth, atol=1e-12)


def test_there_and_back_as_json(fitted: Calibration) -> None:
    assert Calibration.from_json(json.loads(json.dumps(fitted.to_json()))) == fitted


def test_constants_from_before_keypoints_were_evidence_are_read() -> None:
    content = Calibration().to_json()
    content["right"] = content["right"][:4]
    old = Calibration.from_json(content)
    for clear in (0.2, 0.8):
        some = replace(solution([0.5, 0.2]), keypoints=clear)
        np.testing.assert_allclose(old.probabilities(some)[0], Calibration().probabilities(some)[0])


@pytest.mark.parametrize(
    "content",
    [
        {"right": [1.0]},
        {"right": [1.0] * 6},
        {"known": [1.0] * 5},
        {"colour": 3},
        {"factor": float("nan")},
        {"right": "high"},
        {"turn": None},
    ],
)
def test_broken_constants_are_refused(content: dict) -> None:
    with pytest.raises(ValueError, match="calibration"):
        Calibration.from_json(content)
