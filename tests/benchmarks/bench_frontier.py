"""What does staying near the density cost the classifier: by alpha of Eq. 6, or by a limit on the drift?

    python tests/benchmarks/bench_frontier.py [--data adult heart] [--keep]
    python tests/benchmarks/bench_frontier.py --write

Drift and loss of the inducing points of a release at epsilon 1 (delta 1/N), keyed noise, the first split;
both are of released values, on the records from which the points learn. Alpha takes as many steps as a limit does.
`--keep` keeps the figures in results/frontier.json, `--write` puts what is kept into docs/benchmarks.md and
docs/frontier.svg.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from time import process_time
from typing import Any

import numpy as np
from bench_many_sites import keep
from frontier_figure import draw
from markdown_tables import DOCUMENT, Part, heading
from public_data import load
from result_cells import RESULTS

from cohortmix.core import Budget
from cohortmix.core.audit.noise_keyed import KeyedNoise
from cohortmix.core.data.encoding import one_hot
from cohortmix.core.data.sampling import draw_groups, systematic
from cohortmix.core.single_release import Release
from cohortmix.core.steps import approximate
from cohortmix.core.steps.adapt import LONGER, adapt
from cohortmix.core.steps.adapting.constraint import Drift
from cohortmix.core.steps.adapting.lagrangian import Bound
from cohortmix.core.steps.centroids import Common
from cohortmix.core.steps.plan import SUPPORT, TARGETS
from cohortmix.core.steps.support import Support, choose_support
from cohortmix.core.synthesis import synthesize

FILE = RESULTS / "frontier.json"
TABLE = Part(DOCUMENT, "frontier", "bench_frontier.py")
FIGURE = DOCUMENT.with_name("frontier.svg")
DATA = {"adult": "UCI Adult", "heart": "UCI heart"}
ALPHAS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97)
LIMITS = (0.003, 0.01, 0.03, 0.1, 0.3)
EPSILON, STEPS = 1.0, 400
Facts = dict[str, Any]


def main() -> None:
    """Measure what is wanted, and show it."""
    wanted = arguments()
    if wanted.write:
        kept = json.loads(FILE.read_text())
        TABLE.write(markdown(kept))
        FIGURE.write_text(figure(kept), encoding="utf-8")
        return
    rows = [row for name in wanted.data for row in measured(name)]
    if wanted.keep:
        keep(FILE, rows, ("data", "by", "value"))
    print(markdown(rows))


def arguments() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", choices=DATA, default=list(DATA))
    parser.add_argument("--keep", action="store_true", help="keep the figures")
    parser.add_argument("--write", action="store_true", help="write what is kept into docs/")
    return parser.parse_args()


def measured(name: str) -> list[Facts]:
    """One release, adapted with each weight and under each limit."""
    data = load(name, 0)
    budget = Budget.from_epsilon(EPSILON, 1 / len(data.train), loose_delta=True)
    release = synthesize(data.train, data.schema, budget, noise=KeyedNoise(0), variant="cells")
    assert isinstance(release.common, Common)
    x, y = targets(release)
    start = choose_support(x, y, size=SUPPORT, seed=0)
    blocks, rows = release.common.groups.blocks, list[Facts]()
    for by, values in (("alpha", ALPHAS), ("limit", LIMITS)):
        for value in values:
            began = process_time()
            if by == "alpha":
                support = adapt(*start, x, y, blocks=blocks, alpha=value, steps=LONGER * STEPS)
            else:
                bounds = Bound.of(Drift(value), 0, y)
                support = adapt(*start, x, y, blocks=blocks, constraints=bounds, steps=STEPS)
            rows.append({"data": name, "by": by, "value": value} | facts(support, start[0], x, y))
            rows[-1]["cpu seconds"] = round(process_time() - began, 1)
    return rows


def targets(release: Release) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Records of the mixture that the release holds, with its posterior, as the points learn from them."""
    assert isinstance(release.common, Common)
    site, groups, rng = release.site, release.common.groups, np.random.default_rng(0)
    mixture = approximate.Mixture(weights=site.masses, means=site.means, labels=site.labels)
    drawn = draw_groups(systematic(mixture.weights, TARGETS, rng), mixture.means, groups.blocks, rng)
    x = one_hot(drawn, groups.sizes)
    return x, approximate.posterior(mixture, x)


def facts(support: Support, x_0: np.ndarray[Any, Any], x: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> Facts:
    """Both terms of Eq. 6, and the multiplier of a limit."""
    return {
        "drift": float(((support.points - x_0) ** 2).sum() / (x_0**2).sum()),
        "loss": float(0.5 * ((y - support.decision(x)) ** 2).sum(axis=1).mean()),
        "met": all(reached.met for reached in support.constraints),
        "multiplier": next((reached.multiplier for reached in support.constraints), None),
    }


def weight_of(row: Facts) -> float:
    """Alpha, or what the multiplier of a limit is as one: lambda / (1 + lambda)."""
    value = row["multiplier"]
    return float(row["value"] if value is None else value / (1 + value))


def markdown(rows: Sequence[Facts]) -> str:
    """A line for each weight and each limit."""
    lines = heading(["data", "given", "drift", "loss", "alpha, or lambda / (1 + lambda)", "CPU s"])
    for row in sorted(rows, key=lambda row: (row["data"], row["by"], row["value"])):
        given = f"alpha {row['value']:g}" if row["by"] == "alpha" else f"drift at most {row['value']:g}"
        given += "" if row["met"] else " (not met)"
        figures = f"{row['drift']:.5f} | {row['loss']:.5f} | {weight_of(row):.3f} | {row['cpu seconds']:.0f}"
        lines.append(f"| {DATA[row['data']]} | {given} | {figures} |")
    return "\n".join(lines)


def figure(rows: Sequence[Facts]) -> str:
    """The text of docs/frontier.svg."""
    return draw(
        {
            title: {
                by: [
                    (row["drift"], row["loss"], row["value"])
                    for row in rows
                    if (row["data"], row["by"]) == (name, by)
                ]
                for by in ("alpha", "limit")
            }
            for name, title in DATA.items()
        }
    )


if __name__ == "__main__":
    main()
