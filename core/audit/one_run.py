"""A lower bound on mu from one run: how many coins can be read off a single answer to each question?

m patients are canaries: a fair coin decides which of two records each of them has. The vault answers once, and
an attacker who knows all but the coins guesses those of which it is most certain, and abstains on the others
(Mahloujifar, Melis and Chaudhuri 2024, "Auditing f-differential privacy in one run", arXiv 2410.22235).

Two tables that differ in one coin are neighbours in the sense of the claim, one patient replaced; the canaries
are patients of the table, so N stays what it is. Write p_n for the probability of n right guesses out of c'. For
any n_0, and fbar(x) = 1 - f(x), with f the trade-off function of a pair of neighbours,

    sum_{n >= n_0} (n / m) p_n  <=  fbar( sum_{n >= n_0} ((c' - n + 1) / m) p_{n-1} ):

flipping a coin turns the event "it is guessed right, and n guesses are right" into "it is guessed wrong, and
n - 1 are right"; then average over coins, fbar being concave. If c right guesses or more had probability tau, the
inequalities would in turn force more probability on n = c - 1, c - 2, ..., 0. Where that exceeds one, the claim f
is refuted at level tau.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from cohortmix.core.audit.lower_bound import CONFIDENCE
from cohortmix.core.audit.neighbours import Cohort, Record, made_up
from cohortmix.core.audit.pairs import CHUNK, Map, on_vault
from cohortmix.core.audit.replay import Questions, Run, run
from cohortmix.core.privacy.noise_source import NoiseSource

CANARIES = 500  # their coins are solved for together, by one linear system of that size
GUESSED = 4  # one canary in so many is guessed: fixed beforehand, so that no choice is made by the outcome
LARGEST_MU = 16.0  # of a bound: beyond it there is no privacy left to speak of
DIGITS = 1e-4  # of a bound, which is rounded down

Coin = tuple[Record, Record]
"""The two records between which a coin decides: of tails, and of heads."""


@dataclass(frozen=True, kw_only=True)
class OneRun:
    """What one run showed of a claim.

    Attributes
    ----------
    claimed : mu that was paid.
    measured : a mu that the mechanism cannot be below, at this confidence; 0 where nothing was seen.
    confidence : of the bound.
    canaries, guesses, correct : m, c' and c.
    attainable : the bound that so many canaries give for a claim that is tight, if their moves do not overlap.
    """

    claimed: float
    measured: float
    confidence: float
    canaries: int
    guesses: int
    correct: int
    attainable: float

    @property
    def holds(self) -> bool:
        """False where less privacy was seen than claimed; by chance with probability 1 - confidence at most."""
        return self.measured <= self.claimed


def one_run(
    cohort: Cohort,
    asked: Questions,
    noise: NoiseSource,
    rng: random.Random,
    report: Callable[[int, int], None] = lambda done, total: None,
    each: Map = map,
) -> OneRun:
    """Bound mu of some questions from one answer to each.

    Parameters
    ----------
    asked : the questions; what they cost together is the claim.
    rng : chooses the canaries, their records and their coins.
    report : is told the numbers of canaries done and to do.
    each : `map`, or one that spreads calls over processes.
    """
    canaries = place(cohort, rng)
    coins = np.array([rng.randrange(2) for _ in canaries])
    tails = cohort.replaced_all({patient: coin[:1] for patient, coin in canaries.items()})
    fallen = cohort.replaced_all(
        {patient: (coin[at],) for (patient, coin), at in zip(canaries.items(), coins, strict=True)}
    )
    known = run(on_vault(tails, cohort.schema, asked), noise)
    released = run(on_vault(fallen, cohort.schema, asked), noise)
    chunks = [list(canaries.items())[first : first + CHUNK] for first in range(0, len(canaries), CHUNK)]
    moves: list[list[NDArray[np.int64]]] = []
    for part in each(partial(_moves, cohort, asked, noise, known), chunks):
        moves += part
        report(len(moves), len(canaries))
    scores = decode(known, released, [np.stack(by_question) for by_question in zip(*moves, strict=True)])
    certain = np.argsort(-np.abs(scores))[: max(1, len(coins) // GUESSED)]
    correct = int(((scores > 0) == coins)[certain].sum())
    return bound(sqrt(sum(answer.mu2 for answer in released.answers)), correct, len(certain), len(coins))


def place(cohort: Cohort, rng: random.Random) -> dict[str, Coin]:
    """Canaries: patients drawn at random, each with the record of tails and the record of heads.

    The two records are made up at random, in two classes: replacing one by the other moves every answer as far as
    a patient can, and two canaries have little in common.
    """
    drawn = rng.sample(cohort.patients, min(CANARIES, len(cohort.patients)))
    return {patient: _coin(cohort, rng) for patient in drawn}


def decode(known: Run, released: Run, moves: Sequence[NDArray[np.int64]]) -> NDArray[np.float64]:
    """A score for each coin, above 0 for heads: the best linear estimate of all coins together.

    With rows D of `moves` in units of the noise and coins s = +-1, an answer is known + D^T (1 + s) / 2 + N(0, I).
    Hence t = D (answer - known - D^T 1 / 2) = K s / 2 + N(0, K), K = D D^T, and the estimate of s from t that is
    linear and has the least mean square error is 2 (K + 4 I)^-1 t.

    Parameters
    ----------
    known : the exact answers if every coin fell tails.
    released : the answers that are attacked.
    moves : for each question (m, d), what each canary's heads instead of tails add to the exact answer.
    """
    coins = len(moves[0])
    k, t = np.zeros((coins, coins)), np.zeros(coins)
    for tails, answer, move in zip(known.entries, released.answers, moves, strict=True):
        d = move / float(answer.sigma)
        k += d @ d.T
        t += d @ ((answer.values - tails.exact) / float(answer.sigma) - d.sum(axis=0) / 2)
    return np.asarray(2 * np.linalg.solve(k + 4 * np.eye(coins), t))


def bound(claimed: float, correct: int, guesses: int, canaries: int, confidence: float = CONFIDENCE) -> OneRun:
    """What `correct` of `guesses` right guesses say about a claim.

    Raises
    ------
    ValueError
        If not 0 <= correct <= guesses <= canaries and 1 <= guesses, or the confidence is not in (0, 1).
    """
    if not (0 <= correct <= guesses <= canaries and guesses >= 1):
        raise ValueError(
            "expected correct <= guesses <= canaries and a guess or more; "
            f"got correct={correct}, guesses={guesses}, canaries={canaries}"
        )
    if not 0 < confidence < 1:
        raise ValueError(f"expected a confidence in (0, 1), got confidence={confidence}")
    usual = round(guesses * _right(claimed, guesses / canaries))
    measured, shown = (_largest_refuted(n, guesses, canaries, 1 - confidence) for n in (correct, usual))
    return OneRun(
        claimed=claimed,
        measured=measured,
        confidence=confidence,
        canaries=canaries,
        guesses=guesses,
        correct=correct,
        attainable=shown,
    )


def refuted(inverse: Callable[[float], float], correct: int, guesses: int, canaries: int, level: float) -> bool:
    """Whether a claim is refuted by c right guesses out of c' on m canaries.

    Parameters
    ----------
    inverse : fbar^-1, the largest x with fbar(x) <= its argument.
    correct, guesses, canaries : c, c' and m.
    level : tau, the largest probability of refuting a claim that holds.

    Notes
    -----
    r and h are lower bounds on sum_{n >= i} (n / m) p_n and sum_{n >= i} ((c' - n) / m) p_n.
    """
    r, h = level * correct / canaries, level * (guesses - correct) / canaries
    for i in range(correct - 1, -1, -1):
        forced = inverse(min(r, 1.0))
        if forced <= h:
            break  # then nothing is forced for any smaller i either: r and h stay
        r, h = r + i / (guesses - i) * (forced - h), forced
    return r + h > guesses / canaries


def gaussian(mu: float) -> Callable[[float], float]:
    """fbar^-1 of mu-GDP: y -> Phi(Phi^-1(y) - mu)."""
    return lambda y: float(ndtr(ndtri(y) - mu))


def _largest_refuted(correct: int, guesses: int, canaries: int, level: float) -> float:
    """The largest mu that is refuted, rounded down; 0 where none is."""
    low, high = 0.0, LARGEST_MU
    while high - low > DIGITS:
        middle = (low + high) / 2
        too_small = refuted(gaussian(middle), correct, guesses, canaries, level)
        low, high = (middle, high) if too_small else (low, middle)
    return low


def _right(mu: float, share: float) -> float:
    """Accuracy of guessing the sign of +-mu/2 from N(+-mu/2, 1), on the `share` of draws furthest from 0."""
    low, high = 0.0, LARGEST_MU + mu
    for _ in range(60):
        middle = (low + high) / 2
        beyond = ndtr(mu / 2 - middle) + ndtr(-mu / 2 - middle)
        low, high = (middle, high) if beyond > share else (low, middle)
    right, wrong = ndtr(mu / 2 - low), ndtr(-mu / 2 - low)
    return float(right / (right + wrong))


def _coin(cohort: Cohort, rng: random.Random) -> Coin:
    """Two made-up records of two classes."""
    schema = cohort.schema
    classes = range(len(schema.classes))
    first, second = rng.sample(classes, 2) if len(classes) > 1 else (0, 0)
    tails, heads = (made_up(schema, rng) for _ in range(2))
    of_class = (schema.outcome.example(number, schema.columns) for number in (first, second))
    return {**tails, **next(of_class)}, {**heads, **next(of_class)}


def _moves(
    cohort: Cohort, asked: Questions, noise: NoiseSource, known: Run, chunk: Iterable[tuple[str, Coin]]
) -> list[list[NDArray[np.int64]]]:
    """For each canary and question, what heads instead of tails add to the exact answer."""
    moves = []
    for patient, coin in chunk:
        tables = (cohort.only({patient: (record,)}) for record in coin)
        tails, heads = (run(on_vault(table, cohort.schema, asked), noise, known) for table in tables)
        moves.append([b.exact - a.exact for a, b in zip(tails.entries, heads.entries, strict=True)])
    return moves
