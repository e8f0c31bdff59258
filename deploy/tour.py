"""The demo: eight national stroke networks pool what they know, on one machine, with Flower's simulation engine.

The records are those of the International Stroke Trial, which are public and come with the package
(demo/NOTICE.md).
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import typer
from rich import box
from rich.console import RenderableType

from cohortmix.core.data.schema import Schema
from cohortmix.core.privacy import gdp
from cohortmix.core.privacy.budget import Budget
from cohortmix.core.privacy.noise_source import NOT_PRIVATE
from cohortmix.core.steps.plan import Plan
from cohortmix.deploy.simulation.split import TEST_FRACTION, held_out
from cohortmix.protocol.local.progress import steps
from cohortmix.protocol.local.tables import figure
from cohortmix.protocol.local.terminal import Terminal, compact_table, say
from cohortmix.protocol.local.wording import at_most, reduced
from cohortmix.server.commands.outcome import with_enough_sites
from cohortmix.server.publish.gains import compared, shown_gain
from cohortmix.server.publish.manifest import SUMMARY

if TYPE_CHECKING:
    from cohortmix.deploy.simulation.engines import Engine
    from cohortmix.deploy.simulation.simulation import Simulation

DATA = Path(__file__).with_name("demo")
NETWORKS = ("UK", "ITAL", "SWIT", "POLA", "NETH", "SWED", "AUSL", "NORW")
NAME = "International Stroke Trial"
EPSILON, DELTA = 1.0, 1e-5
FALSE_ALARMS = 0.05
STEPS = {
    "sites": "1 hospitals",
    "round 1": "2 release, round 1",
    "round 2": "2 release, round 2",
    "pool": "3 pool",
    "evaluate": "4 evaluation",
}
"""By event of `simulate`, the step of the demo that it belongs to; in order."""


def demo(
    out: Annotated[
        Path, typer.Option(help="Folder for the study; an earlier demo in it is replaced, and nothing else.")
    ] = Path("cohortmix-demo"),
    seed: Annotated[
        int | None, typer.Option(help="Repeatable test noise instead of the real one: NOT PRIVATE.")
    ] = None,
) -> None:
    """Four steps on a real trial of eight stroke networks: simulate, release, pool, evaluate."""
    print_results(tour(out, seed), out)


def tour(out: Path, seed: int | None = None, engine: Engine = "flower") -> Simulation:
    """Run the demo's study, and say on standard error how it goes on.

    Raises
    ------
    InputError
        If `out` cannot be used. Nothing is written then.
    """
    from cohortmix.deploy.simulation.consortium import Terms  # these two bring in JAX and Flower
    from cohortmix.deploy.simulation.simulation import simulate

    schema, (table, test) = Schema.from_yaml((DATA / "schema.yaml").read_text("utf-8")), tables()
    networks = table.column("network").to_pylist()
    budget = Budget.from_epsilon(EPSILON, DELTA)
    terms = Terms(budget=budget, name=NAME, seed=seed, public_data=True)
    patients = {name: networks.count(name) for name in NETWORKS}
    _print_plan(patients, test.num_rows)
    with steps() as report, with_enough_sites():
        progress = _by_step(report, _totals(schema, tuple(patients.values())))
        return simulate(
            table,
            schema,
            networks,
            terms,
            held_out=test,
            out=out,
            engine=engine,
            progress=progress,
            replace=_is_demo(out),
            tell=partial(say, err=True),
        )


def _is_demo(out: Path) -> bool:
    """Whether the folder holds an earlier demo: that can be made again, and another study cannot."""
    try:
        return bool(json.loads((out / SUMMARY).read_bytes())["study"]["name"] == NAME)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def tables() -> tuple[pa.Table, pa.Table]:
    """The patients of the networks, and a quarter of each network that is held out; always the same patients."""
    trial = pq.read_table(DATA / "stroke.parquet")
    trial = pa.concat_tables([trial.filter(pc.equal(trial["network"], name)) for name in NETWORKS])
    names = np.array(trial.column("network").to_pylist())
    quarter = held_out(np.arange(len(names)), names, TEST_FRACTION, seed=0)
    return trial.filter(pa.array(~quarter)), trial.filter(pa.array(quarter))


def print_results(finished: Simulation, out: Path) -> None:
    """Print one table of what each network has by itself and what all have together, and what it means."""
    console, summary = Terminal(), finished.summary
    if summary["noise"] == "TEST":
        console.print(NOT_PRIVATE, style="bold red")
    console.print(_table(summary))
    for sentence in _sentences(summary):
        console.print(f"- {sentence}")
    console.print()
    console.print(
        f"For people: {out / 'report.html'}; for machines: pooled.parquet, centroids.parquet, summary.json"
    )
    console.print(f"To check receipts and budget: cohortmix verify {shlex.quote(str(out))}")
    console.print(
        "Data: International Stroke Trial (Sandercock, Niewada, Czlonkowska 2011, doi:10.7488/ds/104), ODC-By 1.0",
        style="dim",
    )


def _totals(schema: Schema, patients: Sequence[int]) -> dict[str, int]:
    """By event, how much there is to do; all of it is public beforehand."""
    mu2 = Fraction(gdp.mu_of(EPSILON, DELTA)) ** 2
    second = sum(Plan(schema, mu2, n).fits_mixture for n in patients)
    sites = len(patients)
    return {"sites": sites, "round 1": sites, "round 2": second, "pool": 1, "evaluate": sites + 2}


def _by_step(
    report: Callable[[str, int, int], None], totals: Mapping[str, int]
) -> Callable[[str, int, int], None]:
    """Report events under the names of `STEPS`; when one step is over, the next is shown."""

    def progress(event: str, done: int, total: int) -> None:
        if event not in STEPS:
            return
        report(STEPS[event], done, total)
        coming = list(STEPS)[list(STEPS).index(event) + 1 :]
        if done == total and coming:
            report(STEPS[coming[0]], 0, totals[coming[0]])

    return progress


def _print_plan(patients: Mapping[str, int], held_out: int) -> None:
    console = Terminal(stderr=True)
    networks = ", ".join(f"{name} {n:,}" for name, n in patients.items())
    mu = gdp.mu_of(EPSILON, DELTA)
    console.print("Eight national stroke networks make one synthetic cohort, and no record leaves its network.")
    console.print()
    console.print(f"1 hospitals   patients: {networks}")
    console.print(f"2 release     each network spends epsilon {EPSILON:g} at delta {DELTA:g}, that is mu {mu:.3f}")
    console.print("3 pool        the coordinator merges what was released and draws synthetic records")
    console.print(f"4 evaluation  on {held_out:,} other patients, a quarter of each network")
    console.print()


def _table(summary: Mapping[str, Any]) -> RenderableType:
    header = ("trained on", "N", "mu", "epsilon", "AUC", "gain", "95 % interval")
    table = compact_table(header, box=box.SIMPLE)
    pooled, whole = summary["pooled"]["auc"], summary["consortium"]
    for site in summary["sites"]:
        figures = figure(site["own_auc"]), *shown_gain(site, pooled)
        table.add_row(f"{site['name']} real", *_costs(site, site["n"]), *figures)
    patients = sum(site["n"] for site in summary["sites"])
    table.add_section()
    table.add_row("pooled synthetic", *_costs(whole, patients), figure(pooled), style="bold")
    table.add_row("pooled real", f"{patients:,}", "-", "-", figure(summary["ceiling_auc"]))
    return table


def _costs(budget: Mapping[str, Any], patients: int) -> tuple[str, str, str]:
    return f"{patients:,}", f"{budget['mu']:.3f}", f"{budget['epsilon']:.2f}"


def _sentences(summary: Mapping[str, Any]) -> list[str]:
    """What the table means."""
    sites, mu = summary["sites"], summary["consortium"]["mu"]
    detected = gdp.detection_rate(mu, FALSE_ALARMS)
    sentences = [
        f"Against a network's own records the pooled synthetic cohort predicts {compared(summary, 'network')}; "
        "a difference is within chance where its interval holds zero.",
        "AUC: how often a patient who died or stayed dependent is ranked above one who did not; 0.5 is chance.",
        f"An attacker who knows every other record and is allowed {FALSE_ALARMS:.0%} false alarms finds at most "
        f"{at_most(detected)} of the members; guessing finds {FALSE_ALARMS:.0%}.",
        f"This counts on every patient being in one network only; if all were in all of them, mu would be "
        f"{summary['consortium']['mu_worst']:.3f}.",
    ]
    names = [site["name"] for site in sites if site["reduced"]]
    return sentences + ([reduced(names, len(sites))] if names else [])
