"""The demo: hospitals of a real trial pool what they know, on one machine, once with each kind of noise.

The records are those of the International Stroke Trial, which are public and come with the package
(demo/NOTICE.md): by its eight largest national networks, or by its 74 largest hospitals.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import typer

from cohortmix.core.data.schema import Schema
from cohortmix.core.privacy import gdp
from cohortmix.core.privacy.budget import Budget
from cohortmix.deploy.simulation.split import TEST_FRACTION, held_out
from cohortmix.deploy.tour_results import print_results
from cohortmix.protocol.local.progress import Quiet, steps
from cohortmix.protocol.local.terminal import Terminal, say
from cohortmix.protocol.steps import STEPS as OF_SUM
from cohortmix.protocol.study import JointNoise
from cohortmix.server.commands.outcome import with_enough_sites
from cohortmix.server.publish.manifest import SUMMARY

if TYPE_CHECKING:
    from cohortmix.deploy.simulation.comparison import Comparison
    from cohortmix.deploy.simulation.engines import Engine
    from cohortmix.deploy.simulation.simulation import Simulation

DATA = Path(__file__).with_name("demo")
NETWORKS = ("UK", "ITAL", "SWIT", "POLA", "NETH", "SWED", "AUSL", "NORW")
NAME = "International Stroke Trial"
EPSILON, DELTA = 1.0, 1e-5
MOST_NAMES = 8  # of sites that the plan names
STEPS = {
    "sites": "1 hospitals",
    "round 1": "2 release, round 1",
    "round 2": "2 release, round 2",
    "pool": "3 pool",
    "evaluate": "4 evaluation",
}
"""By event of `simulate`, the step of the demo that it belongs to; in order."""


@dataclass(frozen=True)
class View:
    """The trial as the demo shows it.

    Attributes
    ----------
    file, column : its table, and the column that names the site of a patient.
    noun : what a site is.
    joint : the terms of the study with joint noise.
    """

    file: str
    column: str
    noun: str
    joint: JointNoise


BY_NETWORK = View("stroke.parquet", "network", "network", JointNoise(conspirators=1, tolerated_dropouts=1))
BY_HOSPITAL = View("hospitals.parquet", "hospital", "hospital", JointNoise(conspirators=7, tolerated_dropouts=7))


class Tour(NamedTuple):
    """The two studies of a demo, over the same patients."""

    each: Simulation
    joint: Simulation


def demo(
    out: Annotated[
        Path,
        typer.Option(
            help="Folder for the study; that with joint noise is beside it, in OUT-joint. An earlier demo in them "
            "is replaced, and nothing else."
        ),
    ] = Path("cohortmix-demo"),
    hospitals: Annotated[
        bool, typer.Option("--hospitals", help="By the trial's 74 largest hospitals instead of eight networks.")
    ] = False,
    seed: Annotated[
        int | None, typer.Option(help="Repeatable test noise instead of the real one: NOT PRIVATE.")
    ] = None,
    flower: Annotated[
        bool,
        typer.Option(
            "--flower",
            help="On Flower's simulation engine, with a process for each processor core; slower to start.",
        ),
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Four steps on a real stroke trial, with noise of each site's own and with joint noise."""
    view = BY_HOSPITAL if hospitals else BY_NETWORK
    each, joint = tour(out, seed, view, "flower" if flower else "process")
    print_results(each.summary, joint.summary, view.noun, out, joint_folder(out))


def joint_folder(out: Path) -> Path:
    """The folder of the study with joint noise."""
    return out.with_name(f"{out.name}-joint")


def tour(out: Path, seed: int | None = None, view: View = BY_NETWORK, engine: Engine = "process") -> Tour:
    """Run the demo's studies, and say on standard error how they go on.

    Both are compared with the same models of real records, which are trained once.

    Raises
    ------
    InputError
        If a folder cannot be used. Nothing is written then.
    """
    from cohortmix.deploy.simulation.comparison import Comparison  # these two bring in JAX
    from cohortmix.server.publish.publish import require_free

    training, test = tables(view)
    for folder in (out, joint_folder(out)):
        require_free(folder, _is_demo(folder))
    _print_plan(view, training, test.num_rows)
    compared = Comparison(test)
    each = _study(view, training, compared, out, seed, None, engine)
    joint = _study(view, training, compared, joint_folder(out), seed, view.joint, engine)
    return Tour(each, joint)


def _study(
    view: View,
    training: pa.Table,
    compared: Comparison,
    out: Path,
    seed: int | None,
    joint: JointNoise | None,
    engine: Engine,
) -> Simulation:
    """One study of the trial; the sites of which there are too few patients for pairs give class centroids."""
    from cohortmix.deploy.simulation.consortium import Terms  # these two bring in JAX and Flower
    from cohortmix.deploy.simulation.simulation import simulate

    schema, sites = Schema.from_yaml((DATA / "schema.yaml").read_text("utf-8")), training.column(view.column)
    # With joint noise the default, 1/(10 N) with N all patients, is a little below that of one network.
    budget = Budget.from_epsilon(EPSILON, DELTA if joint is None else None)
    terms = Terms(budget=budget, name=NAME, seed=seed, public_data=True, joint=joint)
    say(f"noise: {'each' if joint is None else 'joint'}", err=True)
    with steps() as report, with_enough_sites():
        return simulate(
            training,
            schema,
            sites.to_pylist(),
            terms,
            held_out=compared,
            out=out,
            engine=engine,
            progress=_by_step(report, len(sites.unique())),
            accept_degraded=True,
            replace=_is_demo(out),
            tell=partial(say, err=True),
        )


def _is_demo(out: Path) -> bool:
    """Whether the folder holds an earlier demo: that can be made again, and another study cannot."""
    try:
        return bool(json.loads((out / SUMMARY).read_bytes())["study"]["name"] == NAME)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def tables(view: View = BY_NETWORK) -> tuple[pa.Table, pa.Table]:
    """The patients of the sites, and a quarter of each site that is held out; always the same patients."""
    trial = pq.read_table(DATA / view.file)
    order = NETWORKS if view is BY_NETWORK else sorted(trial[view.column].unique().to_pylist())
    trial = pa.concat_tables([trial.filter(pc.equal(trial[view.column], name)) for name in order])
    names = np.array(trial.column(view.column).to_pylist())
    quarter = held_out(np.arange(len(names)), names, TEST_FRACTION, seed=0)
    return trial.filter(pa.array(~quarter)), trial.filter(pa.array(quarter))


def _by_step(report: Callable[[str, int, int], None], sites: int) -> Callable[[str, int, int], None]:
    """Report events under the names of `STEPS`; when one step is over, the next is shown.

    A round of a joint study is five steps, each of all sites.
    """

    def progress(event: str, done: int, total: int) -> None:
        event, _, step = event.partition(", ")
        if event not in STEPS:
            return
        if step:
            done, total = OF_SUM.index(step) * sites + done, len(OF_SUM) * sites
        report(STEPS[event], done, total)

    return progress


def _print_plan(view: View, training: pa.Table, held_out: int) -> None:
    console = Terminal(stderr=True)
    counts: Mapping[str, int] = {
        pair["values"]: pair["counts"] for pair in training.column(view.column).value_counts().to_pylist()
    }
    named = ", ".join(f"{name} {n:,}" for name, n in list(counts.items())[:MOST_NAMES])
    more = f", ... {len(counts)} in all" if len(counts) > MOST_NAMES else ""
    mu = gdp.mu_of(EPSILON, DELTA)
    console.print(
        f"{len(counts)} {view.noun}s of a stroke trial make one synthetic cohort, and no record leaves its "
        f"{view.noun}: first with noise of each one's own, then with joint noise."
    )
    console.print()
    console.print(f"1 hospitals   patients: {named}{more}")
    console.print(f"2 release     each patient bears epsilon {EPSILON:g} at delta {DELTA:g}, that is mu {mu:.3f}")
    console.print("3 pool        the coordinator merges what was released and draws synthetic records")
    console.print(f"4 evaluation  on {held_out:,} other patients, a quarter of each {view.noun}")
    console.print()
