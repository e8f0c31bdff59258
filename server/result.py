"""What a study knows in the end, as the coordinator hands it to pooling and publishing."""

from dataclasses import dataclass

from cohortmix.core.data.schema import Schema
from cohortmix.core.privacy.meter import Answer
from cohortmix.core.steps.centroids import Common, SiteCentroids
from cohortmix.protocol.canonical import sha256
from cohortmix.protocol.messages import SignedReceipt, SignedStudy, SiteEntry, StudySpec
from cohortmix.server.store import RefusalEntry


@dataclass(frozen=True, eq=False)
class SiteResult:
    """What one site has given.

    Attributes
    ----------
    entry : the site as the study names it, with its number of patients.
    sums : answer A of round 1.
    centroids : of round 2, or the class centroids that follow from `sums`.
    receipts : one per answered round, in order.
    """

    entry: SiteEntry
    sums: Answer
    centroids: SiteCentroids
    receipts: tuple[SignedReceipt, ...]


@dataclass(frozen=True, eq=False)
class StudyResult:
    """All that pooling and publishing need; everything in it is released.

    Attributes
    ----------
    study : what the stewards have approved, signed by the coordinator.
    schema : of its columns.
    common : the groups and margins of round 2.
    sites : those that have answered round 1, in the order of the study.
    refusals : replies without a release, in the order of arrival.
    """

    study: SignedStudy
    schema: Schema
    common: Common
    sites: tuple[SiteResult, ...]
    refusals: tuple[RefusalEntry, ...]

    @property
    def spec(self) -> StudySpec:
        """The study without its signature."""
        return self.study.study

    @property
    def receipts(self) -> str:
        """Hash over the hashes of its receipts, as `Store.receipts` has it."""
        return sha256(sorted(signed.receipt.hash for site in self.sites for signed in site.receipts))
