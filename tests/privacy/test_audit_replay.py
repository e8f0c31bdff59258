"""A replay sees every way in which a run tells more than its answers do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from cohortmix.core import Schema
from cohortmix.core.audit.neighbours import Cohort, worst
from cohortmix.core.audit.noise_keyed import KeyedNoise
from cohortmix.core.audit.pairs import on_vault, questions
from cohortmix.core.audit.replay import Mechanism, Replays, Run, ask, differences, distance2, fingerprint, run
from cohortmix.core.data.groups import Groups
from cohortmix.core.data.table import TableSource
from cohortmix.core.privacy.meter import Answer
from cohortmix.core.privacy.noise_source import NoiseSource

SCHEMA = Schema.from_yaml(
    """
name: cohort
target: outcome
columns:
  dose: {type: number, min: 0, max: 20, knots: 4}
  sex: {type: category, values: [F, M]}
  outcome: {type: category, values: [ill, well]}
"""
)
NOISE = KeyedNoise(3)
ASKED = questions(SCHEMA, Groups(((0, 0, 1, 1), (0, 1))), Fraction(3, 10))


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    rng = np.random.default_rng(1)
    columns = {
        "dose": rng.uniform(0, 20, 60),
        "sex": rng.choice(["F", "M"], 60),
        "outcome": rng.choice(["ill", "well"], 60),
    }
    return Cohort.of(TableSource(pa.table(columns)), SCHEMA, most=60)


@pytest.fixture(scope="module")
def tables(cohort: Cohort) -> dict[str, pa.Table]:
    """The named neighbours."""
    patient = cohort.patients[5]
    return {name: cohort.replaced(patient, records) for name, records in worst(cohort, patient).items()}


def asked_of(table: pa.Table, cohort: Cohort) -> Run:
    return run(on_vault(table, cohort.schema, ASKED), NOISE)


def some_cell(table: pa.Table) -> bool:
    """True of the outlier alone."""
    return bool(pc.any(pc.equal(table["dose"], "1e308")).as_py())


def one_more(table: pa.Table, cohort: Cohort) -> Mechanism:
    return lambda noise: (ask(table, cohort.schema, [*ASKED, *(ASKED if some_cell(table) else ())], noise), None)


def another_order(table: pa.Table, cohort: Cohort) -> Mechanism:
    return lambda noise: (ask(table, cohort.schema, ASKED[::-1] if some_cell(table) else ASKED, noise), None)


def one_less(table: pa.Table, cohort: Cohort) -> Mechanism:
    return lambda noise: (ask(table, cohort.schema, ASKED[: 1 if some_cell(table) else 2], noise), None)


def refuses(table: pa.Table, cohort: Cohort) -> Mechanism:
    def mechanism(noise: NoiseSource) -> tuple[Sequence[Answer], object]:
        if some_cell(table):
            raise ValueError("no such dose")
        return ask(table, cohort.schema, ASKED, noise), None

    return mechanism


def counts_rows(table: pa.Table, cohort: Cohort) -> Mechanism:
    return lambda noise: (ask(table, cohort.schema, ASKED, noise), some_cell(table) + 10)


@pytest.mark.parametrize(
    ("mechanism", "says"),
    [
        (one_more, "a run stopped: Diverged: question 2 is another one"),
        (another_order, "a run stopped: Diverged: question 0 is another one"),
        (one_less, "the questions differ in number, order, text or noise"),
        (refuses, "a run stopped: ValueError: no such dose"),
        (counts_rows, "what leaves differs"),
    ],
)
def test_a_difference_in_control_flow_or_in_what_leaves_is_caught(
    mechanism: Callable[[pa.Table, Cohort], Mechanism], says: str, tables: dict[str, pa.Table], cohort: Cohort
) -> None:
    recorded = run(mechanism(cohort.table, cohort), NOISE)
    for name, expected in (("label flip", []), ("outlier far from everything", [says])):
        other = run(mechanism(tables[name], cohort), NOISE, recorded)
        assert [text for text in differences(recorded, other) if text in (says, *expected)] == expected


def test_a_replayed_run_reads_the_recorded_answers(tables: dict[str, pa.Table], cohort: Cohort) -> None:
    recorded = asked_of(cohort.table, cohort)
    replayed = run(on_vault(tables["label flip"], cohort.schema, ASKED), KeyedNoise(9), recorded)
    for first, second in zip(recorded.answers, replayed.answers, strict=True):
        np.testing.assert_array_equal(first.values, second.values)
    assert all(distance2(a.exact, b.exact) for a, b in zip(recorded.entries, replayed.entries, strict=True))


def test_a_fingerprint_is_of_every_bit() -> None:
    values = np.array([1.0, 2.0])
    assert fingerprint((values, "a")) == fingerprint((values.copy(), "a"))
    others = (np.nextafter(values, 3), "a"), (values.astype(np.float32), "a"), (values, "b"), (values[:1], "a")
    assert len({fingerprint(each) for each in ((values, "a"), *others)}) == 5


def test_an_answer_charged_at_another_scale_or_not_noised_is_caught(
    tables: dict[str, pa.Table], cohort: Cohort
) -> None:
    one = asked_of(tables["as it is"], cohort)
    assert differences(one, one) == []
    entry, answer = one.entries[0], one.answers[0]
    scaled = replace(one, entries=(replace(entry, sigma=entry.sigma * 2 // 3), *one.entries[1:]))
    assert "answer 0 was noised at another scale than it was charged for" in differences(scaled, scaled)
    exact = replace(one, answers=(replace(answer, values=entry.exact), *one.answers[1:]))
    assert differences(exact, exact) == ["answer 0 is not what the noise gave"]


def test_findings_of_many_pairs_add_up(tables: dict[str, pa.Table], cohort: Cohort) -> None:
    versions = {name: asked_of(tables[name], cohort) for name in ("as it is", "label flip", "missing everywhere")}
    one, both = Replays(), Replays()
    pairs = [("as it is", "label flip"), ("as it is", "missing everywhere")]
    for pair in pairs:
        found = Replays()
        for into in (one, found):
            into.compare("pair", versions[pair[0]], versions[pair[1]])
        both.add(found)
    assert both == one
    assert (both.pairs, len(both.violations)) == (2, 2)  # another noise: what leaves differs
