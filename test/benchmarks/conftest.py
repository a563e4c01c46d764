"""Make the baselines importable: benchmarks/ is a folder of scripts, not a part of the package."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1] / "benchmarks"), str(HERE)]
