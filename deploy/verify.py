"""Check published studies with public keys alone: signatures, arithmetic, hash chains, budgets, every file."""

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
from cohortmix.server.budget import Composition, composed
from cohortmix.server.publish import constraints
from cohortmix.server.publish.costs import costs
from cohortmix.server.publish.manifest import MANIFEST, RECEIPTS, STUDY, SUMMARY, check_manifest

_OF_SITE = ("name", "n", "mu", "epsilon", "delta")
_ABOVE_ALL = 2**1000  # larger than any budget; whole numbers not much larger have no float
_ROUNDING = 1e-9  # relative: the arithmetic of another machine can differ in the last digits

_M = TypeVar("_M", SignedStudy, SignedReceipt)


@dataclass(frozen=True)
class Verified:
    """A study whose receipts hold.

    Attributes
    ----------
    spec : what the stewards approved, under the coordinator's signature.
    receipts : by site, the receipts that were given.
    spent : by site, what its receipts cost together.
    consortium : mu of one patient, for the declared overlap and for the worst one.
    files : the files of the whole folder, which are as the coordinator's manifest says; None without a manifest.
    """

    spec: StudySpec
    receipts: dict[str, tuple[Receipt, ...]]
    spent: dict[str, Total]
    consortium: Composition
    files: tuple[str, ...] | None


def verify(paths: Sequence[Path]) -> tuple[Verified, ...]:
    """Check the receipts of published studies, given as published folders or as single receipts of them.

    Receipts of one site from several studies are also checked against each other: two of them that name the same
    predecessor mean that the site's ledger was set back.

    Raises
    ------
    InputError
        If a file cannot be read, is not a receipt, or has no study beside it.
    ReceiptError
        If a receipt, a signature or the summary does not hold.
    ManifestError
        If a whole folder has a manifest and is not what that says.
    """
    files: dict[Path, list[Path]] = defaultdict(list)
    for path in paths:
        for receipt in _receipt_files(path):
            files[_study_file(receipt)].append(receipt.absolute())
    studies = tuple(_verify_study(study, dict.fromkeys(its_files)) for study, its_files in files.items())
    _check_chains(studies)
    return studies


def _check_chains(studies: Collection[Verified]) -> None:
    """Raise ReceiptError if the receipts of a site show two histories of its ledger.

    A site is known by its name, whatever its key, since a ledger outlives the key that signs for it. But first
    receipts are compared only among those of one key: sites of two consortia may have the same name.
    """
    chains: dict[tuple[str, ...], list[Receipt]] = defaultdict(list)
    for study in studies:
        for entry in study.spec.sites:
            issued = study.receipts.get(entry.name, ())
            chains[entry.name, entry.key] += issued
            chains[entry.name,] += [receipt for receipt in issued if receipt.previous != receipts.GENESIS]
    for chain in chains.values():
        receipts.verify_chain(chain)


def _verify_study(path: Path, files: Collection[Path]) -> Verified:
    signed = _message(path, SignedStudy)
    try:
        verify_study(signed)
    except SignatureError as error:
        raise ReceiptError(f"{str(path)!r}: {error}") from None
    spec, by_site = signed.study, defaultdict[str, list[Receipt]](list)
    for file in files:
        one = _message(file, SignedReceipt)
        receipts.verify(one, spec)
        by_site[one.receipt.site].append(one.receipt)
    spent = {site: receipts.total(issued) for site, issued in by_site.items()}
    for site, cost in spent.items():
        if cost.mu2 > spec.mu2:
            raise ReceiptError(f"site {site!r} spent mu={cost.mu:.6g}, the study approved mu={spec.mu}")
    total = composed(spec, [cost.mu for cost in spent.values()])
    signed_files = None
    if set(files) >= set(_receipt_files(path.parent)):
        second = {site for site, issued in by_site.items() if any(one.round == 2 for one in issued)}
        _check_summary(path.with_name(SUMMARY), spec, spent, second)
        if (path.parent / MANIFEST).exists():
            signed_files = check_manifest(path.parent, spec.hash, spec.coordinator_key)
    return Verified(spec, {site: tuple(issued) for site, issued in by_site.items()}, spent, total, signed_files)


def _check_summary(path: Path, spec: StudySpec, spent: dict[str, Total], second: set[str]) -> None:
    """Raise ReceiptError unless the summary of a whole folder says what its study and receipts say.

    Parameters
    ----------
    second : the sites with a receipt of round 2.
    """
    if not path.exists():
        raise InputError(
            f"there is no {str(path)!r}: without it, a receipt that was taken away would not be missed"
        )
    try:
        summary = json.loads(read_bytes(path, "the summary"))
        claimed, fault = _claims(summary), constraints.fault(summary, spec, second)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise InputError(f"{str(path)!r} is not the summary of a study") from None
    true = _claims(costs(spec, spent))
    for name in true | claimed:
        if not _agree(claimed.get(name), true.get(name)):
            raise ReceiptError(
                f"{shown(name)}: the summary says {claimed.get(name)!r:.300}, study and receipts say "
                f"{true.get(name)!r}"
            )
    if fault is not None:
        raise ReceiptError(fault)


def _claims(summary: dict[str, Any]) -> dict[str, object]:
    """By name, what a summary says of noise, study, sites and budget."""
    sites = summary["sites"]
    claims = {
        "noise": summary["noise"],
        "warning": summary.get("warning"),
        "sites": sorted(site["name"] for site in sites),
    }
    parts = {part: summary[part] for part in ("study", "consortium")}
    parts |= {f"site {site['name']!r}": {key: site[key] for key in _OF_SITE} for site in sites}
    return claims | {f"{key} of {part}": value for part, facts in parts.items() for key, value in facts.items()}


def _agree(claimed: object, true: object) -> bool:
    if isinstance(claimed, int | float) and isinstance(true, float):
        return abs(claimed) < _ABOVE_ALL and math.isclose(claimed, true, rel_tol=_ROUNDING)
    return claimed == true


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
