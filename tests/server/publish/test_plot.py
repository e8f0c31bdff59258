"""The plots of a report: where the marks are, and that all of them are inside."""

from __future__ import annotations

import pytest
from report_page import Page, Summary, around, render


def test_the_plot_of_a_public_study_has_a_dot_for_each_site_and_two_lines_in_its_row(summary: Summary) -> None:
    page = Page(render(summary))
    assert page.of_class("mark") == ["svg"] * 4
    dots = {site: next(mark for mark in marks if mark[0].startswith("dot")) for site, marks in page.rows.items()}
    assert [kind for kind, _ in dots.values()] == ["dot", "dot", "dot full"], "beyond chance at NORW alone"
    for marks in page.rows.values():
        at = dict(marks)
        assert dots["NORW"][1] < at["pooled"] < dots["UK"][1] < at["ceiling"], ".738, .772, .782 and .794"
    assert len(page.marks("dot full") + page.marks("dot")) == 3


def test_the_interval_in_the_plot_reaches_the_pooled_line_where_the_difference_is_within_chance(
    summary: Summary,
) -> None:
    page = Page(render(summary))
    for site, reaches in (("UK", False), ("ITAL", True), ("NORW", False)):
        at = dict(page.rows[site])
        low, high = (float(page.spans[site][end].rstrip("%")) for end in ("x1", "x2"))
        assert (low <= at["pooled"] <= high) == reaches, site
        assert low < next(place for kind, place in page.rows[site] if kind.startswith("dot")) < high


def test_noise_is_shown_as_a_share_of_a_sites_patients(deployed: Summary) -> None:
    """The same noise weighs less on a larger site, and its bar is the shorter one."""
    page = Page(render(deployed, noise_std={"UK": 87.0, "ITAL": 87.0, "NORW": 28.4}))
    assert [text for text in page.texts if text.endswith("\u00a0%")][:3] == [
        "1.9\u00a0%",
        "3.4\u00a0%",
        "7.2\u00a0%",
    ]
    bars = [dict(marks)["noise pairs"] for marks in page.rows.values()]
    assert bars == sorted(bars), "UK, with the most patients, has the shortest"
    deployed["sites"][2]["reduced"] = True
    page = Page(render(deployed, noise_std={"UK": 87.0, "ITAL": 87.0, "NORW": 28.4}))
    assert "count of one value, from a site that is reduced" in page.text, "another kind of count is told apart"
    assert "count of a pair of values" in page.text
    noise = {"UK": 87.0, "ITAL": 87.0, "NORW": 28.4}
    assert "count of a pair of values" not in Page(render(deployed, noise_std=noise, by_scores=True)).text


@pytest.mark.parametrize(
    ("sites", "pooled", "ceiling"),
    [
        ([0.5], 0.5, 0.5),
        ([0.1, 1.0], 0.02, 0.99),
        ([0.7712, 0.7713], 0.7714, 0.7715),
        ([0.9] * 60, 0.4, 0.3),
    ],
)
@pytest.mark.parametrize("half", [0.0, 0.03, 2.0])
def test_the_plot_stays_in_its_frame(
    summary: Summary, sites: list[float], pooled: float, ceiling: float, half: float
) -> None:
    one = summary["sites"][0]
    summary["sites"] = [
        one | {"name": f"site {number}", "own_score": auc, "gain": around(pooled - auc, half)}
        for number, auc in enumerate(sites)
    ]
    summary["pooled"]["score"], summary["ceiling_score"] = pooled, ceiling
    _require_inside(Page(render(summary)))


@pytest.mark.parametrize(("patients", "noise"), [((50,), 0.01), ((51, 2_000_000), 90.0), ((99, 100, 101), 5000.0)])
def test_the_plot_of_noise_stays_in_its_frame(deployed: Summary, patients: tuple[int, ...], noise: float) -> None:
    one = deployed["sites"][0]
    deployed["sites"] = [one | {"name": f"site {number}", "n": n} for number, n in enumerate(patients)]
    _require_inside(Page(render(deployed, noise_std={site["name"]: noise for site in deployed["sites"]})))
    assert Page(render(deployed)).of_class("plot") == [], "without noise there is nothing to draw"


def _require_inside(page: Page) -> None:
    """Places are shares of the width, so that the letters keep their size on a screen of any width."""
    assert "viewbox" not in {key for _, attributes in page.elements for key in attributes}
    across = [str(a[key]) for tag, a in page.elements for key in ("x", "x1", "x2", "cx") if key in a]
    assert across
    assert all(place.endswith("%") and 0 <= float(place.rstrip("%")) <= 100 for place in across)
