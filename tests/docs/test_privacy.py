"""Every number of docs/privacy.md is recomputed here, and so is its figure; a wrong one fails."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from fractions import Fraction
from importlib.util import module_from_spec, spec_from_file_location
from math import ceil, floor, sqrt
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import pytest

from cohortmix.client.site.config import SiteConfig
from cohortmix.core.audit.neighbours import MANY_ROWS
from cohortmix.core.privacy import gdp
from cohortmix.core.privacy.noise import MIN_SIGMA
from cohortmix.core.steps.point_masses import COST, MOST_COUNTED
from cohortmix.protocol.local.wording import at_most as percent_up
from cohortmix.protocol.local.wording import power_of_ten

DOCS = Path(__file__).parents[2] / "docs"
DELTA = 1e-5
ALARMS = (0.01, 0.05)
STEEP = 60  # points of a curve that are too steep to compare heights
NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?")


def load_figures() -> ModuleType:
    spec = spec_from_file_location("cohortmix_docs_figures", DOCS / "figures.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


FIGURES = load_figures()


def plain(text: str) -> str:
    """Without line breaks and the width of spaces."""
    return " ".join(text.split())


def at_most(share: float) -> str:
    return plain(percent_up(share))


def up(value: float) -> str:
    return f"{ceil(100 * value - 1e-9) / 100:.2f}"


def row(mu: float) -> str:
    """A line of the table; of guessing, the limit at mu = 0."""
    found = [at_most(gdp.detection_rate(mu, share)) for share in ALARMS]
    cells = [f"{mu:g}" if mu else "0, guessing", up(gdp.epsilon_of(mu, DELTA)), *found, at_most(gdp.advantage(mu))]
    return f"| {' | '.join(cells)} |"


def claims() -> Iterator[str]:
    """Every sentence or line of the document that says a number, with the numbers as the code has them."""
    study, cap, likely = 0.3, 0.5, ALARMS[1]
    yield f"ε at δ = {power_of_ten(DELTA)} | " + " | ".join(
        f"found, at {100 * a:g} % false alarms" for a in ALARMS
    )
    yield from (row(mu) for mu in (0.0, 0.1, 0.268, 0.3, 0.5, 1.0, 2.0))
    yield "µ = 0 would be perfect"
    yield f"the odd value or {MANY_ROWS} rows"
    yield f"for µ = {', '.join(f'{mu:g}' for mu in sorted(FIGURES.MUS)[:-1])} and {max(FIGURES.MUS):g}]"
    yield (
        f"At µ = {study}, an attacker who accuses {100 * likely:g} of 100 people falsely finds at most "
        f"{at_most(gdp.detection_rate(study, likely))} of the patients; guessing finds {at_most(likely)}."
    )
    yield f"ε = 1 at δ = {power_of_ten(DELTA)} is µ = {gdp.mu_of(1.0, DELTA):.3f}."
    family = 5
    yield (
        f"A family of {family}, at µ = {study}, has {family * study:g}: at {100 * likely:g} % false alarms, "
        f"at most {at_most(gdp.detection_rate(family * study, likely))} are found."
    )
    yield f"at µ = {study} the number is {2 * study:g}."
    yield f"at 3 hospitals with µ = {study} each, it is {up(gdp.compose([study] * 3))}."
    two, three = (gdp.compose([study] * studies) for studies in (2, 3))
    assert two <= cap < three
    yield (
        f"With a cap of {cap}, two studies at µ = {study} spend {up(two)} together; a third one is refused, since "
        f"it would make {up(three)}; what is left is {floor(100 * sqrt(cap**2 - two**2)) / 100}."
    )
    yield (
        f"With the cap spent in full, an attacker with {100 * likely:g} % false alarms finds at most "
        f"{at_most(gdp.detection_rate(cap, likely))}."
    )
    yield f"a public interval, {SiteConfig.model_fields['interval_seconds'].default:g} seconds if you leave"
    assert Fraction(1, 50) == COST
    yield f"at most {MOST_COUNTED:,} numbers, for at most a fiftieth of the study's µ²"
    numbers = 5_000_000
    mantissa, power = f"{gdp.kappa(numbers, MIN_SIGMA):e}".split("e")
    kappa = power_of_ten(ceil(10 * float(mantissa)) / 10 * 10.0 ** int(power))
    yield f"at most {plain(kappa)} for an answer of {numbers:,} numbers."


CLAIMS = tuple(claims())


def faults(text: str) -> list[str]:
    """Claims that the text does not make, and the numbers in it that no claim accounts for."""
    rest, found = plain(text), []
    for claim in CLAIMS:
        if claim not in rest:
            found.append(claim)
        rest = rest.replace(claim, "", 1)
    return found + NUMBER.findall(rest)


@pytest.fixture(scope="module")
def privacy() -> str:
    return (DOCS / "privacy.md").read_text(encoding="utf-8")


def test_every_number_of_the_document_follows_from_the_code(privacy: str) -> None:
    assert faults(privacy) == []


def test_any_other_number_is_noticed(privacy: str) -> None:
    """Whichever one is changed, and one that nobody has computed."""
    places = [match.span() for match in NUMBER.finditer(privacy)]
    assert len(places) > 60
    for start, end in places:
        digit = privacy[end - 1]
        wrong = privacy[: end - 1] + str((int(digit) + 1) % 10) + privacy[end:]
        assert faults(wrong), privacy[start:end]
    assert faults(privacy + "\nIt finds 97 % of all patients.")


def test_bounds_are_not_understated() -> None:
    for mu in (0.1, 0.268, 0.3, 0.5, 1.0, 2.0):
        cells = [float(cell.strip(" %")) for cell in row(mu).split("|")[2:-1]]
        exact = [
            gdp.epsilon_of(mu, DELTA),
            *(100 * gdp.detection_rate(mu, a) for a in ALARMS),
            100 * gdp.advantage(mu),
        ]
        assert all(0 <= said - true + 1e-6 < 0.1 + 1e-6 for said, true in zip(cells, exact, strict=True))


# --- the figure


SVG = "{http://www.w3.org/2000/svg}"


def drawn(kind: str) -> list[ElementTree.Element]:
    root = ElementTree.fromstring((DOCS / "trade-off.svg").read_text(encoding="utf-8"))
    return [each for each in root.iter() if each.get("class") == kind]


def test_the_figure_is_what_its_command_draws() -> None:
    assert (DOCS / "trade-off.svg").read_text(encoding="utf-8") == FIGURES.trade_off()


@pytest.mark.parametrize("mu", [1.0, 0.3, 0.1])
def test_a_curve_is_the_trade_off_function(mu: float) -> None:
    """In each panel, within half a pixel of 1 - G_mu; and of no other mu."""
    curves = drawn(f"curve mu{FIGURES.MUS.index(mu)}")
    assert len(curves) == 2
    for panel, curve in zip((FIGURES.ALL, FIGURES.CORNER), curves, strict=True):
        points = [tuple(map(float, point.split(","))) for point in curve.attrib["points"].split()]
        shares = [
            (min((x - panel.left) / FIGURES.SIDE, 1) * panel.right, y) for x, y in points[60:]
        ]  # it is steep before

        def off(other: float, panel: Any = panel, shares: list[tuple[float, float]] = shares) -> float:
            return max(abs(float(panel.y(1 - gdp.trade_off(other, alpha))) - y) for alpha, y in shares)

        assert off(mu) < 0.5
        assert off(1.1 * mu) > 0.5


def test_every_curve_has_its_name_and_every_axis_plain_words() -> None:
    root = ElementTree.fromstring(FIGURES.trade_off())
    texts = [each.text for each in root.iter(f"{SVG}text")]
    for name in ("µ = 1", "µ = 0.3", "µ = 0.1", "guessing"):
        assert texts.count(name) == 2
    for words in ("of 100 patients in the data, found at most", "of 100 people who are not in the data, accused"):
        assert texts.count(words) == 2


def test_links_of_the_document_lead_somewhere(privacy: str) -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", privacy)
    assert len(targets) >= 2
    assert all((DOCS / target).exists() for target in targets)
