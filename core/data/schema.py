"""The data dictionary: which columns there are, and what is publicly known about each.

A schema is written by a person from the study's protocol. It is the *only* source of categories, bounds and
units: nothing in it may be inferred from the records that it describes (`schema draft` helps with names and
types, and marks every line as unconfirmed until a person has looked at it).
"""

from __future__ import annotations

import re
from typing import Any

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from cohortmix.core.data.dictionary.columns import Column
from cohortmix.core.data.dictionary.outcome import Outcome, Target
from cohortmix.core.data.digest import digest
from cohortmix.core.data.sentences import fault_sentences, yaml_sentence
from cohortmix.core.data.typed_yaml import load_yaml

SITE = "site"  # the column of a pooled record that names where it is from


class SchemaError(ValueError):
    """The schema cannot be used; the text says which key, what was expected and what came."""


class Schema(BaseModel):
    """Columns of a table, its patient key and its target; everything in it is public.

    `target` is what the records are divided by: a category or number column, a time and its event, or nothing
    (`dictionary/outcome.py`). `patient_key` names the column that tells patients apart; without one,
    a row is a patient. Of one patient, rows beyond the first `max_rows_per_patient` count for nothing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, max_length=100)
    patient_key: str | None = None
    max_rows_per_patient: int = Field(default=100, ge=1, le=10_000)
    target: Target
    columns: dict[str, Column] = Field(min_length=2)

    @model_validator(mode="after")
    def _consistent(self) -> Schema:
        if not self.features:
            raise ValueError("expected a column beside the target")
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
    def outcome(self) -> Outcome:
        """What the target makes of the records: classes, and the columns that they are read from."""
        return Outcome.of(self.target, self.columns)

    @property
    def target_name(self) -> str:
        """The target in words: a column, the time and the event, or `none`."""
        return "none" if self.target is None else str(self.target)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, C of them: the declared values of a category, slices of a number or a time."""
        return self.outcome.classes

    @property
    def features(self) -> tuple[str, ...]:
        """The columns that the class alone does not tell, D of them, in the schema's order."""
        return tuple(name for name in self.columns if name != self.outcome.told)

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
        plain = self.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)
        return {name: plain.get(name) for name in type(self).model_fields if name in plain or name == "target"}


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
