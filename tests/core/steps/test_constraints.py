"""Constraints on the inducing points: kept where they can be, else reported; without any, nothing is changed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import enable_x64
from numpy.typing import NDArray
from paired_columns import BLOCKS, SIZE, draw

from cohortmix.core.data.encoding import Encoding
from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import InputError
from cohortmix.core.steps.adapt import adapt
from cohortmix.core.steps.adapting.constraint import (
    MOST,
    Calibration,
    Constraint,
    Drift,
    Reached,
    Recall,
    parse,
    require,
)
from cohortmix.core.steps.adapting.descent import project_simplex_blocks
from cohortmix.core.steps.adapting.lagrangian import Bound, bounds_of
from cohortmix.core.steps.adapting.subgroup import Subgroup
from cohortmix.core.steps.kernel import kernel_ridge
from cohortmix.core.steps.support import Support, choose_support

Array = NDArray[np.float64]

GROUP = Subgroup("SEX", "=", "F")
SCHEMA = Schema.model_validate(
    {
        "name": "made",
        "target": "outcome",
        "columns": {
            "AGE": {"type": "number", "min": 20, "max": 100},
            "SEX": {"type": "category", "values": ["F", "M"]},
            "outcome": {"type": "category", "values": ["well", "dead, or worse"]},
        },
    }
)
TEXTS: dict[str, Constraint] = {
    "drift<=0.1": Drift(0.1),
    "drift<=0": Drift(0.0),
    "drift<=0.00000012": Drift(1.2e-7),
    "recall(well)>=0.8": Recall("well", 0.8),
    "recall(dead, or worse)>=0.123456789": Recall("dead, or worse", 0.123456789),
    "calibration(SEX=F, well)<=0.05": Calibration(GROUP, "well", 0.05),
    "calibration(AGE>=65, well)<=0.05": Calibration(Subgroup("AGE", ">=", "65"), "well", 0.05),
    "calibration(AGE<65, well)<=0": Calibration(Subgroup("AGE", "<", "65"), "well", 0.0),
}


@cache
def held(constraints: tuple[Constraint, ...], classes: int = 2, alpha: float = 0.5, steps: int = 300) -> Support:
    """Points under constraints on the class 0; the subgroup is of the first value of the first column."""
    x, y = draw(1_500, classes, seed=1)
    points, labels = choose_support(x, y, size=SIZE, seed=0)
    bounds = [bound for one in constraints for bound in Bound.of(one, 0, y, members(one, x))]
    return adapt(points, labels, x, y, blocks=BLOCKS, alpha=alpha, constraints=bounds, steps=steps)


def members(constraint: Constraint, x: Array) -> Array | None:
    return x[:, 0] if isinstance(constraint, Calibration) else None


def drift(support: Support, classes: int = 2) -> float:
    x_0 = choose_support(*draw(1_500, classes, seed=1), size=SIZE, seed=0)[0]
    return float(((support.points - x_0) ** 2).sum() / (x_0**2).sum())


def recall(support: Support, classes: int = 2) -> float:
    x, y = draw(1_500, classes, seed=1)
    return float(y[support.predict_proba(x).argmax(1) == 0, 0].sum() / y[:, 0].sum())


def distance(support: Support, classes: int = 2) -> float:
    x, y = draw(1_500, classes, seed=1)
    inside = x[:, 0] == 1
    return float(abs((support.predict_proba(x) - y)[inside, 0].mean()))


def loss(support: Support) -> float:
    x, y = draw(1_500, 2, seed=1)
    return float(0.5 * ((y - support.decision(x)) ** 2).sum(axis=1).mean())


FIGURES = {Drift: drift, Recall: recall, Calibration: distance}
FREE: dict[type, Constraint] = {
    Drift: Drift(3.0),
    Recall: Recall("c", 0.01),
    Calibration: Calibration(GROUP, "c", 1.0),
}
ACTIVE: dict[type, Constraint] = {
    Drift: Drift(0.01),
    Recall: Recall("c", 0.9),
    Calibration: Calibration(GROUP, "c", 0.005),
}


def keeps(constraint: Constraint, value: float) -> bool:
    match constraint:
        case Drift(limit) | Calibration(_, _, limit):
            return value <= limit + 1e-9
        case Recall(_, least):
            return value >= least - 1e-9


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("kind", [Drift, Recall, Calibration])
def test_an_active_constraint_is_kept_and_has_a_multiplier(kind: type, classes: int) -> None:
    """What is reported is the exact figure; without the constraint it is beyond the limit."""
    constraint = ACTIVE[kind]
    free, support = held((FREE[kind],), classes), held((constraint,), classes)
    assert not keeps(constraint, FIGURES[kind](free, classes))
    (reached,) = support.constraints
    assert reached.met
    assert keeps(constraint, FIGURES[kind](support, classes))
    assert reached.value == pytest.approx(FIGURES[kind](support, classes), abs=1e-9)
    assert reached.multiplier is not None
    assert reached.multiplier > 0


@pytest.mark.parametrize("kind", [Drift, Recall, Calibration])
def test_a_slack_constraint_has_no_multiplier_and_costs_nothing(kind: type) -> None:
    """Complementary slackness: lambda g = 0; here g < 0."""
    (reached,) = held((FREE[kind],)).constraints
    assert (reached.met, reached.multiplier) == (True, 0.0)
    x, y = draw(1_500, 2, seed=1)
    points, labels = choose_support(x, y, size=SIZE, seed=0)
    free = adapt(points, labels, x, y, blocks=BLOCKS, alpha=0.0 if kind is Drift else 0.5, steps=900)
    np.testing.assert_allclose(held((FREE[kind],)).points, free.points, atol=0.05)


def test_a_limit_on_the_drift_is_reached_and_its_multiplier_is_the_weight_alpha() -> None:
    """Adapted with alpha = lambda / (1 + lambda) of Eq. 6, points drift as far as under the limit."""
    support = held((Drift(0.01),))
    (reached,) = support.constraints
    assert 0.009 < drift(support) <= 0.01
    assert reached.multiplier is not None
    x, y = draw(1_500, 2, seed=1)
    points, labels = choose_support(x, y, size=SIZE, seed=0)
    alpha = reached.multiplier / (1 + reached.multiplier)
    weighted = adapt(points, labels, x, y, blocks=BLOCKS, alpha=alpha, steps=900)
    assert drift(weighted) == pytest.approx(0.01, rel=0.15)
    other = adapt(points, labels, x, y, blocks=BLOCKS, alpha=0.5, steps=900)
    assert drift(other) < 0.005


def test_a_stricter_limit_costs_more_loss_and_has_a_larger_multiplier() -> None:
    supports = [held((Drift(limit),)) for limit in (0.03, 0.01, 0.003)]
    losses = [loss(support) for support in supports]
    multipliers = [float(support.constraints[0].multiplier or 0) for support in supports]
    assert losses == sorted(losses)
    assert multipliers == sorted(multipliers)
    assert losses[0] < losses[-1]


def test_constraints_that_exclude_each_other_are_reported_with_what_was_closest() -> None:
    """A record that can be of either class counts for both, and is found for one: not both recalls can be one."""
    x, y = draw(1_500, 2, seed=1)
    points, labels = choose_support(x, y, size=SIZE, seed=0)
    bounds = [bound for label in (0, 1) for bound in Bound.of(Recall(("well", "ill")[label], 1.0), label, y)]
    support = adapt(points, labels, x, y, blocks=BLOCKS, constraints=bounds, steps=50)
    found = support.predict_proba(x).argmax(1)
    assert not all(reached.met for reached in support.constraints)
    for label, reached in enumerate(support.constraints):
        exact = y[found == label, label].sum() / y[:, label].sum()
        assert reached.value == pytest.approx(exact, abs=1e-9)
        assert reached.met == (exact >= 1 - 1e-9)
        assert 0 < (reached.multiplier or 0) <= 1_000
    unmet = next(reached for reached in support.constraints if not reached.met)
    assert unmet.sentence == f"{unmet.constraint!r} was not met, with {unmet.value:.4g}"


def test_a_subgroup_or_a_class_of_nobody_is_not_met() -> None:
    x, y = draw(600, 2, seed=1)
    points, labels = choose_support(x, y, size=SIZE, seed=0)
    for constraint in (Calibration(GROUP, "c", 1.0), Recall("c", 0.0)):
        bounds = Bound.of(constraint, 0, y, np.zeros(len(x)))
        (reached,) = adapt(points, labels, x, y, blocks=BLOCKS, constraints=bounds, steps=5).constraints
        assert not reached.met
        bounds = Bound.of(constraint, 0, y, np.ones(len(x)))
        assert adapt(points, labels, x, y, blocks=BLOCKS, constraints=bounds, steps=5).constraints[0].met


def test_one_class_alone_has_every_recall() -> None:
    x = draw(600, 2, seed=1)[0]
    y = np.ones((len(x), 1))
    points, labels = choose_support(x, y, size=SIZE, seed=0)
    declared: tuple[Constraint, ...] = (Recall("c", 1.0), Calibration(GROUP, "c", 0.0), Drift(0.5))
    bounds = [bound for one in declared for bound in Bound.of(one, 0, y, members(one, x))]
    support = adapt(points, labels, x, y, blocks=BLOCKS, constraints=bounds, steps=20)
    assert [reached.met for reached in support.constraints] == [True] * 3
    assert np.isfinite(support.points).all()


@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_without_constraints_every_byte_is_that_of_equation_6(alpha: float) -> None:
    """Against Adam on Eq. 6 alone, as it is in the paper; with a constraint that nothing violates it is not."""
    x, y = draw(1_500, 2, seed=1)
    start = choose_support(x, y, size=SIZE, seed=0)
    support = adapt(*start, x, y, blocks=BLOCKS, alpha=alpha, steps=60)
    assert support.constraints == ()
    expected = unconstrained(*start, x, y, alpha, steps=60)
    assert (support.points.tobytes(), support.labels.tobytes()) == tuple(part.tobytes() for part in expected)
    bounds = Bound.of(Drift(3.0), 0, y)
    assert (adapt(*start, x, y, blocks=BLOCKS, constraints=bounds, steps=60).points != expected[0]).any()


@partial(jax.jit, static_argnames="alpha")
def five_steps(state: Any, x_0: Any, x: Any, y: Any, rates: Any, alpha: float) -> Any:
    def loss(value: Any, x: Any, y: Any) -> Any:
        drift = ((value[0] - x_0) ** 2).sum() / (x_0**2).sum()
        return (
            alpha * drift
            + (1 - alpha) * 0.5 * ((y - kernel_ridge(x, value[0], value[1], 1)) ** 2).sum(axis=1).mean()
        )

    def update(state: Any, batch: Any) -> Any:
        (value, mean, square, step), (x, y, rate) = state, batch
        gradient = jax.grad(loss)(value, x, y)
        mean = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, mean, gradient)
        square = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g**2, square, gradient)
        size = rate * jnp.sqrt(1 - 0.999 ** (step + 1)) / (1 - 0.9 ** (step + 1))
        value = jax.tree.map(lambda p, m, v: p - size * m / (jnp.sqrt(v) + 1e-8), value, mean, square)
        return (value, mean, square, step + 1), None

    return jax.lax.scan(update, state, (x, y, rates))[0]


def unconstrained(
    points: Array, labels: Array, x: Array, y: Array, alpha: float, steps: int
) -> tuple[Array, Array]:
    rng, rates = np.random.default_rng(0), 0.01 * 0.5 * (1 + np.cos(np.pi * np.arange(steps) / steps))
    with enable_x64():
        zero = (jnp.zeros_like(jnp.asarray(points)), jnp.zeros_like(jnp.asarray(labels)))
        state = ((jnp.asarray(points), jnp.asarray(labels)), zero, zero, jnp.asarray(0.0))
        for first in range(0, steps, 5):
            rows = rng.integers(len(x), size=(5, 500))
            value, *others = five_steps(state, points, x[rows], y[rows], rates[first : first + 5], alpha)
            moved = project_simplex_blocks(value[0], BLOCKS), project_simplex_blocks(value[1], [slice(0, 2)])
            state = ((jnp.asarray(moved[0]), jnp.asarray(moved[1])), *others)
        return np.asarray(state[0][0]), np.asarray(state[0][1])


@pytest.mark.parametrize("text", TEXTS)
def test_a_constraint_is_what_its_text_says(text: str) -> None:
    assert parse(text) == TEXTS[text]
    assert str(TEXTS[text]) == text
    spaced = text.replace("<=", " <= ").replace("(", " ( ").replace(")", " ) ") + " "
    assert parse(spaced) == TEXTS[text]
    require([TEXTS[text]], SCHEMA)


@pytest.mark.parametrize(
    "text",
    ["", "drift", "drift>=0.1", "drift<=x", "drift<=-1", "drift<=1e-3", "recall(well)<=0.8", "recall>=0.8",
     "calibration(well)<=0.1", "calibration(SEX, well)<=0.1", "precision(well)>=0.8"],
)  # fmt: skip
def test_what_is_no_constraint_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="expected a con"):
        parse(text)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["recall(ill)>=0.8"], r"'recall\(ill\)>=0.8': expected the class 'well' or 'dead, or worse', got 'ill'"),
        (["recall(well)>=1.2"], "a limit between 0 and 1"),
        (["calibration(SEX=F, ill)<=0.1"], "expected the class"),
        (["calibration(BMI>=30, well)<=0.1"], "'BMI' is not in the schema"),
        (["calibration(outcome=well, well)<=0.1"], "'outcome' is the outcome"),
        (["calibration(SEX=X, well)<=0.1"], "expected '=' and a declared value of 'SEX'"),
        (["calibration(SEX>=F, well)<=0.1"], "expected '=' and a declared value of 'SEX'"),
        (["calibration(AGE=65, well)<=0.1"], "or a number and '>=' or '<'"),
        (["calibration(AGE>=old, well)<=0.1"], "or a number and '>=' or '<'"),
        (["calibration(AGE>=300, well)<=0.1"], "nobody can be in it, since 'AGE' is declared from"),
        (["calibration(AGE<-1, well)<=0.1"], "nobody can be in it, since 'AGE' is declared from"),
        (["drift<=0.1", "drift<=0.2"], "got two for the same"),
        (
            [f"calibration(AGE>={age}, well)<=0.1" for age in range(30, 31 + MOST)],
            "at most 16 constraints, got 17",
        ),
    ],
)
def test_what_the_schema_does_not_have_is_refused(texts: Sequence[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        require([parse(text) for text in texts], SCHEMA)


def test_a_subgroup_has_the_part_of_a_cell_that_is_on_its_side() -> None:
    encoding = Encoding.of(SCHEMA)
    age, sex = encoding.features
    older, younger = (Subgroup("AGE", side, "65").shares(age) for side in (">=", "<"))
    np.testing.assert_allclose(older + younger, 1)
    starts = np.array([age.ends(code)[0] for code in range(age.size)])
    ends = np.array([age.ends(code)[1] for code in range(age.size)])
    assert (older[starts >= 65] == 1).all()
    assert (older[ends <= 65] == 0).all()
    split = (starts < 65) & (ends > 65)
    np.testing.assert_allclose(older[split], (ends[split] - 65) / (ends[split] - starts[split]))
    np.testing.assert_array_equal(GROUP.shares(sex), [1, 0])


def test_bounds_are_of_the_declared_class_and_subgroup() -> None:
    y = np.array([[0.9, 0.1], [0.2, 0.8]])
    asked: list[int] = []

    def inside(feature: int, shares: Array) -> Array:
        asked.append(feature)
        return shares

    declared: tuple[Constraint, ...] = (Recall("dead, or worse", 0.5), Calibration(GROUP, "well", 0.1), Drift(0.2))
    bounds = bounds_of(declared, SCHEMA, y, inside)
    assert [bound.kind for bound in bounds] == [("recall", 1), ("above", 0), ("below", 0), ("drift", 0)]
    assert asked == [1]
    np.testing.assert_allclose(bounds[0].weights, y[:, 1] / 0.45)
    np.testing.assert_allclose(bounds[1].weights, [2, 0])


def test_facts_are_plain() -> None:
    reached = Reached("drift<=0.1", False, 0.2, 3.0)
    assert reached.facts == {"constraint": "drift<=0.1", "met": False, "value": 0.2, "multiplier": 3.0}


def test_a_limit_that_is_missed_by_a_hair_is_seen_to_be_missed() -> None:
    text = "calibration(SEX=F, dead)<=0.05"
    assert Reached(text, False, 0.0500078, 1.0).shown == "0.05001"
    assert Reached(text, False, 0.05000001, 1.0).shown == "0.05000001"
    assert Reached(text, True, 0.0499999, 1.0).shown == "0.05"
    assert Reached(text, False, 0.2, 1.0).shown == "0.2"
    assert Reached(text, False, None, None).shown == ""


def test_what_has_nothing_to_hold_for_is_not_said_to_miss_its_limit() -> None:
    nobody = Reached("calibration(SEX=F, dead)<=0.05", False, 0.0, 0.0)
    assert nobody.sentence.endswith(
        "has nothing to hold for: no released record is of the class or in the subgroup"
    )
    assert Reached(nobody.constraint, False, 0.06, 0.0).sentence.endswith("was not met, with 0.06")


def test_a_class_of_slices_has_a_comma_in_its_name() -> None:
    found = parse("calibration(AGE<50, 0, 1 to 10.9)<=0.05")
    assert isinstance(found, Calibration)
    assert (str(found.group), found.label) == ("AGE<50", "0, 1 to 10.9")
    assert parse(str(found)) == found
