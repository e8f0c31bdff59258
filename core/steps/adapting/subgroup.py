"""Subgroup: the patients of whom a public condition on one column holds, such as `SEX=F` or `AGE>=65`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import ceil, isfinite
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from cohortmix.core.data.dictionary.columns import Category, Number
from cohortmix.core.data.dictionary.grid import is_whole
from cohortmix.core.data.encoding import Cells
from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import InputError
from cohortmix.core.data.words import in_quotes

Relation = Literal[">=", "<", "="]
_TEXT = re.compile(r"\s*(\S(?:.*?\S)??)\s*(>=|<|=)\s*(\S(?:.*?\S)??)\s*")  # names without blanks at their ends


@dataclass(frozen=True)
class Subgroup:
    """A condition on one column: a category's value, or a number on one side of a limit.

    Parameters
    ----------
    column : its name.
    relation : "=" for a category, ">=" or "<" for a number.
    value : a declared value, or the limit as a decimal, as text.
    """

    column: str
    relation: Relation
    value: str

    @classmethod
    def parse(cls, text: str) -> Subgroup:
        """From its text; InputError if that is no condition."""
        match = _TEXT.fullmatch(text)
        if match is None:
            raise InputError(f"expected a condition such as SEX=F or AGE>=65, got {in_quotes(text)}")
        relation = next(known for known in get_args(Relation) if known == match[2])
        return cls(match[1], relation, match[3])

    def __str__(self) -> str:
        return f"{self.column}{self.relation}{self.value}"

    def require(self, schema: Schema) -> None:
        """Raise InputError unless the condition can be told from the features of the schema."""
        text = in_quotes(str(self))
        if self.column not in schema.features:
            known = "is the outcome" if self.column in schema.columns else "is not in the schema"
            raise InputError(f"subgroup {text}: {in_quotes(self.column)} {known}; name another column of it")
        column = schema.columns[self.column]
        if isinstance(column, Category):
            if self.relation != "=" or self.value not in column.values:
                raise InputError(f"subgroup {text}: expected '=' and a declared value of {in_quotes(self.column)}")
        elif not (isinstance(column, Number) and self.relation != "=" and self._is_limit()):
            raise InputError(f"subgroup {text}: expected a category and '=', or a number and '>=' or '<'")
        elif (float(self.value) > column.max) if self.relation == ">=" else (float(self.value) <= column.min):
            raise InputError(
                f"subgroup {text}: nobody can be in it, since {in_quotes(self.column)} is declared from "
                f"{column.min:g} to {column.max:g}; choose a limit between them"
            )

    def shares(self, cells: Cells) -> NDArray[np.float64]:
        """(size,) the part of each fine cell of the column that is in the subgroup: between 0 and 1 at a limit."""
        out = np.zeros(cells.size)
        if isinstance(cells.column, Category):
            out[cells.column.values.index(self.value)] = 1
            return out
        values = cells.size - (cells.missing >= 0)
        whole = is_whole(cells.column)
        limit = ceil(float(self.value)) if whole else float(self.value)
        low, high = np.array([cells.ends(code) for code in range(values)]).T
        length = np.maximum(high + whole - low, np.finfo(np.float64).tiny)
        below = np.clip((limit - low) / length, 0, 1)
        out[:values] = below if self.relation == "<" else 1 - below
        return out

    def _is_limit(self) -> bool:
        try:
            return isfinite(float(self.value))
        except ValueError:
            return False
