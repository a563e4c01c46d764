"""The top of the report: what was learned, how good it is and what failed, in one look.

In: `Content`. Out: HTML.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from uop3d_core.report.content import Content, ModelFacts
from uop3d_core.report.findings import FAILED, findings, symmetry_words, trained_on
from uop3d_core.report.markup import count, items, number, percent, tile


def overview(content: Content) -> str:
    """Figures as tiles, then the same in sentences."""
    columns = "".join(
        f'<div class="finding{" failed" if title == FAILED else ""}"><h3>{title}</h3>{items(sentences)}</div>'
        for title, sentences in findings(content).items()
    )
    notes = f'<div class="faint"><p>Not in this report:</p>{items(content.notes)}</div>' if content.notes else ""
    return f'<dl class="tiles">{"".join(_tiles(content))}</dl><div class="findings">{columns}</div>{notes}'


def _tiles(content: Content) -> list[str]:
    record = content.record
    entries = record.alignment.captures.values()
    accepted = [entry for entry in entries if entry.accepted]
    likely = [entry.probability for entry in accepted if entry.probability is not None]
    tiles = [
        tile("captures accepted", f"{len(accepted)} of {len(entries) + len(record.failed)}",
             f"{len(entries) - len(accepted)} rejected, {len(record.failed)} unusable"),
        tile("agreement", f"{np.median([e.score for e in accepted]):.2f}" if accepted else "none",
             "median of the accepted captures; 1 is best"),
        tile("captures likely right", _mean(likely), "mean probability of lying within 30° of the truth"),
        tile("symmetry", symmetry_words(record.symmetry), "turns of its objects that change nothing"),
        _model_tile(content.model),
    ]  # fmt: skip
    if content.labelled:
        figures = content.labelled["accepted"] or content.labelled["all"]
        words = f"median error of {count(figures['pairs'], 'pair')} of captures, compared with labels"
        tiles.append(tile("alignment", f"{number(figures['median_deg'], 2)}°", words))
    if content.pose:
        overall = content.pose.overall
        words = f"of {overall['frames']} images of unseen objects; median error {number(overall['median_deg'], 2)}°"
        tiles.append(tile("poses within 30°", percent(overall["acc30"] / 100), words))
    return tiles


def _mean(probabilities: Sequence[float]) -> str:
    return percent(float(np.mean(probabilities))) if probabilities else "not estimated"


def _model_tile(model: ModelFacts | None) -> str:
    if model is None:
        return tile("model", "none yet", "uop3d train makes it")
    about = model.about["metadata"]
    calibrated = "scores are calibrated" if about.get("calibration") else "scores are a guess: no rehearsal"
    note = f"{about.get('views', '?')} views of {len(trained_on(about))} captures; {calibrated}"
    return tile("model", f"{model.megabytes:.1f} MB" if model.belongs else "outdated", note)
