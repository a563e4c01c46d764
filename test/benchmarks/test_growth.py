"""The measurement of growth: exponents, the table, and one run with everything in it."""

from __future__ import annotations

from pathlib import Path

import growth
import numpy as np
import pytest

from uop3d_core.capture.synthetic import write_category


def test_exponent() -> None:
    assert growth.exponent({5: 2 * 5**1.5, 10: 2 * 10**1.5, 40: 2 * 40**1.5}) == pytest.approx(1.5)


def test_table() -> None:
    text = growth.text({"5 all pairs": {"captures": 5, "wall_s": 1.25}, "50 sparse": {"captures": 50, "wall_s": 300.0}})
    assert [line.split() for line in text.splitlines()] == [
        ["captures", "wall_s"], ["5", "all", "pairs", "5", "1.25"], ["50", "sparse", "50", "300"],
    ]  # fmt: skip


def test_one_run(tmp_path: Path) -> None:
    write_category(tmp_path / "mugs", 3, 7, 6, 64)
    bench = growth.Bench(tmp_path / "mugs", tmp_path, 1)
    small = {
        "surface": {"vertices": 120, "resolution": 40, "cells": 12, "components": 24},
        "pair": {"hypotheses": 100, "candidates": 4, "iterations": 3, "modes": 1, "field_resolution": 20},
        "template": {"vertices": 100, "resolution": 32},
    }
    first = bench.run(2, "two", small)
    assert (first["captures"], first["pairs"]) == (2, 1)
    assert first["memory_mib"] > 100 and first["cpu_s"] > 0 and 0 <= first["acc30"] <= 100
    assert bench.run(3, "two", small, keep=True)["pairs"] == 3, "one is added to the two"


def test_simulated_pairs_are_aligned() -> None:
    row = growth.simulated(20, np.random.default_rng(0))
    assert (row["pairs"], row["may fail"]) == (190, 18) and row["acc30"] == 100
