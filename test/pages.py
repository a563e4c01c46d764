"""Contents of reports, with names that try to break out of the page."""

import base64

import numpy as np
from scenes import sphere

from uop3d_core.report.content import CaptureSheet, Comparison, Content, Contrast, PairTurn, PoseFigures, PoseImage
from uop3d_core.report.markup import jpeg
from uop3d_core.runs import AlignmentRecord
from uop3d_core.timings import Timings
from uop3d_core.types import Alignment, CaptureAlignment, Sim3, Template

PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg==")
EVIL = "<b>x</b></script><script>alert(1)</script>\"'&"


DIRECTIONS = np.stack([np.linspace(-150, 165, 24), np.linspace(0, 60, 24)], axis=1)


def posed(name="car", **changes):
    """Figures of three images: right, wrong, not found."""
    picture = jpeg(np.full((8, 24, 3), 90, np.uint8))
    images = [PoseImage(name, "0", 0.9, True, 4.0, 10.0, 20.0), PoseImage(name, "1", 0.6, True, 170.0, 170.0, 0.0),
              PoseImage(name, name, 0.0, False, 180.0, -90.0, 80.0)]  # fmt: skip
    overall = {"frames": 3, "not_found": 1, "acc30": 33.3, "acc15": 33.3, "acc10": 33.3, "median_deg": 170.0}
    bins = [(0.05, 0.0, 1), (0.6, 0.0, 1), (0.9, 1.0, 1)]
    fields = {"overall": overall, "captures": {name: overall}, "images": images, "reliability": bins,
              "inside": ([0.5, 0.9], {"rotation": [0.4, 0.8]}),
              "examples": [("best", 0, picture), ("worst", 2, picture)]}  # fmt: skip
    return PoseFigures(**{**fields, **changes})


def content(**changes):
    captures = {
        "good": CaptureAlignment(Sim3.identity(), 0.91, True, "", 0.97),
        EVIL: CaptureAlignment(Sim3.identity(), 0.12, False, f"too far off {EVIL}", None),
    }
    alignment = Alignment(EVIL, "good", captures, (f"warning {EVIL}",))
    fields = {
        "record": AlignmentRecord(alignment, {f"gone {EVIL}": f"no masks {EVIL}"}),
        "template": Template(EVIL, sphere(0.5, 1)),
        "meshes": {"good": sphere(0.4, 1), EVIL: sphere(0.3, 1)},
        "sheets": {EVIL: CaptureSheet(np.full((8, 48, 3), 200, np.uint8), DIRECTIONS, 315.0)},
        "pairs": {("good", EVIL): PairTurn(120.0, 5.0, 3, -0.02)},
        "settings": {EVIL: {EVIL: EVIL, "k": 2}},
        "defaults": {EVIL: {"k": 1}},
        "facts": [(EVIL, EVIL)],
        "notes": [EVIL],
        "name": EVIL,
        "pose": posed(EVIL),
        "timings": Timings({EVIL: 3.0}, {EVIL: ""}, {EVIL: EVIL}),
        "other": Comparison(
            EVIL,
            [Contrast(EVIL, EVIL, EVIL, 1)],
            {EVIL: 90.0},
            [EVIL],
            [Contrast(EVIL, EVIL, EVIL)],
            {EVIL: [(1.0, 2.0)], "b": [(1.0, 3.0)]},
            [(1.0, 2.0)],
            EVIL,
            sphere(0.5, 1),
        ),
    }
    return Content(**{**fields, **changes})
