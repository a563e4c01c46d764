"""Make the baselines importable: benchmarks/ is a folder of scripts, not a part of the package."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
