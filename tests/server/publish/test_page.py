"""A report is one well-formed file for every screen and for paper, and no name becomes markup in it."""

from __future__ import annotations

import re

from report_page import Page, Summary, render

from cohortmix.core.data.schema import Schema
from cohortmix.protocol.local.html import element
from cohortmix.server.publish.style import STYLE

HOSTILE = '<script>alert("x")</script>&amp;\'"'


def test_a_name_cannot_turn_the_direction_of_a_page(summary: Summary) -> None:
    summary["study"]["target"] = "gnp.\u202ecod\x1b[2J"
    summary["sites"][0]["name"] = "\u2066UK"
    page = render(summary)
    assert not set("\u202e\u2066\x1b") & set(page)
    assert "gnp.\\u202ecod\\x1b[2J" in page


def test_names_cannot_become_markup(summary: Summary) -> None:
    summary["sites"][0]["reduced"] = True
    noise_std = {site["name"]: 40.0 for site in summary["sites"]}
    clean = Page(render(summary, absent=["SPAI"], noise_std=noise_std))
    summary["study"]["name"] = summary["study"]["target"] = summary["sites"][0]["name"] = HOSTILE
    text = render(summary, absent=[HOSTILE], noise_std={site["name"]: 40.0 for site in summary["sites"]})
    page = Page(text)
    assert [tag for tag, _ in page.elements] == [tag for tag, _ in clean.elements]
    assert "script" not in {tag for tag, _ in page.elements}
    assert page.row(HOSTILE)[1] == "4,689"
    assert text.count("&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt;&amp;amp;") == 7  # six texts and the title


def test_what_is_lost_cannot_become_markup(summary: Summary) -> None:
    summary["lost"]["text"] = f"Too few patients differ in {HOSTILE}."
    assert "script" not in {tag for tag, _ in Page(render(summary)).elements}


def test_attributes_cannot_be_left() -> None:
    assert element("a", href='"><script>') == '<a href="&quot;&gt;&lt;script&gt;"></a>'


def test_names_of_columns_cannot_become_markup(summary: Summary) -> None:
    plain = {"type": "category", "values": ["a", "b"], "description": HOSTILE}
    hostile = Schema.model_validate({"name": HOSTILE, "target": HOSTILE, "columns": {HOSTILE: plain, "b": plain}})
    page = Page(render(summary, schema=hostile))
    assert "script" not in {tag for tag, _ in page.elements}
    assert page.row(HOSTILE)[3] == f"the outcome; {HOSTILE}"


def test_nothing_is_loaded_from_elsewhere(summary: Summary) -> None:
    text = render(summary)
    assert not re.search(r"https?:|url\(|@import|<script|<link|<img| src=", text)
    assert len(text.encode()) < 50_000


def test_each_cell_knows_the_head_of_its_column(summary: Summary) -> None:
    """On a narrow screen a row is a block, and the heads stand beside the figures."""
    heads = [attributes["data-head"] for tag, attributes in Page(render(summary)).elements if tag == "td"]
    assert {"Patients", "Own AUC", "95 % interval", "Type", "Values"} <= set(heads)


def test_the_page_is_for_narrow_screens_dark_ones_and_paper() -> None:
    """Paper is white: the dark colours are of a screen alone. A long figure or table may go on over a page."""
    narrow, dark, paper = (
        STYLE.index(f"@media {kind}") for kind in ("screen and (max-w", "screen and (pref", "print")
    )
    assert dark < narrow < paper
    assert "@media (prefers" not in STYLE
    whole = re.findall(r"([^{}]+)\{[^{}]*break-inside: avoid", STYLE)
    assert not {"figure", "table", "section", "ul", "dl"} & {
        each.strip() for one in whole for each in one.split(",")
    }
    for colour in set(re.findall(r"var\((--\w+)\)", STYLE)) - {"--letters"}:
        assert STYLE.count(f"{colour}: #") == 2, "one for light and one for dark"
    assert not re.search(r"#[0-9a-f]{3,6}", re.sub(r":root \{[^}]*\}", "", STYLE)), "no colour but by its name"
