"""A whole study on one machine: split a table into sites, run the federation, pool, and publish.

What `cohortmix simulate` and `cohortmix demo` do. Sites, coordinator and messages are those of a deployed study;
only their walls are missing.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from cohortmix.core.check import MOST_UNREADABLE, check
from cohortmix.core.schema import Schema
from cohortmix.core.table import InputError, TableSource, patient_keys
from cohortmix.deploy.consortium import Consortium, Terms
from cohortmix.deploy.engines import Engine, run, silent
from cohortmix.protocol.fields import Name
from cohortmix.protocol.messages import StudySpec
from cohortmix.server.app import Progress
from cohortmix.server.budget import Overlap
from cohortmix.server.pool import draw
from cohortmix.server.publish import Figures, publish, require_free, summarise
from cohortmix.server.reduced import notice, require_a_mixture
from cohortmix.server.result import StudyResult

Table: TypeAlias = pd.DataFrame | pa.Table
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
    held_out: Table | None = None,
    rows: int | None = None,
    out: Path | None = None,
    engine: Engine = "process",
    progress: Progress = silent,
    accept_degraded: bool = False,
    max_unreadable: float = MOST_UNREADABLE,
    replace: bool = False,
    tell: Callable[[str], None] | None = None,
) -> Simulation:
    """Run a study over the rows of one table, each of which belongs to a site.

    Parameters
    ----------
    table : the records of all sites, n rows; checked against the schema as `site check` does.
    sites : the name of each row's site, n of them. How many patients each has is published without noise: unless
        the records are public, a row's site is its hospital or was drawn at random, and follows from nothing else.
    terms : budget, overlap and the rest that the study says.
    held_out : public records on which models are compared; needs `terms.public_data`.
    rows : synthetic records to draw; as many as there are patients by default.
    out : folder for the files of the study; nothing is written without one.
    engine : "process", or "flower" for Flower's simulation engine.
    progress : told as progress(event, done, total); events are "sites", "round 1", "round 2", "pool",
        "evaluate" and "publish".
    max_unreadable : as in `core.check.check`.
    accept_degraded : permits a study whose every site has patients for class centroids only.
    replace : permits `out` to hold an earlier study, which is replaced; else it must be new or empty.
    tell : is given a sentence before anything is spent, where only some sites have room for a mixture.

    Raises
    ------
    InputError
        If the table, the sites or `out` cannot be used; nothing is written then.
    DegradedError
        If no site has room for a mixture, and `accept_degraded` is not set; nothing is spent or written then.
    TooFewSites
        If fewer than `terms.min_sites` answer round 1.
    """
    start, day = time.monotonic(), datetime.now(UTC).date()  # the day it began: nothing that a record could move
    if held_out is not None and not terms.public_data:
        raise InputError("figures on held-out records are for public data only; declare it with --public-data")
    if out is not None:
        require_free(out, replace)
    tables = _split(table, schema, sites, terms.overlap, max_unreadable)
    with TemporaryDirectory(prefix="cohortmix-") as root:
        consortium = Consortium.found(Path(root), tables, schema, terms)
        _require_mixtures(consortium.study.study, schema, accept_degraded, tell)
        progress("sites", len(tables), len(tables))
        run(consortium, engine, progress)
        with consortium.coordinator() as coordinator:
            result, key = coordinator.finish(), consortium.key
    drawn = draw(result, rows)
    progress("pool", 1, 1)
    figures = None if held_out is None else _figures(drawn, held_out, tables, schema, progress)
    seconds = round(time.monotonic() - start, 1) if terms.public_data else None
    summary = summarise(result, len(drawn), seconds, figures, None if terms.seed is not None else day)
    if out is not None:
        publish(result, drawn, summary, out, key, replace=replace)
        progress("publish", 1, 1)
    return Simulation(result, drawn, summary)


def _require_mixtures(spec: StudySpec, schema: Schema, accepted: bool, tell: Callable[[str], None] | None) -> None:
    require_a_mixture(spec, schema, accepted, "--accept-degraded (accept_degraded=True)")
    text = notice(spec, schema)
    if text is not None and tell is not None:
        tell(text)


def _split(
    table: Table, schema: Schema, sites: Sequence[object], overlap: Overlap, max_unreadable: float
) -> dict[str, pa.Table]:
    """The rows of each site, in the order of their names; the schema's columns and the patient key only.

    The first row of a site may be anybody's: which site the table names first is not for a release to say.
    """
    source = TableSource(table, (*schema.columns, *([schema.patient_key] if schema.patient_key else [])))
    check(source, schema, max_unreadable)
    whole, names = pa.Table.from_batches(list(source.batches())), np.array([_name(site) for site in sites])
    if len(names) != whole.num_rows:
        raise InputError(f"expected a site for each row of the table, got {len(names)} for another number of rows")
    _check_overlap(whole, names, schema, overlap)
    return {str(name): whole.filter(pa.array(names == name)) for name in sorted(set(names.tolist()))}


def _check_overlap(table: pa.Table, names: NDArray[np.str_], schema: Schema, overlap: Overlap) -> None:
    """Whoever holds all tables can see whether patients have records at more sites than the study declares."""
    if schema.patient_key is None or overlap == "unknown":
        return
    keys = patient_keys(table.column(schema.patient_key))
    sites = pd.DataFrame({"key": keys, "site": names}).dropna().groupby("key")["site"].nunique()
    most = int(sites.max()) if len(sites) else 0
    if most > (1 if overlap == "disjoint" else overlap):
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


def _figures(
    drawn: pd.DataFrame, held_out: Table, tables: dict[str, pa.Table], schema: Schema, progress: Progress
) -> Figures:
    """The same model trained on each site's own records, on the synthetic and on all real ones."""
    from cohortmix.core.columns import patients, read
    from cohortmix.core.evaluate import auc, score_real  # brings in LightGBM
    from cohortmix.core.interval import auc_difference

    test, total = read(held_out, schema), len(tables) + 2
    own = {}
    for done, (name, table) in enumerate(tables.items()):
        own[name] = score_real(table, test, schema)
        progress("evaluate", done + 1, total)
    pooled = score_real(drawn, test, schema)
    progress("evaluate", total - 1, total)
    ceiling = score_real(pa.concat_tables(tables.values()), test, schema)
    progress("evaluate", total, total)
    owner = patients(held_out, schema)
    of_known = None if owner is None else owner[pooled.known]
    areas = {name: auc(each.label, each.scores) for name, each in own.items()}
    gains = {name: auc_difference(each.label, each.scores, pooled.scores, of_known) for name, each in own.items()}
    return Figures(areas, auc(pooled.label, pooled.scores), auc(ceiling.label, ceiling.scores), gains)
