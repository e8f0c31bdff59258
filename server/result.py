"""How a study ends: with what its sites have released, for pooling and publishing, or with too few of them."""

from dataclasses import dataclass

from cohortmix.core.data.schema import Schema
from cohortmix.core.privacy.meter import Answer
from cohortmix.core.steps.centroids import Common, SiteCentroids
from cohortmix.protocol.canonical import sha256
from cohortmix.protocol.messages import SignedReceipt, SignedStudy, SiteEntry, StudySpec
from cohortmix.server.store import RefusalEntry


class TooFewSites(Exception):  # noqa: N818 (an outcome of a study, not a fault of this program)
    """Fewer than min_sites have answered round 1; `refusals` says why, as far as sites have said it."""

    def __init__(self, answered: int, spec: StudySpec, refusals: tuple[RefusalEntry, ...]) -> None:
        super().__init__(
            f"{answered} of {len(spec.sites)} sites answered round 1, min_sites={spec.min_sites}; run the study "
            "again: a site that has answered pays nothing to be asked again"
        )
        self.refusals = refusals


@dataclass(frozen=True, eq=False)
class SiteResult:
    """What one site has released.

    Attributes
    ----------
    entry : the site as the study names it, with its number of patients.
    sums : its class sums, the answer of round 1.
    centroids : those of round 2, or the class centroids that follow from `sums`.
    receipts : one for each round that it has answered, in order.
    """

    entry: SiteEntry
    sums: Answer
    centroids: SiteCentroids
    receipts: tuple[SignedReceipt, ...]


@dataclass(frozen=True, eq=False)
class StudyResult:
    """All that pooling and publishing need; everything in it has been released.

    Attributes
    ----------
    study : what the stewards have approved, signed by the coordinator.
    schema : the one that the study names.
    common : the common groups and margins of round 2.
    sites : those that have answered round 1, in the order of the study.
    refusals : replies that brought no release, in the order of arrival.
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
        """Hash over the hashes of its receipts, the same as `Store.receipts` gives."""
        return sha256(sorted(signed.receipt.hash for site in self.sites for signed in site.receipts))
