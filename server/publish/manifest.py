"""The manifest of a published folder: what is in it, file by file, under the coordinator's signature.

Receipts say what a study cost; only the manifest says that the synthetic records beside them are those that the
coordinator published.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from cohortmix.core.data.table import InputError
from cohortmix.protocol.canonical import canonical
from cohortmix.protocol.fields import Hash, Signature, Wire
from cohortmix.protocol.local.textfile import read_bytes
from cohortmix.protocol.signing import Key, SignatureError, signed_bytes, verify

STUDY, RECEIPTS, SUMMARY, MANIFEST = "study.json", "receipts", "summary.json", "manifest.json"
"""What a published folder is checked by: the names of three files and of the folder of receipts."""


class ManifestError(ValueError):
    """A folder is not as its coordinator published it; the text says how they differ."""


class Manifest(Wire):
    """SHA-256 of every file in a study's folder, by its path in the folder."""

    study: Hash
    files: dict[str, Hash]


class SignedManifest(Wire):
    """A manifest under its coordinator's signature."""

    protocol: Literal[1] = 1
    type: Literal["manifest"] = "manifest"
    manifest: Manifest
    signature: Signature


def write_manifest(folder: Path, study_hash: str, key: Key) -> None:
    """Sign what is in a folder, and put the manifest there; ManifestError if there is a link or a device."""
    manifest = Manifest(study=study_hash, files=_files(folder))
    signed = SignedManifest(manifest=manifest, signature=key.sign(signed_bytes("manifest", manifest)))
    (folder / MANIFEST).write_bytes(canonical(signed.plain()))


def check_manifest(folder: Path, study_hash: str, coordinator_key: str) -> tuple[str, ...]:
    """The files of a folder, all of which are as the study's coordinator signed them.

    Raises
    ------
    ManifestError
        If the manifest is not signed by the coordinator or is of another study; if a file was altered, added or
        removed; or if there is a link, behind which the content could change later.
    """
    try:
        signed = SignedManifest.model_validate_json(read_bytes(folder / MANIFEST, "the manifest"))
        verify(coordinator_key, signed_bytes("manifest", signed.manifest), signed.signature)
        listed, present = signed.manifest.files, _files(folder)
    except ValidationError:
        raise ManifestError(f"{str(folder / MANIFEST)!r} cannot be read as a manifest") from None
    except SignatureError as error:
        raise ManifestError(f"{str(folder / MANIFEST)!r}: {error}") from None
    except InputError as error:
        raise ManifestError(str(error)) from None
    except OSError as error:
        raise ManifestError(f"{error.filename!r} cannot be read: {error.strerror}") from None
    if signed.manifest.study != study_hash:
        raise ManifestError(f"the manifest is of study {signed.manifest.study[:12]}..., not {study_hash[:12]}...")
    for name in sorted(listed.keys() | present.keys()):
        if listed.get(name) != present.get(name):
            became = "was added" if name not in listed else "is missing" if name not in present else "was altered"
            raise ManifestError(f"{name!r} {became} after the coordinator signed the manifest")
    return tuple(sorted(listed))


def _files(folder: Path) -> dict[str, str]:
    """Hash of every file in the folder but the manifest; ManifestError for what is neither file nor folder."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_symlink() or not path.is_dir()]
    for path in files:
        if path.is_symlink() or not path.is_file():
            name = path.relative_to(folder).as_posix()
            raise ManifestError(
                f"{name!r} is a link or not a plain file: expected files and folders, and nothing else"
            )
    return {path.relative_to(folder).as_posix(): _hash(path) for path in files if path != folder / MANIFEST}


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
