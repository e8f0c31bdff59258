"""What a report says about one patient follows from mu and kappa, and understates neither."""

from __future__ import annotations

import pytest
from report_page import KAPPA, Page, Summary, render

from cohortmix.core.privacy.gdp import detection_rate, epsilon_of, epsilon_of_discrete


@pytest.mark.parametrize("overlap", ["disjoint", "unknown", 2])
def test_risk_follows_from_mu_for_the_declared_overlap_and_the_worst_one(
    summary: Summary, overlap: str | int
) -> None:
    summary["study"]["overlap"] = overlap
    page = Page(render(summary))
    declared = next(cells for cells in page.cells if cells[0].startswith("As declared"))
    worst = next(cells for cells in page.cells if cells[0].startswith("At worst"))
    for cells, mu in ((declared, 0.268), (worst, 0.464)):
        found = [float(cell.removesuffix("\u00a0%")) / 100 for cell in cells[3:]]
        bounds = [detection_rate(mu, a) for a in (0.01, 0.05, 0.10)]
        assert all(bound <= said + 1e-9 <= bound + 1e-3 for said, bound in zip(found, bounds, strict=True))
    assert float(worst[2]) == pytest.approx(epsilon_of(0.464, 1e-5), abs=5e-3)
    assert "at most 10.7 %" in " ".join(page.text.split()), "the advantage, 10.66, is rounded up"
    in_words = {"disjoint": "no patient has records at two", "unknown": "at every", 2: "at more than 2 sites"}
    assert in_words[overlap] in declared[0]


@pytest.mark.parametrize(("mu", "differs"), [(0.464, False), (8.0, True)])
def test_epsilon_at_worst_counts_the_kappa_of_the_receipts(summary: Summary, mu: float, differs: bool) -> None:
    """e^epsilon kappa outgrows delta where mu is large: there the Gaussian epsilon claims too little."""
    summary["consortium"]["mu_worst"] = mu
    worst = next(cells for cells in Page(render(summary)).cells if cells[0].startswith("At worst"))
    assert float(worst[2]) == pytest.approx(epsilon_of_discrete(mu, 1e-5, KAPPA), rel=5e-3)
    assert (float(worst[2]) > 1.01 * epsilon_of(mu, 1e-5)) == differs
