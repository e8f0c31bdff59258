"""What one patient can move: every vault answer on neighbouring tables, without noise, in exact integers.

Neighbours: all records of one patient are replaced, the number of patients stays. The bound is the one that the
answer itself states, `Answer.sensitivity2`; the names of these tests are those in the `Guarantee` sections.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cohortmix.core import Budget, Schema
from cohortmix.core.anonymize import sum_query
from cohortmix.core.encoding import Encoding
from cohortmix.core.meter import Answer, MemoryMeter
from cohortmix.core.noise_keyed import KeyedNoise
from cohortmix.core.query import Block, MomentQuery, SumQuery
from cohortmix.core.synthesis import Release, synthesize
from cohortmix.core.table import TableSource
from cohortmix.core.vault import Vault

CAP = 4
SCHEMA = Schema.from_yaml(
    f"""
name: everything
patient_key: pid
max_rows_per_patient: {CAP}
target: outcome
columns:
  number: {{type: number, min: -5, max: 50, missing: true}}
  whole: {{type: number, min: 0, max: 9, integer: true}}
  skewed: {{type: number, min: 0, max: 1000000, transform: log1p, missing: true}}
  halves: {{type: number, min: 0, max: 1, knots: 2}}
  code: {{type: category, values: [a, b, "7", "10000000000000000"], missing: true}}
  flag: {{type: category, values: ["true", "false"]}}
  day: {{type: date, min: 1991-01-01, max: 1996-12-31, missing: true}}
  outcome: {{type: category, values: [well, ill, dead]}}
"""
)
ENCODING = Encoding.of(SCHEMA)
MU2 = Fraction(1, 100)
NUMBERS = ("number", "whole", "skewed", "halves")
FAR = [float("nan"), float("inf"), float("-inf"), 1e308, -1e308, -0.0, 0.0, 5e-324, -5e-324, 2.0**53 + 2, None]
ODD = ["nan", "inf", "1e308", "-0.0", "5e-324", "9007199254740993", "seven", "<7", "", "NA", "true", None]

Row = dict[str, Any]
Patient = list[Row]


class NoNoise:
    """Adds nothing: the exact answer of a vault, for these tests alone."""

    name = "TEST"
    private = False

    def add(self, values: NDArray[np.int64], sigma: int, purpose: str) -> NDArray[np.int64]:
        return values


class Rows:
    """A table in record batches of any size."""

    def __init__(self, table: pa.Table, rows: int) -> None:
        self._table, self._rows, self.names = table, rows, tuple(table.column_names)

    def batches(self) -> Iterator[pa.RecordBatch]:
        yield from self._table.to_batches(max_chunksize=self._rows)


def cells(as_text: bool) -> st.SearchStrategy[Row]:
    """A record with whatever a file may hold; a column has one type in both tables."""
    number = (
        st.one_of(st.sampled_from(ODD), st.floats(-60, 60).map(repr))
        if as_text
        else st.one_of(st.sampled_from(FAR), st.floats(-60, 60))
    )
    day = (
        st.sampled_from(["1991-01-01", "1990-12-31", "0001-01-01", "1995-06-07 10:00", "7/6/1995", None])
        if as_text
        else st.sampled_from([-(10**6), 0, 7670, 9500, 10**8, None])  # days after 1970-01-01
    )
    return st.fixed_dictionaries(
        dict.fromkeys(NUMBERS, number)
        | {"code": st.sampled_from(["a", " b ", "7.0", "1e16", "unseen", "", None])}
        | {"flag": st.sampled_from([True, False, None]), "day": day}
        | {"outcome": st.sampled_from(["well", "ill", "dead", "unknown", None])}
    )


@st.composite
def neighbours(draw: st.DrawFn) -> tuple[Rows, Rows]:
    """Two tables that differ in the records of one patient, in their batches, and in rows without a patient."""
    as_text = draw(st.booleans())
    patient = st.lists(cells(as_text), min_size=1, max_size=CAP + 2)
    others = draw(st.lists(patient, min_size=1, max_size=3))
    nobody = st.lists(cells(as_text), max_size=1)
    return tuple(
        arrow([draw(patient), *others], draw(nobody), as_text, draw(st.integers(0, 9)), draw(st.integers(1, 20)))
        for _ in range(2)
    )  # type: ignore[return-value]


def arrow(patients: list[Patient], nobody: Patient, as_text: bool, seed: int, rows: int) -> Rows:
    """The rows interleaved; those of one patient stay in their order, since the first ones count."""
    keyed = [(f"p{index}", row) for index, patient in enumerate(patients) for row in patient]
    places = random.Random(seed).sample([key for key, _ in keyed], len(keyed))
    waiting = {key: iter([row for owner, row in keyed if owner == key]) for key, _ in keyed}
    ordered = [(None, row) for row in nobody] + [(key, next(waiting[key])) for key in places]
    types = {name: pa.string() if as_text else pa.float64() for name in NUMBERS}
    types |= {"code": pa.string(), "flag": pa.bool_(), "day": pa.string() if as_text else pa.int32()}
    types |= {"outcome": pa.string()}
    arrays = [pa.array([row[name] for _, row in ordered], type=kind) for name, kind in types.items()]
    if not as_text:
        arrays[list(types).index("day")] = arrays[list(types).index("day")].cast(pa.date32())
    keys = pa.array([key for key, _ in ordered], type=pa.string())
    return Rows(pa.Table.from_arrays([keys, *arrays], names=["pid", *types]), rows)


def vault(source: Rows | TableSource, schema: Schema = SCHEMA) -> Vault:
    return Vault(source, schema, NoNoise(), MemoryMeter(Fraction(100)))


def distance2(one: Answer, other: Answer) -> int:
    return sum((int(a) - int(b)) ** 2 for a, b in zip(one.values, other.values, strict=True))


@st.composite
def sum_queries(draw: st.DrawFn) -> SumQuery:
    blocks = []
    for column in draw(st.lists(st.integers(0, len(ENCODING.sizes) - 1), min_size=1, max_size=5)):
        slots = draw(maps(ENCODING.sizes[column]))
        blocks.append(Block(column, slots, draw(st.integers(1, 1 << 20))))
    return SumQuery(tuple(blocks), draw(st.integers(1, 1 << 20)), 1 << 10)


def maps(size: int) -> st.SearchStrategy[tuple[int, ...]]:
    """Fine cells to a few groups: not in order, and groups may stay empty."""
    return st.tuples(st.integers(1, 9), st.integers(1, 6)).map(
        lambda pair: tuple(cell * pair[0] // 3 % pair[1] for cell in range(size))
    )


@settings(max_examples=150, deadline=None, derandomize=True)
@given(neighbours(), st.one_of(st.just(sum_query(ENCODING)), sum_queries()))
def test_sensitivity_of_noisy_sum(tables: tuple[Rows, Rows], query: SumQuery) -> None:
    one, other = (vault(source).noisy_sum(query, MU2) for source in tables)
    assert distance2(one, other) <= one.sensitivity2 == other.sensitivity2
    assert one.sensitivity2 * query.unit**2 == 2 * query.bound2 * one.unit**2
    assert one.mu2 == Fraction(one.sensitivity2, one.sigma**2) <= MU2


@settings(max_examples=150, deadline=None, derandomize=True)
@given(neighbours(), st.tuples(*(maps(size) for size in ENCODING.sizes)))
def test_sensitivity_of_noisy_second_moment(tables: tuple[Rows, Rows], groups: tuple[Any, ...]) -> None:
    one, other = (vault(source).noisy_second_moment(MomentQuery(groups), MU2) for source in tables)
    q = len(groups)
    assert distance2(one, other) <= one.sensitivity2 == other.sensitivity2
    assert one.sensitivity2 == q * (q - 1) * one.unit**2
    assert one.mu2 == Fraction(one.sensitivity2, one.sigma**2) <= MU2


# The bound is reached, so that it could not be smaller, and the tests above cannot pass for want of movement.

LOW = {"number": "-5", "whole": "0", "skewed": "0", "halves": "0", "code": "a", "flag": True, "day": "1991-01-01"}
HIGH = {
    "number": "50",
    "whole": "9",
    "skewed": "1e6",
    "halves": "1",
    "code": "b",
    "flag": False,
    "day": "1996-12-31",
}


def extremes(rows: int) -> tuple[Rows, Rows]:
    """One patient with `rows` records: all of one kind, or all of another."""
    return tuple(
        arrow([[row | {"outcome": outcome}] * rows], [], True, 0, 7)
        for row, outcome in ((LOW, "well"), (HIGH, "dead"))
    )  # type: ignore[return-value]


def halves() -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(cell * 2 // size for cell in range(size)) for size in ENCODING.sizes)


def both(tables: tuple[Rows, Rows], schema: Schema) -> list[tuple[Answer, Answer]]:
    """The two answers of both questions."""
    sums = tuple(vault(source, schema).noisy_sum(sum_query(ENCODING), MU2) for source in tables)
    moments = tuple(vault(source, schema).noisy_second_moment(MomentQuery(halves()), MU2) for source in tables)
    return [sums, moments]  # type: ignore[list-item]


@pytest.mark.parametrize("rows", [1, 3, 50])
def test_the_bound_is_reached_however_many_rows_a_patient_has(rows: int) -> None:
    schema = SCHEMA.model_copy(update={"max_rows_per_patient": 100})
    for one, other in both(extremes(rows), schema):
        assert 0.999 * one.sensitivity2 <= distance2(one, other) <= one.sensitivity2


def test_fifty_rows_that_are_taken_for_fifty_patients_exceed_it() -> None:
    """What the weights 1/m are for: without a patient key each row counts whole."""
    schema = SCHEMA.model_copy(update={"patient_key": None})
    for one, other in both(extremes(50), schema):
        assert distance2(one, other) > 2000 * one.sensitivity2


def test_rows_over_the_cap_are_not_read() -> None:
    """The first CAP rows count, with 1/CAP each; what comes later changes nothing."""
    low, high = LOW | {"outcome": "well"}, HIGH | {"outcome": "dead"}
    for index in range(2):
        capped, longer = (
            both((arrow([patient], [], True, 0, 3),) * 2, SCHEMA)[index][0]
            for patient in ([low] * CAP, [low] * CAP + [high] * 46)
        )
        np.testing.assert_array_equal(capped.values, longer.values)


# A data frame chooses the type of a column from all its cells. A patient may not change how others are read.

FRAME_CELLS: dict[str, list[Any]] = {
    "number": [1.5, -0.0, 2, None, "7", "seven", True, float("inf"), 1e308, np.float32(0.7)],
    "whole": [0, 3, None, 9.0, "x", False],
    "skewed": [0.0, 10**6, None, 5e-324],
    "halves": [0, 1, None, True],
    "code": ["a", "b", 7, 7.0, -0.0, 10**16, 1e16, None, "unseen", True],
    "flag": [True, False, None, "true", "x", 1],
    "day": [pd.Timestamp("1991-05-06"), None, "1996-01-01", pd.Timestamp("1889-01-01"), "soon"],
    "outcome": ["well", "ill", "dead", None, "unknown", 3],
}


def others_read(column: str, first: Any, others: list[Any]) -> list[list[int]]:
    """Cells of all rows but the first, each row a patient, where `column` holds these values."""
    plain = LOW | {"outcome": "well"}
    source = TableSource(pd.DataFrame([plain | {column: value} for value in [first, *others]]))
    codes = [np.column_stack(ENCODING.codes(batch)) for batch in source.batches()]
    return [[int(code) for code in row] for row in np.concatenate(codes)[1:]]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.data(), st.sampled_from(sorted(FRAME_CELLS)))
def test_one_cell_of_a_data_frame_does_not_change_how_the_others_read(data: st.DataObject, column: str) -> None:
    values = st.sampled_from(FRAME_CELLS[column])
    others = data.draw(st.lists(values, min_size=1, max_size=5))
    assert others_read(column, data.draw(values), others) == others_read(column, data.draw(values), others)


@pytest.mark.parametrize(
    ("column", "others", "replaced"),
    [
        ("flag", [True, False, True, True], None),  # a column of truth values becomes one of objects
        ("code", [10**16, 10**16, 7, 7], None),  # one of integers becomes one of floats
        ("whole", [3, 4, 5, 9], None),
        ("whole", [3, 4, 5, 9], "x"),  # and one of numbers, one of texts
        ("day", [pd.Timestamp("1991-05-06")] * 4, "soon"),
    ],
)
def test_a_column_that_changes_its_type_reads_the_same(column: str, others: list[Any], replaced: Any) -> None:
    read = others_read(column, others[0], others)
    assert read == others_read(column, replaced, others)
    at = SCHEMA.features.index(column)
    known = {row[at] for row in read} - {-1, ENCODING.features[at].missing}
    assert len(known) == len(set(others))  # and they are read as what they are


# Bad input, value by value: what each one is read as, the same in a file of text and in a typed one.

FIRST, LAST, MISSING, ZERO, NEXT = "first cell", "last cell", "missing", "that of 0", "the one after 0"
BAD: dict[str, tuple[str, list[str], list[Any], str]] = {  # column, as text, typed, and the cell that it gets
    "NaN": ("number", ["nan", "NaN", "-nan"], [float("nan"), np.float32("nan")], MISSING),
    "infinity": ("number", ["inf", "-Infinity", "1e999"], [float("inf"), float("-inf")], MISSING),
    "1e308": ("number", ["1e308", "51"], [1e308, 10**18, 2**64 - 1], LAST),
    "-1e308": ("number", ["-1e308", "-6"], [-1e308, -(10**18)], FIRST),
    "-0.0": ("number", ["-0.0", "0", "-0e9", "1e-999"], [-0.0, 0, np.float32(-0.0)], ZERO),
    "subnormal": ("number", ["5e-324", "2.2e-308"], [5e-324, 2.2e-308], NEXT),
    "string in a number": ("number", ["seven", "<7", "1,5", "--", "1e", "0x7"], ["seven", "<7"], MISSING),
    "unseen category": ("code", ["unseen", "A", "7.5", "\x00"], ["unseen", 7.5, 8, -0.0, True], MISSING),
    "date before the origin": ("day", ["1889-01-01", "0001-01-01"], [date(1889, 1, 1), date(1, 1, 1)], FIRST),
    "no date": ("day", ["1995-02-30", "0000-01-01", "7/6/1995", "7"], ["soon", 2.0**40], MISSING),
}


def cell_of(column: str, array: pa.Array) -> list[int]:
    at = SCHEMA.features.index(column)
    return [int(code) for code in ENCODING.features[at].codes(array)]


def expected_cell(column: str, what: str) -> int:
    cells = ENCODING.features[SCHEMA.features.index(column)]
    if what in (ZERO, NEXT):
        zero = int(np.searchsorted(np.asarray(cells.edges), 0.0, side="right"))
        return zero + (what == NEXT)
    return {FIRST: 0, LAST: cells.missing - 1, MISSING: cells.missing}[what]


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_read_alike_in_both_forms(name: str) -> None:
    column, texts, typed, what = BAD[name]
    arrays = [pa.array([text, LOW[column]]) for text in texts]
    frames = [pd.DataFrame({column: [value, LOW[column]]}) for value in typed]
    arrays += [batch.column(0) for frame in frames for batch in TableSource(frame).batches()]
    assert {cell_of(column, array)[0] for array in arrays} == {expected_cell(column, what)}
    assert {cell_of(column, array)[1] for array in arrays} == {0} != set(cell_of(column, pa.array([HIGH[column]])))


@pytest.mark.parametrize("as_text", [True, False], ids=["text", "typed"])
@pytest.mark.parametrize("name", BAD)
def test_a_patient_of_bad_input_moves_no_more_than_any_other(name: str, as_text: bool) -> None:
    """The vault answers, and the bound holds against a patient at either end of every range."""
    column, texts, typed, _ = BAD[name]
    for value in texts if as_text else typed:
        tables = []
        for patient in (LOW | {"outcome": "ill", column: value}, HIGH | {"outcome": "well"}):
            frame = pd.DataFrame([{"pid": "p0"} | patient, {"pid": "p1"} | HIGH | {"outcome": "dead"}])
            tables.append(TableSource(pa.Table.from_pandas(frame.astype(str)) if as_text else frame))
        for one, other in both((tables[0], tables[1]), SCHEMA):
            assert 0 < distance2(one, other) <= one.sensitivity2


KEYS = {  # of nobody, in each form in which a file holds keys; and of a patient
    "text": (pa.string(), [None, "", " ", "NA", "nan", "NULL"], "7"),
    "large text": (pa.large_string(), [None, "na"], "7"),
    "dictionary": (pa.dictionary(pa.int8(), pa.string()), [None, "NaN"], "7"),
    "float": (pa.float64(), [None, float("nan")], 7.0),
    "integer": (pa.int64(), [None], 7),
}


@pytest.mark.parametrize("form", KEYS)
def test_a_row_without_a_patient_key_contributes_nothing(form: str) -> None:
    kind, nobody, somebody = KEYS[form]
    rows = [LOW | {"outcome": "ill"}, HIGH | {"outcome": "well"}]

    def table(*more: Any) -> TableSource:
        keys = pa.array([somebody, somebody, *more], type=kind)
        cells = pa.Table.from_pylist([*rows, *([HIGH | {"outcome": "dead"}] * len(more))])
        return TableSource(cells.append_column("pid", keys))

    alone, with_nobody, with_another = table(), table(*nobody), table(type(somebody)(8))
    assert vault(alone).patients == vault(with_nobody).patients == 1
    assert vault(with_another).patients == 2
    for one, same in both((alone, with_nobody), SCHEMA):
        np.testing.assert_array_equal(one.values, same.values)
    for one, other in both((alone, with_another), SCHEMA):
        assert not np.array_equal(one.values, other.values)


# A file may hold any type. The cells of a column are read one by one, whatever else stands in it.

LONG = np.array([-(2**63), -(10**12), 0, 1, 7, 10**12, 2**63 - 1])
TYPES: dict[str, pa.Array] = {
    **{f"int{bits}": pa.array(LONG.astype(f"int{bits}")) for bits in (8, 16, 32, 64)},
    "uint64": pa.array(LONG.view(np.uint64)),
    **{f"float{bits}": pa.array(np.array([0, -0.0, np.nan, -np.inf, 7], f"float{bits}")) for bits in (16, 32, 64)},
    "subnormal": pa.array([5e-324, -5e-324, 1e308, None]),
    "decimal": pa.array([Decimal("7.00"), Decimal("1e20"), None], type=pa.decimal128(38, 2)),
    "truth": pa.array([True, False, None]),
    "bytes": pa.array([b"7", b"\xff\xfe", None]),
    "text that is no UTF-8": pa.array([b"7", b"a", b"\xff\xfe", None]).view(pa.string()),
    "text": pa.array(["7", " a ", "nan", "9" * 5000, "1_0", "\x00", "٧", "19910506", None]),
    "text view": pa.array(["7", "a", None], type=pa.string_view()),
    "dictionary": pa.array(["7", "a", "7", None]).dictionary_encode(),
    "day": pa.array([-(2**31), 0, 7670, 2**31 - 1, None], type=pa.int32()).cast(pa.date32()),
    "milliseconds": pa.array(LONG).view(pa.date64()),
    **{
        f"time in {unit}, {zone}": pa.array(LONG).view(pa.timestamp(unit, zone))
        for unit in ("s", "ms", "us", "ns")
        for zone in (None, "UTC", "Europe/Berlin", "+07:30")
    },
    "duration": pa.array(LONG).view(pa.duration("s")),
    "nothing": pa.array([None, None]),
}


@pytest.mark.parametrize("name", TYPES)
def test_the_vault_is_total_and_reads_each_cell_by_itself(name: str) -> None:
    array = TYPES[name]
    for cells in (*ENCODING.features, ENCODING.label):
        alone = [int(cells.codes(array[at : at + 1])[0]) for at in range(len(array))]
        assert cells.codes(array).tolist() == alone
        assert all(-1 <= code < cells.size for code in alone)
    plain = pa.Table.from_pylist([LOW | {"outcome": "ill", "pid": "p0"}] * len(array))
    for columns in (SCHEMA.features, ("outcome",), ("pid",)):
        table = plain
        for column in columns:
            table = table.drop_columns(column).append_column(column, array)
        here = vault(TableSource(table))
        assert here.noisy_sum(sum_query(ENCODING), MU2).values.min() >= 0
        assert here.noisy_second_moment(MomentQuery(halves()), MU2).values.min() >= 0


def test_a_reader_that_types_a_whole_column_would_be_seen() -> None:
    """The negation: pandas, left to itself, reads a whole number that stands beside a null as another one."""
    columns = pd.Series([10**16 + 1]), pd.Series([10**16 + 1, None])
    alone, beside = (str(column.tolist()[0]) for column in columns)
    assert alone != beside


# The whole release: given equal released answers, neighbours ask the same and publish the same.


class Replay:
    """Records the exact answers of a first run and returns noised ones; returns the same ones to a second run."""

    name = "TEST"
    private = False

    def __init__(self) -> None:
        self.exact: tuple[list[NDArray[np.int64]], ...] = ([], [])
        self.run = 0
        self._noised: list[NDArray[np.int64]] = []

    def add(self, values: NDArray[np.int64], sigma: int, purpose: str) -> NDArray[np.int64]:
        exact = self.exact[self.run]
        exact.append(values)
        if self.run == 0:
            self._noised.append(KeyedNoise(5).add(values, sigma, purpose))
        return self._noised[len(exact) - 1]


def cohort(seed: int, patients: int = 150) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    age = rng.integers(0, 10, patients)
    return pd.DataFrame(
        {
            "age": age,
            "dose": rng.exponential(2, patients),
            "sex": rng.choice(["F", "M"], patients),
            "outcome": np.where(rng.random(patients) < age / 10, "ill", "well"),
        }
    )


COHORT = Schema.from_yaml(
    """
name: cohort
target: outcome
columns:
  age: {type: number, min: 0, max: 9, integer: true}
  dose: {type: number, min: 0, max: 20, missing: true}
  sex: {type: category, values: [F, M], missing: true}
  outcome: {type: category, values: [well, ill]}
"""
)


@pytest.fixture(scope="module")
def replayed(few_steps: None) -> tuple[Release, Release, Replay]:
    """Releases of neighbours that saw the same noised answers."""
    table = cohort(1)
    neighbour = table.astype({"dose": object})
    neighbour.loc[17] = [9, "no number", None, "well"]
    noise = Replay()
    releases = []
    for noise.run, frame in enumerate((table, neighbour)):
        releases.append(synthesize(frame, COHORT, Budget.from_mu(2.0), noise=noise))
    return releases[0], releases[1], noise


def test_synthesize_costs_what_it_says(replayed: tuple[Release, Release, Replay]) -> None:
    """Adaptive composition: each question's exact answers differ by its bound, and the mu^2 add to the budget."""
    one, other, noise = replayed
    assert len(noise.exact[0]) == len(noise.exact[1]) == len(one.answers) == 2
    for first, second, a, b in zip(*noise.exact, one.answers, other.answers, strict=True):
        moved = sum((int(x) - int(y)) ** 2 for x, y in zip(first, second, strict=True))
        assert 0 < moved <= a.sensitivity2
        assert (a.question, a.sigma, a.sensitivity2, a.mu2) == (b.question, b.sigma, b.sensitivity2, b.mu2)
        assert a.mu2 == Fraction(a.sensitivity2, a.sigma**2)
    spent = sum((answer.mu2 for answer in one.answers), Fraction(0))
    assert Fraction(39999, 10000) < spent <= 4
    assert one.receipt["mu2"] == str(spent)


def test_nothing_but_the_answers_depends_on_the_records(replayed: tuple[Release, Release, Replay]) -> None:
    one, other, _ = replayed
    assert one.receipt == other.receipt
    assert "mixture" in one.site.kind
    pd.testing.assert_frame_equal(one.centroids, other.centroids, check_exact=True)
    pd.testing.assert_frame_equal(one.records(), other.records(), check_exact=True)
    np.testing.assert_array_equal(one.support.points, other.support.points)
    np.testing.assert_array_equal(one.support.labels, other.support.labels)


def test_other_noise_gives_another_release(replayed: tuple[Release, Release, Replay], few_steps: None) -> None:
    """The negation: the release above is not a constant."""
    other = synthesize(cohort(1), COHORT, Budget.from_mu(2.0), noise=KeyedNoise(6))
    assert not np.array_equal(replayed[0].site.masses, other.site.masses)
