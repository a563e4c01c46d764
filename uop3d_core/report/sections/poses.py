"""How good poses of unseen objects are: figures, examples, errors, and what scores and covariances are worth.

In: `PoseFigures`. Out: HTML.
"""

from __future__ import annotations

from html import escape

import numpy as np

from uop3d_core.report.charts import Axes, line_chart
from uop3d_core.report.content import PoseFigures, PoseImage
from uop3d_core.report.markup import CLASSES_DEG, angle_class, image, number, percent, seen_from, shares, table
from uop3d_core.report.sky import sky

ERROR_RANGE_DEG, STEPS = 60.0, 61
MOST_CURVES = 2
GROUPS = {"best": "The best", "median": "In the middle", "worst": "The worst"}
LEGEND = (
    '<p class="faint">A score is the probability that the rotation is right within 30°; larger dots are more images. '
    "An ellipsoid of size 0.9 should hold 90 % of the true poses; below the line estimates promise too much.</p>"
)
COLUMNS = {"frames": "images", "not_found": "not found", "acc30": "within 30°, %", "acc15": "15°, %", "acc10": "10°, %",
           "median_deg": "median °", "up_median_deg": "up, median °", "sym_median_deg": "modulo its symmetry, median °",
           "label_sym_median_deg": "modulo the labels' symmetry, median °"}  # fmt: skip


def poses(pose: PoseFigures) -> str:
    """Figures of ``uop3d evaluate pose``, pictures of single estimates, and diagrams."""
    parts = []
    if not pose.belongs:
        parts.append('<p class="bad">These figures are not of the model in this run: it was trained on others.</p>')
    parts.append("<p>Images of objects that were not trained on, each estimated from its box alone.</p>")
    rows = {"all": pose.overall, **pose.captures}
    columns = {key: title for key, title in COLUMNS.items() if any(key in figures for figures in rows.values())}
    cells = {name: [number(figures.get(key)) for key in columns] for name, figures in rows.items()}
    parts.append(table(list(columns.values()), cells, "figures of poses"))
    parts += [_examples(pose), f'<div class="beside">{_directions(pose)}<div>{_classes(pose)}</div></div>']
    parts.append(f'<div class="charts">{_errors(pose)}{_reliability(pose)}{_inside(pose)}</div>')
    parts.append(LEGEND)
    return "".join(parts)


def _examples(pose: PoseFigures) -> str:
    if not pose.examples:
        return ""
    words = "<p>Each picture: the photograph, the template where it was estimated, and where the labels say it is.</p>"
    groups = []
    for which, title in GROUPS.items():
        cards = "".join(
            _example(pose.images[index], content) for kind, index, content in pose.examples if kind == which
        )
        groups.append(f'<h3>{title}</h3><ul class="cards large">{cards}</ul>' if cards else "")
    return words + "".join(groups)


def _example(shown: PoseImage, content: bytes) -> str:
    name = f"{shown.capture} {shown.frame}"
    error = f"off by {shown.error_deg:.1f}°" if shown.found else "no pose found"
    alt = f"{name}: photograph, estimate, truth; {error}"
    style = angle_class(shown.error_deg)
    return (
        f'<li class="card">{image(content, "jpeg", alt)}<p><strong class="badge {style}">{error}</strong> '
        f"{escape(name)}, score {shown.score:.2f}{escape(_where(shown))}</p></li>"
    )


def _where(shown: PoseImage) -> str:
    if shown.azimuth_deg is None or shown.elevation_deg is None:
        return ""
    return f", seen from {seen_from(shown.azimuth_deg, shown.elevation_deg)}"


def _classes(pose: PoseFigures) -> str:
    styles = [angle_class(shown.error_deg) for shown in pose.images]
    parts = [(f"off by {words}", style, styles.count(style)) for _, style, words in CLASSES_DEG]
    words = "Every image where its camera stood around the object" if pose.images[0].azimuth_deg is not None else ""
    more = f'<p class="faint">{words}: the middle is straight above, the inner circle level.</p>' if words else ""
    return shares(parts, "images by the error of their rotation") + more


def _directions(pose: PoseFigures) -> str:
    """Where images were taken from, by the class of their error; the bad ones on top."""
    groups: dict[str, list[tuple[float, float]]] = {style: [] for _, style, _ in CLASSES_DEG}
    for shown in pose.images:
        if shown.azimuth_deg is not None and shown.elevation_deg is not None:
            groups[angle_class(shown.error_deg)].append((shown.azimuth_deg, shown.elevation_deg))
    if not any(groups.values()):
        return ""
    counts = ", ".join(f"{len(groups[style])} off by {words}" for _, style, words in CLASSES_DEG)
    return sky(groups, f"map of the directions that images were taken from: {counts}")


def _errors(pose: PoseFigures) -> str:
    steps = np.linspace(0, ERROR_RANGE_DEG, STEPS)
    names = [name for name in pose.captures][:MOST_CURVES] if 1 < len(pose.captures) <= MOST_CURVES else []
    curves = {}
    for name in ("all", *names):
        errors = np.sort([shown.error_deg for shown in pose.images if name in ("all", shown.capture)])
        found = 100 * np.searchsorted(errors, steps, side="right") / max(1, len(errors))
        curves[name] = list(zip(steps.tolist(), found.tolist(), strict=True))
    alt = ", ".join(f"{curves['all'][int(angle)][1]:.0f} % within {angle} degrees" for angle in (10, 15, 30))
    alt = f"share of images within an error: {alt}"
    return line_chart(
        curves, Axes("How large errors are", "rotation error, degrees", "images within, %", alt, (0, 100))
    )


def _reliability(pose: PoseFigures) -> str:
    if not pose.reliability:
        return ""
    curves = {"came true": [(score, right) for score, right, _ in pose.reliability]}
    told = "; ".join(f"of {n} with about {percent(score)}, {percent(right)}" for score, right, n in pose.reliability)
    alt = f"share of estimates that came true over their score: {told}"
    axes = Axes("What scores are worth", "score", "share that came true", alt, (0, 1), (0, 1), diagonal=True)
    return line_chart(curves, axes, [images for _, _, images in pose.reliability])


def _inside(pose: PoseFigures) -> str:
    levels, shares_inside = pose.inside
    if not shares_inside:
        return ""
    curves = {name: list(zip(levels, shares, strict=True)) for name, shares in shares_inside.items()}
    ends = ", ".join(f"{name}: {percent(shares[-1])} inside {levels[-1]:.0%}" for name, shares in shares_inside.items())
    alt = f"share of true poses inside the ellipsoids of their covariances, of poses within 30 degrees. {ends}"
    title = "What covariances are worth, of poses within 30°"
    axes = Axes(title, "size of the ellipsoid (probability)", "true poses inside", alt, (0, 1), (0, 1), diagonal=True)
    return line_chart(curves, axes)
