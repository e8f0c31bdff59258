"""The files of a finished study.

    pooled.parquet       synthetic records: the schema's columns and `site`
    centroids.parquet    every centroid and support point, with its mass, soft label and noise
    study.json           the study, as the coordinator signed it and the stewards approved it
    receipts/            SITE-ROUND.json, signed by the sites
    summary.json         for machines
    report.html          for people
    manifest.json        SHA-256 of each of these, signed by the coordinator

Everything is computed before anything is written, and the folder appears as a whole or not at all.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from cohortmix.core.data.encoding import Encoding
from cohortmix.core.release.condensed import centroid_table
from cohortmix.core.release.lost import Lost
from cohortmix.core.release.lost_in_words import paragraph
from cohortmix.core.steps.anonymize import noise_a
from cohortmix.core.utility.interval import Difference
from cohortmix.protocol.local import folder
from cohortmix.protocol.messages import SiteEntry, encode
from cohortmix.protocol.receipts import Total, total
from cohortmix.protocol.signing import Key
from cohortmix.server.publish.constraints import became
from cohortmix.server.publish.costs import costs, warning
from cohortmix.server.publish.curve import of_records
from cohortmix.server.publish.manifest import MANIFEST, RECEIPTS, STUDY, SUMMARY, write_manifest
from cohortmix.server.publish.report import render
from cohortmix.server.result import ALL_SITES, StudyResult

FILES = frozenset({"pooled.parquet", "centroids.parquet", STUDY, RECEIPTS, SUMMARY, "report.html", MANIFEST})


@dataclass(frozen=True)
class Figures:
    """Figures on real records. They are not private, and only for records that are declared public.

    Attributes
    ----------
    measure : what they are: the "auc" of a class, the "r2" of a number, the "concordance" of a time to an event;
        more is better.
    own_score : by site, that of a model trained on the site's own real records.
    pooled_score : that of the same model trained on the pooled synthetic records.
    ceiling_score : that of the same model trained on the real records of all sites.
    gains : by site, how far `pooled_score` is above its own, with an interval; on the same held-out records.
    """

    measure: str | None = None
    own_score: Mapping[str, float | None] = field(default_factory=dict)
    pooled_score: float | None = None
    ceiling_score: float | None = None
    gains: Mapping[str, Difference | None] = field(default_factory=dict)


def summarise(
    result: StudyResult,
    rows: int,
    seconds: float | None = None,
    figures: Figures | None = None,
    published: date | None = None,
) -> dict[str, Any]:
    """The content of summary.json; a figure that was not measured is None.

    Budgets are what the published files cost (`costs.py`), not what the study allowed.

    Parameters
    ----------
    rows : how many synthetic records were drawn.
    published : the day on which these releases were first published; None if the files must be the same on any
        day.

    Raises
    ------
    ValueError
        If the study does not declare its records public, and there are figures on real records, or a running time,
        which grows with the number of rows.
    """
    spec = result.spec
    if not spec.public_data and (figures is not None or seconds is not None):
        raise ValueError("figures and times on real records are not private: expected them for public data only")
    figures = figures or Figures()
    follows = costs(spec, _spent(result))
    return follows | {
        "sites": [
            cost
            | {
                **_released(result, site.entry),
                "own_score": figures.own_score.get(site.entry.name),
                "gain": _plain(figures.gains.get(site.entry.name)),
            }
            for site, cost in zip(result.sites, follows["sites"], strict=True)
        ],
        "pooled": {
            "rows": rows,
            "centroids": sum(len(centroids.masses) for centroids in result.centroids.values()),
            "score": figures.pooled_score,
        },
        "lost": _lost(result),
        "measure": figures.measure,
        "ceiling_score": figures.ceiling_score,
        "seconds": seconds,
        "version": version("cohortmix"),
        "published": None if published is None else published.isoformat(),
    }


def publish(
    result: StudyResult,
    records: pd.DataFrame,
    summary: Mapping[str, Any],
    out: Path,
    key: Key,
    *,
    replace: bool = True,
) -> None:
    """Write the files of a study into the folder `out`; an earlier study in it is replaced.

    Parameters
    ----------
    summary : as `summarise` makes it.
    key : the coordinator's; it signs the manifest.
    replace : False where `out` must be new or empty, also by the time that all is written.

    Raises
    ------
    InputError
        If `out` holds anything else, or cannot be written. Nothing is changed then.
    """
    require_free(out, replace)
    centroids, page = (
        centroid_table(result.schema, result.common, result.centroids),
        _page(result, summary, records),
    )
    with folder.whole_folder(out, FILES if replace else ()) as new:
        _write_parquet(new / "pooled.parquet", records, result)
        _write_parquet(new / "centroids.parquet", centroids, result)
        (new / STUDY).write_bytes(encode(result.study))
        (new / RECEIPTS).mkdir()
        for signed in (signed for site in result.sites for signed in site.receipts):
            name = f"{signed.receipt.site}-{signed.receipt.round}.json"
            (new / RECEIPTS / name).write_bytes(encode(signed))
        (new / SUMMARY).write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
        (new / "report.html").write_text(page, encoding="utf-8")
        write_manifest(new, result.spec.hash, key)


def require_free(out: Path, replace: bool = True) -> None:
    """Raise InputError unless `out` is new, empty, or, with `replace`, holds an earlier study and nothing else."""
    folder.require_free(out, FILES if replace else ())


def _plain(difference: Difference | None) -> dict[str, float] | None:
    return None if difference is None else asdict(difference)


def _spent(result: StudyResult) -> dict[str, Total]:
    """What each site's published receipts cost."""
    return {site.entry.name: total(signed.receipt for signed in site.receipts) for site in result.sites}


def _released(result: StudyResult, entry: SiteEntry) -> dict[str, Any]:
    """What a site has released by itself; in a joint study, nothing but its part of what all have.

    What became of the constraints is then said of the inducing points of all, at each site.
    """
    joint = result.spec.joint is not None
    centroids = result.centroids[ALL_SITES if joint else entry.name]
    return {
        "centroids": 0 if joint else len(centroids.masses),
        "reduced": "mixture" not in centroids.kind,
        "mass": float(entry.patients if joint else centroids.masses.sum()),
        **became(result.spec, centroids),
    }


def _lost(result: StudyResult) -> dict[str, Any]:
    """What the pooled releases could not carry; in words without what the sites' `reduced` says."""
    receipts = [signed.receipt for site in result.sites for signed in site.receipts]
    asked = any(receipt.round > 1 and receipt.statements for receipt in receipts)
    lost = Lost.of(result.schema, result.common, result.centroids, pairs_asked=asked)
    return lost.facts | {"text": paragraph(lost, pairs=False)}


def _page(result: StudyResult, summary: Mapping[str, Any], records: pd.DataFrame) -> str:
    took_part = {site.entry.name for site in result.sites}
    return render(
        summary,
        float(sum(cost.kappa for cost in _spent(result).values())),
        result.schema,
        result.spec.coordinator_key,
        noise_std={name: _noise_of_a_count(result, name) for name in result.centroids},
        by_scores=bool(result.common.scores),
        curve=of_records(records, result.schema),
        absent=[entry.name for entry in result.spec.sites if entry.name not in took_part],
    )


def _noise_of_a_count(result: StudyResult, name: str) -> float:
    """Standard deviation, in patients: of a pair of values, or of one value where no pairs were counted."""
    centroids, spec = result.centroids[name], result.spec
    if not result.common.scores or "mixture" not in centroids.kind:
        return centroids.noise_std
    site = spec.site(name)
    if spec.joint is not None or site is None:
        return result.common.margins.s_a
    return noise_a(Encoding.of(result.schema), float(spec.plan(result.schema, site.patients).mu2_sums))


def _write_parquet(path: Path, frame: pd.DataFrame, result: StudyResult) -> None:
    """Write a table that says in its metadata (`cohortmix`) what it is: a file can be parted from its folder."""
    spec = result.spec
    facts = {"study": spec.hash, "mu": str(spec.mu), "delta": str(spec.delta), "noise": spec.noise}
    facts |= warning(spec)
    table = pa.Table.from_pandas(frame, preserve_index=False)
    metadata = {**(table.schema.metadata or {}), b"cohortmix": json.dumps(facts).encode()}
    pq.write_table(table.replace_schema_metadata(metadata), path)
