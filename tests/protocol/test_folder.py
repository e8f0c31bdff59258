"""A folder of results appears as a whole, takes the place of an earlier one, and of nothing else."""

from pathlib import Path

import pytest

from cohortmix.core.table import InputError
from cohortmix.protocol.folder import require_free, whole_folder

FILES = frozenset({"a", "b"})


def write(out: Path, text: str) -> None:
    with whole_folder(out, FILES) as folder:
        for name in FILES:
            (folder / name).write_text(text)


def stop_half_way(out: Path) -> None:
    with whole_folder(out, FILES) as folder:
        (folder / "a").write_text("second")
        raise RuntimeError


def content(out: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in out.iterdir()}


def test_a_new_folder_and_its_replacement_are_whole(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    for text in ("first", "second"):
        write(out, text)
        assert content(out) == dict.fromkeys(FILES, text)
        assert [path.name for path in out.parent.iterdir()] == ["out"], "no scratch folder is left"


def test_nothing_changes_when_the_writer_fails(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write(out, "first")
    with pytest.raises(RuntimeError):
        stop_half_way(out)
    assert content(out) == dict.fromkeys(FILES, "first")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_other_files_and_a_file_in_the_way_are_refused(tmp_path: Path) -> None:
    out = tmp_path / "out"
    require_free(out, FILES)
    write(out, "first")
    require_free(out, FILES)
    (out / "thesis").write_text("do not lose this")
    with pytest.raises(InputError, match="holds other files, such as 'thesis'"):
        write(out, "second")
    assert content(out)["thesis"] == "do not lose this"
    with pytest.raises(InputError, match="is a file; give a folder"):
        require_free(out / "thesis", FILES)


def test_what_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write"):
        write(tmp_path / "file" / "out", "first")
