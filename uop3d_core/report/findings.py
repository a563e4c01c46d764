"""What a run has to say in a few sentences: what was learned, how good it is, what failed.

In: `Content`. Out: sentences.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from uop3d_core.report.content import Content, PoseFigures
from uop3d_core.report.markup import count, listed, number, percent, seen_from
from uop3d_core.types import Symmetry

SURE, MOST_NAMED = 0.9, 6
WRONG_DEG, FAR_DEG = 30.0, 90.0
NEARLY = 0.999
"""The cosine of 2.6 degrees: an axis so near to one of obj is called by its name."""
LEARNED, GOOD, FAILED = "What was learned", "How good it is", "What failed, what to look at"


def findings(content: Content) -> dict[str, list[str]]:
    """Sentences under three titles; none is empty."""
    failed = _failures(content)
    return {LEARNED: _learned(content), GOOD: _quality(content), FAILED: failed or ["Nothing that the run knows of."]}


def symmetry_words(symmetry: Symmetry) -> str:
    """A symmetry in a few words."""
    if symmetry.fold == 1:
        return "none found"
    nearest = int(np.abs(symmetry.axis).argmax())
    exact = "(" + ", ".join(f"{x + 0:.2f}" for x in np.round(symmetry.axis, 2)) + ")"
    axis = "xyz"[nearest] if abs(symmetry.axis[nearest]) > NEARLY else exact
    return f"turns by {'any angle' if symmetry.fold == 0 else f'{360 / symmetry.fold:g}°'} about {axis}"


def trained_on(model: Mapping[str, Any]) -> list[str]:
    """Names of the captures that a model was trained on."""
    return [str(name) for name in model.get("captures", ())]


def _learned(content: Content) -> list[str]:
    record, symmetry = content.record, content.record.symmetry
    accepted = sum(entry.accepted for entry in record.alignment.captures.values())
    given = len(record.alignment.captures) + len(record.failed)
    chosen = ", with front and up chosen by hand" if record.axes_by_hand else ""
    sentences = [
        f"{accepted} of {count(given, 'capture')} of “{record.alignment.category}” lie in one common frame{chosen}.",
        "No symmetry was found: an object looks different after every turn."
        if symmetry.fold == 1
        else f"Symmetry: {symmetry_words(symmetry)} change nothing.",
    ]
    if content.model is None:
        return [*sentences, "No model was trained yet: uop3d train makes one."]
    about = content.model.about["metadata"]
    views, captures = about.get("views", "?"), len(trained_on(about))
    size = f"{content.model.megabytes:.1f} MB"
    return [
        *sentences,
        f"A model of {size} was trained on {views} views of {count(captures, 'capture')}.",
    ]


def _quality(content: Content) -> list[str]:
    captures, sentences = content.record.alignment.captures.values(), []
    likely = [entry.probability for entry in captures if entry.accepted and entry.probability is not None]
    if likely:
        sure = sum(p >= SURE for p in likely)
        sentences.append(
            f"{sure} of {len(likely)} accepted captures lie within 30° of the truth with a probability of at least "
            f"{percent(SURE)}."
        )
    else:
        sentences.append("How likely the alignment is right was not estimated.")
    if content.labelled is not None:
        figures = content.labelled["accepted"] or content.labelled["all"]
        sentences.append(
            f"Against labels, pairs of accepted captures are off by {number(figures['median_deg'], 2)}° in the median; "
            f"{percent(figures['acc10'] / 100)} of them are within 10°."
        )
    if content.pose is None:
        return [*sentences, "Poses were not compared with labels: where there are some, uop3d evaluate pose does it."]
    overall = content.pose.overall
    sentences.append(
        f"Poses in {overall['frames']} images of {count(len(content.pose.captures), 'object')} that it had never seen: "
        f"{percent(overall['acc30'] / 100)} within 30°, {percent(overall['acc10'] / 100)} within 10°, median error "
        f"{number(overall['median_deg'], 2)}°."
    )
    return [*sentences, *_honesty(content.pose)]


def _honesty(pose: PoseFigures) -> list[str]:
    """What the scores are worth, in a sentence."""
    total = sum(images for _, _, images in pose.reliability)
    if not total:
        return []
    gap = sum(images * abs(score - right) for score, right, images in pose.reliability) / total
    mean, true = (sum(images * part[k] for part in pose.reliability for images in [part[2]]) / total for k in (0, 1))
    worth = "keep their word" if gap < 0.1 else "promise too much" if mean > true else "promise too little"
    return [f"Scores {worth}: promised {percent(mean)} right, came true {percent(true)} (calibration error {gap:.2f})."]


def _failures(content: Content) -> list[str]:
    record = content.record
    rejected = {name: e.reason or "by hand" for name, e in record.alignment.captures.items() if not e.accepted}
    sentences = [*_by_reason(record.failed, "unusable"), *_by_reason(rejected, "rejected"), *record.alignment.warnings]
    if content.model is not None and not content.model.belongs:
        sentences.append("The model was trained on another alignment than the one shown: uop3d train makes a new one.")
    if content.model is not None and not content.model.about["metadata"].get("calibration"):
        sentences.append("Scores are not calibrated: the model was trained without a rehearsal.")
    return [*sentences, *(_pose_failures(content.pose) if content.pose else ())]


def _by_reason(reasons: Mapping[str, str], what: str) -> list[str]:
    """Captures with their reasons; those whose reasons differ by numbers alone share a sentence."""
    groups: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        groups.setdefault(re.sub(r"\d+(\.\d+)?", "#", reason), []).append(name)
    sentences = []
    for names in groups.values():
        same = all(reasons[name] == reasons[names[0]] for name in names)
        whose = "" if same else f" {names[0]}"
        were = "is" if len(names) == 1 else "are"
        sentences.append(f"{listed(names, MOST_NAMED)} {were} {what}:{whose} {reasons[names[0]]}")
    return sentences


def _pose_failures(pose: PoseFigures) -> list[str]:
    sentences = [] if pose.belongs else ["The figures of poses are not those of the model in this run."]
    lost = [image for image in pose.images if not image.found]
    if lost:
        sentences.append(f"No pose was found in {len(lost)} of {len(pose.images)} images.")
    wrong = [image for image in pose.images if image.found and image.error_deg > WRONG_DEG]
    far = [image for image in wrong if image.error_deg > FAR_DEG]
    if len(wrong) > len(far):
        sentences.append(f"{len(wrong)} of {len(pose.images)} poses are off by more than {WRONG_DEG:.0f}°.")
    if far:
        places = [
            f"{image.capture} {image.frame}"
            + ("" if image.azimuth_deg is None or image.elevation_deg is None
               else f" (seen from {seen_from(image.azimuth_deg, image.elevation_deg)})")
            for image in sorted(far, key=lambda image: -image.error_deg)
        ]  # fmt: skip
        sentences.append(
            f"{len(far)} of {len(pose.images)} poses are turned by more than {FAR_DEG:.0f}°, mistaking one side for "
            f"another: {listed(places, 4)}."
        )
    return sentences
