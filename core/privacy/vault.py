"""The vault: the only door to the records.

It answers sums and second moments, of one-hot cells or of signed numbers. Each question is a frozen public
description and never a function; each answer has noise, and is debited from a meter. Nothing else in this
system reads a record. `README.md` beside this file has the theorem; the `Guarantee` sections below have the
same names as their tests.

Records are integers from the start: a cell is found by comparisons (`encoding`), a record is an integer vector
on a lattice, its norm is checked and clipped in integers, and sums of integers do not depend on their order
(`contributions`, as trusted as this file).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from typing import NoReturn

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cohortmix.core.data.encoding import UNKNOWN, Encoding
from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import Source, patient_keys
from cohortmix.core.privacy import contributions
from cohortmix.core.privacy.contributions import MOMENT_UNIT, Rows
from cohortmix.core.privacy.form import check_query
from cohortmix.core.privacy.lattice import EXACT
from cohortmix.core.privacy.meter import Answer, BudgetExceeded, Meter
from cohortmix.core.privacy.noise import MAX_SIGMA, MIN_SIGMA, AddNoise, ceil_sqrt
from cohortmix.core.privacy.query import (
    DIAGONAL,
    ClassMoment,
    LevelMoment,
    LevelSum,
    MomentQuery,
    Query,
    SumQuery,
    largest_norm2,
    question_hash,
)

__all__ = ["MOMENT_UNIT", "Vault"]

LIMIT = 1 << 62  # bound on every integer that is summed


class Vault:
    """Holds a table and answers questions about it, with noise.

    Parameters
    ----------
    source : the table, readable again and again in batches.
    schema : its data dictionary.
    add_noise : `add` of a source of privacy noise; whether it is the real one is not for the vault to know.
    meter : pays for each question and keeps each answer.

    Notes
    -----
    Neighbours: all records of one patient are replaced; the number of patients is fixed and public. The
    number of rows is not, and has no attribute here.
    """

    def __init__(self, source: Source, schema: Schema, add_noise: AddNoise, meter: Meter) -> None:
        self._source, self._schema, self._add_noise, self._meter = source, schema, add_noise, meter
        self._encoding = Encoding.of(schema)
        self._rows_of = _rows_of_patients(source, schema)
        self._asked = 0
        #: N, public: distinct patient keys, before any row is dropped.
        self.patients = (
            sum(batch.num_rows for batch in source.batches()) if self._rows_of is None else len(self._rows_of)
        )

    def noisy_sum(self, query: SumQuery, mu2: Fraction) -> Answer:
        """Class sums of weighted one-hot blocks, plus discrete Gaussian noise.

        Guarantee
        ---------
        test_sensitivity_of_noisy_sum. A patient's z has non-negative entries and |z| <= B (clipped, rows
        weighted 1/m, convexity), so replacing one patient moves the answer by at most sqrt(2) B: mu-GDP with
        mu^2 = 2 B^2 / sigma^2. Public: the query, N.
        """
        check_query(query, SumQuery, self._encoding.sizes)
        if query.bound2 >= LIMIT:
            raise OverflowError(f"the weights of {len(query.blocks)} blocks are too large for 62 bits")
        largest = max([block.weight for block in query.blocks] + [query.label_weight])
        return self._answer(query, query.unit, 2 * query.bound2, largest, mu2)

    def noisy_second_moment(self, query: MomentQuery, mu2: Fraction) -> Answer:
        """Class-conditional tables of every pair of features, plus discrete Gaussian noise.

        Guarantee
        ---------
        test_sensitivity_of_noisy_second_moment. psi has Q blocks and |psi|^2 <= Q (clipped), hence
        sum_{i<j} |psi_i|^2 |psi_j|^2 <= Q(Q-1)/2 (Maclaurin), entries are non-negative, and a patient's rows
        enter as psi / sqrt(m): replacing one patient moves the answer by at most sqrt(Q(Q-1)). Public: the
        query, N.
        """
        check_query(query, MomentQuery, self._encoding.sizes)
        q, unit = len(query.groups), MOMENT_UNIT**2
        if q < 2:
            raise ValueError(f"a second moment needs two features or more, got {q}")
        return self._answer(query, unit, q * (q - 1) * unit**2, unit, mu2)

    def noisy_level_sum(self, query: LevelSum, mu2: Fraction) -> Answer:
        """Sums of clipped signed numbers, of each class with its mass or of all, plus discrete Gaussian noise.

        Guarantee
        ---------
        test_sensitivity_of_noisy_level_sum. With rows weighted 1/m, a patient adds a convex combination of 0 and
        of points onehot(y) (x) [x, v], |x| <= R (clipped), w - e <= v <= w, e = min(cap - 1, w) steps for what
        division cuts off the label entry w. Two such points are at most sqrt(4 R^2 + e^2) apart in one class and
        sqrt(2 (R^2 + w^2)) in two, hence Delta^2, the larger square: mu-GDP with mu^2 = Delta^2 / sigma^2.
        Public: the query, N, the cap on rows.
        """
        check_query(query, LevelSum, self._encoding.sizes)
        if max(query.bound2, largest_norm2(query.coordinates)) >= LIMIT:
            raise OverflowError(f"the levels of {len(query.coordinates)} coordinates are too large for 62 bits")
        cap = 1 if self._rows_of is None else self._schema.max_rows_per_patient
        cut = min(cap - 1, query.label_weight)
        sensitivity2 = max(4 * query.radius**2 + cut**2, 2 * query.bound2)
        return self._answer(query, query.unit, sensitivity2, max(query.radius, query.label_weight), mu2)

    def noisy_level_moment(self, query: LevelMoment, mu2: Fraction) -> Answer:
        """Second moment of clipped signed numbers, over all classes, plus discrete Gaussian noise.

        Guarantee
        ---------
        test_sensitivity_of_noisy_level_moment. |psi| <= R (clipped, then quantised), and a patient's rows enter
        as psi / sqrt(m): it adds a positive semidefinite M of trace and thus Frobenius norm <= R^2. Two such
        matrices have a non-negative inner product, so they are at most sqrt(2) R^2 apart. The answer holds
        b M_ii and a M_ij, i < j, with a^2 <= 2 b^2, so its norm is at most b |M|_F: replacing one patient moves
        it by at most sqrt(2) b R^2. Public: the query, N.
        """
        check_query(query, LevelMoment, self._encoding.sizes)
        if not query.coordinates:
            raise ValueError("a second moment needs a coordinate, got none")
        if query.radius**2 > EXACT or largest_norm2(query.coordinates) >= LIMIT:
            raise OverflowError(f"the levels of {len(query.coordinates)} coordinates are too large for 53 bits")
        largest = DIAGONAL * query.radius**2
        return self._answer(query, DIAGONAL * query.unit**2, 2 * largest**2, largest, mu2)

    def noisy_class_moment(self, query: ClassMoment, mu2: Fraction) -> Answer:
        """Second moment, sum and mass of clipped projections within each class, plus discrete Gaussian noise.

        Guarantee
        ---------
        test_sensitivity_of_noisy_class_moment. psi = [z, w] with |z| <= R (projected by public integers, then
        clipped), so |psi|^2 <= B^2 = R^2 + w^2, and a patient's rows enter as psi / sqrt(m), each in its class: it
        adds a block diagonal, positive semidefinite M of trace and thus Frobenius norm <= B^2. Two such matrices
        have a non-negative inner product, so they are at most sqrt(2) B^2 apart, in one class or in two. The
        answer holds b M_ii and a M_ij, i < j, with a^2 <= 2 b^2: replacing one patient moves it by at most
        sqrt(2) b B^2. Public: the query, N.
        """
        check_query(query, ClassMoment, self._encoding.sizes)
        most = query.largest
        divided = sum((each // query.divisor) ** 2 for each in most)
        if max(query.bound2, query.divisor, *most) > EXACT or divided >= LIMIT:
            raise OverflowError(f"{len(most)} directions of {len(query.coordinates)} levels leave 53 bits")
        largest = DIAGONAL * query.bound2
        return self._answer(query, DIAGONAL * query.unit**2, 2 * largest**2, largest, mu2)

    def _answer(self, query: Query, unit: int, sensitivity2: int, largest: int, mu2: Fraction) -> Answer:
        """Pay, compute, add noise, store, and only then read."""
        index, self._asked = self._asked, self._asked + 1
        if mu2 <= 0:
            raise ValueError(f"expected a budget above zero, got mu^2={mu2}")
        question = question_hash(query, self._schema)
        stored = self._meter.load(index)
        if stored is None:
            sigma2 = Fraction(sensitivity2) / mu2
            shift = 0
            while sigma2 * 4**shift < MIN_SIGMA**2:
                shift += 1
            if self.patients * largest << shift >= LIMIT:
                raise OverflowError(f"{self.patients} patients are too many for mu={float(mu2) ** 0.5:.3g}")
            sigma, paid = ceil_sqrt(sigma2 * 4**shift), sensitivity2 * 4**shift
            if sigma > MAX_SIGMA:
                raise OverflowError(f"mu={float(mu2) ** 0.5:.3g} is too small: the noise would leave 62 bits")
            cost = Fraction(paid, sigma**2)
            self._meter.debit(index, question, cost)
            noised = self._add_noise(self._exact(query) << shift, sigma, f"{question}:{index}")
            self._meter.store(index, Answer(noised, sigma, unit << shift, paid, cost, question))
            stored = self._meter.load(index)
        if stored is None or stored.question != question:
            raise BudgetExceeded(f"question {index} of this request was another one; start a new request")
        return stored

    def _exact(self, query: Query) -> NDArray[np.int64]:
        """What the noise is added to, and nothing else may read."""
        return contributions.exact(query, self._rows(), self._encoding.label.size)

    def _rows(self) -> Iterator[Rows]:
        """The rows that count, a batch of the table at a time."""
        seen: Counter[str] = Counter()
        for batch in self._source.batches():
            features, label = self._encoding.codes(batch)
            parts = self._parts(batch, seen)
            keep = (label != UNKNOWN) & (parts > 0)
            yield features[keep], label[keep], parts[keep]

    def _parts(self, batch: pa.RecordBatch, seen: Counter[str]) -> NDArray[np.int64]:
        """m of each row: a row weighs 1/m; 0 marks a row without a patient, or over the cap."""
        if self._rows_of is None:
            return np.ones(batch.num_rows, dtype=np.int64)
        cap = self._schema.max_rows_per_patient
        parts = np.zeros(batch.num_rows, dtype=np.int64)
        for row, key in enumerate(patient_keys(batch.column(self._schema.patient_key))):
            if key is None:
                continue
            m = min(self._rows_of[key], cap)  # as first counted: a table that grew gives nobody more weight
            if seen[key] < m:
                seen[key] += 1
                parts[row] = m
        return parts

    def __repr__(self) -> str:
        return f"Vault({self.patients} patients)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a vault holds records: it cannot be copied or serialised")


def _rows_of_patients(source: Source, schema: Schema) -> Counter[str] | None:
    """Rows of each patient, by canonical key; None where a row is a patient."""
    if schema.patient_key is None:
        return None
    rows: Counter[str] = Counter()
    for batch in source.batches():
        rows.update(key for key in patient_keys(batch.column(schema.patient_key)) if key is not None)
    return rows
