"""Question: the closed set of what a vault may be asked, and the hash of a question.

Each question is a frozen dataclass: public data, never a function, and of exactly one of these types. It has

- `NAME` : what it is called where it is hashed;
- `check(sizes)` : raises unless it is plain data that fits features of so many cells, and its sums stay exact;
- `sensitivity2(cap)` : the exact squared L2 sensitivity in lattice steps^2, with at most `cap` rows of a patient;
- `largest` : the most that one patient can add to an entry, in absolute value, in lattice steps;
- `unit` : lattice steps of 1;
- `dimension(classes)` : how many numbers the answer has;
- `grid` : of `ValueCounts` alone, edges on which some features are read in place of the schema's;
- `contribution(rows, classes)` : what the noise is added to, the exact sum over the rows that count, (dimension,).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from cohortmix.core.data.digest import digest
from cohortmix.core.privacy.questions.class_marginals import ClassMarginals
from cohortmix.core.privacy.questions.class_moment import ClassMoment
from cohortmix.core.privacy.questions.level_moment import LevelMoment
from cohortmix.core.privacy.questions.level_sum import LevelSum
from cohortmix.core.privacy.questions.pair_tables import PairTables
from cohortmix.core.privacy.questions.plain_data import parts
from cohortmix.core.privacy.questions.score_moment import ScoreMoment
from cohortmix.core.privacy.questions.sign_products import SignProducts
from cohortmix.core.privacy.questions.value_counts import ValueCounts

if TYPE_CHECKING:
    from cohortmix.core.data.schema import Schema

Question: TypeAlias = (
    ClassMarginals | PairTables | SignProducts | ValueCounts | ScoreMoment | LevelSum | LevelMoment | ClassMoment
)
QUESTIONS = (
    ClassMarginals, PairTables, SignProducts, ValueCounts, ScoreMoment, LevelSum, LevelMoment, ClassMoment,
)  # fmt: skip


def require_question(question: object) -> None:
    """Raise TypeError unless it is of exactly one of these types: a subclass could state another sensitivity."""
    if type(question) not in QUESTIONS:
        raise TypeError(f"expected a question, got {type(question).__name__}; questions are frozen descriptions")


def question_hash(question: Question, schema: Schema) -> str:
    """SHA-256 of what is asked, of which schema."""
    return digest([schema.hash, [question.NAME, *parts(question)]], default=parts)
