"""The vault: the only door to the records.

It answers questions of a closed set (`questions`): each is a frozen public description and never a function; each
answer has noise, and is debited from a meter. No other path leads from a record to a release. `core/README.md` has
the theorem; the `Guarantee` section of each question begins with the name of its test.

Records are integers from the start: a cell is read by itself (`reading`), a record is an integer vector on a
lattice, its norm is checked and clipped in integers, and sums of integers do not depend on their order.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from functools import reduce
from typing import TYPE_CHECKING, NoReturn, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cohortmix.core.data.encoding import Encoding
from cohortmix.core.data.patients import Patients, count_by_piece, each, earlier_rows, shares, together
from cohortmix.core.data.reading import UNKNOWN, RecordReader
from cohortmix.core.data.values import patient_ids
from cohortmix.core.privacy.joint import ALONE, Terms
from cohortmix.core.privacy.meter import Answer, BudgetExceeded, Meter
from cohortmix.core.privacy.noise import AddNoise
from cohortmix.core.privacy.questions.lattice import Rows
from cohortmix.core.privacy.questions.question import Question, question_hash, require_question
from cohortmix.core.privacy.questions.value_counts import ValueCounts
from cohortmix.core.privacy.scale import Scale, scale_of

if TYPE_CHECKING:
    from cohortmix.core.data.schema import Schema
    from cohortmix.core.data.table import Source

Counts: TypeAlias = NDArray[np.int64]


class Vault:
    """Holds a table and answers questions about it, with noise.

    Parameters
    ----------
    source : the table, readable again and again in batches; of one that is divided, `contributions` of each piece
        is computed where that piece lies.
    schema : its data dictionary.
    add_noise : `add` of a source of privacy noise; whether it is the real one is not for the vault to know.
    meter : pays for each question and keeps each answer.

    Notes
    -----
    Neighbours: all records of one patient are replaced; the number of patients is fixed and public. With a
    patient key, rows per patient (`_rows_of`) are not public, and no answer gives them without noise.
    """

    def __init__(self, source: Source, schema: Schema, add_noise: AddNoise, meter: Meter) -> None:
        self._source, self._schema, self._add_noise, self._meter = source, schema, add_noise, meter
        self._reader = Encoding.of(schema).reader
        counted = count_by_piece(source, schema)
        #: N, public: distinct patient keys, before any row is dropped.
        self.patients = together(counted).number
        self._counting = tuple(shares(counted, schema.cap))
        self._asked = 0

    def answer(self, question: Question, mu2: Fraction, terms: Terms = ALONE) -> Answer:
        """The exact sums that a question asks for, plus discrete Gaussian noise.

        Guarantee
        ---------
        If `add_noise` is `OpenDPNoise.add`: mu-GDP up to `gdp.kappa` for the replacement of one patient, mu^2 =
        the answer's mu2, by the question's own section. A new answer has mu2 <= `mu2`; a stored one has what was
        paid for it. Public: the question, the schema, N, the terms, and every refusal.

        With `terms` of a joint study: the sum of such answers over the sites that it is read of, by the theorem on
        joint answers. The answer by itself is then not protected, and stays at its site.

        Raises
        ------
        TypeError, ValueError, OverflowError
            By what is public, before anything is paid: not a question of the closed set or not plain data; not of
            this schema, or no budget; too large for exact sums or too small a budget for 62 bits.
        BudgetExceeded
            If it costs more than is left, or another question had this place in the request.
        """
        require_question(question)
        question.check(self._reader.sizes)
        reader = self._reader.on(question.grid) if isinstance(question, ValueCounts) else self._reader
        noise = scale_of(question, self._schema.cap, mu2, max(self.patients, terms.patients), terms)
        return self._stored(question, reader, noise, terms.sharers)

    def _stored(self, question: Question, reader: RecordReader, noise: Scale, sharers: int) -> Answer:
        """Pay, compute, add noise, store, and only then read."""
        index, self._asked = self._asked, self._asked + 1
        asked = question_hash(question, self._schema)
        stored = self._meter.load(index)
        if stored is None:
            self._meter.debit(index, asked, noise.cost)
            values = self._add_noise(self._exact(question, reader) << noise.shift, noise.sigma, f"{asked}:{index}")
            spare = self._spare(noise, len(values), f"{asked}:{index}:spare")
            facts = (noise.sigma, question.unit << noise.shift, noise.sensitivity2, noise.cost, asked, sharers)
            self._meter.store(index, Answer(values + spare, *facts, spare if noise.spare else None, noise.spare))
            stored = self._meter.load(index)
        terms = (asked, sharers, noise.spare)
        if stored is None or (stored.question, stored.sharers, stored.spare_sigma) != terms:
            raise BudgetExceeded(f"question {index} of this request was another one; start a new request")
        return stored

    def _spare(self, noise: Scale, size: int, purpose: str) -> Counts:
        """Noise for the sites that may be missing from a sum, apart, so that it can be taken off again."""
        nothing = np.zeros(size, dtype=np.int64)
        return self._add_noise(nothing, noise.spare, purpose) if noise.spare else nothing

    def _exact(self, question: Question, reader: RecordReader) -> Counts:
        """What the noise is added to, and nothing else may read."""
        asked = (question, reader, self._schema.patient_key)
        return reduce(np.add, each(self._source, contributions, self._counting, *asked))

    def __repr__(self) -> str:
        return f"Vault({self.patients} patients)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a vault holds records: it cannot be copied or serialised")


def contributions(
    piece: Source, patients: Patients, counting: Counts, question: Question, reader: RecordReader, key: str | None
) -> Counts:
    """The exact sum that a question asks for, over the rows of a piece of a table; (dimension,).

    For the vault alone, which adds noise to the sum over all pieces. `patients` and the number of their rows that
    are `counting` are those of the piece (`shares`); `key` is the column of the patient key.
    """
    return question.contribution(_rows(piece, patients, counting, reader, key), reader.label.size)


def _rows(
    piece: Source, patients: Patients, counting: Counts, reader: RecordReader, key: str | None
) -> Iterator[Rows]:
    """The rows that count, a batch of the piece at a time."""
    seen = np.zeros_like(counting)
    for batch in piece.batches():
        features, label = reader.codes(batch)
        parts = np.ones_like(label, dtype=np.int64)
        if key is not None:
            parts = _parts(patient_ids(batch.column(key)), patients, counting, seen)
        keep = (label != UNKNOWN) & (parts > 0)
        yield features[keep], label[keep], parts[keep]


def _parts(ids: NDArray[np.bytes_], patients: Patients, counting: Counts, seen: Counts) -> Counts:
    """m of each row: a row weighs 1/m; 0 marks a row without a patient, or over the cap.

    `seen` counts the rows of each patient in the batches before this one, and is told of this one's.
    """
    patient = patients.find(ids)
    earlier = seen[patient] + earlier_rows(patient)
    np.add.at(seen, patient, 1)
    # As first counted: a table that grew gives nobody more weight.
    return np.where(earlier < counting[patient], patients.rows[patient], 0)
