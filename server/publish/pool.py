"""Pooling: the union of the sites' centroids, each with its mass in patients."""

from dataclasses import replace

import pandas as pd

from cohortmix.core.release import records
from cohortmix.core.release.condensed import PooledSupport
from cohortmix.core.release.pool import Pool
from cohortmix.protocol.canonical import sha256
from cohortmix.server.result import StudyResult


def pool(result: StudyResult) -> Pool:
    """The pooled mixture, from which records are drawn: each from one centroid, whose site it names."""
    return replace(Pool.of(result.schema, result.common, result.centroids), points=result.points)


def draw(result: StudyResult, rows: int | None = None) -> pd.DataFrame:
    """Synthetic records with the schema's columns and `site`; by default as many as there are patients.

    The seed follows from the receipts, which are public: on one machine, the same releases give the same records.
    """
    patients = sum(site.entry.patients for site in result.sites)
    hashes = [signed.receipt.hash for site in result.sites for signed in site.receipts]
    seed = int(sha256(hashes)[:16], 16)
    drawn = records.draw(pool(result), result.schema, patients if rows is None else rows, seed)
    if result.spec.joint is None:
        return drawn
    return records.dealt_out(drawn, {site.entry.name: site.entry.patients for site in result.sites}, seed)


def support(result: StudyResult) -> PooledSupport:
    """The inducing points of all sites, which predict together: site s has the weight N_s / n."""
    return PooledSupport.of(result.schema, result.common, result.centroids)
