"""Calibration: stated probabilities and ellipsoids come true on evidence that was not fitted to."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scenes import look_at
from scipy.spatial.transform import Rotation
from scipy.stats import chi2

from uop3d_core.geometry import change_between, rigid
from uop3d_core.pose.calibration import USUAL_MISFIT, Calibration, Solution, fit_calibration

LINEAR = np.diag([1e-6, 1e-6, 4e-5, 2e-5, 3e-5, 1e-5])


def solution(
    agreement: list[float], clarity: float = 0.7, spread: float = 1.0, depth: float = 3.0, misfit: float = USUAL_MISFIT
) -> Solution:
    poses = [
        rigid(Rotation.from_euler("z", 50 * k, degrees=True).as_matrix(), np.array([0, 0, depth]))
        for k in range(len(agreement))
    ]  # noqa: E501
    count = len(agreement)
    return Solution(
        np.stack(poses), np.array(agreement), clarity, np.stack([spread * LINEAR] * count), np.full(count, misfit)
    )


World = tuple[list[Solution], np.ndarray, list[Solution]]


def world(count: int, seed: int) -> World:
    """Solutions of two poses, their errors (N, 2, 6), and what something else looks like.

    Firsts are right with a probability that rises with agreement, errors of right ones as wide as a known covariance.
    """
    rng = np.random.default_rng(seed)
    solutions, errors, others = [], [], []
    for _ in range(count):
        a, c, spread = rng.uniform(0.1, 0.8), rng.uniform(0.3, 0.9), rng.uniform(0.3, 3)
        solutions.append(solution([a, a * rng.uniform(0.2, 0.9)], c, spread))
        covariance = 20 * spread * LINEAR + np.diag(np.array([0.03, 0.03, 0.15, 0.05, 0.05, 0.05]) ** 2)
        errors.append(rng.multivariate_normal(np.zeros(6), covariance, 2))
        first = rng.random() < 1 / (1 + np.exp(-8 * (a - 0.35)))
        errors[-1][1 if first else 0, 3:] = [0, 0, 2.5]
        others.append(solution([rng.uniform(0.01, 0.3), 0.01], rng.uniform(0.1, 0.5)))
    return solutions, np.array(errors), others


def is_right(errors: np.ndarray) -> np.ndarray:
    """(N,) whether the first poses are within 30 degrees."""
    return np.linalg.norm(errors[:, 0, 3:], axis=1) < np.deg2rad(30)


@pytest.fixture(scope="module")
def fitted() -> Calibration:
    return fit_calibration(*world(800, 0))


def test_probabilities_come_true(fitted: Calibration) -> None:
    solutions, errors, _ = world(3000, 1)
    right = is_right(errors)
    stated = np.array([fitted.probabilities(s)[0][0] for s in solutions])
    bins = np.clip((stated * 10).astype(int), 0, 9)
    error = sum(abs(stated[bins == b].mean() - right[bins == b].mean()) * (bins == b).mean() for b in set(bins))
    assert error < 0.05
    assert stated[right].mean() > stated[~right].mean() + 0.2


def test_ellipsoids_hold_nine_in_ten(fitted: Calibration) -> None:
    solutions, errors, _ = world(2000, 2)
    right = is_right(errors)
    inside = [
        e[0] @ np.linalg.solve(fitted.covariance(s), e[0]) < chi2.ppf(0.9, 6)
        for s, e, r in zip(solutions, errors, right, strict=True)
        if r
    ]
    assert 0.85 < np.mean(inside) < 0.95


def test_something_else_is_told(fitted: Calibration) -> None:
    solutions, _, others = world(500, 3)
    known, unknown = (np.array([fitted.probabilities(s)[1] for s in some]) for some in (solutions, others))
    assert (known[:, None] < unknown[None]).mean() > 0.85


def test_probabilities_add_up_to_no_more_than_one(fitted: Calibration) -> None:
    for calibration in (fitted, Calibration()):
        for agreement in ([0.9], [0.5, 0.49, 0.48, 0.47], [0.02, 0.01], [1.0, 1.0]):
            each, other = calibration.probabilities(solution(agreement, 0.99))
            assert (each >= 0).all() and 0 <= other <= 1 and each.sum() + other <= 1 + 1e-9
            assert (np.diff(each) <= 1e-12).all()


def test_more_agreement_never_lowers_the_probability(fitted: Calibration) -> None:
    stated = [fitted.probabilities(solution([a, 0.05]))[0][0] for a in np.linspace(0.06, 0.99, 30)]
    assert (np.diff(stated) >= -1e-12).all()


def test_covariances_are_positive_and_grow_with_the_distance(fitted: Calibration) -> None:
    near, far = fitted.covariance(solution([0.5], depth=2)), fitted.covariance(solution([0.5], depth=8))
    assert np.linalg.eigvalsh(near).min() > 0 and far[2, 2] > near[2, 2]
    hopeless = solution([0.5], 0.5, spread=1e6)
    assert np.linalg.eigvalsh(fitted.covariance(hopeless)).max() < 1e6


def test_few_objects_widen_the_ellipsoid() -> None:
    many, two = (fit_calibration(*world(100, 5), objects=n).covariance(solution([0.5])) for n in (1000, 2))
    np.testing.assert_allclose(two, 1.5 / 1.001 * many, rtol=1e-6)


def test_few_views_keep_the_defaults_near() -> None:
    solutions, errors, _ = world(3, 4)
    found = fit_calibration(solutions, errors)
    assert found.views == 3 and found.factor == Calibration().factor and found.known == Calibration().known


def test_no_views_is_an_error() -> None:
    with pytest.raises(ValueError, match="no held-out view"):
        fit_calibration([], np.zeros((0, 6)), np.zeros(0, bool))


def test_keypoints_that_disagree_with_pixels_lower_the_score() -> None:
    rng = np.random.default_rng(6)
    misfits = rng.uniform(0.005, 0.2, 300)
    solutions = [solution([0.6, 0.3], misfit=misfit) for misfit in misfits]
    wrong = rng.random(300) > 1 / (1 + (misfits / 0.05) ** 2)
    errors = np.where(wrong[:, None, None], 1.0, 0.01) * np.ones((300, 2, 6))
    found = fit_calibration(solutions, errors)
    low, high = (found.probabilities(solution([0.6, 0.3], misfit=misfit))[0][0] for misfit in (0.2, 0.005))
    assert low < 0.3 and high > 0.8
    assert Calibration().probabilities(solutions[0])[0][0] == Calibration().probabilities(solutions[-1])[0][0]


def test_errors_that_grow_more_slowly_than_the_linearisation_says_are_told() -> None:
    rng = np.random.default_rng(7)
    spreads = 10.0 ** rng.uniform(-2, 2, 500)
    solutions = [solution([0.5], spread=spread) for spread in spreads]
    errors = [rng.multivariate_normal(np.zeros(6), 60 * np.sqrt(spread) * LINEAR, 1) for spread in spreads]
    found = fit_calibration(solutions, errors)
    assert 0.4 < found.power < 0.6
    small, large = (np.trace(found.covariance(solution([0.5], spread=spread))) for spread in (0.1, 10))
    assert 7 < large / small < 13


def two(agreement: tuple[float, float], misfit: tuple[float, float]) -> Solution:
    return replace(solution(list(agreement)), misfit=np.array(misfit))


def test_which_pose_comes_first_is_learned() -> None:
    """Keypoints tell the right one of two poses that agree alike; or nothing does but agreement."""
    rng = np.random.default_rng(8)
    found = []
    for telling in (True, False):
        solutions, errors = [], []
        for _ in range(200):
            agreement, misfit = rng.uniform(0.4, 0.6, 2), rng.uniform(0.01, 0.2, 2)
            sums = agreement / 0.02 - (misfit / 0.01 if telling else 0)
            best = int(rng.random() < 1 / (1 + np.exp(sums[0] - sums[1])))
            solutions.append(two(tuple(agreement), tuple(misfit)))
            errors.append(np.where(np.arange(2)[:, None] == best, 0.01, 1.0) * np.ones(6))
        found.append(fit_calibration(solutions, errors))
    told, untold = found
    assert 1.5 < told.doubt < 7 and untold.doubt < 0.6 and 0.015 < untold.temperature < 0.027
    disagreeing = two((0.5, 0.48), (0.15, 0.02))
    np.testing.assert_array_equal(told.order(disagreeing), [1, 0])
    np.testing.assert_array_equal(untold.order(disagreeing), [0, 1])
    turned = disagreeing.in_order(told.order(disagreeing))
    np.testing.assert_array_equal(turned.misfit, [0.02, 0.15])
    np.testing.assert_array_equal(turned.crop_T_obj, disagreeing.crop_T_obj[::-1])


def test_models_of_before_misfits_count_give_them_no_weight() -> None:
    old = Calibration().to_json() | {"right": [1.0, 0.5, 0.3, 0.4], "known": [1.0, 0.5, 0.0, 1.5]}
    del old["power"], old["doubt"]
    found = Calibration.from_json(old)
    assert found.right == (1.0, 0.5, 0.3, 0.0, 0.4) and found.known == (1.0, 0.5, 0.0, 0.0, 1.5) and found.power == 1
    near, far = (found.probabilities(solution([0.5], misfit=misfit)) for misfit in (0.01, 0.3))
    assert near[0] == far[0] and near[1] == far[1]


def test_a_head_without_covariance_gets_the_constants() -> None:
    silent = solution([0.5], spread=0)
    for power in (0.5, 1.0):
        constants = Calibration(power=power)
        expected = np.array([0.06, 0.06, 0.18, 0.12, 0.12, 0.12]) ** 2
        np.testing.assert_allclose(constants.covariance(silent), np.diag(expected))


def test_errors_carry_the_pose_into_the_truth() -> None:
    truth, pose = look_at([1.6, 1.1, 0.9]), look_at([1.5, 1.2, 0.8])
    error = change_between(pose, truth)
    restored = rigid(Rotation.from_rotvec(error[3:]).as_matrix() @ pose[:3, :3], pose[:3, 3] + error[:3])
    np.testing.assert_allclose(restored, truth, atol=1e-12)


def test_there_and_back_as_json(fitted: Calibration) -> None:
    assert Calibration.from_json(json.loads(json.dumps(fitted.to_json()))) == fitted


@pytest.mark.parametrize(
    "content", [{"right": [1.0]}, {"colour": 3}, {"factor": float("nan")}, {"right": "high"}, {"turn": None}]
)
def test_broken_constants_are_refused(content: dict) -> None:
    with pytest.raises(ValueError, match="calibration"):
        Calibration.from_json(content)
