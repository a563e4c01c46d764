"""What probabilities and covariances are worth, where the answer is known."""

import numpy as np
import pytest
from scipy.stats import chi2

from uop3d_core.evaluation.probabilities import (
    Spread,
    auroc,
    brier,
    calibration_error,
    coverage,
    reliability,
    score_figures,
    spread_figures,
)


def test_figures_of_probabilities():
    right = np.array([True, True, False, False])
    assert auroc(np.array([0.9, 0.8, 0.2, 0.1]), right) == 1
    assert auroc(np.array([0.9, 0.1, 0.9, 0.1]), right) == 0.5
    assert auroc(np.array([0.1, 0.2, 0.8, 0.9]), right) == 0
    p = np.array([0.55, 0.55, 0.55, 0.55])
    assert calibration_error(p, right) == pytest.approx(0.05)
    assert brier(np.array([1.0, 0.5, 0.5, 0]), right) == pytest.approx(0.125)
    assert reliability(p, right) == [(pytest.approx(0.55), 0.5, 4)]


def test_bins_count_by_how_many_they_hold():
    p = np.array([0.95, 0.95, 0.95, 0.15])
    assert calibration_error(p, np.array([True, True, True, True])) == pytest.approx((3 * 0.05 + 0.85) / 4)
    assert calibration_error(np.array([1.0]), np.array([True])) == 0


def test_where_all_are_right_nothing_can_be_ranked():
    figures = score_figures(np.array([0.9, 0.7]), np.array([True, True]))
    assert figures["auroc"] is None and figures["right"] == 1 and figures["ece"] == pytest.approx(0.2)


def test_distances_are_those_of_the_parts():
    covariance = np.diag([0.01, 0.01, 0.04, 0.1, 0.1, 0.4]) ** 2
    spread = Spread.of(np.array([0.02, 0, 0.04, 0, 0.3, 0.4]), covariance)
    assert (spread.translation, spread.rotation, spread.all) == pytest.approx((5, 10, 15))


def test_correlations_count_in_the_whole_only():
    covariance = np.eye(6)
    covariance[0, 3] = covariance[3, 0] = 0.5
    spread = Spread.of(np.array([1.0, 0, 0, 1, 0, 0]), covariance)
    assert (spread.translation, spread.rotation, spread.all) == pytest.approx((1, 1, 2 / 1.5))


def test_a_flat_ellipsoid_holds_nothing():
    spread = Spread.of(np.full(6, 0.1), np.diag([1.0, 1, 1, 1, 1, 0]))
    assert spread.translation == pytest.approx(0.03) and spread.rotation == spread.all == np.inf
    figures = spread_figures([spread])
    assert figures["inside90"] == {"rotation": 0, "translation": 100, "all": 0} and figures["nees"]["all"] is None
    assert spread_figures([]) is None


def test_coverage_of_errors_at_chosen_quantiles():
    """Ten errors, one in the middle of every tenth of the distribution: ellipsoids hold exactly what they say."""
    sides = np.sqrt(chi2.ppf(np.arange(0.05, 1, 0.1), 3))
    spreads = [Spread.of(np.array([0, 0, 0, side * 0.1, 0, 0]), np.eye(6) * 0.01) for side in sides]
    assert coverage(spreads, "rotation", [0.1, 0.5, 0.9]) == pytest.approx([0.1, 0.5, 0.9])
    assert coverage(spreads, "translation", [0.1]) == [1]


def test_a_right_covariance_has_the_nees_one():
    rng = np.random.default_rng(0)
    root = np.tril(rng.normal(size=(6, 6))) + 3 * np.eye(6)
    spreads = [Spread.of(root @ rng.normal(size=6), root @ root.T) for _ in range(4000)]
    figures = spread_figures(spreads)
    for part in ("rotation", "translation", "all"):
        assert figures["nees"][part] == pytest.approx(1, abs=0.05)
        assert figures["inside90"][part] == pytest.approx(90, abs=1.5)
