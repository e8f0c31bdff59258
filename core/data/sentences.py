"""What is wrong with a file that a person has written: YAML's and pydantic's errors in plain words.

Every file that people write (schema, site.yaml, STUDY.yaml) has its errors worded here, so that the same fault
reads the same everywhere: which key, what was expected, what to do. No value is repeated, except by our own
validators.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from cohortmix.core.data.words import listed

MOST_FAULTS = 5  # that one message names; the rest are counted
EMPTY = "it has no value, since YAML reads null, ~ and an empty place as nothing"

Path = tuple[int | str, ...]
NO_SHAPES: Mapping[str, str] = {}

_EXPECTED = {  # by how pydantic's names of such faults begin; the first that fits
    "bool": "true or false",
    "date": "a day such as 2027-01-31",
    "decimal": "a number",
    "dict_type": "keys and values, such as `key: value`",
    "finite_number": "a finite number",
    "float": "a number",
    "greater_than_equal": "{ge} or more",
    "int": "a whole number",
    "less_than_equal": "{le} or less",
    "literal_error": "{expected}",
    "model": "keys and values, such as `key: value`",
    "path": "a path",
    "string_too_long": "{max_length} letters at most",
    "string_too_short": "a text that is not empty",
    "string": "a text",
    "too_long": "{max_length} entries at most, got {actual_length}",
    "too_short": "{least}",
    "tuple_type": "a list such as [a, b]",
    "union_tag": "a type: {tags}",
}
_YAML = (  # a part of the parser's message, and what to say instead
    ("this key occurs twice", "{0}; keep one"),
    ("levels are nested", "{0}"),
    ("a value holds itself", "{0}; write it out"),
    ("it has more than", "{0}"),
    ("half of a character", "an escape stands for {0}; write the letter itself"),
    (r"character '\t'", "a tab stands where spaces are expected; indent with spaces"),
    (
        "mapping values are not allowed",
        "a second colon on a line, or a wrong indentation; quote a text with a colon",
    ),
    ("found unexpected end of stream", "a quotation mark is not closed"),
    ("found '<stream end>'", "a bracket is not closed, or the file ends too early"),
    ("expected ',' or", "a bracket is not closed, or a comma is missing"),
    ("could not find expected ':'", "a key without a colon behind it"),
    ("block end", "the indentation does not fit the lines above"),
    ("constructor for the tag", "a text that begins with ! needs quotes"),
    ("alias", "a text that begins with * or & needs quotes"),
    ("unhashable key", "a key must be a name, followed by a colon"),
    ("cannot start any token", "a text that begins with %, @ or ` needs quotes"),
    ("escape", "between double quotes a backslash has a meaning of its own; use single quotes"),
)


def yaml_sentence(error: yaml.YAMLError) -> str:
    """Where a text is not YAML, and what to do: a sentence's end, after "is not valid YAML"."""
    mark, problem = getattr(error, "problem_mark", None), str(getattr(error, "problem", None) or error)
    where = f" at line {mark.line + 1}" if mark else ""
    for part, instead in _YAML:
        if part in problem:
            return f"{where}: {instead.format(problem)}"
    if isinstance(error, yaml.reader.ReaderError):
        return ": it holds a character that a text file cannot hold; save it as plain text in UTF-8"
    return f"{where}: keys and values are expected, such as `key: value`"


def fault_sentences(error: ValidationError, model: type[BaseModel], shapes: Mapping[str, str] = NO_SHAPES) -> str:
    """The first faults of a file in one line, each with its key and without its value.

    Parameters
    ----------
    error : what pydantic raised for the file.
    model : what the file should be.
    shapes : by pattern, what a text that matches it is called.
    """
    faults: list[Any] = error.errors(include_url=False)
    # A list is too short because an entry is wrong, so the entry alone is named. A misspelt key is named first,
    # since it is why another one is missing.
    inner = {fault["loc"][:-1] for fault in faults}
    faults = [fault for fault in faults if not (fault["type"] == "too_short" and fault["loc"] in inner)]
    faults.sort(key=lambda fault: fault["type"] != "extra_forbidden")
    sentences = list(dict.fromkeys(_sentence(fault, model, shapes) for fault in faults))
    more = f"; and {len(sentences) - MOST_FAULTS} more" if len(sentences) > MOST_FAULTS else ""
    return "; ".join(sentences[:MOST_FAULTS]) + more


def _sentence(fault: Any, model: type[BaseModel], shapes: Mapping[str, str]) -> str:
    loc, kind = tuple(fault["loc"]), fault["type"]
    if not loc and kind != "value_error":
        needed = [name for name, field in _keys(model).items() if field.is_required()]
        return f"expected the keys {listed(needed)}, each as `key: value`"
    if kind == "invalid_key" or loc[-1:] == ("[key]",):
        holder = loc[:-1] if kind == "invalid_key" else loc[:-2]
        return f"{_path(holder, model)}: a key has no name before its colon".removeprefix(": ")
    return f"{_path(loc, model)}: {_complaint(fault, model, shapes)}".removeprefix(": ")


def _complaint(fault: Any, model: type[BaseModel], shapes: Mapping[str, str]) -> str:
    loc, kind, context = tuple(fault["loc"]), fault["type"], fault.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown(str(loc[-1]), list(_keys(_at(model, loc[:-1]))))
    if kind == "missing":
        return "this key is required"
    if fault["input"] is None:
        return _empty(loc, model)
    if kind == "string_pattern_mismatch":
        return f"expected {shapes.get(context['pattern'], 'a text of another form')}"
    if kind == "value_error":
        return str(fault["msg"]).removeprefix("Value error, ")
    expected = next((text for begin, text in _EXPECTED.items() if kind.startswith(begin)), "another value")
    return f"expected {expected.format(**_plain(context, loc, model))}"


def _empty(loc: Path, model: type[BaseModel]) -> str:
    if isinstance(loc[-1], int):
        return f'{EMPTY}; write "null" in quotes if the text is meant, or leave the entry out'
    field = _keys(_at(model, loc[:-1])).get(str(loc[-1]))
    if field is None or field.is_required():
        return f"{EMPTY}; write one behind the colon"
    return f"{EMPTY}; write one behind the colon, or leave the key out"


def _plain(context: Mapping[str, Any], loc: Path, model: type[BaseModel]) -> dict[str, str]:
    """What a sentence can need of a fault's context, as text."""
    plain = {name: str(value).replace("'", "") for name, value in context.items()}
    if "ge" in context or "le" in context:
        plain |= {name: f"{float(context[name]):.12g}" for name in ("ge", "le") if name in context}
    if "min_length" in plain:
        least = {"1": "one", "2": "two"}.get(plain["min_length"], plain["min_length"])
        where = ", in a list such as [a, b]" if get_origin(_at(model, loc)) is tuple else ""
        plain["least"] = f"{least} at least{where}"
    return plain | {"tags": listed(_tags(_at(model, loc)), "or")}


def _path(loc: Path, model: type[BaseModel]) -> str:
    """Where a fault is, as a person counts: `values, entry 2`.

    Pydantic's path also holds the tag of a union, which is not a key of the file.
    """
    in_file = [part for depth, part in enumerate(loc) if not _is_tag(loc[:depth], part, model)]
    parts = [f", entry {part + 1}" if isinstance(part, int) else f".{part}" for part in in_file]
    return "".join(parts).removeprefix(".")


def _is_tag(before: Path, part: int | str, model: type[BaseModel]) -> bool:
    return part in _tags(_at(model, before))


def _unknown(key: str, known: Sequence[str]) -> str:
    close = get_close_matches(key, known, n=1)
    return f"unknown key; did you mean {close[0]}?" if close else f"unknown key; there are {listed(known)}"


def _keys(annotation: Any) -> dict[str, Any]:
    """The fields of a model, by the names that a file has for them; none if it is no model."""
    if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        return {}
    return {field.alias or name: field for name, field in annotation.model_fields.items()}


def _at(annotation: Any, path: Path) -> Any:
    """The type that the model has at the path of a fault; None where it has none."""
    annotation = _bare(annotation)
    if not path:
        return annotation
    if _keys(annotation):
        field = _keys(annotation).get(str(path[0]))
        return None if field is None else _at(field.annotation, path[1:])
    if get_origin(annotation) in (dict, tuple):
        return _at(get_args(annotation)[-1 if get_origin(annotation) is dict else 0], path[1:])
    tagged = {tag: member for member in _members(annotation) for tag in _tag(member)}
    return _at(tagged[path[0]], path[1:]) if path[0] in tagged else None


def _bare(annotation: Any) -> Any:
    """A type without its annotations, and without None if that is its only alternative."""
    if get_origin(annotation) is Annotated:
        return _bare(get_args(annotation)[0])
    members = [member for member in _members(annotation) if member is not NoneType]
    return _bare(members[0]) if len(members) == 1 else annotation


def _members(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in (Union, UnionType) else ()


def _tags(annotation: Any) -> list[str]:
    """The values of the key `type` by which the models of a union are told apart."""
    return [tag for member in _members(annotation) for tag in _tag(member)]


def _tag(member: Any) -> tuple[str, ...]:
    field = _keys(_bare(member)).get("type")
    return get_args(field.annotation) if field is not None and get_origin(field.annotation) is Literal else ()
