"""A quote on the steward's terminal, on one screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil

from rich.console import Group, RenderableType

from cohortmix.client.steward.quote import ColumnNoise, Mixtures, Overlap, Quote
from cohortmix.core.data.words import listed
from cohortmix.protocol.local.tables import UNDEFINED
from cohortmix.protocol.local.terminal import Terminal, compact_table, panel, styled
from cohortmix.protocol.local.wording import asked_of_points, at_most, count, digits, overlap_in_words, percent
from cohortmix.protocol.overlap import parse_overlap, sites_per_patient

MOST_COLUMNS = 12  # of the noise table: with more a quote would not fit on one screen


def show_quote(console: Terminal, quote: Quote) -> None:
    """Print what a study costs, what an attacker gains, what the site would release, and how noisy that is."""
    facts = {
        "cost": _cost(quote),
        "attack": _attack(quote),
        "overlap": _overlap(quote.overlap),
        "trust": _trust(quote),
        "release": _release(quote),
        **({"constraints": _constraints(quote)} if quote.constraints else {}),
        **({"either way": _modes(quote)} if len(quote.modes) > 1 else {}),
        "ledger": _ledger(quote),
    }
    title = f"{quote.study} [{quote.hash[:12]}] at {quote.site}, {count(quote.patients, 'patient')}"
    console.print(panel(Group(_facts(facts), "", _noise(quote.columns)), title))


def of_cap(mu: float, cap: float) -> str:
    """mu^2 as a percentage of the cap's mu^2: budgets add in squares.

    >>> of_cap(0.3, 0.6)
    '25.0\\xa0%'
    """
    return percent((mu / cap) ** 2) if cap else percent(1, 0)


def fitting(more: int) -> str:
    """How many further studies of the same cost fit under the cap.

    >>> fitting(0), fitting(1), fitting(2400)
    ('no other study like this fits', 'one more study like this fits', '2,400 more studies like this fit')
    """
    if more <= 1:
        return f"{('no other', 'one more')[more]} study like this fits"
    return f"{more:,} more studies like this fit"


def _cost(quote: Quote) -> str:
    first, second = (digits(mu) for mu in quote.round_mu)
    loose = " (a loose delta: above 1/(10 N))" if quote.loose_delta else ""
    return (
        f"mu {digits(quote.mu)}, that is epsilon {digits(quote.epsilon)} at delta {quote.delta:g}{loose}; "
        f"round 1 takes mu {first}, round 2 mu {second} (squares add)"
    )


def _attack(quote: Quote) -> str:
    found = {attack.false_alarms: at_most(attack.members_found_at_most) for attack in quote.attacks}
    return (
        f"an attacker who knows every other record and allows {percent(0.05, 0)} false alarms finds at most "
        f"{found[0.05]} of the members, with {percent(0.01, 0)} at most {found[0.01]}; no attacker finds more "
        f"than {at_most(quote.advantage)} beyond the false alarms"
    )


def _overlap(overlap: Overlap) -> str:
    worst = f"mu {digits(overlap.worst_mu)}, epsilon {digits(overlap.worst_epsilon)}"
    if overlap.sites == 1:
        return "this is the study's only site"
    declared = parse_overlap(overlap.declared)
    held = sites_per_patient(declared, overlap.sites)
    says = f"the study declares that {overlap_in_words(declared)}; one with records at"
    if held == overlap.sites:
        return f"{says} all {overlap.sites} bears {worst}"
    if held == 1:
        return f"{says} all {overlap.sites} would bear {worst}"
    costs = f"mu {digits(overlap.mu)}, epsilon {digits(overlap.epsilon)}"
    return f"{says} {held} bears {costs}, and at all {overlap.sites} it would be {worst}"


def _trust(quote: Quote) -> str:
    """Whom a steward trusts, in a sentence."""
    if quote.noise == "each":
        return "nobody: this site adds all of the noise to what it sends"
    trust = quote.trust
    return (
        f"your patients are protected at this mu unless more than {trust.conspirators} of these hospitals "
        f"conspire with the coordinator: {listed(trust.names)}; compare their keys (`cohortmix site enrol`)"
    )


def _of_pairs(mixtures: Mixtures) -> str:
    """How noisy what round 2 measures of two columns is."""
    if mixtures.score_noise:
        return f"a correlation of two columns has noise of about ± {digits(mixtures.score_noise)}"
    return f"a pair cell has noise of ± {digits(mixtures.pair_noise)} patients"


def _modes(quote: Quote) -> str:
    """What either mode gives, in numbers that follow from the study."""
    parts = []
    for mode in quote.modes:
        whose = "this site's" if mode.noise == "each" else "all sites'"
        fits = f"mixtures of up to {mode.components} components" if mode.components else "class centroids only"
        parts.append(
            f"{mode.noise}: a count has noise of ± {digits(mode.count)} of {whose} {mode.patients:,} patients "
            f"({percent(mode.count_share)}), {fits}"
        )
    return "; ".join(parts)


def _release(quote: Quote) -> str:
    classes = count(quote.classes, "class centroid")
    mixtures, joint = quote.mixtures, quote.noise == "joint"
    if not mixtures.components:
        return (
            f"{classes} only{' of all sites together' * joint}: N is too small for mixtures at "
            "this mu, and round 1 takes the whole budget"
        )
    return (
        f"{'by itself random numbers; all sites together: ' * joint}{classes}, then mixtures: "
        f"{count(mixtures.fits, 'fit')} of up to {mixtures.components} components, each of at least "
        f"{ceil(mixtures.smallest)} patients; {_of_pairs(mixtures)}{', more if a hospital is missing' * joint}"
        f"{_counts(quote)}"
    )


def _constraints(quote: Quote) -> str:
    """What the inducing points have to keep, if there will be any."""
    without = "; with so few patients there will be none here" if not quote.mixtures.components else ""
    return asked_of_points(quote.constraints) + without


def _counts(quote: Quote) -> str:
    """What round 2 may count besides, for which part of its budget."""
    if not quote.counted:
        return ""
    return (
        "; a cell of a number or date that round 1 shows to hold clearly more than those beside it is looked "
        f"into: round 2 counts its values, {quote.counted:,} at most, for mu {digits(quote.counted_mu)} at most"
    )


def _ledger(quote: Quote) -> str:
    after = f"after it {fitting(quote.more_like_it)} under the cap" if quote.affordable else "this is over the cap"
    return (
        f"spent mu {digits(quote.spent_mu)}, afterwards {digits(quote.after_mu)}, cap {digits(quote.cap_mu)}: "
        f"{of_cap(quote.spent_mu, quote.cap_mu)} of the cap's mu^2, then {of_cap(quote.after_mu, quote.cap_mu)}; "
        f"{after}"
    )


def _noise(columns: Sequence[ColumnNoise]) -> RenderableType:
    header = ("noise", "range", "cells", "of a count", "of N", "of a class mean", "of range")
    table = compact_table(header, left=("range",))
    for column in columns[:MOST_COLUMNS]:
        mean, mean_share = UNDEFINED, UNDEFINED
        if column.mean is not None and column.mean_share is not None:
            mean, mean_share = f"± {digits(column.mean)} {column.unit or ''}".strip(), percent(column.mean_share)
        cell, cell_share = f"± {digits(column.cell)}", percent(column.cell_share)
        table.add_row(column.name, column.range, str(column.cells), cell, cell_share, mean, mean_share)
    more = len(columns) - MOST_COLUMNS
    note = (
        "standard deviations of the raw answer, which is smoothed afterwards; a class mean is that of N/C patients"
    )
    return Group(table, styled(note + (f". {more} more columns: see --json" if more > 0 else ""), style="dim"))


def _facts(facts: Mapping[str, str]) -> RenderableType:
    table = compact_table(show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, text in facts.items():
        table.add_row(name, text)
    return table
