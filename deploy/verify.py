"""Check published studies with public keys alone: signatures, arithmetic, hash chains, budget, and every file."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from cohortmix.core.data.table import InputError
from cohortmix.protocol import receipts
from cohortmix.protocol.local.textfile import read_bytes, shown
from cohortmix.protocol.messages import MessageError, Receipt, SignedReceipt, SignedStudy, decode
from cohortmix.protocol.receipts import ReceiptError, Total
from cohortmix.protocol.signing import SignatureError, verify_study
from cohortmix.protocol.study import StudySpec
from cohortmix.server.budget import Composition, consortium_mu
from cohortmix.server.publish.costs import costs
from cohortmix.server.publish.manifest import MANIFEST, check_manifest

STUDY, RECEIPTS, SUMMARY = "study.json", "receipts", "summary.json"
_OF_SITE = ("name", "n", "mu", "epsilon", "delta")
_ABOVE_ALL = 2**1000  # no budget is as large; beyond it, a whole number has no float
_ROUNDING = 1e-9  # relative; the arithmetic of another machine can differ in the last digits

_M = TypeVar("_M", SignedStudy, SignedReceipt)


@dataclass(frozen=True)
class Verified:
    """A study whose receipts hold.

    Attributes
    ----------
    spec : what the stewards approved, under the coordinator's signature.
    receipts : of each site, those that were given.
    spent : of each site, what they cost together.
    consortium : mu of one patient, for the declared overlap and the worst one.
    files : of the whole folder, each as the coordinator's manifest says; None without a manifest.
    """

    spec: StudySpec
    receipts: dict[str, tuple[Receipt, ...]]
    spent: dict[str, Total]
    consortium: Composition
    files: tuple[str, ...] | None


def verify(paths: Sequence[Path]) -> tuple[Verified, ...]:
    """Check the receipts of published studies: folders of `publish`, or single receipts of theirs.

    Receipts of one site from several studies are also checked against each other: two of them with one
    predecessor mean that the site's ledger was set back.

    Raises
    ------
    InputError
        If a file cannot be read, is no receipt, or has no study beside it.
    ReceiptError
        If a statement does not hold.
    ManifestError
        If a whole folder has a manifest, and is not what that says.
    """
    files: dict[Path, list[Path]] = defaultdict(list)
    for path in paths:
        for receipt in _receipt_files(path):
            files[_study_file(receipt)].append(receipt.absolute())
    studies = tuple(_verify_study(study, dict.fromkeys(of_study)) for study, of_study in files.items())
    _check_chains(studies)
    return studies


def _check_chains(studies: Collection[Verified]) -> None:
    """One history of each site: of its name whatever the key, since a ledger outlives the key that signs for it.

    First receipts are compared for each key alone: sites of two consortia may have one name.
    """
    chains: dict[tuple[str, ...], list[Receipt]] = defaultdict(list)
    for each in studies:
        for entry in each.spec.sites:
            given = each.receipts.get(entry.name, ())
            chains[entry.name, entry.key] += given
            chains[entry.name,] += [receipt for receipt in given if receipt.previous != receipts.GENESIS]
    for chain in chains.values():
        receipts.verify_chain(chain)


def _verify_study(path: Path, files: Collection[Path]) -> Verified:
    signed = _message(path, SignedStudy)
    try:
        verify_study(signed)
    except SignatureError as error:
        raise ReceiptError(f"{str(path)!r}: {error}") from None
    spec, given = signed.study, defaultdict[str, list[Receipt]](list)
    for file in files:
        one = _message(file, SignedReceipt)
        receipts.verify(one, spec)
        given[one.receipt.site].append(one.receipt)
    spent = {site: receipts.total(of_site) for site, of_site in given.items()}
    for site, cost in spent.items():
        if cost.mu2 > spec.mu2:
            raise ReceiptError(f"site {site!r} spent mu={cost.mu:.6g}, the study approved mu={spec.mu}")
    composed = consortium_mu([cost.mu for cost in spent.values()], spec.overlap)
    signed_files = None
    if set(files) >= set(_receipt_files(path.parent)):
        _check_summary(path.with_name(SUMMARY), spec, spent)
        if (path.parent / MANIFEST).exists():
            signed_files = check_manifest(path.parent, spec.hash, spec.coordinator_key)
    return Verified(spec, {site: tuple(of_site) for site, of_site in given.items()}, spent, composed, signed_files)


def _check_summary(path: Path, spec: StudySpec, spent: dict[str, Total]) -> None:
    """The summary of a whole folder says what its study and receipts say."""
    if not path.exists():
        raise InputError(
            f"there is no {str(path)!r}: without it, a receipt that was taken away would not be missed"
        )
    try:
        said = _claims(json.loads(read_bytes(path, "the summary")))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise InputError(f"{str(path)!r} is not the summary of a study") from None
    holds = _claims(costs(spec, spent))
    for claim in holds | said:
        if not _agree(said.get(claim), holds.get(claim)):
            raise ReceiptError(
                f"{shown(claim)}: the summary says {said.get(claim)!r:.300}, study and receipts say "
                f"{holds.get(claim)!r}"
            )


def _claims(summary: dict[str, Any]) -> dict[str, object]:
    """What a summary says of noise, study, sites and budget, by name."""
    sites = summary["sites"]
    claims = {
        "noise": summary["noise"],
        "warning": summary.get("warning"),
        "sites": sorted(site["name"] for site in sites),
    }
    parts = {part: summary[part] for part in ("study", "consortium")}
    parts |= {f"site {site['name']!r}": {key: site[key] for key in _OF_SITE} for site in sites}
    return claims | {f"{key} of {part}": value for part, facts in parts.items() for key, value in facts.items()}


def _agree(said: object, holds: object) -> bool:
    if isinstance(said, int | float) and isinstance(holds, float):
        return abs(said) < _ABOVE_ALL and math.isclose(said, holds, rel_tol=_ROUNDING)
    return said == holds


def _receipt_files(path: Path) -> list[Path]:
    if not path.exists():
        raise InputError(f"there is no file or folder {str(path)!r}")
    if path.is_file():
        return [path]
    files = sorted((path if path.name == RECEIPTS else path / RECEIPTS).glob("*.json"))
    if not files:
        raise InputError(f"the folder {str(path)!r} holds no {RECEIPTS}/*.json")
    return files


def _study_file(receipt: Path) -> Path:
    """The study beside a receipt's folder, or beside the receipt itself."""
    for folder in (receipt.absolute().parent.parent, receipt.absolute().parent):
        if (folder / STUDY).is_file():
            return folder / STUDY
    raise InputError(f"no {STUDY} beside {str(receipt)!r}: it names the public keys of the sites")


def _message(path: Path, kind: type[_M]) -> _M:
    try:
        message = decode(read_bytes(path, f"the {kind.__name__.removeprefix('Signed').lower()}"))
    except MessageError:
        message = None
    if not isinstance(message, kind):
        raise InputError(f"{str(path)!r} cannot be read as a {kind.__name__.removeprefix('Signed').lower()}")
    return message
