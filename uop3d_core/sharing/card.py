"""A model card: what a model is, how good, made of what, and how to use it, as Markdown with the header that hubs read.

In: ModelFacts. Out: text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from uop3d_core.sharing.facts import ModelFacts

MOST_NAMES = 30
UNSTATED = "not stated"


def model_card(facts: Sequence[ModelFacts], licence: str | None = None) -> str:
    """The card of a model, in one or several kinds of files.

    Args:
        facts: of the files, the trained one first if it is there; all of one category.
        licence: of the model, as an SPDX identifier or a short text.

    Raises:
        ValueError: there are no files, or they are of several categories.
    """
    if len({each.category for each in facts}) != 1:
        raise ValueError(f"one card is of one category, got {', '.join(sorted({f.category for f in facts})) or 'none'}")
    first = facts[0]
    parts = [
        _header(first, licence),
        f"# {_plain(first.category)}: 6-D poses of a category, from single images",
        f"A model of uop3d: given an image, the camera's intrinsics and a box around an object of the "
        f"category “{_plain(first.category)}”, it says where the object's canonical frame is, how sure it is of that, "
        "and what else it could be. It was learned from videos walking around objects, without CAD models, pose labels "
        "or depth.",
        _frame(first),
        _quality(first),
        _origin(first, licence),
        _files(facts),
        _usage(facts),
        _limits(),
    ]
    return "\n\n".join(parts) + "\n"


def symmetry_text(facts: ModelFacts) -> str:
    """What turns change nothing."""
    if facts.symmetry_fold == 1:
        return "none was found"
    turn = f"turns by {360 / facts.symmetry_fold:g}°" if facts.symmetry_fold else "any turn"
    return f"{turn} about ({', '.join(f'{value + 0:.2f}' for value in facts.symmetry_axis)}) in obj change nothing"


def _header(facts: ModelFacts, licence: str | None) -> str:
    lines = ["---", "library_name: uop3d"]
    if licence is not None:
        known = re.fullmatch(r"[A-Za-z0-9.+-]+", licence)
        lines += [f"license: {licence.lower()}"] if known else ["license: other", f"license_name: {_quoted(licence)}"]
    tags = ("uop3d", "6d-pose-estimation", "category-level-pose", facts.category)
    return "\n".join([*lines, "tags:", *(f"- {_quoted(tag)}" for tag in tags), "---"])


def _frame(facts: ModelFacts) -> str:
    extents = " × ".join(f"{value:.2f}" for value in facts.extents)
    return (
        "## Frame\n\n"
        "`cam_T_obj` maps the object's frame `obj` (x front, y left, z up) to the camera (x right, y down, z "
        "forward). Origin and unit of `obj` are the middle and the diagonal of the template's box, which is "
        f"{extents} long along x, y, z. From one image the metric size is unknown. Symmetry: {symmetry_text(facts)}."
    )


def _quality(facts: ModelFacts) -> str:
    figures, lines = facts.figures, ["## How good it is", ""]
    if figures is None:
        lines.append("It was not evaluated with labels, or its figures were not noted.")
    else:
        jitter = figures.get("box_jitter") or 0
        boxes = f"boxes moved and scaled by up to {jitter:.0%}" if jitter else "exact boxes"
        names = ", ".join(_plain(name) for name in figures["captures"][:MOST_NAMES])
        lines += [
            f"Single images of objects that it was not trained on ({names}), {boxes}; rotation errors:",
            "",
            "| images | within 30° | within 15° | within 10° | median | no pose |",
            "|---|---|---|---|---|---|",
            f"| {figures['images']} | {figures['acc30']:.1f} % | {figures['acc15']:.1f} % | {figures['acc10']:.1f} % "
            f"| {figures['median_deg']:.1f}° | {figures['not_found']} |",
        ]
        if "sym_acc30" in figures:
            lines += ["", f"Modulo the symmetry {figures['sym_acc30']:.1f} % are within 30°."]
        if figures.get("calibration_error") is not None:
            lines += ["", f"Expected calibration error of the scores: {figures['calibration_error']:.3f}."]
    held = f" of {', '.join(_plain(name) for name in facts.held_out[:MOST_NAMES])}" if facts.held_out else ""
    calibrated = f"Scores are probabilities, calibrated on {facts.calibrated_on} trials{held} in a rehearsal."
    return "\n".join([*lines, "", calibrated if facts.calibrated_on else "Scores are not calibrated."])


def _origin(facts: ModelFacts, licence: str | None) -> str:
    shown = ", ".join(_plain(name) for name in facts.captures[:MOST_NAMES])
    more = f" and {len(facts.captures) - MOST_NAMES} more" if len(facts.captures) > MOST_NAMES else ""
    frames = "" if facts.frames is None else f", {facts.frames} frames"
    weights = f", weights `{facts.weights}`" if facts.weights else ""
    rows = {
        "trained on": f"{len(facts.captures)} captures{frames}: {shown}{more}",
        "licence of the data": _plain(facts.data_licence or UNSTATED),
        "image features": f"{_plain(facts.backbone)}{weights} (`{facts.backbone_fingerprint}`)",
        "licence of the image features": _plain(facts.backbone_licence or UNSTATED),
        "licence of the model": _plain(licence or UNSTATED),
        "head": f"{facts.head}, {facts.vertices} vertices of the template",
        "made with": f"uop3d {facts.version or UNSTATED}, {facts.epochs or '?'} epochs",
    }
    table = "\n".join(f"| {what} | {text} |" for what, text in rows.items())
    return f"## What it is made of\n\n| | |\n|---|---|\n{table}"


def _files(facts: Sequence[ModelFacts]) -> str:
    rows = []
    for each in facts:
        kind = each.kind + (", int8" if each.int8 else "")
        rows += [f"| `{file.name}` | {kind} | {file.bytes / 1e6:.1f} MB | `{file.sha256}` |" for file in each.files]
    return "## Files\n\n| file | what | size | SHA-256 |\n|---|---|---|---|\n" + "\n".join(rows)


def _usage(facts: Sequence[ModelFacts]) -> str:
    name = facts[0].files[0].name
    extra = {".onnx": "[deploy]", ".xml": "[openvino]"}.get(name[name.rfind(".") :], "")
    given, spec = "", facts[0].backbone
    if not extra and facts[0].weights:
        given = f", backbone_spec={f'{spec}:PATH/{facts[0].weights}'!r}"
    return (
        "## How to use it\n\n"
        f"```bash\npip install 'uop3d{extra}'\n"
        f"uop3d estimate {name} photos/ --detections boxes.json --camera camera.json --json poses.json"
        + (f" --backbone {spec}:PATH/{facts[0].weights}" if given else "")
        + "\n```\n\n```python\n"
        "from uop3d_core.images import read_rgb\n"
        "from uop3d_core.pose.estimator import PoseEstimator\n"
        "from uop3d_core.types import Camera, Detection, Frame\n\n"
        f'estimator = PoseEstimator.load("{name}"{given})\n'
        "camera = Camera(K=[[600, 0, 319.5], [0, 600, 239.5], [0, 0, 1]], width=640, height=480)\n"
        'frame = Frame("photo", camera, read_rgb("photo.jpg"))\n'
        "[estimate] = estimator(frame, [Detection([210, 120, 420, 350])])\n"
        "print(estimate.cam_T_obj, estimate.score)\n```"
    )


def _limits() -> str:
    return (
        "## What it does not do\n\n"
        "It needs a box: it does not look for objects. It knows the category by the captures above alone; things that "
        "look or are built otherwise get worse poses, which the score should tell. Figures hold for images like those "
        "that it was evaluated on."
    )


def _plain(text: str) -> str:
    """Text that Markdown and tables take for text."""
    return re.sub(r"([\\`*_{}\[\]<>#|~])", r"\\\1", " ".join(text.split()))


def _quoted(text: str) -> str:
    """A YAML string."""
    return '"' + " ".join(text.split()).replace("\\", "\\\\").replace('"', '\\"') + '"'
