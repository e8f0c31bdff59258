"""Whatever is put in the place of a file that a person gives: one sentence, status 2, no traceback, no wait."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import refused, run
from studies import SCHEMA, SIMULATE

from cohortmix.client.steward import service
from cohortmix.protocol.signing import Key

LEVELS = 10_000
BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


def text(content: str) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content.encode("utf-8", "surrogatepass"))


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**40)


ODD: dict[str, Callable[[Path], object]] = {
    "a pipe": os.mkfifo,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a folder": Path.mkdir,
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a terabyte": sparse,
    "nothing": text(""),
    "NUL": text("name: \0\n"),
    "NUL, written": text('name: "a\\0b"\n'),
    "half a surrogate pair": text("name: \ud800\n"),
    "half a surrogate pair, written": text('name: "\\ud800"\nschema: "\\ud800"\n"\\ud800": 1\n'),
    "lists in lists": text("[" * LEVELS),
    "keys in keys": text("{a: " * LEVELS),
    "JSON in JSON": text('{"protocol":' * LEVELS),
    "JSON in JSON, closed": text('{"sites":' * LEVELS + "1" + "}" * LEVELS),
    "aliases": text(BOMB),
    "itself": text("&a {name: *a}"),
    "types of its own": text("name: !!timestamp 2027-99-99\n"),
    "a large number": text(f'{{"protocol": {2**60}}}'),
    "a larger number": text(f'{{"protocol": {"9" * 5000}}}'),
}


def replaced(path: Path, odd: str) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    ODD[odd](path)


def short(sentence: str) -> None:
    assert len(sentence) < 700, sentence
    assert "\x00" not in sentence
    assert ": None" not in sentence


@pytest.mark.parametrize("odd", ODD)
def test_schemas_and_tables(folder: Path, odd: str) -> None:
    replaced(folder / "s.yaml", odd)
    short(refused(*SIMULATE, "--site-column", "ward"))
    short(refused("evaluate", "--synthetic", "t.csv", "--real", "t.csv", "--schema", "s.yaml"))
    (folder / "t.csv").rename(folder / "kept.csv")
    if odd != "a terabyte":  # which a table may have
        for name in ("x.csv", "x.parquet"):
            replaced(folder / name, odd)
            if (odd, name) != ("a folder", "x.csv"):
                short(refused("schema", "draft", "--data", name))


@pytest.fixture
def drafted(folder: Path) -> Path:
    """A signed study of a site whose description was written by hand, with its key."""
    from importlib.metadata import version

    from cohortmix.core.data.schema import Schema
    from cohortmix.protocol.messages import Description, encode

    facts = Description(
        site="UK",
        key=Key.generate().public_hex,
        patients=400,
        schema_hash=Schema.from_yaml(SCHEMA).hash,
        columns=("x",),
        version=version("cohortmix"),
    )
    (folder / "uk.json").write_bytes(encode(facts))
    (folder / "STUDY.yaml").write_text(
        "name: s\nschema: s.yaml\nepsilon: 1\noverlap: disjoint\nmin_sites: 1\ndeadline: 1d\nsites: [uk.json]\n"
    )
    run("study", "new", "STUDY.yaml", "--key", "key", "--out", "study")
    run("study", "sign", "study", "--key", "key")
    return folder


@pytest.mark.parametrize("odd", ODD)
def test_files_of_a_study(drafted: Path, odd: str) -> None:
    shutil.copy("s.yaml", "kept.yaml")
    shutil.copytree("study", "kept")
    for name in ("STUDY.yaml", "uk.json", "s.yaml", "key"):
        shutil.copy(name, f"{name}.kept")
        replaced(drafted / name, odd)
        if name == "key" and odd not in ("a pipe", "a device", "a folder", "a link to itself"):
            (drafted / name).chmod(0o600)
        if (name, odd) != ("key", "a link to itself"):  # that key is absent, and made
            short(refused("study", "new", "STUDY.yaml", "--key", "key", "--out", "other"))
        replaced(drafted / name, "nothing")
        shutil.copy(f"{name}.kept", name)
        (drafted / name).chmod(0o600)
    for name in ("study.json", "schema.yaml", "signed.json"):
        replaced(drafted / "study" / name, odd)
        if name == "signed.json":
            if odd != "a link to itself":  # then there is none
                short(refused("study", "run", "study", "--key", "key"))
                short(refused("site", "quote", "study/signed.json"))
        else:
            short(refused("study", "status", "study"))
        if name == "study.json":
            short(refused("study", "sign", "study", "--key", "key"))
        shutil.rmtree("study")
        shutil.copytree("kept", "study")


@pytest.mark.parametrize("odd", ODD)
def test_files_of_a_site(folder: Path, odd: str) -> None:
    service.init(folder / "site", "A", str(folder / "t.csv"), folder / "s.yaml", "1")
    config = folder / "site" / "site.yaml"
    shutil.copy(config, folder / "kept.yaml")
    replaced(config, odd)
    short(refused("site", "check", "--config", str(config)))
    short(refused("site", "ledger", "--config", str(config)))
    replaced(config, "nothing")
    shutil.copy(folder / "kept.yaml", config)
    replaced(folder / "s.yaml", odd)
    short(refused("site", "check", "--config", str(config)))


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("name", ["study.json", "receipts/A-1.json", "summary.json", "manifest.json"])
def test_files_of_a_published_folder(published: Path, folder: Path, name: str, odd: str) -> None:
    out = shutil.copytree(published, folder / "study")
    replaced(out / name, odd)
    if (name, odd) == ("manifest.json", "a link to itself"):
        return  # there is no manifest then, and `verify` says so
    short(refused("verify", str(out)))


@pytest.mark.parametrize(
    "change",
    [
        {"sites": 7}, {"consortium": []}, {"study": None}, {"noise": [[]]}, {"sites": [{"name": {}}]},
        {"consortium": {"mu": 10**400, "epsilon": 1, "delta": 1, "mu_worst": 1}}, {"warning": "x" * 10**6},
        {"consortium": {"x" * 10**6: 1}},
    ],
    ids=range(8),
)  # fmt: skip
def test_a_summary_that_claims_anything_at_all(published: Path, folder: Path, change: dict[str, object]) -> None:
    out = shutil.copytree(published, folder / "study")
    summary = json.loads((out / "summary.json").read_text())
    (out / "summary.json").write_text(json.dumps(summary | change))
    short(refused("verify", str(out)))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("deadline: 1d", f"deadline: {2**60}s"),
        ("deadline: 1d", "deadline: 999999999d"),
        ("deadline: 1d", "deadline: 366d"),
        ("deadline: 1d", f"deadline: 1d\nexpires: {2**60}"),
        ("deadline: 1d", "deadline: 1d\nexpires: 99999-01-01"),
        ("epsilon: 1", f"epsilon: {2**60}"),
        ("epsilon: 1", f"epsilon: {'9' * 400}"),
        ("epsilon: 1", "mu: .inf"),
        ("epsilon: 1", "mu: nan"),
        ("epsilon: 1", "epsilon: 1\ndelta: 1e-400"),
        ("epsilon: 1", f"epsilon: 1\nshare: 1/{'9' * 390}"),
        ("min_sites: 1", f"min_sites: {2**60}"),
        ("min_sites: 1", f"min_sites: {'9' * 5000}"),
        ("overlap: disjoint", f"overlap: {'9' * 5000}"),
        ("name: s", f"name: {'s' * 65}"),
        ("name: s", f"name: {'é' * 33}"),
        ("name: s", 'name: "a\\u200db"'),
        ("name: s", 'name: "a\\u3164b"'),
        ("[uk.json]", "[" + "uk.json, " * 1000 + "uk.json]"),
        ("[uk.json]", '["uk\\0.json"]'),
    ],
)
def test_numbers_and_names_of_a_study_beyond_their_bounds(drafted: Path, old: str, new: str) -> None:
    content = (drafted / "STUDY.yaml").read_text()
    assert old in content
    (drafted / "STUDY.yaml").write_text(content.replace(old, new))
    short(refused("study", "new", "STUDY.yaml", "--key", "key", "--out", "other"))


def test_a_name_typed_in_another_form_is_the_same_name(drafted: Path) -> None:
    content = (drafted / "STUDY.yaml").read_text()
    (drafted / "STUDY.yaml").write_text(content.replace("name: s\n", "name: Mu\u0308nchen\n", 1))
    run("study", "new", "STUDY.yaml", "--key", "key", "--out", "other")
    assert json.loads((drafted / "other" / "study.json").read_text())["name"] == "M\xfcnchen"
