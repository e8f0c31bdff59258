"""The data dictionary: which columns there are, and what is publicly known about each.

A schema is written by a person from the study's protocol. It is the *only* source of categories, bounds and
units: nothing in it may be inferred from the records that it describes (`schema draft` helps with names and
types, and marks every line as unconfirmed until a person has looked at it).
"""

from __future__ import annotations

import hashlib
import json
import re
from datetime import date
from math import ceil, floor
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cohortmix.core.bounded_yaml import BoundedLoader, fault

SITE = "site"  # the column of a pooled record that names where it is from
MOST_FAULTS = 5  # of a schema that are named at once


class SchemaError(ValueError):
    """The schema cannot be used; the text says which key, what was expected and what came."""


def category_text(value: object) -> str:
    """The text under which a category is compared: `1`, `1.0` and `" 1 "` are the same value.

    Files disagree on how they write a whole number (a null elsewhere in the column turns 1 into 1.0), so a
    comparison of raw texts would let one record change how another one reads.
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # 1e16 and -0.0 read as the whole numbers that they are
    text = str(value).strip()
    return _WHOLE.sub(r"\1", text)


_WHOLE = re.compile(r"^([+-]?\d+)\.0*$")


class _Column(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    missing: bool = False
    outside: Literal["clip", "refuse"] = "clip"
    with_: str | None = Field(default=None, alias="with")
    confirmed: bool = True
    unit: str | None = None
    description: str | None = None


class Number(_Column):
    """A number with public bounds `min <= x <= max`."""

    type: Literal["number"]
    min: float
    max: float
    integer: bool = False
    transform: Literal["identity", "log1p"] = "identity"
    after: str | None = None
    knots: int | None = Field(default=None, ge=2, le=1000)

    @model_validator(mode="after")
    def _bounds(self) -> Number:
        if not self.min < self.max:
            raise ValueError(f"expected min < max, got min={self.min:g}, max={self.max:g}")
        if self.transform == "log1p" and self.min <= -1:
            raise ValueError(f"transform log1p needs min > -1, got min={self.min:g}")
        if self.integer and ceil(self.min) > floor(self.max):
            raise ValueError(f"no whole number lies between min={self.min:g} and max={self.max:g}")
        return self


class Date(_Column):
    """A calendar day with public bounds; encoded as days after `min`."""

    type: Literal["date"]
    min: date
    max: date
    after: str | None = None
    knots: int | None = Field(default=None, ge=2, le=1000)

    @model_validator(mode="after")
    def _bounds(self) -> Date:
        if not self.min < self.max:
            raise ValueError(f"expected min < max, got min={self.min}, max={self.max}")
        return self


class Category(_Column):
    """One of a declared list of values, compared as text."""

    type: Literal["category"]
    values: tuple[str, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _distinct(self) -> Category:
        if len({category_text(value) for value in self.values}) != len(self.values):
            raise ValueError("expected distinct values, got one twice")
        return self


Column = Annotated[Number | Date | Category, Field(discriminator="type")]


class Schema(BaseModel):
    """Columns of a table, its patient key and its target; everything in it is public.

    `target` names a category column. `patient_key` names the column that tells patients apart; without one,
    a row is a patient. Rows beyond `max_rows_per_patient` of one patient are not read.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, max_length=100)
    patient_key: str | None = None
    max_rows_per_patient: int = Field(default=100, ge=1, le=10_000)
    target: str
    columns: dict[str, Column] = Field(min_length=2)

    @model_validator(mode="after")
    def _consistent(self) -> Schema:
        target = self.columns.get(self.target)
        if target is None:
            raise ValueError(f"target={self.target!r} is not one of the columns; name one of them")
        if not isinstance(target, Category):
            raise ValueError(
                f"target={self.target!r} has type {target.type}; the target must be a category column"
            )
        if len(target.values) < 2:
            raise ValueError(f"target={self.target!r} declares one class; declare at least two")
        if target.missing:
            raise ValueError(f"target={self.target!r} may not be missing; declare a class for unknown outcomes")
        if self.patient_key in self.columns:
            raise ValueError(
                f"patient_key={self.patient_key!r} must not be described as a column: it is not synthesized"
            )
        for name, column in self.columns.items():
            _check_partner(self, name, "with", column.with_)
            _check_partner(self, name, "after", getattr(column, "after", None))
        for name in self.columns:
            _check_order(self, name)
        if SITE in self.columns:
            raise ValueError(f"column {SITE!r}: this name is kept for the site of a record; rename the column")
        return self

    @classmethod
    def from_yaml(cls, text: str) -> Schema:
        """Read the format of the README; a value is taken as it is typed (`no` and `1` are texts, not bools).

        Raises
        ------
        SchemaError
            With the first faults in one line, each naming its key.
        """
        try:
            return cls.model_validate(yaml.load(text, Loader=AsTyped))
        except yaml.YAMLError as error:
            raise SchemaError(f"the schema is not valid YAML{fault(error)}") from None
        except ValidationError as error:
            faults = [_sentence(each) for each in error.errors()]
            more = f"; and {len(faults) - MOST_FAULTS} more" if len(faults) > MOST_FAULTS else ""
            raise SchemaError("; ".join(faults[:MOST_FAULTS]) + more) from None

    def to_yaml(self) -> str:
        """The schema as YAML; `from_yaml` gives it back."""
        return yaml.safe_dump(self._plain(), sort_keys=False, allow_unicode=True, width=110)

    @property
    def hash(self) -> str:
        """SHA-256 of the schema as canonical JSON, numbers as decimal texts."""
        text = json.dumps(_as_texts(self._plain()), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def classes(self) -> tuple[str, ...]:
        """The declared values of the target, C of them."""
        target = self.columns[self.target]
        assert isinstance(target, Category)
        return target.values

    @property
    def features(self) -> tuple[str, ...]:
        """The columns other than the target, D of them, in the schema's order."""
        return tuple(name for name in self.columns if name != self.target)

    def predecessors(self, name: str) -> tuple[str, ...]:
        """The columns that `name` comes after, the nearest first."""
        chain: list[str] = []
        earlier = getattr(self.columns[name], "after", None)
        while earlier is not None and earlier not in chain:
            chain.append(earlier)
            earlier = getattr(self.columns[earlier], "after", None)
        return tuple(chain)

    def require_confirmed(self) -> None:
        """Raise SchemaError unless a person has confirmed each line."""
        open_lines = [name for name, column in self.columns.items() if not column.confirmed]
        if open_lines:
            raise SchemaError(
                f"these columns are not confirmed: {', '.join(open_lines)}; "
                "check their bounds and values against the data dictionary and set `confirmed: true`"
            )

    def _plain(self) -> dict[str, Any]:
        return self.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)


def _as_texts(plain: Any) -> Any:
    if isinstance(plain, dict):
        return {key: _as_texts(value) for key, value in plain.items()}
    if isinstance(plain, (list, tuple)):
        return [_as_texts(value) for value in plain]
    return repr(plain) if isinstance(plain, float) else plain


class AsTyped(BoundedLoader):
    """YAML without guessing: everything but null is text, and pydantic gives each key its declared type.

    A key that occurs twice is an error; YAML's usual reader keeps the last one and says nothing.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if len(set(keys)) != len(keys):
            twice = next(key for key in keys if keys.count(key) > 1)
            raise yaml.constructor.ConstructorError(None, None, f"{twice}: this key occurs twice", node.start_mark)
        return super().construct_mapping(node, deep)


AsTyped.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag == "tag:yaml.org,2002:null"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _check_partner(schema: Schema, name: str, key: str, partner: str | None) -> None:
    if partner is None:
        return
    if partner == name or partner not in schema.columns:
        raise ValueError(f"column {name!r}: {key}={partner!r} must name another column")
    if key == "with" and not (schema.columns[partner].missing and schema.columns[name].missing):
        raise ValueError(f"column {name!r}: with={partner!r} needs `missing: true` on both columns")
    if key == "after" and schema.columns[partner].type != schema.columns[name].type:
        raise ValueError(f"column {name!r}: after={partner!r} must name a column of the same type")


def _check_order(schema: Schema, name: str) -> None:
    later: Any = schema.columns[name]
    for partner in schema.predecessors(name):
        earlier: Any = schema.columns[partner]  # of the same type
        if partner == name:
            raise ValueError(f"column {name!r}: after={later.after!r} leads back to the column itself")
        if later.max < earlier.min:
            raise ValueError(f"column {name!r} ends before {partner!r} begins, and cannot come after it")


def _sentence(fault: Any) -> str:
    """One pydantic fault in plain words; the type tag of a column's union is left out of the path."""
    loc = fault["loc"]
    path = ".".join(str(part) for at, part in enumerate(loc) if not (loc[0] == "columns" and at == 2))
    kind, message = fault["type"], fault["msg"].removeprefix("Value error, ")
    if not loc and not isinstance(fault["input"], dict):
        return "expected the keys name, target and columns; see the README for an example"
    if kind == "missing" or fault["input"] is None:
        return f"{path}: this key is required"
    if kind == "union_tag_not_found":
        return f"{path}: type is required: number, category or date"
    if kind == "extra_forbidden":
        return f"{path}: unknown key; see the README for the keys of a schema"
    return f"{path}: {message}" if path else message
