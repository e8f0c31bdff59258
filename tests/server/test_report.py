"""The report: one well-formed file, readable with and without figures on real records, that escapes every name."""

import copy
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from cohortmix.core.gdp import detection_rate, epsilon_of, epsilon_of_discrete
from cohortmix.server.html import element
from cohortmix.server.plot import gain
from cohortmix.server.report import render

SITES = [("UK", 4689, 0.7823), ("ITAL", 2578, 0.7722), ("NORW", 394, 0.7384)]
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
            | {"own_auc": auc}
            for name, n, auc in SITES
        ],
        "pooled": {"rows": 7661, "centroids": 120, "auc": 0.7724},
        "ceiling_auc": 0.7941,
        "noise": "opendp",
        "seconds": 61.3,
        "version": "0.1.0",
    }


@pytest.fixture
def deployed(summary) -> dict[str, Any]:
    """The same study of patients whose data are not public."""
    summary["pooled"]["auc"] = summary["ceiling_auc"] = None
    for site in summary["sites"]:
        site["own_auc"] = None
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
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.cells: list[list[str]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "tr":
            self.cells.append([])

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            return
        self.texts.append(data)
        if self.open[-1:] in (["td"], ["th"]):
            self.cells[-1].append(data)

    @property
    def text(self) -> str:
        return " ".join(self.texts).replace("\u00a0", " ")

    def row(self, name: str) -> list[str]:
        """The table row that begins with `name`."""
        return next(cells for cells in self.cells if cells[0] == name)

    def of_class(self, name: str) -> list[str]:
        return [tag for tag, attributes in self.elements if attributes.get("class") == name]


def test_a_public_study_shows_what_was_measured(summary):
    page = Page(render(summary, KAPPA))
    assert page.row("UK") == ["UK", "4,689", "0.268", "1.00", "40", "0.782"]
    assert page.row("NORW") == ["NORW", "394", "0.268", "1.00", "40", "0.738", "+0.034"]
    assert page.row("Pooled synthetic") == ["Pooled synthetic", "7,661", "0.268", "1.00", "120", "0.772"]
    assert page.row("All real records")[-1] == "0.794"
    assert "For 1 of 3 sites this is better" in page.text
    assert "declares its data public" in page.text


def test_the_plot_of_a_public_study_has_a_dot_for_each_site_and_two_lines(summary):
    page = Page(render(summary, KAPPA))
    assert (page.of_class("dot full"), page.of_class("dot")) == (["circle"], ["circle"] * 2)
    assert (page.of_class("pooled"), page.of_class("ceiling")) == (["line"], ["line"])
    x = {attributes["class"]: float(attributes["x1"]) for tag, attributes in page.elements if tag == "line"}
    dots = [float(attributes["cx"]) for tag, attributes in page.elements if tag == "circle"]
    assert dots[2] < x["pooled"] < dots[0] < x["ceiling"], "the order of .738, .772, .782 and .794"


def test_a_study_of_patients_shows_no_figure_on_real_records(deployed):
    page = Page(render(deployed, KAPPA, noise_std={"UK": 87.0, "ITAL": 87.0, "NORW": 28.4}))
    assert page.row("NORW") == ["NORW", "394", "0.268", "1.00", "40"]
    for absent in ("AUC", "Gain", "All real records", "public", "None"):
        assert absent not in page.text
    assert page.of_class("pooled") == page.of_class("ceiling") == []
    assert page.of_class("noise") == ["line"] * 4, "three sites and the key"
    assert "±87" in page.texts
    assert "±28" in page.texts


def test_a_site_whose_own_model_was_not_measured_is_a_dash(summary):
    summary["sites"][2]["own_auc"] = None
    page = Page(render(summary, KAPPA))
    assert page.row("NORW")[-1] == "–"
    assert "not measured" in page.text
    assert "For 0 of 2 sites" in page.text


@pytest.mark.parametrize("overlap", ["disjoint", "unknown", 2])
def test_risk_follows_from_mu_for_the_declared_overlap_and_the_worst_one(summary, overlap):
    summary["study"]["overlap"] = overlap
    page = Page(render(summary, KAPPA))
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
    worst = next(cells for cells in Page(render(summary, KAPPA)).cells if cells[0].startswith("At worst"))
    assert float(worst[2]) == pytest.approx(epsilon_of_discrete(mu, 1e-5, KAPPA), rel=5e-3)
    assert (float(worst[2]) > 1.01 * epsilon_of(mu, 1e-5)) == differs


def test_test_noise_is_named_and_real_noise_is_not(summary):
    assert BANNER not in render(summary, KAPPA)
    summary |= {"noise": "TEST", "warning": BANNER}
    page = Page(render(summary, KAPPA))
    assert BANNER in page.texts
    assert page.of_class("warning") == ["p"]
    assert "none of this holds" in page.text


def test_a_loose_delta_is_a_banner_of_its_own(summary):
    assert Page(render(summary, KAPPA)).of_class("warning") == []
    page = Page(render(summary | {"warning": "loose delta: above"}, KAPPA))
    assert page.of_class("warning") == ["p"]
    assert "loose delta: above" in page.texts
    assert "seed" not in page.text


def test_limits_name_the_sites_that_gave_less_or_nothing(summary):
    text = Page(render(summary, KAPPA, class_only=["ITAL", "NORW"], absent=["SPAI"])).text
    assert "ITAL and NORW released one centroid for each class" in text
    assert "nothing came from SPAI" in text
    text = Page(render(summary, KAPPA)).text
    assert "Reduced" not in text
    assert "Missing" not in text


@pytest.mark.parametrize(("delta", "loose"), [(1e-5, False), (1 / 46_890, False), (1e-4, True)])
def test_a_delta_above_a_tenth_of_a_patient_is_named(summary, delta, loose):
    summary["consortium"]["delta"] = delta
    assert ("δ is above 1/(10 N)" in Page(render(summary, KAPPA)).text) == loose


def test_receipts_are_of_what_was_published(summary):
    text = Page(render(summary, KAPPA)).text
    assert "receipts of what the published files cost" in text
    assert "receipt of what it spent" not in text


def test_names_cannot_become_markup(summary):
    clean = Page(render(summary, KAPPA, class_only=["NORW"], absent=["SPAI"]))
    summary["study"]["name"] = summary["study"]["target"] = summary["sites"][0]["name"] = HOSTILE
    text = render(summary, KAPPA, class_only=[HOSTILE], absent=[HOSTILE])
    page = Page(text)
    assert [tag for tag, _ in page.elements] == [tag for tag, _ in clean.elements]
    assert "script" not in {tag for tag, _ in page.elements}
    assert page.row(HOSTILE)[1] == "4,689"
    assert (
        text.count("&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt;&amp;amp;") == 6
    )  # five texts and the title


def test_attributes_cannot_be_left():
    assert element("a", href='"><script>') == '<a href="&quot;&gt;&lt;script&gt;"></a>'


def test_nothing_is_loaded_from_elsewhere(summary):
    text = render(summary, KAPPA)
    assert not re.search(r"https?:|url\(|@import|<script|<link|<img| src=", text)
    assert len(text.encode()) < 50_000


def test_rendering_changes_nothing_in_the_summary(summary):
    before = copy.deepcopy(summary)
    render(summary, KAPPA)
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
def test_the_plot_stays_in_its_frame(summary, sites, pooled, ceiling):
    one = summary["sites"][0]
    summary["sites"] = [one | {"name": f"site {number}", "own_auc": auc} for number, auc in enumerate(sites)]
    summary["pooled"]["auc"], summary["ceiling_auc"] = pooled, ceiling
    _require_inside(Page(render(summary, KAPPA)))


@pytest.mark.parametrize(("patients", "noise"), [((50,), 0.01), ((51, 2_000_000), 90.0), ((99, 100, 101), 5000.0)])
def test_the_plot_of_patients_stays_in_its_frame(deployed, patients, noise):
    one = deployed["sites"][0]
    deployed["sites"] = [one | {"name": f"site {number}", "n": n} for number, n in enumerate(patients)]
    _require_inside(Page(render(deployed, KAPPA, noise_std={"site 0": noise})))
    _require_inside(Page(render(deployed, KAPPA)))


def _require_inside(page: Page) -> None:
    width, height = (float(side) for side in dict(page.elements)["svg"]["viewbox"].split()[2:])
    across = [float(a[key]) for _, a in page.elements for key in ("x", "x1", "x2", "cx") if key in a]
    down = [float(a[key]) for _, a in page.elements for key in ("y", "y1", "y2", "cy") if key in a]
    assert across
    assert 0 <= min(across) <= max(across) <= width
    assert 0 <= min(down) <= max(down) <= height


def test_a_gain_is_what_three_places_show():
    assert gain(0.7746, 0.7754) == 0
    assert gain(0.7744, 0.7746) == pytest.approx(0.001)
    assert gain(0.79, 0.77) < 0
