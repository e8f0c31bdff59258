"""YAML that is nested or repeated without end ends in an error; an alias that repeats a little is read."""

import pytest
import yaml

from cohortmix.core.data.schema import Schema, SchemaError
from cohortmix.core.data.sentences import yaml_sentence
from cohortmix.core.data.typed_yaml import DEEPEST, MOST_NODES, AsTyped


def read(text: str) -> object:
    return yaml.load(text, Loader=AsTyped)


def test_an_alias_is_what_it_stands_for() -> None:
    assert read("{a: &yn [Y, N], b: *yn}") == {"a": ["Y", "N"], "b": ["Y", "N"]}


def test_depth() -> None:
    assert read("[" * DEEPEST + "]" * DEEPEST)
    for text in ("[" * (DEEPEST + 1) + "]" * (DEEPEST + 1), "[" * 100_000, "- " * 10_000, "{a: " * 10_000):
        with pytest.raises(yaml.YAMLError, match="levels are nested"):
            read(text)


def test_number_of_values() -> None:
    row = f"[{', '.join('x' * 100)}]"
    for times, fits in ((MOST_NODES // 101 - 1, True), (MOST_NODES // 101 + 1, False)):
        text = f"- &row {row}\n" + "- *row\n" * (times - 1)
        if fits:
            assert len(read(text)) == times  # type: ignore[arg-type]
        else:
            with pytest.raises(yaml.YAMLError, match="values"):
                read(text)


@pytest.mark.parametrize("half", ["\\ud800", "\\udfff"])
def test_half_of_a_character(half: str) -> None:
    """No encoding holds it, so it would end in a fault wherever it is written; whole characters are read."""
    for text in (f'["x{half}"]', f'{{"x{half}": 1}}'):
        with pytest.raises(yaml.YAMLError, match="half of a character"):
            read(text)
    with pytest.raises(SchemaError, match="half of a character"):
        Schema.from_yaml(f'name: "{half}"')
    assert read('["x\\ue000", "\\U0001F600"]') == ["x\ue000", "\U0001f600"]


@pytest.mark.parametrize("text", ["&a [*a]", "&a {x: {y: *a}}"])
def test_a_value_in_itself(text: str) -> None:
    with pytest.raises(yaml.YAMLError, match="holds itself"):
        read(text)


@pytest.mark.parametrize(
    "text",
    ["!!int x", "!!int 5", "!!bool yes", "!!timestamp 2027-99-99", "!!float x", "!!set {a}", "!!python/name:os.x"],
)
def test_types_of_its_own(text: str) -> None:
    with pytest.raises(yaml.YAMLError, match="constructor"):
        read(text)


def test_where_and_why_is_said() -> None:
    with pytest.raises(yaml.YAMLError) as caught:
        read("a: 1\nb: [")
    assert yaml_sentence(caught.value).startswith(" at line 2: ")
    with pytest.raises(SchemaError, match="not valid YAML: it holds a character that a text file cannot hold"):
        Schema.from_yaml("a: \0")
