"""The configuration of a site: what is accepted, and one sentence for what is not."""

from decimal import Decimal
from pathlib import Path

import pytest

from cohortmix.client.site.config import load_config
from cohortmix.core.data.table import InputError

KEY = "1" * 63 + "e"  # most readers of YAML would take digits for a number, and this text for a float
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


def test_paths_are_relative_to_the_files_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "site.yaml").write_text(GOOD + "state: ../elsewhere/state\n")
    monkeypatch.chdir(tmp_path)
    assert load_config().state == Path("../elsewhere/state")
    monkeypatch.chdir("/")
    assert load_config(tmp_path / "site.yaml").state == tmp_path.parent / "elsewhere" / "state"


@pytest.mark.parametrize(
    "data",
    [
        "{file: state/snapshot/t.parquet}",
        "{file: link/t.parquet}",
        "{parquet: state/snapshot, engine: ray}",
        "{parquet: link/more, engine: ray}",
    ],
)
def test_a_table_in_the_folder_of_the_snapshot_is_refused(data: str, tmp_path: Path) -> None:
    """It would be removed when the next snapshot is served; beside that folder it stays."""
    (tmp_path / "state" / "snapshot").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "state" / "snapshot")
    said = load(tmp_path, GOOD.replace("{file: patients.parquet}", data))
    assert "state/snapshot', which is the site's own; move it out of there" in said
    (tmp_path / "site.yaml").write_text(GOOD.replace("patients.parquet", "state/t.parquet"))
    assert load_config(tmp_path / "site.yaml").data.file == tmp_path / "state" / "t.parquet"


def test_a_table_of_a_cluster_is_a_folder_or_a_uri(tmp_path: Path) -> None:
    """Of a folder each machine has the same whole path; it is among the site's files, and a `file:` URI is."""
    for given, location, files in (
        ("tables", str(tmp_path / "tables"), [tmp_path / "tables"]),
        ("file:///srv/a%20b/tables", "file:///srv/a%20b/tables", [Path("/srv/a b/tables")]),
        ('"s3://bucket/a@b"', "s3://bucket/a@b", []),
        ('"s3://bucket/tables?region=eu-north-1"', "s3://bucket/tables?region=eu-north-1", []),
    ):
        text = GOOD.replace("{file: patients.parquet}", f"{{parquet: {given}, engine: ray}}")
        (tmp_path / "site.yaml").write_text(text)
        config = load_config(tmp_path / "site.yaml")
        assert (config.data.parquet, config.data.engine) == (location, "ray")
        assert [path for path in config.files if path.name == "tables"] == files


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("cap_mu: 0.1", "cap_mu: lots"), "cap_mu: expected a decimal"),
        (("cap_mu: 0.1", "cap_mu: -1"), "cap_mu: expected a decimal"),
        (("cap_mu: 0.1", "cap_mu: 0.0"), "cap_mu: expected a mu above 0, since under a cap of 0"),
        (("cap_mu: 0.1", ""), "cap_mu: this key is required"),
        (("cap_mu: 0.1", "cap_mu: 0.1\ncap_mu: 0.9"), "cap_mu: this key occurs twice"),
        (("cap_mu", "cap"), "cap: unknown key; did you mean cap_mu?"),
        (
            ("cap_mu", "colour: red\ncap_mu"),
            "colour: unknown key; there are name, data, schema, cap_mu, coordinators,",
        ),
        (
            ("schema: /etc/schema.yaml", "schema:"),
            "schema: it has no value, since YAML reads null, ~",
        ),
        (("name: NORWAY", "name: ../NORWAY"), "name: expected 1 to 64 letters and digits"),
        ((KEY, "abc"), "coordinators, entry 1: expected 64 hexadecimal digits in lower case"),
        ((f"[{KEY}]", KEY), "coordinators: expected a list"),
        (("{file: patients.parquet}", "{file: a, sql: b, table: c}"), "data: expected {file: PATH}, {sql: URL"),
        (("{file: patients.parquet}", "{sql: b}"), "the table is missing: add `table: NAME`"),
        (("{file: patients.parquet}", "{sql: b, table: }"), "the table is missing: add `table: NAME`"),
        (("{file: patients.parquet}", "{table: c}"), "a table is of a database: add `sql: URL`, or leave `table`"),
        (("{file: patients.parquet}", "{file: a, table: c}"), "a table is of a database: add `sql: URL`, or"),
        (("{file: patients.parquet}", "{}"), "data: expected {file: PATH}, {sql: URL"),
        (
            ("{file: patients.parquet}", "{file: a, query: b}"),
            "data.query: unknown key; there are file, sql, table, parquet and engine",
        ),
        (("{file: patients.parquet}", "{parquet: a}"), "`parquet` and `engine: ray` go together"),
        (("{file: patients.parquet}", "{file: a, engine: ray}"), "`parquet` and `engine: ray` go together"),
        (("{file: patients.parquet}", "{file: a, parquet: b, engine: ray}"), "engine: ray}, got several of them"),
        (("{file: patients.parquet}", "{parquet: a, engine: spark}"), "data.engine: "),
        *(
            (
                ("{file: patients.parquet}", f'{{parquet: "{uri}", engine: ray}}'),
                "data.parquet: expected a URI without a key or a password",
            )
            for uri in (
                "s3://KEY:WORD@bucket/a",
                "s3://KEY:WO/RD@bucket/a",
                "s3://bucket/a?endpoint_override=http://KEY:WORD@host",
                "s3://bucket/a?endpoint_override=http://KEY:WORD%40host",
                "abfs://a@b/c",
                "abfs://a/b?client_secret=WORD",
                "abfs://a/b?sv=2020&sig=WORD",
            )
        ),
        (("cap_mu", "interval_seconds: 0\ncap_mu"), "interval_seconds: expected 0.01 or more"),
        (("cap_mu", "interval_seconds: .nan\ncap_mu"), "interval_seconds: "),
        (("cap_mu", "max_message_bytes: 1\ncap_mu"), "max_message_bytes: expected 65536 or more"),
        (("name", "name: [\nname"), "not valid YAML"),
        ((GOOD, "- 1"), "expected the keys name, data, schema and cap_mu"),
        ((GOOD, ""), "expected the keys name, data, schema and cap_mu"),
    ],
)
def test_faults_name_their_key(change: tuple[str, str], expected: str, tmp_path: Path) -> None:
    said = load(tmp_path, GOOD.replace(*change))
    assert expected in said
    assert "should" not in said  # as pydantic words it


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read the site's configuration .*; name it with --config"):
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
