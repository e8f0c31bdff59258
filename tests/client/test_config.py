"""The configuration of a site: what is accepted, and one sentence for what is not."""

from decimal import Decimal
from pathlib import Path

import pytest

from cohortmix.client.config import load_config
from cohortmix.core.table import InputError

KEY = "1" * 63 + "e"  # digits only would be a number to most readers of YAML, and this one a float
GOOD = f"""
name: NORWAY
data: {{file: patients.parquet}}
schema: /etc/schema.yaml
cap_mu: 0.1
coordinators: [{KEY}]
"""


def load(folder: Path, text: str) -> str:
    (folder / "site.yaml").write_text(text)
    with pytest.raises(InputError) as caught:
        load_config(folder / "site.yaml")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_configuration(tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text(GOOD)
    config = load_config(tmp_path / "site.yaml")
    assert config.cap_mu == Decimal("0.1")  # exactly, not the float
    assert config.coordinators == (KEY,)
    assert config.data.file == tmp_path / "patients.parquet"
    assert config.schema_file == Path("/etc/schema.yaml")
    assert config.socket == tmp_path / "run" / "site.sock"
    assert config.ledger_file == tmp_path / "state" / "ledger.db"
    assert config.interval_seconds == 30
    assert not config.mark.is_relative_to(config.state)


def test_paths_are_seen_from_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "site.yaml").write_text(GOOD + "state: ../elsewhere/state\n")
    monkeypatch.chdir(tmp_path)
    assert load_config().state == Path("../elsewhere/state")
    monkeypatch.chdir("/")
    assert load_config(tmp_path / "site.yaml").state == tmp_path.parent / "elsewhere" / "state"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("cap_mu: 0.1", "cap_mu: lots"), "cap_mu: expected a decimal"),
        (("cap_mu: 0.1", "cap_mu: -1"), "cap_mu: expected a decimal"),
        (("cap_mu: 0.1", ""), "cap_mu: this key is required"),
        (("cap_mu: 0.1", "cap_mu: 0.1\ncap_mu: 0.9"), "cap_mu: this key occurs twice"),
        (("cap_mu", "cap"), "cap: unknown key"),
        (("name: NORWAY", "name: ../NORWAY"), "name: "),
        ((KEY, "abc"), "coordinators.0: expected a public key of 64 hexadecimal digits"),
        (("{file: patients.parquet}", "{file: a, sql: b, table: c}"), "data: expected {file: PATH}, or {sql: URL"),
        (("{file: patients.parquet}", "{sql: b}"), "data: expected {file: PATH}, or {sql: URL"),
        (("{file: patients.parquet}", "{}"), "data: expected {file: PATH}, or {sql: URL"),
        (("{file: patients.parquet}", "{file: a, query: b}"), "data.query: unknown key"),
        (("cap_mu", "interval_seconds: 0\ncap_mu"), "interval_seconds: "),
        (("cap_mu", "interval_seconds: .nan\ncap_mu"), "interval_seconds: "),
        (("cap_mu", "max_message_bytes: 1\ncap_mu"), "max_message_bytes: "),
        (("name", "name: [\nname"), "not valid YAML"),
        ((GOOD, "- 1"), "expected the keys name, data, schema and cap_mu"),
        ((GOOD, ""), "expected the keys name, data, schema and cap_mu"),
    ],
)
def test_faults_name_their_key(change: tuple[str, str], expected: str, tmp_path: Path) -> None:
    assert expected in load(tmp_path, GOOD.replace(*change))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read the site's configuration"):
        load_config(tmp_path / "site.yaml")


def test_the_key_is_its_owners(tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text(GOOD)
    config = load_config(tmp_path / "site.yaml")
    config.key.write_bytes(bytes(32))
    config.key.chmod(0o640)
    with pytest.raises(InputError, match="chmod 600"):
        config.read_key()
    config.key.chmod(0o600)
    assert len(config.read_key().public_hex) == 64
