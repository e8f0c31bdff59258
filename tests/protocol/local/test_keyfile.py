"""A key in a file is its owner's alone, and is never replaced."""

import stat
from pathlib import Path

import pytest

from cohortmix.core.data.table import InputError
from cohortmix.protocol.local.keyfile import read_key, write_key
from cohortmix.protocol.signing import Key


def test_a_key_comes_back_and_nobody_else_can_read_it(tmp_path: Path) -> None:
    key, path = Key.generate(), tmp_path / "key"
    write_key(path, key)
    assert read_key(path).public_hex == key.public_hex
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_key_is_not_replaced(tmp_path: Path) -> None:
    first = Key.generate()
    write_key(tmp_path / "key", first)
    with pytest.raises(InputError, match="cannot write the key"):
        write_key(tmp_path / "key", Key.generate())
    assert read_key(tmp_path / "key").public_hex == first.public_hex


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    write_key(tmp_path / "key", Key.generate())
    (tmp_path / "key").chmod(mode)
    with pytest.raises(InputError, match="open to others; chmod 600"):
        read_key(tmp_path / "key")


def test_what_is_no_key_is_refused_without_its_content(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.touch(mode=0o600)
    path.write_bytes(b"31 bytes, and each of them counts"[:31])
    with pytest.raises(InputError, match="expected 32 bytes, got 31") as caught:
        read_key(path)
    assert "counts" not in str(caught.value)
    with pytest.raises(InputError, match="No such file"):
        read_key(tmp_path / "none")
