"""What a site's ledger says about the budget of one study, and what the study would leave of it."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import floor

from cohortmix.client.ledger.ledger import Ledger
from cohortmix.client.ledger.reservation import total_mu2


@dataclass(frozen=True)
class Spending:
    """A site's ledger, seen from one study; sums of mu^2.

    Attributes
    ----------
    spent : reserved by all studies so far.
    reserved : the part of it that this study has reserved already.
    cap : the most that all studies together may cost.
    own_cap : the ledger's own cap, as mu; None while nothing is spent.
    """

    spent: Fraction
    reserved: Fraction
    cap: Fraction
    own_cap: Decimal | None = None

    @classmethod
    def of(cls, ledger: Ledger, study: str) -> Spending:
        """What a ledger says about the study of this hash."""
        reserved = total_mu2(entry.mu2 for entry in ledger.entries() if entry.study == study)
        return cls(ledger.spent_mu2, reserved, Fraction(ledger.cap_mu) ** 2, ledger.own_cap)

    def after(self, mu2: Fraction) -> Fraction:
        """What is spent at most once the study, which costs this mu^2, is done."""
        return self.spent - self.reserved + max(mu2, self.reserved)

    def more(self, mu2: Fraction) -> int:
        """How many further studies of this mu^2 > 0 the cap allows once this one is done."""
        return max(0, floor((self.cap - self.after(mu2)) / mu2))
