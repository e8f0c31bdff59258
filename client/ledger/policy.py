"""What the steward of a site has approved. Nothing is allowed unless it is written here."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from datetime import date
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

from pydantic import ValidationError

from cohortmix.core.data.table import InputError
from cohortmix.core.data.words import in_quotes
from cohortmix.protocol.canonical import canonical
from cohortmix.protocol.fields import Exact, Hash, Name, PublicKey, Wire
from cohortmix.protocol.local.textfile import read_bytes
from cohortmix.protocol.messages import Code, Refusal, StudySpec
from cohortmix.protocol.storage.durable import locked, replace_file


class Refused(Exception):  # noqa: N818 (an answer, not a fault)
    """The site does not answer; carries what may be said about it outside."""

    def __init__(self, code: Code, sentence: str) -> None:
        super().__init__(sentence)
        self.refusal = Refusal(code=code, sentence=sentence)


class Approval(Wire):
    """A steward's approval of one study, by its hash, on a `day`: up to `max_mu` over all of its requests.

    `mu` is what the study itself costs; an approval of an earlier version does not say it.
    """

    study: Hash
    max_mu: Exact
    name: Name | None = None
    day: date | None = None
    mu: Exact | None = None


class Peer(Wire):
    """Another hospital whose key the steward has compared; without that a coordinator could invent hospitals."""

    name: Name
    key: PublicKey


class Policy(Wire):
    """Enrolled coordinators and other hospitals, and approved studies; an empty policy allows nothing.

    At a hospital the coordinators stand in the site's configuration and the approvals in a file, which is read
    again for each request: whatever is withdrawn is withdrawn at once.
    """

    coordinators: tuple[PublicKey, ...] = ()
    approvals: tuple[Approval, ...] = ()
    peers: tuple[Peer, ...] = ()

    @classmethod
    def load(cls, path: Path) -> Policy:
        """The policy in a file, an empty one if there is no file; InputError if it cannot be read."""
        if not os.path.lexists(path):
            return cls()
        try:
            return cls.model_validate_json(read_bytes(path, "the approvals"))
        except ValidationError:
            raise InputError(
                f"the approvals {in_quotes(path)} are damaged; remove the file and approve the studies again"
            ) from None

    @classmethod
    def update(cls, path: Path, change: Callable[[Policy], Policy]) -> None:
        """Read a policy, change it and write it back, durably; of two changes at the same time none is lost.

        Raises
        ------
        InputError
            If the file cannot be read or written.
        """
        try:
            with locked(path.parent):
                replace_file(path, canonical(change(cls.load(path)).plain()) + b"\n")
        except OSError as error:
            raise InputError(f"cannot write the approvals {in_quotes(path)}: {error.strerror}") from None

    def enrol(self, coordinators: Iterable[str]) -> Policy:
        """This policy for these coordinators and no others."""
        return self.model_copy(update={"coordinators": tuple(coordinators)})

    def enrol_peers(self, peers: Iterable[Peer]) -> Policy:
        """This policy with these other hospitals, too; one that is known by its name gets the new key."""
        known = {peer.name: peer for peer in (*self.peers, *peers)}
        return self.model_copy(update={"peers": tuple(known[name] for name in sorted(known))})

    def approve(self, study: StudySpec, max_mu: Decimal | None = None, day: date | None = None) -> Policy:
        """This policy with one more study, up to `max_mu`, by default the mu that it asks for."""
        limit = study.mu if max_mu is None else max_mu
        approval = Approval(study=study.hash, max_mu=limit, name=study.name, day=day, mu=study.mu)
        return self.model_copy(update={"approvals": (*self.revoke(study.hash).approvals, approval)})

    def revoke(self, study: str) -> Policy:
        """This policy without the study of this hash."""
        others = tuple(approval for approval in self.approvals if approval.study != study)
        return self.model_copy(update={"approvals": others})

    def approved_mu2(self, study: StudySpec) -> Fraction:
        """The most that the study's requests may cost together, as mu^2.

        Raises
        ------
        Refused
            NOT_APPROVED, for an unknown coordinator, an unknown study, or one that asks for more.
        """
        if study.coordinator_key not in self.coordinators:
            raise Refused(Code.NOT_APPROVED, "This site has not enrolled the study's coordinator.")
        limits = [approval.max_mu for approval in self.approvals if approval.study == study.hash]
        if not limits:
            raise Refused(Code.NOT_APPROVED, "The steward of this site has not approved this study.")
        if study.mu > max(limits):
            raise Refused(Code.NOT_APPROVED, "The study asks for a larger mu than its approval allows.")
        return study.mu2

    def unknown_peers(self, study: StudySpec, own_key: str) -> tuple[str, ...]:
        """The sites of a study whose name and key the steward has not enrolled; this site itself is known."""
        known = {(peer.name, peer.key) for peer in self.peers}
        return tuple(
            entry.name for entry in study.sites if entry.key != own_key and (entry.name, entry.key) not in known
        )

    def require_peers(self, study: StudySpec, own_key: str) -> None:
        """Raise Refused where more than t sites of a joint study are unknown: with invented ones, no t holds."""
        unknown = self.unknown_peers(study, own_key)
        if study.joint is not None and len(unknown) > study.terms.conspirators:
            sites, most = len(study.sites), study.terms.conspirators
            raise Refused(
                Code.NOT_APPROVED,
                f"This site has enrolled {sites - len(unknown)} of the study's {sites} sites, expected "
                f"{sites - most} at least.",
            )
