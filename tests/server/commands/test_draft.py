"""A STUDY.yaml becomes the study that it says, or one sentence."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from cohortmix.core.data.schema import Schema, SchemaError
from cohortmix.core.data.table import InputError
from cohortmix.core.dimensions import kappa_of_study
from cohortmix.core.privacy import gdp
from cohortmix.core.reduced import DegradedError
from cohortmix.protocol.messages import Description, decode, encode
from cohortmix.protocol.receipts import Total
from cohortmix.server.commands.draft import draft
from cohortmix.server.commands.reduced import notice, reduced_sites

NOW = datetime(2026, 11, 22, 23, 30, tzinfo=UTC)
Written = Callable[..., Path]


def drafted(path: Path) -> Any:
    return draft(path, "c" * 64, NOW)[0]


def test_a_study_says_what_its_file_says(written: Written) -> None:
    spec = drafted(written())
    assert [(site.name, site.key[0], site.patients) for site in spec.sites] == [
        ("UK", "a", 4000),
        ("NORW", "b", 300),
    ]
    assert (spec.name, spec.target, spec.overlap, spec.min_sites) == ("toy study", "y", "disjoint", 2)
    assert (spec.round_deadline_seconds, spec.share, spec.alpha) == (7 * 86_400, Fraction(3, 20), Decimal("0.5"))
    assert (spec.noise, spec.public_data, spec.coordinator_key) == ("opendp", False, "c" * 64)
    assert spec.expires == date(2027, 5, 21), "180 days"


def test_epsilon_is_at_the_delta_of_the_largest_site_and_not_exceeded(written: Written) -> None:
    spec = drafted(written())
    assert spec.delta == Decimal("0.00001")
    assert gdp.epsilon_of(float(spec.mu), 1e-5) == pytest.approx(1, abs=1e-6)
    assert gdp.epsilon_of(float(spec.mu), 1e-5) <= 1


@pytest.mark.parametrize("epsilon", [0.01, 0.1234567, 1, 3, 10, 30, 100, 1000])
def test_no_receipt_of_a_study_can_say_more_than_the_epsilon_that_was_asked_for(
    written: Written, epsilon: float
) -> None:
    """Receipts round up, and kappa is theirs; both are in the mu that the study names."""
    path = written(epsilon=epsilon, accept_degraded=True)
    spec, schema = draft(path, "c" * 64, NOW)
    most = Total(spec.mu2, Fraction(kappa_of_study(schema, spec.point_masses)))
    assert 0.95 * epsilon < float(most.epsilon(spec.delta)) <= epsilon
    if epsilon <= 10:  # beyond, e^epsilon kappa takes a share of delta
        assert float(most.epsilon(spec.delta)) > epsilon - 2e-6


def test_a_study_of_class_centroids_alone_is_drafted_only_if_its_file_accepts_that(written: Written) -> None:
    small = {"sites": ["norway.json"], "min_sites": 1, "epsilon": 0.03}
    with pytest.raises(DegradedError) as caught:
        drafted(written(**small))
    assert "1 of 1 sites will release one centroid per class, without pairs of columns: NORW" in str(caught.value)
    assert "or accept class centroids alone with `accept_degraded: true` in STUDY.yaml" in str(caught.value)
    spec, schema = draft(written(**small, accept_degraded=True), "c" * 64, NOW)
    assert "accept_degraded" not in spec.plain(), "what is signed is as before"
    assert [site.name for site in reduced_sites(spec, schema)] == ["NORW"]
    both, schema = draft(written(epsilon=0.03), "c" * 64, NOW)
    assert [site.name for site in reduced_sites(both, schema)] == ["NORW"], "one of two is said, and goes on"
    said = notice(both, schema)
    assert said is not None
    assert said.startswith("1 of 2 sites will release one centroid per class")
    large, schema = draft(written(epsilon=3), "c" * 64, NOW)
    assert notice(large, schema) is None


@pytest.mark.parametrize(
    ("keys", "field", "value"),
    [
        ({"epsilon": None, "mu": 0.268}, "mu", Decimal("0.268")),
        ({"delta": "0.000001"}, "delta", Decimal("0.000001")),
        ({"delta": "0.01", "loose_delta": True}, "loose_delta", True),
        ({"delta": "0.00001", "loose_delta": True}, "loose_delta", False),
        ({"overlap": 2}, "overlap", 2),
        ({"overlap": "unknown"}, "overlap", "unknown"),
        ({"deadline": "12h"}, "round_deadline_seconds", 43_200),
        ({"deadline": "30m"}, "round_deadline_seconds", 1800),
        ({"deadline": "90s"}, "round_deadline_seconds", 90),
        ({"share": "1/5"}, "share", Fraction(1, 5)),
        ({"share": 0.2}, "share", Fraction(1, 5)),
        ({"alpha": 0.25}, "alpha", Decimal("0.25")),
        (
            {"constraints": ["drift <= .10", "recall( dead )>=0.7"]},
            "constraints",
            ("drift<=0.1", "recall(dead)>=0.7"),
        ),
        (
            {"constraints": ["calibration(sex = F,dead)<= 0.05"]},
            "constraints",
            ("calibration(sex=F, dead)<=0.05",),
        ),
        ({"constraints": []}, "constraints", ()),
        ({"expires": date(2026, 11, 22)}, "expires", date(2026, 11, 22)),
    ],
)
def test_each_key_counts(written: Written, keys: dict[str, Any], field: str, value: object) -> None:
    assert getattr(drafted(written(**keys)), field) == value


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"epsilom": 1}, "epsilom: unknown key; did you mean epsilon?"),
        (
            {"colour": "red"},
            "colour: unknown key; there are name, schema, epsilon, mu, delta, overlap, min_sites,",
        ),
        ({"deadline": None}, "deadline: this key is required"),
        ({"mu": 0.2}, "STUDY.yaml': expected epsilon or mu, got both; leave one of the keys out"),
        ({"epsilon": None}, "STUDY.yaml': epsilon: this key is required, or mu in its place"),
        ({"epsilon": -1}, "finite epsilon above zero"),
        ({"epsilon": "much"}, "epsilon: expected a number"),
        ({"delta": "0.001"}, "delta=0.001 is above 1/(10 N) = 2.5e-05 for the N = 4000 patients of the largest"),
        ({"delta": "0.001"}, "set `loose_delta: true`"),
        ({"min_sites": "two"}, "min_sites: expected a whole number"),
        ({"loose_delta": "perhaps"}, "loose_delta: expected true or false"),
        ({"expires": "soon"}, "expires: expected a day such as 2027-01-31"),
        ({"overlap": 0}, "overlap: expected disjoint, unknown, or a whole number above zero, got '0'"),
        ({"overlap": "some"}, "overlap: expected disjoint, unknown"),
        ({"min_sites": 3}, "expected min_sites <= 2 sites, got min_sites=3"),
        ({"deadline": "soon"}, "deadline: expected a time such as 7d, 12h, 30m or 90s, got 'soon'"),
        ({"share": "3/0"}, "share: expected a fraction 'p/q'"),
        ({"share": 1.5}, "share: expected a fraction 'p/q'"),
        ({"alpha": 2}, "expected 0 < share < 1 and 0 <= alpha <= 1"),
        ({"constraints": "drift<=0.1"}, "constraints: expected a list such as [a, b]"),
        (
            {"constraints": ["calm"]},
            "constraints: expected a constraint such as 'drift<=0.1', 'recall(dead)>=0.8'",
        ),
        ({"constraints": ["recall(ill)>=0.5"]}, "expected the class 'alive' or 'dead', got 'ill'"),
        ({"constraints": ["recall(dead)>=1.5"]}, "expected a limit between 0 and 1"),
        ({"constraints": ["calibration(SEX=F, dead)<=0.1"]}, "'SEX' is not in the schema"),
        ({"constraints": ["drift<=0.1", "drift<=0.2"]}, "got two for the same; keep the stricter one"),
        ({"constraints": [f"drift<=0.{n}" for n in range(1, 30)]}, "constraints: expected at most 16 constraints"),
        ({"constraints": [f"drift<={'1' * 501}"]}, "constraints"),
        (
            {"constraints": ["drift<=1"], "epsilon": 0.001, "accept_degraded": True},
            "nothing can keep the constraints then: leave them out",
        ),
        ({"expires": date(2026, 11, 21)}, "expires=2026-11-21 is over"),
        ({"name": "a/b"}, "name: expected 1 to 64 letters and digits, with spaces, '.', '-' and '_' only between"),
        ({"sites": []}, "sites: expected one at least"),
        ({"sites": "uk.json"}, "sites: expected a list such as [a, b]"),
        ({"sites": ["uk.json", "gone.json"]}, "cannot read the description"),
        (
            {"sites": ["uk.json", "uk.json"]},
            "site 'UK' is there twice, as 'uk.json' and 'uk.json'; keep its newer",
        ),
        ({"sites": ["uk.json", "schema.yaml"]}, "is not the description of a site"),
        ({"schema": "gone.yaml"}, "cannot read the schema"),
    ],
)
def test_what_cannot_be_is_one_sentence(written: Written, keys: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        drafted(written(**keys))
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
    for foreign in ("--loose-delta", "Input should", "String should", "pattern"):  # of a command, of pydantic
        assert foreign not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"schema_hash": "0" * 64}, "site 'NORW' serves another schema: expected schema_hash="),
        ({"version": "0.0.9"}, "site 'NORW' runs cohortmix 0.0.9, this is"),
        ({"patients": 49}, "site 'NORW' has 49 patients, a site needs at least 50"),
        ({"key": "a" * 64}, "sites 'UK' and 'NORW' have the same key"),
        ({"site": "uk"}, "two sites have names that can be confused, 'UK' and 'uk'"),
    ],
)
def test_a_site_that_does_not_fit_is_named(written: Written, change: dict[str, Any], sentence: str) -> None:
    path = written()
    file = path.with_name("norway.json")
    description = decode(file.read_bytes())
    assert isinstance(description, Description)
    file.write_bytes(encode(description.model_copy(update=change)))
    with pytest.raises(InputError) as caught:
        drafted(path)
    assert sentence in str(caught.value)


def test_what_is_not_yaml_or_twice_a_key_is_refused(written: Written) -> None:
    path = written()
    path.write_text(path.read_text() + "name: another\n")
    with pytest.raises(InputError, match="name: this key occurs twice"):
        drafted(path)
    path.write_text("a: [")
    with pytest.raises(InputError, match="is not valid YAML"):
        drafted(path)


def test_a_schema_with_an_unconfirmed_line_is_refused(written: Written) -> None:
    path = written()
    schema = path.with_name("schema.yaml")
    schema.write_text(schema.read_text().replace("max: 10", "max: 10, confirmed: false"))
    with pytest.raises(SchemaError, match="x"):
        drafted(path)


def test_more_columns_than_any_grouping_fits_are_refused_before_anybody_is_asked(written: Written) -> None:
    path, many = written(), 1001
    columns = "".join(f"  x{k}: {{type: number, min: 0, max: 1}}\n" for k in range(many))
    schema = f"name: wide\ntarget: y\ncolumns:\n{columns}  y: {{type: category, values: [alive, dead]}}\n"
    (path.parent / "schema.yaml").write_text(schema)
    for name, site, key in (("uk.json", "UK", "a"), ("norway.json", "NORW", "b")):
        facts = decode((path.parent / name).read_bytes())
        assert isinstance(facts, Description)
        changed = {"schema_hash": Schema.from_yaml(schema).hash, "patients": 10**7}
        assert (facts.site, facts.key[0]) == (site, key)
        (path.parent / name).write_bytes(encode(facts.model_copy(update=changed)))
    with pytest.raises(InputError, match=r"1,001 columns beside the target are too many for pairs .* until 1,000"):
        drafted(path)
