"""A manifest holds for one folder, one study and one coordinator."""

import os
from pathlib import Path

import pytest

from cohortmix.protocol.signing import Key
from cohortmix.server.publish.manifest import MANIFEST, ManifestError, check_manifest, write_manifest

KEY, STUDY = Key.from_bytes(bytes(range(32))), "a" * 64


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "study"
    (folder / "receipts").mkdir(parents=True)
    (folder / "pooled.parquet").write_bytes(b"records")
    (folder / "receipts" / "UK-1.json").write_text("{}")
    write_manifest(folder, STUDY, KEY)
    return folder


def check(folder: Path, study: str = STUDY, key: Key = KEY) -> tuple[str, ...]:
    return check_manifest(folder, study, key.public_hex)


def test_a_folder_as_it_was_signed_holds_and_signing_again_changes_nothing(folder: Path) -> None:
    assert check(folder) == ("pooled.parquet", "receipts/UK-1.json")
    first = (folder / MANIFEST).read_bytes()
    write_manifest(folder, STUDY, KEY)
    assert (folder / MANIFEST).read_bytes() == first


def test_it_is_of_one_study_and_one_coordinator(folder: Path) -> None:
    with pytest.raises(ManifestError, match="is of study aaaaaaaaaaaa"):
        check(folder, study="b" * 64)
    with pytest.raises(ManifestError, match="the signature is not by key"):
        check(folder, key=Key.generate())


def test_every_change_of_a_file_is_named(folder: Path) -> None:
    (folder / "receipts" / "UK-1.json").write_text("{ }")
    with pytest.raises(ManifestError, match=r"'receipts/UK-1\.json' was altered"):
        check(folder)
    (folder / "receipts" / "UK-1.json").unlink()
    with pytest.raises(ManifestError, match=r"'receipts/UK-1\.json' is missing"):
        check(folder)
    (folder / "receipts" / "UK-1.json").write_text("{}")
    (folder / "receipts" / "UK-2.json").write_text("{}")
    with pytest.raises(ManifestError, match=r"'receipts/UK-2\.json' was added"):
        check(folder)


def test_a_manifest_that_cannot_be_read_is_one_sentence(folder: Path) -> None:
    (folder / MANIFEST).unlink()
    with pytest.raises(ManifestError, match=r"cannot read the manifest .*: No such file"):
        check(folder)


@pytest.mark.parametrize(
    "target", ["../elsewhere", "../elsewhere/records", "receipts", "pooled.parquet", "nothing"]
)
def test_a_link_is_refused_wherever_it_leads(folder: Path, target: str) -> None:
    elsewhere = folder.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "records").write_bytes(b"others")
    check(folder)
    (folder / "receipts" / "corrected").symlink_to(folder / target)
    with pytest.raises(ManifestError, match="'receipts/corrected' is a link"):
        check(folder)
    with pytest.raises(ManifestError, match="'receipts/corrected' is a link"):
        write_manifest(folder, STUDY, KEY)


def test_a_link_does_not_stand_for_a_signed_file_or_the_manifest(folder: Path) -> None:
    for name in ("pooled.parquet", MANIFEST):
        aside = folder.parent / name
        (folder / name).rename(aside)
        (folder / name).symlink_to(aside)
        with pytest.raises(ManifestError, match=f"'{name}' is a link"):
            check(folder)
        (folder / name).unlink()
        aside.rename(folder / name)
        check(folder)


def test_a_pipe_is_refused_and_not_waited_for(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    with pytest.raises(ManifestError, match="'pipe' is a link or not a plain file"):
        check(folder)


def test_a_signature_over_anything_else_is_none_of_a_manifest(folder: Path) -> None:
    """The same content, signed as a receipt would be."""
    from cohortmix.protocol.canonical import canonical
    from cohortmix.server.publish.manifest import SignedManifest

    signed = SignedManifest.model_validate_json((folder / MANIFEST).read_bytes())
    other = KEY.sign(b"cohortmix/receipt/1\n" + canonical(signed.manifest.plain()))
    (folder / MANIFEST).write_bytes(canonical(signed.model_copy(update={"signature": other}).plain()))
    with pytest.raises(ManifestError, match="the signature is not by key"):
        check(folder)
