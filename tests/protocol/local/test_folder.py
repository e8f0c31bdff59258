"""A folder of results appears as a whole, takes the place of an earlier one, and of nothing else."""

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

from cohortmix.core.data.table import InputError
from cohortmix.protocol.local import folder as module
from cohortmix.protocol.local.folder import require_free, whole_folder

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


# --- at every moment

_STOPS_AT_A_LINE = """
import os, sys
from pathlib import Path
from cohortmix.protocol.storage import durable
from cohortmix.protocol.local import folder

out, text, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
ours = {durable.__file__, folder.__file__}

def each_line(frame, event, _):
    global count
    if event == "line":
        count -= 1
        if count == 0:
            os._exit(9)
    return each_line

sys.settrace(lambda frame, event, _: each_line if frame.f_code.co_filename in ours else None)
with folder.whole_folder(out, {"a", "b"}) as new:
    for name in "ab":
        (new / name).write_text(text)
"""


def test_killed_at_any_line_a_whole_folder_stands_there(tmp_path: Path) -> None:
    """Killed at each line in turn: there is the earlier result or the new one, never nothing and never a part."""
    out, line, seen, ended = tmp_path / "out", 0, set(), False
    write(out, "earlier")
    while not ended:
        line += 1
        command = [sys.executable, "-c", _STOPS_AT_A_LINE, str(out), f"new {line}", str(line)]
        ended = subprocess.run(command, check=False).returncode == 0
        found = content(out)
        assert set(found) == FILES
        assert len(set(found.values())) == 1
        seen.update(found.values())
    assert content(out) == dict.fromkeys(FILES, f"new {line}")
    assert line > 30, "lines of this code were counted"
    assert len(seen) > 3, "also where the new one had just taken its place"


def test_where_two_folders_cannot_be_exchanged_nothing_is_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    monkeypatch.setattr(module, "_EXCHANGE", 1 << 20)  # a flag that no file system supports
    write(out, "first")  # an empty folder is replaced without an exchange
    with pytest.raises(InputError, match=r"cannot be replaced in one step here .*; give a new folder"):
        write(out, "second")
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: object())
    with pytest.raises(InputError, match="the system has no call for it"):
        write(out, "second")
    assert content(out) == dict.fromkeys(FILES, "first")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
