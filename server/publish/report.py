"""The report of a study, for people who read no code: one HTML file that needs nothing beside it.

It says who took part, what the pooled records are good for, what they can betray about a patient, and what is not
protected.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cohortmix.core.data.schema import Schema
from cohortmix.core.data.words import some
from cohortmix.protocol.local.html import Html, element, join
from cohortmix.protocol.local.wording import count, digits, percent, reduced
from cohortmix.server.publish.constraints import TERMS, all_kept, in_one_sentence
from cohortmix.server.publish.curve import PooledCurve, curve_section
from cohortmix.server.publish.dictionary import dictionary
from cohortmix.server.publish.gains import ARTICLES, MEANINGS, MEASURES, compared, signed
from cohortmix.server.publish.plot import noise_plot, score_plot
from cohortmix.server.publish.risk import risk
from cohortmix.server.publish.site_table import site_table
from cohortmix.server.publish.style import STYLE

NOTHING = Html("")
ABOUT_PAIRS = {
    False: "Counts of pairs of values say more than counts of single values, and are noisier.",
    True: "Pairs of values were not counted: noised correlations say which columns go together.",
}
"""By whether answer B was about scores."""


def render(
    summary: Mapping[str, Any],
    kappa: float,
    schema: Schema,
    coordinator_key: str,
    *,
    noise_std: Mapping[str, float] | None = None,
    by_scores: bool = False,
    absent: Sequence[str] = (),
    curve: PooledCurve | None = None,
) -> str:
    """The report as one HTML document.

    Parameters
    ----------
    summary : as `publish.summarise` makes it; a figure that is None was not measured.
    kappa : total variation between the noise of all receipts together and exactly Gaussian noise.
    schema : the study's.
    coordinator_key : under which the study and the manifest are signed.
    noise_std : by site, the standard deviation of the noise of one released count, in patients.
    by_scores : whether no pairs of values were counted, and correlations say which columns go together.
    absent : sites of the study that have released nothing.
    curve : of the pooled records; None where the outcome is no time to an event.
    """
    measured = summary["pooled"]["score"] is not None and summary["ceiling_score"] is not None
    main = element(
        "main",
        _opening(summary, schema, coordinator_key),
        _less_than_planned(summary, absent),
        _usefulness(summary) if measured else _contribution(summary, noise_std or {}, by_scores),
        curve_section(curve),
        risk(summary, kappa),
        site_table(summary, measured),
        dictionary(schema),
        _limits(summary),
        _terms(
            summary["measure"] if measured else None, curve is not None, bool(summary["study"].get("constraints"))
        ),
        _origin(summary),
    )
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", f"{summary['study']['name']}: report of a study"),
        element("style", Html(STYLE)),
    )
    return f"<!doctype html>\n{element('html', head, element('body', main), lang='en')}\n"


def _opening(summary: Mapping[str, Any], schema: Schema, coordinator_key: str) -> Html:
    sites, rows = count(len(summary["sites"]), "site"), count(summary["pooled"]["rows"], "synthetic record")
    patients = count(sum(site["n"] for site in summary["sites"]), "patient")
    return element(
        "header",
        element("p", "Report of a cohortmix study", class_="eyebrow"),
        element("h1", summary["study"]["name"]),
        _warning(summary),
        element(
            "p",
            f"{sites} with {patients} took part, and no record left its site. {_how(summary)}, {rows} were drawn; "
            f"{_outcome(summary, schema)}. The noise limits what anyone can learn about a single patient "
            "from everything that was published. How well it does so is said below, in numbers that can be "
            "checked.",
            class_="lead",
        ),
        _facts(summary, schema, coordinator_key),
    )


def _outcome(summary: Mapping[str, Any], schema: Schema) -> str:
    """What the study is about, if the schema says it."""
    survival = schema.outcome.survival
    if survival is not None:
        return f"the outcome is the time “{survival.time}” to the event “{survival.event}: {survival.happened}”"
    if schema.target is None:
        return "the schema names no outcome"
    return f"the outcome is the column “{summary['study']['target']}”"


def _how(summary: Mapping[str, Any]) -> str:
    """What the sites sent, up to the records that were drawn from it."""
    if summary["study"]["joint"] is None:
        return (
            "Each site added up the values of its patients, put random noise on the sums, and sent only what "
            "follows from these noisy sums. From what all sites sent"
        )
    return (
        "Each site added up the values of its patients, put a share of the random noise on the sums, and hid them "
        "under masks that cancel when the sites are added up: nobody could read more than the noisy sum of all "
        "sites. From this sum"
    )


def _facts(summary: Mapping[str, Any], schema: Schema, coordinator_key: str) -> Html:
    """What a reader needs to tell this study from others, and to know whose it is."""
    facts = {
        "Published": summary["published"] or "no date, since a run with test noise can be repeated byte for byte",
        "Coordinator": join(element("code", coordinator_key), " (public key; compare it with the one you know)"),
        "Schema": f"{schema.name}, with {count(len(schema.columns), 'column')}, which are listed below",
        "Study": element("code", summary["study"]["hash"]),
    }
    pairs = [join(element("dt", name), element("dd", text)) for name, text in facts.items()]
    return element("dl", *pairs, class_="facts")


def _less_than_planned(summary: Mapping[str, Any], absent: Sequence[str]) -> Html:
    """Which sites released less, or nothing, and what is lost: a reader has to know it before any figure."""
    names = [site["name"] for site in summary["sites"] if site["reduced"]]
    points = [reduced(names, len(summary["sites"]))] if names else []
    if absent:
        points.append(
            f"Nothing came from {some(absent)}; the pooled records say nothing about the patients there."
        )
    if summary["lost"]["text"]:
        points.append(f"What the pooled records could not carry: {summary['lost']['text']}")
    if not all_kept(summary):
        points.append(in_one_sentence(summary))
    return (
        element("section", *(element("p", point) for point in points), class_="attention") if points else NOTHING
    )


def _warning(summary: Mapping[str, Any]) -> Html:
    if "warning" not in summary:
        return NOTHING
    seed = (
        " The noise of this run follows from a seed; whoever knows the seed can remove the noise. For tests only."
    )
    text = f".{seed}" if summary["noise"] == "TEST" else "."
    return element("p", element("strong", summary["warning"]), text, class_="warning", role="alert")


def _usefulness(summary: Mapping[str, Any]) -> Html:
    pooled, ceiling, measure = summary["pooled"]["score"], summary["ceiling_score"], summary["measure"]
    return element(
        "section",
        element("h2", "What the pooled records are good for"),
        element(
            "p",
            f"A model trained on the pooled synthetic records reaches {ARTICLES[measure]} {MEASURES[measure]} of "
            f"{signed(pooled)} on real patients whom no model has seen. Compared with a model trained on a site’s "
            f"own real records, that is {compared(summary)}. With all real records in one place it would be "
            f"{signed(ceiling)}.",
        ),
        _figure(
            score_plot(summary),
            "Each dot is a model trained on the real records of one site alone. The line through it is the 95 % "
            "interval of its difference from the pooled records. Where it reaches the line of the pooled "
            "records, the difference is within chance: with other held-out patients there might have been none. "
            "The interval does not include the effect of the noise, which another run would draw anew. The "
            "number beside a name is how many patients the site has. These figures come from real records and "
            "are not private; they are shown because the study declares its data public.",
        ),
    )


def _contribution(summary: Mapping[str, Any], noise_std: Mapping[str, float], by_scores: bool) -> Html:
    if summary["study"]["joint"] is not None:
        return _together(summary, noise_std)
    return element(
        "section",
        element("h2", "Who contributed"),
        element(
            "p",
            "At the same budget, the more patients a site has, the less the noise matters in what it released. "
            f"{ABOUT_PAIRS[by_scores]} How well models do on real patients was not measured: such figures are not "
            "private, and stay with the sites.",
        ),
        _figure(
            noise_plot(summary, noise_std, by_scores),
            "Each bar is the noise on one released count of patients (one standard deviation) as a share of "
            "the site’s patients, whose number is beside its name. Among counts of the same kind, a shorter "
            "bar means a clearer picture of the site.",
        )
        if noise_std
        else NOTHING,
    )


def _together(summary: Mapping[str, Any], noise_std: Mapping[str, float]) -> Html:
    """How noisy the sums of a joint study are: no site has released anything that could be read by itself."""
    patients, noise = sum(site["n"] for site in summary["sites"]), max(noise_std.values(), default=0.0)
    return element(
        "section",
        element("h2", "Who contributed"),
        element(
            "p",
            f"What was released is about all {patients:,} patients together: the noise on one released count is "
            f"{digits(noise)} patients (one standard deviation), {percent(noise / patients)} of them. Nothing "
            "tells the sites apart: the column site of the records follows the sites’ numbers of patients alone. "
            "How well models do on real patients was not measured: such figures are not private, and stay with "
            "the sites.",
        ),
    )


def _limits(summary: Mapping[str, Any]) -> Html:
    joint, counts = summary["study"]["joint"], [site["n"] for site in summary["sites"]]
    points = (
        "δ is above 1/(10 N), with N the patients of the largest site, or of all sites of a joint study: for "
        "comparisons with published figures only."
        if summary["consortium"]["delta"] > 1 / (10 * (max(counts) if joint is None else sum(counts)))
        else "",
        ""
        if joint is None
        else "A hospital that sends something else than its sums can spoil the total, and nobody can tell which "
        "one it was: the total is only checked against the number of patients and the noise.",
        "Two things are not hidden: how many patients each site has, and at which site a patient was.",
        "The protection is for single patients. What holds for a whole group can be learned; that is the purpose.",
        "A synthetic record describes no real patient. Use the records to plan an analysis or to train a model, "
        "and confirm on real patients what you find.",
    )
    items = [element("li", point) for point in points if point]
    return element("section", element("h2", "Limits"), element("ul", *items))


def _terms(measure: str | None, curve: bool, constraints: bool) -> Html:
    terms = {
        "µ": "the privacy budget: one patient can shift what was published by at most µ standard deviations of "
        "the noise. With µ = 0 nothing is revealed. For several releases, the squares of their µ add up.",
        "ε, δ": "the same budget in the usual terms of differential privacy.",
        "Centroid": "a synthetic average of many patients; in this form a site, or all of them together, release "
        "what they know.",
    }
    if measure is not None:
        name = MEASURES[measure]
        terms[name[0].upper() + name[1:]] = MEANINGS[measure]
    if curve:
        terms["Kaplan-Meier curve"] = (
            "the share of patients without the event as time goes by; each counts for as long as the follow-up "
            "lasted."
        )
    if constraints:
        terms |= TERMS
    pairs = [join(element("dt", term), element("dd", text)) for term, text in terms.items()]
    return element("section", element("h2", "Terms"), element("dl", *pairs))


def _origin(summary: Mapping[str, Any]) -> Html:
    seconds = "" if summary["seconds"] is None else f"; {summary['seconds']:,.0f} seconds"
    return element(
        "footer",
        element(
            "p",
            "Every site has signed receipts of what the published files cost; what a site spent on answers that "
            "never arrived is in its own ledger. To check signatures, sums and budget, run ",
            element("code", "cohortmix verify"),
            " on the folder of this file.",
        ),
        element(
            "p",
            f"cohortmix {summary['version']}; noise: {summary['noise']}; neighbours: one patient’s records "
            f"replaced{seconds}.",
        ),
    )


def _figure(plot: Html, caption: str) -> Html:
    return element("figure", plot, element("figcaption", caption))
