#!/usr/bin/env python3
"""What `ros2 run uop3d_ros NAME` runs, by the name it was installed under: a node, or the command `uop3d NAME`.

`/usr/bin/env python3` is the Python of the active virtual environment, which has torch and the rest.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

NODES = {"pose_node", "detector_node"}
HINT = """uop3d_ros: {error} in {python}.
Activate the virtual environment with uop3d before `ros2 run` or `ros2 launch`:
    python3 -m venv --system-site-packages ~/uop3d && source ~/uop3d/bin/activate && pip install 'uop3d[bags]'
The Python of that environment has to be of the version that this ROS 2 was built for (docs/ros.md)."""


def main() -> int:
    """Run what the name says."""
    name = Path(sys.argv[0]).stem
    try:
        if name in NODES:
            return int(importlib.import_module(f"uop3d_ros.{name}").main())
        command = importlib.import_module("uop3d_core.cli").main
    except ModuleNotFoundError as error:
        print(HINT.format(error=error, python=sys.executable), file=sys.stderr)
        return 1
    sys.argv = ["uop3d", *([] if name == "uop3d" else [name]), *sys.argv[1:]]
    command()
    return 0


if __name__ == "__main__":
    sys.exit(main())
