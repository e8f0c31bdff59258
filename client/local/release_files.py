"""The files of a release of one table, read again: they have to agree with each other before they count.

Nothing in such a folder is signed, so this finds damage and files that were mixed up, not a forger.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cohortmix.client.local.output import FILES
from cohortmix.client.table.data import SYNTHETIC
from cohortmix.client.table.file import readable
from cohortmix.core.data.table import InputError
from cohortmix.core.data.words import in_quotes
from cohortmix.protocol.local.textfile import read_bytes

SAME = ("mu", "epsilon", "delta", "loose_delta", "noise", "degraded_to_class_centroids")


def read_release(folder: Path) -> tuple[pa.Table, dict[str, Any]]:
    """Records and receipt of a release.

    Raises
    ------
    InputError
        If a file is missing or cannot be read, or two of them do not agree.
    """
    missing = sorted(name for name in FILES if not (folder / name).is_file())
    if missing:
        raise InputError(
            f"{in_quotes(folder)} has no {missing[0]!r}: expected a folder that synthesize or a study has written"
        )
    receipt, summary = (_facts(folder / name) for name in ("receipt.json", "summary.json"))
    tables = {}
    for name in ("centroids.parquet", "records.parquet"):
        with readable(folder / name):
            tables[name] = pq.read_table(folder / name)
        if _said(tables[name]) != receipt:
            raise InputError(f"{in_quotes(folder / name)} is not of the release that receipt.json is of")
    records = tables["records.parquet"]
    try:
        fault = _fault(receipt, summary, records.num_rows)
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        raise InputError(
            f"receipt.json and summary.json of {in_quotes(folder)} are not those of a release"
        ) from None
    if fault:
        raise InputError(f"{in_quotes(folder)} is damaged: {fault}")
    return records, receipt


def _facts(path: Path) -> dict[str, Any]:
    try:
        facts = json.loads(read_bytes(path, "the file"))
    except (ValueError, RecursionError):
        facts = None
    if not isinstance(facts, dict):
        raise InputError(f"{in_quotes(path)} cannot be read: expected what synthesize has written")
    return facts


def _said(table: pa.Table) -> object:
    """What a Parquet file says in its metadata of where it is from."""
    try:
        return json.loads((table.schema.metadata or {}).get(SYNTHETIC, b"null"))
    except (ValueError, RecursionError):
        return None


def _fault(receipt: Mapping[str, Any], summary: Mapping[str, Any], rows: int) -> str:
    """How the two do not agree, or empty."""
    statements = receipt["statements"]
    costs = [Fraction(one["sensitivity2"]) / Fraction(one["sigma"]) ** 2 for one in statements]
    if costs != [Fraction(one["mu2"]) for one in statements] or sum(costs) != Fraction(receipt["mu2"]):
        return "its receipt does not add up"
    unlike = [key for key in SAME if summary[key] != receipt[key]]
    if unlike:
        return f"receipt.json and summary.json differ in {unlike[0]!r}"
    if summary.get("warning") != receipt.get("warning"):
        return "receipt.json and summary.json differ in their warning"
    if summary["schema"]["hash"] != receipt["schema_hash"]:
        return "receipt.json and summary.json are of two schemas"
    if (receipt["noise"] == "TEST") != ("warning" in receipt):
        return "its test noise and its warning do not go together"
    return "" if summary["rows"] == rows else "records.parquet has another number of rows than summary.json says"
