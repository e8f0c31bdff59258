"""A single file of figures never takes the place of something that is still needed."""

import os
from pathlib import Path

import pytest

from cohortmix.core.data.table import InputError
from cohortmix.protocol.local.outfile import require_free_file, write_file


def test_a_file_that_is_there_stays_unless_its_replacement_is_allowed(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    write_file(file, "first", replace=False)
    refused = r"exists; give a new file, or allow with --replace"
    with pytest.raises(InputError, match=refused):
        require_free_file(file, False, ())
    with pytest.raises(InputError, match=refused):
        write_file(file, "second", replace=False)
    assert file.read_text() == "first"
    require_free_file(file, True, ())
    write_file(file, "second", replace=True)
    assert file.read_text() == "second"
    assert list(tmp_path.iterdir()) == [file], "no scratch file is left"


def test_what_is_needed_is_never_written_by_whatever_name(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    key, state, link = tmp_path / "key", tmp_path / "state", tmp_path / "link"
    key.write_text("secret")
    link.symlink_to(key)
    detour = tmp_path / "state" / ".." / "key"
    for file in (key, link, detour, state / "new.json", state, Path(os.path.relpath(key))):
        with pytest.raises(InputError, match="which is needed as it is; give another file"):
            require_free_file(file, True, (key, state))
    require_free_file(tmp_path / "keys", False, (key, state))
    require_free_file(None, False, (key, state))


def test_a_link_is_replaced_itself_and_what_it_leads_to_stays(tmp_path: Path) -> None:
    other, link = tmp_path / "other", tmp_path / "link"
    other.write_text("kept")
    link.symlink_to(other)
    write_file(link, "figures", replace=True)
    assert (link.read_text(), other.read_text(), link.is_symlink()) == ("figures", "kept", False)


@pytest.mark.parametrize("name", ["no/such/folder.json", "file/x.json", "x" * 300, "pipe", "."])
def test_what_cannot_be_written_is_said_before_anything_is_done(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="cannot write"):
        require_free_file(tmp_path / name, True, ())
