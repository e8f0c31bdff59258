"""Commands of the data steward: `site enrol`, `quote`, `approve`, `revoke`, `ledger`, `preview`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from math import sqrt
from pathlib import Path
from typing import Annotated

import typer
from pydantic import TypeAdapter, ValidationError

from cohortmix.client.ledger.journal import LedgerError
from cohortmix.client.ledger.ledger import Ledger
from cohortmix.client.ledger.policy import Policy, Refused
from cohortmix.client.site.config import DEFAULT, SiteConfig, load_config
from cohortmix.client.steward.approval import (
    read_description,
    read_peer,
    read_study,
    require_affordable,
    require_answerable,
    require_approved,
    require_fitting,
    require_within,
)
from cohortmix.client.steward.quote import Quote
from cohortmix.client.steward.quote import quote as quote_of
from cohortmix.client.steward.show_ledger import ledger_sheet, show_decisions, show_ledger
from cohortmix.client.steward.show_preview import show_class_sums
from cohortmix.client.steward.show_quote import show_quote
from cohortmix.client.steward.spending import Spending
from cohortmix.core.data.table import InputError
from cohortmix.core.data.words import listed
from cohortmix.protocol.fields import Exact, decimal_text
from cohortmix.protocol.local.keyfile import write_key
from cohortmix.protocol.local.outfile import Replace, require_free_file, write_file
from cohortmix.protocol.local.progress import step
from cohortmix.protocol.local.terminal import Terminal, say
from cohortmix.protocol.messages import ClassSumsRelease, Description, SignedRelease, StudySpec, decode, request_id
from cohortmix.protocol.signing import Key

ConfigFile = Annotated[Path, typer.Option("--config", "-c", help="The site's configuration.")]
StudyFile = Annotated[Path, typer.Argument(metavar="STUDY.json", help="A study, signed by its coordinator.")]

_EXACT: TypeAdapter[Decimal] = TypeAdapter(Exact)


def enrol(
    descriptions: Annotated[
        list[Path],
        typer.Argument(metavar="DESCRIPTION.json...", help="As other hospitals' `site check` wrote them."),
    ],
    config: ConfigFile = DEFAULT,
) -> None:
    """Note other hospitals' keys, for joint studies: first compare each with its hospital, say by telephone."""
    site = load_config(config)
    peers = [read_peer(path) for path in descriptions]
    if site.name in {peer.name for peer in peers}:
        raise InputError(f"{site.name} is this site itself; give the descriptions of other hospitals")
    known = {peer.name: peer.key for peer in Policy.load(site.policy_file).peers}
    Policy.update(site.policy_file, lambda policy: policy.enrol_peers(peers))
    for peer in peers:
        again = {None: "", peer.key: " (known already)"}.get(known.get(peer.name), " (in place of another key)")
        say(f"enrolled: {peer.name}, key {peer.key}{again}")
    say("compare each key with what that hospital's own steward reads out; a coordinator could have invented it")


def quote(
    study: StudyFile,
    config: ConfigFile = DEFAULT,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the quote to this file.")] = None,
    replace: Replace = False,
) -> None:
    """Show what a study would cost this site's patients; from public numbers, at no budget."""
    site, spec = load_config(config), read_study(study).study
    require_free_file(json_file, replace, (config, study, *site.files))
    answer = _quote(site, spec, *_standing(site, spec))
    if json_file is not None:
        write_file(json_file, json.dumps(answer.plain(), indent=2) + "\n", replace)
    show_quote(Terminal(soft_wrap=False), answer)
    unknown = Policy.load(site.policy_file).unknown_peers(spec, site.read_key().public_hex)
    if spec.joint is not None and unknown:
        most = spec.joint.conspirators
        say(f"not enrolled here, so each counts as one of the {most} that may conspire: {listed(unknown)}")
    try:
        require_answerable(site, spec, _today(site, spec))
    except Refused as refused:
        say(f"as it stands, this site would not answer the study: {refused}")


def approve(
    study: StudyFile,
    max_mu: Annotated[str, typer.Option(help="The most that the study may cost: at least the mu that it names.")],
    config: ConfigFile = DEFAULT,
) -> None:
    """Show a study's quote, then allow it, by its hash; nothing is computed or sent yet."""
    site, spec, limit = load_config(config), read_study(study).study, _mu("--max-mu", max_mu)
    facts, spending = _standing(site, spec)
    require_answerable(site, spec, _today(site, spec))
    require_within(spec, limit)
    require_affordable(site, spec, spending)
    show_quote(Terminal(soft_wrap=False), _quote(site, spec, facts, spending))
    with _ledger(site) as book:
        lifted = book.approve(spec.hash)
    Policy.update(site.policy_file, lambda policy: policy.approve(spec, limit, _today(site, spec)))
    say(f"approved: {spec.name} [{spec.hash[:12]}], up to mu {decimal_text(limit)}")
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
    revoked = _approved_study(site, study)
    try:
        with _ledger(site) as book:
            book.revoke(revoked)
    except LedgerError:
        say("the approval is withdrawn; that it was revoked could not be written into the ledger", err=True)
        raise
    finally:
        # Also where the ledger cannot be opened; and after the ledger, so that a revocation that was cut short can
        # be repeated.
        Policy.update(site.policy_file, lambda policy: policy.revoke(revoked))
    say(f"revoked: {revoked}")


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
            help="The clock was ahead and is correct again: sign for it, for good; earlier days no longer count.",
        ),
    ] = False,
    replace: Replace = False,
) -> None:
    """Show what was spent, on which study and request, and what is left."""
    site = load_config(config)
    made = () if new_key is None else (new_key,)
    require_free_file(csv_file, replace, (config, *site.files, *made))
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
        if csv_file is not None:
            write_file(csv_file, ledger_sheet(book, approvals, site.name), replace)
        show_ledger(Terminal(soft_wrap=False), book, approvals, site.name)
        show_decisions(Terminal(soft_wrap=False), approvals, book.revoked())
        if book.own_cap is not None and book.own_cap != site.cap_mu:
            say(
                f"the cap in force is the smaller of the ledger's own, {book.own_cap}, and that of site.yaml, "
                f"{site.cap_mu}; --raise-cap raises the first"
            )


def preview(study: StudyFile, config: ConfigFile = DEFAULT) -> None:
    """Make the release of round 1 and show it: its budget is spent, and the coordinator will get these bytes."""
    from cohortmix.client.site.opening import open_site  # brings in JAX

    site, signed = load_config(config), read_study(study)
    spec = signed.study
    _, spending = _standing(site, spec)
    require_answerable(site, spec, _today(site, spec))
    with _ledger(site) as book:
        require_approved(spec, Policy.load(site.policy_file), spec.hash in book.revoked())
        first = request_id(spec.hash, site.name, 1)
        exists = any(entry.committed and entry.request_id == first for entry in book.entries())
    if not exists:
        require_affordable(site, spec, spending)
    with open_site(site) as opened, step("making the release"):
        released, patients = decode(opened.preview(signed)), opened.description.patients
    assert isinstance(released, SignedRelease)
    assert isinstance(released.release, ClassSumsRelease)
    answer, receipt = released.release.answer.to_core(), released.receipt
    show_class_sums(Terminal(soft_wrap=False), site.read_schema(), answer, patients)
    cost = f"mu {sqrt(receipt.mu2):.3g} by request {receipt.request_id[:12]}; receipt {receipt.hash[:12]}"
    say(f"nothing new was spent: this release was made before, for {cost}" if exists else f"spent: {cost}")


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


def _standing(site: SiteConfig, spec: StudySpec) -> tuple[Description, Spending]:
    """The site's public facts, and its ledger as seen from the study; Refused unless the study fits the facts."""
    with _ledger(site) as book:  # first: a ledger under another key must be put right before anything else
        spending = Spending.of(book, spec.hash)
    facts = read_description(site, site.read_schema())
    require_fitting(spec, facts)
    return facts, spending


def _quote(site: SiteConfig, spec: StudySpec, facts: Description, spending: Spending) -> Quote:
    return quote_of(spec, site.read_schema(), site.name, facts.patients, spending)


def _approved_study(site: SiteConfig, study: str) -> str:
    """The hash of the one approved study that a person means, by its file or by how its hash begins."""
    is_file = Path(study).is_file()
    start = read_study(Path(study)).study.hash if is_file else study.lower()
    approved = {approval.study for approval in Policy.load(site.policy_file).approvals}
    matches = [hash for hash in approved if start and hash.startswith(start)]
    if not matches and is_file:
        raise InputError(f"the study [{start[:12]}] of {study!r} is not approved here: there is nothing to revoke")
    if len(matches) != 1:
        what = f"{len(matches)} approved studies begin" if matches else "no approved study begins"
        raise InputError(f"{what} with {study[:64]!r}; give the study's file, or more of its hash")
    return matches[0]


def _change_key(book: Ledger, site: SiteConfig, path: Path) -> None:
    new = Key.generate()
    write_key(path, new)
    book.change_key(site.read_key(), new.public_hex)
    say(f"public key {new.public_hex}")
    setting = f"set `key: {path.absolute()}` in site.yaml"
    say(f"next: stop the daemon, {setting}, run `cohortmix site check`, and start it again")


def _mu(option: str, text: str) -> Decimal:
    try:
        return _EXACT.validate_python(text)
    except ValidationError:
        raise InputError(f"expected {option} as a decimal such as 0.3, got {text!r}") from None
