"""Commands of the coordinator: `study new`, `sign`, `status` and `publish`.

`cohortmix study run`, which hands a study to Flower, is in `deploy/meeting/submit.py`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from time import time
from typing import Annotated

import typer

from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import InputError
from cohortmix.core.dimensions import kappa_of_study
from cohortmix.protocol.local.folder import require_free
from cohortmix.protocol.local.keyfile import read_key, write_key
from cohortmix.protocol.local.rows import Rows
from cohortmix.protocol.local.terminal import Terminal, compact_table, say
from cohortmix.protocol.local.wording import asked_of_points, count, duration, reduced
from cohortmix.protocol.messages import StudySpec
from cohortmix.protocol.receipts import Total
from cohortmix.protocol.signing import Key
from cohortmix.server import study as files
from cohortmix.server.budget import composed
from cohortmix.server.commands.draft import draft
from cohortmix.server.commands.outcome import with_enough_sites
from cohortmix.server.commands.reduced import notice
from cohortmix.server.commands.status import IN_WORDS, SiteStatus, State, Status, spent
from cohortmix.server.publish.costs import warning
from cohortmix.server.store import NOT_ACCEPTED, Publication
from cohortmix.server.study import Study

StudyFolder = Annotated[Path, typer.Argument(metavar="DIR", help="The folder that `study new` wrote.")]
KeyFile = Annotated[Path, typer.Option("--key", help="The file of the coordinator's private key.")]


def new(
    study: Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="What the study is.")],
    key: Annotated[Path, typer.Option(help="The file of the coordinator's private key; made if it is absent.")],
    out: Annotated[Path, typer.Option(help="Folder for the study; it appears as a whole or not at all.")],
) -> None:
    """Draft a study: what every site will compute, and what it will cost each patient."""
    require_free(out, {files.SPEC, files.SCHEMA})
    is_new = not key.exists()
    signer = Key.generate() if is_new else read_key(key)
    spec, schema = draft(study, signer.public_hex, datetime.now(UTC))
    if is_new:
        write_key(key, signer)
    Study.draft(out, spec, schema)
    _print_draft(spec, schema)
    say(f"coordinator's key, for the sites to enrol: {signer.public_hex}")
    say(f"written to {out}; next: cohortmix study sign {out} --key {key}")


def sign(folder: StudyFolder, key: KeyFile) -> None:
    """Sign a drafted study, for the stewards to approve."""
    signed = Study(folder).sign(read_key(key))
    say(f"study {signed.study.name!r}, hash {signed.study.hash}")
    say(f"send {folder / files.SIGNED} to the stewards; then: cohortmix study run {folder} --key {key}")


def status(folder: StudyFolder) -> None:
    """Say who has answered, who has refused and why, and until when the study waits."""
    print_status(Study(folder))


def publish(
    folder: StudyFolder,
    key: KeyFile,
    out: Annotated[Path, typer.Option(help="Folder for the files; it appears as a whole or not at all.")],
    rows: Rows = None,
) -> None:
    """Pool what has been released, draw synthetic records, and write both with a report and a signed manifest.

    Possible from min_sites answers on, and again when more have come; it costs the sites nothing.
    """
    from cohortmix.server.publish.constraints import in_one_sentence
    from cohortmix.server.publish.pool import draw  # these two bring in JAX
    from cohortmix.server.publish.publish import publish as write
    from cohortmix.server.publish.publish import require_free as require_free_for_study
    from cohortmix.server.publish.publish import summarise

    study, signer = Study(folder), read_key(key)
    require_free_for_study(out)
    if not study.begun:
        raise InputError("no site has been asked yet; `cohortmix study run` does that")
    with study.coordinator(signer) as coordinator, with_enough_sites():
        result = coordinator.finish()
    with study.store() as store:  # the same releases keep their day, however often they are published
        first = datetime.fromtimestamp(store.keep_moment(f"published {result.receipts}", time()), UTC).date()
    try:
        records = draw(result, rows)
    except MemoryError:
        raise InputError(
            "there is not enough memory for so many records; draw fewer with --rows (what the sites have "
            "released is kept, and nothing new is spent)"
        ) from None
    summary = summarise(result, len(records), published=first)
    write(result, records, summary, out, signer)
    with study.store() as store:
        store.keep_publication(Publication(result.receipts, str(out.absolute())))
    for text in warning(result.spec).values():
        say(text)
    say(f"{count(len(records), 'synthetic record')} from {count(len(result.sites), 'site')}")
    names = [site["name"] for site in summary["sites"] if site["reduced"]]
    if names:
        say(reduced(names, len(result.sites)))
    if summary["lost"]["text"]:
        say(f"what the pooled records could not carry: {summary['lost']['text']}")
    if kept := in_one_sentence(summary):
        say(kept)
    say(f"written to {out}; to check it: cohortmix verify {out}")


def print_status(study: Study) -> None:
    """The table of `study status`."""
    now, mu = Status.of(study), spent(study)
    say(f"study {now.spec.name!r}: {_standing(now)}")
    table = compact_table(("site", "patients", "round 1", "round 2", "mu so far"))
    for site in now.sites:
        rounds = (_round(site, 1), _round(site, 2))
        table.add_row(site.entry.name, str(site.entry.patients), *rounds, f"{mu.get(site.entry.name, 0):.4g}")
    Terminal().print(table)
    for site in now.sites:
        if site.refusal is not None:
            say(f"{site.entry.name}, round {site.refusal.round}: {in_words(site)}")
    answered, _ = now.count(1)
    say(f"{count(answered, 'site')} answered round 1; publishing needs {now.spec.min_sites}")
    _say_reduced(now.spec, study.schema)
    if mu:
        total = composed(now.spec, mu.values())
        say(f"one patient: mu {total.mu:.4g} so far (overlap: {now.spec.overlap}), {total.worst:.4g} at worst")
    if now.published:
        say(f"last published to {now.published}")


def _say_reduced(spec: StudySpec, schema: Schema) -> None:
    """Name the sites that will release less: before anything is spent, and wherever the study is shown again."""
    text = notice(spec, schema)
    if text is not None:
        say(text)


def in_words(site: SiteStatus) -> str:
    """Why a site has not answered: what its code means, and the sentence that came with it."""
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
    mu, worst = composed(spec, [float(spec.mu)] * sites)
    say(f"study {spec.name!r}: {count(sites, 'site')}, {count(patients, 'patient')}, schema {schema.name!r}")
    epsilon = Total(spec.mu2, Fraction(kappa_of_study(schema, spec.point_masses))).epsilon(spec.delta)
    say(f"each site spends mu {spec.mu}, that is epsilon {epsilon:.4g} at delta {spec.delta}")
    say(f"one patient: mu {mu:.4g} (overlap: {spec.overlap}), {worst:.4g} at worst")
    waits = duration(spec.round_deadline_seconds)
    if spec.joint is None:
        say(f"at least {count(spec.min_sites, 'site')}; each round waits {waits} at most")
    else:
        say(
            f"joint noise: only sums of at least {spec.min_sites} sites can be read, and up to "
            f"{count(spec.joint.conspirators, 'site')} may conspire; each of a round's five steps waits {waits} "
            "at most"
        )
    if spec.constraints:
        say(asked_of_points(spec.constraints))
    say(f"sites answer until {spec.expires}")
    _say_reduced(spec, schema)
    for text in warning(spec).values():
        say(text)
