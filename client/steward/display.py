"""What a steward reads on the terminal: a quote, the ledger, the preview of a release."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import date
from decimal import Decimal
from fractions import Fraction
from math import ceil, sqrt

import numpy as np
from numpy.typing import NDArray
from rich.console import Group, RenderableType

from cohortmix.client.ledger.ledger import Entry, Ledger
from cohortmix.client.ledger.policy import Approval
from cohortmix.client.ledger.signed_act import Act, Decision
from cohortmix.client.steward.quote import ColumnNoise, Overlap, Quote, Spending
from cohortmix.core.data.encoding import Cells, Encoding
from cohortmix.core.data.schema import Category
from cohortmix.core.steps.centroids import Margins
from cohortmix.protocol.local.terminal import Terminal, compact_table, panel, styled

MOST_COLUMNS = 12  # of a quote, so that it fits on one screen
MOST_VALUES = 4  # of a category in a preview
BAR = 60  # characters of the odometer
TEXTS = ("range", "study, asked for by", "request", "state", "by the steward", "what")  # to the left


def show_quote(console: Terminal, quote: Quote) -> None:
    """A quote on one screen."""
    first, second = (digits(mu) for mu in quote.round_mu)
    found = {attack.false_alarms: at_most(attack.members_found_at_most) for attack in quote.attacks}
    loose = " (a loose delta: above 1/(10 N))" if quote.loose_delta else ""
    facts = {
        "cost": f"mu {digits(quote.mu)}, that is epsilon {digits(quote.epsilon)} at delta {quote.delta:g}{loose}; "
        f"round 1 takes mu {first}, round 2 mu {second} (squares add)",
        "attack": f"who knows every other record and allows 5 % false alarms finds at most {found[0.05]} of the "
        f"members, with 1 % at most {found[0.01]}; no attacker finds more than {at_most(quote.advantage)} beyond "
        "the false alarms",
        "overlap": _overlap(quote.overlap),
        "release": _release(quote),
        "ledger": f"spent mu {digits(quote.spent_mu)}, afterwards {digits(quote.after_mu)}, "
        f"cap {digits(quote.cap_mu)}: {share(quote.spent_mu, quote.cap_mu)} of the cap's mu^2, then "
        f"{share(quote.after_mu, quote.cap_mu)}; {_after(quote)}",
    }
    title = f"{quote.study} [{quote.hash[:12]}] at {quote.site}, {quote.patients} patients"
    console.print(panel(Group(_facts(facts), "", _noise(quote.columns)), title))


def show_ledger(
    console: Terminal, ledger: Ledger, approvals: Sequence[Approval], rounds: Mapping[str, int]
) -> None:
    """The odometer, every request with who asked for it and what it has cost, and every act of the steward.

    Parameters
    ----------
    approvals : the studies that are approved, which name them and say what they may cost.
    rounds : by request id, where it is known.
    """
    spent, cap = sqrt(ledger.spent_mu2), float(ledger.cap_mu)
    left, filled = sqrt(max(0.0, cap**2 - spent**2)), ceil(BAR * min(1.0, (spent / cap) ** 2)) if cap else BAR
    console.print(f"spent mu {digits(spent)} of {digits(cap)}: {share(spent, cap)} of the cap's mu^2")
    console.print("█" * filled + "░" * (BAR - filled))
    console.print(f"left  mu {digits(left)}, for one study or, in squares, for several")
    entries, names = ledger.entries(), {each.study: each.name or "" for each in approvals}
    if entries or approvals:
        console.print(_room(ledger, entries, approvals))
    table = compact_table(("day", "study, asked for by", "request", "round", "state", "mu"), left=TEXTS)
    for entry in entries:
        who = styled(_named(entry.study, names)).append("\n").append(styled(_coordinator(entry)))
        cells = (entry.request_id[:12], str(rounds.get(entry.request_id, "-")), state(entry))
        table.add_row(_day(entry.day), who, *cells, digits(sqrt(entry.mu2)))
    console.print("", table) if table.row_count else console.print("no request so far")
    acts = compact_table(("day", "by the steward", "what"), left=TEXTS)
    for study, each in ledger.by_steward():
        by, what = _said(each, study, names)
        acts.add_row(_day(each.day), by, what)
    if acts.row_count:
        console.print("", acts)


def show_decisions(console: Terminal, approvals: Sequence[Approval], revoked: Collection[str]) -> None:
    """The studies that the steward has approved or revoked; a revocation goes before an approval."""
    names = {each.study: each.name or "" for each in approvals}
    decided = {each.study: (f"approved up to mu {each.max_mu}", each.day) for each in approvals}
    decided |= dict.fromkeys(sorted(revoked), ("revoked", None))
    console.print()
    for study, (decision, day) in decided.items():
        console.print(f"{decision}: {_named(study, names)}" + (f", on {day}" if day else ""))
    if not decided:
        console.print("no study is approved")


def show_class_centroids(console: Terminal, encoding: Encoding, classes: Sequence[str], margins: Margins) -> None:
    """The class centroids of a release: for each class, the mean of a number and the commonest values."""
    table = compact_table(("", *classes))
    table.add_row("patients", *(f"{mass:.0f}" for mass in margins.masses))
    for cells, block in zip(encoding.features, encoding.blocks, strict=True):
        table.add_row(cells.name, *(_centroid(cells, row[block]) for row in margins.cells))
    banner = styled("This is what will leave: the release of round 1.", "bold").append(
        " It is differentially private and paid for; one count has noise of "
        f"± {digits(margins.s_a)} patients. Figures of real records are not shown.",
        style="not bold",
    )
    console.print(panel(Group(banner, "", table), border_style="yellow"))


def state(entry: Entry) -> str:
    """What a request has come to; both count as spent."""
    return "committed" if entry.committed else "reserved"


def digits(value: float) -> str:
    """Three significant digits, trailing zeros among them.

    >>> digits(0.26805), digits(1.0), digits(79.96), digits(1234.5), digits(0.0)
    ('0.268', '1.00', '80.0', '1,234', '0')
    """
    if not value or value >= 1000:
        return f"{value:,.0f}"
    return f"{value:#.3g}".removesuffix(".")


def share(mu: float, cap: float) -> str:
    """mu^2 as a percentage of the cap's.

    >>> share(0.3, 0.6)
    '25.0 %'
    """
    return f"{100 * (mu / cap) ** 2:.1f} %" if cap else "100 %"


def at_most(bound: float) -> str:
    """An upper bound as a percentage: rounded up.

    >>> at_most(0.0843)
    '8.5 %'
    """
    return f"{ceil(1000 * bound - 1e-9) / 10:.1f} %"


def fitting(more: int) -> str:
    """How many further studies of one cost fit under the cap.

    >>> fitting(0), fitting(1), fitting(2400)
    ('no other study like this fits', 'one more study like this fits', '2,400 more studies like this fit')
    """
    if more <= 1:
        return f"{('no other', 'one more')[more]} study like this fits"
    return f"{more:,} more studies like this fit"


def _after(quote: Quote) -> str:
    return f"after it {fitting(quote.more_like_it)} under the cap" if quote.affordable else "this is over the cap"


def _room(ledger: Ledger, entries: Sequence[Entry], approvals: Sequence[Approval]) -> str:
    """What is left, in studies like the last one: at the cost that it is approved for, or what it has cost."""
    study = entries[-1].study if entries else approvals[-1].study
    spending, approved = Spending.of(ledger, study), {each.study: each.max_mu for each in approvals}
    mu2 = max(spending.own, Fraction(approved.get(study, Decimal(0))) ** 2)
    if not mu2:
        return f"the last study, [{study[:12]}], has cost nothing"
    over = spending.after(mu2) > spending.cap
    room = "it does not fit under the cap itself" if over else f"{fitting(spending.more(mu2))} under the cap"
    return f"the last study, [{study[:12]}], costs mu {digits(sqrt(mu2))} at most: {room}"


def _named(study: str, names: Mapping[str, str]) -> str:
    return f"{names.get(study, '')} [{study[:12]}]".strip()


def _coordinator(entry: Entry) -> str:
    return "-" if entry.coordinator is None else f"coordinator key {entry.coordinator[:8]}"


def _day(day: date | None) -> str:
    """Of what was written before days were, a dash."""
    return "-" if day is None else day.isoformat()


def _said(said: Act | Decision, study: str, names: Mapping[str, str]) -> tuple[str, str]:
    """Who, and what: only acts are signed."""
    if isinstance(said, Decision):
        return "steward", f"{said.decision} {_named(study, names)}"
    to = f" to {said.cap}" if said.cap is not None else f": {said.key[:8]}" if said.key is not None else ""
    return f"steward, key {said.by[:8]}", f"{said.act}{to}"


def _overlap(overlap: Overlap) -> str:
    worst = f"mu {digits(overlap.worst_mu)}, epsilon {digits(overlap.worst_epsilon)}"
    if overlap.sites == 1:
        return "this is the study's only site"
    if overlap.declared == "disjoint":
        return (
            f"the study declares that no patient is at two of its {overlap.sites} sites; one who were at all of "
            f"them would bear {worst}"
        )
    if overlap.declared == "unknown":
        return f"a patient may be at all {overlap.sites} sites of the study, and then bears {worst}"
    return (
        f"the study declares that a patient is at {overlap.declared} of its {overlap.sites} sites at most, and "
        f"then bears mu {digits(overlap.mu)}, epsilon {digits(overlap.epsilon)}; one who were at all, {worst}"
    )


def _release(quote: Quote) -> str:
    mixtures = quote.mixtures
    if not mixtures.components:
        return (
            f"{quote.classes} class centroids only: N is too small for mixtures at this mu, and round 1 takes the "
            "whole budget"
        )
    return (
        f"{quote.classes} class centroids, then mixtures: {mixtures.fits} fits of up to {mixtures.components} "
        f"components, each of at least {ceil(mixtures.smallest)} patients; a pair cell has noise of "
        f"± {digits(mixtures.pair_noise)} patients"
    )


def _noise(columns: Sequence[ColumnNoise]) -> RenderableType:
    header = ("noise", "range", "cells", "of a count", "of N", "of a class mean", "of range")
    table = compact_table(header, left=("range",))
    for each in columns[:MOST_COLUMNS]:
        mean, mean_share = "-", "-"
        if each.mean is not None and each.mean_share is not None:
            mean, mean_share = f"± {digits(each.mean)} {each.unit or ''}", f"{100 * each.mean_share:.1f} %"
        count = f"± {digits(each.cell)}", f"{100 * each.cell_share:.1f} %"
        table.add_row(each.name, each.range, str(each.cells), *count, mean.strip(), mean_share)
    more = len(columns) - MOST_COLUMNS
    note = (
        "standard deviations of the raw answer, which is smoothed afterwards; a class mean is that of N/C patients"
    )
    return Group(table, styled(note + (f". {more} more columns: see --json" if more > 0 else ""), style="dim"))


def _centroid(cells: Cells, distribution: NDArray[np.float64]) -> str:
    column, missing = cells.column, float(distribution[cells.missing]) if cells.missing >= 0 else 0.0
    if isinstance(column, Category):
        order = np.argsort(-distribution[: len(column.values)], kind="stable")[:MOST_VALUES]
        parts = [f"{column.values[code]} {100 * distribution[code]:.0f} %" for code in order]
        rest = len(column.values) - len(order)
        parts += [f"{rest} more"] if rest else []
    else:
        values = np.arange(cells.size - (cells.missing >= 0))
        below = np.cumsum(distribution[values]) / max(1 - missing, 1e-12)
        quartiles = [int(np.searchsorted(below, q).clip(0, values[-1])) for q in (0.25, 0.5, 0.75)]
        low, middle, high = (cells.interval(code) for code in quartiles)
        parts = [f"{_plain(middle[0])} (half in {_plain(low[0])} to {_plain(high[1])})"]
    return ", ".join(parts) + (f", missing {100 * missing:.0f} %" if cells.missing >= 0 else "")


def _plain(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _facts(facts: Mapping[str, str]) -> RenderableType:
    table = compact_table(show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, text in facts.items():
        table.add_row(name, text)
    return table
