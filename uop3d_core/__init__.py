"""uop3d: learn the 3-D pose of an object category from casual videos, and estimate it in images.

What: the ten names that a user needs most; everything else is imported from the module it stands in.
In / out: as said at each name. Nothing is loaded before it is used, so that this import is light.

    import uop3d_core as uop3d

    learned = uop3d.learn("captures/mug", "runs/mug")
    estimator = uop3d.PoseEstimator.load(learned.model)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uop3d_core.capture.nerfstudio import read_nerfstudio as read_capture
    from uop3d_core.images import read_rgb
    from uop3d_core.pipeline.reporting import write_report
    from uop3d_core.pipeline.training import learn
    from uop3d_core.pose.estimator import PoseEstimator
    from uop3d_core.pose.stream import PoseStream
    from uop3d_core.report.overlay import Overlay
    from uop3d_core.types import Camera, Detection, Frame

__all__ = [
    "Camera",
    "Detection",
    "Frame",
    "Overlay",
    "PoseEstimator",
    "PoseStream",
    "learn",
    "read_capture",
    "read_rgb",
    "write_report",
]

_WHERE = {
    "Camera": "types:Camera",
    "Detection": "types:Detection",
    "Frame": "types:Frame",
    "Overlay": "report.overlay:Overlay",
    "PoseEstimator": "pose.estimator:PoseEstimator",
    "PoseStream": "pose.stream:PoseStream",
    "learn": "pipeline.training:learn",
    "read_capture": "capture.nerfstudio:read_nerfstudio",
    "read_rgb": "images:read_rgb",
    "write_report": "pipeline.reporting:write_report",
}

if not TYPE_CHECKING:  # type checkers see the imports above, and so tell a name that does not exist

    def __getattr__(name: str) -> Any:
        """Import one of the names when it is used."""
        if name == "__version__":
            from importlib.metadata import version

            return version("uop3d")
        if name not in _WHERE:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
        module, _, attribute = _WHERE[name].partition(":")
        return getattr(importlib.import_module(f"{__name__}.{module}"), attribute)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
