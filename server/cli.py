"""Commands of the coordinator: `study new`, `sign`, `status` and `publish`.

`cohortmix study run`, which hands a study to Flower, is in `deploy/submit.py`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from time import time
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from cohortmix.core.gdp import epsilon_of
from cohortmix.core.schema import Schema
from cohortmix.core.table import InputError
from cohortmix.protocol.folder import require_free
from cohortmix.protocol.keyfile import read_key, write_key
from cohortmix.protocol.messages import StudySpec
from cohortmix.protocol.signing import Key
from cohortmix.server import study as files
from cohortmix.server.budget import consortium_mu
from cohortmix.server.costs import warning
from cohortmix.server.draft import draft
from cohortmix.server.outcome import with_enough_sites
from cohortmix.server.status import IN_WORDS, SiteStatus, State, Status, spent
from cohortmix.server.store import NOT_ACCEPTED, Publication
from cohortmix.server.study import Study
from cohortmix.server.wording import count, duration

StudyFolder = Annotated[Path, typer.Argument(metavar="DIR", help="The folder that `study new` wrote.")]
KeyFile = Annotated[Path, typer.Option("--key", help="The file of the coordinator's private key.")]


def new(
    study: Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="What the study is.")],
    key: Annotated[Path, typer.Option(help="The file of the coordinator's private key; made if it is absent.")],
    out: Annotated[Path, typer.Option(help="Folder for the study; it appears as a whole or not at all.")],
) -> None:
    """Draft a study: what every site will compute, and what it will cost each patient."""
    require_free(out, {files.SPEC, files.SCHEMA})
    fresh = not key.exists()
    own = Key.generate() if fresh else read_key(key)
    spec, schema = draft(study, own.public_hex, datetime.now(UTC))
    if fresh:
        write_key(key, own)
    Study.draft(out, spec, schema)
    _print_draft(spec, schema)
    _say(f"coordinator's key, for the sites to enrol: {own.public_hex}")
    _say(f"written to {out}; next: cohortmix study sign {out} --key {key}")


def sign(folder: StudyFolder, key: KeyFile) -> None:
    """Sign a drafted study, for the stewards to approve."""
    signed = Study(folder).sign(read_key(key))
    _say(f"study {signed.study.name!r}, hash {signed.study.hash}")
    _say(f"send {folder / files.SIGNED} to the stewards; then: cohortmix study run {folder} --key {key}")


def status(folder: StudyFolder) -> None:
    """Say who has answered, who has refused and why, and until when the study waits."""
    print_status(Study(folder))


def publish(
    folder: StudyFolder,
    key: KeyFile,
    out: Annotated[Path, typer.Option(help="Folder for the files; it appears as a whole or not at all.")],
    rows: Annotated[
        int | None,
        typer.Option(min=1, help="Synthetic records to draw; N by default, and more cost no privacy."),
    ] = None,
) -> None:
    """Pool what has been released, draw synthetic records, and write both with a report and a signed manifest.

    Possible from min_sites answers on, and again when more have come; it costs no site anything.
    """
    from cohortmix.server.pool import draw  # these two bring in JAX
    from cohortmix.server.publish import publish as write
    from cohortmix.server.publish import require_free as require_free_for_study
    from cohortmix.server.publish import summarise

    study, own = Study(folder), read_key(key)
    require_free_for_study(out)
    if not study.begun:
        raise InputError("no site has been asked yet; `cohortmix study run` does that")
    with study.coordinator(own) as coordinator, with_enough_sites():
        result = coordinator.finish()
    records = draw(result, rows)
    write(result, records, summarise(result, len(records)), out, own)
    with study.store() as store:
        store.keep_publication(Publication(result.receipts, str(out.absolute())))
    for text in warning(result.spec).values():
        _say(text)
    _say(f"{count(len(records), 'synthetic record')} from {count(len(result.sites), 'site')}")
    _say(f"written to {out}; to check it: cohortmix verify {out}")


def print_status(study: Study) -> None:
    """The table of `study status`."""
    now, mu = Status.of(study), spent(study)
    _say(f"study {now.spec.name!r}: {_standing(now)}")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for at, name in enumerate(("site", "patients", "round 1", "round 2", "mu so far")):
        table.add_column(name, justify="right" if at else "left", overflow="fold")
    for site in now.sites:
        rounds = (_round(site, 1), _round(site, 2))
        table.add_row(site.entry.name, str(site.entry.patients), *rounds, f"{mu.get(site.entry.name, 0):.4g}")
    Console(soft_wrap=True, highlight=False, markup=False).print(table)
    for site in now.sites:
        if site.refusal is not None:
            _say(f"{site.entry.name}, round {site.refusal.round}: {in_words(site)}")
    answered, _ = now.count(1)
    _say(f"{count(answered, 'site')} answered round 1; publishing needs {now.spec.min_sites}")
    if mu:
        total = consortium_mu(mu.values(), now.spec.overlap)
        _say(f"one patient: mu {total.mu:.4g} so far (overlap: {now.spec.overlap}), {total.worst:.4g} at worst")
    if now.published:
        _say(f"last published to {now.published}")


def in_words(site: SiteStatus) -> str:
    """Why a site has not answered: what its code means, and its own sentence."""
    refusal = site.refusal
    if refusal is None:
        return "it has not answered"
    if refusal.code == NOT_ACCEPTED:
        return f"{IN_WORDS[refusal.code]} ({refusal.sentence})"
    return f"{IN_WORDS.get(refusal.code, refusal.code)}; it says (unsigned): {refusal.sentence}"


def _round(site: SiteStatus, round: int) -> str:
    if round > site.rounds:
        return "none"
    if round in site.answered:
        return "answered"
    return "refused" if site.refusal is not None and site.refusal.round == round else "-"


def _standing(now: Status) -> str:
    if now.state in (State.DRAFTED, State.SIGNED):
        return f"{now.state}; no site has been asked"
    if now.deadline is None:
        return f"{now.state}; {count(len(now.missing), 'site')} gave less than asked" if now.missing else now.state
    until = f"{datetime.fromtimestamp(now.deadline, UTC):%Y-%m-%d %H:%M} UTC"
    over = "waited" if now.deadline < time() else "waits"
    return f"{now.state}, {over} until {until}"


def _print_draft(spec: StudySpec, schema: Schema) -> None:
    sites, patients = len(spec.sites), sum(entry.patients for entry in spec.sites)
    mu, worst = consortium_mu([float(spec.mu)] * sites, spec.overlap)
    _say(f"study {spec.name!r}: {count(sites, 'site')}, {count(patients, 'patient')}, schema {schema.name!r}")
    epsilon = epsilon_of(float(spec.mu), float(spec.delta))
    _say(f"each site spends mu {spec.mu}, that is epsilon {epsilon:.4g} at delta {spec.delta}")
    _say(f"one patient: mu {mu:.4g} (overlap: {spec.overlap}), {worst:.4g} at worst")
    waits = duration(spec.round_deadline_seconds)
    _say(f"at least {count(spec.min_sites, 'site')}; each round waits {waits} at most")
    _say(f"sites answer until {spec.expires}")
    for text in warning(spec).values():
        _say(text)


def _say(text: str) -> None:
    Console(soft_wrap=True, highlight=False, markup=False).print(text)
