"""Commands of the data steward: `site quote`, `approve`, `revoke`, `ledger`, `preview`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from math import sqrt
from pathlib import Path
from typing import Annotated

import typer
from pydantic import TypeAdapter, ValidationError

from cohortmix.client.approval import (
    read_description,
    read_study,
    require_affordable,
    require_answerable,
    require_approved,
    require_fitting,
    require_within,
)
from cohortmix.client.cli import write_text
from cohortmix.client.config import DEFAULT, SiteConfig, load_config
from cohortmix.client.display import show_class_centroids, show_decisions, show_ledger, show_quote, state
from cohortmix.client.journal import LedgerError
from cohortmix.client.ledger import Ledger
from cohortmix.client.policy import Policy
from cohortmix.client.progress import step
from cohortmix.client.quote import Quote, Spending
from cohortmix.client.quote import quote as quote_of
from cohortmix.client.sheet import as_csv
from cohortmix.core.anonymize import project, read_sums
from cohortmix.core.encoding import Encoding
from cohortmix.core.known import available_cases, known_shares
from cohortmix.core.table import InputError
from cohortmix.protocol.fields import Exact, decimal_text, ratio_text
from cohortmix.protocol.keyfile import write_key
from cohortmix.protocol.messages import ClassSums, Description, SignedRelease, StudySpec, decode, request_id
from cohortmix.protocol.signing import Key
from cohortmix.protocol.terminal import Terminal, say

ConfigFile = Annotated[Path, typer.Option("--config", "-c", help="The site's configuration.")]
StudyFile = Annotated[Path, typer.Argument(metavar="STUDY.json", help="A study, signed by its coordinator.")]

_EXACT: TypeAdapter[Decimal] = TypeAdapter(Exact)


def quote(
    study: StudyFile,
    config: ConfigFile = DEFAULT,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the quote to this file.")] = None,
) -> None:
    """Show what a study would cost this site's patients; from public numbers, at no budget."""
    site, asked = load_config(config), read_study(study).study
    shown = _quote(site, asked, *_standing(site, asked))
    if json_file is not None:
        write_text(json_file, json.dumps(shown.plain(), indent=2) + "\n")
    show_quote(Terminal(soft_wrap=False), shown)


def approve(
    study: StudyFile,
    max_mu: Annotated[str, typer.Option(help="The most that the study may cost: at least the mu that it names.")],
    config: ConfigFile = DEFAULT,
) -> None:
    """Show a study's quote, then allow it, by its hash; nothing is computed or sent yet."""
    site, asked, most = load_config(config), read_study(study).study, _mu("--max-mu", max_mu)
    facts, spending = _standing(site, asked)
    require_answerable(site, asked, _today(site, asked))
    require_within(asked, most)
    require_affordable(site, asked, spending)
    show_quote(Terminal(soft_wrap=False), _quote(site, asked, facts, spending))
    with _ledger(site) as book:
        lifted = book.approve(asked.hash)
    Policy.update(site.policy_file, lambda policy: policy.approve(asked, most, _today(site, asked)))
    say(f"approved: {asked.name} [{asked.hash[:12]}], up to mu {decimal_text(most)}")
    if lifted:
        say("it had been revoked here; this approval lifts that")


def revoke(
    study: Annotated[
        str, typer.Argument(metavar="STUDY.json|HASH", help="A signed study, or how its hash begins.")
    ],
    config: ConfigFile = DEFAULT,
) -> None:
    """Withdraw an approval: the site refuses the study from now on. What was committed stays, and stays spent."""
    site = load_config(config)
    start = read_study(Path(study)).study.hash if Path(study).is_file() else study.lower()
    approved = {approval.study for approval in Policy.load(site.policy_file).approvals}
    found = [hash for hash in approved if start and hash.startswith(start)]
    if not found and Path(study).is_file():
        raise InputError(f"the study [{start[:12]}] of {study!r} is not approved here: there is nothing to revoke")
    if len(found) != 1:
        what = f"{len(found)} approved studies begin" if found else "no approved study begins"
        raise InputError(f"{what} with {study[:64]!r}; give the study's file, or more of its hash")
    try:
        with _ledger(site) as book:
            book.revoke(found[0])
    except LedgerError:
        say("the approval is withdrawn; that it was revoked could not be written into the ledger", err=True)
        raise
    finally:  # whatever holds the ledger up; and after it, so that a revocation cut short can be repeated
        Policy.update(site.policy_file, lambda policy: policy.revoke(found[0]))
    say(f"revoked: {found[0]}")


def ledger(
    config: ConfigFile = DEFAULT,
    csv_file: Annotated[Path | None, typer.Option("--csv", help="Write every request to this file.")] = None,
    raise_cap: Annotated[
        str | None,
        typer.Option(metavar="MU", help="Sign a larger cap, for good. cap_mu of site.yaml still holds."),
    ] = None,
    renew_mark: Annotated[
        bool, typer.Option("--renew-mark", help="The mark is lost: sign that this is the newest ledger, for good.")
    ] = False,
    new_key: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Make a new signing key there, and sign it with the present one."),
    ] = None,
    clock_corrected: Annotated[
        bool,
        typer.Option(
            "--clock-corrected",
            help="The clock was ahead and is right now: sign so, for good; earlier days count no more.",
        ),
    ] = False,
) -> None:
    """Show what was spent, on which study and request, and what is left."""
    site = load_config(config)
    if renew_mark:
        Ledger.renew_mark(site.ledger_file, site.cap_mu, site.mark, site.read_key())
    with _ledger(site) as book:
        if raise_cap is not None:
            book.raise_cap(_mu("--raise-cap", raise_cap), site.read_key())
        if clock_corrected:
            book.correct_clock(site.read_key())
        if new_key is not None:
            _change_key(book, site, new_key)
        approvals = Policy.load(site.policy_file).approvals
        names = {each.study: each.name or "" for each in approvals}
        rounds = _rounds(book, site.name)
        if csv_file is not None:
            write_text(csv_file, _as_csv(book, names, rounds))
        show_ledger(Terminal(soft_wrap=False), book, approvals, rounds)
        show_decisions(Terminal(soft_wrap=False), approvals, book.revoked())
        if book.own_cap is not None and book.own_cap != site.cap_mu:
            say(
                f"the cap in force is the smaller of the ledger's own, {book.own_cap}, and that of site.yaml, "
                f"{site.cap_mu}; --raise-cap raises the first"
            )


def preview(study: StudyFile, config: ConfigFile = DEFAULT) -> None:
    """Make the release of round 1 and show it: its budget is spent, and the coordinator will get these bytes."""
    from cohortmix.client.opening import open_site  # brings in JAX

    site, signed = load_config(config), read_study(study)
    asked = signed.study
    _, spending = _standing(site, asked)
    require_answerable(site, asked, _today(site, asked))
    with _ledger(site) as book:
        require_approved(asked, Policy.load(site.policy_file), asked.hash in book.revoked())
        first = request_id(asked.hash, site.name, 1)
        made = any(each.committed and each.request_id == first for each in book.entries())
    if not made:
        require_affordable(site, asked, spending)
    with open_site(site) as opened, step("making the release"):
        released, patients = decode(opened.preview(signed)), opened.description.patients
    assert isinstance(released, SignedRelease)
    assert isinstance(released.release, ClassSums)
    schema, answer, receipt = site.read_schema(), released.release.answer.to_core(), released.receipt
    encoding = Encoding.of(schema)
    sums = read_sums(encoding, answer.estimate, answer.std)
    sums = available_cases(sums, encoding, known_shares(sums, encoding, patients))
    margins = project(sums, encoding, patients)
    show_class_centroids(Terminal(soft_wrap=False), encoding, schema.classes, margins)
    cost = f"mu {sqrt(receipt.mu2):.3g} by request {receipt.request_id[:12]}; receipt {receipt.hash[:12]}"
    say(f"nothing new was spent: this release was made before, for {cost}" if made else f"spent: {cost}")


@contextmanager
def _ledger(site: SiteConfig) -> Iterator[Ledger]:
    book = Ledger(site.ledger_file, site.cap_mu, site.mark, site.read_key().public_hex)
    try:
        yield book
    finally:
        book.close()


def _today(site: SiteConfig, study: StudySpec) -> date:
    """The latest day that the ledger has seen; kept there, if the study is refused for it."""
    with _ledger(site) as book:
        if study.expired(book.today):
            book.keep_today()
        return book.today


def _change_key(book: Ledger, site: SiteConfig, path: Path) -> None:
    new = Key.generate()
    write_key(path, new)
    book.change_key(site.read_key(), new.public_hex)
    say(f"public key {new.public_hex}")
    setting = f"set `key: {path.absolute()}` in site.yaml"
    say(f"next: stop the daemon, {setting}, run `cohortmix site check`, and start it again")


def _standing(site: SiteConfig, study: StudySpec) -> tuple[Description, Spending]:
    """What is known of a study that names this very site, before anything is computed."""
    with _ledger(site) as book:  # first: where its key is another one, nothing else matters
        spending = Spending.of(book, study.hash)
    facts = read_description(site, site.read_schema())
    require_fitting(study, facts)
    return facts, spending


def _quote(site: SiteConfig, study: StudySpec, facts: Description, spending: Spending) -> Quote:
    return quote_of(study, site.read_schema(), site.name, facts.patients, spending)


def _mu(option: str, text: str) -> Decimal:
    try:
        return _EXACT.validate_python(text)
    except ValidationError:
        raise InputError(f"expected {option} as a decimal such as 0.3, got {text!r}") from None


def _rounds(book: Ledger, site: str) -> dict[str, int]:
    """The round of each request whose id follows from its study, as those of this package do."""
    studies = {entry.study for entry in book.entries()}
    return {request_id(study, site, round): round for study in studies for round in (1, 2)}


def _as_csv(book: Ledger, names: Mapping[str, str], rounds: Mapping[str, int]) -> str:
    receipts = {(each.receipt.study, each.receipt.request_id): each.receipt.hash for each in book.receipts()}
    header = ("study", "name", "request", "round", "state", "mu", "mu2", "receipt", "day", "coordinator")
    rows: list[Sequence[object]] = [header]
    for each in book.entries():
        key, name, round = (
            (each.study, each.request_id),
            names.get(each.study, ""),
            rounds.get(each.request_id, ""),
        )
        cost = f"{sqrt(each.mu2):.9g}", ratio_text(each.mu2)
        asked = "" if each.day is None else each.day.isoformat(), each.coordinator or ""
        cells = (each.study, name, each.request_id, round, state(each), *cost, receipts.get(key, ""))
        rows.append((*cells, *asked))
    return as_csv(rows)
