"""Pairs: what the vault is asked about which neighbours, and how far apart its exact answers come to lie."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from functools import partial
from itertools import combinations
from math import isqrt
from typing import Protocol, TypeVar

import pyarrow as pa

from cohortmix.core.audit.neighbours import Cohort, Records, at_random
from cohortmix.core.audit.replay import Mechanism, Questions, Replays, Run, ask, distance2, run
from cohortmix.core.data.encoding import Encoding
from cohortmix.core.data.groups import Groups
from cohortmix.core.data.schema import Schema
from cohortmix.core.privacy.noise_source import NoiseSource
from cohortmix.core.privacy.questions.class_moment import ClassMoment
from cohortmix.core.privacy.questions.coordinates import Coordinate
from cohortmix.core.privacy.questions.level_moment import LevelMoment
from cohortmix.core.privacy.questions.level_sum import LevelSum
from cohortmix.core.privacy.questions.pair_tables import PairTables
from cohortmix.core.privacy.questions.question import Question
from cohortmix.core.privacy.questions.score_moment import ScoreMoment
from cohortmix.core.privacy.questions.sign_products import SignProducts
from cohortmix.core.privacy.questions.value_counts import ValueCounts, Values
from cohortmix.core.steps.anonymize import sum_query

LEVEL = 1 << 14  # lattice steps from the centre of a feature to either end
CHUNK = 10  # pairs that one call of `each` compares

A = TypeVar("A")
B = TypeVar("B")


class Map(Protocol):
    """The builtin `map`, or one that spreads the calls over processes."""

    def __call__(self, function: Callable[[A], B], over: Iterable[A], /) -> Iterator[B]: ...


def questions(schema: Schema, groups: Groups, mu: Fraction) -> Questions:
    """Both questions of a release of cells, at half of mu^2 each; a fault of either then shows in a bound.

    One feature makes no pairs: then the first question alone, at all of it.
    """
    sums = sum_query(Encoding.of(schema))
    if len(groups) < 2:
        return ((sums, mu**2),)
    return (sums, mu**2 / 2), (PairTables(groups.of_cells), mu**2 / 2)


def level_questions(schema: Schema, mu: Fraction) -> Questions:
    """All other questions, at a sixth of mu^2 each; of signed numbers, every feature is one from -1 to 1.

    The radius is half of the largest norm, so that records at the ends are clipped, and the label of the sum has
    as much weight: the largest distances of two records, in one class and in two, are then the same. The label of
    the score moment has little: its bound is then reached by records with orthogonal levels, as that of level
    moments is. Directions are those of the features, each with half of the next one. Products are of three
    neighbouring features, where there are so many, each with the sign -1 at its first value and else 1. Values of
    numbers are counted on either side of one edge.
    """
    encoding = Encoding.of(schema)
    sizes = encoding.sizes
    coordinates = tuple(Coordinate(column, _levels(size)) for column, size in enumerate(sizes))
    radius = isqrt(len(sizes) * LEVEL**2) // 2
    size = len(sizes)
    directions = tuple(tuple(2 * (at == k) + (at + 1 == k) for k in range(size)) for at in range(size))
    three = 3 if size >= 3 else 1  # an odd number, whose product is opposite at the opposite end
    signs = tuple((-1,) + (1,) * (cells - 1) for cells in sizes)
    halves = tuple(_halves(j, cells.edges) for j, cells in enumerate(encoding.features) if cells.edges)
    asked: tuple[Question, ...] = (
        LevelSum(coordinates, radius, radius, LEVEL),
        LevelMoment(coordinates, radius, LEVEL),
        ScoreMoment(coordinates, radius, radius // 8, LEVEL),
        SignProducts(signs, tuple(tuple(range(at, at + three)) for at in range(size - three + 1))),
        ClassMoment(coordinates, directions, 2, radius, radius, LEVEL),
        *([ValueCounts(halves)] if halves else []),
    )
    return tuple((question, mu**2 / 6) for question in asked)


def _halves(column: int, edges: Sequence[float]) -> Values:
    """What is below the middle edge of a number, and what is not."""
    edge, over = edges[len(edges) // 2].as_integer_ratio()
    return Values(column, (edge,), over, (0, 1))


def names(asked: Questions) -> tuple[str, ...]:
    """What each question is called."""
    return tuple(question.NAME for question, _ in asked)


def on_vault(table: pa.Table, schema: Schema, asked: Questions) -> Mechanism:
    """The vault alone."""
    return lambda noise: (ask(table, schema, asked, noise), None)


def replay_worst(
    tables: Mapping[str, pa.Table], schema: Schema, asked: Questions, noise: NoiseSource
) -> tuple[Replays, Mapping[str, Run]]:
    """The vault alone on tables that all differ in one patient, each against each; and its runs."""
    versions: dict[str, Run] = {}
    for name, table in tables.items():
        versions[name] = run(on_vault(table, schema, asked), noise, next(iter(versions.values()), None))
    replays = Replays(names(asked))
    for one, other in combinations(versions, 2):
        replays.compare(f"{one} / {other}", versions[one], versions[other])
    return replays, versions


def furthest(versions: Mapping[str, Run], questions: int) -> tuple[str, str]:
    """The pair whose answers to the first so many questions an attack tells apart best."""
    pairs = combinations(versions, 2)
    return max(pairs, key=lambda pair: _moved(versions[pair[0]], versions[pair[1]], questions))


def replay_random(
    cohort: Cohort,
    asked: Questions,
    noise: NoiseSource,
    pairs: int,
    rng: random.Random,
    report: Callable[[int, int], None] = lambda done, total: None,
    each: Map = map,
) -> Replays:
    """The vault alone on the table and on random neighbours."""
    recorded, replays = run(on_vault(cohort.table, cohort.schema, asked), noise), Replays(names(asked))
    drawn = {f"random pair {pair}": at_random(cohort, rng) for pair in range(pairs)}
    chunks = [list(drawn.items())[first : first + CHUNK] for first in range(0, pairs, CHUNK)]
    for found in each(partial(_replay, cohort, asked, noise, recorded), chunks):
        replays.add(found)
        report(replays.pairs, pairs)
    return replays


def _replay(
    cohort: Cohort,
    asked: Questions,
    noise: NoiseSource,
    recorded: Run,
    chunk: Sequence[tuple[str, tuple[str, Records]]],
) -> Replays:
    replays = Replays(names(asked))
    for name, (patient, records) in chunk:
        table = cohort.replaced(patient, records)
        replays.compare(name, recorded, run(on_vault(table, cohort.schema, asked), noise, recorded))
    return replays


def _levels(size: int) -> tuple[int, ...]:
    """From -LEVEL in the first cell to LEVEL in the last; a single cell lies at the centre."""
    return tuple(LEVEL * (2 * cell - size + 1) // (size - 1) if size > 1 else 0 for cell in range(size))


def _moved(one: Run, other: Run, questions: int) -> Fraction:
    """mu^2 of the attack that tells two runs apart by their first answers."""
    pairs = zip(one.entries[:questions], other.entries[:questions], strict=False)
    return sum((Fraction(distance2(a.exact, b.exact), a.sigma**2) for a, b in pairs), Fraction(0))
