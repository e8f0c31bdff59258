"""The commands that need both sides of a consortium: `simulate` and `verify`."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import pyarrow as pa
import typer

from cohortmix.client.local.cli import (
    AcceptDegraded,
    Constraint,
    DataFile,
    SchemaFile,
    budget_of,
    require_spendable,
)
from cohortmix.client.table.data import open_table
from cohortmix.core.data.table import InputError
from cohortmix.core.data.words import listed
from cohortmix.core.privacy import joint as joint_terms
from cohortmix.core.utility.checks.check import MOST_UNREADABLE, MisfitError, check
from cohortmix.deploy.simulation.split import TEST_FRACTION, Split
from cohortmix.protocol.constraints import read_constraints
from cohortmix.protocol.local.checked import MaxUnreadable, misfit, tell_checked
from cohortmix.protocol.local.progress import Quiet, step, steps
from cohortmix.protocol.local.tables import figure, print_rows
from cohortmix.protocol.local.terminal import Terminal, say
from cohortmix.protocol.local.textfile import read_schema
from cohortmix.protocol.local.wording import reduced
from cohortmix.protocol.overlap import Overlap, parse_overlap
from cohortmix.protocol.study import JointNoise, usual_conspirators
from cohortmix.server.commands.outcome import with_enough_sites
from cohortmix.server.publish.constraints import in_one_sentence
from cohortmix.server.publish.gains import MEASURES, compared

if TYPE_CHECKING:
    from cohortmix.core.data.schema import Schema


def simulate(
    data: DataFile,
    schema: SchemaFile,
    epsilon: Annotated[float, typer.Option(help="Privacy budget of each patient at each site, above zero.")],
    out: Annotated[Path, typer.Option(help="Folder for the study; it appears as a whole or not at all.")],
    site_column: Annotated[
        str | None, typer.Option(help="Column that names the hospital of each record; not a column of the schema.")
    ] = None,
    sites: Annotated[int | None, typer.Option(min=1, help="Split the patients at random into this many.")] = None,
    skew: Annotated[
        float | None,
        typer.Option(help="With --sites, of public data: the smaller, the more sites differ in the target."),
    ] = None,
    delta: Annotated[
        float | None, typer.Option(help="By default min(1e-5, 1/(10 N)), N the patients of the largest site.")
    ] = None,
    loose_delta: Annotated[
        bool, typer.Option("--loose-delta", help="Permit a larger delta, to compare with published figures.")
    ] = False,
    noise: Annotated[
        str,
        typer.Option(help="each: every site adds all of the noise; joint: only sums can be read, and share it."),
    ] = "each",
    conspirators: Annotated[
        int | None,
        typer.Option(
            min=1, help="With --noise joint: sites that may conspire; by default one in ten, at least one."
        ),
    ] = None,
    dropouts: Annotated[
        int | None, typer.Option(min=0, help="With --noise joint: sites that may be missing from a sum; 0.")
    ] = None,
    overlap: Annotated[
        str, typer.Option(help="At how many sites a patient can be: disjoint, a number, or unknown.")
    ] = "disjoint",
    constraint: Constraint = None,
    public_data: Annotated[
        bool, typer.Option("--public-data", help="The records are public: compute figures on held-out ones.")
    ] = False,
    test_fraction: Annotated[
        float | None, typer.Option(help=f"With --public-data: share of patients held out, {TEST_FRACTION}.")
    ] = None,
    max_unreadable: MaxUnreadable = MOST_UNREADABLE,
    accept_degraded: AcceptDegraded = False,
    seed: Annotated[
        int | None, typer.Option(help="Repeatable split and test noise instead of the real one: NOT PRIVATE.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Run a whole study on one machine: split a table into sites, federate, pool and publish."""
    _require_consistent(site_column, sites, skew, public_data, test_fraction)
    dictionary, budget, declared = read_schema(schema), budget_of(epsilon, delta, loose_delta), _overlap(overlap)
    dictionary.require_confirmed()
    constraints = tuple(map(str, read_constraints(constraint or (), dictionary)))
    if not public_data and seed is None:
        _require_public_split(dictionary, site_column, skew)
    source = open_table(data, dictionary, () if site_column is None else (site_column,))
    try:
        with step("checking the table"):
            checked = check(source, dictionary, max_unreadable)
            table = pa.Table.from_batches(list(source.batches()))
    except MisfitError as error:
        raise misfit(error) from None
    tell_checked(checked)
    dealt = random.SystemRandom().getrandbits(63) if seed is None else seed
    fraction = _held_out(dictionary, public_data, test_fraction)
    parts = Split.of(table, dictionary, site_column, sites, skew, fraction, dealt)
    joint = _joint(noise, conspirators, dropouts, len(set(parts.sites)))
    require_spendable(budget, parts.largest if joint is None else parts.patients)

    from cohortmix.deploy.simulation.consortium import Terms  # these two bring in JAX and Flower
    from cohortmix.deploy.simulation.simulation import simulate as run

    said: dict[str, Any] = {"overlap": declared, "seed": seed, "public_data": public_data, "joint": joint}
    terms = Terms(budget=budget, name=dictionary.name, constraints=constraints, **said)
    with steps() as progress, with_enough_sites():
        finished = run(
            parts.training,
            dictionary,
            parts.sites,
            terms,
            held_out=parts.held_out,
            out=out,
            progress=progress,
            accept_degraded=accept_degraded,
            max_unreadable=max_unreadable,
            tell=partial(say, err=True),
        )
    print_study(finished.summary)
    say(f"written to {out}")


def verify(
    paths: Annotated[list[Path], typer.Argument(metavar="DIR|RECEIPT...", help="Published folders or receipts.")],
) -> None:
    """Check published studies: signatures, hash chains, what they cost together, whether a file was altered."""
    from cohortmix.deploy.verify import verify as verified
    from cohortmix.server.publish.costs import warning

    console = Terminal()
    for study in verified(paths):
        spec = study.spec
        print_warning(console, warning(spec))
        rows = [
            (
                site,
                study.receipts[site][0].patients,
                len(study.receipts[site]),
                f"{cost.mu:.4g}",
                cost.epsilon(spec.delta),
            )
            for site, cost in study.spent.items()
        ]
        print_rows(console, ("site", "N", "receipts", "mu", "epsilon"), rows)
        console.print(
            f"study {spec.name!r}: every receipt holds; one patient mu {study.consortium.mu:.4g} "
            f"(overlap: {spec.overlap}), {study.consortium.worst:.4g} at worst; delta {spec.delta}"
        )
        if spec.joint is not None:
            console.print(joint_trust(spec.joint.conspirators, len(spec.sites)))
        console.print(_covered(study.files))
        console.print(f"signed by the coordinator {spec.coordinator_key}: compare it with the one you know")


def joint_trust(conspirators: int, sites: int) -> str:
    """Whom the patients of a joint study trust."""
    return f"joint noise: holds unless more than {conspirators} of the {sites} sites conspire with the coordinator"


def _covered(files: Sequence[str] | None) -> str:
    """What the coordinator vouches for with the manifest."""
    if files is None:
        return "no manifest was checked: nobody vouches for the synthetic records, the centroids and the report"
    others = [name for name in files if not name.startswith("receipts/")]
    return f"manifest: {len(files)} files are as the coordinator signed them: {listed([*others, 'the receipts'])}"


def print_warning(console: Terminal, summary: Mapping[str, Any]) -> None:
    """The line above everything else, if there is something to warn of."""
    if "warning" in summary:
        console.print(summary["warning"], style="bold red")


def print_study(summary: dict[str, Any]) -> None:
    """The table of a finished study, from its summary: a line for each site, the pooled records, the ceiling."""
    console = Terminal()
    print_warning(console, summary)
    joint = summary["study"]["joint"]
    rows: list[tuple[object, ...]] = [
        (
            one["name"],
            one["n"],
            f"{one['mu']:.4g}",
            f"{one['epsilon']:.4g}",
            "in the sum" if joint else f"{one['centroids']}" + (", class centroids" if one["reduced"] else ""),
            figure(one["own_score"]),
        )
        for one in summary["sites"]
    ]
    whole, pooled = summary["consortium"], summary["pooled"]
    patients = sum(one["n"] for one in summary["sites"])
    cost = (f"{whole['mu']:.4g}", f"{whole['epsilon']:.4g}")
    rows.append(("pooled synthetic", patients, *cost, pooled["centroids"], figure(pooled["score"])))
    if summary["ceiling_score"] is not None:
        rows.append(("pooled real (ceiling)", patients, None, None, None, figure(summary["ceiling_score"])))
    measure = MEASURES.get(summary["measure"], "score")
    print_rows(console, ("site", "N", "mu", "epsilon", "centroids", measure), rows)
    console.print(
        f"delta {whole['delta']:.3g}; overlap of sites: {summary['study']['overlap']}; "
        f"if every patient were at every site: mu {whole['mu_worst']:.4g}"
    )
    if joint is not None:
        console.print(joint_trust(joint["conspirators"], joint["sites"]))
    reduced_to = [one["name"] for one in summary["sites"] if one["reduced"]]
    if reduced_to:
        console.print(reduced(reduced_to, len(summary["sites"])))
    if summary["lost"]["text"]:
        console.print(f"what the pooled records could not carry: {summary['lost']['text']}")
    if kept := in_one_sentence(summary):
        console.print(kept)
    if pooled["score"] is not None and any(one["gain"] for one in summary["sites"]):
        console.print(f"pooled synthetic against a site's own records: {compared(summary)} (95 % intervals)")


def _require_consistent(
    site_column: str | None, sites: int | None, skew: float | None, public_data: bool, fraction: float | None
) -> None:
    if (site_column is None) == (sites is None):
        raise InputError("say where a record belongs: give either --site-column or --sites")
    if skew is not None and sites is None:
        raise InputError("--skew needs --sites: records with a --site-column are not dealt out")
    if fraction is not None and not public_data:
        raise InputError("--test-fraction needs --public-data: figures on held-out records are not private")


def _held_out(schema: Schema, public_data: bool, fraction: float | None) -> float | None:
    """The share of patients to hold out; None where there is nothing to compare on them."""
    if schema.target is None and fraction is not None:
        raise InputError("--test-fraction needs a schema with a target: models are compared by what they predict")
    usual = TEST_FRACTION if public_data and schema.target is not None else None
    return usual if fraction is None else fraction


def _joint(noise: str, conspirators: int | None, dropouts: int | None, sites: int) -> JointNoise | None:
    """The terms of a joint study; InputError for impossible ones, or terms without `--noise joint`."""
    if noise not in ("each", "joint"):
        raise InputError(f"expected --noise each or --noise joint, got {noise[:20]!r}")
    if noise == "each":
        if (conspirators, dropouts) != (None, None):
            raise InputError("--conspirators and --dropouts need --noise joint")
        return None
    t, missing = conspirators or usual_conspirators(sites), dropouts or 0
    try:
        joint_terms.Terms(sites, t, missing)
    except ValueError as error:
        raise InputError(f"--noise joint: {error}") from None
    return JointNoise(conspirators=t, tolerated_dropouts=missing)


def _require_public_split(schema: Schema, site_column: str | None, skew: float | None) -> None:
    """Refuse a split that depends on values of records: each site's number of patients is published exactly."""
    if skew is not None:
        raise InputError(
            "--skew deals patients out by their target, and how many each site has is published without noise: "
            "add --public-data if the records are public, or --seed for a test"
        )
    if site_column is not None and site_column in (*schema.columns, schema.patient_key):
        raise InputError(
            f"--site-column {site_column!r} is a column of the schema, and how many patients each site has is "
            "published without noise: name the column of hospitals, add --public-data if the records are public, "
            "or --seed for a test"
        )


def _overlap(text: str) -> Overlap:
    try:
        return parse_overlap(text)
    except ValueError as error:
        raise InputError(f"--overlap: {error}") from None
