"""The documentation: its links lead somewhere, its commands and keys exist, its numbers are those of the code."""

from __future__ import annotations

import re
from typing import Any

import click
import pytest
import yaml
from pages import (
    FENCED,
    INLINE,
    ROOT,
    anchors,
    blocks,
    keys_of_table,
    links,
    mentioned_commands,
    page,
    pages,
    paths,
    plain,
    section,
    shown_commands,
)
from typer.testing import CliRunner

from cohortmix.client.site.config import SiteConfig
from cohortmix.core.data.dictionary.columns import Category, Date, Number
from cohortmix.core.data.dictionary.grid import EQUAL_CELLS
from cohortmix.core.data.schema import Schema
from cohortmix.core.gaussian.model import WIDE
from cohortmix.core.privacy import gdp
from cohortmix.core.privacy.budget import DEFAULT_DELTA, MIN_PATIENTS
from cohortmix.core.utility.checks.check import MOST_UNREADABLE
from cohortmix.deploy.cli import STATUS, app
from cohortmix.protocol.local.interrupt import STATUS as INTERRUPTED
from cohortmix.protocol.local.wording import at_most
from cohortmix.protocol.study import LONGEST_DEADLINE, StudySpec
from cohortmix.server.commands.draft import VALID_DAYS, StudyFile

PAGES = pages()


@pytest.fixture
def parsing(monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    """Runs a command line up to the point where the command itself would begin."""
    monkeypatch.setattr(click.Command, "invoke", lambda self, context: None)
    return CliRunner()


# --- the README


def test_the_readme_can_be_read_in_five_minutes() -> None:
    """The table of benchmarks, which is written by a command, counts as well."""
    text = page("README.md")
    assert text.count("\n") <= 130
    assert len(text.split()) <= 1200


def test_the_readme_says_what_epsilon_one_is() -> None:
    mu = gdp.mu_of(1.0, DEFAULT_DELTA)
    found = plain(at_most(gdp.detection_rate(mu, 0.05)))
    said = (
        f"At epsilon 1 and delta 1e-5 (µ = {mu:.3f}), an attacker who allows 5 % false alarms finds at most "
        f"{found} of the members."
    )
    assert said in plain(page("README.md"))


@pytest.mark.parametrize("reader", ["steward", "coordinator", "researcher", "privacy officer"])
def test_every_reader_finds_a_page(reader: str) -> None:
    (row,) = re.findall(rf"^\| an? [\w ]*{reader} \|.*$", page("README.md"), re.MULTILINE)
    assert links(row)


# --- links, commands, targets of make


@pytest.mark.parametrize("path", PAGES)
def test_links_lead_somewhere(path: str) -> None:
    for link in links(PAGES[path]):
        target, _, anchor = link.partition("#")
        file = (ROOT / path).parent / target if target else ROOT / path
        assert file.exists(), link
        if anchor:
            assert anchor in anchors(file.read_text(encoding="utf-8")), link


@pytest.mark.parametrize("path", PAGES)
def test_files_that_are_named_are_there(path: str) -> None:
    """Seen from the top, or from the page's own folder."""
    for name in paths(PAGES[path]):
        assert (ROOT / name).exists() or (ROOT / path).parent.joinpath(name).exists(), name


@pytest.mark.parametrize("path", PAGES)
def test_commands_are_those_that_exist(path: str, parsing: CliRunner) -> None:
    for words in shown_commands(PAGES[path]):
        result = parsing.invoke(app, words)
        assert result.exit_code == 0, (words, result.output)
    for words in mentioned_commands(PAGES[path]):
        result = parsing.invoke(app, [*words, "--help"])
        assert result.exit_code == 0, (words, result.output)


@pytest.mark.parametrize(
    "words", [["synthesise"], ["synthesize", "--data", "t.csv"], ["site", "quote", "a.json", "--maxmu", "1"]]
)
def test_a_command_that_does_not_exist_is_noticed(words: list[str], parsing: CliRunner) -> None:
    assert parsing.invoke(app, words).exit_code == 2


def test_the_pages_show_commands() -> None:
    """A change of style would let the tests above look at nothing."""
    shown = [words for text in PAGES.values() for words in shown_commands(text)]
    assert len(shown) > 25
    assert {" ".join(words[:2]) for words in shown} >= {"site init", "site quote", "study new", "study publish"}
    assert sum(len(list(mentioned_commands(text))) for text in PAGES.values()) >= 20


def test_every_command_has_a_place_in_the_documentation() -> None:
    commands = {words[0] for text in PAGES.values() for words in shown_commands(text)}
    commands |= {words[0] for text in PAGES.values() for words in mentioned_commands(text)}
    listed = CliRunner().invoke(app, ["--help"]).output
    assert commands >= {line.split()[1] for line in listed.splitlines() if re.match(r"│ [a-z]\w* ", line)}


@pytest.mark.parametrize("path", [path for path in PAGES if "make " in PAGES[path]])
def test_targets_of_make_exist(path: str) -> None:
    targets = set(re.findall(r"^([\w-]+):", page("Makefile"), re.MULTILINE))
    shown = [line.split("#")[0].split() for block in blocks(PAGES[path]) for line in block.splitlines()]
    named = {words[1] for words in shown if words[:1] == ["make"]}
    named |= {code.split()[1] for code in INLINE.findall(PAGES[path]) if re.fullmatch(r"make [a-z-]+", code)}
    assert named <= targets


# --- keys


def fields_of(model: Any) -> set[str]:
    """The keys of a model as a file has them."""
    return {field.alias or name for name, field in model.model_fields.items()}


def test_every_key_of_a_schema_is_described() -> None:
    text = page("docs/schema.md")
    assert set(keys_of_table(section(text, "## Keys of the file"))) == fields_of(Schema)
    described = [key.split(":")[0] for key in keys_of_table(section(text, "## Keys of a column"))]
    assert len(described) == len(set(described))
    assert set(described) == fields_of(Number) | fields_of(Date) | fields_of(Category)


def test_a_key_is_said_to_be_of_the_columns_that_have_it() -> None:
    models = {"number": Number, "category": Category, "date": Date}
    part = section(page("docs/schema.md"), "## Keys of a column")
    for _, keys, columns, *_ in (line.split("|") for line in part.splitlines() if line.startswith("| `")):
        having = set(models) if columns.strip() == "all" else set(columns.strip().split(", "))
        for key in INLINE.findall(keys):
            known = {kind for kind, model in models.items() if key.split(":")[0] in fields_of(model)}
            assert known == having, key


@pytest.mark.parametrize("text", blocks(page("docs/schema.md"), "yaml"))
def test_the_schemas_shown_are_schemas(text: str) -> None:
    Schema.from_yaml(text).require_confirmed()


@pytest.mark.parametrize(
    ("path", "heading", "model"),
    [("docs/consortium.md", "## STUDY.yaml", StudyFile), ("docs/steward.md", "### `site.yaml`", SiteConfig)],
)
def test_every_key_of_a_file_is_described(path: str, heading: str, model: Any) -> None:
    part = section(page(path), heading)
    shown = {key for text in blocks(part, "yaml") for key in yaml.safe_load(text)}
    described = {key.split(":")[0] for key in keys_of_table(part)}
    assert shown | described == fields_of(model)
    assert len(shown) + len(described) - len(shown & described) == len(fields_of(model))


@pytest.mark.parametrize("path", ["docs/consortium.md", "docs/deploy.md"])
def test_the_studies_shown_are_studies(path: str) -> None:
    """Each names the fewest sites, or, with joint noise, how many may be missing."""
    texts = [text for text in blocks(page(path), "yaml") if "overlap:" in text]
    for text in texts:
        study = StudyFile.model_validate(yaml.safe_load(text))
        missing = study.tolerated_dropouts if study.noise == "joint" else 0
        assert 1 <= (study.min_sites or len(study.sites) - (missing or 0)) <= len(study.sites)
        assert (study.epsilon is None) != (study.mu is None)
        assert (study.min_sites is None) == (study.noise == "joint")
    assert texts


def test_every_exit_status_is_described() -> None:
    part = section(page("docs/synthesize.md"), "## Exit status")
    said = {int(number) for number in re.findall(r"^\| (\d+) \|", part, re.MULTILINE)}
    assert said == {0, 1, *STATUS.values(), INTERRUPTED}


# --- numbers


CLAIMS = {
    "docs/schema.md": (
        f"{Schema.model_fields['max_rows_per_patient'].default} if you write nothing",
        f"a column of which more than {MOST_UNREADABLE:.0%}".replace("%", " %") + " cannot be read is refused",
        f"{EQUAL_CELLS} of equal width",
    ),
    "docs/synthesize.md": (
        f"needs at least {MIN_PATIENTS} patients",
        f"A table with {WIDE} features or more, three quarters of them",
        f"min({DEFAULT_DELTA:.0e}, 1/(10 N))".replace("e-05", "e-5"),
    ),
    "docs/simulate.md": (f"needs at least {MIN_PATIENTS} patients",),
    "docs/consortium.md": (
        f"needs at least {MIN_PATIENTS} patients",
        f"by default {VALID_DAYS} days from now",
        f"at most {LONGEST_DEADLINE // 86_400}d",
        f"{StudyFile.model_fields['share'].default} if you write nothing",
        f"{StudySpec.model_fields['alpha'].default} if you write nothing",
    ),
    "docs/steward.md": (
        f"ticks of this interval, {SiteConfig.model_fields['interval_seconds'].default:g} if you write nothing",
    ),
    "docs/python.md": (f"`max_unreadable={MOST_UNREADABLE:g}`",),
}


@pytest.mark.parametrize(("path", "claim"), [(path, claim) for path in CLAIMS for claim in CLAIMS[path]])
def test_numbers_are_those_of_the_code(path: str, claim: str) -> None:
    assert plain(page(path)).count(claim) == 1


@pytest.mark.parametrize("path", [path for path in PAGES if "results" not in path])
def test_a_page_has_one_title(path: str) -> None:
    assert len(re.findall(r"^# ", FENCED.sub("", PAGES[path]), re.MULTILINE)) == 1
