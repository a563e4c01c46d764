"""Two runs side by side: which figures differ, which is better, and whether that may be chance.

In: `Content` of both, and how differently they turn the captures. Out: `Comparison`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from uop3d_core.report.content import Comparison, Content, Contrast, PoseImage
from uop3d_core.report.findings import symmetry_words, trained_on
from uop3d_core.report.markup import listed, number, percent
from uop3d_core.stopwatch import spoken
from uop3d_core.types import Mesh

LEVEL = 0.95
DRAWS = 2000
"""Of the bootstrap."""


def compare(here: Content, there: Content, turns_deg: Mapping[str, float], template: Mesh | None) -> Comparison:
    """What differs.

    Args:
        here: this run.
        there: the other one.
        turns_deg: by capture that is in both, see `Comparison`.
        template: of the other run, in obj of this one, or None.
    """
    name = there.name if there.name != here.name else f"{there.name} (the other)"
    pairs = _same_images(here, there)
    runs = {here.name: here, name: there}
    curves = {run: content.curves.get("loss", {}).get("training", ()) for run, content in runs.items()}
    return Comparison(
        name=name,
        contrasts=_contrasts(here, there),
        turns_deg=turns_deg,
        remarks=_remarks(here, there, name),
        settings=_settings(here, there),
        curves={run: curve for run, curve in curves.items() if curve},
        errors_deg=pairs,
        verdict=verdict(np.array(pairs), here.name, name) if pairs else "",
        template=template,
    )


def verdict(errors_deg: np.ndarray, here: str, there: str) -> str:
    """Whether errors (N, 2) of the same images differ by more than chance, by a bootstrap over the images."""
    rng = np.random.default_rng(0)
    within = errors_deg < 10
    drawn = rng.integers(0, len(within), (DRAWS, len(within)))
    gains = within[:, 0].astype(np.float64) - within[:, 1]
    low, high = np.quantile(gains[drawn].mean(1), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    better = here if low > 0 else there if high < 0 else ""
    words = f"{better} is better by more than chance" if better else "that may be chance"
    mine, theirs = (percent(float(share)) for share in within.mean(0))
    return (
        f"On the {len(errors_deg)} images that both were tested on, {mine} of the poses of {here} are within 10° and "
        f"{theirs} of those of {there}. The difference is {100 * gains.mean():+.0f} points, with {percent(LEVEL)} "
        f"confidence between {100 * low:+.0f} and {100 * high:+.0f}: {words}."
    )


def _contrasts(here: Content, there: Content) -> list[Contrast]:
    rows: list[tuple[str, Callable[[Content], Any], Callable[[Any], str], int]] = [
        ("captures accepted", _accepted, _fraction, 0),
        ("agreement, median of the accepted", _agreement, number, 1),
        ("captures likely right, mean probability", _likely, percent, 1),
        ("alignment against labels, median °", lambda c: _labelled(c, "median_deg"), number, -1),
        ("symmetry", lambda c: symmetry_words(c.record.symmetry), str, 0),
        ("captures trained on", lambda c: len(trained_on(c.model.about["metadata"])) if c.model else None, str, 0),
        ("loss at the end of the training", _last_loss, number, 0),
        ("pixels put right at the end, %", _last_accuracy, number, 0),
        ("images of poses", lambda c: _posed(c, "frames"), str, 0),
        ("poses within 30°, %", lambda c: _posed(c, "acc30"), number, 1),
        ("poses within 10°, %", lambda c: _posed(c, "acc10"), number, 1),
        ("poses, median °", lambda c: _posed(c, "median_deg"), number, -1),
        ("time of all stages", lambda c: sum(c.timings.seconds.values()) or None, spoken, 0),
    ]
    found = []
    for what, measure, say, sign in rows:
        values = [measure(content) for content in (here, there)]
        if any(value is not None for value in values):
            mine, theirs = ("–" if value is None else say(value) for value in values)
            found.append(Contrast(what, mine, theirs, 0 if mine == theirs else _better(values, sign)))
    return found


def _better(values: Sequence[Any], sign: int) -> int:
    if sign == 0 or None in values:
        return 0
    return sign if values[0] > values[1] else -sign


def _accepted(content: Content) -> tuple[int, int]:
    entries = content.record.alignment.captures.values()
    return sum(entry.accepted for entry in entries), len(entries) + len(content.record.failed)


def _fraction(value: tuple[int, int]) -> str:
    return f"{value[0]} of {value[1]}"


def _agreement(content: Content) -> float | None:
    scores = [entry.score for entry in content.record.alignment.captures.values() if entry.accepted]
    return float(np.median(scores)) if scores else None


def _likely(content: Content) -> float | None:
    entries = content.record.alignment.captures.values()
    known = [entry.probability for entry in entries if entry.accepted and entry.probability is not None]
    return float(np.mean(known)) if known else None


def _labelled(content: Content, key: str) -> float | None:
    return None if content.labelled is None else (content.labelled["accepted"] or content.labelled["all"])[key]


def _last_loss(content: Content) -> float | None:
    curve = content.curves.get("loss", {}).get("training")
    return curve[-1][1] if curve else None


def _last_accuracy(content: Content) -> float | None:
    curve = content.curves.get("vertex_accuracy", {}).get("training")
    return 100 * curve[-1][1] if curve else None


def _posed(content: Content, key: str) -> Any:
    return None if content.pose is None else content.pose.overall[key]


def _remarks(here: Content, there: Content, name: str) -> list[str]:
    mine, theirs = here.record.alignment.captures, there.record.alignment.captures
    both = [capture for capture in mine if capture in theirs]
    groups = {
        "Captures of this run alone": [capture for capture in mine if capture not in theirs],
        f"Captures of {name} alone": [capture for capture in theirs if capture not in mine],
        "Accepted here and rejected there": [c for c in both if mine[c].accepted and not theirs[c].accepted],
        "Rejected here and accepted there": [c for c in both if theirs[c].accepted and not mine[c].accepted],
    }
    remarks = [f"{words}: {listed(names)}." for words, names in groups.items() if names]
    categories = [content.record.alignment.category for content in (here, there)]
    if categories[0] != categories[1]:
        remarks.append(f"The categories differ: “{categories[0]}” and “{categories[1]}”.")
    backbones = [dict(content.facts).get("backbone") for content in (here, there)]
    if backbones[0] != backbones[1]:
        remarks.append(f"The backbones differ: {backbones[0]} and {backbones[1]}.")
    return remarks


def _settings(here: Content, there: Content) -> list[Contrast]:
    return [
        Contrast(f"{stage}.{key}", str(value), str(there.settings[stage][key]))
        for stage, values in here.settings.items()
        for key, value in values.items()
        if value != there.settings[stage][key]
    ]


def _same_images(here: Content, there: Content) -> list[tuple[float, float]]:
    """Errors of the images that both were tested on."""
    if here.pose is None or there.pose is None:
        return []
    theirs = {_key(image): image.error_deg for image in there.pose.images}
    return [(image.error_deg, theirs[_key(image)]) for image in here.pose.images if _key(image) in theirs]


def _key(image: PoseImage) -> tuple[str, str]:
    return image.capture, image.frame
