"""Pooling: the union of the sites' centroids, each with its mass in patients.

Every site counts with its patients, whatever its noise.
"""

from collections.abc import Mapping

from cohortmix.core.centroids import SiteCentroids
from cohortmix.core.condensed import PooledSupport
from cohortmix.core.records import Pool
from cohortmix.server.result import StudyResult


def pool(result: StudyResult) -> Pool:
    """The pooled mixture, from which records are drawn; a record's site follows from its centroid."""
    return Pool.of(result.schema, result.common, _by_name(result))


def support(result: StudyResult) -> PooledSupport:
    """The inducing points of all sites, predicting together with weights N_s / n."""
    return PooledSupport.of(result.schema, result.common, _by_name(result))


def _by_name(result: StudyResult) -> Mapping[str, SiteCentroids]:
    return {site.entry.name: site.centroids for site in result.sites}
