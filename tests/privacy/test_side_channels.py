"""What is seen beside the answers: replies, logs, prints, sizes and iterations follow from no record.

Neighbours: one patient's single record becomes 500 odd ones. Both tables are given the same released answers, and
then nothing that anybody sees may differ, not even at the hospital. `differences` looks, and has to see each leak
that is planted for it.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from channels import (
    COUNTS,
    MARK,
    ODD,
    PATIENTS,
    SCHEMA,
    Watch,
    both,
    differences,
    opened,
    request,
    site,
    study,
)
from numpy.typing import NDArray

from cohortmix.client.ledger.ledger import Ledger
from cohortmix.client.table.data import open_table
from cohortmix.core.audit.noise_keyed import KeyedNoise
from cohortmix.core.data.dictionary.columns import Category
from cohortmix.core.data.encoding import Encoding
from cohortmix.core.data.table import TableSource
from cohortmix.core.steps import adapt, pipeline
from cohortmix.core.steps.anonymize import sum_query
from cohortmix.core.steps.centroids import SiteCentroids
from cohortmix.protocol.messages import (
    CentroidsRelease,
    ClassSumsRelease,
    Code,
    Refusal,
    SignedRelease,
    decode,
    encode,
)


def test_the_tables_are_the_neighbours_that_they_should_be(files: dict[str, tuple[Path, Path]]) -> None:
    for pair in files.values():
        sources = [open_table(path, SCHEMA) for path in pair]
        assert [str(sum(batch.num_rows for batch in source.batches())) for source in sources] == list(COUNTS)
        assert [site(source, KeyedNoise(1)).description.patients for source in sources] == [PATIENTS] * 2


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
    assert any(isinstance(release, CentroidsRelease) and "mixture" in release.kinds for release in released)
    assert len(seen.logs) == sum(isinstance(message, Refusal) for message in messages)
    assert {name for name, *_ in seen.iterations} == {"_advance", "_adam"}
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
    assert {each.answer.values.shape for each in answers if isinstance(each, ClassSumsRelease)} == {(expected,)}
    longer = SCHEMA.columns | {"sex": Category(type="category", values=("F", "M", "X"), missing=True)}
    assert sum_query(Encoding.of(SCHEMA.model_copy(update={"columns": longer}))).width != query.width
