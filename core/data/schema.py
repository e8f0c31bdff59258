"""The data dictionary: which columns there are, and what is publicly known about each.

A schema is written by a person from the study's protocol. It is the *only* source of categories, bounds and
units: nothing in it may be inferred from the records that it describes (`schema draft` helps with names and
types, and marks every line as unconfirmed until a person has looked at it).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from datetime import date
from math import ceil, floor
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    field_validator,
    model_validator,
)

from cohortmix.core.data.cell import TRUTH_TEXTS, category_text
from cohortmix.core.data.digest import digest
from cohortmix.core.data.sentences import fault_sentences, yaml_sentence
from cohortmix.core.data.typed_yaml import load_yaml

SITE = "site"  # the column of a pooled record that names where it is from
EXACT = 2**53  # whole numbers up to here are exact in the floating point in which values are drawn
WIDEST = 1e300  # of a number's bounds, so that the range between them is finite


class SchemaError(ValueError):
    """The schema cannot be used; the text says which key, what was expected and what came."""


class _Column(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    missing: bool = False
    outside: Literal["clip", "refuse"] | None = (
        None  # None clips too, but not where much of a column cannot be read
    )
    with_: str | None = Field(default=None, alias="with")
    confirmed: bool = True
    unit: str | None = None
    description: str | None = None


class Number(_Column):
    """A number with public bounds `min <= x <= max`, recorded as whole numbers or to so many `decimals`."""

    type: Literal["number"]
    min: float
    max: float
    integer: bool = False
    decimals: int | None = Field(default=None, ge=1, le=15)
    transform: Literal["identity", "log1p"] = "identity"
    after: str | None = None
    knots: int | None = Field(default=None, ge=2, le=1000)

    @model_validator(mode="after")
    def _bounds(self) -> Number:
        if not self.min < self.max:
            raise ValueError(f"expected min < max, got min={self.min:g}, max={self.max:g}")
        if self.transform == "log1p" and self.min <= -1:
            raise ValueError(f"transform log1p needs min > -1, got min={self.min:g}")
        if self.integer and self.decimals is not None:
            raise ValueError(f"whole numbers have no decimals, got integer=true and decimals={self.decimals}")
        if self.decimals is not None and self.as_written(self.min, ceil) > self.as_written(self.max, floor):
            raise ValueError(f"no number of {self.decimals} decimals lies in min={self.min:g}, max={self.max:g}")
        if self.integer and ceil(self.min) > floor(self.max):
            raise ValueError(f"no whole number lies between min={self.min:g} and max={self.max:g}")
        if self.integer and max(-self.min, self.max) > EXACT:
            raise ValueError(
                f"whole numbers are exact up to 2^53 = {EXACT:,}, got min={self.min:g}, max={self.max:g}; narrow "
                "the bounds, or leave the column out if it is an identifier"
            )
        if max(-self.min, self.max) > WIDEST:
            raise ValueError(f"expected bounds within {WIDEST:g}, got min={self.min:g}, max={self.max:g}")
        return self

    def as_written(self, value: float, rounding: Callable[[float], int] = round) -> float:
        """A value as the column is recorded: a whole number, or with its decimals; else as it is.

        >>> Number(type="number", min=30, max=45, decimals=1).as_written(36.79538589285842)
        36.8
        """
        if self.integer:
            return rounding(value)
        scale = 10.0 ** (self.decimals or 0)
        if self.decimals is None or abs(value) * scale >= EXACT:  # there, floating point has no such decimals
            return value
        near = round(value, self.decimals)  # 36.6 * 10 is 366.00000000000006
        return near if near == value else round(rounding(value * scale) / scale, self.decimals)


def _as_day(value: object) -> object:
    """A text that is a day; pydantic would take `1990` for seconds after 1970."""
    if isinstance(value, date) or re.fullmatch(r"\d{4}-\d{2}-\d{2}", str(value), re.ASCII):
        return value
    raise ValueError("expected a day such as 2027-01-31")


Day = Annotated[date, BeforeValidator(_as_day)]
"""A calendar day, written as year, month and day."""


class Date(_Column):
    """A calendar day with public bounds; encoded as days after `min`.

    `timezone` says where the day of a time counts that states its offset from UTC, such as Europe/Berlin.
    """

    type: Literal["date"]
    min: Day
    max: Day
    timezone: str | None = None
    after: str | None = None
    knots: int | None = Field(default=None, ge=2, le=1000)

    @model_validator(mode="after")
    def _bounds(self) -> Date:
        if not self.min < self.max:
            raise ValueError(f"expected min < max, got min={self.min}, max={self.max}")
        return self

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, name: str | None) -> str | None:
        try:
            return None if name is None else ZoneInfo(name).key
        except (ValueError, OSError):  # unknown, or not a name at all
            raise ValueError(
                f"expected the name of a time zone such as Europe/Berlin or UTC, got {name!r}"
            ) from None


def _as_declared(value: object) -> bool | int | str:
    if isinstance(value, bool | int | str):
        return value
    raise ValueError(f"expected a text, a whole number, or true or false, got {type(value).__name__}")


Declared = Annotated[bool | int | str, PlainValidator(_as_declared)]
"""A value as a schema writes it; its type says how it is compared."""


class Category(_Column):
    """One of a declared list of values: texts, or all of them whole numbers, or truth values.

    In YAML, quotes make a text: `['414', '414.0']` are two codes. `[1, 2]` are numbers, which a file may also
    write as 1.0; `[true, false]` are truth values in any case of letters, and come back as truth values.
    """

    type: Literal["category"]
    declared: tuple[Declared, ...] = Field(alias="values", min_length=1)

    @model_validator(mode="after")
    def _distinct(self) -> Category:
        texts = [category_text(value) for value in self.values]
        text, count = Counter(text.lower() if self.holds_truth else text for text in texts).most_common(1)[0]
        if count > 1:
            raise ValueError(f"expected distinct values, got {text!r} twice; {self._likeness(text)}")
        return self

    def _likeness(self, text: str) -> str:
        """Why two of the values are the same, and what to do."""
        alike = [value for value in self.values if category_text(value) == text]
        if len({value.strip() for value in alike}) > 1:  # letters with accents, as one character or as two
            return "they differ only in how Unicode writes a letter, and are the same in its normal form; keep one"
        return "put codes in quotes, as in ['1', '1.0']"

    @property
    def values(self) -> tuple[str, ...]:
        """The declared values as texts, in their order."""
        return tuple(value if isinstance(value, str) else category_text(value) for value in self.declared)

    @property
    def numeric(self) -> bool:
        """Whether the values are declared as whole numbers."""
        return all(isinstance(value, int) and not isinstance(value, bool) for value in self.declared)

    @property
    def truth(self) -> bool:
        """Whether the values are declared as truth values."""
        return all(isinstance(value, bool) for value in self.declared)

    @property
    def holds_truth(self) -> bool:
        """Whether nothing but truth values is declared, be it as such or as texts."""
        return all(category_text(value).lower() in TRUTH_TEXTS for value in self.declared)


Column = Annotated[Number | Date | Category, Field(discriminator="type")]


class Schema(BaseModel):
    """Columns of a table, its patient key and its target; everything in it is public.

    `target` names a category column. `patient_key` names the column that tells patients apart; without one,
    a row is a patient. Of one patient, rows beyond the first `max_rows_per_patient` count for nothing.
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
        """Read the format of docs/schema.md; values are texts until a key types them; lists: `Category`.

        Raises
        ------
        SchemaError
            With the first faults in one line, each naming its key; or if it is not the text of a file.
        """
        _require_text(text)
        try:
            return cls.model_validate(load_yaml(text))
        except yaml.YAMLError as error:
            raise SchemaError(f"the schema is not valid YAML{yaml_sentence(error)}") from None
        except ValidationError as error:
            raise SchemaError(fault_sentences(error, cls)) from None

    def to_yaml(self) -> str:
        """The schema as YAML; `from_yaml` gives it back."""
        return yaml.safe_dump(self._plain(), sort_keys=False, allow_unicode=True, width=110)

    @property
    def hash(self) -> str:
        """SHA-256 of the schema (`digest.py`); a float is written as its shortest decimal text."""
        plain = self._plain()
        plain["columns"] = list(plain["columns"].items())  # a list: cells are numbered in the order of the columns
        return digest(_as_texts(plain))

    @property
    def cap(self) -> int:
        """Rows of one patient that count, at most; 1 where a row is a patient."""
        return 1 if self.patient_key is None else self.max_rows_per_patient

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


def _require_text(text: object) -> None:
    """Raise SchemaError for a path, a dict or anything else that is not the text of a schema."""
    read = "pass its text, as Path('schema.yaml').read_text(encoding='utf-8') gives it"
    if isinstance(text, str) and not re.fullmatch(r"\S+\.ya?ml", text.strip()):
        return
    if isinstance(text, str) or hasattr(text, "read_text"):
        raise SchemaError(f"expected the text of a schema, got the name of a file; {read}")
    if isinstance(text, dict):
        raise SchemaError("expected the text of a schema, got dict; pass it to Schema.model_validate")
    raise SchemaError(f"expected the text of a schema, got {type(text).__name__}; {read}")


def _as_texts(plain: Any) -> Any:
    if isinstance(plain, dict):
        return {key: _as_texts(value) for key, value in plain.items()}
    if isinstance(plain, (list, tuple)):
        return [_as_texts(value) for value in plain]
    return repr(plain) if isinstance(plain, float) else plain


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
