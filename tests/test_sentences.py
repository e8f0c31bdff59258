"""Every fault of a file that people write is one plain sentence, in the words of the file, not of a library."""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cohortmix.client.site.config import load_config
from cohortmix.core.data.schema import Schema, SchemaError
from cohortmix.core.data.table import InputError
from cohortmix.server.commands.draft import draft

FOREIGN = re.compile(
    r"\b([Ii]nput|should|validation|valid (string|integer|number|dict|date|bool)|[Tt]uple|[Dd]ict\w*|tag|parse\w*|"
    r"token|node|stream|mapping|scalar|constructor|NoneType|Extra|datetime|[Kk]eys should)\b|<\w+ end>|None"
)
"""Words of pydantic, of PyYAML and of Python."""

VALUES = (
    "null", "~", "", "[]", "{}", "[1, 2]", "{a: 1}", "abc", "-1", "0", "1.5", "yes", ".nan", "NaN", "inf", "-inf",
    "1e400", "[null]", "[a, null]", "''", "2020-13-45", "1990", "9" * 30, "[[a]]", "{null: 1}", "{a: }", "[a, a]",
)  # fmt: skip
NOT_YAML = (
    "a: [", "a: b: c", "\t a: 1", "name: t\nname: u\n", "%", "@a", "a: `b", "&a *a", "*b", "!!python/object:x {}",
    "{? [a] : b}", "\x00", "'", "name: 'x", 'name: "\\q"', "name: a\n  schema: b", "a: 1\n b: 2", "a: {b: 1",
    "a\nb: c", "[" * 5000,
)  # fmt: skip
NOT_KEYS = ("", "- a", "abc", "null", "[]", "3")

SCHEMA = """name: t
patient_key: id
max_rows_per_patient: 3
target: y
columns:
  AGE: {type: number, min: 0, max: 9, integer: true, transform: identity, missing: true, outside: clip, knots: 3}
  B: {type: number, min: 0, max: 9, with: AGE, missing: true, unit: mg, description: d, confirmed: true}
  D: {type: date, min: 2001-01-01, max: 2002-01-01, after: D2}
  D2: {type: date, min: 2001-01-01, max: 2002-01-01}
  y: {type: category, values: [a, b]}
"""
SITE = """name: A
data: {file: x.csv}
schema: s.yaml
cap_mu: 0.5
coordinators: [aaaa]
key: k
state: s
mark: m
socket: r
interval_seconds: 30
max_message_bytes: 70000
"""
STUDY = """name: A
schema: s.yaml
epsilon: 1
mu: 1
delta: 0.00001
overlap: disjoint
min_sites: 1
deadline: 7d
sites: [a.json]
expires: 2099-01-01
share: 0.2
alpha: 0.5
loose_delta: false
"""
Judge = Callable[[str], object]
VALUE = re.compile(r"(?<=: )(?:\{.*\}|\[.*\]|[^,{}\[\]\n]+)")
INNER = re.compile(r"(?<=: )[^,{}\[\]\n]+")


def wrong(good: str) -> Iterator[str]:
    """The file with each of its values replaced, each of its keys misspelt, each of its lines left out."""
    for at in (*VALUE.finditer(good), *INNER.finditer(good)):
        yield from (good[: at.start()] + value + good[at.end() :] for value in VALUES)
    for at in re.finditer(r"\w+(?=:)", good):
        yield good[: at.start()] + at[0] + "x" + good[at.end() :]
        yield good[: at.start()] + "null" + good[at.end() :]
    for line in good.splitlines(keepends=True):
        yield good.replace(line, "", 1)
    yield from NOT_YAML
    yield from NOT_KEYS


def schema(text: str, folder: Path) -> object:
    return Schema.from_yaml(text)


def site(text: str, folder: Path) -> object:
    (folder / "site.yaml").write_text(text, encoding="utf-8")
    return load_config(folder / "site.yaml")


def study(text: str, folder: Path) -> object:
    (folder / "STUDY.yaml").write_text(text, encoding="utf-8")
    return draft(folder / "STUDY.yaml", "c" * 64, datetime(2026, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("judge", "good", "fewest"),
    [(schema, SCHEMA, 700), (site, SITE, 300), (study, STUDY, 500)],
    ids=["schema", "site", "study"],
)
def test_a_wrong_file_is_one_plain_sentence(
    judge: Callable[[str, Path], object], good: str, fewest: int, tmp_path: Path
) -> None:
    refused = 0
    for text in wrong(good):
        try:
            judge(text, tmp_path)
        except (SchemaError, InputError) as error:
            refused += 1
            said = str(error).replace(str(tmp_path), "")
            assert not FOREIGN.search(re.sub(r"got '.*'|got \".*\"", "", said)), (text, said)
            assert "\n" not in said
            assert len(said) < 800, said
    assert refused > fewest, "the battery hardly meets a fault"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("values: [a, b]", "values: []"), "columns.y.values: expected one at least, in a list such as [a, b]"),
        (
            ("values: [a, b]", "values: [a, null]"),
            "columns.y.values, entry 2: it has no value, since YAML reads null, ~ and an empty place as nothing; "
            'write "null" in quotes if the text is meant, or leave the entry out',
        ),
        (
            ("transform: identity", "transform: "),
            "columns.AGE.transform: it has no value, since YAML reads null, ~ and an empty place as nothing; "
            "write one behind the colon, or leave the key out",
        ),
        (
            ("min: 0", "mim: 0"),
            "columns.AGE.mim: unknown key; did you mean min?; columns.AGE.min: this key is required",
        ),
        (("min: 2001-01-01", "min: 1990"), "columns.D.min: expected a day such as 2027-01-31"),
        (("max: 2002-01-01, a", "max: 86400000000, a"), "columns.D.max: expected a day such as 2027-01-31"),
        (("transform: identity", "transform: log"), "columns.AGE.transform: expected identity or log1p"),
        (("type: date", "type: day"), "columns.D: expected a type: number, date or category"),
        (("  AGE", "  null"), "columns: a key has no name before its colon"),
    ],
)
def test_the_sentence_says_what_to_do(change: tuple[str, str], sentence: str) -> None:
    assert change[0] in SCHEMA
    with pytest.raises(SchemaError) as caught:
        Schema.from_yaml(SCHEMA.replace(*change, 1))
    assert str(caught.value).startswith(sentence)


def test_the_good_files_are_good_and_a_day_is_read_as_written() -> None:
    columns = Schema.from_yaml(SCHEMA).columns
    assert str(getattr(columns["D"], "min", "")) == "2001-01-01"
