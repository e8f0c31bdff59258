"""The report: one well-formed file, readable with and without figures on real records, that escapes every name."""

import copy
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from cohortmix.core.data.schema import Schema
from cohortmix.core.privacy.gdp import detection_rate, epsilon_of, epsilon_of_discrete
from cohortmix.server.publish import report
from cohortmix.server.publish.gains import gain
from cohortmix.server.publish.html import element
from cohortmix.server.publish.style import STYLE

SITES = [("UK", 4689, 0.7823, 0.008), ("ITAL", 2578, 0.7722, 0.01), ("NORW", 394, 0.7384, 0.02)]
SCHEMA = Schema.from_yaml("""
name: stroke-dictionary
patient_key: id
max_rows_per_patient: 3
target: outcome
columns:
  outcome: {type: category, values: [well, dead]}
  AGE: {type: number, min: 16, max: 105, integer: true, unit: years, missing: true, description: at admission}
  SEEN: {type: date, min: 1991-01-01, max: 1996-12-31}
  WARD: {type: category, values: [w1, w2, w3, w4, w5, w6, w7, w8, w9, w10, w11]}
""")
COORDINATOR = "cd" * 32
BANNER = "NOT PRIVATE: test noise"
KAPPA = 1e-19
HOSTILE = '<script>alert("x")</script>&amp;\'"'


@pytest.fixture
def summary() -> dict[str, Any]:
    """A study of public data with real noise and every figure measured."""
    return {
        "study": {"name": "stroke", "hash": "ab" * 32, "target": "outcome", "overlap": "disjoint"},
        "consortium": {"mu": 0.268, "epsilon": 1.0, "delta": 1e-5, "mu_worst": 0.464},
        "sites": [
            {"name": name, "n": n, "mu": 0.268, "epsilon": 1.0, "delta": 1e-5, "centroids": 40, "mass": float(n)}
            | {"reduced": False, "own_auc": auc, "gain": around(0.7724 - auc, half)}
            for name, n, auc, half in SITES
        ],
        "pooled": {"rows": 7661, "centroids": 120, "auc": 0.7724},
        "ceiling_auc": 0.7941,
        "noise": "opendp",
        "seconds": 61.3,
        "version": "0.1.0",
        "published": "2027-03-02",
    }


def around(estimate: float, half: float) -> dict[str, float]:
    return {"estimate": estimate, "low": estimate - half, "high": estimate + half}


def render(summary: dict[str, Any], kappa: float = KAPPA, **given: Any) -> str:
    return report.render(summary, kappa, given.pop("schema", SCHEMA), COORDINATOR, **given)


def render_all(summary: dict[str, Any], absent: list[str]) -> str:
    return render(summary, absent=absent, noise_std={site["name"]: 40.0 for site in summary["sites"]})


@pytest.fixture
def deployed(summary) -> dict[str, Any]:
    """The same study of patients whose data are not public."""
    summary["pooled"]["auc"] = summary["ceiling_auc"] = None
    for site in summary["sites"]:
        site["own_auc"] = site["gain"] = None
    return summary


def test_a_name_cannot_turn_the_direction_of_a_page(summary: dict[str, Any]) -> None:
    summary["study"]["target"] = "gnp.\u202ecod\x1b[2J"
    summary["sites"][0]["name"] = "\u2066UK"
    page = render(summary, KAPPA)
    assert not set("\u202e\u2066\x1b") & set(page)
    assert "gnp.\\u202ecod\\x1b[2J" in page


class Page(HTMLParser):
    """What a page holds; an element that is not closed where it should be is an error."""

    VOID = frozenset({"meta"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.within: list[str] = []  # the classes of the open elements
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.cells: list[list[str]] = []
        self.rows: dict[str, list[tuple[str, float]]] = {}
        self.spans: dict[str, dict[str, str]] = {}
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)
            self.within.append(str(dict(attrs).get("class")))
        if tag == "tr":
            self.cells.append([])
        kind, place = str(dict(attrs).get("class")), dict(attrs).get("cx") or dict(attrs).get("x2")
        if place and "track" in self.within:
            name = list(self.rows)[-1]
            self.rows[name].append((kind, float(place.rstrip("%"))))
            if kind == "span":
                self.spans[name] = {key: str(value) for key, value in attrs}

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        self.within.pop()

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            return
        self.texts.append(data)
        if self.within[-1:] == ["name"]:
            self.rows[data] = []
        if self.open[-1:] in (["td"], ["th"]):
            self.cells[-1].append(data)

    @property
    def text(self) -> str:
        return " ".join(self.texts).replace("\u00a0", " ")

    def row(self, name: str) -> list[str]:
        """The table row that begins with `name`."""
        return next(cells for cells in self.cells if cells[0] == name)

    def marks(self, kind: str) -> list[float]:
        """Places of the marks of one kind in the rows of a plot."""
        return [place for marks in self.rows.values() for of, place in marks if of == kind]

    def of_class(self, name: str) -> list[str]:
        return [tag for tag, attributes in self.elements if attributes.get("class") == name]


def test_a_public_study_shows_what_was_measured(summary):
    page = Page(render(summary))
    assert page.row("UK") == ["UK", "4,689", "0.268", "1.00", "40", "0.782", "−0.010", "−0.018 to −0.002"]
    assert page.row("ITAL") == ["ITAL", "2,578", "0.268", "1.00", "40", "0.772", "0.000", "−0.010 to 0.010"]
    assert page.row("NORW") == ["NORW", "394", "0.268", "1.00", "40", "0.738", "+0.034", "0.014 to 0.054"]
    assert page.row("Pooled synthetic") == ["Pooled synthetic", "7,661", "0.268", "1.00", "120", "0.772"]
    assert page.row("All real records")[-1] == "0.794"
    assert "that is better for 1 of 3 sites, within chance for 1 and worse for 1" in page.text
    assert "declares its data public" in page.text


def test_a_gain_that_chance_can_explain_is_not_called_one(summary):
    """.001 on one set of held-out patients: no site is counted, however many gain so much."""
    for site in summary["sites"]:
        site |= {"own_auc": 0.7714, "gain": around(0.001, 0.004)}
    page = Page(render(summary))
    assert "better for none of 3 sites, within chance for 3 and worse for none" in page.text
    assert page.row("UK")[-2:] == ["+0.001", "−0.003 to 0.005"]
    assert page.marks("dot full") == []
    for site in summary["sites"]:
        site["gain"] = around(0.001, 0.0005)
    assert "better for 3 of 3 sites, within chance for none" in Page(render(summary)).text


def test_the_plot_of_a_public_study_has_a_dot_for_each_site_and_two_lines_in_its_row(summary):
    page = Page(render(summary))
    assert page.of_class("mark") == ["svg"] * 4
    dots = {site: next(mark for mark in marks if mark[0].startswith("dot")) for site, marks in page.rows.items()}
    assert [kind for kind, _ in dots.values()] == ["dot", "dot", "dot full"], "beyond chance at NORW alone"
    for marks in page.rows.values():
        at = dict(marks)
        assert dots["NORW"][1] < at["pooled"] < dots["UK"][1] < at["ceiling"], ".738, .772, .782 and .794"
    assert len(page.marks("dot full") + page.marks("dot")) == 3


def test_the_interval_in_the_plot_reaches_the_pooled_line_where_the_difference_is_within_chance(summary):
    page = Page(render(summary))
    for site, reaches in (("UK", False), ("ITAL", True), ("NORW", False)):
        at = dict(page.rows[site])
        low, high = (float(page.spans[site][end].rstrip("%")) for end in ("x1", "x2"))
        assert (low <= at["pooled"] <= high) == reaches, site
        assert low < next(place for kind, place in page.rows[site] if kind.startswith("dot")) < high


def test_a_study_of_patients_shows_no_figure_on_real_records(deployed):
    page = Page(render(deployed, noise_std={"UK": 87.0, "ITAL": 87.0, "NORW": 28.4}))
    assert page.row("NORW") == ["NORW", "394", "0.268", "1.00", "40"]
    for absent in ("AUC", "Gain", "All real records", "public data", "None"):
        assert absent not in page.text
    assert page.of_class("pooled") == page.of_class("ceiling") == []


def test_noise_is_shown_as_a_share_of_a_sites_patients(deployed):
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
    assert "count of one value, where a site is reduced" in page.text, "another kind of count is told apart"


def test_a_site_whose_own_model_was_not_measured_is_a_dash(summary):
    summary["sites"][2] |= {"own_auc": None, "gain": None}
    page = Page(render(summary))
    assert page.row("NORW")[-1] == "–"
    assert "not measured" in page.text
    assert "better for none of 2 sites" in page.text


def test_the_head_says_when_by_whom_and_of_what(summary):
    page = Page(render(summary))
    for said in ("2027-03-02", COORDINATOR, "stroke-dictionary", "4 columns", "ab" * 32, SCHEMA.hash):
        assert said in page.text
    summary["published"] = None
    assert "no day: a run with test noise can be repeated" in Page(render(summary)).text


def test_every_column_of_the_schema_is_listed(summary):
    page = Page(render(summary))
    assert page.row("outcome") == ["outcome", "category", "well, dead", "the outcome"]
    assert page.row("AGE") == ["AGE", "whole number", "16 to 105 years", "may be missing; at admission"]
    assert page.row("SEEN") == ["SEEN", "date", "1991-01-01 to 1996-12-31"]
    assert page.row("WARD")[2] == "w1, w2, w3, w4, w5, w6, w7, w8 and 3 more"
    assert "A patient has 3 records at most, under one “id”, a column that is not released" in page.text
    assert (
        "A record is a patient"
        in Page(render(summary, schema=SCHEMA.model_copy(update={"patient_key": None}))).text
    )


@pytest.mark.parametrize("overlap", ["disjoint", "unknown", 2])
def test_risk_follows_from_mu_for_the_declared_overlap_and_the_worst_one(summary, overlap):
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
def test_epsilon_at_worst_counts_the_kappa_of_the_receipts(summary, mu, differs):
    """e^epsilon kappa outgrows delta where mu is large: there the Gaussian epsilon claims too little."""
    summary["consortium"]["mu_worst"] = mu
    worst = next(cells for cells in Page(render(summary)).cells if cells[0].startswith("At worst"))
    assert float(worst[2]) == pytest.approx(epsilon_of_discrete(mu, 1e-5, KAPPA), rel=5e-3)
    assert (float(worst[2]) > 1.01 * epsilon_of(mu, 1e-5)) == differs


def test_test_noise_is_named_and_real_noise_is_not(summary):
    assert BANNER not in render(summary)
    summary |= {"noise": "TEST", "warning": BANNER}
    page = Page(render(summary))
    assert BANNER in page.texts
    assert page.of_class("warning") == ["p"]
    assert "none of this holds" in page.text


def test_a_loose_delta_is_a_banner_of_its_own(summary):
    assert Page(render(summary)).of_class("warning") == []
    page = Page(render(summary | {"warning": "loose delta: above"}))
    assert page.of_class("warning") == ["p"]
    assert "loose delta: above" in page.texts
    assert "seed" not in page.text


def test_sites_that_gave_less_or_nothing_are_named_before_any_figure(summary):
    assert Page(render(summary)).of_class("attention") == []
    for site in summary["sites"][1:]:
        site |= {"reduced": True, "centroids": 2}
    page = Page(render(summary, absent=["SPAI"]))
    assert page.of_class("attention") == ["section"]
    said = " ".join(page.text.split())
    notice = said.index("Reduced to class centroids (2 of 3 sites): ITAL and NORW. There were too few patients")
    assert notice < said.index("Nothing came from SPAI") < said.index("What the pooled records are good for")
    assert "In the pooled records that is taken from the other sites" in said
    assert page.row("NORW")[4] == "2, of classes only"
    summary["sites"][0]["reduced"] = True
    assert "No site tells that, so the columns" in Page(render(summary)).text


def test_of_many_sites_that_gave_less_the_first_are_named(summary):
    one = summary["sites"][0] | {"reduced": True}
    summary["sites"] = [one | {"name": f"site {number}"} for number in range(74)]
    assert "site 10, site 11 and 62 more. There were" in Page(render(summary)).text


@pytest.mark.parametrize(("delta", "loose"), [(1e-5, False), (1 / 46_890, False), (1e-4, True)])
def test_a_delta_above_a_tenth_of_a_patient_is_named(summary, delta, loose):
    summary["consortium"]["delta"] = delta
    assert ("δ is above 1/(10 N)" in Page(render(summary)).text) == loose


def test_receipts_are_of_what_was_published(summary):
    text = Page(render(summary)).text
    assert "receipts of what the published files cost" in text
    assert "receipt of what it spent" not in text


def test_names_cannot_become_markup(summary):
    summary["sites"][0]["reduced"] = True
    clean = Page(render_all(summary, ["SPAI"]))
    summary["study"]["name"] = summary["study"]["target"] = summary["sites"][0]["name"] = HOSTILE
    text = render_all(summary, [HOSTILE])
    page = Page(text)
    assert [tag for tag, _ in page.elements] == [tag for tag, _ in clean.elements]
    assert "script" not in {tag for tag, _ in page.elements}
    assert page.row(HOSTILE)[1] == "4,689"
    assert text.count("&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt;&amp;amp;") == 7  # six texts and the title


def test_attributes_cannot_be_left():
    assert element("a", href='"><script>') == '<a href="&quot;&gt;&lt;script&gt;"></a>'


def test_names_of_columns_cannot_become_markup(summary):
    plain = {"type": "category", "values": ["a", "b"], "description": HOSTILE}
    hostile = Schema.model_validate({"name": HOSTILE, "target": HOSTILE, "columns": {HOSTILE: plain, "b": plain}})
    page = Page(render(summary, schema=hostile))
    assert "script" not in {tag for tag, _ in page.elements}
    assert page.row(HOSTILE)[3] == f"the outcome; {HOSTILE}"


def test_nothing_is_loaded_from_elsewhere(summary):
    text = render(summary)
    assert not re.search(r"https?:|url\(|@import|<script|<link|<img| src=", text)
    assert len(text.encode()) < 50_000


def test_rendering_changes_nothing_in_the_summary(summary):
    before = copy.deepcopy(summary)
    render(summary)
    assert summary == before


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
def test_the_plot_stays_in_its_frame(summary, sites, pooled, ceiling, half):
    one = summary["sites"][0]
    summary["sites"] = [
        one | {"name": f"site {number}", "own_auc": auc, "gain": around(pooled - auc, half)}
        for number, auc in enumerate(sites)
    ]
    summary["pooled"]["auc"], summary["ceiling_auc"] = pooled, ceiling
    _require_inside(Page(render(summary)))


@pytest.mark.parametrize(("patients", "noise"), [((50,), 0.01), ((51, 2_000_000), 90.0), ((99, 100, 101), 5000.0)])
def test_the_plot_of_noise_stays_in_its_frame(deployed, patients, noise):
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


def test_each_cell_knows_the_head_of_its_column(summary):
    """On a narrow screen a row is a block, and the heads stand beside the figures."""
    heads = [attributes["data-head"] for tag, attributes in Page(render(summary)).elements if tag == "td"]
    assert {"Patients", "Own AUC", "95 % interval", "Type", "Values"} <= set(heads)


def test_the_page_is_for_narrow_screens_dark_ones_and_paper():
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


def test_a_gain_is_what_three_places_show():
    assert gain(0.7746, 0.7754) == 0
    assert gain(0.7744, 0.7746) == pytest.approx(0.001)
    assert gain(0.79, 0.77) < 0
