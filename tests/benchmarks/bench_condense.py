"""How good is a model on 50 weighted rows of a release, and what else could one do with the same budget?

    python tests/benchmarks/bench_condense.py [--data D ...] [--model M ...] [--splits N] [--keep]
    python tests/benchmarks/bench_condense.py --write

Area under the ROC curve, or Harrell's C of a time to an event, on real records that nobody has seen, at epsilon 1
(delta 1/N), keyed noise. Each data set has the models that suit its target. `--keep`
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
from cell_runs import commit
from markdown_tables import DOCUMENT, Part, heading
from noised_condensation import Known, condensed_under_noise
from public_data import Dataset, load
from result_cells import RESULTS

from cohortmix.core import Budget
from cohortmix.core.audit.noise_keyed import KeyedNoise
from cohortmix.core.condensing import condense
from cohortmix.core.release.condense.models import MODELS, Scores
from cohortmix.core.release.condense.search import fit_rows
from cohortmix.core.release.condense.seen import Seen
from cohortmix.core.single_release import Release
from cohortmix.core.synthesis import synthesize
from cohortmix.core.utility.classification import auc
from cohortmix.core.utility.concordance import concordance
from cohortmix.core.utility.kaplan_meier import FollowUp

FILE = RESULTS / "condense.json"
TABLE = Part(DOCUMENT, "condense", "bench_condense.py")
SIZE, EPSILON = 50, 1.0
DATA = ["adult", "support2", "support2_survival", "metabric_survival"]
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
NEAR, ABOVE = (
    0.01,
    0.03,
)  # of all released records, and of condensation under noise: what condensed rows shall reach
GOALS = "within .01 of all released, .03 above noised"
Measure = Callable[[Scores], float | None]  # what a model's scores reach
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
    parser.add_argument("--data", nargs="+", default=DATA)
    parser.add_argument("--model", nargs="+", choices=MODELS, default=["tree", "logistic", "cox"])
    parser.add_argument("--splits", type=int, default=2)
    parser.add_argument("--keep", action="store_true", help="keep the figures")
    parser.add_argument("--write", action="store_true", help="write what is kept into docs/benchmarks.md")
    return parser.parse_args()


def measured(data: Dataset, split: int, models: Sequence[str]) -> list[Facts]:
    """A row of figures for each model, on one release."""
    budget = Budget.from_epsilon(EPSILON, 1 / len(data.train), loose_delta=True)
    release = synthesize(data.train, data.schema, budget, noise=KeyedNoise(split))
    survival, rows = data.schema.outcome.survival is not None, list[Facts]()
    for model in (name for name in models if MODELS[name].survival == survival):
        found = figures(data, release, model, split)
        rows.append({"data": data.name, "model": model, "split": split, **found, "commit": commit()})
        print(json.dumps(rows[-1]), flush=True)
    return rows


def figures(data: Dataset, release: Release, model: str, split: int) -> Facts:
    """What one model reaches, by what it is fitted on."""
    schema, fit, reached = data.schema, MODELS[model].fit, measure(Known.of(data.test, data.schema))
    records, real = release.records(), Known.of(data.train, schema)
    seen = Seen.of(records, schema)
    classes = seen.classes
    began = process_time()
    found = condense(records, schema, model, SIZE, seed=split)  # type: ignore[arg-type]
    seconds, rows = process_time() - began, Seen.of(found.rows, schema)
    weight = found.rows["weight"].to_numpy()
    noised = [reached(under_noise(real, release, model, number, split)) or 0.0 for number in EVALUATIONS]
    return {
        "real": reached(fit(real.x, real.label, real.time, np.ones(len(real.x)), classes)),
        "release": reached(fit(seen.x, seen.label, seen.time, np.ones(len(seen)), classes)),
        "condensed": reached(fit(rows.x, rows.label, rows.time, weight, classes)),
        "noised": max(noised),
        "noised evaluations": EVALUATIONS[int(np.argmax(noised))],
        "subsample": subsampled(seen, model, reached),
        "centroids": of_centroids(data, release, model),
        "evaluations": found.facts["evaluations"],
        "cpu seconds": round(seconds, 1),
    }


def measure(tested: Known) -> Measure:
    """What a model reaches on these records."""
    if tested.time is None:
        return lambda scores: auc(tested.label, scores(tested.x))
    ones = np.ones(len(tested.x))
    followed = FollowUp(tested.time, tested.label == 1, ones)
    return lambda scores: concordance(followed, scores(tested.x), ones)


def under_noise(real: Known, release: Release, model: str, evaluations: int, split: int) -> Scores:
    """A model of rows that were found on real records under the budget of the release."""
    mu, schema = float(release.receipt["mu"]), release.schema
    pool, points = condensed_under_noise(real, schema, model, SIZE, mu, evaluations, split)
    return fit_rows(MODELS[model], pool, points)


def subsampled(seen: Seen, model: str, reached: Measure) -> float:
    """Mean over several draws of a few records, from which the model can learn."""
    rng, found = np.random.default_rng(0), list[float]()
    while len(found) < DRAWS:
        some = seen.some(rng.choice(len(seen), SIZE, replace=False))
        if learnable(some):
            weight = np.full(SIZE, len(seen) / SIZE)
            found.append(reached(MODELS[model].fit(some.x, some.label, some.time, weight, seen.classes)) or 0.5)
    return float(np.mean(found))


def learnable(some: Seen) -> bool:
    """Whether both classes are among the records, or an event that another outlives."""
    if some.time is None:
        return len(np.unique(some.label)) > 1
    died = some.time[some.label == 1]
    return bool(len(died) and died.min() < some.time.max())


def of_centroids(data: Dataset, release: Release, model: str) -> float | None:
    """What all weighted centroids give, with a row for each class of each; they know no time to an event."""
    if MODELS[model].survival:
        return None
    site = release.site
    weights = site.labels * site.masses[:, None]
    k, classes = np.nonzero(weights > 0)
    fitted = MODELS[model].fit(site.means[k], classes, None, weights[k, classes], site.labels.shape[1])
    return auc(Known.of(data.test, data.schema).label, fitted(release.support.encode(data.test)))


def markdown(rows: Sequence[Facts]) -> str:
    """A line for each data set and model, a column for each way; means over the splits."""
    lines = heading(["data, model", "splits", *NAMES.values(), "CPU s", GOALS])
    for data, model in dict.fromkeys((row["data"], row["model"]) for row in rows):
        own = [row for row in rows if (row["data"], row["model"]) == (data, model)]
        mean = {name: None if own[0][name] is None else np.mean([row[name] for row in own]) for name in NAMES}
        shown = ["" if one is None else f"{one:.3f}".removeprefix("0") for one in mean.values()]
        seconds = np.mean([row["cpu seconds"] for row in own])
        lines.append(f"| {data}, {model} | {len(own)} | {' | '.join(shown)} | {seconds:.0f} | {goals(mean)} |")
    return "\n".join(lines)


def goals(mean: dict[str, Any]) -> str:
    """Whether condensed rows are near enough to all records of the release, and above what noise leaves."""
    reached = mean["condensed"] >= mean["release"] - NEAR, mean["condensed"] >= mean["noised"] + ABOVE
    return ", ".join("yes" if one else "no" for one in reached)


if __name__ == "__main__":
    main()
