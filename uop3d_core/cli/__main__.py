"""``python -m uop3d_core.cli`` is the command ``uop3d``."""

from uop3d_core.cli import main

main()
