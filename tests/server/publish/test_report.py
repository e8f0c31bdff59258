"""The report: readable with and without figures on real records, and complete in what a reader must know."""

from __future__ import annotations

import copy

import pytest
from report_page import COORDINATOR, SCHEMA, Page, Summary, around, render

from cohortmix.server.publish.gains import gain

BANNER = "NOT PRIVATE: test noise"


def test_a_public_study_shows_what_was_measured(summary: Summary) -> None:
    page = Page(render(summary))
    assert page.row("UK") == ["UK", "4,689", "0.268", "1.00", "40", "0.782", "−0.010", "−0.018 to −0.002"]
    assert page.row("ITAL") == ["ITAL", "2,578", "0.268", "1.00", "40", "0.772", "0.000", "−0.010 to 0.010"]
    assert page.row("NORW") == ["NORW", "394", "0.268", "1.00", "40", "0.738", "+0.034", "0.014 to 0.054"]
    assert page.row("Pooled synthetic") == ["Pooled synthetic", "7,661", "0.268", "1.00", "120", "0.772"]
    assert page.row("All real records")[-1] == "0.794"
    assert "that is better for 1 of 3 sites, within chance for 1 and worse for 1" in page.text
    assert "declares its data public" in page.text


def test_a_gain_that_chance_can_explain_is_not_called_one(summary: Summary) -> None:
    """.001 on one set of held-out patients: no site is counted, however many gain so much."""
    for site in summary["sites"]:
        site |= {"own_score": 0.7714, "gain": around(0.001, 0.004)}
    page = Page(render(summary))
    assert "better for none of 3 sites, within chance for 3 and worse for none" in page.text
    assert page.row("UK")[-2:] == ["+0.001", "−0.003 to 0.005"]
    assert page.marks("dot full") == []
    for site in summary["sites"]:
        site["gain"] = around(0.001, 0.0005)
    assert "better for 3 of 3 sites, within chance for none" in Page(render(summary)).text


def test_a_study_of_patients_shows_no_figure_on_real_records(deployed: Summary) -> None:
    page = Page(render(deployed, noise_std={"UK": 87.0, "ITAL": 87.0, "NORW": 28.4}))
    assert page.row("NORW") == ["NORW", "394", "0.268", "1.00", "40"]
    for absent in ("AUC", "Gain", "All real records", "public data", "None"):
        assert absent not in page.text
    assert page.of_class("pooled") == page.of_class("ceiling") == []


def test_a_site_whose_own_model_was_not_measured_is_a_dash(summary: Summary) -> None:
    summary["sites"][2] |= {"own_score": None, "gain": None}
    page = Page(render(summary))
    assert page.row("NORW")[-1] == "–"
    assert "not measured" in page.text
    assert "better for none of 2 sites" in page.text


def test_the_head_says_when_by_whom_and_of_what(summary: Summary) -> None:
    page = Page(render(summary))
    for said in ("2027-03-02", COORDINATOR, "stroke-dictionary", "4 columns", "ab" * 32, SCHEMA.hash):
        assert said in page.text
    summary["published"] = None
    assert "no date, since a run with test noise can be repeated" in Page(render(summary)).text


def test_every_column_of_the_schema_is_listed(summary: Summary) -> None:
    page = Page(render(summary))
    assert page.row("outcome") == ["outcome", "category", "well, dead", "the outcome"]
    assert page.row("AGE") == ["AGE", "whole number", "16 to 105 years", "may be missing; at admission"]
    assert page.row("SEEN") == ["SEEN", "date", "1991-01-01 to 1996-12-31"]
    assert page.row("WARD")[2] == "w1, w2, w3, w4, w5, w6, w7, w8 and 3 more"
    assert "A patient has at most 3 records, with the same “id”, a column that is not released" in page.text
    assert (
        "Each record is one patient"
        in Page(render(summary, schema=SCHEMA.model_copy(update={"patient_key": None}))).text
    )


def test_test_noise_is_named_and_real_noise_is_not(summary: Summary) -> None:
    assert BANNER not in render(summary)
    summary |= {"noise": "TEST", "warning": BANNER}
    page = Page(render(summary))
    assert BANNER in page.texts
    assert page.of_class("warning") == ["p"]
    assert "none of this holds" in page.text


def test_a_loose_delta_is_a_banner_of_its_own(summary: Summary) -> None:
    assert Page(render(summary)).of_class("warning") == []
    page = Page(render(summary | {"warning": "loose delta: above"}))
    assert page.of_class("warning") == ["p"]
    assert "loose delta: above" in page.texts
    assert "seed" not in page.text


def test_sites_that_gave_less_or_nothing_are_named_before_any_figure(summary: Summary) -> None:
    assert Page(render(summary)).of_class("attention") == []
    for site in summary["sites"][1:]:
        site |= {"reduced": True, "centroids": 2}
    page = Page(render(summary, absent=["SPAI"]))
    assert page.of_class("attention") == ["section"]
    said = " ".join(page.text.split())
    notice = said.index("Reduced to class centroids (2 of 3 sites): ITAL and NORW. There were too few patients")
    assert notice < said.index("Nothing came from SPAI") < said.index("What the pooled records are good for")
    assert "In the pooled records that is taken from the other sites" in said
    assert page.row("NORW")[4] == "2, classes only"
    summary["sites"][0]["reduced"] = True
    assert "No site tells that, so the columns" in Page(render(summary)).text


def test_what_is_lost_is_said_before_any_figure(summary: Summary) -> None:
    said = "What the pooled records could not carry:"
    assert said not in Page(render(summary)).text
    summary["lost"]["text"] = "Too few patients differ in HIV."
    page = Page(render(summary))
    assert page.of_class("attention") == ["section"]
    text = " ".join(page.text.split())
    assert text.index(f"{said} Too few patients differ in HIV.") < text.index(
        "What the pooled records are good for"
    )


KEPT = {"constraint": "drift<=0.1", "met": True, "value": 0.02, "multiplier": 0.0}
MISSED = {"constraint": "recall(dead)>=0.9", "met": False, "value": 0.71, "multiplier": 31.2}


def test_constraints_that_every_site_keeps_are_a_note(summary: Summary) -> None:
    assert "Inducing points" not in Page(render(summary)).text
    summary["study"]["constraints"] = ["drift<=0.1"]
    for site in summary["sites"]:
        site["constraints"] = [KEPT]
    page = Page(render(summary))
    assert page.text.count("Inducing points: all that were released keep 'drift<=0.1'.") == 1
    assert page.of_class("attention") == []


def test_sites_whose_points_miss_a_constraint_are_named_before_any_figure(summary: Summary) -> None:
    summary["study"]["constraints"] = ["drift<=0.1", "recall(dead)>=0.9"]
    for site in summary["sites"]:
        site["constraints"] = [KEPT, MISSED if site["name"] == "UK" else MISSED | {"met": True}]
    page = Page(render(summary))
    text = " ".join(page.text.split())
    said = "Inducing points: all that were released keep 'drift<=0.1'; those of UK miss 'recall(dead)>=0.9'."
    assert text.count(said) == 1
    assert text.index(said) < text.index("What the pooled records are good for")
    assert page.of_class("attention") == ["section"]
    for site in summary["sites"]:
        site["constraints"] = [one | {"met": False, "value": None, "multiplier": None} for one in (KEPT, MISSED)]
    said = "No inducing points were released that could keep 'drift<=0.1' and 'recall(dead)>=0.9'."
    assert Page(render(summary)).text.count(said) == 1


def test_names_in_a_constraint_are_no_markup(summary: Summary) -> None:
    summary["study"]["constraints"] = ["recall(<b>dead</b>)>=0.9"]
    for site in summary["sites"]:
        site["constraints"] = [MISSED | {"constraint": "recall(<b>dead</b>)>=0.9"}]
    assert "<b>" not in render(summary)


def test_of_many_sites_that_gave_less_the_first_are_named(summary: Summary) -> None:
    one = summary["sites"][0] | {"reduced": True}
    summary["sites"] = [one | {"name": f"site {number}"} for number in range(74)]
    assert "site 10, site 11 and 62 more. There were" in Page(render(summary)).text


@pytest.mark.parametrize(("delta", "loose"), [(1e-5, False), (1 / 46_890, False), (1e-4, True)])
def test_a_delta_above_a_tenth_of_a_patient_is_named(summary: Summary, delta: float, loose: bool) -> None:
    summary["consortium"]["delta"] = delta
    assert ("δ is above 1/(10 N)" in Page(render(summary)).text) == loose


def test_receipts_are_of_what_was_published(summary: Summary) -> None:
    text = Page(render(summary)).text
    assert "receipts of what the published files cost" in text
    assert "receipt of what it spent" not in text


def test_rendering_changes_nothing_in_the_summary(summary: Summary) -> None:
    before = copy.deepcopy(summary)
    render(summary)
    assert summary == before


def test_a_gain_is_what_three_places_show() -> None:
    assert gain(0.7746, 0.7754) == 0
    assert gain(0.7744, 0.7746) == pytest.approx(0.001)
    assert gain(0.79, 0.77) < 0
