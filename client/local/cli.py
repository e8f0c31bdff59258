"""Commands of one hospital, or of a researcher, with one table: `schema draft`, `evaluate`, `synthesize`."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cohortmix.client.local.draft import draft as draft_of
from cohortmix.client.local.figures import print_figures
from cohortmix.client.local.output import drawn, require_free, write_release
from cohortmix.client.local.pair import require_pair
from cohortmix.client.local.plot import draw
from cohortmix.client.table.data import open_all, open_table
from cohortmix.core.data.patients import count_patients
from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import InputError, Source
from cohortmix.core.data.words import in_quotes
from cohortmix.core.privacy.budget import MIN_PATIENTS, Budget
from cohortmix.core.steps.adapting.constraint import parse
from cohortmix.core.steps.adapting.constraint import require as require_possible
from cohortmix.core.utility.checks.check import MOST_UNREADABLE, Checked, MisfitError, check
from cohortmix.protocol.local.checked import MaxUnreadable, misfit, summary, tell_checked
from cohortmix.protocol.local.outfile import Replace, require_free_file, write_file
from cohortmix.protocol.local.progress import Quiet, step, steps
from cohortmix.protocol.local.rows import Rows
from cohortmix.protocol.local.tables import print_rows
from cohortmix.protocol.local.terminal import Terminal, say
from cohortmix.protocol.local.textfile import read_schema
from cohortmix.protocol.local.wording import count

if TYPE_CHECKING:
    from cohortmix.core.single_release import Release

DataFile = Annotated[Path, typer.Option("--data", help="A CSV or Parquet file, or a folder of Parquet files.")]
SchemaFile = Annotated[Path, typer.Option("--schema", help="The data dictionary of the table, in YAML.")]

Constraint = Annotated[
    list[str] | None,
    typer.Option(
        help="What the inducing points must keep: 'drift<=0.1', 'recall(dead)>=0.8' or "
        "'calibration(SEX=F, dead)<=0.05'. May be repeated."
    ),
]

AcceptDegraded = Annotated[
    bool,
    typer.Option(
        "--accept-degraded", help="Go on where there are patients for class centroids only, not for pairs."
    ),
]

MAX_EPSILON, MIN_MU = 1e6, 1e-6  # beyond these, sums or noise would leave the 62 bits in which the vault is exact


def draft(data: DataFile) -> None:
    """Print a first schema of a table, with gaps for a person to fill from the data dictionary."""
    typer.echo(draft_of(open_all(data), name=data.name.partition(".")[0]), nl=False)  # a file in YAML, not a line


def evaluate(
    synthetic: Annotated[Path, typer.Option(help="Synthetic records, CSV or Parquet.")],
    real: Annotated[Path, typer.Option(help="Real records, CSV or Parquet.")],
    schema: SchemaFile,
    target: Annotated[
        list[str] | None,
        typer.Option(help="A category or number, a rule as 'AGE>=70', or 'TIME, EVENT'. May be repeated."),
    ] = None,
    strata: Annotated[str | None, typer.Option(help="Tell survival curves apart by a category or rule.")] = None,
    more_targets: Annotated[list[str] | None, typer.Argument(metavar="[COL]...", hidden=True)] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")] = None,
    figure: Annotated[Path | None, typer.Option(help="Draw curves and predictions into this SVG file.")] = None,
    replace: Replace = False,
    max_unreadable: MaxUnreadable = MOST_UNREADABLE,
    quiet: Quiet = False,
) -> None:
    """Train on synthetic records, test on real ones. The figures are not private."""
    from cohortmix.core.steps.progress import observed  # not loaded for other commands
    from cohortmix.core.utility.evaluate import evaluate as report_of  # brings in LightGBM

    if more_targets and not target:
        raise InputError(f"unexpected argument {more_targets[0]!r}; name targets with --target")
    for file, other in ((json_file, figure), (figure, json_file)):
        require_free_file(file, replace, (synthetic, real, schema, *([other] if other is not None else [])))
    if figure is not None and figure.suffix.lower() != ".svg":
        raise InputError(f"expected --figure to name an SVG file, such as figure.svg, got {figure.name!r}")
    require_pair(synthetic, real)
    dictionary, targets = read_schema(schema), (*(target or ()), *(more_targets or ()))
    if figure is not None and not targets and dictionary.target is None:
        raise InputError("the schema has no target to draw; name one with --target, or leave out --figure")
    sample, _ = open_checked(synthetic, without_key(dictionary), max_unreadable, "synthetic")
    records, checked = open_checked(real, dictionary, max_unreadable, "real")
    tell_checked(checked)
    with steps() as progress, observed(progress):
        report = report_of(sample, records, dictionary, targets, strata)
    if figure is not None:
        write_file(figure, draw(report), replace)
    if json_file is not None:
        write_file(json_file, json.dumps(report, indent=2) + "\n", replace)
    print_figures(report)


def synthesize(
    data: DataFile,
    schema: SchemaFile,
    epsilon: Annotated[float, typer.Option(help="Privacy budget of each patient, above zero.")],
    out: Annotated[Path, typer.Option(help="Folder for the release; it appears as a whole or not at all.")],
    delta: Annotated[
        float | None, typer.Option(help="By default min(1e-5, 1/(10 N)) for N patients; not above 1/(10 N).")
    ] = None,
    loose_delta: Annotated[
        bool, typer.Option("--loose-delta", help="Permit a larger delta, to compare with published figures.")
    ] = False,
    rows: Rows = None,
    max_unreadable: MaxUnreadable = MOST_UNREADABLE,
    accept_degraded: AcceptDegraded = False,
    variant: Annotated[
        str | None,
        typer.Option(help="cells, scores or gaussian; by default what schema, N and budget call for."),
    ] = None,
    constraint: Constraint = None,
    seed: Annotated[
        int | None, typer.Option(help="Repeatable test noise instead of the real one: NOT PRIVATE.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Make a private synthetic version of one table, without any server."""
    dictionary, budget = read_schema(schema), budget_of(epsilon, delta, loose_delta)
    require_free(out)
    constraints = tuple(map(parse, constraint or ()))
    require_possible(constraints, dictionary)
    source, checked = open_checked(data, dictionary, max_unreadable)
    tell_checked(checked)
    patients = count_patients(source, dictionary).number
    if patients < MIN_PATIENTS:
        raise InputError(
            f"the table has {count(patients, 'patient')}, a site needs at least {MIN_PATIENTS}; "
            f"{MIN_PATIENTS - patients} more would do"
        )
    require_spendable(budget, patients)
    from cohortmix.core.steps.progress import observed  # not loaded for other commands

    with steps() as report, observed(report):
        options = {"checked": checked, "variant": variant, "constraints": constraints}
        release = _release(source, dictionary, budget, seed, accept_degraded=accept_degraded, **options)
        if release.unmet:
            raise InputError(
                f"the constraints cannot be kept together: {release.unmet}; nothing is written, but the budget is "
                "spent as if it were, so loosen them before the next run"
            )
        records = drawn(release, rows)
    wanted = rows or patients
    facts = _summary(release, 0 if records is None else records.num_rows)
    write_release(out, release, records, facts)
    _print_release(facts, out, summary(checked))
    if facts["rows"] < wanted:
        raise InputError(
            f"there is not enough memory for {count(wanted, 'record')}: the release was paid for and is kept in "
            f"{in_quotes(out)}, with {count(facts['rows'], 'record')}"
        )


def budget_of(epsilon: float, delta: float | None, loose_delta: bool) -> Budget:
    """The budget of a command; InputError if it is impossible."""
    try:
        return Budget.from_epsilon(epsilon, delta, loose_delta=loose_delta)
    except ValueError as error:
        raise InputError(str(error)) from None


def require_spendable(budget: Budget, patients: int) -> None:
    """Raise InputError for a delta too large for this number of patients, or a budget that the vault cannot spend.

    The vault is exact in 62 bits: an epsilon beyond `MAX_EPSILON` or a mu below `MIN_MU` leaves them.
    """
    if budget.epsilon is not None and budget.epsilon > MAX_EPSILON:
        raise InputError(f"epsilon={budget.epsilon:g} protects nobody: expected at most {MAX_EPSILON:g}")
    try:
        mu = budget.resolve(patients).mu
    except ValueError as error:
        raise InputError(str(error)) from None
    if mu < MIN_MU:
        raise InputError(f"this budget is mu={mu:.3g}, expected mu >= {MIN_MU:g}; raise epsilon or delta")


def open_checked(
    data: Path, schema: Schema, max_unreadable: float = MOST_UNREADABLE, what: str = ""
) -> tuple[Source, Checked]:
    """A table that fits the schema, each line of which a person has confirmed; and what the check found in it.

    Parameters
    ----------
    max_unreadable : the largest share of a column's values that may be no number, or no date.
    what : the name of the table, for messages, where there are two.

    Raises
    ------
    SchemaError
        If a line of the schema is not confirmed.
    InputError
        If the table cannot be read, or does not fit.
    """
    schema.require_confirmed()
    try:
        source = open_table(data, schema)
        with step(f"checking the {what} table".replace("  ", " ")):
            return source, check(source, schema, max_unreadable)
    except MisfitError as error:
        raise misfit(error, what) from None
    except InputError as error:
        raise InputError(f"the {what} table: {error}" if what else str(error)) from None


def without_key(schema: Schema) -> Schema:
    """The schema of synthetic records, which belong to no patient."""
    return schema.model_copy(update={"patient_key": None})


def _release(source: Source, schema: Schema, budget: Budget, seed: int | None, **options: Any) -> Release:
    from cohortmix.core.synthesis import synthesize as release_of  # brings in JAX

    if seed is None:
        return release_of(source, schema, budget, **options)
    from cohortmix.core.audit.noise_keyed import KeyedNoise  # only a command that asks for test noise imports it

    return release_of(source, schema, budget, noise=KeyedNoise(seed), **options)


def _summary(release: Release, rows: int) -> dict[str, Any]:
    from cohortmix.core.release.lost_in_words import paragraph  # brings in JAX

    receipt, schema = release.receipt, release.schema
    warning = {"warning": receipt["warning"]} if "warning" in receipt else {}
    return warning | {
        "schema": {"name": schema.name, "hash": schema.hash, "target": schema.target_name},
        "n": receipt["patients"],
        "mu": receipt["mu"],
        "epsilon": receipt["epsilon"],
        "delta": receipt["delta"],
        "loose_delta": receipt["loose_delta"],
        "noise": receipt["noise"],
        "centroids": len(release.site.masses),
        "support": len(release.site.support_points),
        "degraded_to_class_centroids": receipt["degraded_to_class_centroids"],
        **{name: receipt[name] for name in ("constraints",) if name in receipt},
        "lost": release.lost.facts | {"text": paragraph(release.lost)},
        "rows": rows,
        "seconds": None,  # it grows with the number of rows, which is not public
        "version": version("cohortmix"),
    }


def _print_release(summary: dict[str, Any], out: Path, changed: str) -> None:
    console = Terminal()
    if "warning" in summary:
        console.print(summary["warning"], style="bold red")
    figures = (summary["n"], f"{summary['mu']:.4g}", f"{summary['epsilon']:.4g}", f"{summary['delta']:.3g}")
    header = ("N", "mu", "epsilon", "delta", "noise", "centroids", "records")
    print_rows(console, header, [(*figures, summary["noise"], summary["centroids"], summary["rows"])])
    if summary["loose_delta"]:
        console.print("delta is above 1/(10 N): for comparisons with published figures only")
    if summary["lost"]["text"]:
        console.print(f"what this release could not carry: {summary['lost']['text']}")
    if changed:
        say(f"not as declared in your table (said here alone): {changed}", err=True)
    console.print(f"written to {out}")
