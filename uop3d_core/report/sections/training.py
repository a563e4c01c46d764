"""How the training went.

In: `Content`. Out: HTML.
"""

from __future__ import annotations

import math

from uop3d_core.report.charts import Axes, line_chart
from uop3d_core.report.content import Content
from uop3d_core.report.findings import trained_on
from uop3d_core.report.markup import listed, number, two_columns

FIGURES = {"loss": ("loss", "Loss", 1.0), "vertex_accuracy": ("pixels put right, %", "Pixels put right", 100.0)}
"""What is drawn: the name in the events, what the axis says, a title, and a factor."""
MOST_NAMES = 40


def training(content: Content) -> str:
    """Curves over the epochs, and what the model says of its training."""
    if content.model is None and not content.curves:
        return "<p>Nothing was trained yet.</p>"
    charts = "".join(_chart(content, figure) for figure in FIGURES if content.curves.get(figure))
    parts = [f'<div class="charts">{charts}</div>'] if charts else []
    if charts:
        parts.append(
            '<p class="faint">Means per epoch, over the images trained on: "put right" are pixels whose place on the '
            "template is told exactly. The rehearsal is a second, shorter training without every third capture, which "
            "calibrates the scores.</p>"
        )
    if content.model is None:
        return "".join([*parts, "<p>There is no model yet.</p>"])
    about, metadata = content.model.about, content.model.about["metadata"]
    backbone = metadata.get("backbone", {})
    held = [str(name) for name in metadata.get("held_out_in_rehearsal", ())]
    rows = {
        "head": about["settings"].get("head", "dense"),
        "views, crops": f"{metadata.get('views')}, {metadata.get('crops')}",
        "epochs, last loss": f"{metadata.get('epochs')}, {number(metadata.get('loss'))}",
        "captures trained on": listed(trained_on(metadata), MOST_NAMES),
        "held out in the rehearsal": listed(held, MOST_NAMES) or "none",
        "backbone": f"{backbone.get('fingerprint')}, {backbone.get('licence')}",
        "trained by": f"uop3d {metadata.get('version', 'of unknown version')}",
    }
    return "".join([*parts, two_columns([(key, str(value)) for key, value in rows.items()])])


def _chart(content: Content, figure: str) -> str:
    what, title, factor = FIGURES[figure]
    curves = {name: [(x, factor * y) for x, y in curve] for name, curve in content.curves[figure].items()}
    ends = "; ".join(f"{name}: from {curve[0][1]:.3g} to {curve[-1][1]:.3g}" for name, curve in curves.items())
    span = (0.0, 100.0) if factor == 100 else (0.0, -math.inf)
    return line_chart(curves, Axes(title, "epoch", what, f"{what} over epochs. {ends}", span))
