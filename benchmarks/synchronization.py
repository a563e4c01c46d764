"""Released alignments of CO3D sequences to five references: as they are, averaged naively, and synchronised by uop3d.

In: the table of estimates and the labels that belong to it (see `uop3d_core.alignment.tables` for the layout; labels:
`category`, `sequence`, `label_R_world` [n, 3, 3]). Out: shares of small rotation errors per category, and how well the
probabilities separate right from wrong. Labels are used for figures, and by --fit for the constants of `Calibration`.

Score: for every reference k and every labelled sequence s that is not this reference, the angle between
label_R_world[ref] @ ref_R_world[s] and label_R_world[s]; shares are per category over all references, then averaged.
"Right": within 30 degrees after the one rotation per category that makes most labelled sequences right.

    python benchmarks/synchronization.py ALIGNMENTS.npz LABELS.npz --picture runs/reliability.png
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from measure import write_json
from scipy.optimize import minimize

from uop3d_core.alignment.tables import EstimateTable, read_estimates, synchronize_category
from uop3d_core.config import JointSettings
from uop3d_core.evaluation.probabilities import auroc, calibration_error, reliability
from uop3d_core.geometry import Array, closest_rotation, random_rotations, rotation_error
from uop3d_core.report.diagrams import draw_reliability
from uop3d_core.report.sheets import write_image

RELEASED, NAIVE, OURS = "released", "naive", "uop3d"
LIMITS = (30, 15, 10)
RIGHT_DEG = 30.0
NAIVE_TRUNCATE, NAIVE_WIDTH = np.deg2rad(45.0), np.deg2rad(20.0)
NAIVE_ROUNDS, NAIVE_MEAN_ROUNDS = 10, 20
REFERENCE_SETS: tuple[tuple[int, ...], ...] = ((0, 1, 2, 3, 4), (0, 1, 2), (2, 3, 4), (0, 2, 4), (1, 3))
BROKEN_SETS: tuple[tuple[int, ...], ...] = REFERENCE_SETS[0], REFERENCE_SETS[3], REFERENCE_SETS[4]
BROKEN_WEIGHT, RIDGE = 0.5, 0.1


@dataclass(frozen=True, eq=False)
class Category:
    """Estimates and labels of one category.

    Attributes:
        name: of the category.
        sequences: n names.
        references: K names.
        ref_R_world: (n, K, 3, 3) per variant.
        label_R_world: labels by name; references that are no sequences may be among them.
    """

    name: str
    sequences: list[str]
    references: tuple[str, ...]
    ref_R_world: dict[str, Array]
    label_R_world: dict[str, Array]

    @property
    def labelled(self) -> list[int]:
        """Numbers of the labelled sequences."""
        return [i for i, name in enumerate(self.sequences) if name in self.label_R_world]

    def errors(self, ref_R_world: Array) -> Array:
        """(n, K) errors in degrees of (n, K, 3, 3) rotations; NaN where the score has no pair."""
        errors = np.full(ref_R_world.shape[:2], np.nan)
        for k, reference in enumerate(self.references):
            for i in self.labelled if reference in self.label_R_world else []:
                if self.sequences[i] != reference:
                    predicted = self.label_R_world[reference] @ ref_R_world[i, k]
                    errors[i, k] = np.rad2deg(rotation_error(predicted, self.label_R_world[self.sequences[i]]))
        return errors

    def right(self, obj_R_world: Array) -> Array:
        """(labelled,) bool for rotations (n, 3, 3) in any common frame."""
        label_R_obj = np.array([self.label_R_world[self.sequences[i]] @ obj_R_world[i].T for i in self.labelled])
        apart = np.rad2deg(rotation_error(label_R_obj[:, None], label_R_obj[None]))
        votes = (apart < RIGHT_DEG).sum(1) - apart.sum(1) / 1e6
        return apart[votes.argmax()] < RIGHT_DEG

    def only(self, columns: Sequence[int]) -> Category:
        """The same with some of the references."""
        rotations = {name: R[:, list(columns)] for name, R in self.ref_R_world.items()}
        return replace(self, references=tuple(self.references[k] for k in columns), ref_R_world=rotations)


def read_categories(table: EstimateTable, labels: Path) -> list[Category]:
    """The labelled categories of a table."""
    with np.load(labels, allow_pickle=False) as file:
        named: dict[str, dict[str, Array]] = {}
        for category, sequence, R in zip(file["category"], file["sequence"], file["label_R_world"], strict=True):
            named.setdefault(str(category), {})[str(sequence)] = R
    result = []
    for name in sorted(named):
        mine = np.flatnonzero(table.category == name)
        rotations = {variant: R[mine] for variant, R in table.ref_R_world.items()}
        result.append(
            Category(name, table.sequence[mine].tolist(), table.references[name], rotations, named[name])
        )  # fmt: skip
    return result


def naive(category: Category) -> Array:
    """Rotations (n, K, 3, 3) of the baseline in the data's README: robust means of sequences and columns in turn."""
    P = np.concatenate(list(category.ref_R_world.values()), axis=1)
    found = []
    for start in range(P.shape[1]):
        R = P[:, start]
        for _ in range(NAIVE_ROUNDS):
            Q = _robust_means(np.swapaxes(R[:, None] @ np.swapaxes(P, -1, -2), 0, 1))
            R = _robust_means(Q[None] @ P)
        residual = np.minimum(rotation_error(Q[None] @ P, R[:, None]), NAIVE_TRUNCATE).mean()
        found.append((round(float(residual), 12), start, R, Q))
    _, _, R, Q = min(found, key=lambda entry: entry[:2])
    numbers = {name: i for i, name in enumerate(category.sequences)}
    own = [R[numbers[name]] if name in numbers else Q[k] for k, name in enumerate(category.references)]
    return np.swapaxes(np.array(own), -1, -2)[None] @ R[:, None]


def _robust_means(samples: Array) -> Array:
    """Means (n, 3, 3) of (n, m, 3, 3) rotations: from the medoid, Gaussian weights."""
    apart = np.minimum(rotation_error(samples[:, :, None], samples[:, None]), NAIVE_TRUNCATE).sum(2)
    mean = samples[np.arange(len(samples)), apart.argmin(1)]
    for _ in range(NAIVE_MEAN_ROUNDS):
        weight = np.exp(-((rotation_error(samples, mean[:, None]) / NAIVE_WIDTH) ** 2))
        mean = closest_rotation((weight[..., None, None] * samples).sum(1))
    return mean


def shares(errors: Sequence[Array]) -> list[float]:
    """Per cent of errors below the limits, and the median."""
    values = np.concatenate([error[np.isfinite(error)] for error in errors])
    return [float((values < limit).mean() * 100) for limit in LIMITS] + [float(np.median(values))]


def bootstrap(errors: Mapping[str, list[list[Array]]], rng: np.random.Generator, rounds: int = 500) -> dict[str, Array]:
    """(rounds, 3) mean shares per method when the labelled sequences of every category are drawn anew."""
    result: dict[str, list[list[float]]] = {method: [] for method in errors}
    counts = [len(category[0]) for category in next(iter(errors.values()))]
    for _ in range(rounds):
        draws = [rng.integers(0, n, n) for n in counts]
        for method, categories in errors.items():
            rows = []
            for draw, parts in zip(draws, categories, strict=True):
                values = np.concatenate([part[draw].ravel() for part in parts])
                values = values[np.isfinite(values)]
                rows.append([(values < limit).mean() * 100 for limit in LIMITS] if len(values) else [np.nan] * 3)
            result[method].append(np.nanmean(rows, axis=0).tolist())
    return {method: np.array(rows) for method, rows in result.items()}


# ---- probabilities ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Samples:
    """Labelled sequences: features (S, 3), right (S,), category (S,), weight (S,), plain (S,): nothing replaced."""

    features: Array
    right: Array
    category: Array
    weight: Array
    plain: Array

    @classmethod
    def of(cls, parts: Sequence[tuple[Array, Array, str, Array]]) -> Samples:
        """From features, right, category and replaced (bool), each of some sequences of one category."""
        features, right, replaced = (np.concatenate([part[i] for part in parts]) for i in (0, 1, 3))
        names = np.concatenate([[part[2]] * len(part[1]) for part in parts])
        return cls(features, right, names, np.where(replaced, BROKEN_WEIGHT, 1.0), ~replaced)

    def take(self, keep: Array) -> Samples:
        """Some of them."""
        return Samples(*(part[keep] for part in (self.features, self.right, self.category, self.weight, self.plain)))


def collect(
    categories: Sequence[Category], settings: JointSettings, rng: np.random.Generator | None
) -> list[tuple[Array, Array, str, Array]]:
    """Evidence and truth of the labelled sequences; with a generator, every sixth sequence is replaced by noise."""
    parts = []
    for category in categories:
        n, K = len(category.sequences), len(category.references)
        broken = np.zeros(n, dtype=bool)
        rotations = category.ref_R_world
        if rng is not None:
            free = [i for i, name in enumerate(category.sequences) if name not in category.references]
            broken[rng.choice(free, max(1, len(free) // 6), replace=False)] = True
            broken[[i for i in category.labelled if i in free][:1]] = True
            noise = {name: random_rotations(n * K, rng).reshape(n, K, 3, 3) for name in rotations}
            rotations = {name: np.where(broken[:, None, None, None], noise[name], R) for name, R in rotations.items()}
        frames = synchronize_category(category.sequences, category.references, rotations, settings)
        kept = [i for i in category.labelled if not broken[i]]
        names = {category.sequences[i] for i in kept}
        sound = replace(category, label_R_world={k: R for k, R in category.label_R_world.items() if k in names})
        right = sound.right(frames.obj_R_world)
        everyone = np.concatenate([kept, np.flatnonzero(broken)]).astype(int)
        truth = np.concatenate([right, np.zeros(int(broken.sum()), dtype=bool)])
        known = np.isfinite(frames.features[everyone]).all(1)
        parts.append((frames.features[everyone][known], truth[known], category.name, broken[everyone][known]))
    return parts


def fit(samples: Samples) -> Array:
    """(3,) logistic regression with a little ridge on all but the bias."""

    def loss(weights: Array) -> float:
        z = samples.features @ weights
        terms = np.logaddexp(0, np.where(samples.right, -z, z))
        return float(samples.weight @ terms / 10 + RIDGE * (weights[:-1] ** 2).sum() / 10)

    return minimize(loss, np.zeros(samples.features.shape[1])).x


def left_out(samples: Samples) -> Array:
    """Probabilities (S,) of every category by the fit to the others."""
    result = np.zeros(len(samples.right))
    for name in np.unique(samples.category):
        mine = samples.category == name
        result[mine] = 1 / (1 + np.exp(-samples.features[mine] @ fit(samples.take(~mine))))
    return result


# ---- the comparison --------------------------------------------------------------------------------------------------


def compare(categories: Sequence[Category], settings: JointSettings) -> dict[str, list[list[Array]]]:
    """Errors per method and category, one (labelled, K) array per released variant and one of the other methods."""
    errors: dict[str, list[list[Array]]] = {RELEASED: [], NAIVE: [], OURS: []}
    for category in categories:
        frames = synchronize_category(category.sequences, category.references, category.ref_R_world, settings)
        rows = category.labelled
        ours = frames.ref_R_obj[None] @ frames.obj_R_world[:, None]
        errors[RELEASED].append([category.errors(R)[rows] for R in category.ref_R_world.values()])
        errors[NAIVE].append([category.errors(naive(category))[rows]])
        errors[OURS].append([category.errors(ours)[rows]])
    return errors


def print_comparison(categories: Sequence[Category], errors: Mapping[str, list[list[Array]]]) -> dict[str, list[float]]:
    """The table per category, and the means."""
    print(f"{'acc30 / acc15 / acc10, median':14s}" + "".join(f"{method:>29s}" for method in errors))
    rows: dict[str, list[list[float]]] = {method: [] for method in errors}
    for i, category in enumerate(categories):
        for method, parts in errors.items():
            rows[method].append(shares(parts[i]))
        print(f"{category.name:14s}" + "".join(_cell(rows[method][-1]) for method in errors))
    means = {method: np.mean(values, axis=0).tolist() for method, values in rows.items()}
    print(f"{'mean':14s}" + "".join(_cell(means[method]) for method in errors))
    draws = bootstrap(errors, np.random.default_rng(0))
    for method, values in draws.items():
        sd = " / ".join(f"{x:.1f}" for x in np.nanstd(values, axis=0))
        gain = draws[OURS] - values
        text = ", ".join(f"{m:+.1f} ± {s:.1f}" for m, s in zip(gain.mean(0), gain.std(0), strict=True))
        print(f"{method}: standard deviation over sequences {sd}" + ("" if method == OURS else f"; uop3d gains {text}"))
    return means


def _cell(row: Sequence[float]) -> str:
    return f"{row[0]:9.1f} {row[1]:5.1f} {row[2]:5.1f} {row[3]:6.1f}°"


def main() -> None:
    """Read the arguments, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("alignments", type=Path)
    parser.add_argument("labels", type=Path)
    parser.add_argument("--variant", action="append", help="default: each one, then both")
    parser.add_argument("--fit", action="store_true", help="fit the constants of Calibration (some minutes)")
    parser.add_argument("--picture", type=Path, help="reliability diagram (PNG)")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    settings, report = JointSettings(), {}
    names = list(read_estimates(args.alignments).ref_R_world)
    every: list[tuple[Array, Array, str, Array]] = []
    ranges: dict[str, slice] = {}
    for variant in args.variant or [*names, "both"]:
        categories = read_categories(read_estimates(args.alignments, variant), args.labels)
        print(f"\n{variant}")
        means = print_comparison(categories, compare(categories, settings))
        parts = collect(categories, settings, None)
        samples = Samples.of(parts)
        before = sum(len(part[1]) for part in every)
        ranges[variant] = slice(before, before + len(samples.right))
        every += parts
        p = _shipped(samples)
        quality = {"auroc": auroc(p, samples.right), "ece": calibration_error(p, samples.right)}
        print(f"probability, {len(p)} sequences, {(~samples.right).sum()} wrong: " + _figures(quality))
        report[variant] = {"means": means, "quality": quality}
        if args.fit:
            for columns in REFERENCE_SETS[1:]:
                every += collect([category.only(columns) for category in categories], settings, None)
            rng = np.random.default_rng(0)
            for columns in BROKEN_SETS:
                every += collect([category.only(columns) for category in categories], settings, rng)
    samples = Samples.of(every)
    p = _shipped(samples)
    plain = samples.plain
    print(
        f"\nall graphs: {plain.sum()} sequences, {(~samples.right[plain]).sum()} wrong, "
        f"AUROC {auroc(p[plain], samples.right[plain]):.3f}, "
        f"ECE {calibration_error(p[plain], samples.right[plain]):.3f}"
    )
    if args.fit:
        print("fit (share, flip, bias):", fit(samples).round(2).tolist())
        p = left_out(samples)
        print(f"categories left out: AUROC {auroc(p[plain], samples.right[plain]):.3f}, ECE "
              f"{calibration_error(p[plain], samples.right[plain]):.3f}; replaced sequences: median probability "
              f"{np.median(p[~plain]):.2f}, nine in ten below {np.quantile(p[~plain], 0.9):.2f}")  # fmt: skip
        for variant, part in ranges.items():
            print(f"  {variant}: AUROC {auroc(p[part], samples.right[part]):.3f}, "
                  f"ECE {calibration_error(p[part], samples.right[part]):.3f}")  # fmt: skip
    for mean, share, number in reliability(p[plain], samples.right[plain]):
        print(f"  probability {mean:.2f}: {share:.2f} right of {number}")
    if args.picture:
        write_image(args.picture, draw_reliability(reliability(p[plain], samples.right[plain])))
    if args.json:
        write_json(args.json, report)


def _shipped(samples: Samples) -> Array:
    """Probabilities by the constants of `Calibration`."""
    from uop3d_core.alignment.quality import Calibration

    c = Calibration()
    return 1 / (1 + np.exp(-(samples.features @ [c.share, c.flip, c.bias])))


def _figures(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name.upper()} {value:.3f}" for name, value in values.items())


if __name__ == "__main__":
    main()
