"""Record and replay: does replacing one patient move any exact answer by more than its declared sensitivity?

The mechanism runs on D and on D', which differ in one patient. D' is given the *released* answers of D, so that
whatever is asked later depends on the same past; then every exact answer that reaches the noise may differ by
the sensitivity that was paid for, and nothing else may differ at all: not the number, order or text of the
questions, not the noise, not what leaves (arXiv 2602.17454). For public tables: a `Tape` holds exact answers.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import TableSource
from cohortmix.core.privacy.memory_meter import MemoryMeter
from cohortmix.core.privacy.meter import Answer
from cohortmix.core.privacy.noise_source import NoiseSource
from cohortmix.core.privacy.questions.question import Question
from cohortmix.core.privacy.vault import Vault

Questions = Sequence[tuple[Question, Fraction]]
"""Questions to a vault, each with the mu^2 that it may cost."""
Mechanism = Callable[[NoiseSource], tuple[Sequence[Answer], object]]
"""Returns its answers, and all that leaves."""


@dataclass(frozen=True, eq=False)
class Entry:
    """One question as the noise source saw it.

    Attributes
    ----------
    exact, released : (d,) int64, before and after the noise.
    sigma : the scale that the noise was really asked for, in steps.
    purpose : hash of the question, and its place in the order.
    """

    exact: NDArray[np.int64]
    released: NDArray[np.int64]
    sigma: int
    purpose: str


class Diverged(Exception):  # noqa: N818 (an outcome, not a fault)
    """A replayed run asked something else than the recorded one."""


class Tape:
    """A noise source that remembers each exact answer. NOT PRIVATE.

    Parameters
    ----------
    noise : draws the noise of a first run.
    replayed : entries of a first run; a second run is given their released answers instead of noise.
    """

    name: Final = "TEST"
    private: Final = False

    def __init__(self, noise: NoiseSource, replayed: Sequence[Entry] | None = None) -> None:
        self._noise, self._replayed = noise, replayed
        self.entries: list[Entry] = []

    def add(self, values: NDArray[np.int64], sigma: int, purpose: str) -> NDArray[np.int64]:
        """Noise from the source, or the recorded answer; raises Diverged where the question is another one."""
        released = self._noise.add(values, sigma, purpose) if self._replayed is None else self._recorded(purpose)
        if len(released) != len(values):
            raise Diverged(f"question {len(self.entries)} has an answer of {len(values)} numbers")
        self.entries.append(Entry(values.copy(), released, sigma, purpose))
        return released

    def _recorded(self, purpose: str) -> NDArray[np.int64]:
        at = len(self.entries)
        if self._replayed is None or at >= len(self._replayed) or self._replayed[at].purpose != purpose:
            raise Diverged(f"question {at} is another one")
        return self._replayed[at].released


@dataclass(frozen=True, eq=False)
class Run:
    """What a run asked, what it was charged for, and what left it.

    Attributes
    ----------
    entries : what reached the noise, in order.
    answers : what was paid for and released.
    left : SHA-256 of all that left, of answers included.
    fault : the exception that ended it, if any.
    """

    entries: tuple[Entry, ...]
    answers: tuple[Answer, ...]
    left: str
    fault: str | None = None


def run(
    mechanism: Mechanism,
    noise: NoiseSource,
    replayed: Run | None = None,
) -> Run:
    """Run a mechanism on a tape; any exception is an outcome."""
    tape = Tape(noise, None if replayed is None else replayed.entries)
    try:
        answers, left = mechanism(tape)
    except Exception as error:  # whether and where a run stops is seen from outside
        return Run(tuple(tape.entries), (), "", f"{type(error).__name__}: {error}")
    return Run(tuple(tape.entries), tuple(answers), fingerprint((answers, left)))


def ask(table: pa.Table, schema: Schema, questions: Questions, noise: NoiseSource) -> tuple[Answer, ...]:
    """The vault alone: its answers to given questions about a table."""
    vault = Vault(
        TableSource(table), schema, noise.add, MemoryMeter(sum((mu2 for _, mu2 in questions), Fraction(0)))
    )
    return tuple(vault.answer(question, mu2) for question, mu2 in questions)


@dataclass
class Replays:
    """Findings of many pairs.

    Attributes
    ----------
    asked : names of the questions that are expected, in order.
    pairs : how many were compared.
    reached : for each question, the largest squared distance found as a share of the declared sensitivity2.
    violations : a sentence for each difference that the guarantee excludes.
    """

    asked: tuple[str, ...] = ()
    pairs: int = 0
    reached: dict[int, float] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)

    def compare(self, name: str, one: Run, other: Run) -> None:
        """Take up a pair of runs, the second of which (or both) replayed the released answers of the first."""
        self.pairs += 1
        for at, (a, b, paid) in enumerate(zip(one.entries, other.entries, one.answers, strict=False)):
            moved = distance2(a.exact, b.exact)
            self.reached[at] = max(self.reached.get(at, 0.0), moved / paid.sensitivity2)
            if moved > paid.sensitivity2:
                self._violated(
                    name, f"question {at} moved by {moved / paid.sensitivity2:.4g} of its sensitivity^2"
                )
        for text in differences(one, other):
            self._violated(name, text)

    @property
    def shares(self) -> dict[str, float]:
        """The largest share that questions of each name reached."""
        found: dict[str, float] = {}
        for at, share in sorted(self.reached.items()):
            name = self.asked[at] if at < len(self.asked) else f"question {at}"
            found[name] = max(found.get(name, 0.0), share)
        return found

    def add(self, others: Replays) -> None:
        """Take up what was found on other pairs."""
        self.pairs += others.pairs
        self.violations += others.violations
        for at, share in others.reached.items():
            self.reached[at] = max(self.reached.get(at, 0.0), share)

    def _violated(self, name: str, text: str) -> None:
        self.violations.append(f"{name}: {text}")


def differences(one: Run, other: Run) -> list[str]:
    """All in which two replayed runs differ, or an answer is not the one that was noised and paid for."""
    found = [f"a run stopped: {each.fault}" for each in (one, other) if each.fault is not None]
    if [(e.purpose, e.sigma) for e in one.entries] != [(e.purpose, e.sigma) for e in other.entries]:
        found.append("the questions differ in number, order, text or noise")
    if not found and one.left != other.left:
        found.append("what leaves differs")
    for each in (one, other):
        if each.fault is None and len(each.entries) != len(each.answers):
            found.append(f"{len(each.answers)} answers were paid for, {len(each.entries)} were given")
        for at, (entry, answer) in enumerate(zip(each.entries, each.answers, strict=False)):
            if not np.array_equal(entry.released, answer.values):
                found.append(f"answer {at} is not what the noise gave")
            if entry.sigma != answer.sigma or answer.mu2 != Fraction(answer.sensitivity2, answer.sigma**2):
                found.append(f"answer {at} was noised at another scale than it was charged for")
    return list(dict.fromkeys(found))


def distance2(one: NDArray[np.int64], other: NDArray[np.int64]) -> int:
    """Exact squared L2 distance."""
    return sum(int(difference) ** 2 for difference in one - other if difference)


def fingerprint(released: object) -> str:
    """SHA-256 of a release: dataclasses field by field, arrays bit by bit; not what `stays` with a person."""
    return hashlib.sha256(_bytes(released)).hexdigest()


def _bytes(value: object) -> bytes:
    if dataclasses.is_dataclass(value):
        leaving = [each for each in dataclasses.fields(value) if not each.metadata.get("stays")]
        return b"".join(_bytes((each.name, getattr(value, each.name))) for each in leaving)
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {value.shape} ".encode() + value.tobytes()
    if isinstance(value, (tuple, list)):
        return b"(" + b",".join(_bytes(each) for each in value) + b")"
    return repr(value).encode()
