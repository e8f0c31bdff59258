"""A whole study on one machine: split a table into sites, run the federation, pool, and publish.

This is what `cohortmix simulate` and `cohortmix demo` do. Sites, coordinator and messages are those of a deployed
study; only the walls between them are missing.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from cohortmix.core.arguments import (
    MOST_ROWS,
    require_kind,
    require_one_of,
    require_share,
    require_truth,
    require_whole,
)
from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import InputError, source_of
from cohortmix.core.data.values import patient_keys
from cohortmix.core.utility.checks.check import MOST_UNREADABLE, check
from cohortmix.deploy.simulation.comparison import Comparison, Table
from cohortmix.deploy.simulation.consortium import Consortium, Terms
from cohortmix.deploy.simulation.engines import Engine, run, silent
from cohortmix.protocol.fields import Name
from cohortmix.protocol.messages import StudySpec
from cohortmix.protocol.overlap import Overlap, sites_per_patient
from cohortmix.server.app import Progress
from cohortmix.server.commands.reduced import notice, require_a_mixture
from cohortmix.server.publish.pool import draw
from cohortmix.server.publish.publish import publish, require_free, summarise
from cohortmix.server.result import StudyResult

_NAME: TypeAdapter[str] = TypeAdapter(Name)


@dataclass(frozen=True, eq=False)
class Simulation:
    """A finished study.

    Attributes
    ----------
    result : what the sites have released.
    records : the pooled synthetic records, the schema's columns and `site`.
    summary : the content of summary.json.
    """

    result: StudyResult
    records: pd.DataFrame
    summary: dict[str, Any]


def simulate(
    table: Table,
    schema: Schema,
    sites: Sequence[object],
    terms: Terms,
    *,
    held_out: Table | Comparison | None = None,
    rows: int | None = None,
    out: Path | None = None,
    engine: Engine = "process",
    progress: Progress = silent,
    accept_degraded: bool = False,
    max_unreadable: float = MOST_UNREADABLE,
    replace: bool = False,
    tell: Callable[[str], None] | None = None,
) -> Simulation:
    """Run a study over the rows of one table, in which each row belongs to a site.

    Parameters
    ----------
    table : the records of all sites, n rows; they are checked against the schema, as `site check` does.
    sites : the names of the rows' sites, n of them. How many patients each site has is published without noise. So
        unless the records are public, a row's site must be its hospital or drawn at random, and must not depend on
        anything else.
    terms : what the study says apart from its sites.
    held_out : public records on which models are compared; only with `terms.public_data`. Several studies of the
        same rows can share a `Comparison`.
    rows : how many synthetic records to draw; by default as many as there are patients.
    out : folder for the files of the study; without one nothing is written.
    engine : "process", or "flower" for Flower's simulation engine.
    progress : called as progress(event, done, total); events are "sites", "round 1", "round 2", "pool",
        "evaluate" and "publish".
    max_unreadable : as in `core/utility/checks/check.py`.
    accept_degraded : permits a study in which every site is so small that it releases class centroids only.
    replace : permits `out` to hold an earlier study, which is replaced; else it must be new or empty.
    tell : if only some sites have patients enough for a mixture, gets a sentence that says so, before anything is
        spent.

    Raises
    ------
    InputError
        If the table, the sites, `held_out` or `out` cannot be used. Nothing is spent or written then.
    DegradedError
        If no site has patients enough for a mixture, and `accept_degraded` is not set. Nothing is spent or written
        then.
    TooFewSites
        If fewer than `terms.min_sites` answer round 1.
    """
    start, day = time.monotonic(), datetime.now(UTC).date()  # the day of the beginning, which no record can move
    _require_arguments(schema, terms, rows, engine, max_unreadable)
    require_truth("accept_degraded", accept_degraded)
    require_truth("replace", replace)
    if held_out is not None and not terms.public_data:
        raise InputError("figures on held-out records are for public data only; declare it with --public-data")
    compared = held_out if held_out is None or isinstance(held_out, Comparison) else Comparison(held_out)
    if compared is not None:
        compared.require(schema)
    if out is not None:
        require_free(out, replace)
    tables = _split(table, schema, sites, terms.overlap, max_unreadable)
    with TemporaryDirectory(prefix="cohortmix-") as root:
        consortium = Consortium.create(Path(root), tables, schema, terms)
        _require_mixtures(consortium.study.study, schema, accept_degraded, tell)
        progress("sites", len(tables), len(tables))
        run(consortium, engine, progress)
        with consortium.coordinator() as coordinator:
            result, key = coordinator.finish(), consortium.key
    drawn = draw(result, rows)
    progress("pool", 1, 1)
    figures = None if compared is None else compared.figures(drawn, tables, schema, progress)
    seconds = round(time.monotonic() - start, 1) if terms.public_data else None
    summary = summarise(result, len(drawn), seconds, figures, None if terms.seed is not None else day)
    if out is not None:
        publish(result, drawn, summary, out, key, replace=replace)
        progress("publish", 1, 1)
    return Simulation(result, drawn, summary)


def _require_arguments(
    schema: object, terms: object, rows: object, engine: object, max_unreadable: object
) -> None:
    """Raise InputError for an argument of the wrong type, or out of range, before a record is read."""
    require_kind("schema", schema, Schema, "read a file's text with Schema.from_yaml")
    require_kind("terms", terms, Terms, "write Terms(budget=Budget.from_epsilon(1.0))")
    if rows is not None:
        require_whole("rows", rows, 1, MOST_ROWS)
    require_one_of("engine", engine, get_args(Engine))
    require_share("max_unreadable", max_unreadable)


def _require_mixtures(spec: StudySpec, schema: Schema, accepted: bool, tell: Callable[[str], None] | None) -> None:
    require_a_mixture(spec, schema, accepted, "--accept-degraded (accept_degraded=True)")
    text = notice(spec, schema)
    if text is not None and tell is not None:
        tell(text)


def _split(
    table: Table, schema: Schema, sites: Sequence[object], overlap: Overlap, max_unreadable: float
) -> dict[str, pa.Table]:
    """The rows of each site, in the order of the sites' names; only the schema's columns and the patient key.

    Not in the order of the table: which site comes first there depends on a patient, and the study would show it.
    """
    source = source_of(table, (*schema.columns, *([schema.patient_key] if schema.patient_key else [])))
    check(source, schema, max_unreadable)
    whole, names = pa.Table.from_batches(list(source.batches())), np.array([_name(site) for site in sites])
    if len(names) != whole.num_rows:
        raise InputError(f"expected a site for each row of the table, got {len(names)} for another number of rows")
    _check_overlap(whole, names, schema, overlap)
    return {str(name): whole.filter(pa.array(names == name)) for name in sorted(set(names.tolist()))}


def _check_overlap(table: pa.Table, names: NDArray[np.str_], schema: Schema, overlap: Overlap) -> None:
    """Raise InputError if patients have records at more sites than declared; all tables together show it."""
    if schema.patient_key is None or overlap == "unknown":
        return
    keys = patient_keys(table.column(schema.patient_key))
    sites = pd.DataFrame({"key": keys, "site": names}).dropna().groupby("key")["site"].nunique()
    most = int(sites.max()) if len(sites) else 0
    if most > sites_per_patient(overlap, most):
        raise InputError(
            f"patients have records at more sites than declared, which was {overlap!r}; "
            "pass --overlap with the most sites of one patient, or --overlap unknown"
        )


def _name(site: object) -> str:
    try:
        return _NAME.validate_python(str(site).strip())
    except ValidationError:
        raise InputError(
            "the site column: a value cannot name a site; use at most 64 letters, digits, and ' ', '.', '-' or "
            "'_' between"
        ) from None
