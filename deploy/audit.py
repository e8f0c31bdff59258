"""The command `audit`: does the mechanism keep what it claims? For public tables only."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from math import floor
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cohortmix.client.local.cli import open_checked
from cohortmix.core.audit.lower_bound import DRAWS_PER_PIPELINE, RUNS, TIGHT, runs_needed
from cohortmix.core.audit.neighbours import Cohort
from cohortmix.core.data.table import InputError, Source
from cohortmix.core.privacy.noise import OpenDPNoise
from cohortmix.protocol.local.outfile import Replace, require_free_file, write_file
from cohortmix.protocol.local.progress import Quiet, steps
from cohortmix.protocol.local.tables import print_rows
from cohortmix.protocol.local.terminal import Terminal
from cohortmix.protocol.local.textfile import read_schema

if TYPE_CHECKING:
    from cohortmix.core.audit.audit import Audit
    from cohortmix.core.audit.lower_bound import LowerBound
    from cohortmix.core.audit.one_run import OneRun
    from cohortmix.core.audit.pairs import Map
    from cohortmix.core.audit.replay import Replays
    from cohortmix.core.data.schema import Schema

PATIENTS = 2000  # of the table are used; drawn at random if it has more
MOST_SENTENCES = 10  # about violations are printed; --json has all
WORKERS = 2  # processes that share the random pairs, the pipelines and the canaries
FAILED = 1  # exit status


def audit(
    data: Annotated[
        Path | None, typer.Option(help="A public table, CSV or Parquet; by default the stroke trial of the demo.")
    ] = None,
    schema: Annotated[Path | None, typer.Option(help="The data dictionary of the table, in YAML.")] = None,
    runs: Annotated[
        int,
        typer.Option(
            min=100,
            help="Draws of the noise on each of two neighbours, and a whole pipeline for every "
            f"{DRAWS_PER_PIPELINE} of them.",
        ),
    ] = RUNS,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the findings to this file.")] = None,
    replace: Replace = False,
    quiet: Quiet = False,
) -> None:
    """Test the guarantee on a public table: replays on neighbours, and lower bounds on mu.

    An audit looks at exact answers, so the table must be public: by giving it, you declare that it is. Exit
    status 1: the guarantee was seen to fail (for each lower bound, this can be chance one time in twenty at most).
    """
    require_free_file(json_file, replace, [path for path in (data, schema) if path is not None])
    source, dictionary = _public_table(data, schema)

    from cohortmix.core.audit.audit import audit as audited  # brings in JAX

    cohort = Cohort.of(source, dictionary, PATIENTS)
    with steps() as report, processes() as parallel_map:
        findings = audited(cohort, OpenDPNoise(), runs=runs, report=_by_tenths(report), each=parallel_map)
    facts = summary(findings, dictionary)
    if json_file is not None:
        write_file(json_file, json.dumps(facts, indent=2) + "\n", replace)
    _print(findings, facts)
    if findings.violations:
        raise typer.Exit(FAILED)


def summary(findings: Audit, schema: Schema) -> dict[str, Any]:
    """The findings in plain data."""
    return {
        "version": version("cohortmix"),
        "measured_on": "public data",
        "bounds_on": "cells",
        "schema": {"name": schema.name, "hash": schema.hash},
        "patients": findings.patients,
        "noise": findings.noise,
        "replays": {
            **{f"pipeline_{variant}": _replays(replays) for variant, replays in findings.whole.items()},
            "vault_worst_pairs": _replays(findings.named),
            "vault_random_pairs": _replays(findings.at_random),
        },
        "lower_bound": asdict(findings.bound) | {"pair": findings.furthest, "enough_runs": findings.bound.enough},
        "whole_pipelines": asdict(findings.pipelines) | {"enough_runs": findings.pipelines.enough},
        "one_run": asdict(findings.one_run),
        "violations": list(findings.violations),
    }


def claim(findings: Audit) -> str:
    """The sentence that sums up an audit; it is about the vault's answers."""
    return (
        f"claimed mu {findings.bound.claimed:.2f}, measured at least {_down(findings.bound.measured):.2f} "
        f"(at version {version('cohortmix')} on public data)"
    )


def _public_table(data: Path | None, schema: Path | None) -> tuple[Source, Schema]:
    if (data is None) != (schema is None):
        raise InputError("give both --data and --schema, or neither for the stroke trial of the demo")
    if data is None or schema is None:
        from cohortmix.deploy.tour import DATA

        data, schema = DATA / "stroke.parquet", DATA / "schema.yaml"
    dictionary = read_schema(schema)
    return open_checked(data, dictionary)[0], dictionary


def _by_tenths(report: Callable[[str, int, int], None]) -> Callable[[str, int, int], None]:
    """Report a part whenever another tenth of it is done."""
    tenths: dict[str, int] = {}

    def progress(part: str, done: int, total: int) -> None:
        if tenths.get(part) != 10 * done // total:
            tenths[part] = 10 * done // total
            report(part, done, total)

    return progress


def _replays(replays: Replays) -> dict[str, Any]:
    return {
        "pairs": replays.pairs,
        "largest_share_of_sensitivity2": replays.shares,
        "violations": len(replays.violations),
    }


@contextmanager
def processes() -> Iterator[Map]:
    """A `map` over WORKERS processes, each a fresh interpreter: a fork of one that runs JAX may hang."""
    with ProcessPoolExecutor(WORKERS, mp_context=get_context("spawn")) as pool:
        yield pool.map


def _print(findings: Audit, facts: dict[str, Any]) -> None:
    console = Terminal()
    _print_replays(console, facts["replays"])
    for sentence in findings.violations[:MOST_SENTENCES]:
        console.print(f"VIOLATION: {sentence}", style="bold red")
    if len(findings.violations) > MOST_SENTENCES:
        console.print(f"and {len(findings.violations) - MOST_SENTENCES} more", style="bold red")
    _print_bounds(console, findings)
    _print_too_few(console, findings)
    console.print(claim(findings), style="bold")


def _print_replays(console: Terminal, replays: dict[str, Any]) -> None:
    questions = dict.fromkeys(name for one in replays.values() for name in one["largest_share_of_sensitivity2"])
    rows = []
    for name, one in replays.items():
        reached = one["largest_share_of_sensitivity2"]
        shares = (f"{reached[question]:.4f}" if question in reached else None for question in questions)
        rows.append((name.replace("_", " "), one["pairs"], *shares, one["violations"]))
    short = (question.replace("second ", "") for question in questions)
    print_rows(console, ("replayed", "pairs", *short, "violations"), rows)
    console.print(
        "below a question: the largest squared distance of two exact answers, as a share of its sensitivity^2"
    )
    console.print()


def _print_bounds(console: Terminal, findings: Audit) -> None:
    one_run = findings.one_run
    trials: dict[str, tuple[LowerBound | OneRun, str]] = {
        "vault's answers": (findings.bound, f"{findings.bound.runs:,} draws a side"),
        "whole pipelines": (findings.pipelines, f"{findings.pipelines.runs:,} releases a side"),
        "one run": (one_run, f"{one_run.correct} of {one_run.guesses} guesses right"),
    }
    rows = [
        (name, tried, f"{bound.claimed:.2f}", f"{_down(bound.measured):.2f}", f"{bound.attainable:.2f}")
        for name, (bound, tried) in trials.items()
    ]
    print_rows(console, ("mu, measured on", "tries", "claimed", "at least", "if tight"), rows)
    for line in (
        f"at {findings.bound.confidence:.0%} confidence; if tight: what so many tries would show if the claim "
        "were tight",
        "noise was drawn for questions about cells of the first few features; questions about numbers were "
        "replayed",
        f"vault's answers: for the neighbours {findings.furthest!r}; one run: {one_run.canaries} canaries",
        "",
    ):
        console.print(line)


def _print_too_few(console: Terminal, findings: Audit) -> None:
    kinds = {"draws": (findings.bound, 1), "pipelines": (findings.pipelines, DRAWS_PER_PIPELINE)}
    for name, (bound, draws) in kinds.items():
        if not bound.enough:
            needed = draws * runs_needed(bound.claimed, bound.confidence)
            console.print(
                f"so few {name} show about mu {bound.attainable:.2f} of {bound.claimed:.2f} at this confidence, "
                f"however tight the claim; --runs {needed} would show {TIGHT:.0%} of it",
                style="bold yellow",
            )


def _down(mu: float) -> float:
    """A measured lower bound in two decimals, rounded down."""
    return floor(mu * 100) / 100
