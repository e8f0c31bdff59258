"""How a study ends: with what its sites have released, for pooling and publishing, or with too few of them."""

from collections.abc import Mapping
from dataclasses import dataclass

from cohortmix.core.data.sampling import PointMass
from cohortmix.core.data.schema import Schema
from cohortmix.core.steps.centroids import Common, SiteCentroids
from cohortmix.protocol.canonical import sha256
from cohortmix.protocol.messages import SignedReceipt, SignedStudy, SiteEntry, StudySpec
from cohortmix.server.store import RefusalEntry

ALL_SITES = "all sites"
"""Whose centroids those of a joint study are."""


class TooFewSites(Exception):  # noqa: N818 (an outcome of a study, not a fault of this program)
    """What too few sites have sent, or what cannot be read; `refusals` says why, as far as sites have said it."""

    def __init__(self, sentence: str, refusals: tuple[RefusalEntry, ...]) -> None:
        super().__init__(sentence)
        self.refusals = refusals


@dataclass(frozen=True, eq=False)
class SiteResult:
    """What one site has released.

    Attributes
    ----------
    entry : the site as the study names it, with its number of patients.
    receipts : one for each round that it has answered, in order.
    """

    entry: SiteEntry
    receipts: tuple[SignedReceipt, ...]


@dataclass(frozen=True, eq=False)
class StudyResult:
    """All that pooling and publishing need; everything in it has been released.

    Attributes
    ----------
    study : what the stewards have approved, signed by the coordinator.
    schema : the one that the study names.
    common : the common groups and margins of round 2.
    sites : those that have answered round 1, in the order of the study; of a joint study, those in the first sum.
    centroids : by site, those of round 2, or the class centroids that follow from its round 1; of a joint study
        one entry, ALL_SITES.
    refusals : replies that brought no release, in the order of arrival.
    points : values that many patients of all sites share, where round 2 has counted them.
    """

    study: SignedStudy
    schema: Schema
    common: Common
    sites: tuple[SiteResult, ...]
    centroids: Mapping[str, SiteCentroids]
    refusals: tuple[RefusalEntry, ...]
    points: tuple[PointMass, ...] = ()

    @property
    def spec(self) -> StudySpec:
        """The study without its signature."""
        return self.study.study

    @property
    def receipts(self) -> str:
        """Hash over the hashes of its receipts, the same as `Store.receipts` gives."""
        return sha256(sorted(signed.receipt.hash for site in self.sites for signed in site.receipts))
