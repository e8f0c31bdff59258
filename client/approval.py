"""What must hold before a steward's yes: a signed study of this very site, by an enrolled coordinator, in budget.

The daemon looks at all of it again for each request; here the sentences are for the steward.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from cohortmix.client.config import SiteConfig
from cohortmix.client.policy import Refused
from cohortmix.client.quote import Spending
from cohortmix.client.reservation import check_limit
from cohortmix.core.budget import MIN_PATIENTS
from cohortmix.core.schema import Schema
from cohortmix.core.table import InputError
from cohortmix.protocol.messages import Code, Description, Message, MessageError, SignedStudy, StudySpec, decode
from cohortmix.protocol.signing import SignatureError, verify_study


def read_study(path: Path) -> SignedStudy:
    """The study in a file; InputError unless its coordinator has signed it as it is."""
    study = _read(path, "the study")
    if not isinstance(study, SignedStudy):
        raise InputError(f"{str(path)!r} is no signed study; ask the coordinator for the one that is signed")
    try:
        verify_study(study)
    except SignatureError as error:
        raise InputError(f"{str(path)!r} is not as its coordinator signed it: {error}") from None
    return study


def read_description(config: SiteConfig, schema: Schema) -> Description:
    """The public facts of this site; InputError unless `site check` wrote them for this schema."""
    again = "run `cohortmix site check`"
    if not config.description_file.exists():
        raise InputError(f"the table has not been checked yet; {again}")
    facts = _read(config.description_file, "the site's description")
    if not isinstance(facts, Description):
        raise InputError(f"{str(config.description_file)!r} is damaged; {again}")
    if facts.schema_hash != schema.hash:
        raise InputError(f"the schema has changed since the table was checked; {again}")
    if facts.key != config.read_key().public_hex:
        raise InputError(f"the site's key has changed since the table was checked; {again}")
    return facts


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
            f"The study counts {entry.patients} patients here, the checked table has {facts.patients}; give the "
            "coordinator the newest description.json.",
        )


def require_approvable(config: SiteConfig, study: StudySpec, max_mu: Decimal, spending: Spending) -> None:
    """Raise Refused for a study that the daemon would not answer, BudgetExceeded for one over the cap."""
    if study.coordinator_key not in config.coordinators:
        raise Refused(
            Code.NOT_APPROVED,
            f"The coordinator {study.coordinator_key} is not enrolled; once you know by another way that the key "
            "is theirs, add it to `coordinators` in site.yaml.",
        )
    if max_mu < study.mu:
        raise Refused(Code.NOT_APPROVED, f"The study asks for mu {study.mu}, --max-mu allows {max_mu}.")
    if study.expired(datetime.now(UTC).date()):
        raise Refused(
            Code.NOT_APPROVED, f"The study expired on {study.expires}; ask the coordinator for a new one."
        )
    if study.noise != "opendp":
        raise Refused(
            Code.NOT_APPROVED, "The study asks for test noise, which is not private; a site has real noise."
        )
    entry = study.site(config.name)
    if entry is not None and entry.patients < MIN_PATIENTS:
        raise Refused(Code.TOO_FEW_PATIENTS, f"A site needs at least {MIN_PATIENTS} patients.")
    check_limit("cap", spending.spent - spending.own, max(study.mu2, spending.own), spending.cap)


def _read(path: Path, what: str) -> Message:
    try:
        return decode(path.read_bytes())
    except OSError as error:
        raise InputError(f"cannot read {what} {str(path)!r}: {error.strerror}") from None
    except MessageError as error:
        raise InputError(f"cannot read {what} {str(path)!r}: {error}") from None
