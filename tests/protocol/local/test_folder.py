"""A folder of results appears as a whole, takes the place of an earlier one, and of nothing else."""

import ctypes
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cohortmix.core.data.table import InputError
from cohortmix.protocol.local import folder as module
from cohortmix.protocol.local.folder import require_free, whole_folder

FILES = frozenset({"a", "b"})


def write(
    out: Path, text: str, files: frozenset[str] = FILES, meanwhile: Callable[[], object] = lambda: None
) -> None:
    with whole_folder(out, files) as folder:
        for name in FILES:
            (folder / name).write_text(text)
        meanwhile()


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

ours = {durable.__file__, folder.__file__}

def write(count):
    def each_line(frame, event, _):
        nonlocal count
        if event == "line":
            count -= 1
            if count == 0:
                os._exit(9)
        return each_line

    text = f"new {count}"
    sys.settrace(lambda frame, event, _: each_line if frame.f_code.co_filename in ours else None)
    with folder.whole_folder(Path(sys.argv[1]), {"a", "b"}) as new:
        for name in "ab":
            (new / name).write_text(text)
    os._exit(0)

for count in sys.stdin:
    child = os.fork() or write(int(count))
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
"""Writes once for each number that it reads, in a process of its own, which ends before so many lines have run."""


def test_killed_at_any_line_a_whole_folder_stands_there(tmp_path: Path) -> None:
    """Killed at each line in turn: there is the earlier result or the new one, never nothing and never a part."""
    out, line, status = tmp_path / "out", 0, "9\n"
    seen: set[str] = set()
    write(out, "earlier")
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    killed: Any
    with subprocess.Popen([sys.executable, "-c", _STOPS_AT_A_LINE, str(out)], **pipes) as killed:
        while status == "9\n":
            line += 1
            print(line, file=killed.stdin, flush=True)
            status = killed.stdout.readline()
            found = content(out)
            assert set(found) == FILES
            assert len(set(found.values())) == 1
            seen.update(found.values())
        killed.stdin.close()
    assert status == "0\n"
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


# --- what somebody else puts there meanwhile


@pytest.mark.parametrize("files", [frozenset(), FILES])
def test_what_another_run_has_written_meanwhile_stays(tmp_path: Path, files: frozenset[str]) -> None:
    """Two runs into one new folder: the second finds it taken, unless it may replace an earlier result."""
    out = tmp_path / "out"

    def others() -> None:
        out.mkdir()
        (out / ("stray" if files else "a")).write_text("published first")

    with pytest.raises(InputError, match="such as 'stray'" if files else "such as 'a'"):
        write(out, "second", files, others)
    assert list(content(out).values()) == ["published first"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_file_that_is_put_into_an_earlier_result_is_never_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the writer ends, or after its last look: right before the exchange, or while it removes the rest."""
    out, exchange, remove = tmp_path / "out", module._exchange, Path.unlink
    write(out, "first")
    with pytest.raises(InputError, match="holds other files, such as 'notes'"):
        write(out, "second", meanwhile=lambda: (out / "notes").write_text("hours of work"))
    assert content(out) == dict.fromkeys(FILES, "first") | {"notes": "hours of work"}
    (out / "notes").unlink()

    def late(one: Path, other: Path) -> None:
        (out / "notes").write_text("hours of work")
        exchange(one, other)

    with monkeypatch.context() as patched:
        patched.setattr(module, "_exchange", late)
        with pytest.raises(InputError, match="holds other files, such as 'notes'"):
            write(out, "second")
    assert content(out) == dict.fromkeys(FILES, "first") | {"notes": "hours of work"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    (out / "notes").unlink()

    def later(path: Path, missing_ok: bool = False) -> None:
        (path.parent / "notes").write_text("hours of work")
        remove(path, missing_ok=missing_ok)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", later)
        with pytest.raises(InputError, match=r"is written; what somebody has put .* stays in"):
            write(out, "second")
    assert content(out) == dict.fromkeys(FILES, "second")
    assert [path.read_text() for path in tmp_path.rglob("notes")] == ["hours of work"]


def test_a_folder_that_is_filled_after_the_last_look_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, rename = tmp_path / "out", Path.rename
    out.mkdir()

    def late(path: Path, target: Path) -> None:
        (out / "notes").write_text("hours of work")
        rename(path, target)

    monkeypatch.setattr(Path, "rename", late)
    with pytest.raises(InputError, match="cannot write"):
        write(out, "first")
    assert content(out) == {"notes": "hours of work"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_link_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    """To a folder, to an earlier result, to nothing; and one that takes the place of a folder meanwhile."""
    write(tmp_path / "earlier", "first")
    (tmp_path / "empty").mkdir()
    for name in ("earlier", "empty", "nowhere"):
        link = tmp_path / f"to {name}"
        link.symlink_to(tmp_path / name)
        for files in ((), FILES):
            with pytest.raises(InputError, match="is a link; give the folder that it leads to"):
                require_free(link, files)
        assert link.is_symlink()
    out = tmp_path / "out"
    with pytest.raises(InputError, match="is a link"):
        write(out, "second", meanwhile=lambda: out.symlink_to(tmp_path / "earlier"))
    assert content(tmp_path / "earlier") == dict.fromkeys(FILES, "first")


@pytest.mark.parametrize("mode", [0o700, 0o750, 0o2770])
def test_a_folder_stays_as_closed_as_it_was(tmp_path: Path, mode: int) -> None:
    """Whether it was empty or held an earlier result."""
    out = tmp_path / "out"
    out.mkdir()
    out.chmod(mode)
    for text in ("first", "second"):
        write(out, text)
        assert out.stat().st_mode & 0o7777 == mode


def test_a_folder_of_a_group_that_the_writer_is_not_in_opens_to_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: object) -> None:
        raise PermissionError

    out = tmp_path / "out"
    out.mkdir(mode=0o750)
    monkeypatch.setattr(os, "chown", denied)
    write(out, "first")
    assert out.stat().st_mode & 0o777 == 0o700
