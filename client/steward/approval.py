"""What must hold before a steward can approve: a signed study of this site, by an enrolled coordinator, in budget.

The daemon checks all of it again for each request. Its sentences go to the coordinator; those here are for the
steward, and say what to do.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from fractions import Fraction
from importlib.metadata import version
from math import sqrt
from pathlib import Path

from pydantic import ValidationError

from cohortmix.client.ledger.policy import Peer, Policy, Refused
from cohortmix.client.ledger.reservation import check_limit
from cohortmix.client.site.config import SiteConfig
from cohortmix.client.steward.spending import Spending
from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import InputError
from cohortmix.core.data.words import in_quotes, listed, some
from cohortmix.core.privacy.budget import MIN_PATIENTS
from cohortmix.core.privacy.meter import BudgetExceeded
from cohortmix.protocol.fields import decimal_text, decimal_up
from cohortmix.protocol.local.textfile import read_bytes
from cohortmix.protocol.local.wording import count
from cohortmix.protocol.messages import (
    Code,
    Description,
    MessageError,
    SignedStudy,
    StudySpec,
    VersionError,
    decode,
)
from cohortmix.protocol.signing import SignatureError, verify_study


def read_study(path: Path) -> SignedStudy:
    """The study in a file; InputError unless it is signed, and unchanged since its coordinator signed it."""
    data = read_bytes(path, "the study")
    try:
        study = decode(data)
    except VersionError as error:
        raise InputError(f"cannot read the study {in_quotes(path)}: {error}") from None
    except MessageError:
        study = None
    if not isinstance(study, SignedStudy):
        what = "is the draft of a study, which is not signed" if _is_draft(data) else "is no signed study"
        raise InputError(f"{in_quotes(path)} {what}; ask the coordinator for signed.json")
    try:
        verify_study(study)
    except SignatureError as error:
        raise InputError(f"{in_quotes(path)} is not as its coordinator signed it: {error}") from None
    return study


def read_description(config: SiteConfig, schema: Schema) -> Description:
    """The public facts of this site; InputError unless `site check` wrote them for this schema."""
    cure = "run `cohortmix site check`"
    if not config.description_file.exists():
        raise InputError(f"the table has not been checked yet; {cure}")
    try:
        facts = decode(read_bytes(config.description_file, "the site's description"))
    except MessageError:
        facts = None
    if not isinstance(facts, Description):
        raise InputError(f"{in_quotes(config.description_file)} is damaged; {cure}")
    if facts.schema_hash != schema.hash:
        raise InputError(f"the schema has changed since the table was checked; {cure}")
    if facts.key != config.read_key().public_hex:
        raise InputError(f"the site's key has changed since the table was checked; {cure}")
    return facts


def read_peer(path: Path) -> Peer:
    """Another hospital, from its description; InputError if the file is none."""
    try:
        facts = decode(read_bytes(path, "the description"))
    except MessageError:
        facts = None
    if not isinstance(facts, Description):
        raise InputError(
            f"{in_quotes(path)} is not the description of a site; its `cohortmix site check` writes one"
        )
    return Peer(name=facts.site, key=facts.key)


def require_fitting(study: StudySpec, facts: Description) -> None:
    """Raise Refused unless the study names this site, with its key, its patients and its schema."""
    if study.schema_hash != facts.schema_hash:
        raise Refused(
            Code.UNKNOWN_COLUMN,
            f"The study's schema is {study.schema_hash[:12]}, this site serves {facts.schema_hash[:12]}; compare "
            "its schema.yaml with the coordinator's.",
        )
    entry = study.site(facts.site)
    if entry is None or entry.key != facts.key:
        raise Refused(
            Code.NOT_APPROVED,
            f"The study does not name {facts.site} with this site's key; give the coordinator description.json.",
        )
    if entry.patients != facts.patients:
        raise Refused(
            Code.NOT_APPROVED,
            f"The study counts {count(entry.patients, 'patient')} here, the checked table has {facts.patients}; "
            "give the coordinator the newest description.json.",
        )


def require_answerable(config: SiteConfig, study: StudySpec, today: date) -> None:
    """Raise Refused for a study that the daemon would not answer, whatever the steward says.

    Parameters
    ----------
    today : the latest day that the site's ledger has seen.
    """
    if study.coordinator_key not in config.coordinators:
        raise Refused(
            Code.NOT_APPROVED,
            f"The coordinator {study.coordinator_key} is not enrolled; once you have verified the key out "
            "of band, add it to `coordinators` in site.yaml and restart the daemon.",
        )
    if study.expired(today):
        raise Refused(
            Code.NOT_APPROVED,
            f"The study expired on {study.expires}; ask the coordinator for a new one. (The ledger has seen "
            f"{today}, and no clock that is set back undoes that. If the clock was wrong then and is correct "
            "again, sign for it: `cohortmix site ledger --clock-corrected`.)",
        )
    if study.version != (installed := version("cohortmix")):
        raise Refused(
            Code.UNKNOWN_VERSION,
            f"The study was made with cohortmix {study.version}, this site runs {installed}; install the same "
            "version, or ask the coordinator for a study of this one.",
        )
    if study.noise != "opendp":
        raise Refused(
            Code.NOT_APPROVED, "The study asks for test noise, which is not private; a site has real noise."
        )
    entry = study.site(config.name)
    if study.joint is None and entry is not None and entry.patients < MIN_PATIENTS:
        raise Refused(
            Code.TOO_FEW_PATIENTS,
            f"A site needs at least {MIN_PATIENTS} patients, or a study with `noise: joint`.",
        )
    if study.joint is not None and study.patients < MIN_PATIENTS:
        raise Refused(
            Code.TOO_FEW_PATIENTS, f"All sites of a joint study together need at least {MIN_PATIENTS} patients."
        )
    require_peers(config, study)


def require_peers(config: SiteConfig, study: StudySpec) -> None:
    """Raise Refused for a joint study of more than t hospitals whose keys the steward has not compared."""
    own = config.read_key().public_hex
    unknown = Policy.load(config.policy_file).unknown_peers(study, own)
    if study.joint is not None and len(unknown) > study.terms.conspirators:
        raise Refused(
            Code.NOT_APPROVED,
            f"Of this joint study {count(len(unknown), 'hospital')} are not enrolled here with the key that it "
            f"names, and {study.terms.conspirators} may be unknown: {some(unknown)}. Compare each key with its "
            "hospital, not with the coordinator, then run `cohortmix site enrol` on their description.json.",
        )


def require_within(study: StudySpec, max_mu: Decimal) -> None:
    """Raise Refused for a study that costs more than its steward allows it."""
    if max_mu < study.mu:
        raise Refused(
            Code.NOT_APPROVED,
            f"The study costs mu {study.mu}, and --max-mu allows {max_mu}; a smaller part of a study cannot be "
            f"approved: give --max-mu {study.mu}, or ask the coordinator for a study that costs less.",
        )


def require_affordable(config: SiteConfig, study: StudySpec, spending: Spending) -> None:
    """Raise BudgetExceeded, which names the cap that would have to be raised, for a study over it."""
    others, cost = spending.spent - spending.reserved, max(study.mu2, spending.reserved)
    try:
        check_limit("cap", others, cost, spending.cap)
    except BudgetExceeded as error:
        raise BudgetExceeded(f"{error}; {_larger_cap(config, spending, others + cost)}") from None


def require_approved(study: StudySpec, approvals: Policy, revoked: bool) -> None:
    """Raise Refused for a study that the steward has not approved, or has revoked since."""
    if revoked or study.hash not in {approval.study for approval in approvals.approvals}:
        why = "was revoked here" if revoked else "is not approved here"
        raise Refused(
            Code.NOT_APPROVED,
            f"The study {why}; see what it costs with `cohortmix site quote`, and allow it with `cohortmix site "
            f"approve STUDY.json --max-mu {study.mu}`.",
        )


def _larger_cap(config: SiteConfig, spending: Spending, needed: Fraction) -> str:
    """Which cap a study needs, and which of the two caps are below it; `needed` is a mu^2."""
    own_cap = spending.own_cap
    caps = [f"`cap_mu` in site.yaml ({config.cap_mu})"] if Fraction(config.cap_mu) ** 2 < needed else []
    if own_cap is not None and Fraction(own_cap) ** 2 < needed:
        caps.append(f"the ledger's own ({own_cap}), by `cohortmix site ledger --raise-cap`")
    return f"it needs a cap of {decimal_text(decimal_up(sqrt(needed), 4))}: to allow it, raise {listed(caps)}"


def _is_draft(data: bytes) -> bool:
    try:
        StudySpec.model_validate_json(data)
    except ValidationError:
        return False
    return True
