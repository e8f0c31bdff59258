"""What is seen of a site at work: replies, logs, prints, sizes and iterations; and neighbours that differ in none.

Neighbours: one patient's single record becomes 500 odd ones.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, fields
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from cohortmix.client.ledger.ledger import Ledger
from cohortmix.client.ledger.policy import Policy
from cohortmix.client.site.site import Site
from cohortmix.client.table.data import open_table
from cohortmix.core.audit.noise_keyed import KeyedNoise
from cohortmix.core.audit.replay import Tape
from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import Source
from cohortmix.core.privacy.noise_source import NoiseSource
from cohortmix.core.steps import pipeline
from cohortmix.core.steps.plan import Plan
from cohortmix.protocol.messages import (
    ClassSumsRelease,
    CommonMessage,
    Request,
    SignedRelease,
    SiteEntry,
    StepRequest,
    StudySpec,
    decode,
    encode,
    request_id,
)
from cohortmix.protocol.signing import Key, sign_request, sign_step, sign_study
from cohortmix.protocol.steps import Ask, AskConsent, AskKeys
from cohortmix.protocol.study import JointNoise

PATIENTS, ROWS = 120, 500  # N; the records of one patient in the second table
COUNTS = ("157", "656")  # rows of the two tables: no other number of this study
MARK = "jane doe 1931"
SCHEMA = Schema.from_yaml(
    """
name: cohort
patient_key: pid
target: outcome
columns:
  age: {type: number, min: 16, max: 105, integer: true}
  dose: {type: number, min: 0, max: 20, missing: true}
  sex: {type: category, values: [F, M], missing: true}
  day: {type: date, min: 1991-01-01, max: 1996-12-31, missing: true}
  outcome: {type: category, values: [ill, well]}
"""
)
# Cells of the odd patient, as a file of text holds them; and as a typed file does.
ODD: dict[str, dict[str, list[Any]]] = {
    "csv": {
        "age": ["nan", "inf", "-1e308", MARK, "5e-324"],
        "dose": ["-0.0", "1e308", "<7", "", "NA"],
        "sex": [MARK, "", "7", "f", "null"],
        "day": ["0001-01-01", "1996-02-31", MARK, "9999-12-31", ""],
        "outcome": ["well", MARK, "", "ill", "well"],
    },
    "parquet": {
        "age": [float("nan"), float("inf"), -1e308, 5e-324, None],
        "dose": [-0.0, 1e308, float("-inf"), None, 2.0**53 + 2],
        "sex": [MARK, "", "7", None, "\x00"],
        "day": [-(10**6), 10**8, None, -(2**31), 0],
        "outcome": ["well", MARK, "", "ill", None],
    },
}
KEY, COORDINATOR, PEER = (Key.from_bytes(bytes([number] * 32)) for number in (1, 2, 3))


def table(rng: np.random.Generator) -> dict[str, list[Any]]:
    """Columns of 157 records, those of patient 17 being one."""
    pid = [*range(PATIENTS), *range(60, 97)]
    age = rng.integers(16, 105, len(pid))
    return {
        "pid": [str(each) for each in pid],
        "age": age.astype(float).tolist(),
        "dose": rng.exponential(2, len(pid)).tolist(),
        "sex": rng.choice(["F", "M"], len(pid)).tolist(),
        "day": rng.integers(7670, 9800, len(pid)).tolist(),  # after 1970-01-01
        "outcome": np.where(rng.random(len(pid)) < age / 120, "ill", "well").tolist(),
    }


def with_odd_patient(columns: dict[str, list[Any]], kind: str) -> dict[str, list[Any]]:
    """The neighbour: 500 records in place of the one of patient 17."""
    odd = {name: (cells * ROWS)[:ROWS] for name, cells in ODD[kind].items()} | {"pid": ["17"] * ROWS}
    return {name: cells[:17] + odd[name] + cells[18:] for name, cells in columns.items()}


def write(path: Path, columns: dict[str, list[Any]]) -> Path:
    """A typed file, or one of texts."""
    if path.suffix == ".csv":
        as_text = {name: pa.array([_text(name, cell) for cell in cells]) for name, cells in columns.items()}
        pacsv.write_csv(pa.table(as_text), path)
    else:
        days = pa.array(columns["day"], pa.int32()).cast(pa.date32())
        pq.write_table(pa.table(columns | {"day": days}), path)
    return path


def _text(name: str, cell: Any) -> str:
    return date.fromordinal(719_163 + cell).isoformat() if name == "day" and isinstance(cell, int) else str(cell)


# --- a study of one site, all of whose channels are recorded


def study(**changes: Any) -> StudySpec:
    values: dict[str, Any] = {
        "name": "study",
        "schema_hash": SCHEMA.hash,
        "target": "outcome",
        "mu": Decimal(4),  # room for a mixture at so few patients
        "delta": Decimal("0.00001"),
        "overlap": "disjoint",
        "sites": (SiteEntry(name="site", key=KEY.public_hex, patients=PATIENTS),),
        "min_sites": 1,
        "round_deadline_seconds": 60,
        "noise": "TEST",
        "version": "0.1.0",
        "coordinator_key": COORDINATOR.public_hex,
    }
    return StudySpec(**values | changes)


DEAR = study(name="dear", mu=Decimal(900))
JOINT = study(
    name="joint",
    mu=Decimal(1),
    sites=tuple(
        SiteEntry(name=name, key=key.public_hex, patients=PATIENTS)
        for name, key in (("site", KEY), ("peer", PEER))
    ),
    min_sites=2,
    joint=JointNoise(conspirators=1, tolerated_dropouts=0),
)


def step(ask: Ask) -> bytes:
    """A step of the joint study's first round."""
    id = request_id(JOINT.hash, "site", 1)
    asked = Request(study=sign_study(COORDINATOR, JOINT), round=1, request_id=id)
    return encode(sign_step(COORDINATOR, StepRequest(request=asked, ask=ask)))


def request(
    about: StudySpec, common: CommonMessage | None = None, signer: Key = COORDINATOR, id: str | None = None
) -> bytes:
    round: Literal[1, 2] = 1 if common is None else 2
    id = id or request_id(about.hash, "site", round)
    asked = Request(study=sign_study(COORDINATOR, about), round=round, request_id=id, common=common)
    return encode(sign_request(signer, asked))


def site(source: Source, noise: NoiseSource, ledger: Ledger | None = None) -> Site:
    policy = Policy(coordinators=(COORDINATOR.public_hex,))
    for approved in (study(), study(target="sex"), DEAR, JOINT):
        policy = policy.approve(approved)
    ledger = ledger or Ledger(":memory:", Decimal(5))
    return Site("site", source, SCHEMA, ledger, policy, KEY, noise, lambda purpose: purpose.encode()[-16:])


@dataclass(frozen=True, eq=False)
class Seen:
    """What anybody may see of a site at work.

    Attributes
    ----------
    replies : bytes of each.
    logs : logger, level and text of each line, the libraries' included.
    printed : what went to the standard streams.
    sizes : bytes of each row of the ledger, by table.
    iterations : what the steps after the answers were called with: shapes, and public numbers.
    """

    replies: tuple[bytes, ...]
    logs: tuple[tuple[str, int, str], ...]
    printed: tuple[str, str]
    sizes: dict[str, list[Any]]
    iterations: tuple[tuple[Any, ...], ...]


def differences(one: Seen, other: Seen) -> list[str]:
    """The channels that tell two sites apart, and those that hold a cell or a number of rows."""
    found = [each.name for each in fields(Seen) if getattr(one, each.name) != getattr(other, each.name)]
    for seen in (one, other):
        texts = {"logs": " ".join(line for _, _, line in seen.logs), "printed": " ".join(seen.printed)}
        found += [name for name, text in texts.items() if any(word in text for word in (MARK, *COUNTS))]
    return list(dict.fromkeys(found))


Open = Callable[[Path], Source]
Watch = Callable[..., Seen]


def opened(path: Path) -> Source:
    """The file as a site reads it."""
    return open_table(path, SCHEMA)


def counting(step: Callable[..., Any], name: str, iterations: list[tuple[Any, ...]]) -> Callable[..., Any]:
    """The step, which writes down the shapes that it is called with."""

    def counted(*arguments: Any) -> Any:
        iterations.append((name, *(np.shape(each) for each in arguments if hasattr(each, "shape"))))
        return step(*arguments)

    return counted


def sizes(ledger: Path) -> dict[str, list[Any]]:
    """Length of every cell of a closed ledger."""
    with closing(sqlite3.connect(ledger)) as db:
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        rows = {name: db.execute(f"SELECT * FROM {name}").fetchall() for name in tables}
    return {name: [[len(str(cell)) for cell in row] for row in of_table] for name, of_table in rows.items()}


def conversation(here: Site) -> Iterator[bytes]:
    """Refusals, steps of a joint study, both rounds, a request that comes again, one over the budget."""
    yield here.describe()
    yield from map(here.answer, (step(AskConsent(survivors=("site", "peer"))), step(AskKeys())))
    yield from map(
        here.answer, [b"", b'{"protocol":2}', request(study(), signer=KEY), request(study(mu=Decimal(5)))]
    )
    yield from (here.answer(request(study(target="sex"))), here.answer(request(study(noise="opendp"))))
    first = here.answer(request(study()))
    yield first
    yield here.answer(request(study(), common_of(first)))
    yield here.answer(request(study()))
    yield here.answer(request(study(), id="request-2"))
    yield here.answer(request(DEAR))


def common_of(reply: bytes) -> CommonMessage | None:
    """What the coordinator makes of round 1."""
    message = decode(reply)
    if not (isinstance(message, SignedRelease) and isinstance(message.release, ClassSumsRelease)):
        return None
    plan = Plan(SCHEMA, study().mu2, PATIENTS, study().share)
    return CommonMessage.of(pipeline.common([plan], [message.release.answer.to_core()]))


def both(watch: Watch, pair: Sequence[Path], reader: Open = opened) -> tuple[Seen, Seen, Tape, Tape]:
    """A table, and its neighbour given the answers that were released of the first one."""
    tape = Tape(KeyedNoise(5))
    one = watch(pair[0], tape, reader)
    replay = Tape(KeyedNoise(5), tape.entries)
    return one, watch(pair[1], replay, reader), tape, replay
