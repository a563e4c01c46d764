"""The measurement of metric poses: exact where nothing is disturbed, and every source has its row."""

from __future__ import annotations

import metric
import numpy as np

from uop3d_core.capture.synthetic.mug import build_mug, random_shape


def test_without_noise_every_source_is_exact() -> None:
    rng = np.random.default_rng(0)
    template = metric.unit(build_mug(random_shape(rng)).mesh)
    outcome = metric.trial(template, metric.LEVELS["exact"], False, rng)
    assert len(outcome) == 5
    for source, (scale, _, position) in outcome.items():
        assert scale < 1e-3 and position < 1e-3, source


def test_summary_counts_what_gave_no_scale() -> None:
    rows = metric.summary([{"plane": (0.02, 0.03, 0.01)}, {"plane": (np.nan, np.nan, np.nan)}])
    assert rows["plane"]["known %"] == 50 and rows["plane"]["scale error %"] == 2
    assert metric.summary([{"plane": (np.nan,) * 3}])["plane"] == {"known %": 0}
