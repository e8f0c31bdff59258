"""The ledger on the steward's terminal, and as rows of a spreadsheet."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import date
from fractions import Fraction
from math import ceil, sqrt

from cohortmix.client.ledger.history import Entry
from cohortmix.client.ledger.ledger import Ledger
from cohortmix.client.ledger.policy import Approval
from cohortmix.client.ledger.signed_act import Act, Decision
from cohortmix.client.steward.show_quote import fitting, of_cap
from cohortmix.client.steward.spending import Spending
from cohortmix.protocol.fields import ratio_text
from cohortmix.protocol.local.sheet import as_csv
from cohortmix.protocol.local.tables import UNDEFINED
from cohortmix.protocol.local.terminal import Terminal, compact_table, styled
from cohortmix.protocol.local.wording import digits
from cohortmix.protocol.messages import request_id

BAR = 60  # characters of the budget bar
TEXTS = ("study, asked for by", "request", "state", "by the steward", "what")  # columns of text, to the left
SHEET = ("study", "name", "request", "round", "state", "mu", "mu2", "receipt", "day", "coordinator")


def show_ledger(console: Terminal, ledger: Ledger, approvals: Sequence[Approval], site: str) -> None:
    """Print the budget bar, every request with who asked and what it cost, and every act of the steward.

    Parameters
    ----------
    approvals : the studies that are approved, which name them and say what they may cost.
    site : the site's name, from which the rounds of requests follow.
    """
    _show_budget(console, sqrt(ledger.spent_mu2), float(ledger.cap_mu))
    entries, names = ledger.entries(), _names(approvals)
    if entries or approvals:
        console.print(_room(ledger, entries, approvals))
    _show_requests(console, entries, names, rounds(entries, site))
    acts = compact_table(("day", "by the steward", "what"), left=TEXTS)
    for study, act in ledger.by_steward():
        acts.add_row(_day(act.day), *_who_and_what(act, study, names))
    if acts.row_count:
        console.print("", acts)


def show_decisions(console: Terminal, approvals: Sequence[Approval], revoked: Collection[str]) -> None:
    """Print the studies that the steward has approved or revoked; a revocation goes before an approval."""
    names = _names(approvals)
    decisions = {approval.study: (f"approved up to mu {approval.max_mu}", approval.day) for approval in approvals}
    decisions |= dict.fromkeys(sorted(revoked), ("revoked", None))
    console.print()
    for study, (decision, day) in decisions.items():
        console.print(f"{decision}: {_named(study, names)}" + (f", on {day}" if day else ""))
    if not decisions:
        console.print("no study is approved")


def ledger_sheet(ledger: Ledger, approvals: Sequence[Approval], site: str) -> str:
    """Every request as a line of CSV; parameters as `show_ledger`."""
    receipts = {(signed.receipt.study, signed.receipt.request_id): signed.receipt for signed in ledger.receipts()}
    entries, names = ledger.entries(), _names(approvals)
    round_of = rounds(entries, site)
    rows: list[Sequence[object]] = [SHEET]
    for entry in entries:
        receipt = receipts.get((entry.study, entry.request_id))
        rows.append(
            (
                entry.study,
                names.get(entry.study, ""),
                entry.request_id,
                round_of.get(entry.request_id, ""),
                entry.state,
                f"{sqrt(entry.mu2):.9g}",
                ratio_text(entry.mu2),
                "" if receipt is None else receipt.hash,
                "" if entry.day is None else entry.day.isoformat(),
                entry.coordinator or "",
            )
        )
    return as_csv(rows)


def rounds(entries: Sequence[Entry], site: str) -> dict[str, int]:
    """The round of each request whose id follows from its study, as those of this package do; by request id."""
    studies = {entry.study for entry in entries}
    return {request_id(study, site, round): round for study in studies for round in (1, 2)}


def _show_budget(console: Terminal, spent: float, cap: float) -> None:
    left, share = sqrt(max(0.0, cap**2 - spent**2)), min(1.0, (spent / cap) ** 2) if cap else 1.0
    filled = ceil(BAR * share)
    console.print(f"spent mu {digits(spent)} of {digits(cap)}: {of_cap(spent, cap)} of the cap's mu^2")
    console.print("█" * filled + "░" * (BAR - filled))
    console.print(f"left  mu {digits(left)}, for one study or, in squares, for several")


def _room(ledger: Ledger, entries: Sequence[Entry], approvals: Sequence[Approval]) -> str:
    """What is left, in studies like the last one: at its own cost, as in a quote, or what it has cost so far."""
    study = entries[-1].study if entries else approvals[-1].study
    spending, approved = Spending.of(ledger, study), {approval.study: approval for approval in approvals}
    mu2 = max(spending.reserved, _cost(approved.get(study)))
    if not mu2:
        return f"the last study, [{study[:12]}], has cost nothing"
    over = spending.after(mu2) > spending.cap
    room = "it does not fit under the cap itself" if over else f"{fitting(spending.more(mu2))} under the cap"
    return f"the last study, [{study[:12]}], costs mu {digits(sqrt(mu2))} at most: {room}"


def _cost(approval: Approval | None) -> Fraction:
    """The mu^2 of an approved study; at most what is approved, where the approval does not say it."""
    if approval is None:
        return Fraction(0)
    return Fraction(approval.max_mu if approval.mu is None else approval.mu) ** 2


def _show_requests(
    console: Terminal, entries: Sequence[Entry], names: Mapping[str, str], round_of: Mapping[str, int]
) -> None:
    table = compact_table(("day", "study, asked for by", "request", "round", "state", "mu"), left=TEXTS)
    for entry in entries:
        coordinator = UNDEFINED if entry.coordinator is None else f"coordinator key {entry.coordinator[:8]}"
        who = styled(_named(entry.study, names)).append("\n").append(styled(coordinator))
        round = str(round_of.get(entry.request_id, UNDEFINED))
        cost = digits(sqrt(entry.mu2))
        table.add_row(_day(entry.day), who, entry.request_id[:12], round, entry.state, cost)
    console.print("", table) if table.row_count else console.print("no request so far")


def _names(approvals: Sequence[Approval]) -> dict[str, str]:
    """The names of the approved studies, by hash; an approval of an older version has none."""
    return {approval.study: approval.name or "" for approval in approvals}


def _named(study: str, names: Mapping[str, str]) -> str:
    return f"{names.get(study, '')} [{study[:12]}]".strip()


def _day(day: date | None) -> str:
    """A day; a dash for a step from before days were written down."""
    return UNDEFINED if day is None else day.isoformat()


def _who_and_what(act: Act | Decision, study: str, names: Mapping[str, str]) -> tuple[str, str]:
    """Who did it, and what it was; a decision is not signed, so it has no key."""
    if isinstance(act, Decision):
        return "steward", f"{act.decision} {_named(study, names)}"
    to = f" to {act.cap}" if act.cap is not None else f": {act.key[:8]}" if act.key is not None else ""
    return f"steward, key {act.by[:8]}", f"{act.act}{to}"
