"""Neighbours differ in one patient; the worst cases are what they are called."""

from __future__ import annotations

import random
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from audited import SCHEMA, table
from three_hospitals import records, schema

from cohortmix.core.audit.neighbours import KEY, MANY_ROWS, ODD, Cohort, Record, at_random, made_up, worst
from cohortmix.core.audit.noise_keyed import KeyedNoise
from cohortmix.core.audit.pairs import level_questions, questions, replay_worst
from cohortmix.core.data.dictionary.columns import Number
from cohortmix.core.data.dictionary.grid import bounds
from cohortmix.core.data.encoding import Encoding
from cohortmix.core.data.groups import Groups
from cohortmix.core.data.table import InputError, TableSource
from cohortmix.core.privacy.memory_meter import MemoryMeter
from cohortmix.core.privacy.questions.value_counts import ValueCounts
from cohortmix.core.privacy.vault import Vault


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    return Cohort.of(TableSource(table()), SCHEMA, most=1000)


def test_neighbours_differ_in_one_patient(cohort: Cohort) -> None:
    rng = random.Random(4)
    everybody = dict.fromkeys(cohort.patients)
    for _ in range(20):
        patient, records = at_random(cohort, rng)
        neighbour = cohort.replaced(patient, records)
        others = pc.not_equal(cohort.table[KEY], patient)
        assert neighbour.filter(pc.not_equal(neighbour[KEY], patient)).equals(cohort.table.filter(others))
        own = neighbour.filter(pc.equal(neighbour[KEY], patient)).select(list(SCHEMA.columns)).to_pylist()
        assert own == [dict(record) for record in records]
        assert dict.fromkeys(neighbour.column(KEY).to_pylist()).keys() == everybody.keys()


def test_the_worst_cases_are_what_they_are_called(cohort: Cohort) -> None:
    cases = worst(cohort, cohort.patients[5])
    own, flipped = cases["as it is"][0], cases["label flip"][0]
    assert {name for name in SCHEMA.columns if own[name] != flipped[name]} == {"outcome"}
    assert len(cases[f"{MANY_ROWS} rows"]) == MANY_ROWS
    assert [value for name, value in cases["missing everywhere"][0].items() if name != "outcome"] == [None] * 4
    ages = [float(each["age"]) for each in cohort.table.to_pylist()]
    assert min(ages) < float(cases["between two clusters"][0]["age"] or "nan") < max(ages)
    assert cases["outlier far from everything"][0]["dose"] == "1e308"


def test_signed_numbers_have_worst_cases_of_their_own(cohort: Cohort) -> None:
    """In one class, two records at opposite ends; and one that is orthogonal to both."""
    cases = worst(cohort, cohort.patients[5])
    first, last = cases["every column at its first value"][0], cases["last values in the first class"][0]
    turns = cases["first and last values in turn"][0]
    assert first["outcome"] == last["outcome"]
    assert all(first[name] != last[name] for name in SCHEMA.features)
    assert [turns[name] == first[name] for name in SCHEMA.features] == [True, False, True, False]


def test_many_patients_may_be_replaced_at_once(cohort: Cohort) -> None:
    rng = random.Random(5)
    records = {patient: (made_up(cohort.schema, rng),) for patient in cohort.patients[:7]}
    table = cohort.replaced_all(records)
    assert set(table[KEY].to_pylist()) == set(cohort.table[KEY].to_pylist())
    theirs = pc.is_in(table[KEY], pa.array(list(records)))
    assert table.filter(theirs).equals(cohort.only(records))
    untouched = cohort.table.filter(pc.invert(pc.is_in(cohort.table[KEY], pa.array(list(records)))))
    assert table.filter(pc.invert(theirs)).equals(untouched)


def test_made_up_records_are_declared_but_for_the_share_that_is_odd(cohort: Cohort) -> None:
    rng = random.Random(6)
    plain = [made_up(SCHEMA, rng) for _ in range(300)]
    assert {record["sex"] for record in plain} == {"F", "M"}
    column = SCHEMA.columns["dose"]
    assert isinstance(column, Number)
    low, high = bounds(column)
    doses = [float(record["dose"] or "nan") for record in plain]
    assert all(low - 0.1 * (high - low) <= dose <= high + 0.1 * (high - low) for dose in doses)
    assert min(doses) < low < high < max(doses)
    odd = [made_up(SCHEMA, rng, odd=0.1)["sex"] for _ in range(3000)]
    assert 0.03 < odd.count(None) / len(odd) < 0.07
    assert 0.03 < sum(value in ODD for value in odd) / len(odd) < 0.07


def test_a_cohort_reads_as_its_table_does(cohort: Cohort) -> None:
    """As text, cells are the same; nobody's row is left out; where a row is a patient, it gets a key."""
    assert len(cohort.patients) == 180
    meter = MemoryMeter(Fraction(1))
    typed = Vault(TableSource(table()), SCHEMA, KeyedNoise(3).add, meter)
    as_text = Vault(TableSource(cohort.table), cohort.schema, KeyedNoise(3).add, meter)
    assert typed.patients == as_text.patients
    groups = Groups(tuple(tuple(cell % 3 for cell in range(size)) for size in Encoding.of(SCHEMA).sizes))
    for query, _ in (*questions(SCHEMA, groups, Fraction(1)), *level_questions(SCHEMA, Fraction(1))):
        grid = query.grid if isinstance(query, ValueCounts) else ()
        one, other = (opened._exact(query, opened._reader.on(grid)) for opened in (typed, as_text))
        np.testing.assert_array_equal(one, other)
    rows = Cohort.of(TableSource(table()), SCHEMA.model_copy(update={"patient_key": None}), most=50)
    assert rows.table.num_rows == len(rows.patients) == 50
    with pytest.raises(InputError, match="two patients"):
        Cohort.of(TableSource(table().slice(0, 1)), SCHEMA, most=50)


@pytest.mark.parametrize("kind", ["number", "survival", "none"])
def test_worst_cases_are_in_the_classes_that_they_are_called_after(kind: str) -> None:
    """Of slices of a number, of a time and its event, and of everybody, who have no other class to flip to."""
    cohort = Cohort.of(TableSource(records(200)), schema(kind), most=150)
    label, columns = Encoding.of(cohort.schema).label, list(cohort.schema.columns)

    def classes(records: tuple[Record, ...]) -> set[int]:
        rows = [{name: record[name] for name in columns} for record in records]
        batch = pa.RecordBatch.from_pylist(rows, schema=pa.schema([(name, pa.string()) for name in columns]))
        return set(label.codes(batch).tolist())

    last = len(cohort.schema.classes) - 1
    for patient in cohort.patients[:20]:
        cases = worst(cohort, patient)
        assert ("label flip" in cases) == (kind != "none")
        assert classes(cases.get("label flip", ())) != classes(cases["as it is"])
        assert classes(cases["last values in the first class"]) == {0}
        assert classes(cases[f"{MANY_ROWS} rows at both ends"]) == {0, last}
        assert classes(cases["missing everywhere"]) == classes(cases["as it is"])
        assert classes(cases["missing everywhere, the label too"]) == {0 if kind == "none" else -1}


@pytest.mark.parametrize("kind", ["number", "survival", "none"])
def test_no_worst_case_moves_an_answer_by_more_than_its_sensitivity(kind: str) -> None:
    cohort = Cohort.of(TableSource(records(120)), schema(kind), most=120)
    patient = cohort.patients[0]
    tables = {name: cohort.replaced(patient, rows) for name, rows in worst(cohort, patient).items()}
    groups = Groups(tuple(tuple(min(cell, 3) for cell in range(n)) for n in Encoding.of(cohort.schema).sizes))
    found, _ = replay_worst(tables, cohort.schema, questions(cohort.schema, groups, Fraction(1)), KeyedNoise(3))
    assert not found.violations
    assert max(found.reached.values()) > 0.8, "and the worst of them come near to it"
