"""What is seen beside the answers: replies, logs, prints, sizes and iterations follow from no record.

Neighbours: one patient's single record becomes 500 odd ones. Both tables are given the same released answers, and
then nothing that anybody sees may differ, not even at the hospital. `differences` looks, and has to see each leak
that is planted for it.
"""

from __future__ import annotations

import logging
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, fields, replace
from datetime import date
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import opendp.prelude as dp
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from cohortmix.client import site as site_module
from cohortmix.client.data import open_table
from cohortmix.client.ledger import Ledger
from cohortmix.client.policy import Policy
from cohortmix.client.site import Site
from cohortmix.core import adapt, approximate, pipeline
from cohortmix.core.anonymize import sum_query
from cohortmix.core.centroids import SiteCentroids
from cohortmix.core.encoding import Encoding
from cohortmix.core.meter import Meter
from cohortmix.core.noise import MIN_SIGMA, NoiseSource, OpenDPNoise
from cohortmix.core.noise_keyed import KeyedNoise
from cohortmix.core.replay import Tape
from cohortmix.core.schema import Category, Schema
from cohortmix.core.table import Source, TableSource
from cohortmix.core.vault import Vault
from cohortmix.deploy.cli import app
from cohortmix.deploy.engines import reason_of
from cohortmix.protocol.messages import (
    Centroids,
    ClassSums,
    Code,
    Common,
    Refusal,
    Request,
    SignedRelease,
    SiteEntry,
    StudySpec,
    decode,
    encode,
    request_id,
)
from cohortmix.protocol.signing import Key, sign_request, sign_study

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
ODD = {  # cells of the odd patient, as a file of text holds them; and as a typed file does
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
KEY, COORDINATOR = (Key.from_bytes(bytes([number] * 32)) for number in (1, 2))


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
        columns = columns | {"day": pa.array(columns["day"], pa.int32()).cast(pa.date32())}  # type: ignore[dict-item]
        pq.write_table(pa.table(columns), path)
    return path


def _text(name: str, cell: Any) -> str:
    return date.fromordinal(719_163 + cell).isoformat() if name == "day" and isinstance(cell, int) else str(cell)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    """The two tables in each form."""
    folder, plain = tmp_path_factory.mktemp("tables"), table(np.random.default_rng(5))
    return {
        kind: (
            write(folder / f"one.{kind}", plain),
            write(folder / f"other.{kind}", with_odd_patient(plain, kind)),
        )
        for kind in ODD
    }


def test_the_tables_are_the_neighbours_that_they_should_be(files: dict[str, tuple[Path, Path]]) -> None:
    for pair in files.values():
        sources = [open_table(path, SCHEMA) for path in pair]
        assert [str(sum(batch.num_rows for batch in source.batches())) for source in sources] == list(COUNTS)
        assert [site(source, KeyedNoise(1)).description.patients for source in sources] == [PATIENTS] * 2


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


def request(
    about: StudySpec, common: Common | None = None, signer: Key = COORDINATOR, id: str | None = None
) -> bytes:
    round = 1 if common is None else 2
    id = id or request_id(about.hash, "site", round)
    asked = Request(study=sign_study(COORDINATOR, about), round=round, request_id=id, common=common)
    return encode(sign_request(signer, asked))


def site(source: Source, noise: NoiseSource, ledger: Ledger | None = None) -> Site:
    policy = Policy(coordinators=(COORDINATOR.public_hex,))
    for approved in (study(), study(target="sex"), DEAR):
        policy = policy.approve(approved)
    ledger = ledger or Ledger(":memory:", Decimal(5))
    return Site("site", source, SCHEMA, ledger, policy, KEY, noise)


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
    iterations: tuple[object, ...]


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


@pytest.fixture
def watch(
    few_steps: None,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Watch:
    """Serve a table, ask all that a coordinator may ask, rightly and wrongly, and record what is seen."""
    iterations: list[object] = []
    for module, name in ((approximate, "_advance"), (adapt, "_adam")):
        monkeypatch.setattr(module, name, _counted(getattr(module, name), name, iterations))

    def watched(path: Path, noise: NoiseSource, reader: Open = opened) -> Seen:
        file = tmp_path / f"{len(list(tmp_path.iterdir()))}.sqlite"
        ledger = Ledger(file, Decimal(5))
        caplog.clear()
        iterations.clear()
        with caplog.at_level(logging.DEBUG, "cohortmix"):
            replies = tuple(conversation(site(reader(path), noise, ledger)))
        ledger.close()
        return Seen(replies, tuple(caplog.record_tuples), capfd.readouterr(), sizes(file), tuple(iterations))

    return watched


def _counted(step: Callable[..., Any], name: str, iterations: list[object]) -> Callable[..., Any]:
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
    """Refusals, both rounds, a request that comes again, and one over the budget."""
    yield here.describe()
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


def common_of(reply: bytes) -> Common | None:
    """What the coordinator makes of round 1."""
    message = decode(reply)
    if not (isinstance(message, SignedRelease) and isinstance(message.release, ClassSums)):
        return None
    plan = pipeline.Plan(SCHEMA, study().mu2, PATIENTS, study().share)
    return Common.of(pipeline.common([plan], [message.release.answer.to_core()]))


def both(watch: Watch, pair: Sequence[Path], reader: Open = opened) -> tuple[Seen, Seen, Tape, Tape]:
    """A table, and its neighbour given the answers that were released of the first one."""
    tape = Tape(KeyedNoise(5))
    one = watch(pair[0], tape, reader)
    replay = Tape(KeyedNoise(5), tape.entries)
    return one, watch(pair[1], replay, reader), tape, replay


@pytest.mark.parametrize("kind", ODD)
def test_neighbours_with_the_same_answers_look_the_same(
    watch: Watch, files: dict[str, tuple[Path, Path]], kind: str
) -> None:
    one, other, tape, replay = both(watch, files[kind])
    assert differences(one, other) == []
    assert len(tape.entries) == len(replay.entries) == 2
    assert all(not np.array_equal(a.exact, b.exact) for a, b in zip(tape.entries, replay.entries, strict=True))


def test_the_conversation_reaches_all_that_a_site_says(watch: Watch, files: dict[str, tuple[Path, Path]]) -> None:
    """The negation of silence: a mixture, refusals, log lines, stored answers, and steps that were counted."""
    seen = watch(files["csv"][0], KeyedNoise(5))
    messages = [decode(reply) for reply in seen.replies]
    codes = {message.code for message in messages if isinstance(message, Refusal)}
    assert codes == set(Code) - {Code.TOO_FEW_PATIENTS}
    released = [message.release for message in messages if isinstance(message, SignedRelease)]
    assert any(isinstance(release, Centroids) and "mixture" in release.kinds for release in released)
    assert len(seen.logs) == sum(isinstance(message, Refusal) for message in messages)
    assert {name for name, *_ in seen.iterations} == {"_advance", "_adam"}  # type: ignore[misc]
    stored = [length for rows in seen.sizes.values() for row in rows for length in row]
    assert sum(stored) >= sum(len(reply) for reply in set(seen.replies[-4:-2]))  # both releases are in the ledger


# --- the probe sees a leak


class Leaky:
    """A reader that counts the rows of its table and looks at its cells, and hands both to a leak."""

    def __init__(self, path: Path, leak: Callable[[int, bool], None]) -> None:
        self._source, self._leak = open_table(path, SCHEMA), leak
        self.names = self._source.names

    def batches(self) -> Iterator[pa.RecordBatch]:
        batches = list(self._source.batches())
        cells = {cell for batch in batches for column in batch.columns for cell in column.to_pylist()}
        self._leak(sum(batch.num_rows for batch in batches), MARK in cells)
        yield from batches


def _log_rows(rows: int, marked: bool) -> None:
    logging.getLogger("cohortmix.vault").info("%d rows", rows)


def _log_cell(rows: int, marked: bool) -> None:
    logging.getLogger("cohortmix.vault").debug("read %s", MARK if marked else "nobody")


def _warn(rows: int, marked: bool) -> None:
    if marked:
        logging.getLogger("some.library").warning("a text among the numbers")


def _print_rows(rows: int, marked: bool) -> None:
    print(f"{rows} rows", file=sys.stderr)


class _Refuse:
    """Raises at a cell, from the second reading on: the first one is at the opening of the site."""

    readings = 0

    def __call__(self, rows: int, marked: bool) -> None:
        self.readings += marked
        if self.readings > 1:
            raise ValueError("could not convert string to float")


@pytest.mark.parametrize(
    ("leak", "channel"),
    [
        (_log_rows, "logs"),
        (_log_cell, "logs"),
        (_warn, "logs"),
        (_print_rows, "printed"),
        (_Refuse(), "replies"),
    ],
    ids=["rows in a log", "a cell in a log", "a library's warning", "rows on a terminal", "refusal for a cell"],
)
def test_a_leak_of_the_reader_is_seen(
    watch: Watch, files: dict[str, tuple[Path, Path]], leak: Callable[[int, bool], None], channel: str
) -> None:
    one, other, *_ = both(watch, files["csv"], partial(Leaky, leak=leak))
    assert channel in differences(one, other)


def _more_steps(patch: pytest.MonkeyPatch, rows: Callable[[], int]) -> None:
    patch.setattr(pipeline, "adapt", lambda *a, **k: adapt.adapt(*a, **k | {"steps": 10 + 5 * (rows() > 200)}))


def _fewer_points(patch: pytest.MonkeyPatch, rows: Callable[[], int]) -> None:
    whole = pipeline.centroids

    def fewer(*arguments: Any) -> SiteCentroids:
        found, kept = whole(*arguments), slice(0, 10 - (rows() > 200))
        points, labels = found.support_points[kept], found.support_labels[kept]
        return replace(found, support_points=points, support_labels=labels)

    patch.setattr(pipeline, "centroids", fewer)


@pytest.mark.parametrize(
    ("plant", "channel"),
    [(_more_steps, "iterations"), (_fewer_points, "sizes")],
    ids=["iterations", "size of the release"],
)
def test_a_leak_of_the_steps_is_seen(
    watch: Watch,
    files: dict[str, tuple[Path, Path]],
    monkeypatch: pytest.MonkeyPatch,
    plant: Callable[[pytest.MonkeyPatch, Callable[[], int]], None],
    channel: str,
) -> None:
    read: list[int] = [0]
    plant(monkeypatch, lambda: read[-1])
    one, other, *_ = both(watch, files["csv"], partial(Leaky, leak=lambda rows, _: read.append(rows)))
    assert {channel, "replies"} <= set(differences(one, other))


# --- exceptions


class _Failing(TableSource):
    """Fails from its second reading on, and says what it has read."""

    readings = 0

    def batches(self) -> Iterator[pa.RecordBatch]:
        self.readings += 1
        if self.readings > 1:
            raise ValueError(f"cannot parse {MARK!r} in row {COUNTS[1]}")
        return super().batches()


class _FailingNoise(KeyedNoise):
    def add(self, values: NDArray[np.int64], sigma: int, purpose: str) -> NDArray[np.int64]:
        raise OverflowError(f"{values.tolist()} of {COUNTS[1]} rows with {MARK}")


class _FailingLedger(Ledger):
    def commit(self, *arguments: Any) -> bytes:
        raise OSError(f"{COUNTS[1]} rows, {MARK}: no space left on the device")


@pytest.mark.parametrize(
    ("source", "noise", "ledger", "kind"),
    [(_Failing, KeyedNoise, Ledger, "ValueError"), (TableSource, _FailingNoise, Ledger, "OverflowError"),
     (TableSource, KeyedNoise, _FailingLedger, "OSError")],
    ids=["reader", "noise", "ledger"],
)  # fmt: skip
def test_an_exception_tells_its_type_to_the_log_and_nothing_to_the_coordinator(
    files: dict[str, tuple[Path, Path]],
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    source: type[TableSource],
    noise: type[KeyedNoise],
    ledger: type[Ledger],
    kind: str,
) -> None:
    table = pa.Table.from_batches(list(opened(files["csv"][1]).batches()))
    here = site(source(table), noise(5), ledger(":memory:", Decimal(5)))
    with caplog.at_level(logging.DEBUG):
        reply = here.answer(request(study()))
    sentence = "The site could not answer; its own log says why."
    assert reply == encode(Refusal(code=Code.UNAVAILABLE, sentence=sentence))
    assert [(record.message, record.exc_info) for record in caplog.records] == [(f"no answer: {kind}", None)]
    assert "".join(capfd.readouterr()) == ""


# --- shapes


def test_the_first_release_has_a_size_that_the_schema_fixes(files: dict[str, tuple[Path, Path]]) -> None:
    """Whatever the records and the noise are; and another schema has another size."""
    replies = [
        site(opened(path), KeyedNoise(seed)).answer(request(study()))
        for pair in files.values()
        for path in pair
        for seed in (1, 2)
    ]
    assert len(set(replies)) > 4
    assert len({len(reply) for reply in replies}) == 1
    answers = [message.release for message in map(decode, replies) if isinstance(message, SignedRelease)]
    query = sum_query(Encoding.of(SCHEMA))
    expected = len(SCHEMA.classes) * query.width
    assert {each.answer.values.shape for each in answers if isinstance(each, ClassSums)} == {(expected,)}
    longer = SCHEMA.columns | {"sex": Category(type="category", values=("F", "M", "X"), missing=True)}
    assert sum_query(Encoding.of(SCHEMA.model_copy(update={"columns": longer}))).width != query.width


# --- commands


@pytest.fixture(scope="module")
def lawful(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The tables as the local commands let them pass, with a ward for each patient and a schema beside."""
    plain, folders = table(np.random.default_rng(5)), []
    odd = with_odd_patient(plain, "csv")
    odd["outcome"] = [label if label in SCHEMA.classes else "well" for label in odd["outcome"]]
    for columns in (plain, odd):
        folder = tmp_path_factory.mktemp("commands")
        (folder / "schema.yaml").write_text(SCHEMA.to_yaml())
        write(folder / "table.csv", columns | {"ward": [f"ward {int(pid) % 2}" for pid in columns["pid"]]})
        folders.append(folder)
    return folders[0], folders[1]


def outcome(folder: Path, *command: str) -> tuple[str, str, list[str], dict[str, bytes]]:
    """What a command prints, the names of its files, and those of them that hold no draw of the noise."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        told = CliRunner().invoke(
            app,
            [*command, "--data", "table.csv", "--schema", "schema.yaml", "--out", "out"],
            catch_exceptions=False,
        )
    assert told.exit_code == 0, told.output
    files = sorted(path for path in (folder / "out").rglob("*") if path.is_file())
    fixed = {file.name: file.read_bytes() for file in files if file.name in ("receipt.json", "summary.json")}
    shutil.rmtree(folder / "out")
    return told.stdout, told.stderr, [str(file.relative_to(folder)) for file in files], fixed


@pytest.mark.parametrize(
    "command",
    [("synthesize", "--epsilon", "0.02"), ("simulate", "--epsilon", "0.02", "--site-column", "ward")],
    ids=lambda command: command[0],
)
def test_a_command_says_and_names_the_same_for_neighbours(
    lawful: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    """With real noise; a budget too small for a mixture, so that the number of centroids is public as well."""
    one, other = (outcome(folder, *command) for folder in lawful)
    if command[0] == "simulate":  # the keys of its sites are new each time, and it sums up masses of the noise
        one, other = (*one[:3], {}), (*other[:3], {})
    assert one == other
    assert one[1].count("\n") > 1  # steps were told
    for text in one[:2]:
        assert not any(word in text for word in (MARK, *COUNTS))


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        ("", "it said nothing"),
        (f"in line 7\npyarrow.lib.ArrowException: cannot parse {MARK}\n", "pyarrow.lib.ArrowException"),
        (f"OSError: of an earlier line\n{MARK} Error: {COUNTS[1]} rows", "its last line names no exception"),
    ],
)
def test_the_engine_of_a_simulation_repeats_no_text_of_a_fault(log: str, reason: str) -> None:
    assert reason_of(log) == reason


# --- noise


@dataclass
class Counting:
    """A source that remembers how many numbers it was given at each call."""

    source: NoiseSource
    calls: list[int] = field(default_factory=list)
    name: str = "TEST"
    private: bool = False

    def add(self, values: NDArray[np.int64], sigma: int, purpose: str) -> NDArray[np.int64]:
        self.calls.append(len(values))
        return self.source.add(values, sigma, purpose)


class InHalves(Vault):
    """A vault whose noise is drawn in two batches: who stops it midway has part of an answer."""

    def __init__(self, source: Source, schema: Schema, noise: NoiseSource, meter: Meter) -> None:
        super().__init__(source, schema, _Halved(noise), meter)


@dataclass
class _Halved:
    source: NoiseSource
    name: str = "TEST"
    private: bool = False

    def add(self, values: NDArray[np.int64], sigma: int, purpose: str) -> NDArray[np.int64]:
        return np.concatenate([self.source.add(half, sigma, purpose) for half in np.array_split(values, 2)])


@pytest.mark.parametrize("vault", [Vault, InHalves])
def test_the_noise_of_an_answer_is_drawn_in_one_batch(
    watch: Watch, files: dict[str, tuple[Path, Path]], monkeypatch: pytest.MonkeyPatch, vault: type[Vault]
) -> None:
    monkeypatch.setattr(site_module, "Vault", vault)
    noise = Counting(KeyedNoise(5))
    messages = map(decode, watch(files["csv"][0], noise).replies)
    receipts = {message.receipt for message in messages if isinstance(message, SignedRelease)}
    dimensions = [each.dimension for receipt in receipts for each in receipt.statements]
    assert len(dimensions) == 2
    assert sum(noise.calls) == sum(dimensions)
    assert (sorted(noise.calls) == sorted(dimensions)) == (vault is Vault)


def test_opendp_is_called_once_for_all_numbers_of_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    make = dp.m.make_gaussian

    def watched(*arguments: Any, **options: Any) -> Callable[[list[int]], list[int]]:
        measurement = make(*arguments, **options)
        return lambda values: calls.append(len(values)) or measurement(values)  # type: ignore[func-returns-value]

    monkeypatch.setattr(dp.m, "make_gaussian", watched)
    OpenDPNoise().add(np.zeros(1000, dtype=np.int64), MIN_SIGMA, "")
    assert calls == [1000]
