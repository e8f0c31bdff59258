"""What the steward of a site has approved. Nothing is allowed unless it is written here."""

from __future__ import annotations

from fractions import Fraction

from cohortmix.protocol.fields import Exact, Hash, PublicKey, Wire
from cohortmix.protocol.messages import Code, Refusal, StudySpec


class Refused(Exception):  # noqa: N818 (an answer, not a fault)
    """The site does not answer; carries what may be said about it outside."""

    def __init__(self, code: Code, sentence: str) -> None:
        super().__init__(sentence)
        self.refusal = Refusal(code=code, sentence=sentence)


class Approval(Wire):
    """A steward's yes to one study, identified by its hash, up to `max_mu` over all of its requests."""

    study: Hash
    max_mu: Exact


class Policy(Wire):
    """Enrolled coordinators and approved studies; an empty policy allows nothing."""

    coordinators: tuple[PublicKey, ...] = ()
    approvals: tuple[Approval, ...] = ()

    def approve(self, study: StudySpec) -> Policy:
        """This policy with one more study, at the mu that it asks for."""
        approval = Approval(study=study.hash, max_mu=study.mu)
        return self.model_copy(update={"approvals": (*self.approvals, approval)})

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
