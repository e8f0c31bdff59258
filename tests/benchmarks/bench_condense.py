"""How good is a model on 50 weighted rows of a release, and what else could one do with the same budget?

    python tests/benchmarks/bench_condense.py [--data adult support2] [--model tree logistic] [--splits N] [--keep]
    python tests/benchmarks/bench_condense.py --write

Area under the ROC curve on real records that nobody has seen, at epsilon 1 (delta 1/N), keyed noise. `--keep`
keeps the figures in results/condense.json, `--write` puts what is kept into docs/benchmarks.md. Condensation under
noise is shown with the number of evaluations that was best on the test records, which favours it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from time import process_time
from typing import Any

import numpy as np
from bench_many_sites import keep
from markdown_tables import DOCUMENT, Part, heading
from noised_condensation import condensed_under_noise
from public_data import Dataset, load
from result_cells import RESULTS

from cohortmix.core import Budget
from cohortmix.core.audit.noise_keyed import KeyedNoise
from cohortmix.core.condensing import condense
from cohortmix.core.release.condense.models import MODELS
from cohortmix.core.release.condense.search import fit_rows
from cohortmix.core.release.condense.seen import Floats, Seen, Whole
from cohortmix.core.synthesis import Release, synthesize
from cohortmix.core.utility.columns import Values, feature_matrix, read
from cohortmix.core.utility.evaluate import auc

FILE = RESULTS / "condense.json"
TABLE = Part(DOCUMENT, "condense", "bench_condense.py")
SIZE, EPSILON = 50, 1.0
EVALUATIONS = (100, 300, 1000, 3000)  # of condensation under noise: more of them see less each
DRAWS = 20  # of plain subsamples, whose mean is shown
NAMES = {
    "real": "all real records",
    "release": "all released records",
    "condensed": f"{SIZE} condensed rows of the release",
    "noised": f"{SIZE} rows condensed on real records, each evaluation noised",
    "subsample": f"{SIZE} released records at random",
    "centroids": "the release's weighted centroids",
}
Facts = dict[str, Any]


def main() -> None:
    """Measure what is wanted, and show it."""
    wanted = arguments()
    if wanted.write:
        TABLE.write(markdown(json.loads(FILE.read_text())))
        return
    rows = []
    for name in wanted.data:
        for split in range(wanted.splits):
            rows += measured(load(name, split), split, wanted.model)
            if wanted.keep:
                keep(FILE, rows, ("data", "model", "split"))
    print(markdown(rows))


def arguments() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=["adult", "support2"])
    parser.add_argument("--model", nargs="+", default=["tree", "logistic"])
    parser.add_argument("--splits", type=int, default=2)
    parser.add_argument("--keep", action="store_true", help="keep the figures")
    parser.add_argument("--write", action="store_true", help="write what is kept into docs/benchmarks.md")
    return parser.parse_args()


def measured(data: Dataset, split: int, models: Sequence[str]) -> list[Facts]:
    """A row of figures for each model, on one release."""
    budget = Budget.from_epsilon(EPSILON, 1 / len(data.train), loose_delta=True)
    release = synthesize(data.train, data.schema, budget, noise=KeyedNoise(split))
    rows = []
    for model in models:
        rows.append({"data": data.name, "model": model, "split": split, **figures(data, release, model, split)})
        print(json.dumps(rows[-1]), flush=True)
    return rows


def figures(data: Dataset, release: Release, model: str, split: int) -> Facts:
    """What one model reaches, by what it is fitted on."""
    schema, fit = data.schema, MODELS[model].fit
    x_test, label = as_seen(read(data.test, schema), data)
    area: Callable[[Floats], float | None] = lambda scores: auc(label, scores)  # noqa: E731
    records = release.records()
    seen, real = Seen.of(records, schema), as_seen(read(data.train, schema), data)
    ones, classes = np.ones(len(seen)), seen.classes
    began = process_time()
    found = condense(records, schema, model, SIZE, seed=split)  # type: ignore[arg-type]
    seconds, rows = process_time() - began, Seen.of(found.rows, schema)
    weight = found.rows["weight"].to_numpy()
    noised = [under_noise(*real, data, release, model, number, split) for number in EVALUATIONS]
    areas = [area(scores(x_test)) or 0.0 for scores in noised]
    return {
        "real": area(fit(*real, None, np.ones(len(real[0])), classes)(x_test)),
        "release": area(fit(seen.x, seen.label, None, ones, classes)(x_test)),
        "condensed": area(fit(rows.x, rows.label, None, weight, classes)(x_test)),
        "noised": max(areas),
        "noised evaluations": EVALUATIONS[int(np.argmax(areas))],
        "subsample": subsampled(seen, model, lambda scores: area(scores(x_test))),
        "centroids": area(of_centroids(data, release, model)),
        "evaluations": found.facts["evaluations"],
        "cpu seconds": round(seconds, 1),
    }


def as_seen(values: Values, data: Dataset) -> tuple[Floats, Whole]:
    """Real records as a model sees them; unlike those of a release they may have values that are not declared."""
    target = data.schema.target_name
    assert isinstance(target, str)
    return feature_matrix(values, data.schema, (target,)), values[target].astype(np.int64)


def under_noise(
    x: Floats, label: Whole, data: Dataset, release: Release, model: str, evaluations: int, split: int
) -> Callable[[Floats], Floats]:
    """A model of rows that were found on real records under the budget of the release."""
    mu = float(release.receipt["mu"])
    pool, points = condensed_under_noise(x, label, data.schema, model, SIZE, mu, evaluations, split)
    return fit_rows(MODELS[model], pool, points)


def subsampled(seen: Seen, model: str, area: Callable[[Callable[[Floats], Floats]], float | None]) -> float:
    """Mean over several draws of a few records, both classes among them."""
    rng, areas = np.random.default_rng(0), list[float]()
    while len(areas) < DRAWS:
        rows = rng.choice(len(seen), SIZE, replace=False)
        if len(np.unique(seen.label[rows])) > 1:
            weight = np.full(SIZE, len(seen) / SIZE)
            scores = MODELS[model].fit(seen.x[rows], seen.label[rows], None, weight, seen.classes)
            areas.append(area(scores) or 0.5)
    return float(np.mean(areas))


def of_centroids(data: Dataset, release: Release, model: str) -> Floats:
    """Scores of a model fitted on all weighted centroids, with a row for each class of each."""
    site = release.site
    weights = site.labels * site.masses[:, None]
    k, classes = np.nonzero(weights > 0)
    fitted = MODELS[model].fit(site.means[k], classes, None, weights[k, classes], site.labels.shape[1])
    return fitted(release.support.encode(data.test))


def markdown(rows: Sequence[Facts]) -> str:
    """A line for each data set and model, a column for each way; means over the splits."""
    lines = heading(["data, model", "splits", *NAMES.values(), "CPU s"])
    for data, model in dict.fromkeys((row["data"], row["model"]) for row in rows):
        own = [row for row in rows if (row["data"], row["model"]) == (data, model)]
        areas = " | ".join(f"{np.mean([row[name] for row in own]):.3f}".removeprefix("0") for name in NAMES)
        seconds = np.mean([row["cpu seconds"] for row in own])
        lines.append(f"| {data}, {model} | {len(own)} | {areas} | {seconds:.0f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
