"""A quote: the study then costs what it says, and the answers are as noisy as it says."""

import json
from decimal import Decimal
from fractions import Fraction
from math import sqrt
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cohortmix.client.ledger.ledger import Ledger
from cohortmix.client.steward.quote import Quote, quote
from cohortmix.client.steward.show_quote import show_quote
from cohortmix.client.steward.spending import Spending
from cohortmix.core.audit.noise_keyed import KeyedNoise
from cohortmix.core.data.encoding import Encoding
from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import InputError, TableSource
from cohortmix.core.privacy import gdp
from cohortmix.core.privacy.memory_meter import MemoryMeter
from cohortmix.core.privacy.vault import Vault
from cohortmix.core.steps import anonymize
from cohortmix.core.steps.point_masses import MOST_COUNTED
from cohortmix.protocol.local.terminal import Terminal
from cohortmix.protocol.messages import SiteEntry, StudySpec
from cohortmix.protocol.signing import Key
from cohortmix.protocol.study import JointNoise

PATIENTS = 400
NOTHING = Spending(Fraction(0), Fraction(0), Fraction(1))
SCHEMA = Schema.from_yaml(
    """
name: small
target: outcome
columns:
  AGE: {type: number, min: 16, max: 105, integer: true, unit: years, missing: true}
  LEVEL: {type: number, min: 0, max: 10, knots: 2}
  DAY: {type: date, min: 1991-01-01, max: 1996-12-31}
  SEX: {type: category, values: [F, M], missing: true}
  outcome: {type: category, values: [well, ill]}
"""
)


def study(mu: str = "0.5", sites: int = 3, **changes: Any) -> StudySpec:
    entries = [
        SiteEntry(name=f"S{n}", key=Key.from_bytes(bytes([n + 1] * 32)).public_hex, patients=PATIENTS)
        for n in range(sites)
    ]
    values: dict[str, Any] = {
        "name": "study",
        "schema_hash": SCHEMA.hash,
        "target": "outcome",
        "mu": Decimal(mu),
        "delta": Decimal("0.00001"),
        "overlap": "disjoint",
        "sites": tuple(entries),
        "min_sites": 1,
        "round_deadline_seconds": 60,
        "version": "0.1.0",
        "coordinator_key": Key.from_bytes(bytes(32)).public_hex,
    }
    return StudySpec(**values | changes)


def quoted(spec: StudySpec, patients: int = PATIENTS, spending: Spending = NOTHING) -> Quote:
    return quote(spec, SCHEMA, "S0", patients, spending)


# --- cost


@pytest.mark.parametrize("mu", ["0.05", "0.268", "2"])
def test_cost_is_the_mu_of_the_study_and_its_two_rounds(mu: str) -> None:
    shown = quoted(study(mu))
    assert shown.mu == pytest.approx(gdp.compose(shown.round_mu), rel=1e-12)
    exact = gdp.epsilon_of(float(mu), 1e-5)
    assert exact <= shown.epsilon < exact + 2e-6
    found = {attack.false_alarms: attack.members_found_at_most for attack in shown.attacks}
    assert found[0.05] == gdp.detection_rate(float(mu), 0.05) < 0.05 + shown.advantage


def test_the_values_that_round_2_may_count_are_in_its_budget() -> None:
    """At most a fiftieth of mu^2, in the round that the quote has anyway; nothing where none can be counted."""
    shown = quoted(study("0.5"))
    assert shown.counted == MOST_COUNTED
    assert shown.counted_mu == pytest.approx(sqrt(0.02) * 0.5)
    without = quoted(study("0.5", point_masses=False))
    assert (without.counted, without.counted_mu) == (0, 0)
    assert without.round_mu == shown.round_mu
    small = quoted(study("0.05"), patients=60)
    assert (small.counted, small.counted_mu) == (0, 0)


def test_the_screen_says_what_may_be_counted(capsys: pytest.CaptureFixture[str]) -> None:
    for permitted in (True, False):
        show_quote(Terminal(soft_wrap=False), quoted(study("0.5", point_masses=permitted)))
        words = " ".join(capsys.readouterr().out.replace("│", " ").split())
        assert ("round 2 counts its values, 8,000 at most, for mu 0.0707 at most" in words) is permitted


def test_constraints_are_named_and_cost_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    held = ("drift<=0.1", "recall(ill)>=0.7")
    shown, free = quoted(study("0.5", constraints=held)), quoted(study("0.5"))
    assert shown.constraints == held
    assert (shown.mu, shown.epsilon, shown.round_mu) == (free.mu, free.epsilon, free.round_mu)
    for one, words in ((shown, True), (free, False)):
        show_quote(Terminal(soft_wrap=False), one)
        said = " ".join(capsys.readouterr().out.replace("│", " ").split())
        asked = "inducing points have to keep 'drift<=0.1' and 'recall(ill)>=0.7'"
        assert (f"{asked}: that is computed from noised answers alone, and costs no privacy" in said) is words
        assert "there will be none here" not in said
    show_quote(Terminal(soft_wrap=False), quoted(study("0.05", constraints=held), patients=60))
    assert "there will be none here" in " ".join(capsys.readouterr().out.replace("│", " ").split())


def test_constraints_that_do_not_fit_the_schema_get_no_quote() -> None:
    with pytest.raises(
        InputError, match=r"do not fit its schema: .* expected the class 'well' or 'ill', got 'dead'"
    ):
        quoted(study("0.5", constraints=("recall(dead)>=0.7",)))


def test_figures_of_epsilon_one() -> None:
    """The README's sentence: 5 % false alarms, at most 8.5 % of the members."""
    shown = quoted(study("0.268"))
    assert round(shown.epsilon, 2) == 1.0
    assert 0.084 < shown.attacks[1].members_found_at_most <= 0.085


@pytest.mark.parametrize(("overlap", "held"), [("disjoint", 1), (1, 1), (2, 2), (3, 3), (7, 3), ("unknown", 3)])
def test_overlap_says_at_how_many_sites_a_patient_is(overlap: Any, held: int) -> None:
    shown = quoted(study("0.5", overlap=overlap)).overlap
    assert shown.mu == pytest.approx(0.5 * sqrt(held))
    assert shown.worst_mu == pytest.approx(0.5 * sqrt(3))
    assert shown.epsilon <= shown.worst_epsilon == pytest.approx(gdp.epsilon_of(0.5 * sqrt(3), 1e-5), abs=2e-6)


def test_a_site_too_small_for_mixtures_gives_all_to_the_class_centroids() -> None:
    shown = quoted(study("0.05"), patients=60)
    assert shown.mixtures.components == 0
    assert shown.round_mu[0] == pytest.approx(0.05)
    assert shown.round_mu[1] == 0.0
    larger = quoted(study("0.05"), patients=60_000)
    assert larger.mixtures.components * larger.mixtures.smallest <= 60_000
    assert larger.mixtures.components >= 2 * larger.classes


def test_where_pairs_have_hardly_room_round_1_costs_more_and_is_less_noisy() -> None:
    """Both figures are those of the plan, and not of the study's share."""
    crowded, roomy = quoted(study(), patients=160), quoted(study(), patients=16_000)
    assert crowded.mixtures.components
    share, usual = (shown.round_mu[0] ** 2 / shown.mu**2 for shown in (crowded, roomy))
    assert usual == pytest.approx(0.15)
    assert 0.3 < share <= 0.4
    less = crowded.columns[1].cell / roomy.columns[1].cell
    assert less == pytest.approx(sqrt(usual / share), rel=1e-6)


@pytest.mark.parametrize(
    ("overlap", "words"),
    [
        ("disjoint", "no patient has records at two sites; one with records at all 3 would bear mu 0.520"),
        ("unknown", "a patient can have records at every site; one with records at all 3 bears mu 0.520"),
        (2, "no patient has records at more than 2 sites; one with records at 2 bears mu 0.424, epsilon "),
        (7, "no patient has records at more than 7 sites; one with records at all 3 bears mu 0.520"),
    ],
)
def test_the_overlap_is_shown_with_what_a_patient_of_several_sites_bears(
    overlap: Any, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    show_quote(Terminal(soft_wrap=False), quoted(study("0.3", overlap=overlap)))
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert f"the study declares that {words}" in shown


# --- whom a steward trusts


JOINT = JointNoise(conspirators=1, tolerated_dropouts=0)


def shown(spec: StudySpec, capsys: pytest.CaptureFixture[str]) -> str:
    show_quote(Terminal(soft_wrap=False), quoted(spec))
    return " ".join(capsys.readouterr().out.replace("│", " ").split())


def test_a_quote_says_whom_a_steward_trusts(capsys: pytest.CaptureFixture[str]) -> None:
    alone, joint = shown(study("0.3"), capsys), shown(study("0.3", joint=JOINT, min_sites=3), capsys)
    assert "trust nobody: this site adds all of the noise to what it sends" in alone
    promise = (
        "your patients are protected at this mu unless more than 1 of these hospitals conspire with the "
        "coordinator"
    )
    assert f"trust {promise}: S1 and S2; compare their keys" in joint
    assert promise not in alone
    assert "release by itself random numbers; all sites together: 2 class centroids" in joint


def test_a_quote_compares_both_ways_by_the_noise_that_they_have(capsys: pytest.CaptureFixture[str]) -> None:
    """Of three sites one may conspire: the sum has 3/2 of one answer's variance, and three times the patients."""
    here, together = quoted(study("0.3")), quoted(study("0.3", joint=JOINT, min_sites=3))
    assert here.modes == together.modes, "a study of each is compared with one of a tenth of conspirators"
    each, joint = here.modes
    assert (each.patients, joint.patients) == (PATIENTS, 3 * PATIENTS)
    first = {
        mode.noise: anonymize.noise_a(Encoding.of(SCHEMA), float(plan.mu2_sums))
        for mode, plan in (
            (each, study("0.3").plan(SCHEMA, PATIENTS)),
            (joint, study("0.3", joint=JOINT, min_sites=3).plan(SCHEMA, PATIENTS)),
        )
    }
    assert each.count == pytest.approx(first["each"])
    assert joint.count == pytest.approx(first["joint"] * 1.5**0.5)
    assert joint.count_share == pytest.approx(joint.count / (3 * PATIENTS))
    assert joint.components >= each.components
    assert "either way each: a count has noise of ±" in shown(study("0.3"), capsys)
    assert len(quoted(study("0.3", sites=1)).modes) == 1, "a single site has nobody to share the noise with"


def test_at_more_sites_than_declared_a_patient_of_a_joint_study_loses_more() -> None:
    joint, alone = quoted(study("0.3", joint=JOINT, min_sites=3)).overlap, quoted(study("0.3")).overlap
    assert (joint.mu, joint.worst_mu) == pytest.approx((0.3, 0.9))
    assert (alone.mu, alone.worst_mu) == pytest.approx((0.3, 0.3 * 3**0.5))
    twice = quoted(study("0.3", joint=JOINT, min_sites=3, overlap=2)).overlap
    assert (twice.mu, twice.worst_mu) == pytest.approx((0.3, 0.45))


# --- what the ledger would hold


def test_a_study_that_has_begun_is_not_counted_twice() -> None:
    quarter = Fraction(1, 4)
    spending = Spending(spent=Fraction(1, 2), reserved=Fraction(1, 10), cap=Fraction(13, 20))
    assert spending.after(quarter) == Fraction(13, 20)
    shown = quoted(study("0.5"), spending=spending)  # mu^2 = 1/4: to the cap, to the last bit
    assert shown.affordable
    assert not quoted(study("0.5000001"), spending=spending).affordable
    assert spending.after(Fraction(1, 20)) == spending.spent  # a smaller study gives nothing back


def test_spending_is_what_the_ledger_holds() -> None:
    ledger, spec = Ledger(":memory:", Decimal("0.7")), study()
    for name, cost in ((spec.hash, Fraction(1, 50)), ("b" * 64, Fraction(1, 25))):
        ledger.reserve(name, "request-1", "c" * 64, cost, Fraction(1))
    assert Spending.of(ledger, spec.hash) == Spending(
        Fraction(3, 50), Fraction(1, 50), Fraction(49, 100), Decimal("0.7")
    )
    ledger.close()


# --- noise


def test_noise_of_a_mean_by_hand() -> None:
    """Two cells, of middles 2.5 and 7.5: (-2.5 a + 2.5 b) / 200, a and b of standard deviation s_A."""
    level = quoted(study()).columns[1]
    assert (level.name, level.cells) == ("LEVEL", 2)
    assert level.mean is not None
    assert level.mean == pytest.approx(level.cell * sqrt(2 * 2.5**2) / 200)
    assert level.mean_share == pytest.approx(level.mean / 10)


@pytest.fixture(scope="module")
def answers() -> np.ndarray:
    """300 answers A of one table by a keyed source, less the first one's mean: (300, C, width) in patients."""
    rng, encoding = np.random.default_rng(3), Encoding.of(SCHEMA)
    table = pd.DataFrame(
        {
            "AGE": rng.integers(16, 105, PATIENTS),
            "LEVEL": rng.random(PATIENTS) * 10,
            "DAY": "1994-05-06",
            "SEX": rng.choice(["F", "M"], PATIENTS),
            "outcome": rng.choice(["well", "ill"], PATIENTS),
        }
    )
    source, mu2 = TableSource(table), study().mu2 * study().share
    drawn = [
        anonymize.answer_a(Vault(source, SCHEMA, KeyedNoise(seed).add, MemoryMeter(mu2)), encoding, mu2).estimate
        for seed in range(300)
    ]
    return np.reshape(drawn, (300, 2, -1))


def within(observed: float, stated: float) -> bool:
    """A standard deviation of 600 normal draws lies within 12 % of the law's, at four standard errors."""
    return abs(observed / stated - 1) < 4 / sqrt(2 * 600)


def test_noise_is_that_of_the_real_answer(answers: np.ndarray) -> None:
    """The stated law is accepted; 2/3 and 3/2 of it are not."""
    age, *_ = quoted(study()).columns
    assert (age.name, age.cells) == ("AGE", 9)
    noise = answers - answers.mean(axis=0)
    runs = noise[:, :, : age.cells]
    ends = np.array([Encoding.of(SCHEMA).features[0].interval(code) for code in range(89 + 1)])
    bins = np.asarray(Encoding.of(SCHEMA).features[0].coarse)[: len(ends)]
    middles = np.array([(ends[bins == k].min() + ends[bins == k].max()) / 2 for k in range(8)])
    means = runs[:, :, :8] @ (middles - 60.5) / (PATIENTS / 2)
    assert age.mean is not None
    for observed, stated in ((float(runs[:, :, 0].std()), age.cell), (float(means.std()), age.mean)):
        assert within(observed, stated)
        assert not within(observed, stated * 2 / 3)
        assert not within(observed, stated * 3 / 2)


def test_noise_falls_with_the_budget_and_its_share_with_the_patients() -> None:
    less, more = quoted(study("0.5")).columns[0], quoted(study("1")).columns[0]
    assert less.cell == pytest.approx(2 * more.cell)
    larger = quoted(study("0.5"), patients=10 * PATIENTS).columns[0]
    assert larger.cell == pytest.approx(less.cell)
    assert larger.cell_share == pytest.approx(less.cell_share / 10)


def test_columns_are_those_of_the_schema_in_its_units() -> None:
    columns = {column.name: column for column in quoted(study()).columns}
    assert [(column.range, column.unit) for column in columns.values()] == [
        ("16 to 105 years", "years"),
        ("0 to 10", None),
        ("1991-01-01 to 1996-12-31", "days"),
        ("2 values", None),
    ]
    assert (columns["SEX"].cells, columns["SEX"].mean, columns["SEX"].mean_share) == (3, None, None)


def test_a_quote_is_json() -> None:
    shown = quoted(study())
    assert json.loads(json.dumps(shown.plain()))["mixtures"]["components"] == shown.mixtures.components


def test_a_study_of_more_columns_than_any_grouping_fits_gets_no_quote() -> None:
    columns = "".join(f"  x{k}: {{type: number, min: 0, max: 1}}\n" for k in range(1001))
    wide = Schema.from_yaml(f"name: w\ntarget: y\ncolumns:\n{columns}  y: {{type: category, values: [a, b]}}\n")
    asked = study(mu="1", schema_hash=wide.hash, target="y")
    assert quote(asked, wide, "S0", PATIENTS, NOTHING).mixtures.components == 0
    with pytest.raises(InputError, match="1,001 columns beside the target are too many"):
        quote(asked, wide, "S0", 10**7, NOTHING)
